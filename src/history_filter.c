/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "history_internal.h"

#define LIMIT_DEFAULT 100
#define CLOSED "closed_at IS NOT NULL"

/* Where each part is found. */
static const char *const parts[] = {
	[HISTORY_PART_OPEN] =
	    "INDEXED BY open_sessions WHERE closed_at IS NULL",
	[HISTORY_PART_TIME] = "INDEXED BY closed_sessions WHERE " CLOSED,
	[HISTORY_PART_TUNNEL] = "INDEXED BY closed_by_tunnel WHERE " CLOSED,
	[HISTORY_PART_PEER] = "INDEXED BY closed_by_peer WHERE " CLOSED,
	[HISTORY_PART_SOURCE] = "INDEXED BY closed_by_source WHERE " CLOSED,
	[HISTORY_PART_REASON] = "INDEXED BY closed_by_reason WHERE " CLOSED,
	/* Word for word as in the index. */
	[HISTORY_PART_SIZE] = "INDEXED BY closed_by_size WHERE " CLOSED
			      " AND " HISTORY_SIZE_CLASS " = ?10",
	[HISTORY_PART_ALL] = "NOT INDEXED WHERE " CLOSED,
	[HISTORY_PART_ONE] = "NOT INDEXED WHERE id = ?1",
};

/* How most sessions end says little: the other texts say more. */
enum history_part
history_best_part(const struct history_query *query)
{
	if (query->source != NULL)
		return HISTORY_PART_SOURCE;
	if (query->reason != NULL &&
	    strcmp(query->reason, reason_name(REASON_CLOSED)) != 0)
		return HISTORY_PART_REASON;
	if (query->tunnel != NULL)
		return HISTORY_PART_TUNNEL;
	if (query->peer != NULL)
		return HISTORY_PART_PEER;
	if (query->reason != NULL)
		return HISTORY_PART_REASON;
	return HISTORY_PART_TIME;
}

bool
history_wants_open(const struct history_query *query)
{
	return !query->closed_only && query->reason == NULL;
}

unsigned
history_limit(const struct history_query *query)
{
	if (query->limit == 0)
		return LIMIT_DEFAULT;
	return query->limit < HISTORY_LIMIT_MAX ? query->limit :
						  HISTORY_LIMIT_MAX;
}

int
history_size_class(uint64_t bytes)
{
	int digits = 1;

	if (bytes > INT64_MAX)
		bytes = INT64_MAX;
	for (; bytes >= 8; bytes >>= 3)
		digits++;
	return 8 * digits + (int)bytes;
}

static void __attribute__((format(printf, 2, 3)))
sql_add(char sql[HISTORY_SQL_SIZE], const char *fmt, ...)
{
	size_t used = strlen(sql);
	va_list args;

	va_start(args, fmt);
	vsnprintf(sql + used, HISTORY_SQL_SIZE - used, fmt, args);
	va_end(args);
}

void
history_bind(sqlite3_stmt *stmt, const struct history_query *query)
{
	const char *texts[] = { query->tunnel, query->peer, query->source,
		query->reason };
	size_t len;

	/* What the statement does not have is refused by SQLite, which does no
	 * harm. */
	sqlite3_bind_int64(stmt, 1, query->id);
	for (int i = 0; i < 4; i++)
		if (texts[i] != NULL)
			sqlite3_bind_text(stmt, 2 + i, texts[i], -1,
			    SQLITE_STATIC);
	/* "[::1]" and "::1" are the same host. */
	len = query->source != NULL ? strlen(query->source) : 0;
	if (len >= 2 && query->source[0] == '[' &&
	    query->source[len - 1] == ']')
		sqlite3_bind_text(stmt, 4, query->source + 1, (int)len - 2,
		    SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 6,
	    query->since_us != 0 ? query->since_us : INT64_MIN);
	sqlite3_bind_int64(stmt, 7,
	    query->until_us != 0 ? query->until_us : INT64_MAX);
	sqlite3_bind_int64(stmt, 8,
	    query->min_bytes < INT64_MAX ? (int64_t)query->min_bytes :
					   INT64_MAX);
	sqlite3_bind_int64(stmt, 9, history_limit(query));
}

int
history_prepare_part(struct history *history, const struct history_query *query,
    enum history_part part, const char *columns, const char *then,
    sqlite3_stmt **out)
{
	char sql[HISTORY_SQL_SIZE] = "";
	int rc;

	sql_add(sql, "SELECT %s FROM sessions %s", columns, parts[part]);
	sql_add(sql, " AND opened_at >= ?6 AND opened_at < ?7");
	if (query->id != 0 && part != HISTORY_PART_ONE)
		sql_add(sql, " AND id = ?1");
	if (part == HISTORY_PART_ONE && query->closed_only)
		sql_add(sql, " AND closed_at IS NOT NULL");
	if (query->tunnel != NULL)
		sql_add(sql, " AND tunnel = ?2");
	if (query->peer != NULL)
		sql_add(sql, " AND peer = ?3");
	if (query->source != NULL)
		sql_add(sql, " AND source_host = ?4");
	if (query->reason != NULL)
		sql_add(sql, " AND close_reason = ?5");
	if (query->min_bytes != 0)
		sql_add(sql, " AND up_bytes + down_bytes >= ?8");
	sql_add(sql, "%s", then);
	rc = sqlite3_prepare_v2(history->db, sql, -1, out, NULL);
	if (rc == SQLITE_OK)
		history_bind(*out, query);
	return rc;
}

int
history_each_peer(struct history *history, const struct history_query *query,
    history_peer_fn *fn, void *arg)
{
#define NEXT_PEER                                                     \
	"SELECT peer FROM sessions INDEXED BY closed_by_tunnel"       \
	" WHERE closed_at IS NOT NULL AND tunnel = ?2 AND peer %s ?3" \
	" ORDER BY peer LIMIT 1"
	struct history_query one = *query;
	char peer[ADDR_TEXT_SIZE] = "", sql[HISTORY_SQL_SIZE];
	sqlite3_stmt *stmt;
	bool first = true;
	int rc;

	if (query->peer != NULL)
		return fn(arg, query);
	one.peer = peer;
	for (;; first = false) {
		snprintf(sql, sizeof sql, NEXT_PEER, first ? ">=" : ">");
		rc = sqlite3_prepare_v2(history->db, sql, -1, &stmt, NULL);
		if (rc != SQLITE_OK)
			return rc;
		history_bind(stmt, &one);
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
			history_read_text(stmt, 0, peer, sizeof peer);
		sqlite3_finalize(stmt);
		if (rc != SQLITE_ROW)
			return rc == SQLITE_DONE ? SQLITE_OK : rc;
		rc = fn(arg, &one);
		if (rc != SQLITE_OK)
			return rc;
	}
}
