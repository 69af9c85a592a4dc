/* SPDX-License-Identifier: ISC */
#include "relay.h"

#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* What one half may move in a turn before others have theirs. */
#define RELAY_BUDGET (1024 * 1024)
/* Reads begin small: a short request through splice costs a third more. */
#define RELAY_SMALL 16384
#define RELAY_DRAIN 2.0	   /* seconds without progress behind a dead side */
#define RELAY_FULL_READS 2 /* so many full ones in a row are bulk */

/* One direction: from one side's stream to the other's. */
struct relay_half {
	struct relay *relay;
	enum ending_side from;
	struct stream *source;
	struct stream *sink;
	bool readable; /* the source may have something: no AGAIN since */
	bool writable; /* the sink may take something */
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
	relay_done_fn *fn;
	void *arg;
};

enum relay_step { RELAY_MOVED, RELAY_WAIT, RELAY_STOP };

static void
relay_drop_pipe(struct relay_half *half)
{
	if (half->pipe == NULL)
		return;
	pipe_give(half->relay->pipes, half->pipe, half->in_pipe);
	half->pipe = NULL;
	half->in_pipe = 0;
}

static void
relay_drop_buffers(struct relay_half *half)
{
	relay_drop_pipe(half);
	free(half->data);
	half->data = NULL;
	half->offset = half->len = 0;
}

static void
relay_drained(void *arg)
{
	struct relay *relay = arg;
	struct relay_half *half = &relay->half[relay->drain_side];

	/* Holding nothing, it waits for that side's own end, which comes. */
	if (half->out != relay->drain_out ||
	    (half->len == 0 && half->in_pipe == 0)) {
		relay->drain_out = half->out;
		loop_timer_set(relay->drain, RELAY_DRAIN);
		return;
	}
	relay->done = true;
	loop_task_cancel(relay->loop, &relay->again);
	loop_timer_cancel(relay->idle);
	relay_abort(relay);
	relay->fn(REASON_RESET, relay->drain_side, relay->arg);
}

/* The side is dead: what it said is passed on as long as somebody takes it. */
static void
relay_begin_drain(struct relay *relay, enum ending_side side)
{
	if (relay->drain == NULL)
		relay->drain = loop_timer_new(relay->loop, relay_drained,
		    relay);
	if (relay->drain == NULL) {
		relay->ending.reason = REASON_INTERNAL;
		relay_abort(relay);
		relay->done = true;
		return;
	}
	relay->drain_side = side;
	relay->drain_out = relay->half[side].out;
	loop_timer_set(relay->drain, RELAY_DRAIN);
}

/* Records an ending; RELAY_STOP if this half has nothing more to do. */
static enum relay_step
relay_ended(struct relay *relay, enum ending_side side, enum ending_event event)
{
	switch (ending_step(&relay->ending, side, event)) {
	case ENDING_ABORT:
		relay_abort(relay);
		relay->done = true;
		return RELAY_STOP;
	case ENDING_CLOSE:
		relay->done = true;
		return RELAY_STOP;
	case ENDING_DISCARD:
		/* The half that writes to this side; the other one has a
		 * moment to pass on what it holds. */
		relay->half[!side].over = true;
		relay_drop_buffers(&relay->half[!side]);
		relay_begin_drain(relay, side);
		return RELAY_STOP;
	case ENDING_FINISH:
		relay->half[side].eof = true;
		return RELAY_MOVED;
	case ENDING_GO_ON:
		relay->half[side].over = true;
		return RELAY_STOP;
	}
	return RELAY_STOP;
}

static enum relay_step
relay_sink_status(struct relay_half *half, enum stream_status status)
{
	if (status == STREAM_AGAIN) {
		half->writable = false;
		return RELAY_WAIT;
	}
	return relay_ended(half->relay, !half->from, ENDING_BROKEN);
}

static enum relay_step
relay_source_status(struct relay_half *half, enum stream_status status)
{
	if (status == STREAM_AGAIN) {
		half->readable = false;
		relay_drop_pipe(half);
		return RELAY_WAIT;
	}
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
		relay_abort(half->relay);
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

static enum relay_step
relay_finish(struct relay_half *half)
{
	enum stream_status status = stream_shutdown(half->sink);

	relay_drop_pipe(half);
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
	return relay_wants_splice(half) ? relay_fill_pipe(half) :
					  relay_copy(half);
}

/* Moves what can be moved. True: the budget ran out before the bytes did. */
static bool
relay_pump(struct relay_half *half)
{
	uint64_t limit = half->in + RELAY_BUDGET;

	while (!half->over && !half->relay->done) {
		if (relay_step(half) != RELAY_MOVED)
			return false;
		if (half->in >= limit)
			return true;
	}
	return false;
}

static void
relay_run(struct relay *relay)
{
	struct relay_half *half = relay->half;
	uint64_t before = half[0].out + half[1].out + half[0].in + half[1].in;
	bool more;

	more = relay_pump(&half[ENDING_OUTSIDE]);
	more |= relay_pump(&half[ENDING_CHANNEL]);
	if (half[0].out + half[1].out + half[0].in + half[1].in != before)
		relay->last = loop_now(relay->loop);
	if (!relay->done) {
		if (more)
			loop_task_queue(relay->loop, &relay->again);
		return;
	}
	loop_task_cancel(relay->loop, &relay->again);
	loop_timer_cancel(relay->idle);
	loop_timer_cancel(relay->drain);
	relay->fn(relay->ending.reason, relay->ending.first, relay->arg);
}

static void
relay_again(void *arg)
{
	relay_run(arg);
}

/*
 * A side that is not read, since it ended, or since what it said waits for a
 * sink that takes nothing, can die all the same, and nobody else would notice.
 */
static bool
relay_is_dead(const struct relay *relay, enum ending_side side)
{
	const struct relay_half *half = &relay->half[side];
	int error = 0;
	socklen_t len = sizeof error;

	if (!half->over && half->len == 0 && half->in_pipe == 0)
		return false;
	return getsockopt(stream_fd(relay->stream[side]), SOL_SOCKET, SO_ERROR,
		   &error, &len) == 0 &&
	    error != 0;
}

static void
relay_ready(struct relay *relay, enum ending_side side, bool readable,
    bool writable)
{
	if (relay->done)
		return;
	if (readable && relay_is_dead(relay, side))
		relay_ended(relay, side, ENDING_BROKEN);
	if (readable)
		relay->half[side].readable = true;
	if (writable)
		relay->half[!side].writable = true;
	relay_run(relay);
}

static void
relay_outside_ready(bool readable, bool writable, void *arg)
{
	relay_ready(arg, ENDING_OUTSIDE, readable, writable);
}

static void
relay_channel_ready(bool readable, bool writable, void *arg)
{
	relay_ready(arg, ENDING_CHANNEL, readable, writable);
}

static void
relay_idle(void *arg)
{
	struct relay *relay = arg;
	double left = relay->last + relay->idle_timeout - loop_now(relay->loop);

	if (left > 0) {
		loop_timer_set(relay->idle, left);
		return;
	}
	relay->done = true;
	loop_task_cancel(relay->loop, &relay->again);
	loop_timer_cancel(relay->drain);
	relay_abort(relay);
	relay->fn(REASON_IDLE_TIMEOUT, ENDING_OUTSIDE, relay->arg);
}

static void
relay_half_init(struct relay *relay, enum ending_side from,
    const struct relay_early *early)
{
	struct relay_half *half = &relay->half[from];

	half->relay = relay;
	half->from = from;
	half->source = relay->stream[from];
	half->sink = relay->stream[!from];
	half->readable = half->writable = true;
	half->data = early->data;
	half->len = early->len;
	if (early->eof)
		relay_ended(relay, from, ENDING_EOF);
	if (early->eof && early->sent)
		relay_ended(relay, from, ENDING_SENT);
}

struct relay *
relay_new(const struct relay_params *params)
{
	struct relay *relay = calloc(1, sizeof *relay);

	if (relay == NULL) {
		stream_free(params->outside);
		stream_free(params->channel);
		free(params->from_outside.data);
		free(params->from_channel.data);
		return NULL;
	}
	relay->loop = params->loop;
	relay->pipes = params->pipes;
	relay->stream[ENDING_OUTSIDE] = params->outside;
	relay->stream[ENDING_CHANNEL] = params->channel;
	relay->fn = params->done;
	relay->arg = params->arg;
	relay->last = loop_now(relay->loop);
	loop_task_init(&relay->again, relay_again, relay);
	relay_half_init(relay, ENDING_OUTSIDE, &params->from_outside);
	relay_half_init(relay, ENDING_CHANNEL, &params->from_channel);
	if (params->idle_timeout > 0) {
		relay->idle_timeout = params->idle_timeout;
		relay->idle = loop_timer_new(relay->loop, relay_idle, relay);
		if (relay->idle == NULL)
			goto fail;
		loop_timer_set(relay->idle, relay->idle_timeout);
	}
	if (stream_watch(params->outside, relay->loop, relay_outside_ready,
		relay) != 0 ||
	    stream_watch(params->channel, relay->loop, relay_channel_ready,
		relay) != 0)
		goto fail;
	if (relay->done) /* both ways had ended before */
		loop_task_queue(relay->loop, &relay->again);
	return relay;
fail:
	relay_free(relay);
	return NULL;
}

void
relay_free(struct relay *relay)
{
	if (relay == NULL)
		return;
	loop_task_cancel(relay->loop, &relay->again);
	loop_timer_free(relay->idle);
	loop_timer_free(relay->drain);
	relay_drop_buffers(&relay->half[0]);
	relay_drop_buffers(&relay->half[1]);
	stream_free(relay->stream[0]);
	stream_free(relay->stream[1]);
	free(relay);
}

void
relay_abort(struct relay *relay)
{
	stream_abort(relay->stream[ENDING_OUTSIDE]);
	if (relay->stream[ENDING_CHANNEL] != NULL)
		stream_abort(relay->stream[ENDING_CHANNEL]);
}

struct stream *
relay_take_channel(struct relay *relay)
{
	struct stream *channel = relay->stream[ENDING_CHANNEL];

	relay->stream[ENDING_CHANNEL] = NULL;
	relay->done = true;
	stream_unwatch(channel);
	return channel;
}

void
relay_get_counters(const struct relay *relay, struct relay_counters *out)
{
	out->from_outside = relay->half[ENDING_OUTSIDE].in;
	out->to_outside = relay->half[ENDING_CHANNEL].out;
	out->last = relay->last;
}
