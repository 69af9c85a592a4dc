/* SPDX-License-Identifier: ISC */
/* Users who wait while their daemon, or their peer, is replaced; and the end of
 * the process that made way. */
#include "upgrade_world.h"

#include <sys/socket.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"

static const char strict[] = "hold = 0.0; max_held = 1;";

static struct side *edge, *home;

static void
stop(void)
{
	world_teardown();
	fixture_teardown();
}

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
	ck_assert_int_eq(
	    fixture_number("SELECT count(*) FROM sessions"
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
	ck_assert_double_le(loop_now(loop) - since, 15);
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

	lonely_edge("");
	home = side_new("home", NULL);
	side_start(home);
	world_wait_up(edge);
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
	ck_assert_double_le(loop_now(loop) - since, 15);
	framing_free(deaf);
	stop();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("upgrade_users");
	TCase *tc = tcase_create("users");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, waiting_users_are_given);
	tcase_add_loop_test(tc, no_such_entry, 0, 4);
	tcase_add_loop_test(tc, taken_but_refused, 0, 3);
	tcase_add_test(tc, taken_twice);
	tcase_add_test(tc, in_vain);
	tcase_add_test(tc, bound_comes_back);
	tcase_add_test(tc, not_of_the_disabled);
	tcase_add_test(tc, wakes_a_dialler);
	tcase_add_test(tc, sessions_end_in_steps);
	tcase_add_test(tc, a_deaf_peer);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
