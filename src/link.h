/* SPDX-License-Identifier: ISC */
/*
 * link: one authenticated control connection to a peer: heartbeat, round-trip
 * time, frames out and in.
 *
 * Owns the connection. Does not know who dialled, nor what the frames it
 * hands up are about.  Floor 3.
 *
 * Each end pings at its own interval and gives up at its own timeout; any
 * frame counts as a sign of life.
 */
#ifndef TUNNELD_LINK_H
#define TUNNELD_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "framing.h"
#include "loop.h"
#include "wire.h"

struct link;

/* None is called before link_new returns. link_free is allowed in both. */
struct link_handler {
	/* A frame that is none of the link's own (PING, PONG). */
	void (*frame)(const struct wire_message *msg, void *arg);
	/* It is dead; free it. why is for people, and static or short-lived. */
	void (*down)(const char *why, void *arg);
	/* A PONG came, after link_probe or as the heartbeat goes. */
	void (*alive)(void *arg);
	/* The PONG of a link_ping, after alive(). */
	void (*pong)(uint64_t token, void *arg);
};

struct link_params {
	struct loop *loop;
	struct framing *framing; /* taken over, on failure too */
	double interval;	 /* seconds between our pings */
	double timeout;		 /* of silence */
	const struct link_handler *handler;
	void *arg;
};

struct link *link_new(const struct link_params *params);
/* Closes; frames not yet sent are lost. What a finished one has received and
 * not read is dropped, not answered by a reset. NULL is ignored. */
void link_free(struct link *link);

/* Never calls back; a link that takes no more goes down at the next turn. */
void link_send(struct link *link, const struct wire_message *msg);

/* The other end does not take what is sent: what can be left out should be, or
 * the link goes down. */
bool link_is_clogged(const struct link *link);

/* Another interval and timeout; silence counts from now on. Returns the
 * descriptor of the connection, for the caller to set its options. */
int link_set_times(struct link *link, double interval, double timeout);

/*
 * Our side is over: what is queued is sent, then the end of the stream, and no
 * more is said, PING and PONG neither. So no reset discards what was said last
 * at either end. Frames come in until the other end closes, too, or `seconds`
 * have passed, for that handler, whose down() is then called. Allowed in
 * frame() and alive(); not in, or after, down().
 */
void link_finish(struct link *link, double seconds,
    const struct link_handler *handler, void *arg);

/* Pings at once: alive() tells when the answer is there. */
void link_probe(struct link *link);

/*
 * One ping besides the heartbeat's, whose round trip is not touched by it:
 * pong() tells when the answer is there, with the token that is returned. The
 * other end may answer any token at any time, or never.
 */
uint64_t link_ping(struct link *link);

/* Milliseconds, smoothed as TCP does (RFC 6298); negative: not known yet. */
double link_rtt_ms(const struct link *link);

#endif
