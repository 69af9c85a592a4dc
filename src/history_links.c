/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>

#include "history_internal.h"

/* The next link of the same peer, and never a time before this one's end: the
 * new one may have come up while the old one was still going down. */
#define BACK_AT                                                       \
	" CASE WHEN down_at IS NOT NULL THEN (SELECT max(next.up_at," \
	" links.down_at) FROM links AS next INDEXED BY links_by_peer" \
	" WHERE next.peer = links.peer AND next.up_at > links.up_at"  \
	" ORDER BY next.up_at LIMIT 1) END"

/* For a link that is open: its run, and that one's last sign of life. */
#define RUN                                                                  \
	" CASE WHEN down_at IS NULL THEN run END, CASE WHEN down_at IS NULL" \
	" THEN (SELECT seen_at FROM runs WHERE runs.id = links.run) END"

typedef void read_fn(struct history *history, sqlite3_stmt *stmt, void *row);

/* Reads the rows of a statement that is bound, and ends it. */
static int
rows_read(struct history *history, sqlite3_stmt *stmt, struct history_rows *out,
    read_fn *read)
{
	void *row;
	int rc;

	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		row = history_rows_add(out);
		if (row == NULL) {
			rc = SQLITE_NOMEM;
			break;
		}
		read(history, stmt, row);
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* What the next run will write of it, once it comes. */
static void
link_lose(struct ledger_link *link, int64_t seen_us)
{
	link->down_us = seen_us > link->up_us ? seen_us : link->up_us;
	snprintf(link->reason, sizeof link->reason, "%s",
	    reason_name(REASON_DAEMON_LOST));
}

static void
read_link(struct history *history, sqlite3_stmt *stmt, void *row)
{
	struct ledger_link *link = row;

	history_read_link(stmt, link);
	link->back_us = sqlite3_column_int64(stmt, 6);
	if (link->down_us == 0 &&
	    !history_run_lives(history, sqlite3_column_int64(stmt, 7)))
		link_lose(link, sqlite3_column_int64(stmt, 8));
}

int
history_ask_links(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	char sql[HISTORY_SQL_SIZE] = "SELECT " HISTORY_LINK_COLUMNS "," BACK_AT
				     "," RUN " FROM links INDEXED BY";
	sqlite3_stmt *stmt;
	int rc;

	strcat(sql,
	    query->peer != NULL	      ? " links_by_peer WHERE peer = ?3 AND" :
		query->reason != NULL ? " links_by_reason WHERE" :
					" links_by_time WHERE");
	if (query->reason != NULL)
		strcat(sql, " reason = ?5 AND");
	if (query->closed_only)
		strcat(sql, " down_at IS NOT NULL AND");
	if (query->id != 0)
		strcat(sql, " id = ?1 AND");
	strcat(sql,
	    " up_at < ?7 AND (up_at >= ?6 OR down_at > ?6 OR down_at IS NULL)"
	    " ORDER BY up_at DESC LIMIT ?9");
	rc = sqlite3_prepare_v2(history->db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	history_bind(stmt, query);
	return rows_read(history, stmt, out, read_link);
}

static void
read_change(struct history *history, sqlite3_stmt *stmt, void *row)
{
	struct ledger_change *change = row;

	(void)history;
	change->at_us = sqlite3_column_int64(stmt, 0);
	change->uid = (uint32_t)sqlite3_column_int64(stmt, 1);
	history_read_text(stmt, 2, change->by, sizeof change->by);
	history_read_text(stmt, 3, change->command, sizeof change->command);
	history_read_text(stmt, 4, change->detail, sizeof change->detail);
}

int
history_ask_changes(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(history->db,
	    "SELECT at, uid, who, command, detail FROM changes"
	    " INDEXED BY changes_at WHERE at >= ?6 AND at < ?7"
	    " ORDER BY at DESC, id DESC LIMIT ?9",
	    -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	history_bind(stmt, query);
	return rows_read(history, stmt, out, read_change);
}
