/* SPDX-License-Identifier: ISC */
/*
 * lane_fixture: two lanes that face each other, on one loop: for check_relay
 * and check_lane.
 */
#ifndef TUNNELD_TESTS_LANE_FIXTURE_H
#define TUNNELD_TESTS_LANE_FIXTURE_H

#include <check.h>

#include "lane.h"

struct lane_end {
	struct mux_memory memory;
	struct lane *lane; /* NULL: it is down */
	char why[100];	   /* then; "": it was retired */
	unsigned fulls;
	int closed;	     /* how often it was told */
	bool refuses, waits; /* how it answers; else it accepts */
	struct channel *waiting;
	struct stream **opened; /* where the next stream goes, or NULL */
};

struct lane_pair {
	struct loop *loop;
	struct pipe_pool *pipes;
	struct lane_end end[2]; /* the first one dials */
};

/* Takes both streams, each at one end of a connection. */
void lane_pair_open(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct stream *near, struct stream *far);
/* One lane alone, the first end; whoever is at the other end of the connection
 * says what he likes. */
void lane_pair_open_one(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct stream *near);
/* The same, of a connection that frames were read from before. */
void lane_pair_open_framing(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct framing *near);
void lane_pair_close(struct lane_pair *pair);

/* A channel from end `from`, answered with OPENED: both streams. */
void lane_pair_connect(struct lane_pair *pair, int from, struct stream **near,
    struct stream **far);

void lane_pair_turn(struct lane_pair *pair);

/* A few bytes, at once; and until they are there. */
void lane_say(struct stream *stream, const char *text);
void lane_hear(struct lane_pair *pair, struct stream *stream, const char *text);

#endif
