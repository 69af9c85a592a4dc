/* SPDX-License-Identifier: ISC */
/* What is read of what came: the bytes are made here, too. */
#include "fuzz_mux.h"

double fuzz_now;
static uint8_t bytes[WINDOW_MAX];

size_t
fuzz_amount(uint8_t choice)
{
	return (size_t)1 << choice / 32 * 3;
}

static uint8_t
byte_at(uint64_t at)
{
	return (uint8_t)((at * 31) >> 2);
}

static void
read_pipe(struct held *held, size_t most)
{
	size_t len = most < held->piped ? most : (size_t)held->piped;

	held->piped -= len;
	held->read += len;
	mux_set_piped(held->channel, (size_t)held->piped);
	mux_passed(held->channel, len, fuzz_now, 0.001);
}

void
fuzz_read_some(struct held *held, size_t most)
{
	enum mux_status status;
	const uint8_t *data;
	size_t len;

	if (held->piped > 0) {
		read_pipe(held, most);
		return;
	}
	status = mux_peek(held->channel, &data, &len);
	if (status == MUX_BYTES) {
		fuzz_assert(!held->ended && !held->evicted && len > 0);
		fuzz_assert(len <= held->came - held->read);
		if (len > most)
			len = most;
		for (size_t i = 0; i < len; i++)
			fuzz_assert(data[i] == byte_at(held->read + i));
		held->read += len;
		mux_consume(held->channel, len, fuzz_now, 0.001);
		return;
	}
	held->ended |= status != MUX_NOTHING;
	if (status == MUX_NOTHING || status == MUX_EOF)
		fuzz_assert(held->read == held->came);
	if (status == MUX_NOTHING)
		fuzz_assert(!held->fin_came && !held->reset_came);
	if (status == MUX_EOF)
		fuzz_assert(held->fin_came && !held->reset_came);
	if (status == MUX_RESET)
		fuzz_assert(held->reset_came || held->evicted);
	fuzz_assert(status != MUX_LOST);
}

void
fuzz_deliver(struct held *held, size_t len, uint8_t choice)
{
	struct mux_channel *channel = held->channel;
	size_t aside = choice % 4 == 0 ? len / 2 : 0, left;

	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(held->came + i);
	held->came += len;
	if (aside > 0 && choice % 8 == 0 && mux_kept(channel) == 0) {
		held->piped += aside;
		mux_set_piped(channel, (size_t)held->piped);
	} else if (aside > 0) {
		fuzz_assert(mux_keep(channel, bytes, aside) == 0);
	}
	mux_lend(channel, bytes + aside, len - aside);
	for (int i = 0; i < choice % 3; i++)
		fuzz_read_some(held, fuzz_amount(choice));
	left = mux_settle(channel);
	if (left > 0)
		fuzz_assert(mux_keep(channel, bytes + len - left, left) == 0);
}

void
fuzz_empty_pipe(struct held *held)
{
	if (mux_kept(held->channel) > 0)
		return;
	for (size_t i = 0; i < held->piped; i++)
		bytes[i] = byte_at(held->read + i);
	if (held->piped > 0)
		fuzz_assert(mux_keep(held->channel, bytes,
				(size_t)held->piped) == 0);
	held->piped = 0;
	mux_set_piped(held->channel, 0);
}
