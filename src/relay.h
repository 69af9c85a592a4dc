/* SPDX-License-Identifier: ISC */
/*
 * relay: joins an outside stream (the user's or the service's) to a channel
 * by two half-pipes, each with one bounded buffer, so that back-pressure is by
 * construction: what the slower side does not take is not read from the
 * other.
 *
 * Owns both streams. Between plain sockets bulk bytes are spliced through a
 * pipe that is held only while bytes are in flight; short requests, TLS and
 * whoever gets no pipe are copied once, from a scratch buffer of the loop.
 * How sessions end stands in ending.h. Knows nothing of peers, tunnels and
 * the ledger.  Floor 2.
 */
#ifndef TUNNELD_RELAY_H
#define TUNNELD_RELAY_H

#include "ending.h"
#include "loop.h"
#include "pipe.h"
#include "stream.h"

/* Bytes that were read from a side before the relay began. */
struct relay_early {
	uint8_t *data; /* from malloc, taken over; NULL if there are none */
	size_t len;
	bool eof;  /* this side had already sent EOF behind them */
	bool sent; /* which the other side was already told */
};

/*
 * The session is over: free the relay within this call or later. `side` ended
 * it, or ended first. Never called before relay_new returns, nor after
 * relay_free. What is still buffered has been passed on or is void.
 */
typedef void relay_done_fn(enum reason reason, enum ending_side side,
    void *arg);

struct relay_params {
	struct loop *loop;
	struct pipe_pool *pipes;
	struct stream *outside; /* both taken over, on failure too */
	struct stream *channel;
	struct relay_early from_outside;
	struct relay_early from_channel;
	double idle_timeout; /* seconds without a byte; 0: none */
	relay_done_fn *done;
	loop_fn *woke; /* bytes moved again: see relay_rest; NULL: nobody asks*/
	void *arg;
};

struct relay;
struct relay *relay_new(const struct relay_params *params); /* NULL: memory */

/* Closes both sides in whatever state they are. NULL is ignored. */
void relay_free(struct relay *relay);

/* Both sides will be reset by relay_free; the channel's other end is told why,
 * if it can be: as in stream_set_reason. And what it told, once it reset. */
void relay_abort(struct relay *relay, uint8_t reason);
uint8_t relay_reason(const struct relay *relay);

/* Hands the channel back, unwatched, before relay_free closes the outside:
 * for whoever must tell the other end something first. Once. */
struct stream *relay_take_channel(struct relay *relay);

/* From now on the next byte, whichever way, is told by woke(), once; it must do
 * nothing to the relay. */
void relay_rest(struct relay *relay);

/* Borrowed; NULL for a channel that was handed back. */
const struct stream *relay_stream(const struct relay *relay,
    enum ending_side side);

struct relay_counters {
	uint64_t from_outside; /* bytes read from the outside socket, early ones
				  not counted */
	uint64_t to_outside;   /* bytes it took */
	double last;	       /* loop_now() of the last byte */
};
void relay_get_counters(const struct relay *relay, struct relay_counters *out);

#endif
