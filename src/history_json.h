/* SPDX-License-Identifier: ISC */
/*
 * history_json: rows of the database as the JSON that programs rely on, the
 * same from the daemon and from tunnelctl on a file. Times are RFC 3339 in
 * UTC with milliseconds, or null; ids and bytes are integers; durations are
 * seconds as reals; names and addresses are strings, or null where there is
 * none.
 *
 * All functions return a new object, or NULL out of memory.  Floor 1.
 */
#ifndef TUNNELD_HISTORY_JSON_H
#define TUNNELD_HISTORY_JSON_H

#include <jansson.h>

#include "history.h"

#define HISTORY_JSON_LIMIT_MAX 10000
#define HISTORY_JSON_ERROR_SIZE 400

/* A string that may hold bytes which are no UTF-8; null for "" and NULL. */
json_t *history_json_text(const char *text);
/* Rounded to a millionth: what is measured has no more to say. */
json_t *history_json_real(double value);
/* Microseconds since the epoch; 0 gives null. */
json_t *history_json_time(int64_t us);

json_t *history_json_session(const struct ledger_session *row);
/* {peer, address, up_at, down_at, up (seconds; until now while up), reason,
 * back_at, away (seconds; null while up; until now if not back)} */
json_t *history_json_link(const struct ledger_link *row);
/* {tunnel, peer, source, from, sessions, failed, up_bytes, down_bytes,
 * median, p95}; from is null for all of the time */
json_t *history_json_stat(const struct history_stat *row);
/* {peer, from, up, known, percent, downs} */
json_t *history_json_uptime(const struct history_uptime *row);
/* {at, uid, by, command, detail} */
json_t *history_json_change(const struct ledger_change *row);
/* Row i of rows, whatever they are. */
json_t *history_json_row(const struct history_rows *rows, size_t i);

/* A query and what it borrows: not to be copied. */
struct history_json_query {
	struct history_query query;
	char peer[NAME_SIZE];	     /* of PEER/NAME */
	char source[ADDR_TEXT_SIZE]; /* as the database writes it */
	char error[HISTORY_JSON_ERROR_SIZE];
};

/*
 * The arguments of the admin commands history, links, stats, uptime and
 * changes as a query of that kind, which borrows from args. Keys that are
 * unknown, or that make no sense for the kind, are ignored; null stands for
 * absent. -1 with the reason in out->error.
 *
 *   tunnel  NAME or PEER/NAME; /NAME is a local tunnel    peer  NAME
 *   source  an address without port, or "unix:", "unix:/path"
 *   reason  for sessions one of reason.h's words, for links any text
 *   since, until    seconds since the epoch, numbers
 *   min_bytes       integer       limit   integer from 1 to 10,000
 *   by "tunnel" | "peer" | "source"       per "hour" | "day"
 */
int history_json_query(const json_t *args, enum history_what what,
    struct history_json_query *out);

#endif
