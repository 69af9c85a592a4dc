/* SPDX-License-Identifier: ISC */
/* Runs of the ledger: one that died, one that lives, one that dies beside us. */
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_fixture.h"

/*
 * Another daemon on our database, as a process of its own: has session `id`
 * and a link open, says so, and lives until it is killed.
 */
static int
be_daemon(const char *database, const char *id)
{
	struct ledger_session session = fixture_session(atoi(id));
	struct ledger_link link = fixture_link(atoi(id));
	struct ledger_options other = { .path = database,
		.daemon = "other",
		.version = "0.0" };
	struct ledger *ledger = ledger_new(loop_new(), &other);
	struct ledger_status status;

	/* No ck_assert here: only a process of Check's may use it. */
	session.closed_us = link.down_us = 0;
	ledger_put_session(ledger, &session);
	session.up_bytes = 123;
	ledger_put_session(ledger, &session);
	ledger_put_link(ledger, &link);
	do {
		fixture_sleep(0.01);
		ledger_get_status(ledger, &status);
	} while (status.queued > 0);
	if (write(STDOUT_FILENO, "x", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static pid_t
start_daemon(const char *id)
{
	int ready[2];
	pid_t pid;
	char byte;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ne(pid, -1);
	if (pid == 0) {
		dup2(ready[1], STDOUT_FILENO);
		execl("/proc/self/exe", "daemon", path, id, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void
kill_daemon(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(a_killed_run_is_closed)
{
	pid_t pid = start_daemon("1");
	struct ledger *ledger;
	int64_t id;

	kill_daemon(pid);
	ledger = fixture_open();
	ck_assert_int_eq(
	    fixture_number(
		"SELECT close_reason = 'daemon_lost'"
		" AND closed_at = runs.seen_at AND up_bytes = 123 FROM sessions,"
		" runs WHERE sessions.id = 1 AND runs.id = run"),
	    1);
	ck_assert_int_eq(
	    fixture_number(
		"SELECT reason = 'daemon_lost'"
		" AND down_at = seen_at FROM links, runs WHERE runs.id = run"),
	    1);
	ck_assert_int_eq(
	    fixture_number("SELECT count(*) FROM runs"
			   " WHERE how = 'lost' AND ended_at = seen_at"),
	    1);
	id = ledger_take_id(ledger);
	ck_assert_int_gt(id, 1);
	ck_assert_int_lt(id, 5000);
	ledger_free(ledger);
}
END_TEST

START_TEST(a_living_run_is_left_alone)
{
	pid_t pid = start_daemon("1");
	struct ledger_session session;
	struct ledger *ledger;
	int64_t id, other;

	for (int i = 0; i < 2; i++) {
		ledger = fixture_open();
		id = ledger_take_id(ledger);
		ck_assert_int_gt(id, 1000); /* those below are the child's */
		session = fixture_session(id);
		ledger_put_session(ledger, &session);
		fixture_settle(ledger);
		ck_assert_int_eq(
		    fixture_number("SELECT count(*) FROM sessions"
				   " WHERE closed_at IS NULL AND id = 1"),
		    1);
		if (i == 0)
			ledger_free(ledger);
	}
	kill_daemon(pid);
	pid = start_daemon("3000"); /* and we live, while another starts */
	other = fixture_number("SELECT count(*) FROM runs"
			       " WHERE ended_at IS NULL");
	ck_assert_int_eq(other, 2);
	ck_assert_int_eq(
	    fixture_number("SELECT count(*) FROM sessions"
			   " WHERE id = 1 AND close_reason = 'daemon_lost'"),
	    1);
	kill_daemon(pid);
	ledger_free(ledger);
}
END_TEST

/* A start may come before the kernel has buried the one before. */
START_TEST(a_dying_run_is_closed_soon)
{
	pid_t pid = start_daemon("1");
	struct ledger *ledger = fixture_open();

	kill_daemon(pid);
	fixture_await_number("SELECT count(*) FROM sessions WHERE id = 1 AND"
			     " close_reason = 'daemon_lost'",
	    1);
	ledger_free(ledger);
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *suite = suite_create("ledger_runs");
	TCase *tcase = tcase_create("runs");
	SRunner *runner;
	int failed;

	if (argc == 3)
		return be_daemon(argv[1], argv[2]);
	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_killed_run_is_closed);
	tcase_add_test(tcase, a_living_run_is_left_alone);
	tcase_add_test(tcase, a_dying_run_is_closed_soon);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
