/* SPDX-License-Identifier: ISC */
/*
 * ledger: the SQLite database of runs, sessions and links.
 *
 * Owns a writer thread (the only one that writes) and a reader thread for
 * queries. The loop hands over copies and never waits: no function here but
 * ledger_new and ledger_free touches the disk or takes a lock that is held
 * across disk work. A full disk, a locked or a damaged file never stops
 * traffic: rows wait in memory up to a bound, the loss past it is counted.
 * Knows nothing of peers and tunnels but their names.  Floor 2.
 *
 * Schema: docs in ledger_schema.c, versioned with PRAGMA user_version,
 * migrated forward; a newer version than ours is refused (state "failed").
 */
#ifndef TUNNELD_LEDGER_H
#define TUNNELD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "loop.h"
#include "name.h"
#include "reason.h"
#include "wire.h"

#define LEDGER_BY_SIZE 64

enum ledger_end { LEDGER_END_ENTRY, LEDGER_END_EXIT, LEDGER_END_LOCAL };
const char *ledger_end_name(enum ledger_end end); /* "entry", ... */

/* Everything known of a session; a row is always handed over whole. */
struct ledger_session {
	int64_t id;		    /* from ledger_take_id */
	uint8_t uid[WIRE_UID_SIZE]; /* the same at both ends */
	char tunnel[NAME_SIZE];
	char peer[NAME_SIZE]; /* "" for a local tunnel */
	char type[8];	      /* "tcp" */
	enum ledger_end end;
	char source[ADDR_TEXT_SIZE]; /* the user */
	char target[ADDR_TEXT_SIZE]; /* the service, "" where unknown */
	int64_t opened_us;	     /* microseconds since the epoch */
	int64_t closed_us;	     /* 0 while open */
	uint64_t up_bytes;	     /* user to service */
	uint64_t down_bytes;
	enum reason reason;		/* REASON_NONE while open */
	char closed_by[LEDGER_BY_SIZE]; /* "user", "service", "peer",
					   "daemon", "root (uid 0)"; "" */
};

/* One life of a link. */
struct ledger_link {
	int64_t id; /* the caller's, unique within this run */
	char peer[NAME_SIZE];
	char address[ADDR_TEXT_SIZE];
	int64_t up_us;
	int64_t down_us;  /* 0 while up */
	char reason[128]; /* why it went down, "" while up */
};

struct ledger_options {
	const char *path; /* copied */
	int retention_days;
	int64_t max_rows;
	size_t max_queued;  /* rows in memory; 0 means 65,536 */
	const char *daemon; /* our name, for the row of this run; copied */
	const char *version;
};

struct ledger;

/*
 * Starts the threads. Waits at most 2 s for the writer to have opened the
 * file, claimed its run and reserved ids; if that takes longer or fails, the
 * ledger is returned all the same and keeps trying. NULL only if a thread or
 * memory is not to be had.
 *
 * Opening closes, as daemon_lost at the run's last sign of life, every
 * session and link (reason "daemon_lost") that a run no longer alive left
 * open. A run is alive while it holds its lock: an open-file-description lock
 * on byte `run` of the file PATH-runs. A damaged file is renamed to
 * PATH.damaged-YYYYMMDDTHHMMSSZ (its -wal and -shm too) and a new one begun.
 */
struct ledger *ledger_new(struct loop *loop,
    const struct ledger_options *options);

/*
 * Writes what is queued, waiting at most 1 s for it, closes the run, ends the
 * threads, frees. Callbacks of queries still open are not called. What could
 * not be written is logged with its count.
 */
void ledger_free(struct ledger *ledger);

/*
 * A new session id: small, for people to type; below 2^53; unique in the
 * database. From blocks reserved ahead by the writer; while the disk gives
 * none, ids continue at 2^52 + a time-based number.
 */
int64_t ledger_take_id(struct ledger *ledger);

/*
 * Queues a row for writing (insert or update by id). A row that is still
 * queued is replaced in place. With the queue full a row with closed_us set
 * is counted as lost; an open one is dropped silently, since its close brings
 * everything again.
 */
void ledger_put_session(struct ledger *ledger,
    const struct ledger_session *session);
void ledger_put_link(struct ledger *ledger, const struct ledger_link *link);

struct ledger_status {
	char state[12];	 /* "ok", "starting", "retrying", "failed" */
	char error[160]; /* the last error, "" when ok */
	char path[ADDR_HOST_SIZE * 4];
	size_t queued;
	uint64_t written;     /* rows committed by this run */
	uint64_t lost;	      /* rows lost by this run */
	int64_t set_aside_us; /* when a damaged file was last set aside, or 0 */
};
void ledger_get_status(struct ledger *ledger, struct ledger_status *out);

/*
 * Queries, on the reader thread, newest first, of what is committed; rows put
 * just before get a quarter of a second to be. Strings NULL and numbers 0
 * mean "any". A link has no tunnel and no source: those are ignored.
 */
struct ledger_query {
	int64_t id;	    /* one session */
	const char *tunnel; /* all strings are copied */
	const char *peer;
	const char *source;	    /* the host part, without port */
	const char *reason;	    /* as reason_name */
	int64_t since_us, until_us; /* opened_us in [since, until) */
	bool closed_only;
	bool links;	 /* links instead of sessions */
	unsigned limit;	 /* at most 100,000; 0 means 100 */
	double deadline; /* seconds; 0 means 10 */
};

/*
 * What a query found. Rows are valid during the callback only. error is NULL
 * or says what went wrong ("timed out", SQLite's words), and the rows are
 * then those found before. Called on the loop's thread, once, never before
 * ledger_query returns, and the query is gone afterwards.
 */
struct ledger_rows {
	const char *error;
	const struct ledger_session *sessions;
	size_t n_sessions;
	const struct ledger_link *links;
	size_t n_links;
};
typedef void ledger_query_fn(const struct ledger_rows *rows, void *arg);

/* NULL if 64 queries wait already or memory is short. */
struct ledger_request;
struct ledger_request *ledger_query(struct ledger *ledger,
    const struct ledger_query *query, ledger_query_fn *fn, void *arg);
/* The callback will not be called; the request is gone. */
void ledger_query_cancel(struct ledger_request *request);

#endif
