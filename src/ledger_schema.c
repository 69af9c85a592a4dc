/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
 * meta		next_id: the first session id that nobody reserved yet
 *
 * Each index ends in the time, so that a query by tunnel, peer, source or
 * reason finds its rows newest first without sorting.
 *
 * migrations[n] leads from version n to n + 1; versions that were released
 * stay as they are.
 */
static const char *const migrations[LEDGER_SCHEMA_VERSION] = {
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
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
};

#define TRIM_STEP 500	/* rows removed in one transaction */
#define MAX_DAYS 365000 /* longer is for ever */

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
schema_migrate(struct ledger_file *file, int64_t version)
{
	char pragma[64];
	int rc;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	for (; rc == SQLITE_OK && version < LEDGER_SCHEMA_VERSION; version++)
		rc = sqlite3_exec(file->db, migrations[version], NULL, NULL,
		    NULL);
	snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d",
	    LEDGER_SCHEMA_VERSION);
	if (rc == SQLITE_OK)
		rc = ledger_sql(file->db, pragma, NULL, 0, NULL);
	return ledger_file_finish(file, ledger_file_fail(file, rc));
}

int
ledger_schema_open(struct ledger_file *file)
{
	/* A commit need not reach the platter: after a power cut the last
	 * moments may be missing, the file is sound. */
	static const char *const pragmas[] = {
		"PRAGMA journal_mode = WAL",
		"PRAGMA synchronous = NORMAL",
		"PRAGMA cell_size_check = ON", /* finds damage early */
		/* A -wal that grew large beside a long query shrinks. */
		"PRAGMA journal_size_limit = 16777216",
	};
	int64_t version = 0;
	int rc;

	rc = schema_check(file, &version);
	if (rc != SQLITE_OK)
		return rc;
	for (size_t i = 0; i < sizeof pragmas / sizeof pragmas[0]; i++) {
		rc = ledger_sql(file->db, pragmas[i], NULL, 0, NULL);
		if (rc != SQLITE_OK)
			return ledger_file_fail(file, rc);
	}
	return version < LEDGER_SCHEMA_VERSION ? schema_migrate(file, version) :
						 SQLITE_OK;
}

/* Closes what `run` left open, as far as we know it was alive. */
static int
schema_lose_run(sqlite3 *db, int64_t run)
{
	static const char *const steps[] = {
		"UPDATE sessions SET close_reason = 'daemon_lost',"
		" closed_by = 'daemon', closed_at = max(opened_at,"
		" (SELECT seen_at FROM runs WHERE id = ?1))"
		" WHERE run = ?1 AND closed_at IS NULL",
		"UPDATE links SET reason = 'daemon_lost', down_at = max(up_at,"
		" (SELECT seen_at FROM runs WHERE id = ?1))"
		" WHERE run = ?1 AND down_at IS NULL",
		"UPDATE runs SET how = 'lost', ended_at = seen_at WHERE id = ?",
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < 3; i++)
		rc = ledger_sql(db, steps[i], &run, 1, NULL);
	return rc;
}

/* Closes every run that is not ours and holds its lock no more. */
static int
schema_lose_runs(struct ledger_file *file, int *n_lost)
{
	int64_t run = 0, args[2];
	int rc;

	for (*n_lost = 0;;) {
		args[0] = run;
		args[1] = file->run;
		rc = ledger_sql(file->db,
		    "SELECT min(id) FROM runs"
		    " WHERE ended_at IS NULL AND id > ?1 AND id != ?2",
		    args, 2, &run);
		if (rc != SQLITE_OK || run == 0)
			return rc;
		if (ledger_file_run_lives(file, run))
			continue;
		rc = schema_lose_run(file->db, run);
		if (rc != SQLITE_OK)
			return rc;
		(*n_lost)++;
	}
}

static void
schema_log_lost(const struct ledger *ledger, int n_lost)
{
	if (n_lost > 0)
		log_notice("ledger: %s: runs that died without a word: %d; "
			   "what they left open is closed as daemon_lost",
		    ledger->path, n_lost);
}

static int
schema_insert_run(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(file->db,
	    "INSERT INTO runs (daemon, version,"
	    " pid, started_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4)",
	    -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	file->started_us = loop_wall_us();
	sqlite3_bind_text(stmt, 1, ledger->daemon, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, ledger->version, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 3, getpid());
	sqlite3_bind_int64(stmt, 4, file->started_us);
	rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/*
 * A row for our run whose byte we can lock. A byte may be taken by a run of a
 * database that was set aside since; such a number is passed over.
 */
static int
schema_new_run(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int64_t run;
	int rc;

	for (int i = 0; i < 1000; i++) {
		rc = schema_insert_run(ledger);
		if (rc != SQLITE_OK)
			return rc;
		run = sqlite3_last_insert_rowid(file->db);
		if (ledger_file_lock_run(file, run) == 0) {
			file->run = run;
			return SQLITE_OK;
		}
		rc = ledger_sql(file->db, "DELETE FROM runs WHERE id = ?1",
		    &run, 1, NULL);
		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_BUSY;
}

/* Nobody but us may give out ids below `known`, nor any that is in use. */
static int
schema_raise_ids(sqlite3 *db, int64_t known)
{
	int64_t args[2] = { known, LEDGER_ID_ODD };

	return ledger_sql(db,
	    "UPDATE meta SET value = max(value, ?1,"
	    " 1 + coalesce((SELECT max(id) FROM sessions WHERE id < ?2), 0))"
	    " WHERE name = 'next_id'",
	    args, 2, NULL);
}

int
ledger_schema_claim(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int64_t args[2] = { file->run, file->started_us };
	int64_t known, before = file->run, same = 0;
	int rc, n_lost = 0;

	pthread_mutex_lock(&ledger->lock);
	known = ledger->ids.spare_end > ledger->ids.end ?
	    ledger->ids.spare_end :
	    ledger->ids.end;
	pthread_mutex_unlock(&ledger->lock);

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	if (before != 0)
		rc = ledger_sql(file->db,
		    "SELECT count(*) FROM runs"
		    " WHERE id = ?1 AND started_at = ?2 AND ended_at IS NULL",
		    args, 2, &same);
	if (rc == SQLITE_OK && same == 0)
		rc = schema_new_run(ledger);
	if (rc == SQLITE_OK)
		rc = schema_lose_runs(file, &n_lost);
	if (rc == SQLITE_OK)
		rc = schema_raise_ids(file->db, known);
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc == SQLITE_OK) {
		schema_log_lost(ledger, n_lost);
		if (before != file->run)
			ledger_file_unlock_run(file, before);
	} else {
		if (before != file->run)
			ledger_file_unlock_run(file, file->run);
		file->run = before;
		file->started_us = args[1];
	}
	return rc;
}

int
ledger_schema_refresh(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int rc, n_lost = 0;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	rc = schema_lose_runs(file, &n_lost);
	if (rc == SQLITE_OK)
		rc = ledger_put_seen(file);
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc == SQLITE_OK)
		schema_log_lost(ledger, n_lost);
	return rc;
}

int
ledger_schema_reserve(struct ledger_file *file, int64_t n, int64_t *first)
{
	int rc;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	rc = ledger_sql(file->db,
	    "SELECT value FROM meta"
	    " WHERE name = 'next_id'",
	    NULL, 0, first);
	if (rc == SQLITE_OK)
		rc = ledger_sql(file->db,
		    "UPDATE meta SET value = value + ?1"
		    " WHERE name = 'next_id'",
		    &n, 1, NULL);
	return ledger_file_finish(file, ledger_file_fail(file, rc));
}

int
ledger_schema_end(struct ledger_file *file, int64_t unused, int64_t end)
{
	/* Sessions still open here are those whose close was lost. */
	static const char *const steps[] = {
		"UPDATE sessions SET closed_at = max(opened_at, ?2),"
		" close_reason = 'shutdown', closed_by = 'daemon'"
		" WHERE run = ?1 AND closed_at IS NULL",
		"UPDATE links SET down_at = max(up_at, ?2),"
		" reason = 'shutdown' WHERE run = ?1 AND down_at IS NULL",
		"UPDATE runs SET seen_at = ?2, ended_at = ?2, how = 'stopped'"
		" WHERE id = ?1",
	};
	int64_t args[2] = { file->run, loop_wall_us() };
	int64_t ids[2] = { unused, end };
	int rc;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	for (size_t i = 0; rc == SQLITE_OK && i < 3; i++)
		rc = ledger_sql(file->db, steps[i], args, 2, NULL);
	/* Only if nobody reserved ids after ours. */
	if (rc == SQLITE_OK && unused < end)
		rc = ledger_sql(file->db,
		    "UPDATE meta SET value = ?1"
		    " WHERE name = 'next_id' AND value = ?2",
		    ids, 2, NULL);
	return ledger_file_finish(file, ledger_file_fail(file, rc));
}

/* Each trims up to ?2 rows that ended before ?1, oldest first. */
static const char trim_sessions[] =
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions"
    " WHERE opened_at < ?1 AND closed_at < ?1 ORDER BY opened_at LIMIT ?2)";
static const char trim_links
    [] = "DELETE FROM links WHERE (run, id) IN (SELECT run, id FROM links"
	 " WHERE up_at < ?1 AND down_at < ?1 ORDER BY up_at LIMIT ?2)";
static const char trim_runs
    [] = "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE ended_at < ?1"
	 " AND NOT EXISTS (SELECT 1 FROM sessions WHERE run = runs.id)"
	 " AND NOT EXISTS (SELECT 1 FROM links WHERE run = runs.id) LIMIT ?2)";

/* By age, then by number; `count` says how many rows there are. */
static const struct trim_phase {
	const char *sql;
	const char *count; /* NULL: by age */
} trim_phases[] = {
	{ trim_sessions, NULL },
	{ trim_links, NULL },
	{ trim_sessions, "SELECT count(*) FROM sessions" },
	{ trim_links, "SELECT count(*) FROM links" },
	{ trim_runs, NULL },
};
#define TRIM_PHASES ((int)(sizeof trim_phases / sizeof trim_phases[0]))

/* Begins a phase. With no excess there is nothing to do in it. */
static int
schema_trim_enter(struct ledger *ledger, const struct trim_phase *phase)
{
	struct ledger_trim *trim = &ledger->file.trim;
	int64_t days = ledger->retention_days, age, rows = 0;
	int rc = SQLITE_OK;

	age = (days < MAX_DAYS ? days : MAX_DAYS) * 86400 * 1000000;
	trim->cutoff = age > 0 ? loop_wall_us() - age : 0;
	trim->excess = trim->cutoff != 0 ? INT64_MAX : 0;
	if (phase->count != NULL) {
		trim->cutoff = INT64_MAX;
		trim->excess = 0;
		if (ledger->max_rows > 0) {
			rc = ledger_sql(ledger->file.db, phase->count, NULL, 0,
			    &rows);
			trim->excess = rows - ledger->max_rows;
		}
	} else if (phase->sql == trim_runs && trim->cutoff == 0 &&
	    ledger->max_rows > 0) {
		trim->cutoff = INT64_MAX;
		trim->excess = INT64_MAX;
	}
	return rc;
}

int
ledger_schema_trim(struct ledger *ledger, bool *more)
{
	struct ledger_file *file = &ledger->file;
	struct ledger_trim *trim = &file->trim;
	const struct trim_phase *phase = &trim_phases[trim->phase];
	int64_t args[2];
	int rc, removed = 0;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	if (trim->excess == 0)
		rc = schema_trim_enter(ledger, phase);
	if (rc == SQLITE_OK && trim->excess > 0) {
		args[0] = trim->cutoff;
		args[1] = trim->excess < TRIM_STEP ? trim->excess : TRIM_STEP;
		rc = ledger_sql(file->db, phase->sql, args, 2, NULL);
		removed = sqlite3_changes(file->db);
	}
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc != SQLITE_OK)
		return rc;
	trim->excess -= removed;
	if (removed < TRIM_STEP || trim->excess <= 0) {
		trim->excess = 0;
		trim->phase++;
	}
	*more = trim->phase < TRIM_PHASES;
	if (!*more)
		trim->phase = 0;
	return SQLITE_OK;
}
