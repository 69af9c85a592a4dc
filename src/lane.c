/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <sys/ioctl.h>

#include <linux/sockios.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "net.h"

/* A retired lane that is done waits so long for the other end's close. */
#define LANE_FINISH_SECONDS 2.0

void
lane_die(struct lane *lane, const char *why)
{
	if (lane->dead != NULL)
		return;
	lane->dead = why;
	loop_timer_cancel(lane->beat);
	loop_task_cancel(lane->loop, &lane->flush);
	loop_task_queue(lane->loop, &lane->again);
}

/* --- heartbeat -------------------------------------------------------------- */

static void
lane_beat(void *arg)
{
	struct lane *lane = arg;
	double now = loop_now(lane->loop);
	double dies = lane->last_heard + lane->params.timeout;
	double next, left;

	if (lane->finishing || now >= dies) {
		lane_die(lane, "heartbeat timed out");
		return;
	}
	lane_check_closed(lane);
	if (lane->dead != NULL || lane->finishing)
		return;
	if (lane->retired && !lane_is_closed(lane) &&
	    dies > lane->retired_at + LANE_GRACE_SECONDS)
		dies = lane->retired_at + LANE_GRACE_SECONDS;
	if (now - lane->last_ping >= lane->params.interval * 0.999) {
		lane->token++;
		lane->last_ping = now;
		lane->ping_due = true;
		lane_send_soon(lane);
	}
	mux_age(lane->mux, now);
	if (!lane->used)
		lane_free_out(lane);
	lane->used = false;
	if (lane->left_at > 0) {
		left = lane->left_at + LANE_GRACE_SECONDS;
		if (left <= now) /* what was sent is still on its way */
			left = now + LANE_FINISH_SECONDS;
		if (dies > left)
			dies = left;
	}
	next = lane->last_ping + lane->params.interval;
	loop_timer_set(lane->beat, (next < dies ? next : dies) - now);
}

void
lane_set_times(struct lane *lane, double interval, double timeout)
{
	lane->params.interval = interval;
	lane->params.timeout = timeout;
	lane->last_heard = loop_now(lane->loop);
	if (lane->dead == NULL && !lane->finishing)
		loop_timer_set(lane->beat, 0);
	net_set_user_timeout(stream_fd(lane->stream), timeout);
}

void
lane_set_window_max(struct lane *lane, uint32_t window_max)
{
	mux_set_window_max(lane->mux, window_max);
}

/* --- its end ---------------------------------------------------------------- */

/* Lets go of all channels; tell: whoever holds them is told. */
static void
lane_lose(struct lane *lane, bool tell)
{
	struct mux_channel *channel;
	struct lane_channel *lc;
	struct lane_stream *ls;

	mux_lose(lane->mux);
	while ((channel = mux_next_lost(lane->mux)) != NULL) {
		ls = mux_holder(channel);
		lane_stream_detach(ls);
		if (ls->owner != NULL) {
			lc = ls->owner;
			lc->lane = NULL;
			if (tell)
				lane_channel_lost(lc);
		} else if (tell) {
			lane_stream_tell(ls, true, true);
		}
	}
	while ((lc = TAILQ_FIRST(&lane->fresh)) != NULL) {
		TAILQ_REMOVE(&lane->fresh, lc, entry);
		lc->lane = NULL;
	}
}

static void
lane_again(void *arg)
{
	struct lane *lane = arg;
	const char *why;

	if (lane->dead == NULL) {
		lane_read(lane);
		lane_send(lane);
		return;
	}
	why = lane->finished || lane->done ? NULL : lane->dead;
	lane_lose(lane, true);
	lane->params.handler->down(lane, why, lane->params.arg);
}

bool
lane_is_closed(const struct lane *lane)
{
	return lane->retired &&
	    (lane->heard_goaway ||
		loop_now(lane->loop) - lane->retired_at >=
		    LANE_GRACE_SECONDS * 0.999);
}

void
lane_check_closed(struct lane *lane)
{
	if (!lane_is_closed(lane))
		return;
	lane_check_done(lane);
	if (lane->told_closed)
		return;
	lane->told_closed = true;
	lane->params.handler->closed(lane, lane->params.arg);
}

/* What the kernel has not sent, or not had acknowledged. */
static size_t
lane_unacknowledged(const struct lane *lane)
{
	int n = 0;

	if (ioctl(stream_fd(lane->stream), SIOCOUTQ, &n) != 0 || n < 0)
		return 0;
	return (size_t)n;
}

/* Nobody needs a closed lane any more: nor, after a while, an end that owes the
 * last frames of channels that nobody holds here. Before all that was sent has
 * arrived it owes nothing, and what it says could meet a closed connection,
 * which would take the rest with it. */
static bool
lane_is_left(struct lane *lane)
{
	double now = loop_now(lane->loop);

	if (mux_count_held(lane->mux) > 0 || !TAILQ_EMPTY(&lane->fresh))
		return false;
	if (mux_count(lane->mux) == 0)
		return true;
	if (lane->left_at == 0) {
		lane->left_at = now;
		loop_timer_set(lane->beat, 0);
	}
	return now - lane->left_at >= LANE_GRACE_SECONDS * 0.999 &&
	    lane_unacknowledged(lane) == 0;
}

void
lane_outlive(struct lane *lane)
{
	lane->params.handler->retired(lane, lane->params.arg);
	lane->heard_goaway = true;
	lane->outlived = lane->finishing = lane->finished = true;
	lane->blocked = true; /* for ever */
	loop_timer_cancel(lane->beat);
	loop_task_cancel(lane->loop, &lane->again);
	loop_task_cancel(lane->loop, &lane->flush);
	(void)stream_shutdown(lane->stream); /* that end waits for it */
	stream_unwatch(lane->stream);
	lane_check_closed(lane);
}

void
lane_check_done(struct lane *lane)
{
	enum stream_status status;

	if (lane->outlived && mux_count_held(lane->mux) == 0) {
		lane->done = true;
		lane_die(lane, "closed by the peer");
	}
	if (!lane_is_closed(lane) || lane->dead != NULL || lane->finished ||
	    !lane_is_left(lane) || lane->goaway_due ||
	    lane->out_start < lane->out_len || lane->out_rest > 0)
		return;
	if (!lane->finishing)
		loop_timer_set(lane->beat, LANE_FINISH_SECONDS);
	lane->finishing = true;
	status = stream_shutdown(lane->stream);
	lane->finished = status == STREAM_OK;
	if (status == STREAM_RESET)
		lane_die(lane, "connection lost");
}

void
lane_retire(struct lane *lane)
{
	if (lane->retired)
		return;
	lane->retired = true;
	lane->retired_at = loop_now(lane->loop);
	lane->goaway_due = true;
	lane_send_soon(lane);
	loop_timer_set(lane->beat, 0);
}

bool
lane_is_retired(const struct lane *lane)
{
	return lane->retired;
}

bool
lane_is_dead(const struct lane *lane)
{
	return lane->dead != NULL;
}

/* --- life ------------------------------------------------------------------- */

static void
lane_ready(bool readable, bool writable, void *arg)
{
	struct lane *lane = arg;

	if (lane->dead != NULL)
		return;
	if (writable)
		lane->blocked = false;
	if (readable)
		lane_read(lane);
	if (lane->dead == NULL && (writable || lane->out_start < lane->out_len))
		lane_send(lane);
}

static void
lane_flush_task(void *arg)
{
	lane_send(arg);
}

/* Takes the connection out of the framing, and what was read of it. */
static int
lane_take_stream(struct lane *lane, struct framing *framing)
{
	struct relay_early early;

	if (framing_release(framing, &lane->stream, &early) != 0)
		return -1;
	if (early.len > sizeof lane->partial) { /* cannot be */
		free(early.data);
		return -1;
	}
	if (early.len > 0)
		memcpy(lane->partial, early.data, early.len);
	lane->partial_len = early.len;
	lane->fresh_partial = early.len > 0;
	free(early.data);
	lane->plain = stream_can_splice(lane->stream);
	stream_expect_bulk(lane->stream);
	lane->ahead = LANE_AHEAD_FIRST;
	lane->idled = true;
	net_set_unsent(stream_fd(lane->stream), LANE_AHEAD_FIRST);
	net_set_user_timeout(stream_fd(lane->stream), lane->params.timeout);
	return 0;
}

struct lane *
lane_new(const struct lane_params *params)
{
	struct lane *lane = calloc(1, sizeof *lane);
	struct mux_params mux = { .dialler = params->dialler,
		.window_max = params->window_max,
		.memory = params->memory };

	if (lane == NULL) {
		framing_free(params->framing);
		return NULL;
	}
	lane->params = *params;
	lane->loop = params->loop;
	lane->rtt = -1;
	lane->last_heard = loop_now(lane->loop);
	lane->last_ping = -1e9;
	TAILQ_INIT(&lane->fresh);
	TAILQ_INIT(&lane->gathered);
	loop_task_init(&lane->again, lane_again, lane);
	loop_task_init(&lane->flush, lane_flush_task, lane);
	if (lane_take_stream(lane, params->framing) != 0)
		goto fail;
	lane->mux = mux_new(&mux);
	lane->beat = loop_timer_new(lane->loop, lane_beat, lane);
	if (lane->mux == NULL || lane->beat == NULL ||
	    stream_watch(lane->stream, lane->loop, lane_ready, lane) != 0)
		goto fail;
	loop_timer_set(lane->beat, 0);
	/* What came with the handshake was read by it: no edge tells. */
	loop_task_queue(lane->loop, &lane->again);
	return lane;
fail:
	lane_free(lane);
	return NULL;
}

void
lane_free(struct lane *lane)
{
	if (lane == NULL)
		return;
	if (lane->mux != NULL) {
		if (lane->dead == NULL)
			lane_send(lane); /* what it can */
		lane_lose(lane, false);
	}
	loop_task_cancel(lane->loop, &lane->again);
	loop_task_cancel(lane->loop, &lane->flush);
	loop_timer_free(lane->beat);
	stream_free(lane->stream);
	if (lane->out_pipe != NULL)
		pipe_give(lane->params.pipes, lane->out_pipe, 1);
	mux_free(lane->mux);
	free(lane->out);
	free(lane);
}

bool
lane_has_room(const struct lane *lane)
{
	return lane->dead == NULL && !lane->retired && mux_has_room(lane->mux);
}

struct channel *
lane_open(struct lane *lane)
{
	struct lane_channel *lc;

	if (!lane_has_room(lane))
		return NULL;
	lc = lane_channel_new(lane);
	return lc == NULL ? NULL : &lc->base;
}

/* The kernel is not asked where hardly anything was sent since it had nothing:
 * each session asks here. */
static size_t
lane_in_kernel(struct lane *lane)
{
	if (lane->counted == 0 &&
	    lane->out_bytes - lane->counted_at < LANE_AHEAD_MIN)
		return 0;
	lane->counted_at = lane->out_bytes;
	lane->counted = lane_unacknowledged(lane);
	return lane->counted;
}

size_t
lane_backlog(struct lane *lane)
{
	return lane->out_len - lane->out_start + lane->out_rest +
	    lane_in_kernel(lane);
}

unsigned
lane_channels(const struct lane *lane)
{
	return mux_count(lane->mux);
}

void
lane_evict(struct lane *lane)
{
	struct mux_channel *channel = mux_greediest(lane->mux);

	if (channel == NULL)
		return;
	if (lane->current == channel)
		lane->current = NULL;
	lane_drop_pipe(mux_holder(channel));
	mux_evict(channel);
	lane_send_soon(lane);
	lane_stream_tell(mux_holder(channel), true, false);
}

uint64_t
lane_most_kept(const struct lane *lane)
{
	const struct mux_channel *channel = mux_greediest(lane->mux);

	return channel == NULL ? 0 : mux_held(channel);
}

void
lane_get_status(struct lane *lane, struct lane_status *out)
{
	out->rtt_ms = lane->rtt < 0 ? -1 : lane->rtt * 1000;
	out->in = lane->in_bytes;
	out->out = lane->out_bytes;
	out->channels = lane_channels(lane);
	out->backlog = lane_backlog(lane);
	out->retired = lane->retired;
}
