/* SPDX-License-Identifier: ISC */
/*
 * Two machines and the frames between them, driven by random holders: bytes
 * arrive as they were sent, no credit is ever exceeded, endings are what the
 * other end did, and in the end nothing is left of any channel. Some sessions
 * carry so much that their windows are granted anew, and grow; some of that
 * goes through pipes; idle windows shrink, and some are evicted.
 */
#include "mux_model.h"

#include <stdlib.h>
#include <string.h>

#define LARGE_LIMIT (4u << 20)

/* The first bytes of a frame, where a relay has a pipe. */
static void
fill_pipe(struct session *session, const uint8_t *bytes, size_t len)
{
	session->pipe = realloc(session->pipe, session->in_pipe + len);
	memcpy(session->pipe + session->in_pipe, bytes, len);
	session->in_pipe += len;
	mux_set_piped(session->channel, session->in_pipe);
	seen.piped++;
}

/* Some keep up with whatever comes. */
static bool
is_keen(const struct session *session)
{
	return session->number % 24 == 1;
}

/* The first bytes of a frame wait, somewhere: how many. */
static size_t
put_aside(struct session *session, const struct frame *frame)
{
	size_t half = frame->len / 2;

	if (half == 0 || is_keen(session) || random_below(3) == 0)
		return 0;
	if (session->answered && mux_kept(session->channel) == 0 &&
	    random_below(2) == 0)
		fill_pipe(session, frame->bytes, half);
	else
		ck_assert_int_eq(mux_keep(session->channel, frame->bytes, half),
		    0);
	return half;
}

static void
deliver_data(struct end *end, const struct frame *frame)
{
	struct mux_channel *channel = NULL;
	struct session *session;
	const uint8_t *data;
	size_t left, len, half;
	const char *why;

	why = mux_on_data(end->mux, frame->id, frame->len, &channel);
	ck_assert_msg(why == NULL, "%s", why);
	if (channel == NULL)
		return;
	session = mux_holder(channel);
	half = put_aside(session, frame);
	mux_lend(channel, frame->bytes + half, frame->len - half);
	/* Somebody who reads while it is lent, as a relay does. */
	if (is_keen(session) || random_below(2) == 0)
		while (session->answered &&
		    (is_keen(session) || random_below(4) != 0) &&
		    mux_peek(channel, &data, &len) == MUX_BYTES)
			read_some(session);
	left = mux_settle(channel);
	if (left > 0)
		ck_assert_int_eq(mux_keep(channel,
				     frame->bytes + frame->len - left, left),
		    0);
}

static void
deliver_message(struct end *end, const struct frame *frame)
{
	struct mux_channel *channel = NULL;
	struct session *session;
	struct wire_message msg;
	enum mux_news news;
	const char *why;
	unsigned number;
	size_t used;

	ck_assert_int_eq(wire_decode(frame->bytes, frame->len, &msg, &used),
	    WIRE_OK);
	why = mux_on_message(end->mux, &msg, &news, &channel);
	ck_assert_msg(why == NULL, "%s: %s", wire_type_name(msg.type), why);
	if (news == MUX_NEWS_OPENED) {
		memcpy(&number, msg.open.uid, sizeof number);
		session = &end->sessions[number];
		ck_assert_ptr_null(session->channel);
		session->channel = channel;
		mux_set_holder(channel, session);
	} else if (news == MUX_NEWS_ACCEPTED) {
		session = mux_holder(channel);
		session->answered = true;
	} else if (news == MUX_NEWS_REFUSED) {
		session = mux_holder(channel);
		ck_assert(session->other->refused);
		session->refused = true;
		close_session(session, false);
	}
}

static void
deliver(struct end *from)
{
	struct wire *out = &from->out;
	struct frame *frame = &out->frames[out->first];

	if (out->n == 0)
		return;
	if (frame->data)
		deliver_data(from->far, frame);
	else
		deliver_message(from->far, frame);
	free(frame->bytes);
	out->first = (out->first + 1) % FRAMES;
	out->n--;
}

static void
take_turns(struct end *end)
{
	struct mux_channel *channel;

	mux_begin_round(end->mux);
	while (random_below(4) != 0 && (channel = mux_next(end->mux)) != NULL)
		send_some(mux_holder(channel));
}

/* A little later, or a long time: then what idles shrinks. */
static void
pass_time(struct end *end)
{
	end->now += random_below(100) / 1000000.0;
	if (random_below(100) != 0)
		return;
	if (random_below(3) == 0)
		end->now += random_below(15000) / 1000.0;
	mux_age(end->mux, end->now);
}

static unsigned
live(void)
{
	return mux_count(ends[0].mux) + mux_count(ends[1].mux);
}

static void
begin(uint64_t seed)
{
	int i;
	unsigned s;

	memset(ends, 0, sizeof ends);
	memset(&seen, 0, sizeof seen);
	random_state = seed;
	rtt = seed % 3 == 0 ? 0.0001 : seed % 3 == 1 ? 0.5 : -1;
	opened = 0;
	for (i = 0; i < 2; i++) {
		struct end *end = &ends[i];
		struct mux_params params = { .dialler = i == 0,
			.window_max = WINDOW_LIMIT,
			.memory = &end->memory };

		end->memory.bound = 2 << 20;
		end->mux = mux_new(&params);
		end->far = &ends[!i];
		for (s = 0; s < SESSIONS; s++) {
			end->sessions[s].end = end;
			end->sessions[s].number = s;
			end->sessions[s].other = &ends[!i].sessions[s];
			/* Both ends know, from the number alone. */
			end->sessions[s].limit = (s * 2654435761u) % 100000;
			if (s % 3 == 0)
				end->sessions[s].limit = s % 100;
			if (s % 24 == 1 || s % 24 == 10)
				end->sessions[s].limit = LARGE_LIMIT / 4 +
				    (s * 2654435761u) % (LARGE_LIMIT / 4 * 3);
		}
	}
}

static void
finish(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		ck_assert_uint_eq(mux_count(ends[i].mux), 0);
		ck_assert_uint_eq(ends[i].memory.kept, 0);
		ck_assert_uint_eq(ends[i].memory.grown, 0);
		ck_assert_uint_eq(ends[i].out.n, 0);
		mux_free(ends[i].mux);
	}
}

static void
step(unsigned total)
{
	struct end *end = &ends[random_below(2)];
	unsigned number;

	pass_time(end);
	if (opened < total && mux_count(end->mux) < CHANNELS &&
	    random_below(3) == 0)
		open_one(end);
	number = random_below(2 * (ends[0].n + ends[1].n) + 1);
	if (number < SESSIONS)
		act(&end->sessions[number]);
	switch (random_below(4)) {
	case 0:
		emit_all(end);
		break;
	case 1:
		take_turns(end);
		break;
	default:
		deliver(end);
	}
}

START_TEST(random_interleavings)
{
	unsigned total = 150, i, steps = 0, s;

	begin((uint64_t)_i);
	while (opened < total) {
		ck_assert_uint_lt(steps, 1000000);
		step(total);
		/* Those that are open now are a few: visit them, too. */
		if (steps++ % 100 == 0)
			for (i = 0; i < 2; i++)
				for (s = 0; s < 2 * total; s++)
					act(&ends[i].sessions[s]);
	}
	for (steps = 0; live() > 0; steps++) {
		ck_assert_uint_lt(steps, 200000);
		for (i = 0; i < 2; i++) {
			for (s = 0; s < 2 * total; s++)
				act(&ends[i].sessions[s]);
			take_turns(&ends[i]);
			emit_all(&ends[i]);
			pass_time(&ends[i]);
			while (ends[i].out.n > 0)
				deliver(&ends[i]);
		}
	}
	for (i = 0; i < 2; i++)
		while (ends[i].out.n > 0)
			deliver(&ends[i]);
	ck_assert_uint_gt(seen.windows, 0);
	ck_assert_uint_gt(seen.grown, 0);
	ck_assert_uint_gt(seen.evicted, 0);
	ck_assert_uint_gt(seen.piped, 0);
	finish();
}
END_TEST

START_TEST(ten_thousand_at_once)
{
	enum { N = 10000 };
	static struct session sessions[N];
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	unsigned i, round;

	begin(1);
	for (round = 0; round < 2; round++) {
		memset(sessions, 0, sizeof sessions);
		for (i = 0; i < N; i++) {
			open.uid[0] = 0;
			sessions[i].channel = mux_open(ends[0].mux, &open,
			    &sessions[i]);
			ck_assert_ptr_nonnull(sessions[i].channel);
		}
		for (i = 0; i < N; i++) {
			uint8_t frame[WIRE_FRAME_MAX];
			size_t len = mux_emit(ends[0].mux, frame), used;
			struct wire_message msg;
			enum mux_news news;
			struct mux_channel *out;

			ck_assert_int_eq(wire_decode(frame, len, &msg, &used),
			    WIRE_OK);
			ck_assert_uint_lt(msg.channel, 2 * N);
			ck_assert_ptr_null(mux_on_message(ends[1].mux, &msg,
			    &news, &out));
			mux_accept(out);
			mux_close(out, true, 0);
		}
		ck_assert_uint_eq(mux_count(ends[0].mux), N);
		ck_assert_uint_eq(mux_count(ends[1].mux), N);
		for (i = 0; i < N; i++)
			mux_close(sessions[i].channel, false, 0);
		while (live() > 0) {
			emit_all(&ends[0]);
			emit_all(&ends[1]);
			while (ends[0].out.n > 0)
				deliver(&ends[0]);
			while (ends[1].out.n > 0)
				deliver(&ends[1]);
		}
	}
	finish();
}
END_TEST

TCase *
check_mux_model(void)
{
	TCase *tc = tcase_create("model");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, random_interleavings, 0, 30);
	tcase_add_test(tc, ten_thousand_at_once);
	return tc;
}
