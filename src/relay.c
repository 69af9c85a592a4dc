/* SPDX-License-Identifier: ISC */
#include "relay_internal.h"

#include <stdlib.h>

/* Without progress behind a dead side, in seconds. */
#define RELAY_DRAIN 2.0

static void
relay_drained(void *arg)
{
	struct relay *relay = arg;
	struct relay_half *half = &relay->half[relay->drain_side];

	if (half->out != relay->drain_out) {
		relay->drain_out = half->out;
		loop_timer_set(relay->drain, RELAY_DRAIN);
		return;
	}
	relay->done = true;
	loop_task_cancel(relay->loop, &relay->again);
	loop_timer_cancel(relay->idle);
	relay_abort(relay, 0);
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
		relay_abort(relay, 0);
		relay->done = true;
		return;
	}
	relay->drain_side = side;
	relay->drain_out = relay->half[side].out;
	loop_timer_set(relay->drain, RELAY_DRAIN);
}

enum relay_step
relay_ended(struct relay *relay, enum ending_side side, enum ending_event event)
{
	switch (ending_step(&relay->ending, side, event)) {
	case ENDING_ABORT:
		relay_abort(relay, 0);
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

static void
relay_moved(struct relay *relay)
{
	relay->last = loop_now(relay->loop);
	if (!relay->rests)
		return;
	relay->rests = false;
	relay->woke(relay->arg);
}

void
relay_rest(struct relay *relay)
{
	relay->rests = relay->woke != NULL;
}

/* A side that is not read now, and why. */
static bool
relay_is_unread(const struct relay_half *half)
{
	return half->over || half->len > 0 || half->in_pipe > 0 ||
	    !half->writable;
}

/*
 * A side that is not read, since it ended, or since what it said waits for a
 * sink that takes nothing, can die all the same, and nobody else would notice.
 */
static void
relay_check_alive(struct relay *relay, enum ending_side side)
{
	struct relay_half *half = &relay->half[side];

	if (!relay_is_unread(half))
		return;
	half->told = false;
	switch (stream_state(relay->stream[side])) {
	case STREAM_RESET:
		relay_ended(relay, side, ENDING_BROKEN);
		break;
	case STREAM_LOST:
		relay_ended(relay, side, ENDING_LOST);
		break;
	default:
		break;
	}
}

/* It may have died before its sink took no more: it was told once, for both. */
static void
relay_check_told(struct relay *relay, enum ending_side side)
{
	const struct relay_half *half = &relay->half[side];

	if (half->told && !relay->done && !half->over && !half->eof &&
	    !relay->ending.side[side].broken)
		relay_check_alive(relay, side);
}

static void
relay_run(struct relay *relay)
{
	struct relay_half *half = relay->half;
	uint64_t before = half[0].out + half[1].out + half[0].in + half[1].in;
	bool more;

	more = relay_pump(&half[ENDING_OUTSIDE]);
	more |= relay_pump(&half[ENDING_CHANNEL]);
	relay_check_told(relay, ENDING_OUTSIDE);
	relay_check_told(relay, ENDING_CHANNEL);
	if (half[0].out + half[1].out + half[0].in + half[1].in != before)
		relay_moved(relay);
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

static void
relay_ready(struct relay *relay, enum ending_side side, bool readable,
    bool writable)
{
	if (relay->done)
		return;
	if (readable) {
		relay_check_alive(relay, side);
		relay->half[side].readable = relay->half[side].told = true;
	}
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
	relay_abort(relay, 0);
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
	relay_choose_way(half);
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
	relay->woke = params->woke;
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
relay_abort(struct relay *relay, uint8_t reason)
{
	struct stream *channel = relay->stream[ENDING_CHANNEL];

	stream_abort(relay->stream[ENDING_OUTSIDE]);
	if (channel != NULL) {
		stream_set_reason(channel, reason);
		stream_abort(channel);
	}
}

uint8_t
relay_reason(const struct relay *relay)
{
	return stream_reason(relay->stream[ENDING_CHANNEL]);
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

const struct stream *
relay_stream(const struct relay *relay, enum ending_side side)
{
	return relay->stream[side];
}

void
relay_get_counters(const struct relay *relay, struct relay_counters *out)
{
	out->from_outside = relay->half[ENDING_OUTSIDE].in;
	out->to_outside = relay->half[ENDING_CHANNEL].out;
	out->last = relay->last;
}
