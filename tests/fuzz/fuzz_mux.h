/* SPDX-License-Identifier: ISC */
/*
 * fuzz_mux: what is done here, as an input says it: CALL and one of these, and
 * a byte of which the lower five bits choose a channel, the upper three how
 * much: 1 byte, 8, 64 ... 2 MiB.
 */
#ifndef TUNNELD_FUZZ_MUX_H
#define TUNNELD_FUZZ_MUX_H

#include <stdbool.h>

#include "fuzz.h"
#include "mux.h"

#define CALL 0x80 /* no type of a frame is so high */

enum call {
	CALL_OPEN,
	CALL_ANSWER,
	CALL_SEND,
	CALL_WAIT,
	CALL_ROUND,
	CALL_READ,
	CALL_PIPE,
	CALL_FINISH,
	CALL_CLOSE,
	CALL_EVICT,
	CALL_AGE,
	CALL_EMIT,
	CALLS
};

#define WINDOW_MAX ((uint32_t)1 << 20)

/* One that somebody holds here, and what was said of it. */
struct held {
	struct mux_channel *channel; /* NULL: this place is free */
	bool answered; /* or ours, which needs no answer of ours */
	bool evicted, finished, last_sent;
	bool fin_came, reset_came, ended; /* ended: and was told here */
	uint64_t credit, sent;		  /* what we may send, and did */
	uint64_t granted, came;		  /* and the peer */
	uint64_t read, piped;		  /* of that; and what is in a pipe */
};

extern double fuzz_now;

size_t fuzz_amount(uint8_t choice);
/* So many bytes have come, within the window: some of a frame waits in a pipe,
 * some is kept, the rest is lent to whoever reads it at once, or keeps it. */
void fuzz_deliver(struct held *held, size_t len, uint8_t choice);
/* Bytes are what came, in order; none follow an end. */
void fuzz_read_some(struct held *held, size_t most);
/* What is in the pipe is kept, before what comes. */
void fuzz_empty_pipe(struct held *held);

#endif
