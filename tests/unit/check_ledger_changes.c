/* SPDX-License-Identifier: ISC */
/* What administrators change: switches, changes, and knowing that it is kept. */
#include <sys/stat.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_fixture.h"
#include "loop_turns.h"

static struct ledger_disabled
make_switch(const char *peer, const char *tunnel)
{
	struct ledger_disabled what = { .at_us = 42, .by = "root (uid 0)" };

	strcpy(what.peer, peer);
	strcpy(what.tunnel, tunnel);
	return what;
}

static void
set(struct ledger *ledger, const char *peer, const char *tunnel, bool disabled)
{
	struct ledger_disabled what = make_switch(peer, tunnel);

	ck_assert_int_eq(ledger_set_disabled(ledger, &what, disabled), 0);
}

/* --- Waiting for a sync --------------------------------------------------- */

struct outcome {
	int calls;
	char error[160];
};

static void
on_sync(const char *error, void *arg)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	snprintf(outcome->error, sizeof outcome->error, "%s",
	    error != NULL ? error : "");
	loop_stop(loop);
}

static struct outcome
sync_within(struct ledger *ledger, double seconds)
{
	struct outcome outcome = { 0 };

	ck_assert_ptr_nonnull(ledger_sync(ledger, seconds, on_sync, &outcome));
	ck_assert_int_eq(outcome.calls, 0);
	loop_run_for(loop, seconds + 5);
	ck_assert_int_eq(outcome.calls, 1);
	return outcome;
}

static void
must_sync(struct ledger *ledger)
{
	struct outcome outcome = sync_within(ledger, 5);

	ck_assert_str_eq(outcome.error, "");
}

/* --- Switches ------------------------------------------------------------- */

START_TEST(switches_are_kept)
{
	struct ledger *ledger = fixture_open();
	struct ledger_disabled out;

	ck_assert(!ledger_get_disabled(ledger, "edge", "web", NULL));
	set(ledger, "edge", "web", true);
	set(ledger, "edge", "", true);
	set(ledger, "", "local", true);
	set(ledger, "edge", "ssh", true);
	set(ledger, "edge", "ssh", false);
	ck_assert(ledger_get_disabled(ledger, "edge", "web", &out));
	ck_assert_str_eq(out.by, "root (uid 0)");
	must_sync(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 3);
	ledger_free(ledger);

	ledger = fixture_open();
	memset(&out, 0, sizeof out);
	ck_assert(ledger_get_disabled(ledger, "edge", "web", &out));
	ck_assert_str_eq(out.peer, "edge");
	ck_assert_str_eq(out.tunnel, "web");
	ck_assert_str_eq(out.by, "root (uid 0)");
	ck_assert_int_eq(out.at_us, 42);
	ck_assert(ledger_get_disabled(ledger, "edge", "", NULL));
	ck_assert(ledger_get_disabled(ledger, "", "local", NULL));
	ck_assert(!ledger_get_disabled(ledger, "edge", "ssh", NULL));
	ck_assert(!ledger_get_disabled(ledger, "", "", NULL));
	set(ledger, "edge", "web", false);
	ck_assert(!ledger_get_disabled(ledger, "edge", "web", NULL));
	ledger_free(ledger); /* without a sync: the end writes it */
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 2);
}
END_TEST

/* _i: damaged before the start, while it is open, or removed. */
START_TEST(switches_outlive_the_file)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session;
	char command[300];

	for (int i = 1; i < 3000; i++) {
		session = fixture_session(i);
		ledger_put_session(ledger, &session);
	}
	set(ledger, "edge", "web", true);
	set(ledger, "edge", "on", true);
	set(ledger, "edge", "on", false);
	must_sync(ledger);
	fixture_sql("PRAGMA wal_checkpoint(TRUNCATE)");
	snprintf(command, sizeof command,
	    _i == 0 ? "dd if=/dev/urandom of=%s bs=4096 seek=1 count=100"
		      " conv=notrunc status=none" :
		      "rm %s*",
	    path);
	ck_assert_int_eq(system(command), 0);
	for (int i = 1; i < 3000; i++) {
		session = fixture_session(i);
		ledger_put_session(ledger, &session);
	}
	fixture_settle(ledger);
	fixture_await(ledger, "ok", 20);
	must_sync(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled WHERE"
					" peer = 'edge' AND tunnel = 'web'"
					" AND at = 42"),
	    1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 1);
	ck_assert(ledger_get_disabled(ledger, "edge", "web", NULL));
	ledger_free(ledger);
	ledger = fixture_open();
	ck_assert(ledger_get_disabled(ledger, "edge", "web", NULL));
	ck_assert(!ledger_get_disabled(ledger, "edge", "on", NULL));
	ledger_free(ledger);
}
END_TEST

static int times_loaded;

static void
on_loaded(void *arg)
{
	ck_assert_ptr_eq(arg, &times_loaded);
	times_loaded++;
	loop_stop(loop);
}

START_TEST(switches_are_read_late)
{
	struct ledger *ledger = fixture_open();
	sqlite3 *db;

	set(ledger, "edge", "web", true);
	set(ledger, "edge", "ssh", true);
	ledger_free(ledger);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL),
	    SQLITE_OK);
	options.loaded = on_loaded;
	options.arg = &times_loaded;
	ledger = fixture_open();
	ck_assert(!ledger_get_disabled(ledger, "edge", "web", NULL));
	set(ledger, "edge", "ssh", false); /* wins */
	set(ledger, "edge", "mail", true);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(db);
	loop_run_for(loop, 5);
	ck_assert_int_eq(times_loaded, 1);
	ck_assert(ledger_get_disabled(ledger, "edge", "web", NULL));
	ck_assert(!ledger_get_disabled(ledger, "edge", "ssh", NULL));
	must_sync(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 2);
	ledger_free(ledger);

	ledger = fixture_open(); /* in time: no need to say so */
	loop_run_for(loop, 0.2);
	ck_assert_int_eq(times_loaded, 1);
	ledger_free(ledger);
}
END_TEST

START_TEST(switches_are_bounded)
{
	struct ledger *ledger = fixture_open();
	struct ledger_disabled what;
	char name[32];

	for (int i = 0; i < LEDGER_DISABLED_MAX; i++) {
		snprintf(name, sizeof name, "t%d", i);
		set(ledger, "edge", name, true);
	}
	what = make_switch("edge", "one-more");
	ck_assert_int_eq(ledger_set_disabled(ledger, &what, true), -1);
	set(ledger, "edge", "t5", false);
	must_sync(ledger);
	ck_assert_int_eq(ledger_set_disabled(ledger, &what, true), 0);
	what = make_switch("edge", "two-more");
	ck_assert_int_eq(ledger_set_disabled(ledger, &what, true), -1);
	must_sync(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"),
	    LEDGER_DISABLED_MAX);
	ledger_free(ledger);
	ledger = fixture_open();
	ck_assert(ledger_get_disabled(ledger, "edge", "t77", NULL));
	ck_assert(!ledger_get_disabled(ledger, "edge", "t5", NULL));
	ledger_free(ledger);
}
END_TEST

/* --- Changes and syncs ---------------------------------------------------- */

START_TEST(changes_are_recorded)
{
	struct ledger *ledger = fixture_open();
	struct ledger_change change = { .at_us = 7,
		.uid = UINT32_MAX,
		.by = "root (uid 0)",
		.command = "kill",
		.detail = "tunnel x: 3 sessions" };
	struct answer got;

	ledger_put_change(ledger, &change);
	change.at_us = 8;
	ledger_put_change(ledger, &change);
	got = fixture_query(ledger,
	    (struct history_query){ .what = HISTORY_CHANGES });
	ck_assert_uint_eq(got.n, 2);
	ck_assert_int_eq(got.changes[0].at_us, 8);
	ck_assert_uint_eq(got.changes[1].uid, UINT32_MAX);
	ck_assert_str_eq(got.changes[1].detail, change.detail);
	answer_free(&got);
	ledger_free(ledger);
}
END_TEST

START_TEST(a_sync_says_when)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session = fixture_session(1);
	double before;

	must_sync(ledger); /* nothing at all */
	before = fixture_now();
	ledger_put_session(ledger, &session);
	must_sync(ledger);
	ck_assert_double_lt(fixture_now() - before, 15);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 1);
	must_sync(ledger);
	ledger_free(ledger);
}
END_TEST

START_TEST(a_sync_is_late)
{
	struct ledger *ledger = fixture_open();
	struct outcome outcome;
	sqlite3 *db;
	double before = fixture_now();

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL),
	    SQLITE_OK);
	set(ledger, "edge", "web", true);
	outcome = sync_within(ledger, 0.1); /* it is patient yet */
	ck_assert_str_eq(outcome.error, "timed out");
	outcome = sync_within(ledger, 1.5);
	ck_assert_str_eq(outcome.error, "database is locked");
	ck_assert_double_lt(fixture_now() - before, 15);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(db);
	must_sync(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 1);
	ledger_free(ledger);
}
END_TEST

START_TEST(a_sync_tells_of_losses)
{
	struct ledger *ledger;
	struct ledger_session session;
	struct ledger_change change = { .command = "disable" };
	struct outcome outcome = { 0 };
	char parent[160];

	snprintf(parent, sizeof parent, "%s/missing", dir);
	snprintf(path, sizeof path, "%s/missing/sessions.db", dir);
	options.max_queued = 10;
	ledger = fixture_open();
	for (int i = 1; i <= 11; i++) {
		session = fixture_session(i);
		ledger_put_session(ledger, &session);
	}
	set(ledger, "edge", "web", true);
	ledger_put_change(ledger, &change); /* there is room for it */
	outcome = sync_within(ledger, 0.3);
	ck_assert_ptr_nonnull(strstr(outcome.error, "No such file"));
	outcome.calls = 0;
	ck_assert_ptr_nonnull(ledger_sync(ledger, 10, on_sync, &outcome));
	ck_assert_int_eq(mkdir(parent, 0755), 0);
	loop_run_for(loop, 5);
	ck_assert_int_eq(outcome.calls, 1);
	ck_assert_ptr_nonnull(strstr(outcome.error, "lost"));
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 10);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM disabled"), 1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM changes"), 1);
	must_sync(ledger); /* that is past now */
	ledger_free(ledger);
}
END_TEST

START_TEST(syncs_are_cancelled_and_bounded)
{
	struct ledger *ledger = fixture_open();
	struct outcome outcome = { 0 };
	struct ledger_sync *syncs[256];

	for (int i = 0; i < 256; i++) {
		syncs[i] = ledger_sync(ledger, 5, on_sync, &outcome);
		ck_assert_ptr_nonnull(syncs[i]);
	}
	ck_assert_ptr_null(ledger_sync(ledger, 5, on_sync, &outcome));
	for (int i = 1; i < 256; i++)
		ledger_sync_cancel(syncs[i]);
	ledger_sync_cancel(NULL);
	loop_run_for(loop, 0.5);
	loop_run_for(loop, 0.1);
	ck_assert_int_eq(outcome.calls, 1);
	ck_assert_ptr_nonnull(ledger_sync(ledger, 5, on_sync, &outcome));
	ledger_free(ledger);
	loop_run_for(loop, 0.1);
	ck_assert_int_eq(outcome.calls, 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger_changes");
	TCase *tcase = tcase_create("changes");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, switches_are_kept);
	tcase_add_loop_test(tcase, switches_outlive_the_file, 0, 2);
	tcase_add_test(tcase, switches_are_read_late);
	tcase_add_test(tcase, switches_are_bounded);
	tcase_add_test(tcase, changes_are_recorded);
	tcase_add_test(tcase, a_sync_says_when);
	tcase_add_test(tcase, a_sync_is_late);
	tcase_add_test(tcase, a_sync_tells_of_losses);
	tcase_add_test(tcase, syncs_are_cancelled_and_bounded);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
