/* SPDX-License-Identifier: ISC */
/* Two processes of one daemon on one ledger: sessions that move, ids, and a
 * database that is always busy. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_fixture.h"

static struct ledger *old, *new;

static void
setup(void)
{
	fixture_setup();
	old = fixture_open();
	options.generation = 1;
	new = fixture_open();
	fixture_await(old, "ok", 20);
	fixture_await(new, "ok", 20);
}

static void
teardown(void)
{
	ledger_free(old);
	ledger_free(new);
	fixture_teardown();
}

/* --- a session that moves --------------------------------------------------- */

/* What the one and the other say of it, up to its close. */
enum word { GIVE, TAKE, MORE, CLOSE, END, WORDS };

static void
say(enum word word)
{
	struct ledger_session session = fixture_session(5);

	session.closed_us = 0;
	session.reason = REASON_NONE;
	session.closed_by[0] = '\0';
	session.up_bytes = 3;
	session.down_bytes = 0;
	if (word == END) {
		ledger_free(old);
		old = NULL;
		return;
	}
	if (word == GIVE) {
		ledger_put_session(old, &session);
		fixture_settle(old);
		return;
	}
	session.taken = true;
	if (word >= MORE)
		session.up_bytes = 1000;
	if (word == CLOSE) {
		session.closed_us = 9000000;
		session.reason = REASON_CLOSED;
		strcpy(session.closed_by, "user");
	}
	ledger_put_session(new, &session);
	fixture_settle(new);
}

static void
expect(bool closed, bool more)
{
	char sql[300];

	snprintf(sql, sizeof sql,
	    "SELECT count(*) FROM sessions WHERE id = 5 AND run ="
	    " (SELECT max(id) FROM runs) AND up_bytes = %d AND %s",
	    more ? 1000 : 3,
	    closed ? "closed_at = 9000000 AND close_reason = 'closed'"
		     " AND closed_by = 'user'" :
		     "closed_at IS NULL AND close_reason IS NULL"
		     " AND closed_by IS NULL");
	ck_assert_int_eq(fixture_number(sql), 1);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 1);
}

/* In each order that there can be: what the old one says may come late. */
START_TEST(orders)
{
	static const enum word all[][WORDS] = {
		{ GIVE, TAKE, MORE, END, CLOSE },
		{ GIVE, TAKE, END, MORE, CLOSE },
		{ GIVE, END, TAKE, MORE, CLOSE },
		{ TAKE, GIVE, END, MORE, CLOSE },
		{ TAKE, MORE, GIVE, END, CLOSE },
		{ TAKE, MORE, GIVE, CLOSE, END },
		{ TAKE, MORE, CLOSE, GIVE, END },
		{ GIVE, TAKE, MORE, CLOSE, END },
	};
	bool taken = false, closed = false, more = false;

	for (size_t i = 0; i < WORDS; i++) {
		say(all[_i][i]);
		taken |= all[_i][i] == TAKE;
		more |= all[_i][i] == MORE;
		closed |= all[_i][i] == CLOSE;
		if (taken)
			expect(closed, more);
	}
}
END_TEST

/* The old one dies without a word; whoever notices first closes nothing that
 * is not its own. */
START_TEST(a_lost_run)
{
	say(GIVE);
	fixture_sql("UPDATE sessions SET closed_at = 1, close_reason ="
		    " 'daemon_lost', closed_by = 'daemon'");
	say(TAKE);
	expect(false, false);
	say(MORE);
	say(CLOSE);
	expect(true, true);
}
END_TEST

/* It moves once more, and the second one has something to say yet. */
START_TEST(a_third)
{
	struct ledger *second = new;

	say(GIVE);
	say(TAKE);
	options.generation = 2;
	new = fixture_open();
	say(TAKE);
	say(MORE);
	ledger_free(old);
	old = second;
	say(GIVE);
	expect(false, true);
	say(END);
	expect(false, true);
	say(CLOSE);
	expect(true, true);
}
END_TEST

/* --- ids -------------------------------------------------------------------- */

#define IDS 20000

static int
compare_ids(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
expect_unique(int64_t *ids, size_t n)
{
	qsort(ids, n, sizeof *ids, compare_ids);
	for (size_t i = 1; i < n; i++)
		ck_assert_int_lt(ids[i - 1], ids[i]);
	ck_assert_int_lt(ids[n - 1], INT64_C(1) << 53);
}

static void *
take_ids(void *arg)
{
	int64_t *ids = arg;

	for (int i = 0; i < IDS; i++)
		ids[i] = ledger_take_id(ids[0] == 0 ? old : new);
	return NULL;
}

/* With and without blocks, at the same time. */
START_TEST(ids_differ)
{
	int64_t *ids = calloc(2 * IDS, sizeof *ids);
	pthread_t thread;
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	if (_i == 1)
		ck_assert_int_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL,
				     NULL),
		    SQLITE_OK);
	ids[IDS] = 1;
	ck_assert_int_eq(pthread_create(&thread, NULL, take_ids, ids), 0);
	for (int i = 0; i < IDS; i++)
		ids[IDS + i] = ledger_take_id(new);
	pthread_join(thread, NULL);
	expect_unique(ids, 2 * IDS);
	sqlite3_close(db);
	free(ids);
}
END_TEST

/* --- busy ------------------------------------------------------------------- */

#define ROWS 6000

static atomic_bool over;

/* Somebody else who holds the file, again and again. */
static void *
hold(void *arg)
{
	sqlite3 *db;

	(void)arg;
	if (sqlite3_open(path, &db) != SQLITE_OK)
		return NULL;
	sqlite3_busy_timeout(db, 1000);
	while (!atomic_load(&over)) {
		if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ==
		    SQLITE_OK) {
			fixture_sleep(0.15);
			sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
		}
		fixture_sleep(0.02);
	}
	sqlite3_close(db);
	return NULL;
}

/* Both write at once, beside a third: every row of both arrives. */
START_TEST(busy)
{
	struct ledger *ledgers[2];
	struct ledger_session session;
	struct ledger_status status;
	pthread_t thread;

	ledgers[0] = old;
	ledgers[1] = new;
	ck_assert_int_eq(pthread_create(&thread, NULL, hold, NULL), 0);
	for (int i = 0; i < ROWS; i++) {
		session = fixture_session(ledger_take_id(ledgers[i % 2]));
		ledger_put_session(ledgers[i % 2], &session);
		if (i % 100 == 0)
			fixture_sleep(0.02);
	}
	fixture_sleep(0.3);
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++) {
		fixture_settle(ledgers[i]);
		ledger_get_status(ledgers[i], &status);
		ck_assert_uint_eq(status.lost, 0);
	}
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), ROWS);
}
END_TEST

/* Holds the file for longer than one who is in a hurry waits. */
static void *
hold_long(void *arg)
{
	sqlite3 *db = arg;

	fixture_sleep(LEDGER_STOP_TIME + 1);
	sqlite3_close(db);
	return NULL;
}

/* Who leaves while the other serves, and writes, loses nothing. */
START_TEST(leaving_in_no_hurry)
{
	struct ledger_session session;
	pthread_t thread;
	sqlite3 *db;

	ledger_set_patience(old, LEDGER_LEAVE_TIME);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL),
	    SQLITE_OK);
	for (int i = 0; i < 10; i++) {
		session = fixture_session(ledger_take_id(old));
		ledger_put_session(old, &session);
	}
	ck_assert_int_eq(pthread_create(&thread, NULL, hold_long, db), 0);
	ledger_free(old);
	old = NULL;
	pthread_join(thread, NULL);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 10);
	ck_assert_int_eq(
	    fixture_number("SELECT count(*) FROM runs WHERE how IS NOT NULL"),
	    1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger_two");
	TCase *tcase = tcase_create("two");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, orders, 0, 8);
	tcase_add_test(tcase, a_lost_run);
	tcase_add_test(tcase, a_third);
	tcase_add_loop_test(tcase, ids_differ, 0, 2);
	tcase_add_test(tcase, busy);
	tcase_add_test(tcase, leaving_in_no_hurry);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
