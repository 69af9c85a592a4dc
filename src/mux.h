/* SPDX-License-Identifier: ISC */
/*
 * mux: the channels of one lane: numbers, states, credit, what is kept of
 * them, and in which order frames are sent. No sockets, no events, and time
 * only as it is told: whoever has the connection (lane) hands in what arrived
 * and asks what to send.  Pure.  Floor 0.
 *
 * A channel is opened by OPEN, from either end: the dialling side's numbers
 * are odd, the accepting side's even, and a number is used again only after
 * both ends closed it. So that memory follows what is really open, whoever
 * opens takes a closed number or the next one never used.
 *
 *   state      what it is                  what may come in
 *   ---------  --------------------------  ---------------------------------
 *   (none)     closed, or never used       OPEN, of theirs
 *   opening    ours, not answered yet      OPENED, FAILED, RESET
 *   answering  theirs, not answered yet    DATA, FIN, RESET
 *   open       answered                    DATA, FIN, RESET, WINDOW
 *   finished   open, and FIN has come      RESET, WINDOW, FIN (last)
 *   let go     we sent RESET or FAILED     what could come before, discarded
 *   last       theirs has come             nothing
 *
 * Everything else is a protocol error, with a reason that names it.
 *
 * The last frame of an end is RESET, or FAILED, or FIN with `last` set: a FIN
 * says so itself if the other end's FIN or RESET was seen before it was sent;
 * else another FIN follows once it was. RESET (and FAILED) are answered by
 * RESET. Once the last frame of both ends has passed, the number is closed,
 * and nothing that is under way can meet a later channel of that number.
 *
 * Credit: an end may send as many bytes as the other end granted. MUX_EARLY
 * may follow OPEN unasked; OPEN and OPENED tell the window that the channel
 * begins with (MUX_WINDOW if they say nothing, never less than MUX_EARLY,
 * which counts towards it); WINDOW adds to it as bytes are passed on. The
 * window doubles while half of it goes within two round trips (or, at first,
 * within a few turns of the loops) and its reader keeps up, up to window_max,
 * and as long as the link's memory allows; it falls back when that is nearly
 * used up, or the channel idles, and by what was kept. What a reader does not
 * take is kept here, and is his own window and nothing else.
 *
 * Order: frames that are no DATA first; DATA in turns, MUX_QUANTUM for each
 * channel that waits; who sent 16 KiB and still has more is behind those who
 * did not, and does not go before those who wait. What is to be sent are marks in the channels, not a queue, so that
 * its memory is bounded. DATA that was taken is the lane's: there, in one
 * place, a lane that is resumed one day finds what it has to send again.
 */
#ifndef TUNNELD_MUX_H
#define TUNNELD_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define MUX_WINDOW ((uint32_t)262144)
#define MUX_EARLY ((uint32_t)65536)
#define MUX_CREDIT_MAX ((uint32_t)1 << 30)
#define MUX_QUANTUM ((size_t)65536)
#define MUX_CHANNELS_MAX ((uint32_t)65536) /* that each end may open */

/* Shared by the lanes of a link. */
struct mux_memory {
	uint64_t bound; /* link_memory */
	uint64_t kept;	/* bytes of memory in use for what waits */
	uint64_t grown; /* by how much windows are larger than MUX_WINDOW */
};

struct mux_params {
	bool dialler;	     /* our numbers are odd */
	uint32_t window_max; /* at least MUX_WINDOW */
	struct mux_memory *memory;
};

struct mux;
struct mux_channel;

struct mux *mux_new(const struct mux_params *params); /* NULL: memory */
/* Nobody holds a channel any more. */
void mux_free(struct mux *mux);
void mux_set_window_max(struct mux *mux, uint32_t window_max);

/* Channels whose numbers are in use, or will be. */
unsigned mux_count(const struct mux *mux);
/* Of these, the ones that somebody here holds; for the others nothing is left
 * but that the other end says its last frame. */
unsigned mux_count_held(const struct mux *mux);
/* And of these, of each: its other end has said its last frame. */
bool mux_has_heard_all(const struct mux *mux);
bool mux_has_room(const struct mux *mux); /* for one more of ours */

/* --- who holds a channel -------------------------------------------------- */

/* A channel of ours; OPEN is due. NULL: memory, or no room. */
struct mux_channel *mux_open(struct mux *mux, const struct wire_open *open,
    void *holder);
void mux_set_holder(struct mux_channel *channel, void *holder);
void *mux_holder(const struct mux_channel *channel);

/* Answers one of theirs. Refusing lets go of it. */
void mux_accept(struct mux_channel *channel);
void mux_refuse(struct mux_channel *channel,
    const struct wire_refusal *refusal);

/* Nothing more will be sent: FIN is due. Not of one that is dead. */
void mux_finish(struct mux_channel *channel);

/*
 * Lets go of it: what is kept is dropped; RESET is due unless both ways have
 * ended (abort: unless all of it is sent). `reason` as in wire_reset. NULL is
 * ignored.
 */
void mux_close(struct mux_channel *channel, bool abort, uint8_t reason);

enum mux_status {
	MUX_BYTES,
	MUX_NOTHING, /* yet */
	MUX_EOF,
	MUX_RESET, /* by the other end */
	MUX_LOST   /* with its lane */
};

/* What has come and was not passed on: valid until anything else is done. */
enum mux_status mux_peek(const struct mux_channel *channel,
    const uint8_t **data, size_t *len);
/* So many of these were passed on. now: monotonic seconds; rtt: likewise, of
 * the path, or < 0. */
void mux_consume(struct mux_channel *channel, size_t len, double now,
    double rtt);
/* It was reset, or its lane is lost, whatever can still be read of it. */
bool mux_is_dead(const struct mux_channel *channel);
/* Why the other end reset it: as in wire_reset. */
uint8_t mux_reset_reason(const struct mux_channel *channel);
uint64_t mux_kept(const struct mux_channel *channel);
uint64_t mux_held(const struct mux_channel *channel); /* and what is piped */
/* Now and then: the windows of those that idle shrink, so that others may
 * grow. What was granted before stays so. */
void mux_age(struct mux *mux, double now);

/* How many bytes of DATA may be taken from it now. */
size_t mux_allowance(const struct mux_channel *channel);
/* A DATA frame with so many has been taken. */
void mux_sent(struct mux_channel *channel, size_t len);
/* It has more to send than it may now: mux_next will name it. One without
 * credit is told by MUX_NEWS_WRITABLE instead. */
void mux_wait(struct mux_channel *channel);

/* --- who has the connection ------------------------------------------------ */

uint32_t mux_id(const struct mux_channel *channel); /* 0: none (yet) */

/*
 * DATA with so many bytes begins: they count against the credit. NULL, or why
 * the lane has to end. *out: whose they are, or NULL: discard them.
 */
const char *mux_on_data(struct mux *mux, uint32_t id, size_t len,
    struct mux_channel **out);
/* The bytes, as they come: kept. 0, or -1 out of memory. Whether the link's
 * memory is used up is for the caller to see. */
int mux_keep(struct mux_channel *channel, const uint8_t *data, size_t len);
/* The bytes, lent for a moment: peek finds them behind what is kept. Settling
 * ends that, and returns how many are left and should be kept. */
void mux_lend(struct mux_channel *channel, const uint8_t *data, size_t len);
size_t mux_settle(struct mux_channel *channel);
/* So many bytes wait for its reader elsewhere (in a pipe): they count as kept,
 * and come before what is kept here. */
void mux_set_piped(struct mux_channel *channel, size_t len);
/* Bytes that were passed on without coming here: the credit alone. */
void mux_passed(struct mux_channel *channel, size_t len, double now,
    double rtt);

enum mux_news {
	MUX_NEWS_NONE,
	MUX_NEWS_OPENED,   /* a channel of theirs: accept, refuse or close it */
	MUX_NEWS_ACCEPTED, /* OPENED */
	MUX_NEWS_REFUSED,  /* FAILED; the refusal is in the message */
	MUX_NEWS_READABLE, /* FIN or RESET */
	MUX_NEWS_WRITABLE  /* WINDOW */
};

/* Any other frame with a channel number. NULL, or why the lane has to end;
 * else *news, and *out: whose they are. */
const char *mux_on_message(struct mux *mux, const struct wire_message *msg,
    enum mux_news *news, struct mux_channel **out);

/* Writes the next frame that is due and no DATA, of at most WIRE_FRAME_MAX
 * bytes, and returns its length; 0: none is due. */
size_t mux_emit(struct mux *mux, uint8_t *frame);
bool mux_has_frames(const struct mux *mux);

/* What was sent before is out: quanta are counted anew. */
void mux_begin_round(struct mux *mux);
/* Whose turn it is: no longer waiting. NULL: nobody waits. */
struct mux_channel *mux_next(struct mux *mux);
bool mux_is_waited_for(const struct mux *mux);

/* The connection is gone: all is lost. Then, one by one, those that are held:
 * each is told once. */
void mux_lose(struct mux *mux);
struct mux_channel *mux_next_lost(struct mux *mux);

/* Takes what is kept from who holds it: as if the other end had reset it. What
 * the other end says meanwhile is discarded: there would be a gap before it. */
void mux_evict(struct mux_channel *channel);
/* The one that holds most, NULL: none holds anything. Walks over all. */
struct mux_channel *mux_greediest(const struct mux *mux);

#endif
