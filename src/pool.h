/* SPDX-License-Identifier: ISC */
/*
 * pool: the idle channels of one link, and the making of more.
 *
 * Lives and ends with its link. Idle channels of ours wait to be taken by
 * sessions; theirs wait for the other end's OPEN. The dialling side attaches
 * them, for itself and for what the other end asks with WANT; the accepting
 * side sends WANT.  Floor 3.
 *
 * The goal is the configured number of warm channels; a burst that finds the
 * pool empty doubles it, up to POOL_BURST_MAX, and quiet halves it again.
 * It is never more than a quarter of max_channels, and gives way to a WANT.
 *
 * What is attached first, for a link that has just come up, and nobody here
 * waits for, awaits its turn: other links come first (rush.h).
 */
#ifndef TUNNELD_POOL_H
#define TUNNELD_POOL_H

#include "channel.h"
#include "config.h"
#include "handshake.h"
#include "rush.h"

#define POOL_BURST_MAX 64
#define POOL_DIALS_MAX 32 /* attaches under way at once */

struct pool;

/* None is called before pool_new returns. */
struct pool_handler {
	/* Channels of ours have come: take them. */
	void (*available)(void *arg);
	/* The other end opened one; the callee's from now on. */
	void (*opened)(struct channel *channel, const struct wire_open *open,
	    void *arg);
	/* A lane of the link was attached; the framing is the callee's. */
	void (*lane)(struct framing *framing, void *arg);
	/* The accepting side: send this on the link. */
	void (*want)(uint64_t total, void *arg);
};

struct pool_params {
	struct loop *loop;
	struct resolve_pool *resolver;
	struct tls *tls;
	struct rush *rush;		/* as in peer_context */
	const struct config_peer *peer; /* the pool refers to it */
	bool dialler;			/* we attach; else we ask */
	bool knows_lanes;		/* both ends: lanes were agreed on */
	struct addr_sock address;	/* the link's, to attach to */
	uint8_t link_id[WIRE_LINK_ID_SIZE];
	struct auth_key key;
	unsigned *in_use; /* channels of this peer beyond the idle ones, kept
			     by its owner: sessions may outlive the link */
	const struct pool_handler *handler;
	void *arg;
};

struct pool *pool_new(const struct pool_params *params);
void pool_free(struct pool *pool); /* closes all idle channels */
/* Another configuration of the same link: how many, and how often they are
 * pinged. Those beyond it go as they become idle. */
void pool_set_conf(struct pool *pool, const struct config_peer *peer);

/*
 * The link is to go, in good order: channels of ours that are idle are closed,
 * none is made any more. Theirs are kept, since an OPEN may be under way on
 * any of them, and opened() is called as ever: until the other end closes them
 * or pool_free is called. Whoever attaches meanwhile for the other end to open
 * is taken; what was attached for us is closed.
 */
void pool_leave(struct pool *pool);
bool pool_is_empty(const struct pool *pool);
/* fn is called, by a task, once a pool that was left is empty; at the next turn
 * if it is so already. It may free the pool. */
void pool_on_empty(struct pool *pool, loop_fn *fn, void *arg);

/* How many sessions wait for a channel, and whether this end opens any. */
void pool_set_need(struct pool *pool, bool entries, unsigned waiting);

/* The dialler keeps so many lanes attached, of which there are `have` now; one
 * of our sessions waits for them. Both sides: one is gone. */
void pool_set_lanes(struct pool *pool, unsigned count, unsigned have,
    bool waited_for);
void pool_lane_gone(struct pool *pool);

/* An idle channel of ours that is alive as far as can be seen, or NULL; counted
 * in in_use. The caller sets its own handler. */
struct channel *pool_take(struct pool *pool);

/* The dialler: the other end's WANT. */
void pool_on_want(struct pool *pool, uint64_t total);

/*
 * The accepting side: an ATTACH with this link's id. Judges MAC, serial and
 * bounds; takes the framing over only on success. Returns 0, or -1 and *why.
 */
int pool_accept(struct pool *pool, const struct wire_attach *attach,
    struct framing *framing, const char **why);
const uint8_t *pool_link_id(const struct pool *pool);

unsigned pool_idle(const struct pool *pool); /* of ours */

#endif
