/* SPDX-License-Identifier: ISC */
#include "mux_internal.h"

#include <stdlib.h>
#include <string.h>

/* So many light turns before a heavy one has its own. */
#define MUX_LIGHTS 16
/* Who sent so much, and has still more, is a heavy one. */
#define MUX_HEAVY 16384

void
mux_set_due(struct mux_channel *channel, unsigned due)
{
	if (channel->due == 0)
		TAILQ_INSERT_TAIL(&channel->mux->urgent, channel, urgent);
	channel->due |= (uint8_t)due;
}

void
mux_clear_due(struct mux_channel *channel, unsigned due)
{
	if (channel->due == 0)
		return;
	if ((channel->due & due & (MUX_DUE_OPEN | MUX_DUE_FAILED)) != 0) {
		free(channel->frame);
		channel->frame = NULL;
	}
	channel->due &= (uint8_t)~due;
	if (channel->due == 0)
		TAILQ_REMOVE(&channel->mux->urgent, channel, urgent);
}

bool
mux_has_frames(const struct mux *mux)
{
	return !TAILQ_EMPTY(&mux->urgent);
}

/* The one that goes first, of those that are due. */
static unsigned
mux_first_due(unsigned due)
{
	return due & ~(due - 1);
}

static size_t
mux_emit_kept(struct mux_channel *channel, uint8_t *frame)
{
	struct wire_message msg = { .channel = channel->id };
	uint8_t header[WIRE_HEADER_SIZE];

	memcpy(frame, channel->frame, channel->frame_len);
	wire_encode_data(header, msg.channel, 0);
	memcpy(frame + 4, header + 4, 4); /* the number alone */
	return channel->frame_len;
}

/* Frames go out in the order of their marks. */
static size_t
mux_emit_due(struct mux_channel *channel, unsigned due, uint8_t *frame)
{
	struct wire_message msg = { .channel = channel->id };

	switch (due) {
	case MUX_DUE_OPEN:
		mux_number(channel);
		return mux_emit_kept(channel, frame);
	case MUX_DUE_OPENED:
		msg.type = WIRE_OPENED;
		if (channel->opened_window != MUX_WINDOW)
			msg.opened.window = channel->opened_window;
		break;
	case MUX_DUE_FAILED:
		channel->last_sent = true;
		return mux_emit_kept(channel, frame);
	case MUX_DUE_WINDOW:
		msg.type = WIRE_WINDOW;
		msg.window.credit = channel->grant;
		channel->grant = 0;
		break;
	case MUX_DUE_FIN:
		msg.type = WIRE_FIN;
		channel->fin_sent = true;
		channel->last_sent = channel->fin_got;
		msg.fin.last = channel->last_sent;
		break;
	default:
		msg.type = WIRE_RESET;
		msg.reset.reason = channel->let_go ? channel->reason : 0;
		channel->last_sent = true;
	}
	return wire_encode(&msg, frame, WIRE_FRAME_MAX);
}

size_t
mux_emit(struct mux *mux, uint8_t *frame)
{
	struct mux_channel *channel = TAILQ_FIRST(&mux->urgent);
	unsigned due;
	size_t len;

	if (channel == NULL)
		return 0;
	due = mux_first_due(channel->due);
	len = mux_emit_due(channel, due, frame);
	mux_clear_due(channel, due);
	mux_check_closed(channel);
	return len;
}

/* --- turns ------------------------------------------------------------------ */

/* Who did not come back to wait had no more. */
static void
mux_end_turn(struct mux *mux)
{
	if (mux->turn != NULL && !mux->turn->waiting)
		mux->turn->streak = 0;
	mux->turn = NULL;
}

void
mux_begin_round(struct mux *mux)
{
	mux->round++;
	mux_end_turn(mux);
}

static uint32_t
mux_used(const struct mux_channel *channel)
{
	return channel->round == channel->mux->round ? channel->used : 0;
}

bool
mux_is_waited_for(const struct mux *mux)
{
	return !TAILQ_EMPTY(&mux->light) || !TAILQ_EMPTY(&mux->heavy);
}

size_t
mux_allowance(const struct mux_channel *channel)
{
	uint32_t used = mux_used(channel);

	if (channel->mux->lost || channel->state == MUX_ANSWERING ||
	    channel->let_go || channel->last_got || channel->fin_sent ||
	    (channel->due & MUX_DUE_FIN) != 0)
		return 0;
	/* Who is alone goes on. */
	if (!mux_is_waited_for(channel->mux))
		return channel->credit;
	if (used >= MUX_QUANTUM)
		return 0;
	/* Who has much to send does not go before those who wait. */
	if (channel->streak >= MUX_HEAVY && channel->mux->turn != channel)
		return 0;
	return channel->credit < MUX_QUANTUM - used ? channel->credit :
						      MUX_QUANTUM - used;
}

void
mux_sent(struct mux_channel *channel, size_t len)
{
	struct mux *mux = channel->mux;
	uint32_t used = mux_used(channel);

	if (channel->round != mux->round && mux->turn != channel)
		channel->streak = 0;
	channel->streak += len;
	channel->round = mux->round;
	channel->used = used + (uint32_t)len;
	channel->credit -= (uint32_t)len;
}

void
mux_wait(struct mux_channel *channel)
{
	struct mux *mux = channel->mux;

	if (channel->waiting || channel->credit == 0 || mux->lost)
		return;
	channel->waiting = true;
	channel->heavy = channel->streak >= MUX_HEAVY;
	TAILQ_INSERT_TAIL(channel->heavy ? &mux->heavy : &mux->light, channel,
	    ring);
}

void
mux_stop_waiting(struct mux_channel *channel)
{
	struct mux *mux = channel->mux;

	if (mux->turn == channel)
		mux->turn = NULL;
	if (!channel->waiting)
		return;
	channel->waiting = false;
	if (channel->heavy)
		TAILQ_REMOVE(&mux->heavy, channel, ring);
	else
		TAILQ_REMOVE(&mux->light, channel, ring);
}

struct mux_channel *
mux_next(struct mux *mux)
{
	struct mux_channel *light = TAILQ_FIRST(&mux->light);
	struct mux_channel *heavy = TAILQ_FIRST(&mux->heavy);
	struct mux_channel *next = light;

	mux_end_turn(mux);
	if (light == NULL || (heavy != NULL && mux->lights >= MUX_LIGHTS))
		next = heavy;
	if (next == NULL)
		return NULL;
	mux->lights = next == light ? mux->lights + 1 : 0;
	mux_stop_waiting(next);
	next->used = 0;
	mux->turn = next;
	return next;
}
