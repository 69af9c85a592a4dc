/* SPDX-License-Identifier: ISC */
#include "mux_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What is kept stands in blocks: little for little, at most so much. */
#define MUX_BLOCK_MIN 1024
#define MUX_BLOCK_MAX 65536
/* Blocks that are not given back at once: the pages of a fresh one cost as much
 * as what is copied there. */
#define MUX_SPARE_MAX 16
/* Seconds for half a window that nobody needs to be so large. */
#define MUX_SLOW 10.0
/* Seconds for half a window that is too small, whatever the round trip. */
#define MUX_BRISK 0.01
#define MUX_BRISK_WINDOW (1024 * 1024)
#define MUX_FAR 0.01 /* a round trip, in seconds */

/* --- bytes ------------------------------------------------------------------ */

static void
mux_block_drop(struct mux_channel *channel)
{
	struct mux_block *block = TAILQ_FIRST(&channel->blocks);
	struct mux *mux = channel->mux;

	TAILQ_REMOVE(&channel->blocks, block, entry);
	channel->mux->params.memory->kept -= sizeof *block + block->size;
	if (block->size != MUX_BLOCK_MAX || mux->n_spare == MUX_SPARE_MAX) {
		free(block);
		return;
	}
	TAILQ_INSERT_HEAD(&mux->spare, block, entry);
	mux->n_spare++;
}

void
mux_drop_spare(struct mux *mux)
{
	struct mux_block *block;

	while ((block = TAILQ_FIRST(&mux->spare)) != NULL) {
		TAILQ_REMOVE(&mux->spare, block, entry);
		free(block);
	}
	mux->n_spare = 0;
}

static struct mux_block *
mux_block_new(struct mux *mux, size_t size)
{
	struct mux_block *block = TAILQ_FIRST(&mux->spare);

	if (size != MUX_BLOCK_MAX || block == NULL)
		return malloc(sizeof *block + size);
	TAILQ_REMOVE(&mux->spare, block, entry);
	mux->n_spare--;
	return block;
}

void
mux_drop_kept(struct mux_channel *channel)
{
	while (!TAILQ_EMPTY(&channel->blocks))
		mux_block_drop(channel);
	channel->kept = 0;
	mux_set_piped(channel, 0);
}

static struct mux_block *
mux_block_add(struct mux_channel *channel, size_t len)
{
	size_t size = channel->kept;
	struct mux_block *block;

	if (size < MUX_BLOCK_MIN)
		size = MUX_BLOCK_MIN;
	if (size > MUX_BLOCK_MAX)
		size = MUX_BLOCK_MAX;
	if (size < len)
		size = len;
	block = mux_block_new(channel->mux, size);
	if (block == NULL)
		return NULL;
	block->offset = block->len = 0;
	block->size = size;
	TAILQ_INSERT_TAIL(&channel->blocks, block, entry);
	channel->mux->params.memory->kept += sizeof *block + size;
	return block;
}

int
mux_keep(struct mux_channel *channel, const uint8_t *data, size_t len)
{
	struct mux_block *block = TAILQ_LAST(&channel->blocks, mux_blocks);
	size_t room = block == NULL ? 0 : block->size - block->len;

	if (room > len)
		room = len;
	if (room > 0) {
		memcpy(block->bytes + block->len, data, room);
		block->len += room;
		channel->kept += room;
	}
	if (room == len)
		return 0;
	block = mux_block_add(channel, len - room);
	if (block == NULL)
		return -1;
	memcpy(block->bytes, data + room, len - room);
	block->len = len - room;
	channel->kept += len - room;
	return 0;
}

void
mux_set_piped(struct mux_channel *channel, size_t len)
{
	struct mux_memory *memory = channel->mux->params.memory;

	memory->kept -= channel->piped;
	memory->kept += len;
	channel->piped = len;
}

void
mux_lend(struct mux_channel *channel, const uint8_t *data, size_t len)
{
	channel->lent = data;
	channel->lent_len = len;
}

size_t
mux_settle(struct mux_channel *channel)
{
	size_t left = channel->lent_len;

	channel->lent = NULL;
	channel->lent_len = 0;
	return left;
}

uint64_t
mux_kept(const struct mux_channel *channel)
{
	return channel->kept;
}

uint64_t
mux_held(const struct mux_channel *channel)
{
	return (uint64_t)channel->kept + channel->piped;
}

bool
mux_is_dead(const struct mux_channel *channel)
{
	return channel->reset || channel->mux->lost;
}

uint8_t
mux_reset_reason(const struct mux_channel *channel)
{
	return channel->reset ? channel->reason : 0;
}

enum mux_status
mux_peek(const struct mux_channel *channel, const uint8_t **data, size_t *len)
{
	const struct mux_block *block = TAILQ_FIRST(&channel->blocks);

	if (channel->mux->lost)
		return MUX_LOST;
	if (block != NULL) {
		*data = block->bytes + block->offset;
		*len = block->len - block->offset;
		return MUX_BYTES;
	}
	if (channel->lent_len > 0) {
		*data = channel->lent;
		*len = channel->lent_len;
		return MUX_BYTES;
	}
	if (channel->reset)
		return MUX_RESET;
	return channel->fin_got ? MUX_EOF : MUX_NOTHING;
}

/* --- credit ------------------------------------------------------------------ */

static uint32_t
mux_growth(uint32_t window)
{
	return window > MUX_WINDOW ? window - MUX_WINDOW : 0;
}

void
mux_set_window(struct mux_channel *channel, uint32_t window)
{
	struct mux_memory *memory = channel->mux->params.memory;

	if (mux_growth(channel->window) > 0)
		TAILQ_REMOVE(&channel->mux->grown, channel, grown);
	if (mux_growth(window) > 0)
		TAILQ_INSERT_TAIL(&channel->mux->grown, channel, grown);
	memory->grown -= mux_growth(channel->window);
	memory->grown += mux_growth(window);
	channel->window = window;
}

static uint32_t
mux_half_window(const struct mux_channel *channel)
{
	return channel->window / 2 < MUX_WINDOW ? MUX_WINDOW :
						  channel->window / 2;
}

void
mux_age(struct mux *mux, double now)
{
	struct mux_channel *channel, *next;

	mux_drop_spare(mux);
	for (channel = TAILQ_FIRST(&mux->grown); channel != NULL;
	     channel = next) {
		next = TAILQ_NEXT(channel, grown);
		if (now - channel->granted_at <= MUX_SLOW)
			continue;
		channel->granted_at = now;
		mux_set_window(channel, mux_half_window(channel));
	}
}

bool
mux_memory_is_near(const struct mux *mux)
{
	const struct mux_memory *memory = mux->params.memory;

	return memory->kept + memory->grown > memory->bound / 4 * 3;
}

uint32_t
mux_first_window(const struct mux *mux)
{
	return mux_memory_is_near(mux) ? MUX_EARLY : MUX_WINDOW;
}

static bool
mux_may_grow(const struct mux_channel *channel)
{
	const struct mux *mux = channel->mux;
	const struct mux_memory *memory = mux->params.memory;

	return channel->window <= mux->params.window_max / 2 &&
	    memory->kept + memory->grown + channel->window <=
	    memory->bound / 4 * 3;
}

/* Within two round trips; or, as far as a pipe holds it, so quickly that what is
 * waited for is the turns of both ends' loops, which no round trip tells of.
 * Nearby, a reader who did not keep up, or for whom something waited all the
 * time, needs no more; from afar bytes come in bursts, and that says nothing. */
static bool
mux_is_brisk(const struct mux_channel *channel, double elapsed, double rtt)
{
	if (rtt >= MUX_FAR)
		return elapsed < 2 * rtt;
	return channel->least_queued == 0 && channel->most_kept == 0 &&
	    (elapsed < 2 * rtt ||
		(elapsed < MUX_BRISK && channel->window < MUX_BRISK_WINDOW));
}

/* What a reader does not take at once is copied here; it is better left where it
 * comes from. After that windows grow slowly. */
static uint32_t
mux_less_kept(struct mux_channel *channel)
{
	size_t less = channel->window / 4;

	if (channel->most_kept > 0)
		channel->wary = true;
	if (less > channel->window - MUX_WINDOW)
		less = channel->window - MUX_WINDOW;
	if (less > channel->most_kept)
		less = channel->most_kept;
	return channel->window - (uint32_t)less;
}

static void
mux_note_queue(struct mux_channel *channel)
{
	size_t queued = channel->kept + channel->piped;

	if (channel->most_kept < channel->kept)
		channel->most_kept = channel->kept;
	if (channel->least_queued > queued)
		channel->least_queued = queued;
}

/* elapsed: in which half of the window went. */
static void
mux_fit_window(struct mux_channel *channel, double elapsed, double rtt)
{
	uint32_t window = channel->window;

	if (mux_memory_is_near(channel->mux))
		window = window / 2 < MUX_EARLY ? MUX_EARLY : window / 2;
	else if (window < MUX_WINDOW)
		window = MUX_WINDOW;
	else if (mux_is_brisk(channel, elapsed, rtt) && mux_may_grow(channel))
		window += channel->wary ? window / 8 : window;
	else if (elapsed > MUX_SLOW || window > channel->mux->params.window_max)
		window = mux_half_window(channel);
	else if (rtt < MUX_FAR)
		window = mux_less_kept(channel);
	if (window != channel->window)
		mux_set_window(channel, window);
	channel->most_kept = 0;
	channel->least_queued = SIZE_MAX;
}

void
mux_passed(struct mux_channel *channel, size_t len, double now, double rtt)
{
	uint64_t used = (uint64_t)channel->allowed + channel->kept +
	    channel->piped + channel->lent_len;
	uint32_t grant;

	(void)len;
	mux_note_queue(channel);
	if (channel->state != MUX_OPEN || !channel->held || channel->let_go ||
	    channel->fin_got || channel->last_got || channel->mux->lost ||
	    used > channel->window / 2)
		return;
	mux_fit_window(channel, now - channel->granted_at, rtt);
	channel->granted_at = now;
	if (used >= channel->window)
		return;
	grant = channel->window - (uint32_t)used;
	channel->allowed += grant;
	channel->grant += grant;
	mux_set_due(channel, MUX_DUE_WINDOW);
}

void
mux_consume(struct mux_channel *channel, size_t len, double now, double rtt)
{
	struct mux_block *block;
	size_t n, left = len;

	while (left > 0 && (block = TAILQ_FIRST(&channel->blocks)) != NULL) {
		n = block->len - block->offset;
		if (n > left)
			n = left;
		block->offset += n;
		channel->kept -= n;
		left -= n;
		if (block->offset == block->len)
			mux_block_drop(channel);
	}
	if (left > 0) {
		channel->lent += left;
		channel->lent_len -= left;
	}
	mux_passed(channel, len, now, rtt);
}
