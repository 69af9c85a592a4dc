/* SPDX-License-Identifier: ISC */
/* Sums over sessions, against sums made by hand; percentiles; bounds. */
#include "history_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history_fixture.h"

#define HOUR (INT64_C(3600) * 1000000)

static int
compare_numbers(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* The p-th percentile as one learns it: of the sorted numbers the one at the
 * least place that is not below p percent of them. */
static int64_t
naive_rank(int64_t *values, size_t n, unsigned percent)
{
	size_t place = 1;

	qsort(values, n, sizeof *values, compare_numbers);
	while (place * 100 < n * percent)
		place++;
	return values[place - 1];
}

START_TEST(ranks_are_nearest)
{
	int64_t values[300], copy[300];
	size_t n;

	srandom((unsigned)_i);
	for (int round = 0; round < 300; round++) {
		n = (size_t)random() % 300 + 1;
		for (size_t i = 0; i < n; i++)
			values[i] = random() % (_i % 2 ? 5 : 1000000) - 2;
		for (unsigned percent = 0; percent <= 100; percent += 5) {
			memcpy(copy, values, n * sizeof *copy);
			int64_t want = naive_rank(copy, n, percent);

			memcpy(copy, values, n * sizeof *copy);
			ck_assert_int_eq(history_rank(copy, n, percent), want);
		}
	}
	values[0] = 7;
	ck_assert_int_eq(history_rank(values, 1, 50), 7);
	ck_assert_int_eq(history_rank(values, 1, 95), 7);
	values[0] = 9;
	values[1] = 3;
	ck_assert_int_eq(history_rank(values, 2, 50), 3);
	ck_assert_int_eq(history_rank(values, 2, 95), 9);
}
END_TEST

START_TEST(ranks_of_many_are_quick)
{
	size_t n = 2000000;
	int64_t *values = calloc(n, sizeof *values);
	double before = fixture_now();

	for (size_t i = 0; i < n; i++)
		values[i] = _i == 0 ? 0 : _i == 1 ? (int64_t)i : (int64_t)-i;
	history_rank(values, n, 50);
	history_rank(values, n, 95);
	ck_assert_double_lt(fixture_now() - before, 15);
	free(values);
}
END_TEST

/* --- Against the naive ---------------------------------------------------- */

static bool
naive_failed(enum reason reason)
{
	return reason == REASON_REFUSED; /* of those in the sample */
}

static bool
naive_same(const struct ledger_session *a, const struct history_stat *b,
    const struct history_query *query)
{
	int64_t span = query->per == HISTORY_PER_HOUR ? HOUR : 24 * HOUR;

	if (query->per != HISTORY_PER_ALL &&
	    a->opened_us / span * span != b->from_us)
		return false;
	if (query->by == HISTORY_BY_SOURCE)
		return strcmp(sample_host(a), b->source) == 0;
	return strcmp(a->peer, b->peer) == 0 &&
	    (query->by == HISTORY_BY_PEER || strcmp(a->tunnel, b->tunnel) == 0);
}

/* Checks one row; returns how many sessions are in it. */
static uint64_t
check_stat(const struct history_stat *stat, const struct history_query *query)
{
	struct history_stat want = { .median = -1, .p95 = -1 };
	static int64_t durations[SAMPLE_ROWS];
	const struct ledger_session *row;
	size_t n = 0;

	for (int i = 0; i < SAMPLE_ROWS; i++) {
		row = &sample[i];
		if (!sample_matches(row, query) ||
		    (query->closed_only && row->closed_us == 0) ||
		    !naive_same(row, stat, query))
			continue;
		want.sessions++;
		want.up_bytes += row->up_bytes / 16;
		want.down_bytes += row->down_bytes / 16;
		if (row->closed_us == 0)
			continue;
		want.failed += naive_failed(row->reason);
		durations[n++] = row->closed_us - row->opened_us;
	}
	if (n > 0) {
		want.median = (double)naive_rank(durations, n, 50) / 1e6;
		want.p95 = (double)naive_rank(durations, n, 95) / 1e6;
	}
	ck_assert_uint_eq(stat->sessions, want.sessions);
	ck_assert_uint_eq(stat->failed, want.failed);
	/* Sums may be cut at the largest there is. */
	if (stat->up_bytes != UINT64_MAX)
		ck_assert_uint_le(stat->up_bytes / 16 - want.up_bytes,
		    n + 1000);
	if (stat->down_bytes != UINT64_MAX)
		ck_assert_uint_le(stat->down_bytes / 16 - want.down_bytes,
		    n + 1000);
	ck_assert_double_eq(stat->median, want.median);
	ck_assert_double_eq(stat->p95, want.p95);
	return want.sessions;
}

static void
check_order(const struct history_rows *rows)
{
	const struct history_stat *a, *b;

	for (size_t i = 1; i < rows->n; i++) {
		a = &rows->stats[i - 1];
		b = &rows->stats[i];
		ck_assert_int_ge(a->from_us, b->from_us);
		if (a->from_us == b->from_us && a->up_bytes < INT64_MAX / 2 &&
		    a->down_bytes < INT64_MAX / 2)
			ck_assert_uint_ge(a->up_bytes + a->down_bytes,
			    b->up_bytes + b->down_bytes);
	}
}

START_TEST(sums_are_right)
{
	static const struct history_query filters[] = {
		{ 0 },
		{ .tunnel = "ssh" },
		{ .peer = "home" },
		{ .source = "2001:db8::1" },
		{ .reason = "closed" },
		{ .min_bytes = 5000 },
		{ .since_us = SAMPLE_START + 1000 * SAMPLE_STEP },
		{ .until_us = SAMPLE_START + 1000 * SAMPLE_STEP },
		{ .since_us = SAMPLE_START + 2 * SAMPLE_STEP,
		    .until_us = SAMPLE_START + 3 * SAMPLE_STEP },
		{ .closed_only = true },
		{ .peer = "", .tunnel = "web", .since_us = SAMPLE_START },
	};
	struct history_query query;
	struct history_rows rows;
	uint64_t sum, want;

	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
		query = filters[i];
		query.what = HISTORY_STATS;
		query.by = (enum history_by)(_i % 3);
		query.per = (enum history_per)(_i / 3);
		query.limit = HISTORY_LIMIT_MAX;
		rows = history_must(&query);
		sum = want = 0;
		for (size_t j = 0; j < rows.n; j++)
			sum += check_stat(&rows.stats[j], &query);
		for (int j = 0; j < SAMPLE_ROWS; j++)
			want += sample_matches(&sample[j], &query) &&
			    (!query.closed_only || sample[j].closed_us != 0);
		ck_assert_uint_eq(sum, want); /* none twice, none missing */
		check_order(&rows);
		history_rows_clear(&rows);
	}
}
END_TEST

static struct history_stat
only_stat(void)
{
	struct history_query query = { .what = HISTORY_STATS };
	struct history_rows rows;
	struct history_stat stat;

	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 1);
	stat = rows.stats[0];
	history_rows_clear(&rows);
	return stat;
}

START_TEST(few_rows_have_percentiles)
{
	struct history_stat stat;

	fixture_sql("DELETE FROM sessions WHERE id > 2; UPDATE sessions SET"
		    " tunnel = 'x', peer = 'y', closed_at = opened_at + 3000000"
		    " * id, close_reason = 'limit', up_bytes = 1");
	stat = only_stat();
	ck_assert_double_eq(stat.median, 3);
	ck_assert_double_eq(stat.p95, 6);
	ck_assert_uint_eq(stat.failed, 2);
	ck_assert_uint_eq(stat.up_bytes, 2);
	ck_assert_str_eq(stat.tunnel, "x");
	ck_assert_str_eq(stat.peer, "y");
	ck_assert_str_eq(stat.source, "");
	fixture_sql("DELETE FROM sessions WHERE id = 1");
	stat = only_stat();
	ck_assert_double_eq(stat.median, 6);
	ck_assert_double_eq(stat.p95, 6);
	fixture_sql(
	    "UPDATE sessions SET closed_at = NULL, close_reason = NULL");
	stat = only_stat();
	ck_assert_double_lt(stat.median, 0);
	ck_assert_double_lt(stat.p95, 0);
	ck_assert_uint_eq(stat.sessions, 1);
	ck_assert_uint_eq(stat.failed, 0);
	/* A clock that was set back. */
	fixture_sql(
	    "UPDATE sessions SET closed_at = 1, close_reason = 'reset'");
	stat = only_stat();
	ck_assert_double_eq(stat.median, 0);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct history_query query = { .what = HISTORY_STATS,
		.by = HISTORY_BY_SOURCE };
	char error[HISTORY_ERROR_SIZE];
	struct history_rows rows;

	fixture_sql("DELETE FROM sessions; WITH RECURSIVE n (i) AS (SELECT 1"
		    " UNION ALL SELECT i + 1 FROM n WHERE i < 100001)"
		    " INSERT INTO sessions SELECT i, x'00', 1, 't', 'p', 'tcp',"
		    " 'entry', 'h' || i || ':1', 'h' || i, '', i, i, 1, 1,"
		    " 'closed', '' FROM n");
	ck_assert_int_eq(history_ask(history, &query, &rows, error,
			     sizeof error),
	    -1);
	ck_assert_ptr_nonnull(strstr(error, "too much"));
	ck_assert_uint_eq(rows.n, 0);
	history_rows_clear(&rows);
	fixture_sql("DELETE FROM sessions WHERE id = 1");
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 100);
	history_rows_clear(&rows);
	/* Spans of uptime as well. */
	fixture_sql("INSERT INTO links VALUES (1, 1, 'p', '', 1, 2, '');"
		    "UPDATE runs SET started_at = 1");
	query = (struct history_query){ .what = HISTORY_UPTIME,
		.per = HISTORY_PER_HOUR,
		.since_us = 1 };
	ck_assert_int_eq(history_ask(history, &query, &rows, error,
			     sizeof error),
	    -1);
	ck_assert_ptr_nonnull(strstr(error, "too much"));
	history_rows_clear(&rows);
}
END_TEST

START_TEST(uptime_by_the_hour)
{
	struct history_query query = { .what = HISTORY_UPTIME,
		.per = HISTORY_PER_HOUR,
		.since_us = 2 * HOUR + HOUR / 2,
		.until_us = 5 * HOUR + 1 };
	struct history_rows rows;
	const struct history_uptime *row;

	fixture_sql("DELETE FROM runs; INSERT INTO runs VALUES (1, 'x', 'x',"
		    " 1, 0, 1, 14400000000, 'stopped'); INSERT INTO links"
		    " VALUES (1, 1, 'p', '', 1, 9900000000, ''),"
		    " (1, 2, 'p', '', 10800000000, 14400000000, '')");
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(rows.uptimes[i].from_us, (5 - i) * HOUR);
	row = &rows.uptimes[3]; /* 2:30 to 3:00, up until 2:45 */
	ck_assert_double_eq(row->up, 900);
	ck_assert_double_eq(row->known, 1800);
	ck_assert_double_eq(row->percent, 50);
	ck_assert_uint_eq(row->downs, 1);
	row = &rows.uptimes[2];
	ck_assert_double_eq(row->percent, 100);
	ck_assert_uint_eq(row->downs, 0);
	row = &rows.uptimes[1]; /* 4:00: the end of it all */
	ck_assert_double_lt(row->percent, 0);
	ck_assert_uint_eq(row->downs, 1);
	history_rows_clear(&rows);
}
END_TEST

/* Nobody needs a row for each hour of a year in which there was no daemon. */
START_TEST(uptime_begins_with_the_first_run)
{
	struct history_query query = { .what = HISTORY_UPTIME,
		.per = HISTORY_PER_HOUR,
		.since_us = 1,
		.until_us = 5 * HOUR };
	struct history_rows rows;

	fixture_sql("DELETE FROM runs; INSERT INTO runs VALUES (1, 'x', 'x',"
		    " 1, 12600000000, 1, 14400000000, 'stopped');"
		    " INSERT INTO links VALUES"
		    " (1, 1, 'p', '', 12600000000, 14400000000, '')");
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 2);
	ck_assert_int_eq(rows.uptimes[1].from_us, 3 * HOUR);
	ck_assert_double_eq(rows.uptimes[1].known, 1800);
	ck_assert_double_eq(rows.uptimes[1].percent, 100);
	history_rows_clear(&rows);
	query.until_us = 3 * HOUR;
	rows = history_must(&query);
	ck_assert_uint_eq(rows.n, 0);
	history_rows_clear(&rows);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("history_stats");
	TCase *ranks = tcase_create("ranks");
	TCase *sums = tcase_create("sums");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(ranks, fixture_setup, fixture_teardown);
	tcase_set_timeout(ranks, 60);
	tcase_add_loop_test(ranks, ranks_are_nearest, 0, 4);
	tcase_add_loop_test(ranks, ranks_of_many_are_quick, 0, 3);
	tcase_add_checked_fixture(sums, history_setup, history_teardown);
	tcase_set_timeout(sums, 60);
	tcase_add_loop_test(sums, sums_are_right, 0, 9);
	tcase_add_test(sums, few_rows_have_percentiles);
	tcase_add_test(sums, memory_is_bounded);
	tcase_add_test(sums, uptime_by_the_hour);
	tcase_add_test(sums, uptime_begins_with_the_first_run);
	suite_add_tcase(suite, ranks);
	suite_add_tcase(suite, sums);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
