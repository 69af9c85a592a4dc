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

#include "history.h"
#include "loop.h"

struct ledger_options {
	const char *path; /* copied */
	int retention_days;
	int64_t max_rows;
	size_t max_queued;  /* rows in memory; 0 means 65,536 */
	const char *daemon; /* our name, for the row of this run; copied */
	const char *version;
	/* Of all the processes of this daemon that may live at a time, no two
	 * have the same one modulo 64. */
	unsigned generation;
	/*
	 * Called on the loop's thread when the table of what is switched off
	 * was read only after ledger_new had returned (a slow or locked disk).
	 * What was set meanwhile wins. May be NULL.
	 */
	void (*loaded)(void *arg);
	void *arg;
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

/* How much is kept, from now on. */
void ledger_set_limits(struct ledger *ledger, int retention_days,
    int64_t max_rows);

/* How long ledger_free may wait: LEDGER_STOP_TIME, or for who is in no hurry,
 * since another run of this daemon serves, and writes beside it. */
#define LEDGER_STOP_TIME 1.0
#define LEDGER_LEAVE_TIME 10.0
void ledger_set_patience(struct ledger *ledger, double seconds);

/*
 * Writes what is queued, waiting for it at most as long as was said, closes the
 * run, ends the threads, frees. Callbacks of queries still open are not called.
 * What could not be written is logged with its count.
 */
void ledger_free(struct ledger *ledger);

/*
 * A new session id: small, for people to type; below 2^53; unique in the
 * database. From blocks reserved ahead by the writer; while the disk gives
 * none, ids continue at 2^52 + a time-based number, which no other generation
 * has.
 */
int64_t ledger_take_id(struct ledger *ledger);

/*
 * Queues a row for writing (insert or update by id). A row that is still
 * queued is replaced in place. With the queue full a row with closed_us set
 * is counted as lost; an open one is dropped silently, since its close brings
 * everything again.
 *
 * A session may move to a later run of this daemon (session->taken there): rows
 * of both may be written in either order.
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
 * Queries, as history_ask does them, on the reader thread, of what is
 * committed; rows put just before get a quarter of a second to be. All strings
 * are copied. seconds is the deadline; 0 means 10.
 *
 * fn(rows, error, arg): rows are valid during the callback only; error is NULL
 * or says what went wrong ("timed out", SQLite's words). Called on the loop's
 * thread, once, never before ledger_query returns, and the query is gone
 * afterwards.
 */
typedef void ledger_query_fn(const struct history_rows *rows, const char *error,
    void *arg);

/* NULL if 64 queries wait already or memory is short. */
struct ledger_request;
struct ledger_request *ledger_query(struct ledger *ledger,
    const struct history_query *query, double seconds, ledger_query_fn *fn,
    void *arg);
/* The callback will not be called; the request is gone. */
void ledger_query_cancel(struct ledger_request *request);

/* --- what administrators change ------------------------------------------- */

/* Queues a row of the table of changes. */
void ledger_put_change(struct ledger *ledger,
    const struct ledger_change *change);

/*
 * A tunnel or a peer that is switched off, until it is switched on again: kept
 * over restarts. The ledger holds them in memory as well, in any number up to
 * LEDGER_DISABLED_MAX.
 */
#define LEDGER_DISABLED_MAX 65536
struct ledger_disabled {
	char peer[NAME_SIZE];	/* "": a local tunnel */
	char tunnel[NAME_SIZE]; /* "": the peer itself */
	int64_t at_us;
	char by[HISTORY_BY_SIZE]; /* who did it */
};

/* Queues it, and remembers at once. -1: too many. */
int ledger_set_disabled(struct ledger *ledger,
    const struct ledger_disabled *what, bool disabled);
/* That table was read: it is what is known. */
bool ledger_is_loaded(struct ledger *ledger);
/* Whether that is switched off; out may be NULL. As far as is known: see
 * ledger_options.loaded. Takes no lock that is held across disk work. */
bool ledger_get_disabled(struct ledger *ledger, const char *peer,
    const char *tunnel, struct ledger_disabled *out);

/*
 * fn(error, arg) is called on the loop's thread, once, never before this
 * returns: with NULL when everything put before is committed, or with the
 * reason when that did not happen within `seconds` (it may still happen
 * later). NULL if memory is short or 256 wait already.
 */
struct ledger_sync;
typedef void ledger_sync_fn(const char *error, void *arg);
struct ledger_sync *ledger_sync(struct ledger *ledger, double seconds,
    ledger_sync_fn *fn, void *arg);
void ledger_sync_cancel(struct ledger_sync *sync);

#endif
