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

int
ledger_rows_prepare(struct ledger_file *file)
{
	/* An open session's row changes only in these columns; the others are
	 * in indexes that need not be touched then. Another session of the
	 * same id (from a database that was set aside) is left alone. */
	static const char session[] =
	    "INSERT INTO sessions (id, uid, run, tunnel, peer, type, end,"
	    " source, source_host, target, opened_at, closed_at, up_bytes,"
	    " down_bytes, close_reason, closed_by) VALUES (?1, ?2, ?3, ?4, ?5,"
	    " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
	    " ON CONFLICT (id) DO UPDATE SET run = ?3, target = ?10,"
	    " closed_at = ?12, up_bytes = ?13, down_bytes = ?14,"
	    " close_reason = ?15, closed_by = ?16 WHERE uid = ?2";
	static const char link[] =
	    "INSERT INTO links (run, id, peer, address, up_at, down_at, reason)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (run, id)"
	    " DO UPDATE SET address = ?4, down_at = ?6, reason = ?7";
	static const char seen[] = "UPDATE runs SET seen_at = ?1 WHERE id = ?2";
	unsigned flags = SQLITE_PREPARE_PERSISTENT;
	int rc;

	rc = sqlite3_prepare_v3(file->db, session, -1, flags,
	    &file->put_session, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(file->db, link, -1, flags,
		    &file->put_link, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v3(file->db, seen, -1, flags, &file->seen,
		    NULL);
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
	sqlite3_stmt *stmt = file->put_session;
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
ledger_put_seen(struct ledger_file *file)
{
	sqlite3_bind_int64(file->seen, 1, loop_wall_us());
	sqlite3_bind_int64(file->seen, 2, file->run);
	return row_step(file->seen);
}

static void
column_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
	const void *text = sqlite3_column_text(stmt, column);

	snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
}

#define COLUMN(stmt, n, array) column_text(stmt, n, array, sizeof(array))

static uint64_t
column_bytes(sqlite3_stmt *stmt, int column)
{
	int64_t bytes = sqlite3_column_int64(stmt, column);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

void
ledger_read_session(sqlite3_stmt *stmt, struct ledger_session *out)
{
	char word[32];
	const void *uid = sqlite3_column_blob(stmt, 1);

	memset(out, 0, sizeof *out);
	out->id = sqlite3_column_int64(stmt, 0);
	if (uid != NULL && sqlite3_column_bytes(stmt, 1) == WIRE_UID_SIZE)
		memcpy(out->uid, uid, WIRE_UID_SIZE);
	COLUMN(stmt, 2, out->tunnel);
	COLUMN(stmt, 3, out->peer);
	COLUMN(stmt, 4, out->type);
	COLUMN(stmt, 5, word);
	for (int i = 0; i <= LEDGER_END_LOCAL; i++)
		if (strcmp(word, ledger_end_name((enum ledger_end)i)) == 0)
			out->end = (enum ledger_end)i;
	COLUMN(stmt, 6, out->source);
	COLUMN(stmt, 7, out->target);
	out->opened_us = sqlite3_column_int64(stmt, 8);
	out->closed_us = sqlite3_column_int64(stmt, 9);
	out->up_bytes = column_bytes(stmt, 10);
	out->down_bytes = column_bytes(stmt, 11);
	COLUMN(stmt, 12, word);
	for (int i = 0; i < REASON_COUNT; i++)
		if (strcmp(word, reason_name((enum reason)i)) == 0)
			out->reason = (enum reason)i;
	COLUMN(stmt, 13, out->closed_by);
}

void
ledger_read_link(sqlite3_stmt *stmt, struct ledger_link *out)
{
	memset(out, 0, sizeof *out);
	out->id = sqlite3_column_int64(stmt, 0);
	COLUMN(stmt, 1, out->peer);
	COLUMN(stmt, 2, out->address);
	out->up_us = sqlite3_column_int64(stmt, 3);
	out->down_us = sqlite3_column_int64(stmt, 4);
	COLUMN(stmt, 5, out->reason);
}
