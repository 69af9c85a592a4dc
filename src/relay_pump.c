/* SPDX-License-Identifier: ISC */
#include "relay_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static void
relay_drop_pipe(struct relay_half *half)
{
	if (half->pipe == NULL)
		return;
	pipe_give(half->relay->pipes, half->pipe, half->in_pipe);
	half->pipe = NULL;
	half->in_pipe = 0;
}

void
relay_drop_buffers(struct relay_half *half)
{
	relay_drop_pipe(half);
	free(half->data);
	half->data = NULL;
	half->offset = half->len = 0;
}

enum relay_step
relay_sink_status(struct relay_half *half, enum stream_status status)
{
	if (status == STREAM_AGAIN) {
		half->writable = false;
		return RELAY_WAIT;
	}
	return relay_ended(half->relay, !half->from,
	    status == STREAM_LOST ? ENDING_LOST : ENDING_BROKEN);
}

enum relay_step
relay_source_status(struct relay_half *half, enum stream_status status)
{
	if (status == STREAM_AGAIN) {
		half->readable = half->told = false;
		relay_drop_pipe(half);
		return RELAY_WAIT;
	}
	if (status == STREAM_LOST)
		return relay_ended(half->relay, half->from, ENDING_LOST);
	return relay_ended(half->relay, half->from,
	    status == STREAM_EOF ? ENDING_EOF : ENDING_RESET);
}

static ssize_t
relay_splice(int from, int to, size_t len)
{
	ssize_t n;

	do
		n = splice(from, NULL, to, NULL, len,
		    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n == -1 && errno == EINTR);
	return n;
}

static enum stream_status
relay_splice_status(ssize_t n)
{
	if (n == 0)
		return STREAM_EOF;
	return errno == EAGAIN ? STREAM_AGAIN : STREAM_RESET;
}

/* Passes on what is held. MOVED: nothing is held any more. */
static enum relay_step
relay_flush(struct relay_half *half)
{
	enum stream_status status;
	size_t put;
	ssize_t n;

	while (half->offset < half->len) {
		status = stream_write(half->sink, half->data + half->offset,
		    half->len - half->offset, &put);
		if (status != STREAM_OK)
			return relay_sink_status(half, status);
		half->offset += put;
		half->out += put;
	}
	if (half->data != NULL)
		relay_drop_buffers(half);
	while (half->in_pipe > 0) {
		n = relay_splice(half->pipe->out, stream_fd(half->sink),
		    half->in_pipe);
		if (n <= 0)
			return relay_sink_status(half, relay_splice_status(n));
		half->in_pipe -= (size_t)n;
		half->out += (uint64_t)n;
	}
	return RELAY_MOVED;
}

static bool
relay_wants_splice(struct relay_half *half)
{
	if (half->full_reads < RELAY_FULL_READS)
		return false;
	if (half->pipe == NULL)
		half->pipe = pipe_take(half->relay->pipes);
	return half->pipe != NULL;
}

/* Keeps what the sink did not take. */
static enum relay_step
relay_keep(struct relay_half *half, const uint8_t *data, size_t len)
{
	half->data = malloc(len);
	if (half->data == NULL) {
		half->relay->ending.reason = REASON_INTERNAL;
		relay_abort(half->relay, 0);
		half->relay->done = true;
		return RELAY_STOP;
	}
	memcpy(half->data, data, len);
	half->offset = 0;
	half->len = len;
	return RELAY_MOVED;
}

static enum relay_step
relay_copy(struct relay_half *half)
{
	uint8_t *scratch = loop_scratch(half->relay->loop);
	bool plain = stream_can_splice(half->source) &&
	    stream_can_splice(half->sink);
	size_t want = plain ? RELAY_SMALL : LOOP_SCRATCH_SIZE;
	size_t got, put, done = 0;
	enum stream_status status;

	status = stream_read(half->source, scratch, want, &got);
	if (status != STREAM_OK)
		return relay_source_status(half, status);
	half->full_reads = plain && got == want ? half->full_reads + 1 : 0;
	half->in += got;
	while (done < got) {
		status = stream_write(half->sink, scratch + done, got - done,
		    &put);
		if (status == STREAM_AGAIN) {
			half->writable = false;
			return relay_keep(half, scratch + done, got - done);
		}
		if (status != STREAM_OK)
			return relay_sink_status(half, status);
		done += put;
		half->out += put;
	}
	return RELAY_MOVED;
}

static enum relay_step
relay_fill_pipe(struct relay_half *half)
{
	ssize_t n = relay_splice(stream_fd(half->source), half->pipe->in,
	    PIPE_SIZE);

	/* The pipe is empty here, so this speaks of the socket; but splice
	 * does not step over urgent data and takes its mark for the end.
	 * Reading does, and says what is true. */
	if (n == 0 || (n < 0 && errno == EAGAIN))
		return relay_copy(half);
	if (n < 0)
		return relay_source_status(half, STREAM_RESET);
	if (n < RELAY_SMALL)
		half->full_reads = 0;
	half->in_pipe = (size_t)n;
	half->in += (uint64_t)n;
	return RELAY_MOVED;
}

/* The other way is through: closing will say it, in one call. */
static bool
relay_closes_next(const struct relay_half *half)
{
	const struct ending_state *sides = half->relay->ending.side;

	return sides[!half->from].sent && !sides[half->from].broken &&
	    stream_can_splice(half->sink);
}

static enum relay_step
relay_finish(struct relay_half *half)
{
	enum stream_status status = STREAM_OK;

	relay_drop_pipe(half);
	if (!relay_closes_next(half))
		status = stream_shutdown(half->sink);
	if (status != STREAM_OK)
		return relay_sink_status(half, status);
	return relay_ended(half->relay, half->from, ENDING_SENT);
}

static enum relay_step
relay_step(struct relay_half *half)
{
	enum relay_step step = RELAY_MOVED;

	if (half->len > 0 || half->in_pipe > 0) {
		if (!half->writable)
			return RELAY_WAIT;
		step = relay_flush(half);
		if (step != RELAY_MOVED)
			return step;
	}
	if (half->eof)
		return half->writable ? relay_finish(half) : RELAY_WAIT;
	if (!half->readable)
		return RELAY_WAIT;
	return half->move(half);
}

static enum relay_step
relay_move(struct relay_half *half)
{
	return relay_wants_splice(half) ? relay_fill_pipe(half) :
					  relay_copy(half);
}

void
relay_choose_way(struct relay_half *half)
{
	if (stream_lends(half->source))
		half->move = relay_move_lent;
	else if (stream_has_place(half->sink))
		half->move = relay_move_placed;
	else
		half->move = relay_move;
}

/* What may be moved before others have their turn. */
static size_t
relay_turn(const struct relay_half *half)
{
	size_t in = stream_turn(half->source), out = stream_turn(half->sink);

	return in < out ? in : out;
}

bool
relay_pump(struct relay_half *half)
{
	uint64_t limit = half->in + relay_turn(half);

	while (!half->over && !half->relay->done) {
		if (relay_step(half) != RELAY_MOVED)
			return false;
		if (half->in >= limit)
			return true;
	}
	return false;
}
