/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history_internal.h"

void
history_read_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
	const void *text = sqlite3_column_text(stmt, column);

	snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
}

#define COLUMN(stmt, n, array) history_read_text(stmt, n, array, sizeof(array))

static uint64_t
column_bytes(sqlite3_stmt *stmt, int column)
{
	int64_t bytes = sqlite3_column_int64(stmt, column);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

void
history_read_session(sqlite3_stmt *stmt, struct ledger_session *out)
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
history_read_link(sqlite3_stmt *stmt, struct ledger_link *out)
{
	memset(out, 0, sizeof *out);
	out->id = sqlite3_column_int64(stmt, 0);
	COLUMN(stmt, 1, out->peer);
	COLUMN(stmt, 2, out->address);
	out->up_us = sqlite3_column_int64(stmt, 3);
	out->down_us = sqlite3_column_int64(stmt, 4);
	COLUMN(stmt, 5, out->reason);
}

void *
history_rows_add(struct history_rows *rows)
{
	static const size_t sizes[] = {
		[HISTORY_SESSIONS] = sizeof(struct ledger_session),
		[HISTORY_LINKS] = sizeof(struct ledger_link),
		[HISTORY_STATS] = sizeof(struct history_stat),
		[HISTORY_UPTIME] = sizeof(struct history_uptime),
		[HISTORY_CHANGES] = sizeof(struct ledger_change),
	};
	void *arrays[] = { rows->sessions, rows->links, rows->stats,
		rows->uptimes, rows->changes };
	size_t size = sizes[rows->what];
	char *array = arrays[rows->what], *grown;

	/* Room for 64, 128, 256, ...: full whenever n is one of these. */
	if (rows->n == 0 || (rows->n >= 64 && (rows->n & (rows->n - 1)) == 0)) {
		grown = reallocarray(array, rows->n == 0 ? 64 : rows->n * 2,
		    size);
		if (grown == NULL)
			return NULL;
		array = grown;
	}
	switch (rows->what) {
	case HISTORY_SESSIONS:
		rows->sessions = (void *)array;
		break;
	case HISTORY_LINKS:
		rows->links = (void *)array;
		break;
	case HISTORY_STATS:
		rows->stats = (void *)array;
		break;
	case HISTORY_UPTIME:
		rows->uptimes = (void *)array;
		break;
	case HISTORY_CHANGES:
		rows->changes = (void *)array;
		break;
	}
	return memset(array + size * rows->n++, 0, size);
}

void
history_rows_clear(struct history_rows *rows)
{
	free(rows->sessions);
	free(rows->links);
	free(rows->stats);
	free(rows->uptimes);
	free(rows->changes);
	memset(rows, 0, sizeof *rows);
}
