/* SPDX-License-Identifier: ISC */
/*
 * pool_internal: what the files of pool share, and nobody else includes.
 *
 * pool.c is its channels, and what is needed of them; pool_dial.c the making of
 * them by the side that dials.  Floor 3.
 */
#ifndef TUNNELD_POOL_INTERNAL_H
#define TUNNELD_POOL_INTERNAL_H

#include <sys/queue.h>

#include "channel_direct.h"
#include "pool.h"

struct pool_entry {
	TAILQ_ENTRY(pool_entry) entry;
	struct pool *pool;
	struct channel *channel;     /* idle, or NULL while attaching */
	struct handshake *handshake; /* attaching */
	bool ours, lane;
};

TAILQ_HEAD(pool_list, pool_entry);

#define POOL_RETRY_MIN 0.1 /* seconds after an attach that failed */
#define POOL_RETRY_MAX 5.0

/* Whether others' links come before what is attached in reserve. */
enum pool_warmth {
	POOL_COLD,    /* nothing was wanted yet */
	POOL_QUEUED,  /* they do: it awaits its turn */
	POOL_WARMING, /* it is its turn */
	POOL_WARM     /* never again */
};

struct pool {
	struct pool_params params;
	struct pool_list ours, theirs, attaching;
	unsigned n_ours, n_theirs;
	unsigned attaching_ours, attaching_theirs;
	struct auth_serials serials; /* accepting side: those seen */
	uint64_t serial;	     /* dialler: the last one used */
	uint64_t asked;		     /* accepting side: the last WANT */
	uint64_t arrived; /* accepting side: channels of ours so far */
	uint64_t wanted;  /* dialler: the other end's last WANT */
	uint64_t served;  /* dialler: attached for the other end so far */
	unsigned lanes, attaching_lanes, lanes_goal;
	bool lanes_waited_for;
	enum pool_warmth warmth;
	struct rush_turn turn;
	bool entries;
	unsigned waiting;
	unsigned goal; /* idle channels of ours to keep */
	double last_miss;
	double retry;	   /* seconds; the next wait after a failure */
	double lane_retry; /* after a lane that was lost soon */
	double lane_attached_at;
	struct loop_timer
	    *retry_timer; /* while it is set, nothing is dialled; */
	struct loop_timer *lane_timer; /* this one: no lane */
	struct loop_timer *tick;       /* pings, and the shrinking goal */
	bool leaving;		       /* pool_leave was called */
	struct loop_task emptied;
	loop_fn *on_empty;
	void *on_empty_arg;
};

/* pool.c */
/* The count of those under way that the entry belongs to. */
unsigned *pool_attaching(struct pool *pool, const struct pool_entry *entry);
/* Takes the entry out of its list and frees it; its channel lives on. */
struct channel *pool_entry_remove(struct pool_entry *entry);
/* The channel is the entry's from now on. */
void pool_entry_idle(struct pool_entry *entry, struct channel *channel);
/* Brings the pool to what is needed, or sets out to. */
void pool_fill(struct pool *pool);
/* All places taken, by whomever. */
unsigned pool_total(const struct pool *pool);

/* pool_dial.c */
/* The same as pool_fill for who dials; `need`: channels of ours. */
void pool_fill_dialler(struct pool *pool, unsigned need);
void pool_turn(void *arg); /* it has come */
/* It is over: no more is wanted, or wanted for the first time. */
void pool_end_turn(struct pool *pool);
/* Seconds to wait after another failure; before: 0, or what it was. */
double pool_next_retry(double retry);

#endif
