/* SPDX-License-Identifier: ISC */
/* Reading the database: filters, plans, links, changes, files that are not. */
#include "history_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_fixture.h"

/* --- Filters, alone and in pairs ------------------------------------------ */

#define T(i) (SAMPLE_START + (i)*SAMPLE_STEP)

static const struct history_query filters[] = {
	{ .tunnel = "ssh" },
	{ .tunnel = "nothing" },
	{ .peer = "home" },
	{ .peer = "" },
	{ .source = "192.0.2.1" },
	{ .source = "2001:db8::1" },
	{ .source = "unix:" },
	{ .reason = "closed" },
	{ .reason = "refused" },
	{ .reason = "no_channel" },
	{ .since_us = T(1500) },
	{ .since_us = T(2980) },
	{ .since_us = T(2980) + 1 },
	{ .until_us = T(1500) },
	{ .until_us = T(3) },
	{ .until_us = T(3) + 1 },
	{ .min_bytes = 1 },
	{ .min_bytes = 7 },
	{ .min_bytes = 8 },
	{ .min_bytes = 9 },
	{ .min_bytes = 1023 },
	{ .min_bytes = 1024 },
	{ .min_bytes = 1025 },
	{ .min_bytes = 1 << 20 },
	{ .min_bytes = UINT64_C(1) << 45 },
	{ .min_bytes = (UINT64_C(1) << 61) - 1 },
	{ .min_bytes = (UINT64_C(1) << 61) },
	{ .min_bytes = (UINT64_C(1) << 61) + 1 },
	{ .min_bytes = INT64_MAX },
	{ .id = 77 },
};
#define FILTERS ((int)(sizeof filters / sizeof filters[0]))

/* What both ask for; of the same filter the second one. */
static struct history_query
both(struct history_query a, const struct history_query *b)
{
	a.tunnel = b->tunnel != NULL ? b->tunnel : a.tunnel;
	a.peer = b->peer != NULL ? b->peer : a.peer;
	a.source = b->source != NULL ? b->source : a.source;
	a.reason = b->reason != NULL ? b->reason : a.reason;
	a.since_us = b->since_us != 0 ? b->since_us : a.since_us;
	a.until_us = b->until_us != 0 ? b->until_us : a.until_us;
	a.min_bytes = b->min_bytes != 0 ? b->min_bytes : a.min_bytes;
	a.id = b->id != 0 ? b->id : a.id;
	return a;
}

static void
compare(const struct history_query *query)
{
	struct history_rows rows = history_must(query);
	const struct ledger_session *got;
	size_t n = 0;

	for (int i = SAMPLE_ROWS - 1; i >= 0 && n < query->limit; i--) {
		if (!sample_matches(&sample[i], query) ||
		    (query->closed_only && sample[i].closed_us == 0))
			continue;
		if (n == rows.n)
			ck_abort_msg("row %d is missing", i + 1);
		got = &rows.sessions[n++];
		ck_assert_int_eq(got->id, sample[i].id);
		ck_assert_str_eq(got->source, sample[i].source);
		ck_assert_uint_eq(got->up_bytes, sample[i].up_bytes);
		ck_assert_int_eq(got->closed_us, sample[i].closed_us);
		ck_assert_int_eq(got->reason, sample[i].reason);
	}
	ck_assert_uint_eq(rows.n, n);
	history_rows_clear(&rows);
}

START_TEST(filters_find_what_one_would)
{
	static const unsigned limits[] = { 1, 50, SAMPLE_ROWS };
	struct history_query query;

	for (int i = 0; i < FILTERS; i++) {
		for (int j = i; j < FILTERS; j++) {
			query = both(filters[i], &filters[j]);
			query.closed_only = _i % 2 == 0;
			query.limit = limits[_i / 2];
			compare(&query);
		}
	}
	query = (struct history_query){ .limit = limits[_i / 2],
		.closed_only = _i % 2 == 0 };
	compare(&query);
}
END_TEST

START_TEST(limits_are_kept)
{
	struct history_query query = { .limit = 0 };
	struct history_rows rows = history_must(&query);

	ck_assert_uint_eq(rows.n, 100);
	history_rows_clear(&rows);
	query.limit = UINT32_MAX;
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, SAMPLE_ROWS);
	history_rows_clear(&rows);
	ck_assert_ptr_null(rows.sessions);
	history_rows_clear(&rows);
	query = (struct history_query){ .source = "[2001:db8::1]" };
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 100);
	history_rows_clear(&rows);
}
END_TEST

START_TEST(sizes_have_classes)
{
	ck_assert_int_eq(history_size_class(0), 8);
	ck_assert_int_eq(history_size_class(7), 15);
	ck_assert_int_eq(history_size_class(8), 17);
	ck_assert_int_eq(history_size_class(15), 17);
	ck_assert_int_eq(history_size_class(16), 18);
	ck_assert_int_eq(history_size_class(UINT64_MAX), HISTORY_SIZE_CLASSES);
	/* As SQLite has it; the largest sum is no integer any more. */
	for (int i = 0; i < 64; i++) {
		char sql[256];

		snprintf(sql, sizeof sql,
		    "SELECT %s FROM (SELECT %lld AS up_bytes, %d AS"
		    " down_bytes)",
		    HISTORY_SIZE_CLASS, (long long)(INT64_MAX >> i), i % 3);
		ck_assert_int_eq(history_size_class((uint64_t)(INT64_MAX >> i) +
				     i % 3),
		    fixture_number(sql));
	}
	ck_assert_int_eq(
	    fixture_number("SELECT " HISTORY_SIZE_CLASS
			   " FROM (SELECT 9223372036854775807 AS up_bytes,"
			   " 9223372036854775807 AS down_bytes)"),
	    HISTORY_SIZE_CLASSES);
}
END_TEST

/* --- Plans ---------------------------------------------------------------- */

static char statements[64][2048];
static int n_statements;

static int
note_statement(unsigned event, void *arg, void *stmt, void *text)
{
	const char *sql = sqlite3_sql(stmt);

	(void)event;
	(void)arg;
	(void)text;
	if (strncmp(sql, "SELECT", 6) == 0 && n_statements < 64)
		snprintf(statements[n_statements++], sizeof statements[0], "%s",
		    sql);
	return 0;
}

/* Nothing is read whole, nothing is sorted that has no bound. */
static void
check_plan(const char *sql)
{
	char explain[2200];
	sqlite3_stmt *stmt;
	const char *detail;

	snprintf(explain, sizeof explain, "EXPLAIN QUERY PLAN %s", sql);
	ck_assert_int_eq(sqlite3_prepare_v2(history->db, explain, -1, &stmt,
			     NULL),
	    SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		detail = (const char *)sqlite3_column_text(stmt, 3);
		if (strstr(detail, "TEMP B-TREE") != NULL ||
		    (strncmp(detail, "SCAN", 4) == 0 &&
			strcmp(detail, "SCAN runs") != 0 &&
			strcmp(detail, "SCAN (subquery-1)") != 0 &&
			strstr(detail, "USING INDEX open_sessions") == NULL))
			ck_abort_msg("%s: %s", sql, detail);
	}
	sqlite3_finalize(stmt);
}

START_TEST(every_filter_has_an_index)
{
	struct history_query query;
	struct history_rows rows;

	/* With statistics as with none: the index is named. */
	if (_i % 2 == 1)
		fixture_sql("ANALYZE");
	history_reopen();
	sqlite3_trace_v2(history->db, SQLITE_TRACE_STMT, note_statement, NULL);
	for (int i = 0; i <= FILTERS; i++) {
		query = i < FILTERS ? filters[i] : (struct history_query){ 0 };
		query.closed_only = _i / 2 == 1;
		for (int what = 0; what < 5; what++) {
			query.what = (enum history_what)what;
			if (query.what == HISTORY_STATS &&
			    query.since_us == 0 && query.until_us == 0)
				query.since_us = T(2000);
			n_statements = 0;
			rows = history_must(&query);
			history_rows_clear(&rows);
			ck_assert_int_gt(n_statements, 0);
			for (int j = 0; j < n_statements; j++)
				check_plan(statements[j]);
			query.since_us = i < FILTERS ? filters[i].since_us : 0;
		}
	}
}
END_TEST

/* --- Stopping ------------------------------------------------------------- */

static int stop_after;

static const char *
stop_soon(void *arg)
{
	ck_assert_ptr_eq(arg, &stop_after);
	return stop_after-- > 0 ? NULL : "enough";
}

START_TEST(every_question_stops)
{
	struct history_query query = { .limit = SAMPLE_ROWS };
	char error[HISTORY_ERROR_SIZE];
	struct history_rows rows;

	history_close(history);
	stop_after = 1000;
	history = history_open(path, stop_soon, &stop_after, error,
	    sizeof error);
	ck_assert_ptr_nonnull(history);
	for (int what = 0; what < 3; what += 2) { /* sessions, stats */
		query.what = (enum history_what)what;
		for (stop_after = 0; stop_after < 10;) {
			int before = stop_after;

			ck_assert_int_eq(history_ask(history, &query, &rows,
					     error, sizeof error),
			    -1);
			ck_assert_str_eq(error, "enough");
			if (query.what == HISTORY_STATS)
				ck_assert_uint_eq(rows.n, 0);
			history_rows_clear(&rows);
			stop_after = before + 5;
		}
		stop_after = 1000000;
		rows = history_must(&query); /* and it works again */
		ck_assert_uint_gt(rows.n, 0);
		history_rows_clear(&rows);
	}
}
END_TEST

/* --- Links and changes ---------------------------------------------------- */

static void
links_setup(void)
{
	fixture_setup();
	history_make_file();
	fixture_sql("DELETE FROM runs;"
		    "INSERT INTO runs VALUES"
		    " (1, 'x', 'x', 1, 100, 500, 500, 'lost'),"
		    " (2, 'x', 'x', 1, 600, 990, NULL, NULL);"
		    "INSERT INTO links VALUES"
		    " (1, 1, 'edge', 'a', 110, 200, 'silent'),"
		    " (1, 2, 'home', 'a', 120, 500, 'daemon_lost'),"
		    " (1, 3, 'edge', 'a', 250, 500, 'daemon_lost'),"
		    " (2, 1, 'edge', 'a', 620, 700, 'reset'),"
		    /* the new one came before the old one was gone */
		    " (2, 2, 'edge', 'a', 690, 800, 'silent'),"
		    " (2, 3, 'home', 'a', 630, NULL, NULL);"
		    "INSERT INTO changes (at, uid, who, command, detail) VALUES"
		    " (5, 0, 'root (uid 0)', 'kill', 'one'),"
		    " (7, 4294967295, 'x', 'disable', 'two'),"
		    " (7, 2, 'y', 'enable', 'three')");
	history_reopen();
}

static const struct {
	struct history_query query;
	const char *found; /* up_at, back_at */
} links[] = {
	{ { 0 }, "690:0 630:0 620:700 250:620 120:630 110:250 " },
	{ { .peer = "edge" }, "690:0 620:700 250:620 110:250 " },
	{ { .peer = "edge", .limit = 2 }, "690:0 620:700 " },
	{ { .peer = "nobody" }, "" },
	{ { .reason = "silent" }, "690:0 110:250 " },
	{ { .reason = "silent", .peer = "edge", .since_us = 300 }, "690:0 " },
	{ { .closed_only = true }, "690:0 620:700 250:620 120:630 110:250 " },
	{ { .tunnel = "x", .source = "y", .min_bytes = 9 },
	    "690:0 630:0 620:700 250:620 120:630 110:250 " },
	/* Any of its life in [since, until). */
	{ { .since_us = 200 }, "690:0 630:0 620:700 250:620 120:630 " },
	{ { .since_us = 199 }, "690:0 630:0 620:700 250:620 120:630 110:250 " },
	{ { .until_us = 250 }, "120:630 110:250 " },
	{ { .until_us = 251 }, "250:620 120:630 110:250 " },
	{ { .since_us = 500, .until_us = 620 }, "" },
	{ { .since_us = 900 }, "630:0 " },
};

START_TEST(links_are_found)
{
	struct history_query query = links[_i].query;
	struct history_rows rows;
	char found[256] = "";

	query.what = HISTORY_LINKS;
	rows = history_must(&query);
	for (size_t i = 0; i < rows.n; i++)
		sprintf(found + strlen(found), "%d:%d ",
		    (int)rows.links[i].up_us, (int)rows.links[i].back_us);
	ck_assert_str_eq(found, links[_i].found);
	history_rows_clear(&rows);
}
END_TEST

START_TEST(changes_are_found)
{
	struct history_query query = { .what = HISTORY_CHANGES };
	struct history_rows rows = history_must(&query);

	ck_assert_uint_eq(rows.n, 3);
	ck_assert_str_eq(rows.changes[0].detail, "three");
	ck_assert_uint_eq(rows.changes[1].uid, UINT32_MAX);
	ck_assert_str_eq(rows.changes[2].by, "root (uid 0)");
	ck_assert_str_eq(rows.changes[2].command, "kill");
	ck_assert_int_eq(rows.changes[2].at_us, 5);
	history_rows_clear(&rows);
	query.since_us = 6;
	query.limit = 1;
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 1);
	history_rows_clear(&rows);
	query = (struct history_query){ .what = HISTORY_CHANGES,
		.until_us = 7 };
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 1);
	history_rows_clear(&rows);
}
END_TEST

/* --- Uptime --------------------------------------------------------------- */

/* What is known: [100, 500) and [600, 990), whose run has died since. */
static const struct {
	struct history_query query;
	size_t n;
	struct history_uptime rows[2]; /* up and known in microseconds */
} uptimes[] = {
	{ { 0 }, 2,
	    { { .peer = "edge", .up = 520, .known = 790, .downs = 4 },
		{ .peer = "home", .up = 740, .known = 790, .downs = 1 } } },
	{ { .peer = "edge", .since_us = 150, .until_us = 260 }, 1,
	    { { .peer = "edge", .up = 60, .known = 110, .downs = 1 } } },
	/* until is not in it */
	{ { .peer = "edge", .since_us = 150, .until_us = 200 }, 1,
	    { { .peer = "edge", .up = 50, .known = 50, .downs = 0 } } },
	{ { .peer = "edge", .since_us = 500, .until_us = 600 }, 1,
	    { { .peer = "edge", .up = 0, .known = 0, .downs = 1 } } },
	{ { .peer = "edge", .since_us = 50, .until_us = 110 }, 1,
	    { { .peer = "edge", .up = 0, .known = 10, .downs = 0 } } },
	{ { .since_us = 980, .until_us = 995, .limit = 1 }, 1,
	    { { .peer = "edge", .up = 0, .known = 10, .downs = 0 } } },
	{ { .peer = "home", .since_us = 980, .until_us = 995 }, 1,
	    { { .peer = "home", .up = 10, .known = 10, .downs = 0 } } },
	{ { .peer = "nobody" }, 0, { { .up = 0 } } },
	{ { .since_us = 20, .until_us = 20 }, 0, { { .up = 0 } } },
};

START_TEST(uptime_is_counted)
{
	struct history_query query = uptimes[_i].query;
	const struct history_uptime *want;
	struct history_rows rows;

	query.what = HISTORY_UPTIME;
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, uptimes[_i].n);
	for (size_t i = 0; i < rows.n; i++) {
		want = &uptimes[_i].rows[i];
		ck_assert_str_eq(rows.uptimes[i].peer, want->peer);
		ck_assert_int_eq(rows.uptimes[i].from_us, 0);
		ck_assert_double_eq_tol(rows.uptimes[i].up * 1e6, want->up,
		    1e-3);
		ck_assert_double_eq_tol(rows.uptimes[i].known * 1e6,
		    want->known, 1e-3);
		ck_assert_uint_eq(rows.uptimes[i].downs, want->downs);
		ck_assert_double_eq_tol(rows.uptimes[i].percent,
		    want->known > 0 ? 100 * want->up / want->known : -1, 1e-9);
	}
	history_rows_clear(&rows);
}
END_TEST

/* --- Files ---------------------------------------------------------------- */

START_TEST(other_files_are_refused)
{
	static const struct {
		const char *sql, *error;
	} cases[] = {
		{ "SELECT 1", "unable to open database file" },
		{ "CREATE TABLE x (y)", "not a database of sessions" },
		{ "PRAGMA user_version = 1", "older version" },
		{ "PRAGMA user_version = 99", "newer version" },
	};
	char error[HISTORY_ERROR_SIZE] = "";

	if (_i > 0)
		fixture_sql(cases[_i].sql);
	ck_assert_ptr_null(history_open(path, NULL, NULL, error, sizeof error));
	if (strstr(error, cases[_i].error) == NULL)
		ck_abort_msg("%s", error);
	ck_assert_int_eq(access(path, F_OK), _i > 0 ? 0 : -1);
	history_close(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("history");
	TCase *sessions = tcase_create("sessions");
	TCase *others = tcase_create("links");
	TCase *files = tcase_create("files");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(sessions, history_setup, history_teardown);
	tcase_set_timeout(sessions, 60);
	tcase_add_loop_test(sessions, filters_find_what_one_would, 0, 6);
	tcase_add_test(sessions, limits_are_kept);
	tcase_add_test(sessions, sizes_have_classes);
	tcase_add_loop_test(sessions, every_filter_has_an_index, 0, 4);
	tcase_add_test(sessions, every_question_stops);
	tcase_add_checked_fixture(others, links_setup, history_teardown);
	tcase_add_loop_test(others, links_are_found, 0,
	    (int)(sizeof links / sizeof links[0]));
	tcase_add_test(others, changes_are_found);
	tcase_add_loop_test(others, uptime_is_counted, 0,
	    (int)(sizeof uptimes / sizeof uptimes[0]));
	tcase_add_checked_fixture(files, fixture_setup, fixture_teardown);
	tcase_add_loop_test(files, other_files_are_refused, 0, 4);
	suite_add_tcase(suite, sessions);
	suite_add_tcase(suite, others);
	suite_add_tcase(suite, files);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
