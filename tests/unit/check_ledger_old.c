/* SPDX-License-Identifier: ISC */
/* A ledger of version 1, as daemons made it that know no other. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "ledger_fixture.h"

/* Word for word: never to be changed. */
static const char version_1
    [] = "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
	 " WITHOUT ROWID;"
	 "INSERT INTO meta VALUES ('next_id', 1);"

	 "CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT,"
	 " daemon TEXT NOT NULL, version TEXT NOT NULL, pid INTEGER NOT NULL,"
	 " started_at INTEGER NOT NULL, seen_at INTEGER NOT NULL,"
	 " ended_at INTEGER, how TEXT);"
	 "CREATE INDEX runs_open ON runs (id) WHERE ended_at IS NULL;"

	 "CREATE TABLE sessions (id INTEGER PRIMARY KEY, uid BLOB NOT NULL,"
	 " run INTEGER NOT NULL, tunnel TEXT NOT NULL, peer TEXT NOT NULL,"
	 " type TEXT NOT NULL, end TEXT NOT NULL, source TEXT NOT NULL,"
	 " source_host TEXT NOT NULL, target TEXT NOT NULL,"
	 " opened_at INTEGER NOT NULL, closed_at INTEGER,"
	 " up_bytes INTEGER NOT NULL, down_bytes INTEGER NOT NULL,"
	 " close_reason TEXT, closed_by TEXT);"
	 "CREATE INDEX sessions_run ON sessions (run, closed_at);"
	 "CREATE INDEX sessions_opened ON sessions (opened_at);"
	 "CREATE INDEX sessions_tunnel ON sessions (tunnel, opened_at);"
	 "CREATE INDEX sessions_peer ON sessions (peer, opened_at);"
	 "CREATE INDEX sessions_source ON sessions (source_host, opened_at);"
	 "CREATE INDEX sessions_reason ON sessions (close_reason, opened_at);"

	 "CREATE TABLE links (run INTEGER NOT NULL, id INTEGER NOT NULL,"
	 " peer TEXT NOT NULL, address TEXT NOT NULL, up_at INTEGER NOT NULL,"
	 " down_at INTEGER, reason TEXT, PRIMARY KEY (run, id)) WITHOUT ROWID;"
	 "CREATE INDEX links_up ON links (up_at);"
	 "CREATE INDEX links_peer ON links (peer, up_at);"
	 "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;";

/* Sessions 1 to n, one of a hundred still open, of a run that was lost. */
static void
make_old(int n)
{
	char sql[1024];

	fixture_sql(version_1);
	snprintf(sql, sizeof sql,
	    "INSERT INTO runs VALUES (1, 'old', '0.1', 1, 5, 77, NULL, NULL);"
	    "UPDATE meta SET value = %d;"
	    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	    " WHERE i < %d) INSERT INTO sessions SELECT i, zeroblob(16), 1,"
	    " 'web', 'edge', 'tcp', 'entry', '192.0.2.' || i %% 200 || ':1',"
	    " '192.0.2.' || i %% 200, '', i, CASE WHEN i %% 100 THEN i + 5 END,"
	    " i, 1 << (i %% 40), CASE WHEN i %% 100 THEN 'closed' END,"
	    " CASE WHEN i %% 100 THEN 'user' END FROM n;"
	    "INSERT INTO links VALUES (1, 1, 'edge', 'a', 6, 60, 'silent'),"
	    " (1, 2, 'edge', 'a', 70, NULL, NULL)",
	    n + 1, n);
	fixture_sql(sql);
}

static void
await_version_2(void)
{
	double until = fixture_now() + 30;

	while (fixture_number("PRAGMA user_version") != 2) {
		if (fixture_now() > until)
			ck_abort_msg("still of version 1");
		fixture_sleep(0.01);
	}
}

/* What the schema of this connection's database says, in order. */
static void
read_schema(char *out, size_t size)
{
	fixture_text("SELECT group_concat(type || name || coalesce(sql, ''))"
		     " FROM (SELECT * FROM sqlite_schema ORDER BY name)",
	    out, size);
}

START_TEST(it_becomes_what_a_new_one_is)
{
	static char old[16384], new[16384];
	struct ledger *ledger;
	struct answer got;
	int64_t id;

	make_old(2000);
	ledger = fixture_open();
	fixture_await(ledger, "ok", 20);
	await_version_2();
	id = ledger_take_id(ledger);
	ck_assert_int_eq(id, 2001);
	got = fixture_query(ledger,
	    (struct history_query){ .tunnel = "web", .limit = 5000 });
	ck_assert_str_eq(got.error, "");
	ck_assert_uint_eq(got.n, 2000);
	ck_assert_int_eq(got.sessions[100].reason, REASON_DAEMON_LOST);
	ck_assert_int_eq(got.sessions[0].id, 2000);
	answer_free(&got);
	got = fixture_query(ledger,
	    (struct history_query){ .min_bytes = UINT64_C(1) << 39,
		.limit = 100 });
	ck_assert_uint_eq(got.n, 50);
	answer_free(&got);
	got = fixture_query(ledger,
	    (struct history_query){ .what = HISTORY_LINKS });
	ck_assert_uint_eq(got.n, 2);
	ck_assert_int_eq(got.links[1].back_us, 70);
	answer_free(&got);
	read_schema(old, sizeof old);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM pragma_integrity"
					"_check WHERE integrity_check = 'ok'"),
	    1);

	snprintf(path, sizeof path, "%s/new.db", dir);
	ledger_free(fixture_open());
	read_schema(new, sizeof new);
	ck_assert_str_eq(old, new);
}
END_TEST

/* Rows go on while it happens; whoever ends the daemon does not wait, nothing
 * is lost, and the next one goes on with it. */
START_TEST(a_large_one_takes_its_time)
{
	struct ledger *ledger;
	struct ledger_session session;
	struct ledger_status status;
	struct ledger_disabled what = { .peer = "edge", .at_us = 5 };
	double before;
	int starts = 0;

	make_old(300000);
	do {
		before = fixture_now();
		ledger = fixture_open();
		ck_assert_double_lt(fixture_now() - before, 15);
		ck_assert_int_eq(ledger_get_disabled(ledger, "edge", "", NULL),
		    starts > 0);
		ck_assert_int_eq(ledger_set_disabled(ledger, &what, true), 0);
		for (int i = 0; i < 1000; i++) {
			session = fixture_session(ledger_take_id(ledger));
			ledger_put_session(ledger, &session);
		}
		fixture_sleep(0.02 * ++starts);
		before = fixture_now();
		ledger_free(ledger);
		ck_assert_double_lt(fixture_now() - before, 15);
		ck_assert_int_le(starts, 200);
	} while (fixture_number("PRAGMA user_version") != 2);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"),
	    300000 + starts * 1000);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM runs"
					" WHERE how = 'stopped'"),
	    starts);
	printf("it took %d starts\n", starts);
	ledger = fixture_open();
	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.state, "ok");
	ledger_free(ledger);
}
END_TEST

START_TEST(it_is_not_read_before)
{
	char error[HISTORY_ERROR_SIZE];
	struct history *history;

	make_old(10);
	history = history_open(path, NULL, NULL, error, sizeof error);
	ck_assert_ptr_null(history);
	ck_assert_ptr_nonnull(strstr(error, "older version"));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger_old");
	TCase *tcase = tcase_create("version 1");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, it_becomes_what_a_new_one_is);
	tcase_add_test(tcase, a_large_one_takes_its_time);
	tcase_add_test(tcase, it_is_not_read_before);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
