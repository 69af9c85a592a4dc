/* SPDX-License-Identifier: ISC */
#include <stdlib.h>
#include <string.h>

#include "history_internal.h"

/* With so many sessions of a larger class than min_bytes it says little. */
#define COMMON_SIZE 10000

/*
 * First the times and ids of what is asked for are found, part by part, mostly
 * in indexes alone; then the rows of the newest of them are read.
 */
struct key {
	int64_t at, id;
};

struct search {
	struct history *history;
	const struct history_query *query;
	struct key *keys;
	size_t n, room;
	size_t limit;
};

static int
search_add(struct search *search, int64_t at, int64_t id)
{
	size_t room = search->room != 0 ? search->room * 2 : 128;
	struct key *grown;

	if (search->n == search->room) {
		grown = reallocarray(search->keys, room, sizeof *grown);
		if (grown == NULL)
			return -1;
		search->keys = grown;
		search->room = room;
	}
	search->keys[search->n++] = (struct key){ at, id };
	return 0;
}

static int
key_compare(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? 1 : -1;
	return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

/* Keeps the newest. */
static void
search_cut(struct search *search)
{
	if (search->n > 0)
		qsort(search->keys, search->n, sizeof *search->keys,
		    key_compare);
	if (search->n > search->limit)
		search->n = search->limit;
}

/* Adds the newest of one part; class is for HISTORY_PART_SIZE. */
static int
search_part(struct search *search, const struct history_query *what,
    enum history_part part, int class)
{
	struct history_query query = *what;
	sqlite3_stmt *stmt = NULL;
	int rc;

	/* Older than all that would be kept need not be looked at. */
	if (search->n == search->limit)
		query.since_us = search->keys[search->n - 1].at;
	rc = history_prepare_part(search->history, &query, part,
	    "opened_at, id", " ORDER BY opened_at DESC LIMIT ?9", &stmt);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(stmt, 10, class);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (search_add(search, sqlite3_column_int64(stmt, 0),
			sqlite3_column_int64(stmt, 1)) == -1) {
			rc = SQLITE_NOMEM;
			break;
		}
	}
	sqlite3_finalize(stmt);
	search_cut(search);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Are there only few sessions of a larger class than min_bytes? A code. */
static int
search_probe_size(struct search *search, bool *rare)
{
	static const char
	    sql[] = "SELECT count(*) FROM (SELECT 1 FROM sessions"
		    " INDEXED BY closed_by_size WHERE closed_at IS NOT NULL"
		    " AND " HISTORY_SIZE_CLASS " > ?1 LIMIT ?2)";
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(search->history->db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int(stmt, 1, history_size_class(search->query->min_bytes));
	sqlite3_bind_int(stmt, 2, COMMON_SIZE);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*rare = sqlite3_column_int(stmt, 0) < COMMON_SIZE;
		rc = SQLITE_OK;
	}
	sqlite3_finalize(stmt);
	return rc;
}

static int
search_peer(void *search, const struct history_query *query)
{
	return search_part(search, query, HISTORY_PART_TUNNEL, 0);
}

static int
search_closed(struct search *search)
{
	enum history_part part = history_best_part(search->query);
	bool by_size = search->query->min_bytes != 0;
	int rc = SQLITE_OK, least;

	if (by_size && part != HISTORY_PART_TIME)
		rc = search_probe_size(search, &by_size);
	if (rc != SQLITE_OK)
		return rc;
	if (!by_size && part == HISTORY_PART_TUNNEL)
		return history_each_peer(search->history, search->query,
		    search_peer, search);
	if (!by_size)
		return search_part(search, search->query, part, 0);
	/* The smallest class last: it alone has rows to be passed over. */
	least = history_size_class(search->query->min_bytes);
	for (int i = HISTORY_SIZE_CLASSES; rc == SQLITE_OK && i >= least; i--)
		rc = search_part(search, search->query, HISTORY_PART_SIZE, i);
	return rc;
}

static int
search_read(struct search *search, struct history_rows *out)
{
	sqlite3_stmt *stmt;
	void *row;
	int rc;

	rc = sqlite3_prepare_v2(search->history->db,
	    "SELECT " HISTORY_SESSION_COLUMNS " FROM sessions WHERE id = ?1",
	    -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	for (size_t i = 0; i < search->n && rc == SQLITE_OK; i++) {
		sqlite3_bind_int64(stmt, 1, search->keys[i].id);
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW) {
			row = history_rows_add(out);
			if (row != NULL)
				history_read_session(stmt, row);
			rc = row != NULL ? SQLITE_OK : SQLITE_NOMEM;
		} else if (rc == SQLITE_DONE) {
			rc = SQLITE_OK;
		}
		sqlite3_reset(stmt);
	}
	sqlite3_finalize(stmt);
	return rc;
}

int
history_ask_sessions(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	struct search search = { .history = history,
		.query = query,
		.limit = history_limit(query) };
	int rc = SQLITE_OK;

	if (query->id != 0) {
		/* One row, which is looked at whole. */
		rc = search_part(&search, query, HISTORY_PART_ONE, 0);
	} else {
		if (history_wants_open(query))
			rc = search_part(&search, query, HISTORY_PART_OPEN, 0);
		if (rc == SQLITE_OK)
			rc = search_closed(&search);
	}
	if (rc == SQLITE_OK)
		rc = search_read(&search, out);
	free(search.keys);
	return rc;
}
