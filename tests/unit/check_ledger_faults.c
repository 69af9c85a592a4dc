/* SPDX-License-Identifier: ISC */
/* The ledger in trouble: death, damage, locks, full disks, wrong files. */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_fixture.h"

static void
put_many(struct ledger *ledger, int from, int to)
{
	struct ledger_session session;

	for (int i = from; i <= to; i++) {
		session = fixture_session(i);
		ledger_put_session(ledger, &session);
	}
}

START_TEST(loss_is_counted)
{
	struct ledger *ledger;
	struct ledger_session session = fixture_session(100);
	struct ledger_status status;
	struct answer got;
	double before;

	snprintf(path, sizeof path, "%s/missing/sessions.db", dir);
	options.max_queued = 10;
	before = fixture_now();
	ledger = fixture_open();
	ck_assert_double_lt(fixture_now() - before, 15);
	put_many(ledger, 1, 15);
	put_many(ledger, 1, 10); /* in place */
	session.closed_us = 0;
	ledger_put_session(ledger, &session); /* its close tells it again */
	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.state, "retrying");
	ck_assert_str_ne(status.error, "");
	ck_assert_uint_eq(status.queued, 10);
	ck_assert_uint_eq(status.lost, 5);
	ck_assert_int_ge(ledger_take_id(ledger), INT64_C(1) << 52);

	got = fixture_query(ledger, (struct history_query){ .id = 1 });
	ck_assert_str_eq(got.error, "unable to open database file");
	answer_free(&got);

	if (_i == 0) {
		snprintf(path, sizeof path, "%s/missing", dir);
		ck_assert_int_eq(mkdir(path, 0755), 0);
		snprintf(path, sizeof path, "%s/missing/sessions.db", dir);
		fixture_settle(ledger);
		fixture_await(ledger, "ok", 20);
		ck_assert_int_eq(fixture_number("SELECT count(*)"
						" FROM sessions"),
		    10);
		ck_assert_int_lt(ledger_take_id(ledger), 1000);
	}
	before = fixture_now();
	ledger_free(ledger);
	ck_assert_double_lt(fixture_now() - before, 15);
}
END_TEST

static void
write_file(const char *data, size_t len)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, len, file), len);
	ck_assert_int_eq(fclose(file), 0);
}

/* Garbage over a part of the file, by a process of its own: closing a
 * descriptor here would drop the locks that SQLite holds. */
static void
damage(const char *dd)
{
	char command[256];

	snprintf(command, sizeof command,
	    "dd if=/dev/urandom of=%s bs=4096 "
	    "conv=notrunc status=none %s",
	    path, dd);
	ck_assert_int_eq(system(command), 0);
}

static void
assert_set_aside(struct ledger *ledger)
{
	struct ledger_status status;

	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.state, "ok");
	ck_assert_int_ne(status.set_aside_us, 0);
	ck_assert_uint_eq(status.lost, 0);
	ck_assert_int_eq(
	    fixture_count_files("sessions.db.damaged-20??????T??????Z"), 1);
}

START_TEST(garbage_is_set_aside)
{
	static const char garbage[20000] = "This is not a database at all.";
	static const size_t lengths[] = { 20000, 5, 512 };
	struct ledger *ledger;
	double before = fixture_now();

	write_file(garbage, lengths[_i]);
	ledger = fixture_open();
	ck_assert_double_lt(fixture_now() - before, 15);
	assert_set_aside(ledger);
	put_many(ledger, 1, 3);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 3);
}
END_TEST

START_TEST(garbage_in_the_middle_is_set_aside)
{
	struct ledger *ledger = fixture_open();

	put_many(ledger, 1, 5000);
	ledger_free(ledger);
	damage("seek=1 count=200");
	ledger = fixture_open();
	put_many(ledger, 6001, 6003);
	fixture_settle(ledger);
	assert_set_aside(ledger);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 3);
}
END_TEST

START_TEST(damage_while_open_loses_nothing_queued)
{
	struct ledger *ledger = fixture_open();
	struct answer got;
	int64_t id = 0;

	for (int i = 0; i < 10; i++)
		id = ledger_take_id(ledger);
	put_many(ledger, 1, 20000);
	fixture_settle(ledger);
	got = fixture_query(ledger, (struct history_query){ .id = 1 });
	ck_assert_uint_eq(got.n, 1);
	answer_free(&got);
	fixture_sql("PRAGMA wal_checkpoint(TRUNCATE)");
	damage("seek=1 count=3000");
	put_many(ledger, 1, 20000);
	fixture_settle(ledger);
	fixture_await(ledger, "ok", 20);
	assert_set_aside(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"),
	    20000);
	/* The reader found the new one too; ids go on. */
	got = fixture_query(ledger, (struct history_query){ .id = 9 });
	ck_assert_str_eq(got.error, "");
	ck_assert_uint_eq(got.n, 1);
	answer_free(&got);
	ck_assert_int_eq(ledger_take_id(ledger), id + 1);
	ledger_free(ledger);
}
END_TEST

START_TEST(a_removed_file_is_begun_anew)
{
	struct ledger *ledger = fixture_open();
	struct answer got;
	char command[256];

	put_many(ledger, 1, 10);
	fixture_settle(ledger);
	snprintf(command, sizeof command,
	    _i == 0 ? "rm %s*" : "mkdir %1$s.d && mv %1$s %1$s-* %1$s.d", path);
	ck_assert_int_eq(system(command), 0);
	put_many(ledger, 11, 15);
	fixture_settle(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 5);
	got = fixture_query(ledger, (struct history_query){ 0 });
	ck_assert_uint_eq(got.n, 5);
	answer_free(&got);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 5);
}
END_TEST

/* A connection that keeps everybody from writing. */
static sqlite3 *
lock_database(void)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL),
	    SQLITE_OK);
	return db;
}

START_TEST(a_lock_delays)
{
	struct ledger *ledger = fixture_open();
	struct ledger_status status;
	double before;
	int n_slow = 0;
	sqlite3 *db = lock_database();

	for (int i = 1; i <= 5000; i++) {
		before = fixture_now();
		put_many(ledger, i, i);
		/* SQLite's wait is longer; that of a busy machine is rare. */
		if (fixture_now() - before > 0.09)
			n_slow++;
		if (i % 100 == 0)
			fixture_sleep(0.02);
	}
	fixture_await(ledger, "retrying", 20);
	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.error, "database is locked");
	ck_assert_uint_eq(status.queued, 5000);
	ck_assert_int_lt(n_slow, 50);
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	sqlite3_close(db);
	fixture_settle(ledger);
	fixture_await(ledger, "ok", 20);
	ledger_get_status(ledger, &status);
	ck_assert_uint_eq(status.lost, 0);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 5000);
}
END_TEST

START_TEST(a_lock_does_not_hold_the_end)
{
	struct ledger *ledger = fixture_open();
	sqlite3 *db = lock_database();
	double before = fixture_now();

	put_many(ledger, 1, 5);
	ledger_free(ledger);
	ck_assert_double_lt(fixture_now() - before, 15);
	/* And a start waits a little, but not for ever. */
	before = fixture_now();
	ledger = fixture_open();
	before = fixture_now() - before;
	ck_assert_double_lt(before, 15);
	put_many(ledger, 6, 10);
	sqlite3_close(db);
	fixture_settle(ledger);
	ledger_free(ledger);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 5);
}
END_TEST

START_TEST(a_lock_ends_just_in_time)
{
	struct ledger *ledger = fixture_open();
	pid_t pid;
	int ready[2];
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) { /* async-signal-safe calls only, then exec */
		char command[400];

		dup2(ready[1], 1);
		snprintf(command, sizeof command,
		    "(echo 'BEGIN EXCLUSIVE;"
		    " SELECT 1;'; sleep 0.6) | sqlite3 %s",
		    path);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		fprintf(stderr, "SKIPPED: sqlite3(1) is missing\n");
	} else {
		put_many(ledger, 1, 5);
	}
	ledger_free(ledger); /* waits for the lock, and writes */
	waitpid(pid, NULL, 0);
	close(ready[0]);
	if (byte == '1')
		ck_assert_int_eq(
		    fixture_number(
			"SELECT count(*) FROM sessions,"
			" runs WHERE runs.id = run AND how = 'stopped'"),
		    5);
}
END_TEST

static bool
mount_small_disk(void)
{
	if (unshare(CLONE_NEWNS) == -1 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=1500k") == -1) {
		fprintf(stderr, "SKIPPED: full disk: no tmpfs (%s)\n",
		    strerror(errno));
		return false;
	}
	return true;
}

static void
fill_disk(const char *name)
{
	char block[4096] = "full";
	int fd = open(name, O_WRONLY | O_CREAT, 0600);

	while (write(fd, block, sizeof block) > 0)
		;
	ck_assert_int_eq(errno, ENOSPC);
	close(fd);
}

/* _i is 1 if the disk is full before the start. */
START_TEST(a_full_disk_delays)
{
	struct ledger *ledger = NULL;
	struct ledger_status status;
	struct answer got;
	char filler[160];

	if (!mount_small_disk())
		return;
	snprintf(filler, sizeof filler, "%s/filler", dir);
	if (_i == 1)
		fill_disk(filler);
	ledger = fixture_open();
	if (_i == 0)
		fill_disk(filler);
	put_many(ledger, 1, 1000);
	fixture_await(ledger, "retrying", 20);
	fixture_sleep(2.1); /* a few attempts */
	ledger_get_status(ledger, &status);
	fprintf(stderr, "full disk: \"%s\", %zu queued\n", status.error,
	    status.queued);
	ck_assert_str_eq(status.state, "retrying");
	put_many(ledger, 1001, 1010);
	ck_assert_int_eq(unlink(filler), 0);
	fixture_settle(ledger);
	fixture_await(ledger, "ok", 20);
	ledger_get_status(ledger, &status);
	ck_assert_uint_eq(status.lost, 0);
	ck_assert_int_eq(status.set_aside_us, 0);
	ck_assert_int_eq(fixture_number("SELECT count(*) FROM sessions"), 1010);
	fill_disk(filler);
	put_many(ledger, 2000, 4000);
	fixture_await(ledger, "retrying", 20);
	got = fixture_query(ledger, (struct history_query){ .id = 7 });
	ck_assert_uint_eq(got.n, 1); /* reading goes on */
	answer_free(&got);
	ledger_free(ledger);
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
}
END_TEST

START_TEST(a_wrong_file_is_left_alone)
{
	static const struct {
		const char *sql, *error;
	} cases[] = {
		{ "PRAGMA user_version = 99; CREATE TABLE x (y);",
		    "database is from a newer version" },
		{ "CREATE TABLE x (y);", "not a database of sessions" },
	};
	struct ledger *ledger;
	struct ledger_status status;
	struct answer got;
	char sum[80], command[256];

	fixture_sql(cases[_i].sql);
	snprintf(sum, sizeof sum, "%s/sum", dir);
	snprintf(command, sizeof command, "sha256sum %s > %s", path, sum);
	ck_assert_int_eq(system(command), 0);
	options.max_queued = 5;
	ledger = fixture_open();
	ledger_get_status(ledger, &status);
	ck_assert_str_eq(status.state, "failed");
	ck_assert_str_eq(status.error, cases[_i].error);
	put_many(ledger, 1, 8);
	got = fixture_query(ledger, (struct history_query){ 0 });
	ck_assert_str_ne(got.error, "");
	answer_free(&got);
	ledger_get_status(ledger, &status);
	ck_assert_uint_eq(status.lost, 3);
	ledger_free(ledger);
	snprintf(command, sizeof command, "sha256sum -c --quiet %s", sum);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(fixture_count_files("*.damaged-*"), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger_faults");
	TCase *tcase = tcase_create("faults");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, loss_is_counted, 0, 2);
	tcase_add_loop_test(tcase, garbage_is_set_aside, 0, 3);
	tcase_add_test(tcase, garbage_in_the_middle_is_set_aside);
	tcase_add_test(tcase, damage_while_open_loses_nothing_queued);
	tcase_add_loop_test(tcase, a_removed_file_is_begun_anew, 0, 2);
	tcase_add_test(tcase, a_lock_delays);
	tcase_add_test(tcase, a_lock_does_not_hold_the_end);
	tcase_add_test(tcase, a_lock_ends_just_in_time);
	tcase_add_loop_test(tcase, a_full_disk_delays, 0, 2);
	tcase_add_loop_test(tcase, a_wrong_file_is_left_alone, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
