/* SPDX-License-Identifier: ISC */
#include "mux_internal.h"

#include <stdlib.h>
#include <string.h>

struct mux *
mux_new(const struct mux_params *params)
{
	struct mux *mux = calloc(1, sizeof *mux);

	if (mux == NULL)
		return NULL;
	mux->params = *params;
	TAILQ_INIT(&mux->all);
	TAILQ_INIT(&mux->urgent);
	TAILQ_INIT(&mux->light);
	TAILQ_INIT(&mux->heavy);
	TAILQ_INIT(&mux->grown);
	TAILQ_INIT(&mux->spare);
	return mux;
}

void
mux_set_window_max(struct mux *mux, uint32_t window_max)
{
	mux->params.window_max = window_max;
}

static void
mux_channel_free(struct mux_channel *channel)
{
	struct mux *mux = channel->mux;

	mux_clear_due(channel, (unsigned)-1);
	mux_stop_waiting(channel);
	mux_drop_kept(channel);
	mux_set_window(channel, 0);
	TAILQ_REMOVE(&mux->all, channel, entry);
	mux->n--;
	if (channel->ours)
		mux->n_ours--;
	if (channel->held)
		mux->n_held--;
	free(channel->frame);
	free(channel);
}

static void
mux_side_free(struct mux_side *side)
{
	free(side->slots);
	free(side->closed);
}

void
mux_free(struct mux *mux)
{
	struct mux_channel *channel;

	if (mux == NULL)
		return;
	while ((channel = TAILQ_FIRST(&mux->all)) != NULL)
		mux_channel_free(channel);
	mux_side_free(&mux->ours);
	mux_side_free(&mux->theirs);
	mux_drop_spare(mux);
	free(mux);
}

unsigned
mux_count(const struct mux *mux)
{
	return mux->n;
}

unsigned
mux_count_held(const struct mux *mux)
{
	return mux->n_held;
}

bool
mux_has_heard_all(const struct mux *mux)
{
	const struct mux_channel *channel;

	TAILQ_FOREACH(channel, &mux->all, entry)
		if (channel->held && !channel->last_got)
			return false;
	return true;
}

bool
mux_has_room(const struct mux *mux)
{
	return !mux->lost && mux->n_ours < MUX_CHANNELS_MAX;
}

/* --- numbers -------------------------------------------------------------- */

bool
mux_is_ours(const struct mux *mux, uint32_t id)
{
	return (id % 2 == 1) == mux->params.dialler;
}

static uint32_t
mux_index(uint32_t id)
{
	return (id - 1) / 2;
}

static uint32_t
mux_number_at(const struct mux *mux, bool ours, uint32_t index)
{
	return 2 * index + (ours == mux->params.dialler ? 1 : 2);
}

static int
mux_side_grow(struct mux_side *side, uint32_t n, bool with_closed)
{
	uint32_t size = side->size == 0 ? 16 : side->size;
	struct mux_channel **slots;
	uint32_t *closed;

	if (n <= side->size)
		return 0;
	while (size < n)
		size *= 2;
	slots = realloc(side->slots, size * sizeof(struct mux_channel *));
	if (slots == NULL)
		return -1;
	side->slots = slots;
	if (with_closed) {
		closed = realloc(side->closed, size * sizeof *closed);
		if (closed == NULL)
			return -1;
		side->closed = closed;
	}
	side->size = size;
	return 0;
}

struct mux_channel *
mux_find(const struct mux *mux, uint32_t id)
{
	const struct mux_side *side = mux_is_ours(mux, id) ? &mux->ours :
							     &mux->theirs;

	if (id == 0 || mux_index(id) >= side->n)
		return NULL;
	return side->slots[mux_index(id)];
}

void
mux_number(struct mux_channel *channel)
{
	struct mux *mux = channel->mux;
	struct mux_side *side = &mux->ours;
	uint32_t index;

	index = side->n_closed > 0 ? side->closed[--side->n_closed] : side->n++;
	side->slots[index] = channel;
	channel->id = mux_number_at(mux, true, index);
}

const char *
mux_judge_number(const struct mux *mux, uint32_t id)
{
	if (mux_is_ours(mux, id))
		return "OPEN with a number of ours";
	if (mux_index(id) >= MUX_CHANNELS_MAX)
		return "OPEN of too many channels";
	if (mux_index(id) > mux->theirs.n)
		return "OPEN with a number that is not the next";
	if (mux_find(mux, id) != NULL)
		return "OPEN of a channel that is not closed";
	return NULL;
}

int
mux_take_number(struct mux_channel *channel, uint32_t id)
{
	struct mux_side *side = &channel->mux->theirs;

	if (mux_side_grow(side, mux_index(id) + 1, false) != 0)
		return -1;
	if (mux_index(id) == side->n)
		side->n++;
	side->slots[mux_index(id)] = channel;
	channel->id = id;
	return 0;
}

static void
mux_close_number(struct mux_channel *channel)
{
	struct mux *mux = channel->mux;
	uint32_t index = mux_index(channel->id);

	if (channel->id == 0)
		return;
	channel->id = 0;
	if (channel->ours) {
		mux->ours.slots[index] = NULL;
		mux->ours.closed[mux->ours.n_closed++] = index;
	} else {
		mux->theirs.slots[index] = NULL;
	}
}

void
mux_check_closed(struct mux_channel *channel)
{
	if (channel->last_sent && channel->last_got)
		mux_close_number(channel);
	if (!channel->held && channel->id == 0 && channel->due == 0)
		mux_channel_free(channel);
}

/* --- life ------------------------------------------------------------------- */

struct mux_channel *
mux_channel_new(struct mux *mux, bool ours)
{
	struct mux_channel *channel = calloc(1, sizeof *channel);

	if (channel == NULL)
		return NULL;
	channel->mux = mux;
	channel->ours = ours;
	channel->held = true;
	channel->state = ours ? MUX_OPENING : MUX_ANSWERING;
	channel->window = MUX_WINDOW;
	TAILQ_INIT(&channel->blocks);
	TAILQ_INSERT_TAIL(&mux->all, channel, entry);
	mux->n++;
	mux->n_held++;
	if (ours)
		mux->n_ours++;
	return channel;
}

/* The bytes of a frame that is due, with a number that is not known yet. */
static int
mux_set_frame(struct mux_channel *channel, const struct wire_message *msg)
{
	uint8_t frame[WIRE_FRAME_MAX];
	size_t len = wire_encode(msg, frame, sizeof frame);

	channel->frame = malloc(len);
	if (channel->frame == NULL)
		return -1;
	memcpy(channel->frame, frame, len);
	channel->frame_len = len;
	return 0;
}

struct mux_channel *
mux_open(struct mux *mux, const struct wire_open *open, void *holder)
{
	struct wire_message msg = { .type = WIRE_OPEN, .open = *open };
	struct mux_channel *channel;

	if (!mux_has_room(mux) ||
	    mux_side_grow(&mux->ours, mux->n_ours + 1, true) != 0)
		return NULL;
	channel = mux_channel_new(mux, true);
	if (channel == NULL)
		return NULL;
	channel->holder = holder;
	channel->credit = MUX_EARLY;
	mux_set_window(channel, mux_first_window(mux));
	channel->allowed = channel->window;
	if (channel->window != MUX_WINDOW)
		msg.open.window = channel->window;
	if (mux_set_frame(channel, &msg) != 0) {
		mux_channel_free(channel);
		return NULL;
	}
	mux_set_due(channel, MUX_DUE_OPEN);
	return channel;
}

void
mux_set_holder(struct mux_channel *channel, void *holder)
{
	channel->holder = holder;
}

void *
mux_holder(const struct mux_channel *channel)
{
	return channel->holder;
}

uint32_t
mux_id(const struct mux_channel *channel)
{
	return channel->id;
}

/* Nothing of it concerns anybody any more but its number. */
static void
mux_let_go(struct mux_channel *channel)
{
	if (channel->held)
		channel->mux->n_held--;
	channel->held = false;
	channel->holder = NULL;
	channel->lent = NULL;
	channel->lent_len = 0;
	mux_stop_waiting(channel);
	mux_drop_kept(channel);
	mux_set_window(channel, MUX_WINDOW);
}

void
mux_accept(struct mux_channel *channel)
{
	channel->state = MUX_OPEN;
	mux_set_window(channel, mux_first_window(channel->mux));
	channel->allowed += channel->window - MUX_EARLY;
	channel->opened_window = channel->window;
	if (!channel->last_got)
		mux_set_due(channel, MUX_DUE_OPENED);
}

void
mux_refuse(struct mux_channel *channel, const struct wire_refusal *refusal)
{
	struct wire_message msg = { .type = WIRE_FAILED, .refusal = *refusal };

	if (channel->last_got || channel->mux->lost ||
	    mux_set_frame(channel, &msg) != 0) {
		mux_close(channel, true, 0);
		return;
	}
	mux_let_go(channel);
	channel->let_go = true;
	mux_set_due(channel, MUX_DUE_FAILED);
}

void
mux_finish(struct mux_channel *channel)
{
	if (!channel->fin_sent && !channel->last_got)
		mux_set_due(channel, MUX_DUE_FIN);
}

/* Both ways have ended in order, or are about to. */
static bool
mux_has_ended(const struct mux_channel *channel)
{
	return channel->fin_got &&
	    (channel->fin_sent || (channel->due & MUX_DUE_FIN) != 0);
}

void
mux_close(struct mux_channel *channel, bool abort, uint8_t reason)
{
	if (channel == NULL)
		return;
	mux_let_go(channel);
	if (channel->mux->lost || (channel->due & MUX_DUE_OPEN) != 0) {
		mux_channel_free(channel);
		return;
	}
	if (!channel->last_sent && !channel->last_got &&
	    (abort || !mux_has_ended(channel))) {
		channel->let_go = true;
		channel->reason = reason;
		mux_clear_due(channel,
		    MUX_DUE_OPENED | MUX_DUE_WINDOW | MUX_DUE_FIN);
		mux_set_due(channel, MUX_DUE_RESET);
	}
	mux_check_closed(channel);
}

void
mux_evict(struct mux_channel *channel)
{
	channel->reset = true;
	channel->let_go = true;
	channel->reason = 0;
	mux_stop_waiting(channel);
	mux_drop_kept(channel);
	if (channel->last_sent || channel->last_got)
		return;
	mux_clear_due(channel, MUX_DUE_WINDOW | MUX_DUE_FIN);
	mux_set_due(channel, MUX_DUE_RESET);
}

/* --- the end of the connection ---------------------------------------------- */

void
mux_lose(struct mux *mux)
{
	struct mux_channel *channel, *next;

	mux->lost = true;
	for (channel = TAILQ_FIRST(&mux->all); channel != NULL;
	     channel = next) {
		next = TAILQ_NEXT(channel, entry);
		mux_clear_due(channel, (unsigned)-1);
		mux_stop_waiting(channel);
		if (!channel->held)
			mux_channel_free(channel);
	}
}

struct mux_channel *
mux_next_lost(struct mux *mux)
{
	struct mux_channel *channel = TAILQ_FIRST(&mux->all);

	if (channel == NULL || channel->told)
		return NULL;
	channel->told = true;
	TAILQ_REMOVE(&mux->all, channel, entry);
	TAILQ_INSERT_TAIL(&mux->all, channel, entry);
	return channel;
}

struct mux_channel *
mux_greediest(const struct mux *mux)
{
	struct mux_channel *channel, *most = NULL;

	TAILQ_FOREACH(channel, &mux->all, entry)
		if (mux_held(channel) > (most == NULL ? 0 : mux_held(most)))
			most = channel;
	return most;
}
