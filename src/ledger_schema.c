/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>

#include "ledger_internal.h"
#include "log.h"

/*
 * The schema. Times are microseconds since the epoch, NULL while it has not
 * happened. Bytes are as SQLite's integers are: no more than 2^63 - 1.
 *
 * runs		one row for each running daemon; how it ended: "stopped", or
 *		"lost" when it died, and ended_at is then its last sign of life
 * sessions	close_reason as in reason.h; source_host is source without
 *		port, to search by; run is the last that wrote the row
 * links	id counts within a run
 * changes	what administrators changed; who is the name, uid the number
 * disabled	what is switched off; tunnel is '' for the peer itself
 * meta		next_id: the first session id that nobody reserved yet
 *
 * Sessions are found newest first, by an index for each filter that ends in
 * the time (history_sessions.c). All but one hold closed sessions only: so
 * the counters of open ones change without touching any, and what is looked
 * for most, the closed ones, is never hidden behind many open ones. In
 * closed_by_tunnel the peer comes before the time: "PEER/NAME" is found at
 * once, and NAME alone peer by peer. The first column of closed_by_size is a
 * class of size, eight times the number of octal digits of all bytes and the
 * first of these: powers of two begin a class. The bytes behind the time spare
 * a look at rows that are too small.
 *
 * Versions that were released stay as they are: first_version is version 1,
 * and second_version, step by step, leads from it to version 2. A step can be
 * done again, and a daemon of version 1 could still work with what it leaves:
 * so the steps of a big file are taken one by one, each a transaction, and
 * rows are written between them.
 */
static const char first_version
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
	 "CREATE INDEX links_peer ON links (peer, up_at);";

static const char *const second_version[] = {
	/* The first is taken at once, whatever the size: what it makes is
	 * needed from the start. */
	"CREATE TABLE IF NOT EXISTS changes (id INTEGER PRIMARY KEY,"
	" at INTEGER NOT NULL, uid INTEGER NOT NULL, who TEXT NOT NULL,"
	" command TEXT NOT NULL, detail TEXT NOT NULL);"
	"CREATE INDEX IF NOT EXISTS changes_at ON changes (at);"
	"CREATE TABLE IF NOT EXISTS disabled (peer TEXT NOT NULL,"
	" tunnel TEXT NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL,"
	" PRIMARY KEY (peer, tunnel)) WITHOUT ROWID;",

	"DROP INDEX IF EXISTS sessions_run;"
	"CREATE INDEX IF NOT EXISTS open_sessions ON sessions (opened_at)"
	" WHERE closed_at IS NULL;",

	"DROP INDEX IF EXISTS sessions_opened;"
	"CREATE INDEX IF NOT EXISTS closed_sessions ON sessions (opened_at)"
	" WHERE closed_at IS NOT NULL;",

	"DROP INDEX IF EXISTS sessions_tunnel;"
	"CREATE INDEX IF NOT EXISTS closed_by_tunnel ON sessions (tunnel,"
	" peer, opened_at) WHERE closed_at IS NOT NULL;",

	"DROP INDEX IF EXISTS sessions_peer;"
	"CREATE INDEX IF NOT EXISTS closed_by_peer ON sessions (peer,"
	" opened_at) WHERE closed_at IS NOT NULL;",

	"DROP INDEX IF EXISTS sessions_source;"
	"CREATE INDEX IF NOT EXISTS closed_by_source ON sessions (source_host,"
	" opened_at) WHERE closed_at IS NOT NULL;",

	"DROP INDEX IF EXISTS sessions_reason;"
	"CREATE INDEX IF NOT EXISTS closed_by_reason ON sessions"
	" (close_reason, opened_at) WHERE closed_at IS NOT NULL;",

	"CREATE INDEX IF NOT EXISTS closed_by_size ON sessions"
	" (8 * length(printf('%o', up_bytes + down_bytes))"
	" + substr(printf('%o', up_bytes + down_bytes), 1, 1), opened_at,"
	" up_bytes, down_bytes) WHERE closed_at IS NOT NULL;",

	"DROP INDEX IF EXISTS links_up;"
	"DROP INDEX IF EXISTS links_peer;"
	"CREATE INDEX IF NOT EXISTS links_by_time ON links (up_at, down_at);"
	"CREATE INDEX IF NOT EXISTS links_by_peer ON links (peer, up_at,"
	" down_at);"
	"CREATE INDEX IF NOT EXISTS links_by_reason ON links (reason, up_at,"
	" down_at);"
	"PRAGMA user_version = 2;",
};
#define SECOND_STEPS ((int)(sizeof second_version / sizeof second_version[0]))

#define STEP_LOOK 10000 /* of SQLite's machine between two looks */

int
ledger_sql(sqlite3 *db, const char *sql, const int64_t *args, int n,
    int64_t *out)
{
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	for (int i = 0; i < n; i++)
		sqlite3_bind_int64(stmt, i + 1, args[i]);
	rc = sqlite3_step(stmt);
	if (out != NULL)
		*out = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
	while (rc == SQLITE_ROW)
		rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Refuses what is not for us, before anything is written. */
static int
schema_check(struct ledger_file *file, int64_t *version)
{
	int64_t tables = 0;
	int rc;

	rc = ledger_sql(file->db, "PRAGMA user_version", NULL, 0, version);
	if (rc == SQLITE_OK && *version == 0)
		rc = ledger_sql(file->db, "SELECT count(*) FROM sqlite_schema",
		    NULL, 0, &tables);
	if (rc != SQLITE_OK)
		return ledger_file_fail(file, rc);
	if (*version > LEDGER_SCHEMA_VERSION || *version < 0) {
		snprintf(file->error, sizeof file->error,
		    "database is from a newer version");
		return LEDGER_REFUSED;
	}
	if (tables != 0) {
		snprintf(file->error, sizeof file->error,
		    "not a database of sessions");
		return LEDGER_REFUSED;
	}
	return SQLITE_OK;
}

static int
schema_exec(struct ledger_file *file, const char *sql)
{
	return sqlite3_exec(file->db, sql, NULL, NULL, NULL);
}

/* A new file is made whole; an old one gets what is needed from the start. */
static int
schema_begin(struct ledger_file *file, int64_t version)
{
	int steps = version == 0 ? SECOND_STEPS : 1;
	int rc;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	if (version == 0)
		rc = schema_exec(file, first_version);
	for (int i = 0; rc == SQLITE_OK && i < steps; i++)
		rc = schema_exec(file, second_version[i]);
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc == SQLITE_OK && steps < SECOND_STEPS) {
		file->step = steps;
		log_notice("ledger: the database is of version %d: bringing it "
			   "to %d",
		    (int)version, LEDGER_SCHEMA_VERSION);
	}
	return rc;
}

static int
schema_must_stop(void *arg)
{
	struct ledger *ledger = arg;

	return atomic_load(&ledger->stopping);
}

int
ledger_schema_step(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int rc;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	/* An end of the daemon does not wait for it: rows do. */
	sqlite3_progress_handler(file->db, STEP_LOOK, schema_must_stop, ledger);
	rc = ledger_file_fail(file,
	    schema_exec(file, second_version[file->step]));
	sqlite3_progress_handler(file->db, 0, NULL, NULL);
	rc = ledger_file_finish(file, rc);
	if (rc != SQLITE_OK)
		return rc;
	if (++file->step == SECOND_STEPS) {
		file->step = 0;
		log_notice("ledger: the database is of version %d now",
		    LEDGER_SCHEMA_VERSION);
	}
	return SQLITE_OK;
}

int
ledger_schema_open(struct ledger_file *file)
{
	/* A commit need not reach the platter: after a power cut the last
	 * moments may be missing, the file is sound. */
	static const char *const pragmas[] = {
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = NORMAL",
		/* Removed rows need not be overwritten, where a distribution
		 * builds SQLite to do that. */
		"PRAGMA secure_delete = FAST",
		"PRAGMA cache_size = -4096",   /* KiB: indexes are large */
		"PRAGMA cell_size_check = ON", /* finds damage early */
		/* A -wal that grew large beside a long query shrinks. */
		"PRAGMA journal_size_limit = 16777216",
	};
	int64_t version = 0;
	int rc;

	file->step = 0;
	rc = schema_check(file, &version);
	if (rc != SQLITE_OK)
		return rc;
	for (size_t i = 0; i < sizeof pragmas / sizeof pragmas[0]; i++) {
		rc = ledger_sql(file->db, pragmas[i], NULL, 0, NULL);
		if (rc != SQLITE_OK)
			return ledger_file_fail(file, rc);
	}
	return version < LEDGER_SCHEMA_VERSION ? schema_begin(file, version) :
						 SQLITE_OK;
}
