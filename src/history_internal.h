/* SPDX-License-Identifier: ISC */
/*
 * history_internal: what the files of history share; nobody else includes it.
 * Floor 1.
 *
 *     history.c	opening, asking, errors
 *     history_rows.c	SQL to structs
 *     history_filter.c	what a query asks of sessions, as SQL
 *     history_sessions.c	sessions, newest first
 *     history_links.c	links and changes, newest first
 *     history_stats.c	sums over sessions
 *     history_rank.c	the n-th smallest of many numbers
 *     history_uptime.c	how long links were up
 *     history_runs.c	whether a run lives
 *     history_still.c	a file in a directory that one may not write to
 *
 * Functions that return "a code" return SQLITE_OK, an SQLite code, or
 * HISTORY_FAILED, and have in that last case put the words into
 * history->error.
 */
#ifndef TUNNELD_HISTORY_INTERNAL_H
#define TUNNELD_HISTORY_INTERNAL_H

#include <sqlite3.h>

#include "history.h"

#define HISTORY_FAILED (-1)

struct history {
	sqlite3 *db;
	char *path;
	history_stop_fn *why_stop;
	void *arg;
	bool still; /* opened as a file that does not change */
	char error[HISTORY_ERROR_SIZE];
};

/* history.c */
const char *history_why_stop(const struct history *history); /* or NULL */
/* HISTORY_FAILED, for these reasons. */
int history_fail(struct history *history, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* history_rows.c */
#define HISTORY_SESSION_COLUMNS                                        \
	"id, uid, tunnel, peer, type, end, source, target, opened_at," \
	" closed_at, up_bytes, down_bytes, close_reason, closed_by"
#define HISTORY_LINK_COLUMNS "id, peer, address, up_at, down_at, reason"
/* "" for NULL; cut to size. */
void history_read_text(sqlite3_stmt *stmt, int column, char *out, size_t size);
void history_read_session(sqlite3_stmt *stmt, struct ledger_session *out);
void history_read_link(sqlite3_stmt *stmt, struct ledger_link *out);
/* The next free row of the array, grown if need be; NULL out of memory. */
void *history_rows_add(struct history_rows *rows);

/*
 * history_filter.c: one part of the sessions, through an index that is named
 * in the statement: the plan never depends on what SQLite guesses.
 */
enum history_part {
	HISTORY_PART_OPEN,   /* those that are open: few */
	HISTORY_PART_TIME,   /* and closed ones, by time alone, */
	HISTORY_PART_TUNNEL, /* or by one text and time, */
	HISTORY_PART_PEER,
	HISTORY_PART_SOURCE,
	HISTORY_PART_REASON,
	HISTORY_PART_SIZE, /* of one class of size, newest first */
	HISTORY_PART_ALL,  /* all closed ones, in any order */
	HISTORY_PART_ONE   /* the one of that id, open or not */
};
#define HISTORY_SQL_SIZE 1024 /* far more than any statement takes */
/* The part of closed sessions that leaves the fewest rows, by texts and time. */
enum history_part history_best_part(const struct history_query *query);
/* Could an open session be what is asked for? */
bool history_wants_open(const struct history_query *query);
/* SELECT columns FROM that part WHERE what the query asks; then what follows.
 * ?9 is the limit, ?10 the class of size. */
int history_prepare_part(struct history *history,
    const struct history_query *query, enum history_part part,
    const char *columns, const char *then, sqlite3_stmt **out);
/* What is common to all statements: ?1 id, ?2 to ?5 texts, ?6 since, ?7 until,
 * ?8 min_bytes, ?9 limit. */
void history_bind(sqlite3_stmt *stmt, const struct history_query *query);
unsigned history_limit(const struct history_query *query);
/* The class of size that so many bytes are in; and of a session, word for word
 * as in the index. */
#define HISTORY_SIZE_CLASSES (8 * 21 + 7) /* the largest */
#define HISTORY_SIZE_CLASS                                \
	"8 * length(printf('%o', up_bytes + down_bytes))" \
	" + substr(printf('%o', up_bytes + down_bytes), 1, 1)"
int history_size_class(uint64_t bytes);
/* HISTORY_PART_TUNNEL is read peer by peer: calls fn for each peer that a
 * closed session of the tunnel has, or for the one that is asked for, until it
 * gives another code than SQLITE_OK, which is returned. */
typedef int history_peer_fn(void *arg, const struct history_query *query);
int history_each_peer(struct history *history,
    const struct history_query *query, history_peer_fn *fn, void *arg);

/* The rest: each asks for one kind of rows. */
int history_ask_sessions(struct history *history,
    const struct history_query *query, struct history_rows *out);
int history_ask_links(struct history *history,
    const struct history_query *query, struct history_rows *out);
int history_ask_changes(struct history *history,
    const struct history_query *query, struct history_rows *out);
int history_ask_stats(struct history *history,
    const struct history_query *query, struct history_rows *out);
int history_ask_uptime(struct history *history,
    const struct history_query *query, struct history_rows *out);

/* Microseconds of an hour or a day; 0: all of the time is one span. */
int64_t history_span(enum history_per per);
#define HISTORY_GROUPS_MAX 100000     /* sums held at a time */
#define HISTORY_DURATIONS_MAX 8000000 /* durations held at a time */

/* history_rank.c: that percentile of n > 0 numbers, by nearest rank (percent is
 * at most 100). The numbers change their places. */
int64_t history_rank(int64_t *values, size_t n, unsigned percent);

/* history_runs.c: does that run hold its lock? If one cannot tell: no. */
bool history_run_lives(const struct history *history, int64_t run);

/* history_still.c. rc is what opening in the usual way came to. */
bool history_still_may(struct history *history, int rc);
int history_still_open(struct history *history); /* a code */
/* The code, or HISTORY_FAILED with the reason why it was in vain. */
int history_still_explain(struct history *history, int rc);
/* The code of a query, or HISTORY_FAILED if the file has changed. */
int history_still_check(struct history *history, int rc);

#endif
