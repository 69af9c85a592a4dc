/* SPDX-License-Identifier: ISC */
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

/* Closes what `run` left open, as far as we know it was alive. */
static int
run_lose(sqlite3 *db, int64_t run)
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
runs_lose(struct ledger_file *file, int *n_lost)
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
		rc = run_lose(file->db, run);
		if (rc != SQLITE_OK)
			return rc;
		(*n_lost)++;
	}
}

static void
runs_log_lost(const struct ledger *ledger, int n_lost)
{
	if (n_lost > 0)
		log_notice("ledger: %s: runs that died without a word: %d; "
			   "what they left open is closed as daemon_lost",
		    ledger->path, n_lost);
}

static int
run_insert(struct ledger *ledger)
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
run_new(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int64_t run;
	int rc;

	for (int i = 0; i < 1000; i++) {
		rc = run_insert(ledger);
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
run_raise_ids(sqlite3 *db, int64_t known)
{
	int64_t args[2] = { known, LEDGER_ID_ODD };

	return ledger_sql(db,
	    "UPDATE meta SET value = max(value, ?1,"
	    " 1 + coalesce((SELECT max(id) FROM sessions WHERE id < ?2), 0))"
	    " WHERE name = 'next_id'",
	    args, 2, NULL);
}

int
ledger_run_claim(struct ledger *ledger)
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
		rc = run_new(ledger);
	if (rc == SQLITE_OK)
		rc = runs_lose(file, &n_lost);
	if (rc == SQLITE_OK)
		rc = run_raise_ids(file->db, known);
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc == SQLITE_OK) {
		runs_log_lost(ledger, n_lost);
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
ledger_run_refresh(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	int rc, n_lost = 0;

	rc = ledger_file_begin(file);
	if (rc != SQLITE_OK)
		return rc;
	rc = runs_lose(file, &n_lost);
	if (rc == SQLITE_OK)
		rc = ledger_put_seen(file);
	rc = ledger_file_finish(file, ledger_file_fail(file, rc));
	if (rc == SQLITE_OK)
		runs_log_lost(ledger, n_lost);
	return rc;
}

static int
run_reserve(struct ledger_file *file, int64_t n, int64_t *first)
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

/* Adds a block to what ledger_take_id gives out. */
static void
ids_grant(struct ledger *ledger, int64_t first, int64_t n)
{
	struct ledger_ids *ids = &ledger->ids;

	pthread_mutex_lock(&ledger->lock);
	if (ids->next == ids->end) {
		ids->next = first;
		ids->end = first + n;
	} else if (ids->end == first) {
		ids->end += n;
	} else {
		ids->spare_next = first;
		ids->spare_end = first + n;
	}
	ids->reserved_at = ledger_now();
	ids->wanted = false;
	pthread_mutex_unlock(&ledger->lock);
}

int
ledger_ids_reserve(struct ledger *ledger)
{
	struct ledger_ids *ids = &ledger->ids;
	int64_t first = 0, n;
	bool wanted;
	int rc;

	pthread_mutex_lock(&ledger->lock);
	wanted = ids->wanted && !ledger->stop;
	if (wanted && ids->reserved_at != 0) {
		/* Larger blocks while they are soon used up. */
		if (ledger_now() > ids->reserved_at + 10)
			ids->block = LEDGER_ID_BLOCK;
		else if (ids->block * 2 <= LEDGER_ID_BLOCK_MAX)
			ids->block *= 2;
	}
	n = ids->block;
	pthread_mutex_unlock(&ledger->lock);
	if (!wanted)
		return SQLITE_OK;
	rc = run_reserve(&ledger->file, n, &first);
	if (rc == SQLITE_OK)
		ids_grant(ledger, first, n);
	return rc;
}

int
ledger_run_end(struct ledger_file *file, int64_t unused, int64_t end)
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
