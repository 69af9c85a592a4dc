/* SPDX-License-Identifier: ISC */
/* Daemons that are replaced by another process, while users come and go. */
#include "upgrade_world.h"

#include <stdlib.h>

#include "session.h"

static const char *const securities[] = { "plain", "tls" };
static const char *const modes[] = { "direct", "mux" };
/* Nobody waits for a link that is down, but for one that is upgraded. */
static const char strict[] = "hold = 0.0; max_held = 1;";

static struct side *edge, *home;

static void
start(int mode, const char *more)
{
	fixture_setup();
	world_mode = modes[mode / 2];
	world_setup(securities[mode % 2], more);
	edge = side_new("edge", NULL);
	side_start(edge);
	home = side_new("home", NULL);
	side_start(home);
	world_wait_up(edge);
	world_wait_up(home);
	world_turn(0.2); /* its pool is warm */
}

static void
stop(void)
{
	world_teardown();
	fixture_teardown();
}

/* Upgrades while users come; each old one goes when it has nothing left. */
static void
upgrade_under_load(struct side **which, const struct side *entry, int times)
{
	struct side *old;
	char reasons[300];

	users_come(entry, 1000);
	world_turn(0.3);
	for (int i = 0; i < times; i++) {
		old = *which;
		*which = side_upgrade(old);
		world_turn(0.15);
		for (int j = 0; j < 1000 && !side_has_left(old); j++)
			world_turn(0.01);
		ck_assert(side_has_left(old));
		world_turn(0.01); /* it is told by a task */
		ck_assert_int_ge(old->idle, 1);
		side_free(old);
	}
	users_wait();
	fixture_settle(edge->ledger);
	fixture_text("SELECT group_concat(reason, ', ') FROM (SELECT"
		     " count(*) || ' ' || close_reason AS reason"
		     " FROM sessions GROUP BY close_reason)",
	    reasons, sizeof reasons);
	ck_assert_msg(users.failed == 0, "%u of %u failed; the first: %s; %s",
	    users.failed, users.served, users.error, reasons);
	ck_assert_uint_ge(users.served, 20 * (unsigned)times);
}

START_TEST(accepting_end_users_there)
{
	start(_i, strict);
	upgrade_under_load(&edge, edge, 5);
	stop();
}
END_TEST

START_TEST(accepting_end_users_far)
{
	start(_i, strict);
	upgrade_under_load(&edge, home, 5);
	stop();
}
END_TEST

START_TEST(dialling_end_users_there)
{
	start(_i, strict);
	upgrade_under_load(&home, home, 5);
	stop();
}
END_TEST

START_TEST(dialling_end_users_far)
{
	start(_i, strict);
	upgrade_under_load(&home, edge, 5);
	stop();
}
END_TEST

/* The one after is there only a while later. */
START_TEST(successor_is_late)
{
	struct side *old, *other;

	start(_i & 3, strict);
	old = _i < 4 ? edge : home;
	other = _i < 4 ? home : edge;
	users_come(other, 500);
	for (int i = 0; i < 3; i++) {
		struct side *new = side_new(old->name, old);

		side_leave(old, new);
		world_turn(0.3);
		ck_assert(peer_is_expected(side_peer(other)));
		side_start(new);
		world_wait_up(other);
		ck_assert(!peer_is_expected(side_peer(other)));
		world_turn(0.1);
		old = new;
	}
	users_wait();
	ck_assert_msg(users.failed == 0, "%u failed; the first: %s",
	    users.failed, users.error);
	stop();
}
END_TEST

/* Both ends, again and again, before the ones before are done. */
START_TEST(all_at_once)
{
	start(_i & 3, strict);
	users_come(_i < 4 ? edge : home, 300);
	for (int i = 0; i < 12; i++) {
		if (i % 3 != 1)
			edge = side_upgrade(edge);
		if (i % 3 != 2)
			home = side_upgrade(home);
		world_turn(0.04);
	}
	users_wait();
	ck_assert_msg(users.failed == 0, "%u of %u failed; the first: %s",
	    users.failed, users.served, users.error);
	stop();
}
END_TEST

/* --- one at a time ---------------------------------------------------------- */

START_TEST(a_session_stays)
{
	struct side *first, *second;
	int one, other;

	start(_i, strict);
	first = edge;
	second = home;
	one = user_connect(edge);
	other = user_connect(home);
	user_speak(one, "before");
	user_speak(other, "before");
	for (int i = 0; i < 3; i++) {
		edge = side_upgrade(edge);
		user_speak(one, "after that of edge");
		user_speak(other, "after that of edge");
		home = side_upgrade(home);
		user_speak(one, "after that of home");
		user_speak(other, "after that of home");
	}
	world_turn(0.2);
	ck_assert(peer_has_left(side_peer(first)));
	ck_assert(peer_has_left(side_peer(second)));
	ck_assert_int_eq(first->left, 1);
	ck_assert_uint_eq(first->tunnels->n_sessions, 2);
	ck_assert_int_eq(first->idle, 0);
	user_leave(one);
	user_leave(other);
	world_turn(0.2);
	ck_assert_int_eq(first->idle, 1);
	ck_assert_int_eq(second->idle, 1);
	ck_assert(side_has_left(first) && side_has_left(second));
	stop();
}
END_TEST

/* OPEN is under way when its receiver, or its sender, says GOAWAY; or it is
 * sent before GOAWAY is read. It is served, by who said it, and once. */
START_TEST(open_crosses_goaway)
{
	struct side *from, *old, *successor;
	int user;

	start(_i & 3, strict);
	from = (_i & 4) != 0 ? edge : home;
	old = (_i & 8) != 0 ? edge : home;
	successor = side_new(old->name, old);
	if ((_i & 16) != 0 && from != old) {
		side_leave(old, successor);
		user = user_appear(from);
	} else {
		user = user_appear(from);
		side_leave(old, successor);
	}
	side_start(successor);
	user_speak(user, "hello");
	ck_assert_int_eq(old->given, 0);
	ck_assert_uint_eq(old->tunnels->n_sessions, 1);
	ck_assert_uint_eq(successor->tunnels->total, 0);
	user_leave(user);
	world_turn(0.1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions WHERE"
					" close_reason != 'closed'"),
	    0);
	stop();
}
END_TEST

static void
kill_is_told(struct side *old, struct side *other, int user)
{
	session_close(TAILQ_FIRST(&old->tunnels->refresh), REASON_KILLED,
	    "root");
	user_expect_reset(user);
	world_turn(0.1);
	ck_assert_uint_eq(other->tunnels->n_sessions, 0);
	fixture_settle(other->ledger);
	fixture_await_number("SELECT count(*) FROM sessions"
			     " WHERE close_reason = 'killed_by_peer'",
	    1);
}

/* A kill right behind GOAWAY still says what it is. */
START_TEST(kill_after_goaway)
{
	struct side *old, *other;
	int user;

	start(_i & 3, strict);
	old = _i < 4 ? edge : home;
	other = _i < 4 ? home : edge;
	user = user_connect(old);
	user_speak(user, "hello");
	side_leave(old, side_new(old->name, old));
	kill_is_told(old, other, user);
	stop();
}
END_TEST

/* And one when no link is left says it with the reset of its channel. */
START_TEST(kill_while_draining)
{
	struct side *old, *other;
	int user;

	start(2 + (_i & 1), strict);
	old = (_i & 2) != 0 ? edge : home;
	other = (_i & 2) != 0 ? home : edge;
	user = user_connect((_i & 4) != 0 ? edge : home);
	user_speak(user, "hello");
	side_upgrade(old);
	while (!peer_has_left(side_peer(old)))
		world_turn(0.01);
	kill_is_told(old, other, user);
	stop();
}
END_TEST

START_TEST(reasons)
{
	start(_i, strict);
	peer_disconnect(side_peer(edge), "me");
	world_turn(0.02);
	ck_assert_str_eq(home->down, "closed by an administrator of the peer");
	ck_assert(!peer_is_expected(side_peer(home)));
	world_wait_up(home);
	world_turn(0.6);
	edge = side_upgrade(edge);
	world_turn(0.02);
	world_wait_up(home);
	ck_assert_str_eq(home->down, "the peer is being upgraded");
	world_turn(0.1);
	peer_stop(side_peer(edge), "me");
	world_turn(0.02);
	ck_assert_str_eq(home->down, "the peer was stopped");
	ck_assert(!peer_is_expected(side_peer(home)));
	stop();
}
END_TEST

/* Its handshake is under way when the other end leaves. */
START_TEST(a_stranger_is_sent_on)
{
	struct side *old;

	fixture_setup();
	world_mode = modes[_i / 2];
	world_setup(securities[_i % 2], strict);
	old = side_new("edge", NULL);
	side_start(old);
	home = side_new("home", NULL);
	side_start(home);
	while (gateway_handshakes(old->gateway) == 0)
		world_turn(0);
	edge = side_upgrade(old);
	world_wait_up(home);
	if (old->ups == 1) { /* the usual case: it became a link there */
		world_turn(0.3);
		world_wait_up(home);
		ck_assert_int_eq(home->ups, 2);
	}
	world_wait_up(edge);
	world_turn(0.1);
	ck_assert(peer_has_left(side_peer(old)));
	ck_assert_uint_eq(gateway_handshakes(old->gateway), 0);
	stop();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("upgrade");
	TCase *load = tcase_create("load"), *one = tcase_create("one");
	TCase *storm = tcase_create("storm");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(load, 120);
	tcase_add_loop_test(load, accepting_end_users_there, 0, 4);
	tcase_add_loop_test(load, accepting_end_users_far, 0, 4);
	tcase_add_loop_test(load, dialling_end_users_there, 0, 4);
	tcase_add_loop_test(load, dialling_end_users_far, 0, 4);
	tcase_add_loop_test(load, successor_is_late, 0, 8);
	suite_add_tcase(suite, load);
	tcase_set_timeout(storm, 120);
	tcase_add_loop_test(storm, all_at_once, 0, 8);
	suite_add_tcase(suite, storm);
	tcase_set_timeout(one, 60);
	tcase_add_loop_test(one, a_session_stays, 0, 4);
	tcase_add_loop_test(one, open_crosses_goaway, 0, 32);
	tcase_add_loop_test(one, kill_after_goaway, 0, 8);
	tcase_add_loop_test(one, kill_while_draining, 0, 8);
	tcase_add_loop_test(one, reasons, 0, 4);
	tcase_add_loop_test(one, a_stranger_is_sent_on, 0, 4);
	suite_add_tcase(suite, one);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
