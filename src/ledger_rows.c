/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <string.h>

#include "ledger_internal.h"

static void
row_source_host(const char *source, char *out)
{
	size_t len = strnlen(source, ADDR_TEXT_SIZE - 1);
	const char *end = NULL;

	if (len > 0 && source[0] == '[') {
		end = memchr(source, ']', len);
		source += end != NULL;
	} else if (strncmp(source, "unix:", 5) != 0) {
		end = memrchr(source, ':', len);
	}
	if (end != NULL)
		len = (size_t)(end - source);
	memcpy(out, source, len);
	out[len] = '\0';
}

/*
 * Another session of the same id (from a database that was set aside) is left
 * alone. While a session is open only its counters change: no index does.
 *
 * One that moved to a later run of ours (taken) is written by both, in either
 * order: what the earlier one still had to say takes neither the run nor the
 * counters back, and does not open again what is closed. If the earlier one
 * has ended meanwhile, and closed what it thought its own, the later one opens
 * it again.
 */
#define INSERT_SESSION                                                         \
	"INSERT INTO sessions (id, uid, run, tunnel, peer, type, end, source," \
	" source_host, target, opened_at, closed_at, up_bytes, down_bytes,"    \
	" close_reason, closed_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"    \
	" ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT (id) DO UPDATE"   \
	" SET run = max(run, ?3), target = ?10,"                               \
	" up_bytes = max(up_bytes, ?13), down_bytes = max(down_bytes, ?14)"
#define REOPEN(column) \
	column " = CASE WHEN run < ?3 THEN NULL ELSE " column " END"

int
ledger_rows_prepare(struct ledger_file *file)
{
	const struct {
		sqlite3_stmt **stmt;
		const char *sql;
	} all[] = {
		{ &file->put_open, INSERT_SESSION " WHERE uid = ?2" },
		{ &file->put_taken,
		    INSERT_SESSION
		    ", " REOPEN("closed_at") ", " REOPEN("close_reason") ", " REOPEN(
			"closed_by") " WHERE uid = ?2" },
		{ &file->put_session,
		    INSERT_SESSION ", closed_at = ?12, close_reason = ?15,"
				   " closed_by = ?16 WHERE uid = ?2" },
		{ &file->put_link,
		    "INSERT INTO links (run, id, peer, address, up_at,"
		    " down_at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
		    " ON CONFLICT (run, id) DO UPDATE"
		    " SET address = ?4, down_at = ?6, reason = ?7" },
		{ &file->put_change,
		    "INSERT INTO changes (at, uid, who, command, detail)"
		    " VALUES (?1, ?2, ?3, ?4, ?5)" },
		{ &file->seen, "UPDATE runs SET seen_at = ?1 WHERE id = ?2" },
	};
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof all / sizeof all[0];
	     i++)
		rc = sqlite3_prepare_v3(file->db, all[i].sql, -1,
		    SQLITE_PREPARE_PERSISTENT, all[i].stmt, NULL);
	return rc;
}

/* Fields of a row are arrays; whatever is in them, reading ends there. */
static void
bind_text(sqlite3_stmt *stmt, int n, const char *text, size_t size)
{
	sqlite3_bind_text(stmt, n, text, (int)strnlen(text, size),
	    SQLITE_STATIC);
}

static void
bind_bytes(sqlite3_stmt *stmt, int n, uint64_t bytes)
{
	sqlite3_bind_int64(stmt, n,
	    bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes);
}

#define BIND(stmt, n, array) bind_text(stmt, n, array, sizeof(array))

static int
row_step(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int
ledger_put_session_row(struct ledger_file *file,
    const struct ledger_session *session)
{
	sqlite3_stmt *stmt = session->closed_us != 0 ? file->put_session :
	    session->taken			     ? file->put_taken :
						       file->put_open;
	char host[ADDR_TEXT_SIZE];

	row_source_host(session->source, host);
	sqlite3_bind_int64(stmt, 1, session->id);
	sqlite3_bind_blob(stmt, 2, session->uid, sizeof session->uid,
	    SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 3, file->run);
	BIND(stmt, 4, session->tunnel);
	BIND(stmt, 5, session->peer);
	BIND(stmt, 6, session->type);
	sqlite3_bind_text(stmt, 7, ledger_end_name(session->end), -1,
	    SQLITE_STATIC);
	BIND(stmt, 8, session->source);
	BIND(stmt, 9, host);
	BIND(stmt, 10, session->target);
	sqlite3_bind_int64(stmt, 11, session->opened_us);
	bind_bytes(stmt, 13, session->up_bytes);
	bind_bytes(stmt, 14, session->down_bytes);
	if (session->closed_us != 0) { /* else all three stay NULL */
		sqlite3_bind_int64(stmt, 12, session->closed_us);
		sqlite3_bind_text(stmt, 15, reason_name(session->reason), -1,
		    SQLITE_STATIC);
		BIND(stmt, 16, session->closed_by);
	}
	return row_step(stmt);
}

int
ledger_put_link_row(struct ledger_file *file, const struct ledger_link *link)
{
	sqlite3_stmt *stmt = file->put_link;

	sqlite3_bind_int64(stmt, 1, file->run);
	sqlite3_bind_int64(stmt, 2, link->id);
	BIND(stmt, 3, link->peer);
	BIND(stmt, 4, link->address);
	sqlite3_bind_int64(stmt, 5, link->up_us);
	if (link->down_us != 0) {
		sqlite3_bind_int64(stmt, 6, link->down_us);
		BIND(stmt, 7, link->reason);
	}
	return row_step(stmt);
}

int
ledger_put_change_row(struct ledger_file *file,
    const struct ledger_change *change)
{
	sqlite3_stmt *stmt = file->put_change;

	sqlite3_bind_int64(stmt, 1, change->at_us);
	sqlite3_bind_int64(stmt, 2, change->uid);
	BIND(stmt, 3, change->by);
	BIND(stmt, 4, change->command);
	BIND(stmt, 5, change->detail);
	return row_step(stmt);
}

int
ledger_put_seen(struct ledger_file *file)
{
	sqlite3_bind_int64(file->seen, 1, loop_wall_us());
	sqlite3_bind_int64(file->seen, 2, file->run);
	return row_step(file->seen);
}
