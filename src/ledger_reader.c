/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

#define CATCH_UP 0.25	    /* seconds a query waits for rows put before it */
#define PROGRESS_STEPS 1000 /* of SQLite's machine between two looks */
#define BUSY_PAUSE_MS 10
#define SQL_SIZE 1024 /* far more than any statement here takes */

/* The reader's connection; NULL until the first query. */
struct reader {
	struct ledger *ledger;
	sqlite3 *db;
	struct ledger_request *request; /* the one that runs */
};

static const char *
request_why_stop(struct ledger_request *request)
{
	if (ledger_now() >= request->deadline)
		return "timed out";
	if (atomic_load(&request->cancelled))
		return "cancelled";
	if (atomic_load(&request->ledger->stopping))
		return "shutting down";
	return NULL;
}

static int
reader_progress(void *arg)
{
	struct reader *reader = arg;

	return request_why_stop(reader->request) != NULL;
}

static int
reader_busy(void *arg, int n)
{
	struct reader *reader = arg;

	(void)n;
	if (request_why_stop(reader->request) != NULL)
		return 0;
	usleep(BUSY_PAUSE_MS * 1000);
	return 1;
}

static void
request_fail(struct ledger_request *request, sqlite3 *db, int rc)
{
	const char *why = request_why_stop(request);

	if (why == NULL)
		why = db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
	snprintf(request->error, sizeof request->error, "%s", why);
}

static void
reader_close(struct reader *reader)
{
	/* The request, which they look at, may be gone. */
	if (reader->db != NULL) {
		sqlite3_progress_handler(reader->db, 0, NULL, NULL);
		sqlite3_busy_handler(reader->db, NULL, NULL);
	}
	sqlite3_close_v2(reader->db);
	reader->db = NULL;
}

/* Opens the database if need be, or anew if another stands in its place. */
static int
reader_open(struct reader *reader)
{
	int64_t version = 0;
	int moved = 0, rc;

	if (reader->db != NULL) {
		sqlite3_file_control(reader->db, "main", SQLITE_FCNTL_HAS_MOVED,
		    &moved);
		if (!moved)
			return SQLITE_OK;
		reader_close(reader);
	}
	rc = sqlite3_open_v2(reader->ledger->path, &reader->db,
	    SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_progress_handler(reader->db, PROGRESS_STEPS,
		    reader_progress, reader);
		sqlite3_busy_handler(reader->db, reader_busy, reader);
		rc = ledger_sql(reader->db, "PRAGMA user_version", NULL, 0,
		    &version);
	}
	if (rc == SQLITE_OK && version == LEDGER_SCHEMA_VERSION)
		return SQLITE_OK;
	if (rc != SQLITE_OK)
		request_fail(reader->request, reader->db, rc);
	else
		snprintf(reader->request->error, LEDGER_ERROR_SIZE, "%s",
		    version == 0 ? "not a database of sessions" :
				   "database is of another version");
	reader_close(reader);
	return SQLITE_ERROR;
}

static const char *const session_columns[LEDGER_TEXTS] = {
	[LEDGER_TEXT_TUNNEL] = "tunnel",
	[LEDGER_TEXT_PEER] = "peer",
	[LEDGER_TEXT_SOURCE] = "source_host",
	[LEDGER_TEXT_REASON] = "close_reason",
};
/* A link has no tunnel and no source. */
static const char *const link_columns[LEDGER_TEXTS] = {
	[LEDGER_TEXT_PEER] = "peer",
	[LEDGER_TEXT_REASON] = "reason",
};

/* The text that leaves the fewest rows, as far as one can guess: how most
 * sessions end says little. */
static int
request_best(const struct ledger_request *request)
{
	const bool *has = request->has;

	if (request->query.links)
		return LEDGER_TEXT_PEER;
	if (has[LEDGER_TEXT_SOURCE])
		return LEDGER_TEXT_SOURCE;
	if (has[LEDGER_TEXT_REASON] &&
	    strcmp(request->text[LEDGER_TEXT_REASON],
		reason_name(REASON_CLOSED)) != 0)
		return LEDGER_TEXT_REASON;
	if (has[LEDGER_TEXT_TUNNEL])
		return LEDGER_TEXT_TUNNEL;
	return has[LEDGER_TEXT_PEER] ? LEDGER_TEXT_PEER : LEDGER_TEXT_REASON;
}

static void __attribute__((format(printf, 2, 3)))
sql_add(char sql[SQL_SIZE], const char *fmt, ...)
{
	size_t used = strlen(sql);
	va_list args;

	va_start(args, fmt);
	vsnprintf(sql + used, SQL_SIZE - used, fmt, args);
	va_end(args);
}

/*
 * Only what is asked for stands in the statement, and a plus keeps SQLite
 * from the index of a column: so it takes the one that we mean, newest first.
 */
static void
request_sql(const struct ledger_request *request, char sql[SQL_SIZE])
{
	const struct ledger_query *query = &request->query;
	const char *const *columns = query->links ? link_columns :
						    session_columns;
	const char *since = query->links ? "up_at" : "opened_at";
	const char *until = query->links ? "down_at" : "closed_at";
	int best = request_best(request);

	sql[0] = '\0';
	sql_add(sql, "%s",
	    query->links ? LEDGER_READ_LINKS : LEDGER_READ_SESSIONS);
	if (query->id != 0)
		sql_add(sql, " AND id = ?1");
	for (int i = 0; i < LEDGER_TEXTS; i++)
		if (request->has[i] && columns[i] != NULL)
			sql_add(sql, " AND %s%s = ?%d", i == best ? "" : "+",
			    columns[i], 2 + i);
	if (query->since_us != 0)
		sql_add(sql, " AND %s >= ?6", since);
	if (query->until_us != 0)
		sql_add(sql, " AND %s < ?7", since);
	if (query->closed_only)
		sql_add(sql, " AND %s IS NOT NULL", until);
	sql_add(sql, " ORDER BY %s DESC, %sid DESC LIMIT ?8", since,
	    query->links ? "run DESC, " : "");
}

static void
request_bind(const struct ledger_request *request, sqlite3_stmt *stmt)
{
	/* Parameters that the statement does not have are refused by SQLite,
	 * which does no harm. */
	sqlite3_bind_int64(stmt, 1, request->query.id);
	for (int i = 0; i < LEDGER_TEXTS; i++)
		sqlite3_bind_text(stmt, 2 + i, request->text[i], -1,
		    SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 6, request->query.since_us);
	sqlite3_bind_int64(stmt, 7, request->query.until_us);
	sqlite3_bind_int64(stmt, 8, request->query.limit);
}

static int
request_add_row(struct ledger_request *request, sqlite3_stmt *stmt)
{
	size_t room = request->room != 0 ? request->room * 2 : 64;
	void *grown;

	if (request->n == request->room) {
		grown = request->query.links ?
		    reallocarray(request->links, room, sizeof *request->links) :
		    reallocarray(request->sessions, room,
			sizeof *request->sessions);
		if (grown == NULL)
			return -1;
		if (request->query.links)
			request->links = grown;
		else
			request->sessions = grown;
		request->room = room;
	}
	if (request->query.links)
		ledger_read_link(stmt, &request->links[request->n++]);
	else
		ledger_read_session(stmt, &request->sessions[request->n++]);
	return 0;
}

static void
reader_run(struct reader *reader)
{
	struct ledger_request *request = reader->request;
	sqlite3_stmt *stmt = NULL;
	char sql[SQL_SIZE];
	int rc;

	if (request_why_stop(request) != NULL) {
		request_fail(request, NULL, SQLITE_INTERRUPT);
		return;
	}
	if (reader_open(reader) != SQLITE_OK)
		return;
	request_sql(request, sql);
	rc = sqlite3_prepare_v2(reader->db, sql, -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		request_bind(request, stmt);
		while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
			if (request_add_row(request, stmt) == -1) {
				rc = SQLITE_NOMEM;
				break;
			}
		}
	}
	if (rc != SQLITE_DONE)
		request_fail(request, rc == SQLITE_NOMEM ? NULL : reader->db,
		    rc);
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE && rc != SQLITE_INTERRUPT && rc != SQLITE_BUSY)
		reader_close(reader);
}

/* Gives the writer a moment to commit what was put before the query, so that
 * who has just killed a session finds it. Locked. */
static void
reader_catch_up(struct ledger *ledger, const struct ledger_request *request)
{
	double until = ledger_now() + CATCH_UP;

	if (until > request->deadline)
		until = request->deadline;
	while (ledger->state == LEDGER_OK && !ledger->stop &&
	    !atomic_load(&request->cancelled) &&
	    ledger->committed < request->puts && ledger_now() < until)
		ledger_wait(ledger, &ledger->reader_wakes, until);
}

/* The request is done, or was cancelled meanwhile. */
static void
reader_finish(struct ledger *ledger, struct ledger_request *request)
{
	static const uint64_t one = 1;
	bool cancelled;

	pthread_mutex_lock(&ledger->lock);
	cancelled = atomic_load(&request->cancelled);
	if (cancelled) {
		ledger->n_requests--;
	} else {
		request->state = LEDGER_REQUEST_DONE;
		TAILQ_INSERT_TAIL(&ledger->done, request, entry);
	}
	pthread_mutex_unlock(&ledger->lock);
	if (cancelled)
		ledger_request_free(request);
	else if (write(ledger->done_fd, &one, sizeof one) != sizeof one)
		log_debug("ledger: eventfd: %s", strerror(errno));
}

void *
ledger_reader_main(void *arg)
{
	struct ledger *ledger = arg;
	struct reader reader = { .ledger = ledger };

	pthread_setname_np(pthread_self(), "ledger-reader");
	pthread_mutex_lock(&ledger->lock);
	while (!ledger->stop) {
		reader.request = TAILQ_FIRST(&ledger->waiting);
		if (reader.request == NULL) {
			pthread_cond_wait(&ledger->reader_wakes, &ledger->lock);
			continue;
		}
		TAILQ_REMOVE(&ledger->waiting, reader.request, entry);
		reader.request->state = LEDGER_REQUEST_RUNNING;
		reader_catch_up(ledger, reader.request);
		pthread_mutex_unlock(&ledger->lock);
		reader_run(&reader);
		reader_finish(ledger, reader.request);
		pthread_mutex_lock(&ledger->lock);
	}
	pthread_mutex_unlock(&ledger->lock);
	reader_close(&reader);
	pthread_mutex_lock(&ledger->lock);
	ledger->running--;
	pthread_cond_broadcast(&ledger->owner_wakes);
	pthread_mutex_unlock(&ledger->lock);
	return NULL;
}
