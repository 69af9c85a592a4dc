/* SPDX-License-Identifier: ISC */
/*
 * The input is what a peer sends on a lane, frames of channels, and what is
 * done here meanwhile: a byte below 0x80 begins a frame, as its type does; any
 * other is a call, and the byte behind it says of which channel, and how much.
 * Of DATA the header alone is in the input: its bytes are made here.
 */
#include "fuzz_mux.h"

#include <string.h>

#include "mux.h"

#define CHANNELS 32	  /* at once, of both ends */
#define FRAMES_MAX 100000 /* due at once: far more than there can be */

static struct mux_memory memory;
static struct mux *mux;
static struct held all[CHANNELS];
static uint32_t highest; /* of the numbers that were used */

static struct held *
hold(struct mux_channel *channel, bool answered, uint64_t credit)
{
	struct held *held = all;

	while (held->channel != NULL)
		held++;
	fuzz_assert(held < all + CHANNELS);
	*held = (struct held){ .channel = channel,
		.answered = answered,
		.credit = credit };
	mux_set_holder(channel, held);
	return held;
}

static void
let_go(struct held *held, bool abort)
{
	mux_close(held->channel, abort, 0);
	held->channel = NULL;
}

/* The one that a byte names, if there is any. */
static struct held *
choose(uint8_t choice)
{
	for (unsigned i = 0; i < CHANNELS; i++)
		if (all[(choice + i) % CHANNELS].channel != NULL)
			return &all[(choice + i) % CHANNELS];
	return NULL;
}

/* --- what the peer says ----------------------------------------------------- */

static size_t
take_data(const uint8_t *data, const char **why)
{
	struct mux_channel *channel = NULL;
	struct wire_header header;
	struct held *held;

	wire_decode_header(data, &header);
	*why = mux_on_data(mux, header.channel, header.length, &channel);
	if (*why != NULL || channel == NULL)
		return WIRE_HEADER_SIZE;
	held = mux_holder(channel);
	fuzz_assert(held != NULL && held->channel == channel);
	fuzz_assert(!held->fin_came && !held->reset_came && !held->evicted);
	fuzz_assert(held->came + header.length <= held->read + WINDOW_MAX);
	/* What is granted by frames that are due may be used at once. */
	if (!mux_has_frames(mux))
		fuzz_assert(held->came + header.length <= held->granted);
	fuzz_deliver(held, header.length, data[7] ^ data[3]);
	return WIRE_HEADER_SIZE;
}

static uint64_t
window(uint32_t hint)
{
	return hint == 0 ? MUX_WINDOW : hint;
}

static void
take_news(struct held *held, enum mux_news news, const struct wire_message *msg)
{
	fuzz_assert(held != NULL && held->channel != NULL);
	/* An evicted one's peer may say what it likes: it is discarded. */
	fuzz_assert(!held->reset_came);
	if (news == MUX_NEWS_ACCEPTED)
		held->credit += window(msg->opened.window) - MUX_EARLY;
	if (msg->type == WIRE_WINDOW)
		held->credit += msg->window.credit;
	if (msg->type == WIRE_FIN)
		held->fin_came = true;
	if (msg->type == WIRE_RESET)
		held->reset_came = true;
	if (news == MUX_NEWS_REFUSED)
		let_go(held, false);
}

static size_t
take_message(const uint8_t *data, size_t size, const char **why)
{
	struct mux_channel *channel = NULL;
	struct wire_message msg;
	enum mux_news news;
	size_t used = 0;

	*why = "not a frame";
	if (wire_decode(data, size, &msg, &used) != WIRE_OK)
		return 0;
	*why = NULL;
	if (msg.type == WIRE_OPEN && mux_count_held(mux) == CHANNELS)
		return used;
	*why = mux_on_message(mux, &msg, &news, &channel);
	if (*why != NULL || channel == NULL)
		return used;
	if (msg.channel > highest)
		highest = msg.channel;
	if (news == MUX_NEWS_OPENED)
		hold(channel, false, window(msg.open.window))
		    ->granted = MUX_EARLY;
	else
		take_news(mux_holder(channel), news, &msg);
	return used;
}

/* --- what is sent ----------------------------------------------------------- */

/* Nobody is granted more than a window beyond what was read; nothing follows
 * the last frame, and no FIN says that all of what was dropped was taken. */
static void
note_sent(const struct wire_message *msg)
{
	struct held *held = all;

	if (msg->channel > highest)
		highest = msg->channel;
	while (held < all + CHANNELS &&
	    (held->channel == NULL || mux_id(held->channel) != msg->channel))
		held++;
	if (held == all + CHANNELS)
		return;
	fuzz_assert(!held->last_sent);
	fuzz_assert(!held->evicted || msg->type == WIRE_OPENED ||
	    msg->type == WIRE_RESET);
	if (msg->type == WIRE_OPEN)
		held->granted += window(msg->open.window);
	else if (msg->type == WIRE_OPENED)
		held->granted += window(msg->opened.window) - MUX_EARLY;
	else if (msg->type == WIRE_WINDOW)
		held->granted += msg->window.credit;
	fuzz_assert(held->granted <= held->read + WINDOW_MAX);
	held->last_sent = msg->type == WIRE_RESET ||
	    (msg->type == WIRE_FIN && msg->fin.last == 1);
}

/* Frames, each of which can be read. */
static void
emit_all(void)
{
	uint8_t frame[WIRE_FRAME_MAX];
	struct wire_message msg;
	size_t len, used;
	int i = 0;

	while ((len = mux_emit(mux, frame)) > 0) {
		fuzz_assert(wire_decode(frame, len, &msg, &used) == WIRE_OK);
		fuzz_assert(used == len && msg.channel != 0);
		note_sent(&msg);
		fuzz_assert(++i < FRAMES_MAX);
	}
	fuzz_assert(!mux_has_frames(mux));
}

/* As lanes do: DATA behind the frames that are due, and never too much. */
static void
send_some(struct held *held, size_t most)
{
	size_t len = mux_allowance(held->channel);

	if (mux_is_dead(held->channel))
		return;
	fuzz_assert(len <= held->credit - held->sent);
	if (held->finished || !held->answered) {
		fuzz_assert(len == 0);
		return;
	}
	if (len == 0) {
		mux_wait(held->channel);
		return;
	}
	emit_all();
	fuzz_assert(mux_id(held->channel) != 0);
	if (len > most)
		len = most;
	held->sent += len;
	mux_sent(held->channel, len);
}

/* So many turns of those that wait; some come back for more. */
static void
take_turns(uint8_t choice)
{
	struct mux_channel *channel;
	struct held *held;

	mux_begin_round(mux);
	for (int i = 0; i < choice % 64; i++) {
		channel = mux_next(mux);
		if (channel == NULL) {
			fuzz_assert(!mux_is_waited_for(mux));
			return;
		}
		held = mux_holder(channel);
		fuzz_assert(held != NULL && held->channel == channel);
		fuzz_assert(!held->reset_came && !held->evicted);
		send_some(held, fuzz_amount(choice));
		if (i % 2 == 0 && !held->finished)
			mux_wait(channel);
	}
}

/* --- our calls -------------------------------------------------------------- */

static void
call_open(void)
{
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	struct mux_channel *channel;

	if (mux_count_held(mux) == CHANNELS)
		return;
	channel = mux_open(mux, &open, NULL);
	fuzz_assert(channel != NULL);
	hold(channel, true, MUX_EARLY);
}

static void
call_answer(struct held *held, uint8_t choice)
{
	struct wire_refusal refusal = { .code = choice };

	if (held->answered)
		return;
	held->answered = true;
	if (choice % 8 != 7) {
		mux_accept(held->channel);
		return;
	}
	mux_refuse(held->channel, &refusal);
	held->channel = NULL;
}

static void
call_evict(void)
{
	struct mux_channel *channel = mux_greediest(mux);
	struct held *held;

	if (channel == NULL)
		return;
	held = mux_holder(channel);
	fuzz_assert(held != NULL && held->channel == channel);
	fuzz_assert(mux_held(channel) > 0);
	mux_evict(channel);
	held->evicted = true;
	held->piped = 0;
	fuzz_assert(mux_held(channel) == 0 && mux_is_dead(channel));
	fuzz_assert(mux_allowance(channel) == 0);
	if (!held->answered) /* who has it is told, and lets go */
		let_go(held, true);
}

static void
call_held(enum call call, struct held *held, uint8_t choice)
{
	switch (call) {
	case CALL_ANSWER:
		call_answer(held, choice);
		break;
	case CALL_SEND:
		send_some(held, fuzz_amount(choice));
		break;
	case CALL_WAIT:
		if (!mux_is_dead(held->channel) && held->answered &&
		    !held->finished)
			mux_wait(held->channel);
		break;
	case CALL_READ:
		fuzz_read_some(held, fuzz_amount(choice));
		break;
	case CALL_PIPE:
		fuzz_empty_pipe(held);
		break;
	case CALL_FINISH:
		if (!mux_is_dead(held->channel) && held->answered) {
			mux_finish(held->channel);
			held->finished = true;
		}
		break;
	case CALL_EVICT:
		call_evict();
		break;
	default:
		let_go(held, choice % 2 == 0);
	}
}

static void
do_call(uint8_t byte, uint8_t choice)
{
	enum call call = (enum call)((byte - CALL) % CALLS);
	struct held *held = choose(choice);

	fuzz_now += 0.001;
	if (call == CALL_OPEN) {
		call_open();
	} else if (call == CALL_ROUND) {
		take_turns(choice);
	} else if (call == CALL_AGE) {
		fuzz_now += choice;
		mux_age(mux, fuzz_now);
	} else if (call == CALL_EMIT) {
		emit_all();
	} else if (held != NULL) {
		call_held(call, held, choice);
	}
}

/* --- one input -------------------------------------------------------------- */

static size_t
step(const uint8_t *data, size_t size, const char **why)
{
	if (data[0] >= CALL) {
		do_call(data[0], size > 1 ? data[1] : 0);
		return size > 1 ? 2 : 1;
	}
	if (size < WIRE_HEADER_SIZE)
		return size;
	return data[0] == WIRE_DATA ? take_data(data, why) :
				      take_message(data, size, why);
}

static void
check_memory(void)
{
	uint64_t kept = 0;

	for (unsigned i = 0; i < CHANNELS; i++)
		if (all[i].channel != NULL) {
			fuzz_assert(mux_held(all[i].channel) <=
			    all[i].came - all[i].read);
			kept += mux_held(all[i].channel);
		}
	fuzz_assert(kept <= memory.kept);
	fuzz_assert(memory.grown <= (uint64_t)CHANNELS * WINDOW_MAX);
}

/* Each is told once, and nothing can be done but let go. */
static void
lose_all(void)
{
	struct mux_channel *channel;
	const uint8_t *data;
	unsigned held, told = 0;
	size_t len;

	mux_lose(mux);
	held = mux_count_held(mux);
	fuzz_assert(mux_count(mux) == held && !mux_has_frames(mux));
	while ((channel = mux_next_lost(mux)) != NULL) {
		fuzz_assert(mux_peek(channel, &data, &len) == MUX_LOST);
		fuzz_assert(mux_allowance(channel) == 0);
		if (told++ % 2 == 0)
			let_go(mux_holder(channel), told % 4 == 1);
	}
	fuzz_assert(told == held);
}

/* The peer resets what it has not ended. */
static void
end_all(void)
{
	struct wire_message msg = { .type = WIRE_RESET };
	struct mux_channel *channel;
	enum mux_news news;

	emit_all();
	for (msg.channel = 1; msg.channel <= highest; msg.channel++)
		(void)mux_on_message(mux, &msg, &news, &channel);
	emit_all();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mux_params params = { .dialler = false,
		.window_max = WINDOW_MAX,
		.memory = &memory };
	const char *why = NULL;
	size_t used;

	memory = (struct mux_memory){ .bound = 1 << 20 };
	memset(all, 0, sizeof all);
	highest = 0;
	fuzz_now = 1;
	mux = mux_new(&params);
	fuzz_assert(mux != NULL);
	call_open();
	call_open();
	emit_all();
	while (size > 0 && why == NULL) {
		used = step(data, size, &why);
		check_memory();
		data += used;
		size -= used;
	}
	if (why != NULL)
		lose_all();
	for (unsigned i = 0; i < CHANNELS; i++)
		if (all[i].channel != NULL)
			let_go(&all[i], i % 2 == 0);
	if (why == NULL)
		end_all();
	fuzz_assert(mux_count(mux) == 0 && !mux_is_waited_for(mux));
	fuzz_assert(memory.kept == 0 && memory.grown == 0);
	mux_free(mux);
	return 0;
}
