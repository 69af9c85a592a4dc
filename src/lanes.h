/* SPDX-License-Identifier: ISC */
/*
 * lanes: the lanes of a peer: those of its link, which take sessions, and
 * those of links before, which carry theirs to their end.
 *
 * Owns the lanes and what they share: the bound of memory, and pipes. Who
 * attaches them is the pool.  Floor 3.
 */
#ifndef TUNNELD_LANES_H
#define TUNNELD_LANES_H

#include "config.h"
#include "lane.h"

struct lanes;

/* None is called before lanes_new returns. */
struct lanes_handler {
	/* The other end opened a channel; the callee's from now on. */
	void (*opened)(struct channel *channel, const struct wire_open *open,
	    void *arg);
	/* There may be room for more channels of ours. */
	void (*available)(void *arg);
	/* One of the link's is gone: another one may be attached. */
	void (*lost)(void *arg);
	/* One is closed: the other end opens nothing on it any more. */
	void (*closed)(void *arg);
};

struct lanes *lanes_new(struct loop *loop, const struct config_peer *conf,
    const struct lanes_handler *handler, void *arg); /* NULL: memory */
void lanes_free(struct lanes *lanes);
void lanes_set_conf(struct lanes *lanes, const struct config_peer *conf);

/* A connection that was attached to the link. Takes the framing over; 0, or -1
 * out of memory, or too many of them. */
int lanes_add(struct lanes *lanes, struct framing *framing);
/* The link is over: none of them takes sessions any more. */
void lanes_retire(struct lanes *lanes);
/* There are more than so many: the rest carries its sessions to their end. */
void lanes_limit(struct lanes *lanes, unsigned count);

/* A channel on the lane that has least to send, or NULL. */
struct channel *lanes_take(struct lanes *lanes);

unsigned lanes_count(const struct lanes *lanes);  /* of the link */
bool lanes_are_closed(const struct lanes *lanes); /* those of any link */
/* All of them, for whoever wants to see; false: there are not so many. */
bool lanes_get_status(const struct lanes *lanes, unsigned place,
    struct lane_status *out);

#endif
