/* SPDX-License-Identifier: ISC */
/*
 * ending: how the two halves of a session end: one table of what happens on
 * one side and what is then done on the other. Pure.  Floor 0.
 *
 * A session joins an outside socket (the user's, or the service's; TCP or
 * UNIX) to a channel. What happened on one side becomes, on the other:
 *
 *   on one side            | other: TCP  | other: UNIX | other: channel
 *   -----------------------+-------------+-------------+----------------------
 *   EOF                    | FIN once    | shutdown    | FIN / close_notify
 *                          | all before  | likewise    | likewise
 *                          | it is sent  |             |
 *   EOF, the other way has | close       | close       | close
 *   ended with EOF before  |             |             |
 *   reset (read or write)  | RST         | close       | RST (TLS: a FIN
 *                          |             |             | without close_notify
 *                          |             |             | counts the same)
 *   lost (a lane ended,    | RST         | close       | -
 *   with its link or not)  |             |             |
 *   killed, idle_timeout,  | RST, on both sides at once; UNIX: close
 *   shutdown               |
 *
 * A UNIX socket has no reset: its user sees the end of the stream, or
 * ECONNRESET where the kernel still held bytes we had not read. A reset that
 * arrives from a UNIX peer in that way is carried on as a reset.
 *
 * A channel of a lane knows FIN and RESET as frames; ending.h calls it the
 * same. One whose lane is lost ends as a reset does, with its own reason.
 *
 * A write that fails (EPIPE, ECONNRESET) stops that half only: what the same
 * side sent before it died is still read and passed on, and the reset follows
 * it. As with every reset, what the kernel has not sent by then is void.
 */
#ifndef TUNNELD_ENDING_H
#define TUNNELD_ENDING_H

#include <stdbool.h>

#include "reason.h"

enum ending_side { ENDING_OUTSIDE, ENDING_CHANNEL };

enum ending_event {
	ENDING_EOF,    /* this side's last byte was read */
	ENDING_SENT,   /* ... and, with the EOF, passed on to the other side */
	ENDING_RESET,  /* reading from this side failed */
	ENDING_BROKEN, /* writing to this side failed */
	ENDING_LOST    /* what carried this side is lost */
};

enum ending_action {
	ENDING_GO_ON,	/* nothing to do now */
	ENDING_FINISH,	/* drain the half, then half-close the other side */
	ENDING_CLOSE,	/* both ways ended in order: close both sides */
	ENDING_DISCARD, /* read on from this side, write to it no more */
	ENDING_ABORT	/* reset both sides */
};

/* What is known of one side. Zeroed memory is a side at work. */
struct ending_state {
	bool eof;    /* it sent EOF */
	bool sent;   /* and the other side was told */
	bool broken; /* it takes no more bytes */
};

struct ending {
	struct ending_state side[2];
	enum reason reason;	/* once CLOSE or ABORT was returned */
	enum ending_side first; /* who ended first */
	bool has_first;
};

/* Records the event and says what to do. After CLOSE or ABORT no further
 * event may be given. */
enum ending_action ending_step(struct ending *ending, enum ending_side side,
    enum ending_event event);

#endif
