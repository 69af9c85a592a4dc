/* SPDX-License-Identifier: ISC */
#include "ledger_internal.h"

#define TRIM_STEP 500	   /* rows removed in one transaction */
#define MAX_DAYS 365000	   /* longer is for ever */
#define CHANGES_MAX 100000 /* rows */

/* Each trims up to ?2 rows that ended before ?1, oldest first, by an index. */
static const char trim_sessions
    [] = "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions"
	 " INDEXED BY closed_sessions WHERE closed_at IS NOT NULL"
	 " AND opened_at < ?1 AND closed_at < ?1 ORDER BY opened_at LIMIT ?2)";
static const char trim_links
    [] = "DELETE FROM links WHERE (run, id) IN (SELECT run, id FROM links"
	 " INDEXED BY links_by_time WHERE up_at < ?1 AND down_at < ?1"
	 " ORDER BY up_at LIMIT ?2)";
static const char trim_changes
    [] = "DELETE FROM changes WHERE id IN (SELECT id FROM changes"
	 " INDEXED BY changes_at WHERE at < ?1 ORDER BY at LIMIT ?2)";
/* A run that ended before the oldest of what is left was begun has none of
 * it. */
static const char trim_runs[] =
    "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE ended_at < ?1"
    " AND ended_at < coalesce((SELECT opened_at FROM sessions"
    " INDEXED BY closed_sessions WHERE closed_at IS NOT NULL"
    " ORDER BY opened_at LIMIT 1), ?1)"
    " AND ended_at < coalesce((SELECT opened_at FROM sessions"
    " INDEXED BY open_sessions WHERE closed_at IS NULL"
    " ORDER BY opened_at LIMIT 1), ?1)"
    " AND ended_at < coalesce((SELECT up_at FROM links INDEXED BY links_by_time"
    " ORDER BY up_at LIMIT 1), ?1) LIMIT ?2)";

/* By age, then by number; `count` says how many rows there are. */
static const struct trim_phase {
	const char *sql;
	const char *count; /* NULL: by age */
	int64_t keep;	   /* so many at most; 0: max_rows */
} trim_phases[] = {
	{ trim_sessions, NULL, 0 },
	{ trim_links, NULL, 0 },
	{ trim_changes, NULL, 0 },
	{ trim_sessions,
	    "SELECT count(*) FROM sessions INDEXED BY closed_sessions"
	    " WHERE closed_at IS NOT NULL",
	    0 },
	{ trim_links, "SELECT count(*) FROM links", 0 },
	{ trim_changes, "SELECT count(*) FROM changes", CHANGES_MAX },
	{ trim_runs, NULL, 0 },
};
#define TRIM_PHASES ((int)(sizeof trim_phases / sizeof trim_phases[0]))

/* Begins a phase. With no excess there is nothing to do in it. */
static int
trim_enter(struct ledger *ledger, const struct trim_phase *phase)
{
	struct ledger_trim *trim = &ledger->file.trim;
	int64_t days = ledger->retention_days, age, rows = 0;
	int64_t keep = phase->keep != 0 ? phase->keep : ledger->max_rows;
	int rc = SQLITE_OK;

	age = (days < MAX_DAYS ? days : MAX_DAYS) * 86400 * 1000000;
	trim->cutoff = age > 0 ? loop_wall_us() - age : 0;
	trim->excess = trim->cutoff != 0 ? INT64_MAX : 0;
	if (phase->count != NULL) {
		trim->cutoff = INT64_MAX;
		trim->excess = 0;
		if (keep > 0) {
			rc = ledger_sql(ledger->file.db, phase->count, NULL, 0,
			    &rows);
			trim->excess = rows - keep;
		}
	} else if (phase->sql == trim_runs && trim->cutoff == 0 &&
	    ledger->max_rows > 0) {
		trim->cutoff = INT64_MAX;
		trim->excess = INT64_MAX;
	}
	return rc;
}

int
ledger_trim(struct ledger *ledger, bool *more)
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
		rc = trim_enter(ledger, phase);
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
