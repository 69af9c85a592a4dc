/* SPDX-License-Identifier: ISC */
/* Daemons that are replaced by another process, while users come and go. */
#include "upgrade_world.h"

#include <sys/socket.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

static const char *const modes[] = { "plain", "tls" };
/* Nobody waits for a link that is down, but for one that is upgraded. */
static const char strict[] = "hold = 0.0; max_held = 1;";

static struct side *edge, *home;

static void
start(int mode, const char *more)
{
	fixture_setup();
	world_setup(modes[mode], more);
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

	users_come(entry, 1000);
	world_turn(0.3);
	for (int i = 0; i < times; i++) {
		old = *which;
		*which = side_upgrade(old);
		world_turn(0.15);
		for (int j = 0; j < 200 && !side_has_left(old); j++)
			world_turn(0.01);
		ck_assert(side_has_left(old));
		ck_assert_int_ge(old->idle, 1);
		side_free(old);
	}
	users_wait();
	ck_assert_msg(users.failed == 0, "%u of %u failed; the first: %s",
	    users.failed, users.served, users.error);
	ck_assert_uint_ge(users.served, 100 * (unsigned)times);
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

	start(_i % 2, strict);
	old = _i < 2 ? edge : home;
	other = _i < 2 ? home : edge;
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
	start(_i % 2, strict);
	users_come(_i < 2 ? edge : home, 300);
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

	start(_i % 2, strict);
	from = (_i & 2) != 0 ? edge : home;
	old = (_i & 4) != 0 ? edge : home;
	successor = side_new(old->name, old);
	if ((_i & 8) != 0 && from != old) {
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

/* A kill right behind GOAWAY still says what it is. */
START_TEST(kill_after_goaway)
{
	struct side *old, *other;
	int user;

	start(_i % 2, strict);
	old = _i < 2 ? edge : home;
	other = _i < 2 ? home : edge;
	user = user_connect(old);
	user_speak(user, "hello");
	side_leave(old, side_new(old->name, old));
	session_close(TAILQ_FIRST(&old->tunnels->refresh), REASON_KILLED,
	    "root");
	user_expect_reset(user);
	world_turn(0.1);
	ck_assert_uint_eq(other->tunnels->n_sessions, 0);
	fixture_settle(other->ledger);
	fixture_await_number("SELECT count(*) FROM sessions"
			     " WHERE close_reason = 'killed_by_peer'",
	    1);
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
	world_setup(modes[_i], strict);
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

/* --- who is given ----------------------------------------------------------- */

static struct side *
lonely_edge(const char *more)
{
	fixture_setup();
	world_setup("plain", more);
	edge = side_new("edge", NULL);
	side_start(edge);
	return edge;
}

START_TEST(waiting_users_are_given)
{
	struct side *old = lonely_edge("hold = 20.0;");
	struct session *session;
	int64_t id, opened_us;
	int user;

	user = user_connect(old);
	ck_assert_int_eq(send(user, "hel", 3, 0), 3);
	world_turn(0.1);
	session = TAILQ_FIRST(&old->tunnels->refresh);
	ck_assert_ptr_nonnull(session);
	id = session->id;
	opened_us = session->opened_us;
	fixture_settle(old->ledger);
	edge = side_upgrade(old);
	ck_assert_int_eq(old->given, 1);
	ck_assert_uint_eq(old->tunnels->total, 0);
	session = tunnels_find_id(edge->tunnels, id);
	ck_assert_ptr_nonnull(session);
	ck_assert_int_eq(session->opened_us, opened_us);
	ck_assert_uint_eq(session->early.len, 3);
	world_turn(0.05);
	ck_assert(side_has_left(old));
	side_free(old); /* which closes nothing of it */
	fixture_settle(edge->ledger);
	fixture_await_number("SELECT count(*) FROM sessions, runs"
			     " WHERE closed_at IS NULL AND run = runs.id"
			     " AND ended_at IS NULL",
	    1);
	edge = side_upgrade(edge); /* and on to the third */
	home = side_new("home", NULL);
	side_start(home);
	user_say(user, "lo");
	user_hear(user, "hello");
	user_leave(user);
	world_turn(0.1);
	fixture_settle(edge->ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"
					" WHERE tunnel = 'web' AND end = 'entry'"
					" AND close_reason = 'closed'"
					" AND up_bytes = 5"),
	    1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 2);
	stop();
}
END_TEST

static struct tunnel_user
stray_user(const char *label, int fds[2])
{
	struct tunnel_user user = { .id = 77, .opened_us = 1 };

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	strcpy(user.label, label);
	memset(user.uid, 7, sizeof user.uid);
	ck_assert_int_eq(addr_sock_parse("127.0.0.1:1234", &user.source), 0);
	user.fd = fds[0];
	user.early.data = malloc(10);
	memset(user.early.data, 'x', 10);
	user.early.len = 10;
	return user;
}

static void
expect_row(const char *reason)
{
	char sql[300];

	fixture_settle(edge->ledger);
	snprintf(sql, sizeof sql,
	    "SELECT count(*) FROM sessions WHERE id = 77 AND opened_at = 1"
	    " AND up_bytes = 10 AND source = '127.0.0.1:1234'"
	    " AND end = 'entry' AND close_reason = '%s'",
	    reason);
	fixture_await_number(sql, 1);
}

/* Nobody for whom there is no tunnel any more is lost without a word. */
START_TEST(no_such_entry)
{
	static const char *const labels[] = { "home/none", "home/db", "local",
		"none/web" };
	struct tunnel_user user;
	int fds[2];
	char byte;

	lonely_edge("");
	user = stray_user(labels[_i], fds);
	tunnels_take(edge->tunnels, &user);
	ck_assert_int_le(recv(fds[1], &byte, 1, 0), 0);
	close(fds[1]);
	expect_row("reload");
	stop();
}
END_TEST

START_TEST(taken_but_refused)
{
	static const struct {
		const char *more, *reason;
	} rows[] = {
		{ "deny = \"127.0.0.0/8\";", "denied" },
		{ "hold = 0.0;", "link_down" },
		{ "", "disabled" },
	};
	struct tunnel_user user;
	int fds[2];

	lonely_edge(rows[_i].more);
	if (_i == 2)
		tunnel_set_disabled(side_entry(edge), true, 1, "me");
	user = stray_user("home/web", fds);
	tunnels_take(edge->tunnels, &user);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 0);
	close(fds[1]);
	expect_row(rows[_i].reason);
	stop();
}
END_TEST

START_TEST(taken_twice)
{
	struct tunnel_user user;
	int fds[2], again[2];

	lonely_edge("");
	user = stray_user("home/web", fds);
	tunnels_take(edge->tunnels, &user);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 1);
	user = stray_user("home/web", again);
	tunnels_take(edge->tunnels, &user);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 1);
	close(fds[1]);
	close(again[1]);
	stop();
}
END_TEST

/* --- expecting -------------------------------------------------------------- */

START_TEST(in_vain)
{
	double since;
	int user;

	lonely_edge(strict);
	peer_expect(side_peer(edge), 0.4);
	since = loop_now(loop);
	user = user_connect(edge);
	user_expect_reset(user);
	ck_assert_double_ge(loop_now(loop) - since, 0.35);
	ck_assert_double_le(loop_now(loop) - since, 2);
	world_turn(0.1);
	ck_assert_int_eq(edge->late, 1);
	user_expect_reset(user_connect(edge));
	fixture_settle(edge->ledger);
	fixture_await_number("SELECT count(*) FROM sessions"
			     " WHERE close_reason = 'link_down'",
	    2);
	stop();
}
END_TEST

/* However many they are meanwhile; then as many as may be held. */
START_TEST(bound_comes_back)
{
	int users_fd[5];

	lonely_edge("hold = 20.0; max_held = 2;");
	peer_expect(side_peer(edge), 0.3);
	for (int i = 0; i < 5; i++)
		users_fd[i] = user_connect(edge);
	world_turn(0.1);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 5);
	for (int i = 4; i >= 2; i--)
		user_expect_reset(users_fd[i]);
	world_turn(0.1);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 2);
	user_leave(users_fd[0]);
	user_leave(users_fd[1]);
	stop();
}
END_TEST

START_TEST(not_of_the_disabled)
{
	lonely_edge(strict);
	peer_expect(side_peer(edge), 5);
	ck_assert(peer_is_expected(side_peer(edge)));
	ck_assert_double_gt(peer_expected_for(side_peer(edge)), 4.9);
	peer_set_disabled(side_peer(edge), true, 1, "me");
	ck_assert(!peer_is_expected(side_peer(edge)));
	peer_expect(side_peer(edge), 5);
	ck_assert(!peer_is_expected(side_peer(edge)));
	world_turn(0.01);
	ck_assert_int_eq(edge->late, 0);
	stop();
}
END_TEST

/* A dialler that waits for a long time is woken. */
START_TEST(wakes_a_dialler)
{
	struct peer_status status;

	fixture_setup();
	world_setup("plain", "");
	home = side_new("home", NULL);
	side_start(home);
	for (int i = 0; i < 100; i++) {
		world_turn(0.05);
		peer_get_status(side_peer(home), &status);
		if (status.next_try_us > loop_wall_us() + 500000)
			break;
	}
	ck_assert_str_eq(status.state, "waiting");
	peer_expect(side_peer(home), 5);
	edge = side_new("edge", NULL);
	side_start(edge);
	world_turn(0.3);
	ck_assert(peer_is_up(side_peer(home)));
	stop();
}
END_TEST

/* --- the end ---------------------------------------------------------------- */

START_TEST(sessions_end_in_steps)
{
	int fds[300];

	start(0, "");
	for (int i = 0; i < 300; i++) {
		fds[i] = user_connect(edge);
		world_turn(0);
	}
	for (int i = 0; i < 300; i++)
		user_speak(fds[i], "x");
	side_leave(edge, side_new("edge", edge));
	tunnels_end_sessions(edge->tunnels, REASON_SHUTDOWN, "daemon");
	ck_assert_uint_eq(edge->tunnels->n_sessions, 300);
	for (int i = 0; i < 300; i++)
		user_expect_reset(fds[i]);
	world_turn(0.1);
	ck_assert_uint_eq(edge->tunnels->n_sessions, 0);
	ck_assert_int_eq(edge->idle, 1);
	fixture_settle(edge->ledger);
	fixture_await_number("SELECT count(*) FROM sessions"
			     " WHERE close_reason = 'shutdown'"
			     " AND closed_by = 'daemon'",
	    300);
	stop();
}
END_TEST

/* Even if the other end never answers GOAWAY. */
START_TEST(a_deaf_peer)
{
	struct peer_newcomer newcomer = { .hello.epoch = 1 };
	struct wire_message msg;
	struct framing *deaf;
	double since;
	int fds[2];

	lonely_edge("");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	newcomer.framing = framing_new(stream_new(fds[0]));
	deaf = framing_new(stream_new(fds[1]));
	peer_accept_link(side_peer(edge), &newcomer);
	ck_assert(peer_is_up(side_peer(edge)));
	side_leave(edge, side_new("edge", edge));
	since = loop_now(loop);
	world_turn(0.2);
	ck_assert(!peer_has_left(side_peer(edge)));
	do
		ck_assert_int_eq(framing_read(deaf, &msg), FRAMING_OK);
	while (msg.type != WIRE_GOAWAY);
	ck_assert_uint_eq(msg.goaway.reason, WIRE_GOAWAY_UPGRADE);
	while (edge->left == 0 && loop_now(loop) < since + 15)
		world_turn(0.1);
	ck_assert(peer_has_left(side_peer(edge)));
	ck_assert_double_ge(loop_now(loop) - since, 4.9);
	ck_assert_double_le(loop_now(loop) - since, 6);
	framing_free(deaf);
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
	tcase_add_loop_test(load, accepting_end_users_there, 0, 2);
	tcase_add_loop_test(load, accepting_end_users_far, 0, 2);
	tcase_add_loop_test(load, dialling_end_users_there, 0, 2);
	tcase_add_loop_test(load, dialling_end_users_far, 0, 2);
	tcase_add_loop_test(load, successor_is_late, 0, 4);
	suite_add_tcase(suite, load);
	tcase_set_timeout(storm, 120);
	tcase_add_loop_test(storm, all_at_once, 0, 4);
	suite_add_tcase(suite, storm);
	tcase_set_timeout(one, 60);
	tcase_add_loop_test(one, a_session_stays, 0, 2);
	tcase_add_loop_test(one, open_crosses_goaway, 0, 16);
	tcase_add_loop_test(one, kill_after_goaway, 0, 4);
	tcase_add_loop_test(one, reasons, 0, 2);
	tcase_add_loop_test(one, a_stranger_is_sent_on, 0, 2);
	tcase_add_test(one, waiting_users_are_given);
	tcase_add_loop_test(one, no_such_entry, 0, 4);
	tcase_add_loop_test(one, taken_but_refused, 0, 3);
	tcase_add_test(one, taken_twice);
	tcase_add_test(one, in_vain);
	tcase_add_test(one, bound_comes_back);
	tcase_add_test(one, not_of_the_disabled);
	tcase_add_test(one, wakes_a_dialler);
	tcase_add_test(one, sessions_end_in_steps);
	tcase_add_test(one, a_deaf_peer);
	suite_add_tcase(suite, one);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
