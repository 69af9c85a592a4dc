/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

/* Seconds between two measurements that tell the rate; and at most, where the
 * lane had nothing to send for a part of them. */
#define LANE_PACE_MIN 0.02
#define LANE_PACE_MAX 1.0

void
lane_free_out(struct lane *lane)
{
	if (lane->out_len > lane->out_start)
		return;
	free(lane->out);
	lane->out = NULL;
	lane->out_start = lane->out_len = 0;
}

void
lane_send_soon(struct lane *lane)
{
	if (lane->dead == NULL && !lane->blocked && !lane->sending)
		loop_task_queue_last(lane->loop, &lane->flush);
}

/*
 * From one time that the connection takes no more to another, it sent as much
 * as it took: that is its rate. What is handed to it goes by that, so that a
 * keystroke does not wait behind a second of bulk on a slow path.
 */
static void
lane_pace(struct lane *lane)
{
	double elapsed = loop_now(lane->loop) - lane->paced_at, ahead;
	bool idled = lane->idled;

	if (elapsed < LANE_PACE_MIN)
		return;
	lane->idled = false;
	ahead = (double)(lane->put - lane->paced_put) / elapsed *
	    LANE_AHEAD_SECONDS;
	lane->paced_at += elapsed;
	lane->paced_put = lane->put;
	if (idled && elapsed > LANE_PACE_MAX)
		return;
	if (ahead < LANE_AHEAD_MIN)
		ahead = LANE_AHEAD_MIN;
	if (ahead > LANE_AHEAD_MAX)
		ahead = LANE_AHEAD_MAX;
	/* A system call, and noise. */
	if (ahead > (double)lane->ahead / 2 &&
	    ahead < (double)lane->ahead * 2 && ahead < LANE_AHEAD_MAX)
		return;
	if ((size_t)ahead == lane->ahead)
		return;
	lane->ahead = (size_t)ahead;
	net_set_unsent(stream_fd(lane->stream), (int)ahead);
}

static void
lane_block(struct lane *lane)
{
	lane->blocked = true;
	lane_pace(lane);
}

/* What is put together: 0, or -1 if not all of it went. */
static int
lane_flush_out(struct lane *lane)
{
	enum stream_status status;
	size_t put;
	ssize_t n;

	while (lane->out_start < lane->out_len) {
		if (lane->out_rest > 0) { /* its payload follows */
			n = send(stream_fd(lane->stream),
			    lane->out + lane->out_start,
			    lane->out_len - lane->out_start,
			    MSG_NOSIGNAL | MSG_MORE | MSG_DONTWAIT);
			status = n >= 0			      ? STREAM_OK :
			    errno == EAGAIN || errno == EINTR ? STREAM_AGAIN :
								STREAM_RESET;
			put = (size_t)n;
		} else {
			status = stream_write(lane->stream,
			    lane->out + lane->out_start,
			    lane->out_len - lane->out_start, &put);
			lane->held_back = false;
		}
		if (status == STREAM_AGAIN) {
			lane_block(lane);
			return -1;
		}
		if (status != STREAM_OK) {
			lane_die(lane, "connection lost");
			return -1;
		}
		lane->out_start += put;
		lane->put += put;
	}
	lane->out_start = lane->out_len = 0;
	return 0;
}

/* And the payload behind it. */
static int
lane_flush(struct lane *lane)
{
	ssize_t n;

	if (lane->dead != NULL || lane_flush_out(lane) != 0)
		return -1;
	while (lane->out_rest > 0) {
		n = lane_splice(lane->out_pipe->out, stream_fd(lane->stream),
		    lane->out_rest, SPLICE_F_MORE);
		if (n > 0) {
			lane->held_back = true;
			lane->out_rest -= (size_t)n;
			lane->put += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EAGAIN)
			lane_block(lane);
		else
			lane_die(lane, "connection lost");
		return -1;
	}
	if (lane->out_pipe != NULL) {
		pipe_give(lane->params.pipes, lane->out_pipe, 0);
		lane->out_pipe = NULL;
	}
	return 0;
}

static size_t
lane_most_out(const struct lane *lane)
{
	return lane->ahead < LANE_OUT ? lane->ahead : LANE_OUT;
}

static size_t
lane_room(const struct lane *lane)
{
	size_t most = lane_most_out(lane);

	return lane->out_rest > 0 || lane->out_len > most ?
	    0 :
	    most - lane->out_len;
}

static bool
lane_has_out(struct lane *lane)
{
	lane->used = true;
	if (lane->out == NULL)
		lane->out = malloc(LANE_OUT);
	return lane->out != NULL;
}

static void
lane_emit_own(struct lane *lane, uint8_t type, uint64_t token)
{
	struct wire_message msg = { .type = type };

	if (type != WIRE_GOAWAY)
		msg.ping.token = token;

	lane->out_len += wire_encode(&msg, lane->out + lane->out_len,
	    WIRE_FRAME_MAX);
}

/* Frames that are no DATA, in their order; false: there is no room for all. */
static bool
lane_emit(struct lane *lane)
{
	size_t len;

	if (!lane->ping_due && !lane->pong_due && !lane->goaway_due &&
	    !mux_has_frames(lane->mux))
		return true;
	if (!lane_has_out(lane))
		return false;
	while (lane_room(lane) >= WIRE_FRAME_MAX) {
		if (lane->pong_due) {
			lane->pong_due = false;
			lane_emit_own(lane, WIRE_PONG, lane->pong_token);
		} else if (lane->ping_due) {
			lane->ping_due = false;
			lane_emit_own(lane, WIRE_PING, lane->token);
		} else if ((len = mux_emit(lane->mux,
				lane->out + lane->out_len)) > 0) {
			lane->out_len += len;
		} else if (lane->goaway_due) { /* behind every OPEN */
			lane->goaway_due = false;
			lane_emit_own(lane, WIRE_GOAWAY, 0);
		} else {
			return true;
		}
	}
	return false;
}

/* The end of a frame that was spliced waits for the next one, so that segments
 * are full; at the end of the turn it goes. */
static void
lane_push(struct lane *lane)
{
	if (!lane->held_back || lane->dead != NULL)
		return;
	lane->held_back = false;
	net_push(stream_fd(lane->stream));
}

static bool
lane_has_more(const struct lane *lane)
{
	return mux_is_waited_for(lane->mux) || mux_has_frames(lane->mux) ||
	    lane->ping_due || lane->pong_due || lane->goaway_due ||
	    lane->out_start < lane->out_len || lane->out_rest > 0;
}

/*
 * Everything that is due, and turns for those that wait, until the connection
 * takes no more, or enough is done for one turn.
 */
static void
lane_send_due(struct lane *lane)
{
	uint64_t limit = lane->out_bytes + stream_turn(lane->stream);
	struct mux_channel *next;

	while (lane->dead == NULL && lane->out_bytes < limit) {
		if (lane->blocked)
			return;
		while (!lane_emit(lane))
			if (lane_flush(lane) != 0 || lane->out == NULL)
				return;
		next = NULL;
		if (lane_room(lane) >= lane_most_out(lane) / 2)
			next = mux_next(lane->mux);
		if (next != NULL) {
			if (!lane_has_out(lane)) {
				mux_wait(next); /* its turn is to come */
				return;
			}
			lane_stream_tell(mux_holder(next), false, true);
			continue;
		}
		if (lane_flush(lane) != 0)
			return;
		mux_begin_round(lane->mux);
		if (!mux_is_waited_for(lane->mux) &&
		    !mux_has_frames(lane->mux)) {
			lane->idled = true;
			break;
		}
	}
	/* The rest at the next turn: what comes in has its own before. */
	if (lane->dead == NULL && lane_has_more(lane))
		loop_task_queue(lane->loop, &lane->again);
}

void
lane_send(struct lane *lane)
{
	lane->sending = true;
	lane_send_due(lane);
	lane->sending = false;
	lane_push(lane);
	if (!lane->blocked)
		lane_check_done(lane);
}

/* Whether DATA may be added now; else its channel waits. */
static size_t
lane_allowance(struct lane_stream *ls)
{
	struct lane *lane = ls->lane;
	size_t allowance = mux_allowance(ls->channel);

	if (lane->blocked || lane->dead != NULL || !lane_has_out(lane))
		allowance = 0;
	if (allowance > 0 && !lane_emit(lane))
		allowance = 0;
	if (allowance > 0 && lane_room(lane) < lane_most_out(lane) / 4 &&
	    lane_flush(lane) != 0)
		allowance = 0;
	if (allowance > 0 && lane->out_rest > 0)
		allowance = 0;
	if (allowance == 0) {
		mux_wait(ls->channel);
		lane_send_soon(lane);
	}
	return allowance;
}

enum stream_status
lane_reserve(struct lane_stream *ls, uint8_t **place, size_t *len)
{
	struct lane *lane = ls->lane;
	size_t allowance, room;

	if (lane == NULL || lane->dead != NULL)
		return STREAM_LOST;
	if (mux_is_dead(ls->channel))
		return STREAM_RESET;
	allowance = lane_allowance(ls);
	if (allowance == 0)
		return STREAM_AGAIN;
	room = lane_room(lane) - WIRE_HEADER_SIZE;
	*place = lane->out + lane->out_len + WIRE_HEADER_SIZE;
	*len = allowance < room ? allowance : room;
	if (*len > LANE_COPY_MAX)
		*len = LANE_COPY_MAX;
	return STREAM_OK;
}

void
lane_commit(struct lane_stream *ls, size_t len)
{
	struct lane *lane = ls->lane;

	wire_encode_data(lane->out + lane->out_len, mux_id(ls->channel), len);
	lane->out_len += WIRE_HEADER_SIZE + len;
	lane->out_bytes += len;
	mux_sent(ls->channel, len);
	lane_send_soon(lane);
}

void
lane_splice_in(struct lane_stream *ls, int fd, struct stream_move *move)
{
	struct lane *lane = ls->lane;
	size_t allowance;
	ssize_t n;

	move->source = move->sink = STREAM_OK;
	move->moved = 0;
	if (lane == NULL || lane->dead != NULL || !lane->plain ||
	    mux_is_dead(ls->channel))
		return;
	allowance = lane_allowance(ls);
	if (allowance == 0) {
		move->sink = STREAM_AGAIN;
		return;
	}
	if (allowance < LANE_SPLICE_MIN)
		return;
	if (lane->out_pipe == NULL)
		lane->out_pipe = pipe_take(lane->params.pipes);
	if (lane->out_pipe == NULL)
		return;
	if (allowance > lane->ahead)
		allowance = lane->ahead;
	if (allowance > LANE_SPLICE_MAX)
		allowance = LANE_SPLICE_MAX;
	n = lane_splice(fd, lane->out_pipe->in, allowance, 0);
	/* It is empty, or at its end, or has urgent data: reading tells. */
	if (n <= 0) {
		if (n < 0 && errno != EAGAIN)
			move->source = STREAM_RESET;
		pipe_give(lane->params.pipes, lane->out_pipe, 0);
		lane->out_pipe = NULL;
		return;
	}
	wire_encode_data(lane->out + lane->out_len, mux_id(ls->channel),
	    (size_t)n);
	lane->out_len += WIRE_HEADER_SIZE;
	lane->out_rest = (size_t)n;
	lane->out_bytes += (size_t)n;
	mux_sent(ls->channel, (size_t)n);
	move->moved = (size_t)n;
	(void)lane_flush(lane);
	lane_send_soon(lane);
}
