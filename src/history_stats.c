/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "history_internal.h"

#define KEY_SIZE (sizeof(int64_t) + NAME_SIZE + ADDR_TEXT_SIZE)

/* The columns of a statement here. */
enum {
	COL_OPENED,
	COL_CLOSED,
	COL_UP,
	COL_DOWN,
	COL_REASON,
	COL_NAME,
	COL_PEER
};

/* One row of the answer in the making. */
struct group {
	UT_hash_handle hh;
	uint64_t sessions, failed, up_bytes, down_bytes;
	int64_t *durations; /* of the closed ones */
	size_t n, room;
	int64_t from_us;
	const char *name; /* in key; the peer follows, if it has one */
	size_t key_len;
	char key[]; /* from_us, name, '\0', peer, '\0' */
};

struct stats {
	struct history *history;
	const struct history_query *query;
	int64_t span;
	struct group *groups; /* a hash */
	struct group *last; /* that a row went to: mostly the next does, too */
	size_t n_durations;
};

int64_t
history_span(enum history_per per)
{
	if (per == HISTORY_PER_HOUR)
		return INT64_C(3600) * 1000000;
	return per == HISTORY_PER_DAY ? INT64_C(86400) * 1000000 : 0;
}

static int
stats_no_memory(struct history *history)
{
	return history_fail(history,
	    "too much for the memory: ask for a shorter time, or for one "
	    "tunnel, peer or source");
}

/* The begin of the span that a time is in. */
static int64_t
stats_from(const struct stats *stats, int64_t at)
{
	int64_t rest;

	if (stats->span == 0)
		return 0;
	rest = at % stats->span;
	return at - rest - (rest < 0 ? stats->span : 0);
}

static size_t
stats_copy_text(sqlite3_stmt *stmt, int column, char *to, size_t size)
{
	const void *text = sqlite3_column_text(stmt, column);
	size_t len = (size_t)sqlite3_column_bytes(stmt, column);

	if (text == NULL || len >= size)
		len = text == NULL ? 0 : size - 1;
	if (len > 0)
		memcpy(to, text, len);
	to[len] = '\0';
	return len + 1;
}

static struct group *
stats_new_group(struct stats *stats, const char *key, size_t len)
{
	struct group *group;

	if (HASH_COUNT(stats->groups) >= HISTORY_GROUPS_MAX)
		return NULL;
	group = calloc(1, sizeof *group + len);
	if (group == NULL)
		return NULL;
	memcpy(group->key, key, len);
	memcpy(&group->from_us, key, sizeof group->from_us);
	group->name = group->key + sizeof group->from_us;
	group->key_len = len;
	HASH_ADD_KEYPTR(hh, stats->groups, group->key, len, group);
	if (group->hh.tbl == NULL) {
		free(group);
		return NULL;
	}
	return group;
}

/* The group that a row belongs to; NULL: no room for one more. */
static struct group *
stats_group(struct stats *stats, sqlite3_stmt *stmt)
{
	int64_t from = stats_from(stats,
	    sqlite3_column_int64(stmt, COL_OPENED));
	struct group *group = stats->last;
	char key[KEY_SIZE];
	size_t len = sizeof from;

	memcpy(key, &from, sizeof from);
	len += stats_copy_text(stmt, COL_NAME, key + len, ADDR_TEXT_SIZE);
	if (stats->query->by == HISTORY_BY_TUNNEL)
		len += stats_copy_text(stmt, COL_PEER, key + len, NAME_SIZE);
	if (group != NULL && group->key_len == len &&
	    memcmp(group->key, key, len) == 0)
		return group;
	HASH_FIND(hh, stats->groups, key, len, group);
	if (group == NULL)
		group = stats_new_group(stats, key, len);
	stats->last = group;
	return group;
}

static int
group_add_duration(struct stats *stats, struct group *group, int64_t duration)
{
	size_t room = group->room != 0 ? group->room * 2 : 4;
	int64_t *grown;

	if (stats->n_durations >= HISTORY_DURATIONS_MAX)
		return -1;
	if (group->n == group->room) {
		grown = reallocarray(group->durations, room, sizeof *grown);
		if (grown == NULL)
			return -1;
		group->durations = grown;
		group->room = room;
	}
	/* A clock that was set back makes no time negative. */
	group->durations[group->n++] = duration > 0 ? duration : 0;
	stats->n_durations++;
	return 0;
}

/* Did it end as one that was served? */
static bool
stats_was_served(const char *reason)
{
	static const enum reason served[] = { REASON_CLOSED, REASON_RESET,
		REASON_LINK_LOST, REASON_IDLE_TIMEOUT, REASON_KILLED,
		REASON_KILLED_BY_PEER, REASON_RELOAD, REASON_SHUTDOWN,
		REASON_DAEMON_LOST };

	for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
		if (strcmp(reason, reason_name(served[i])) == 0)
			return true;
	return false;
}

static uint64_t
stats_bytes(sqlite3_stmt *stmt, int column)
{
	int64_t bytes = sqlite3_column_int64(stmt, column);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

/* Sums do not run over. */
static void
stats_sum(uint64_t *sum, uint64_t more)
{
	*sum = more > UINT64_MAX - *sum ? UINT64_MAX : *sum + more;
}

static int
stats_add(struct stats *stats, sqlite3_stmt *stmt)
{
	struct group *group = stats_group(stats, stmt);
	int64_t closed;
	const void *reason;

	if (group == NULL)
		return stats_no_memory(stats->history);
	group->sessions++;
	stats_sum(&group->up_bytes, stats_bytes(stmt, COL_UP));
	stats_sum(&group->down_bytes, stats_bytes(stmt, COL_DOWN));
	if (sqlite3_column_type(stmt, COL_CLOSED) == SQLITE_NULL)
		return SQLITE_OK;
	closed = sqlite3_column_int64(stmt, COL_CLOSED);
	reason = sqlite3_column_text(stmt, COL_REASON);
	group->failed += reason == NULL || !stats_was_served(reason);
	if (group_add_duration(stats, group,
		closed - sqlite3_column_int64(stmt, COL_OPENED)) == -1)
		return stats_no_memory(stats->history);
	return SQLITE_OK;
}

static int
stats_part(struct stats *stats, const struct history_query *query,
    enum history_part part)
{
	static const char *const names[] = {
		[HISTORY_BY_TUNNEL] = "tunnel, peer",
		[HISTORY_BY_PEER] = "peer",
		[HISTORY_BY_SOURCE] = "source_host",
	};
	char columns[128];
	sqlite3_stmt *stmt = NULL;
	int rc, failed = SQLITE_OK;

	snprintf(columns, sizeof columns,
	    "opened_at, closed_at, up_bytes, down_bytes, close_reason, %s",
	    names[stats->query->by]);
	rc = history_prepare_part(stats->history, query, part, columns, "",
	    &stmt);
	if (rc != SQLITE_OK)
		return rc;
	while (failed == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		failed = stats_add(stats, stmt);
	sqlite3_finalize(stmt);
	if (failed != SQLITE_OK)
		return failed;
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Newest span first, in it by bytes, and then by name. */
static int
group_compare(const void *a, const void *b)
{
	const struct group *x = *(struct group *const *)a;
	const struct group *y = *(struct group *const *)b;
	uint64_t in_x = x->up_bytes, in_y = y->up_bytes;

	stats_sum(&in_x, x->down_bytes);
	stats_sum(&in_y, y->down_bytes);
	if (x->from_us != y->from_us)
		return x->from_us < y->from_us ? 1 : -1;
	if (in_x != in_y)
		return in_x < in_y ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void
group_describe(const struct group *group, enum history_by by,
    struct history_stat *out)
{
	const char *peer = group->name + strlen(group->name) + 1;

	if (by == HISTORY_BY_TUNNEL) {
		snprintf(out->tunnel, sizeof out->tunnel, "%s", group->name);
		snprintf(out->peer, sizeof out->peer, "%s", peer);
	} else if (by == HISTORY_BY_PEER) {
		snprintf(out->peer, sizeof out->peer, "%s", group->name);
	} else {
		snprintf(out->source, sizeof out->source, "%s", group->name);
	}
	out->from_us = group->from_us;
	out->sessions = group->sessions;
	out->failed = group->failed;
	out->up_bytes = group->up_bytes;
	out->down_bytes = group->down_bytes;
	out->median = out->p95 = -1;
	if (group->n > 0) {
		out->median = (double)history_rank(group->durations, group->n,
				  50) /
		    1e6;
		out->p95 = (double)history_rank(group->durations, group->n,
			       95) /
		    1e6;
	}
}

/* The first rows of the answer. */
static int
stats_finish(struct stats *stats, struct history_rows *out)
{
	size_t n = HASH_COUNT(stats->groups), i = 0;
	struct group **all = calloc(n + 1, sizeof *all), *group, *next;
	struct history_stat *row;
	int rc = SQLITE_OK;

	if (all == NULL)
		return SQLITE_NOMEM;
	HASH_ITER(hh, stats->groups, group, next)
		all[i++] = group;
	qsort(all, n, sizeof(struct group *), group_compare);
	for (i = 0; i < n && i < history_limit(stats->query); i++) {
		row = history_rows_add(out);
		if (row == NULL)
			rc = SQLITE_NOMEM;
		else if (history_why_stop(stats->history) != NULL)
			rc = SQLITE_INTERRUPT;
		if (rc != SQLITE_OK)
			break;
		group_describe(all[i], stats->query->by, row);
	}
	free(all);
	return rc;
}

static int
stats_peer(void *stats, const struct history_query *query)
{
	return stats_part(stats, query, HISTORY_PART_TUNNEL);
}

/* Nothing but everything is read without an index. */
static enum history_part
stats_closed_part(const struct history_query *query)
{
	enum history_part part = history_best_part(query);

	if (part == HISTORY_PART_TIME && query->since_us == 0 &&
	    query->until_us == 0)
		return HISTORY_PART_ALL;
	return part;
}

int
history_ask_stats(struct history *history, const struct history_query *query,
    struct history_rows *out)
{
	struct stats stats = { .history = history,
		.query = query,
		.span = history_span(query->per) };
	struct group *group, *next;
	int rc;

	if ((unsigned)query->by > HISTORY_BY_SOURCE)
		return history_fail(history, "no such question");
	if (stats_closed_part(query) == HISTORY_PART_TUNNEL)
		rc = history_each_peer(history, query, stats_peer, &stats);
	else
		rc = stats_part(&stats, query, stats_closed_part(query));
	if (rc == SQLITE_OK && history_wants_open(query))
		rc = stats_part(&stats, query, HISTORY_PART_OPEN);
	if (rc == SQLITE_OK)
		rc = stats_finish(&stats, out);
	HASH_ITER(hh, stats.groups, group, next) {
		HASH_DEL(stats.groups, group);
		free(group->durations);
		free(group);
	}
	return rc;
}
