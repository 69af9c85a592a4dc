/* SPDX-License-Identifier: ISC */
/*
 * mux_model: two ends of sessions, for check_mux_model: who sends, reads and
 * lets go, at random, and checks what it gets. Frames wait at the end that
 * sent them.
 */
#ifndef TUNNELD_TESTS_MUX_MODEL_H
#define TUNNELD_TESTS_MUX_MODEL_H

#include "check_mux.h"

#define CHANNELS 40
#define FRAMES 4096
#define FRAME_MAX 20000u /* of DATA */
#define SESSIONS (CHANNELS * 50)
#define WINDOW_LIMIT (1u << 20)

struct frame {
	uint32_t id; /* DATA */
	size_t len;
	uint8_t *bytes;
	bool data;
};

struct wire { /* in one direction */
	struct frame frames[FRAMES];
	size_t first, n;
};

struct end;

struct session {
	struct mux_channel *channel;
	struct end *end;
	struct session *other;
	unsigned number;
	uint64_t sent, got, limit;
	uint64_t granted; /* to be sent, by what the other end said */
	uint8_t *pipe;	  /* what waits elsewhere, and how much */
	size_t in_pipe;
	bool answered, fin, eof, reset, aborted, refused, evicted, done;
};

struct end {
	struct mux *mux;
	struct mux_memory memory;
	struct end *far;
	struct wire out;
	struct session sessions[SESSIONS];
	unsigned n;
	double now;
};

extern struct end ends[2];
extern unsigned opened;	      /* sessions, in all */
extern uint64_t random_state; /* the seed, at first */
extern double rtt;	      /* that both ends measure */
/* What happened, so that none of it is missing unnoticed. */
struct seen {
	unsigned windows, grown, evicted, piped;
};
extern struct seen seen;

uint32_t random_below(uint32_t below);
void open_one(struct end *end);
void emit_all(struct end *end); /* and no DATA */
/* What its holder may do now. Any of them may close it. */
void act(struct session *session);
void send_some(struct session *session);
void read_some(struct session *session);
void close_session(struct session *session, bool abort);

#endif
