/* SPDX-License-Identifier: ISC */
/* The ledger at work: rows, ids, retention. */
#include <sys/stat.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_fixture.h"

#define ODD (INT64_C(1) << 52)

static void
ck_assert_same_session(const struct ledger_session *a,
    const struct ledger_session *b)
{
	ck_assert_int_eq(a->id, b->id);
	ck_assert_mem_eq(a->uid, b->uid, sizeof a->uid);
	ck_assert_str_eq(a->tunnel, b->tunnel);
	ck_assert_str_eq(a->peer, b->peer);
	ck_assert_str_eq(a->type, b->type);
	ck_assert_int_eq(a->end, b->end);
	ck_assert_str_eq(a->source, b->source);
	ck_assert_str_eq(a->target, b->target);
	ck_assert_int_eq(a->opened_us, b->opened_us);
	ck_assert_int_eq(a->closed_us, b->closed_us);
	ck_assert_uint_eq(a->up_bytes, INT64_MAX);
	ck_assert_uint_eq(a->down_bytes, b->down_bytes);
	ck_assert_int_eq(a->reason, b->reason);
	ck_assert_str_eq(a->closed_by, b->closed_by);
}

START_TEST(rows_come_back_as_they_went)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session in = fixture_session(ledger_take_id(ledger));
	struct ledger_link link = fixture_link(3);
	struct ledger_status status;
	struct answer got;

	in.end = LEDGER_END_EXIT;
	in.up_bytes = UINT64_MAX; /* kept as the largest INTEGER */
	in.reason = REASON_KILLED_BY_PEER;
	ledger_put_session(ledger, &in);
	ledger_put_link(ledger, &link);
	got = fixture_query(ledger, (struct history_query){ .id = in.id });
	ck_assert_str_eq(got.error, "");
	ck_assert_uint_eq(got.n, 1);
	ck_assert_same_session(&got.sessions[0], &in);
	answer_free(&got);

	got = fixture_query(ledger,
	    (struct history_query){ .what = HISTORY_LINKS });
	ck_assert_uint_eq(got.n, 1);
	ck_assert_int_eq(got.links[0].id, link.id);
	ck_assert_str_eq(got.links[0].peer, link.peer);
	ck_assert_str_eq(got.links[0].address, link.address);
	ck_assert_int_eq(got.links[0].up_us, link.up_us);
	ck_assert_int_eq(got.links[0].down_us, link.down_us);
	ck_assert_str_eq(got.links[0].reason, link.reason);
	answer_free(&got);

	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.state, "ok");
	ck_assert_str_eq(status.path, path);
	ck_assert_uint_eq(status.written, 2);
	ck_assert_uint_eq(status.lost, 0);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT how = 'stopped' AND ended_at >="
					" started_at FROM runs"),
	    1);
}
END_TEST

START_TEST(a_row_is_updated_in_place)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session = fixture_session(7);

	session.closed_us = 0;
	session.reason = REASON_NONE;
	ledger_put_session(ledger, &session);
	fixture_settle(ledger);
	ck_assert_int_eq(fixture_number("SELECT closed_at IS NULL AND"
					" close_reason IS NULL FROM sessions"),
	    1);
	session.up_bytes = 1000;
	ledger_put_session(ledger, &session);
	session.closed_us = 9000000;
	session.reason = REASON_RESET;
	session.down_bytes = 2000;
	ledger_put_session(ledger, &session);
	fixture_settle(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 1);
	ck_assert_int_eq(
	    fixture_number("SELECT up_bytes = 1000 AND"
			   " down_bytes = 2000 AND closed_at = 9000000 AND"
			   " close_reason = 'reset' FROM sessions"),
	    1);
	ledger_free(ledger);
}
END_TEST

START_TEST(another_session_of_that_id_is_kept)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session = fixture_session(7);
	struct ledger_status status;

	ledger_put_session(ledger, &session);
	fixture_settle(ledger);
	session.uid[15] = 1;
	session.up_bytes = 1000;
	ledger_put_session(ledger, &session);
	fixture_settle(ledger);
	ledger_get_status(ledger, &status);
	ck_assert_uint_eq(status.lost, 1);
	ck_assert_int_eq(fixture_number("SELECT up_bytes FROM sessions"), 10);
	ledger_free(ledger);
}
END_TEST

START_TEST(files_have_their_mode)
{
	static const mode_t masks[] = { 0, 0077 };
	static const char *const suffixes[] = { "", "-wal", "-shm", "-runs" };
	struct ledger *ledger;
	char name[160];
	struct stat st;

	umask(masks[_i]);
	ledger = fixture_open();
	for (size_t i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
		ck_assert_int_eq(stat(name, &st), 0);
		ck_assert_int_eq(st.st_mode & 07777, 0640);
	}
	ledger_free(ledger);
}
END_TEST

START_TEST(many_sessions_arrive)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session;
	struct ledger_status status;
	double before = fixture_now();

	for (int i = 0; i < 20000; i++) {
		session = fixture_session(ledger_take_id(ledger));
		session.closed_us = 0;
		ledger_put_session(ledger, &session);
		session.closed_us = session.opened_us + 1;
		ledger_put_session(ledger, &session);
	}
	before = fixture_now() - before;
	fixture_settle(ledger);
	ledger_get_status(ledger, &status);
	ck_assert_uint_eq(status.lost, 0);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"
					" WHERE closed_at = opened_at + 1"),
	    20000);
	ledger_free(ledger);
	printf("20,000 sessions: the caller %.3f s\n", before);
}
END_TEST

START_TEST(free_writes_what_is_queued)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session;

	for (int i = 1; i <= 10000; i++) {
		session = fixture_session(i);
		if (i == 1)
			session.closed_us = 0;
		ledger_put_session(ledger, &session);
	}
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"),
	    10000);
	/* Whoever forgot to close it: the run ended in order. */
	ck_assert_int_eq(fixture_number("SELECT close_reason = 'shutdown'"
					" FROM sessions WHERE id = 1"),
	    1);
	ledger_free(NULL);
}
END_TEST

START_TEST(ids_stay_short_and_unique)
{
	struct ledger *ledger;
	int64_t last = 0, id;

	for (int run = 0; run < 5; run++) {
		ledger = fixture_open();
		for (int i = 0; i < 700; i++) {
			id = ledger_take_id(ledger);
			ck_assert_int_eq(id, last + 1); /* nothing wasted */
			last = id;
			if (i == 600) /* time to reserve the next block */
				fixture_sleep(0.1);
		}
		ledger_free(ledger);
	}
}
END_TEST

/* Nobody waits for the disk, however quickly ids go. */
START_TEST(ids_without_a_block)
{
	struct ledger *ledger = fixture_open();
	static int64_t ids[100000];
	int64_t last[2] = { 0, 0 };
	int odd, n[2] = { 0, 0 };

	for (int i = 0; i < 100000; i++)
		ids[i] = ledger_take_id(ledger);
	for (int i = 0; i < 100000; i++) {
		odd = ids[i] >= ODD;
		/* Rising within each kind, so unique. */
		if (ids[i] <= last[odd] || ids[i] >= 2 * ODD)
			ck_abort_msg("%lld", (long long)ids[i]);
		last[odd] = ids[i];
		n[odd]++;
	}
	printf("%d of 100,000 ids without a block\n", n[1]);
	fixture_sleep(0.3);
	ck_assert_int_lt(ledger_take_id(ledger), 1000000);
	ledger_free(ledger);
}
END_TEST

static void
put_days_ago(struct ledger *ledger, int64_t id, int days, bool link)
{
	int64_t at = loop_wall_us() - (int64_t)days * 86400 * 1000000;
	struct ledger_session session = fixture_session(id);
	struct ledger_link row = fixture_link(id);

	session.opened_us = row.up_us = at;
	session.closed_us = row.down_us = at + 1;
	if (link)
		ledger_put_link(ledger, &row);
	else
		ledger_put_session(ledger, &session);
}

static void
put_changes(struct ledger *ledger)
{
	struct ledger_change change = { .at_us = 1, .command = "kill" };

	ledger_put_change(ledger, &change);
	change.at_us = loop_wall_us();
	ledger_put_change(ledger, &change);
}

START_TEST(old_rows_are_removed)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session = fixture_session(5000);

	for (int i = 1; i <= 1200; i++)
		put_days_ago(ledger, i, 3, false);
	for (int i = 1201; i <= 1210; i++)
		put_days_ago(ledger, i, 0, false);
	put_days_ago(ledger, 1, 3, true);
	put_days_ago(ledger, 2, 0, true);
	/* Opened long ago, open still when the ledger ends: it stays. */
	session.closed_us = 0;
	ledger_put_session(ledger, &session);
	put_changes(ledger);
	ledger_free(ledger);
	/* Ended before the oldest session was opened, and after that. */
	fixture_sql("INSERT INTO runs VALUES (900, 'x', 'x', 1, 1, 1, 1, 'x'),"
		    " (901, 'x', 'x', 1, 1, 1, 6000000000, 'x')");

	options.retention_days = 2;
	ledger = fixture_open();
	fixture_await_number("SELECT count(*) FROM sessions", 11);
	fixture_await_number("SELECT count(*) FROM links", 1);
	fixture_await_number("SELECT count(*) FROM runs", 3); /* 900 is gone */
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM changes"), 1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"
					" WHERE id > 1200"),
	    11);
	ledger_free(ledger);

	options.retention_days = 0;
	options.max_rows = 4;
	ledger = fixture_open();
	fixture_await_number("SELECT count(*) FROM sessions", 4);
	ledger_free(ledger);
}
END_TEST

START_TEST(changes_are_kept_in_bounds)
{
	struct ledger *ledger = fixture_open();

	ledger_free(ledger);
	fixture_sql("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1"
		    " FROM n WHERE i < 100700) INSERT INTO changes (at, uid,"
		    " who, command, detail) SELECT i, 0, '', '', '' FROM n");
	ledger = fixture_open();
	fixture_await_number("SELECT count(*) FROM changes", 100000);
	ck_assert_int_eq(fixture_number("SELECT min(at) FROM changes"), 701);
	ledger_free(ledger);
}
END_TEST

static void *
put_from_a_thread(void *arg)
{
	struct ledger_session session;

	for (int i = 0; i < 3000; i++) {
		session = fixture_session(ledger_take_id(arg));
		ledger_put_session(arg, &session);
	}
	return NULL;
}

/* Later there will be more loops than one. */
START_TEST(several_threads_put)
{
	struct ledger *ledger = fixture_open();
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		ck_assert(pthread_create(&threads[i], NULL, put_from_a_thread,
			      ledger) == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 9000);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tcase = tcase_create("work");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, rows_come_back_as_they_went);
	tcase_add_test(tcase, a_row_is_updated_in_place);
	tcase_add_test(tcase, another_session_of_that_id_is_kept);
	tcase_add_loop_test(tcase, files_have_their_mode, 0, 2);
	tcase_add_test(tcase, many_sessions_arrive);
	tcase_add_test(tcase, free_writes_what_is_queued);
	tcase_add_test(tcase, ids_stay_short_and_unique);
	tcase_add_test(tcase, ids_without_a_block);
	tcase_add_test(tcase, old_rows_are_removed);
	tcase_add_test(tcase, changes_are_kept_in_bounds);
	tcase_add_test(tcase, several_threads_put);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
