/* SPDX-License-Identifier: ISC */
#include "ledger_fixture.h"

#include <glob.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

struct loop *loop;
char dir[64];
char path[128];
struct ledger_options options;

void
fixture_setup(void)
{
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_DEBUG);
	snprintf(dir, sizeof dir, "/tmp/check_ledger.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/sessions.db", dir);
	options = (struct ledger_options){ .path = path,
		.daemon = "test",
		.version = "0.0" };
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

void
fixture_teardown(void)
{
	char command[128];

	loop_free(loop);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

double
fixture_now(void)
{
	return loop_now(loop);
}

void
fixture_sleep(double seconds)
{
	usleep((useconds_t)(seconds * 1e6));
}

struct ledger *
fixture_open(void)
{
	struct ledger *ledger = ledger_new(loop, &options);

	ck_assert_ptr_nonnull(ledger);
	return ledger;
}

void
fixture_await(struct ledger *ledger, const char *state, double seconds)
{
	double until = fixture_now() + seconds;
	struct ledger_status status;

	for (;;) {
		ledger_get_status(ledger, &status);
		if (strcmp(status.state, state) == 0)
			return;
		if (fixture_now() >= until)
			ck_abort_msg("state is %s (%s), not %s", status.state,
			    status.error, state);
		fixture_sleep(0.005);
	}
}

void
fixture_settle(struct ledger *ledger)
{
	double until = fixture_now() + 20;
	struct ledger_status status;

	do {
		ledger_get_status(ledger, &status);
		if (status.queued == 0)
			return;
		fixture_sleep(0.005);
	} while (fixture_now() < until);
	ck_abort_msg("%zu rows still queued: %s", status.queued, status.error);
}

struct ledger_session
fixture_session(int64_t id)
{
	int64_t opened_us = id % 1000000 * 1000000; /* ids may be huge */
	struct ledger_session session = { .id = id,
		.tunnel = "web",
		.peer = "edge",
		.type = "tcp",
		.end = LEDGER_END_ENTRY,
		.source = "192.0.2.1:1234",
		.target = "127.0.0.1:80",
		.opened_us = opened_us,
		.closed_us = opened_us + 5,
		.up_bytes = 10,
		.down_bytes = 20,
		.reason = REASON_CLOSED,
		.closed_by = "user" };

	memcpy(session.uid, &id, sizeof id);
	return session;
}

struct ledger_link
fixture_link(int64_t id)
{
	return (struct ledger_link){ .id = id,
		.peer = "edge",
		.address = "192.0.2.9:7000",
		.up_us = id * 1000000,
		.down_us = id * 1000000 + 7,
		.reason = "silent" };
}

static sqlite3 *
fixture_connect(void)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	return db;
}

void
fixture_text(const char *sql, char *out, size_t size)
{
	sqlite3 *db = fixture_connect();
	sqlite3_stmt *stmt;
	const void *text = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		ck_abort_msg("%s: %s", sql, sqlite3_errmsg(db));
	if (sqlite3_step(stmt) == SQLITE_ROW)
		text = sqlite3_column_text(stmt, 0);
	snprintf(out, size, "%s", text != NULL ? (const char *)text : "-1");
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

int64_t
fixture_number(const char *sql)
{
	char text[64];

	fixture_text(sql, text, sizeof text);
	return strtoll(text, NULL, 10);
}

void
fixture_sql(const char *sql)
{
	sqlite3 *db = fixture_connect();

	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		ck_abort_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

int
fixture_count_files(const char *pattern)
{
	char full[192];
	glob_t found;
	int n;

	snprintf(full, sizeof full, "%s/%s", dir, pattern);
	n = glob(full, 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
	globfree(&found);
	return n;
}

/* The rows of a query are gone after its callback: a copy. */
static void *
answer_copy(const void *rows, size_t n, size_t size)
{
	void *copy = calloc(n + 1, size);

	if (rows != NULL)
		memcpy(copy, rows, n * size);
	return copy;
}

void
answer_take(const struct history_rows *rows, const char *error, void *arg)
{
	struct answer *answer = arg;

	answer->calls++;
	snprintf(answer->error, sizeof answer->error, "%s",
	    error != NULL ? error : "");
	answer->n = rows->n;
	answer->sessions = answer_copy(rows->sessions, rows->n,
	    sizeof *rows->sessions);
	answer->links = answer_copy(rows->links, rows->n, sizeof *rows->links);
	answer->stats = answer_copy(rows->stats, rows->n, sizeof *rows->stats);
	answer->uptimes = answer_copy(rows->uptimes, rows->n,
	    sizeof *rows->uptimes);
	answer->changes = answer_copy(rows->changes, rows->n,
	    sizeof *rows->changes);
	loop_stop(loop);
}

void
answer_free(struct answer *answer)
{
	free(answer->sessions);
	free(answer->links);
	free(answer->stats);
	free(answer->uptimes);
	free(answer->changes);
	memset(answer, 0, sizeof *answer);
}

static void
fixture_stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

void
fixture_run(struct answer *answer, double seconds)
{
	struct loop_timer *timer = loop_timer_new(loop, fixture_stop, NULL);

	loop_timer_set(timer, seconds);
	while (answer->calls == 0 && loop_timer_is_set(timer))
		ck_assert_int_eq(loop_run(loop), 0);
	loop_timer_free(timer);
}

struct answer
fixture_query(struct ledger *ledger, struct history_query query)
{
	return fixture_query_within(ledger, query, 0);
}

struct answer
fixture_query_within(struct ledger *ledger, struct history_query query,
    double seconds)
{
	struct answer answer = { 0 };

	ck_assert_ptr_nonnull(ledger_query(ledger, &query, seconds, answer_take,
	    &answer));
	ck_assert_int_eq(answer.calls, 0);
	fixture_run(&answer, 20);
	ck_assert_int_eq(answer.calls, 1);
	return answer;
}

void
fixture_await_number(const char *sql, int64_t number)
{
	double until = fixture_now() + 10;

	while (fixture_number(sql) != number) {
		if (fixture_now() > until)
			ck_abort_msg("%s: %ld", sql, (long)fixture_number(sql));
		fixture_sleep(0.05);
	}
}
