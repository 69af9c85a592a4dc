/* SPDX-License-Identifier: ISC */
/*
 * lane: one authenticated connection of a link that carries the frames of many
 * channels (mux.h).
 *
 * Owns the connection, its mux, and what it has read or not sent yet; does
 * not know what channels are about. Floor 3.
 *
 * Out: what is sent in one turn of the loop leaves in one system call at its
 * end. A relay puts its bytes where they are sent from; bulk on a plain lane
 * goes through a pipe that is the lane's own, so that a frame is finished
 * whatever becomes of its channel, and while the pipe holds bytes nothing else
 * is sent. What is handed to the kernel goes by the rate of the path.
 * In: a relay is lent the bytes where they were read, and its channel keeps
 * what the user does not take; bulk on a plain lane is spliced from the
 * connection into a pipe of its channel, and waits there, as far as it fits.
 * So an idle lane holds no buffer, and a reader who stops holds up no other.
 *
 * Each end pings at its own interval and gives up at its own timeout; any
 * frame counts as a sign of life.
 */
#ifndef TUNNELD_LANE_H
#define TUNNELD_LANE_H

#include "channel.h"
#include "framing.h"
#include "mux.h"
#include "pipe.h"

struct lane;

/* None is called before lane_new returns. */
struct lane_handler {
	/* The other end opened a channel; the callee's from now on. */
	void (*opened)(struct channel *channel, const struct wire_open *open,
	    void *arg);
	/* The other end takes no more sessions on it: retire it. */
	void (*retired)(struct lane *lane, void *arg);
	/* It is closed. Not within lane_retire. */
	void (*closed)(struct lane *lane, void *arg);
	/* It is over: free it. Its channels know already. why: NULL if it had
	 * been retired, and was done. */
	void (*down)(struct lane *lane, const char *why, void *arg);
	/* More is kept than the link's memory allows. */
	void (*full)(void *arg);
};

struct lane_params {
	struct loop *loop;
	struct pipe_pool *pipes;
	struct framing *framing; /* taken over, on failure too */
	bool dialler;
	double interval, timeout; /* of the heartbeat, in seconds */
	uint32_t window_max;
	struct mux_memory *memory;
	const struct lane_handler *handler;
	void *arg;
};

struct lane *lane_new(const struct lane_params *params);
/* Its channels are lost, and find out when they are used. Frames that are due
 * are sent as far as they can be. Not within a callback but down(). */
void lane_free(struct lane *lane);

void lane_set_times(struct lane *lane, double interval, double timeout);
void lane_set_window_max(struct lane *lane, uint32_t window_max);

/*
 * Tells the other end (GOAWAY); no session begins on it from here any more.
 * Those of the other end do until its own GOAWAY has come, which is its
 * answer: the lane is closed then, or after LANE_GRACE_SECONDS, and what is
 * opened later is reset, as if the lane were lost. Once it is closed and
 * carries no session any more, it ends, and is down; to say the last frames of
 * its channels, the other end has LANE_GRACE_SECONDS, and until all that was
 * sent has arrived.
 *
 * The other end may be done before, with all its channels: what it said to the
 * end, and nobody here has read yet, can be read as long as that takes; then it
 * is down. If one of them was not over, all are lost with their lane.
 */
#define LANE_GRACE_SECONDS 5.0
void lane_retire(struct lane *lane);
bool lane_is_retired(const struct lane *lane);
/* It will be down in the next turn. */
bool lane_is_dead(const struct lane *lane);
bool lane_is_closed(const struct lane *lane);

bool lane_has_room(const struct lane *lane);
/* A channel that can be opened; NULL: memory, or it takes none. */
struct channel *lane_open(struct lane *lane);

/* Bytes that wait to be sent, here and in the kernel, or are under way: who has
 * least is the best one. */
size_t lane_backlog(struct lane *lane);
unsigned lane_channels(const struct lane *lane);

/* What the channel has that keeps most, in memory and in its pipe; and resets
 * that one. Not within a callback, nor of a lane that is dead. */
uint64_t lane_most_kept(const struct lane *lane);
void lane_evict(struct lane *lane);

struct lane_status {
	double rtt_ms;	  /* < 0: not known yet */
	uint64_t in, out; /* bytes of payload, since it was attached */
	unsigned channels;
	size_t backlog;
	bool retired;
};
void lane_get_status(struct lane *lane, struct lane_status *out);

#endif
