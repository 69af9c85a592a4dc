/* SPDX-License-Identifier: ISC */
/*
 * channel: the byte path of one session between two daemons, until the exit
 * has answered: what a session may know of it, whichever kind it is. `direct`
 * is a connection of its own (channel_direct), `mux` a share of a lane
 * (lane_channel); the kinds stand behind a table (channel_ops.h).
 *
 * Either this end opens it, and the other one answers, or the other way round.
 * Then the session takes its stream.  Floor 3.
 */
#ifndef TUNNELD_CHANNEL_H
#define TUNNELD_CHANNEL_H

#include <stdbool.h>

#include "framing.h"
#include "linger.h"
#include "loop.h"
#include "wire.h"

struct channel;

/*
 * Who holds the channel now. Freeing the channel, or taking its stream, is
 * allowed in every call, as long as it is the last thing done there.
 */
struct channel_handler {
	/* The other end opened it; afterwards its stream may be read for
	 * early bytes: those read already come with channel_take_early. */
	void (*opened)(struct channel *channel, const struct wire_open *open,
	    void *arg);
	/* The exit answered: refusal is NULL for OPENED. */
	void (*answered)(struct channel *channel,
	    const struct wire_refusal *refusal, void *arg);
	/* Its stream may be written (opening) or read (answering) again. */
	void (*ready)(struct channel *channel, void *arg);
	/* It ended while idle or before an answer. Free it. */
	void (*lost)(struct channel *channel, void *arg);
};

void channel_free(struct channel *channel);
/* ... with a reset. */
void channel_abort(struct channel *channel);

void channel_set_handler(struct channel *channel,
    const struct channel_handler *handler, void *arg);

const char *channel_mode(const struct channel *channel); /* "mux", ... */

/* 0, or -1: free it. errno is ENOMEM, or EPIPE if it was dead: another one may
 * do. */
int channel_send_open(struct channel *channel, const struct wire_open *open);

/* The stream, for early bytes: written behind OPEN once channel_can_write
 * says so, read while answering. */
struct stream *channel_stream(const struct channel *channel);
bool channel_can_write(const struct channel *channel);
/* Nobody needs to read them while answering: they are kept, and counted, and
 * the stream has them later. */
bool channel_keeps_early(const struct channel *channel);
/* Bytes that came right behind OPEN; to be asked once, first. 0 or -1. */
int channel_take_early(struct channel *channel, struct relay_early *early);

/* OPENED: 0, or -1 if the channel is dead. The stream can then be taken. */
int channel_send_opened(struct channel *channel);
/* FAILED, and the channel lingers on its own: gone for the caller. */
void channel_send_failed(struct channel *channel, struct linger *linger,
    enum wire_failed_code code, const char *text);

/* The stream of an answered channel, with the bytes read past the answer; the
 * channel is gone. Its watch still points here: set another or free the stream
 * before the loop goes on. NULL if memory is short. */
struct stream *channel_take_stream(struct channel *channel,
    struct relay_early *early);

#endif
