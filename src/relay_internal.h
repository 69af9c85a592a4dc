/* SPDX-License-Identifier: ISC */
/*
 * relay_internal: what the files of relay share: relay.c is its life and its
 * endings, relay_pump.c moves the bytes of one half, relay_lend.c those of a
 * half to or from a stream that lends its own buffers.  Floor 2.
 */
#ifndef TUNNELD_RELAY_INTERNAL_H
#define TUNNELD_RELAY_INTERNAL_H

#include "relay.h"

struct relay_half;
enum relay_step { RELAY_MOVED, RELAY_WAIT, RELAY_STOP };

/* One direction: from one side's stream to the other's. */
struct relay_half {
	struct relay *relay;
	enum ending_side from;
	struct stream *source;
	struct stream *sink;
	enum relay_step (*move)(struct relay_half *half); /* its way to read */
	bool readable; /* the source may have something: no AGAIN since */
	bool writable; /* the sink may take something */
	bool told;     /* the source did, and was not found empty since then */
	bool eof;      /* the source has ended; drain, then half-close */
	bool over;     /* nothing more to do: ended, or the sink is broken */
	unsigned full_reads;
	uint8_t *data; /* what the sink did not take: data[offset..len) */
	size_t offset, len;
	struct pipe *pipe; /* held only while bytes are in flight */
	size_t in_pipe;
	uint64_t in, out;
};

struct relay {
	struct loop *loop;
	struct pipe_pool *pipes;
	struct stream *stream[2];  /* by enum ending_side */
	struct relay_half half[2]; /* by the side it reads from */
	struct ending ending;
	struct loop_task again; /* a half's budget ran out */
	struct loop_timer *idle;
	struct loop_timer *drain; /* of the half that reads from drain_side */
	enum ending_side drain_side;
	uint64_t drain_out; /* its `out` when the timer was set */
	double idle_timeout;
	double last;
	bool done;
	bool rests; /* woke is due with the next byte */
	relay_done_fn *fn;
	loop_fn *woke;
	void *arg;
};

/* Reads begin small: a short request through splice costs a third more. */
#define RELAY_SMALL 16384
#define RELAY_FULL_READS 2 /* so many full ones in a row are bulk */

/* relay.c */
/* Records an ending; RELAY_STOP if this half has nothing more to do. */
enum relay_step relay_ended(struct relay *relay, enum ending_side side,
    enum ending_event event);

/* relay_pump.c */
/* Moves what can be moved. True: the budget ran out before the bytes did. */
bool relay_pump(struct relay_half *half);
void relay_drop_buffers(struct relay_half *half);
/* What a read, or a write, that was not OK means for the half. */
enum relay_step relay_source_status(struct relay_half *half,
    enum stream_status status);
enum relay_step relay_sink_status(struct relay_half *half,
    enum stream_status status);
/* By what both streams can do. */
void relay_choose_way(struct relay_half *half);

/* relay_lend.c */
enum relay_step relay_move_lent(struct relay_half *half);
enum relay_step relay_move_placed(struct relay_half *half);

#endif
