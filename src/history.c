/* SPDX-License-Identifier: ISC */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_internal.h"

#define PROGRESS_STEPS 1000 /* of SQLite's machine between two looks */
#define BUSY_PAUSE_US 10000

const char *
ledger_end_name(enum ledger_end end)
{
	static const char *const names[] = { "entry", "exit", "local" };

	return end <= LEDGER_END_LOCAL ? names[end] : "";
}

const char *
history_why_stop(const struct history *history)
{
	return history->why_stop != NULL ? history->why_stop(history->arg) :
					   NULL;
}

int
history_fail(struct history *history, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(history->error, sizeof history->error, fmt, args);
	va_end(args);
	return HISTORY_FAILED;
}

static int
history_progress(void *arg)
{
	return history_why_stop(arg) != NULL;
}

static int
history_busy(void *arg, int n)
{
	(void)n;
	if (history_why_stop(arg) != NULL)
		return 0;
	usleep(BUSY_PAUSE_US);
	return 1;
}

/* Why the code came, for people. */
static void
history_say(struct history *history, int rc, char *error, size_t size)
{
	const char *why = history_why_stop(history);

	if (rc == HISTORY_FAILED)
		why = history->error;
	else if (why == NULL && rc == SQLITE_NOMEM)
		why = "out of memory";
	else if (why == NULL)
		why = history->db != NULL ? sqlite3_errmsg(history->db) :
					    sqlite3_errstr(rc);
	snprintf(error, size, "%s", why);
}

/* Is it one of ours? A code. */
static int
history_check(struct history *history)
{
	sqlite3_stmt *stmt;
	int64_t version = 0;
	int rc;

	rc = sqlite3_prepare_v2(history->db, "PRAGMA user_version", -1, &stmt,
	    NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		version = sqlite3_column_int64(stmt, 0);
		rc = sqlite3_step(stmt);
	}
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return rc;
	if (version == LEDGER_SCHEMA_VERSION)
		return SQLITE_OK;
	if (version == 0)
		return history_fail(history, "not a database of sessions");
	if (version > 0 && version < LEDGER_SCHEMA_VERSION)
		return history_fail(history,
		    "database is of an older version; tunneld brings it up to "
		    "date while it runs, which takes a while");
	return history_fail(history, "database is from a newer version");
}

/* Can what SQLite has opened be read, and is it ours? A code. */
static int
history_begin(struct history *history)
{
	sqlite3_progress_handler(history->db, PROGRESS_STEPS, history_progress,
	    history);
	sqlite3_busy_handler(history->db, history_busy, history);
	return history_check(history);
}

struct history *
history_open(const char *path, history_stop_fn *why_stop, void *arg,
    char *error, size_t error_size)
{
	struct history *history = calloc(1, sizeof *history);
	int rc = SQLITE_NOMEM;

	if (history == NULL || (history->path = strdup(path)) == NULL) {
		snprintf(error, error_size, "out of memory");
		goto fail;
	}
	history->why_stop = why_stop;
	history->arg = arg;
	rc = sqlite3_open_v2(path, &history->db,
	    SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = history_begin(history);
	if (history_still_may(history, rc)) {
		rc = history_still_open(history);
		if (rc == SQLITE_OK)
			rc = history_begin(history);
	}
	if (rc == SQLITE_OK)
		return history;
	rc = history_still_explain(history, rc);
	history_say(history, rc, error, error_size);
fail:
	history_close(history);
	return NULL;
}

void
history_close(struct history *history)
{
	if (history == NULL)
		return;
	sqlite3_close_v2(history->db);
	free(history->path);
	free(history);
}

bool
history_has_moved(struct history *history)
{
	int moved = 0;

	sqlite3_file_control(history->db, "main", SQLITE_FCNTL_HAS_MOVED,
	    &moved);
	return moved != 0;
}

static int
history_ask_kind(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	switch (query->what) {
	case HISTORY_SESSIONS:
		return history_ask_sessions(history, query, out);
	case HISTORY_LINKS:
		return history_ask_links(history, query, out);
	case HISTORY_STATS:
		return history_ask_stats(history, query, out);
	case HISTORY_UPTIME:
		return history_ask_uptime(history, query, out);
	case HISTORY_CHANGES:
		return history_ask_changes(history, query, out);
	}
	return history_fail(history, "no such question");
}

int
history_ask(struct history *history, const struct history_query *query,
    struct history_rows *out, char *error, size_t error_size)
{
	int rc;

	memset(out, 0, sizeof *out);
	out->what = query->what;
	/* One view of the file, however many statements it takes. */
	rc = sqlite3_exec(history->db, "BEGIN", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = history_ask_kind(history, query, out);
	if (!sqlite3_get_autocommit(history->db))
		sqlite3_exec(history->db, "ROLLBACK", NULL, NULL, NULL);
	rc = history_still_check(history, rc);
	if (rc == SQLITE_OK)
		return 0;
	if (query->what == HISTORY_STATS || query->what == HISTORY_UPTIME)
		out->n = 0;
	history_say(history, rc, error, error_size);
	return -1;
}
