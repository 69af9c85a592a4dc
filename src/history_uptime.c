/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history_internal.h"

#define STRETCHES_MAX 1000000 /* of one peer's links, or of runs */

/* Stretches of time [from, to): of a peer's link, or of the daemon's life. */
struct stretch {
	int64_t from, to;
};

struct stretches {
	struct stretch *all;
	size_t n, room;
};

struct uptime {
	struct history *history;
	const struct history_query *query;
	int64_t since, until; /* until is no later than now */
	int64_t span;
	size_t n_spans;
	struct stretches runs, lives; /* lives: of the peer of the moment */
};

static int64_t
wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int
uptime_too_much(struct history *history)
{
	return history_fail(history,
	    "too much for the memory: ask for a shorter time or for one peer");
}

static int
stretches_add(struct stretches *list, int64_t from, int64_t to)
{
	size_t room = list->room != 0 ? list->room * 2 : 64;
	struct stretch *grown;

	if (from >= to)
		return 0;
	if (list->n >= STRETCHES_MAX)
		return -1;
	if (list->n == list->room) {
		grown = reallocarray(list->all, room, sizeof *grown);
		if (grown == NULL)
			return -1;
		list->all = grown;
		list->room = room;
	}
	list->all[list->n++] = (struct stretch){ from, to };
	return 0;
}

static int
stretch_compare(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* In order, and none over another. */
static void
stretches_join(struct stretches *list)
{
	size_t kept = 0;

	if (list->n == 0)
		return;
	qsort(list->all, list->n, sizeof *list->all, stretch_compare);
	for (size_t i = 1; i < list->n; i++) {
		if (list->all[i].from > list->all[kept].to)
			list->all[++kept] = list->all[i];
		else if (list->all[i].to > list->all[kept].to)
			list->all[kept].to = list->all[i].to;
	}
	list->n = kept + 1;
}

/* How much of [from, to) they cover; *first: where to begin to look, for the
 * next span as well. */
static int64_t
stretches_within(const struct stretches *list, size_t *first, int64_t from,
    int64_t to)
{
	int64_t sum = 0, begin, end;

	while (*first < list->n && list->all[*first].to <= from)
		(*first)++;
	for (size_t i = *first; i < list->n && list->all[i].from < to; i++) {
		begin = list->all[i].from > from ? list->all[i].from : from;
		end = list->all[i].to < to ? list->all[i].to : to;
		sum += end - begin;
	}
	return sum;
}

/* --- Runs ----------------------------------------------------------------- */

/* When the run ended, as far as is known; of one that lives: now. */
static int64_t
run_end(const struct uptime *uptime, sqlite3_stmt *stmt, int column)
{
	if (sqlite3_column_type(stmt, column + 2) != SQLITE_NULL)
		return sqlite3_column_int64(stmt, column + 2);
	if (history_run_lives(uptime->history,
		sqlite3_column_int64(stmt, column)))
		return INT64_MAX;
	return sqlite3_column_int64(stmt, column + 1);
}

static int
uptime_read_runs(struct uptime *uptime)
{
	sqlite3_stmt *stmt;
	int64_t started;
	int rc;

	rc = sqlite3_prepare_v2(uptime->history->db,
	    "SELECT id, seen_at, ended_at, started_at FROM runs", -1, &stmt,
	    NULL);
	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		started = sqlite3_column_int64(stmt, 3);
		if (stretches_add(&uptime->runs, started,
			run_end(uptime, stmt, 0)) == -1) {
			sqlite3_finalize(stmt);
			return uptime_too_much(uptime->history);
		}
	}
	sqlite3_finalize(stmt);
	stretches_join(&uptime->runs);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* --- One peer ------------------------------------------------------------- */

static int
uptime_read_lives(struct uptime *uptime, const char *peer)
{
	static const char
	    sql[] = "SELECT run, seen_at, ended_at, up_at, down_at FROM links"
		    " INDEXED BY links_by_peer LEFT JOIN runs ON runs.id = run"
		    " WHERE peer = ?1 AND up_at < ?3"
		    " AND (up_at >= ?2 OR down_at > ?2 OR down_at IS NULL)";
	sqlite3_stmt *stmt;
	int64_t down;
	int rc;

	uptime->lives.n = 0;
	rc = sqlite3_prepare_v2(uptime->history->db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(stmt, 1, peer, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, uptime->since);
	sqlite3_bind_int64(stmt, 3, uptime->until);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		down = sqlite3_column_type(stmt, 4) != SQLITE_NULL ?
		    sqlite3_column_int64(stmt, 4) :
		    run_end(uptime, stmt, 0);
		if (stretches_add(&uptime->lives, sqlite3_column_int64(stmt, 3),
			down) == -1) {
			sqlite3_finalize(stmt);
			return uptime_too_much(uptime->history);
		}
	}
	sqlite3_finalize(stmt);
	stretches_join(&uptime->lives);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Where a time stands among the rows of one peer: its span. */
static size_t
uptime_span_of(const struct uptime *uptime, int64_t at)
{
	int64_t first;

	if (uptime->span == 0)
		return 0;
	first = uptime->since - uptime->since % uptime->span;
	return (size_t)((at - first) / uptime->span);
}

/* Counts how often it went down into rows[0 .. n_spans). */
static int
uptime_count_downs(struct uptime *uptime, const char *peer,
    struct history_uptime *rows)
{
	static const char
	    sql[] = "SELECT down_at FROM links INDEXED BY links_by_peer"
		    " WHERE peer = ?1 AND up_at < ?3 AND down_at >= ?2 AND"
		    " down_at < ?3";
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(uptime->history->db, sql, -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(stmt, 1, peer, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, uptime->since);
	sqlite3_bind_int64(stmt, 3, uptime->until);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		rows[uptime_span_of(uptime, sqlite3_column_int64(stmt, 0))]
		    .downs++;
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void
uptime_measure(const struct uptime *uptime, struct history_uptime *rows)
{
	size_t run = 0, life = 0;
	int64_t from, to = uptime->since;

	for (size_t i = 0; i < uptime->n_spans; i++) {
		from = to;
		to = uptime->until;
		if (uptime->span != 0) {
			rows[i].from_us = from - from % uptime->span;
			if (rows[i].from_us + uptime->span < to)
				to = rows[i].from_us + uptime->span;
		}
		rows[i].up = (double)stretches_within(&uptime->lives, &life,
				 from, to) /
		    1e6;
		rows[i].known = (double)stretches_within(&uptime->runs, &run,
				    from, to) /
		    1e6;
		rows[i].percent = -1;
		if (rows[i].known > 0)
			rows[i].percent = 100 * rows[i].up / rows[i].known;
		if (rows[i].percent > 100)
			rows[i].percent = 100;
	}
}

static int
uptime_add_peer(struct uptime *uptime, const char *peer,
    struct history_rows *out)
{
	size_t first = out->n;
	struct history_uptime *row;
	int rc;

	if (out->n + uptime->n_spans > HISTORY_GROUPS_MAX)
		return uptime_too_much(uptime->history);
	for (size_t i = 0; i < uptime->n_spans; i++) {
		row = history_rows_add(out);
		if (row == NULL)
			return SQLITE_NOMEM;
		snprintf(row->peer, sizeof row->peer, "%s", peer);
	}
	rc = uptime_read_lives(uptime, peer);
	if (rc == SQLITE_OK)
		rc = uptime_count_downs(uptime, peer, &out->uptimes[first]);
	if (rc == SQLITE_OK)
		uptime_measure(uptime, &out->uptimes[first]);
	return rc;
}

/* --- All of it ------------------------------------------------------------ */

/* Every peer whose link was ever up, or the one that is asked for if it was. */
static int
uptime_add_peers(struct uptime *uptime, struct history_rows *out)
{
	const char *wanted = uptime->query->peer;
	char peer[NAME_SIZE] = "";
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(uptime->history->db,
	    wanted != NULL ? "SELECT peer FROM links INDEXED BY links_by_peer"
			     " WHERE peer = ?1 LIMIT 1" :
			     "SELECT peer FROM links INDEXED BY links_by_peer"
			     " WHERE peer > ?1 ORDER BY peer LIMIT 1",
	    -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	for (;;) {
		sqlite3_bind_text(stmt, 1, wanted != NULL ? wanted : peer, -1,
		    SQLITE_TRANSIENT);
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		history_read_text(stmt, 0, peer, sizeof peer);
		sqlite3_reset(stmt);
		rc = uptime_add_peer(uptime, peer, out);
		if (rc != SQLITE_OK || wanted != NULL)
			break;
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Newest span first, in it by peer. */
static int
uptime_compare(const void *a, const void *b)
{
	const struct history_uptime *x = a, *y = b;

	if (x->from_us != y->from_us)
		return x->from_us < y->from_us ? 1 : -1;
	return strcmp(x->peer, y->peer);
}

int
history_ask_uptime(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	struct uptime uptime = { .history = history,
		.query = query,
		.since = query->since_us,
		.until = wall_us(),
		.span = history_span(query->per) };
	int rc;

	rc = uptime_read_runs(&uptime);
	if (rc != SQLITE_OK || uptime.runs.n == 0)
		goto out;
	/* Before the first run nothing is known: no rows that say only so. */
	if (uptime.since < uptime.runs.all[0].from)
		uptime.since = uptime.runs.all[0].from;
	if (query->until_us != 0 && query->until_us < uptime.until)
		uptime.until = query->until_us;
	if (uptime.since < 0 || uptime.since >= uptime.until)
		goto out;
	uptime.n_spans = uptime_span_of(&uptime, uptime.until - 1) + 1;
	rc = uptime_add_peers(&uptime, out);
	if (rc != SQLITE_OK)
		goto out;
	if (out->n > 0)
		qsort(out->uptimes, out->n, sizeof *out->uptimes,
		    uptime_compare);
	if (out->n > history_limit(query))
		out->n = history_limit(query);
out:
	free(uptime.runs.all);
	free(uptime.lives.all);
	return rc;
}
