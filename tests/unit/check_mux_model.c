/* SPDX-License-Identifier: ISC */
/*
 * Two machines and the frames between them, driven by random holders: bytes
 * arrive as they were sent, no credit is ever exceeded, endings are what the
 * other end did, and in the end nothing is left of any channel.
 */
#include "check_mux.h"

#include <stdlib.h>
#include <string.h>

#define CHANNELS 40
#define FRAMES 4096

struct frame {
	uint32_t id; /* DATA */
	size_t len;
	uint8_t *bytes;
	bool data;
};

struct wire { /* in one direction */
	struct frame frames[FRAMES];
	size_t first, n;
};

struct end;

struct session {
	struct mux_channel *channel;
	struct end *end;
	struct session *other;
	unsigned number;
	uint64_t sent, got, limit;
	bool opened, answered, fin, eof, reset, aborted, refused, done;
};

struct end {
	struct mux *mux;
	struct mux_memory memory;
	struct end *far;
	struct wire out;
	struct session sessions[CHANNELS * 50];
	unsigned n;
	double now;
};

static struct end ends[2];
static unsigned opened;
static uint64_t state;

static uint32_t
random_below(uint32_t below)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ z >> 31) % below);
}

static uint8_t
byte_at(unsigned number, bool ours, uint64_t at)
{
	return (uint8_t)((at * 31 + number * 7 + ours) >> 2);
}

/* The sessions of one number are at the same place at both ends. */
static bool
is_ours(const struct session *session)
{
	return session->end == &ends[session->number % 2];
}

static void
push(struct end *end, uint8_t *bytes, size_t len, uint32_t id, bool data)
{
	struct wire *out = &end->out;

	ck_assert_uint_lt(out->n, FRAMES);
	out->frames[(out->first + out->n++) % FRAMES] = (struct frame){
		.id = id,
		.len = len,
		.bytes = bytes,
		.data = data
	};
}

static void
emit_all(struct end *end)
{
	uint8_t frame[WIRE_FRAME_MAX], *copy;
	size_t len;

	while (end->out.n < FRAMES / 2 &&
	    (len = mux_emit(end->mux, frame)) > 0) {
		copy = malloc(len);
		memcpy(copy, frame, len);
		push(end, copy, len, 0, false);
	}
}

static void
send_some(struct session *session)
{
	size_t len = mux_allowance(session->channel);
	uint8_t *bytes;
	uint64_t left = session->limit - session->sent;

	if (session->fin || session->end->out.n >= FRAMES / 2)
		return;
	if (left == 0) {
		session->fin = true;
		mux_finish(session->channel);
		return;
	}
	len = len < left ? len : (size_t)left;
	if (len > 1)
		len = 1 + random_below((uint32_t)len);
	if (len == 0) {
		mux_wait(session->channel);
		return;
	}
	if (len > 20000)
		len = 20000;
	emit_all(session->end); /* OPEN goes before its bytes */
	bytes = malloc(len);
	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(session->number, is_ours(session),
		    session->sent + i);
	session->sent += len;
	mux_sent(session->channel, len);
	push(session->end, bytes, len, mux_id(session->channel), true);
}

static void
close_session(struct session *session, bool abort)
{
	mux_close(session->channel, abort, 0);
	session->channel = NULL;
	session->done = true;
	session->aborted |= abort;
}

static void
read_some(struct session *session)
{
	const uint8_t *data;
	size_t len, i;

	switch (mux_peek(session->channel, &data, &len)) {
	case MUX_BYTES:
		len = 1 + random_below((uint32_t)len);
		for (i = 0; i < len; i++)
			if (data[i] !=
			    byte_at(session->number, !is_ours(session),
				session->got + i))
				ck_abort_msg("a byte is wrong");
		session->got += len;
		mux_consume(session->channel, len, session->end->now, 0.5);
		return;
	case MUX_NOTHING:
		return;
	case MUX_EOF:
		session->eof = true;
		ck_assert(session->other->fin);
		ck_assert_uint_eq(session->got, session->other->sent);
		if (session->fin)
			close_session(session, false);
		return;
	default:
		session->reset = true;
		ck_assert(session->other->aborted || session->other->reset ||
		    session->other->refused);
		close_session(session, true);
	}
}

static void
answer(struct session *session)
{
	struct wire_refusal refusal = { .code = WIRE_FAILED_LIMIT };

	session->answered = true;
	if (random_below(10) == 0) {
		session->refused = true;
		session->done = true;
		mux_refuse(session->channel, &refusal);
		session->channel = NULL;
		return;
	}
	mux_accept(session->channel);
}

static void
act(struct session *session)
{
	if (session->done || session->channel == NULL)
		return;
	if (!is_ours(session) && !session->answered) {
		if (random_below(4) == 0)
			answer(session);
		else if (random_below(20) == 0)
			close_session(session, true);
		return;
	}
	if (random_below(150) == 0) {
		close_session(session, true);
		return;
	}
	if (random_below(2) == 0)
		send_some(session);
	if (session->channel != NULL && session->answered &&
	    random_below(2) == 0)
		read_some(session);
}

static void
open_one(struct end *end)
{
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	struct session *session;
	unsigned number = end->n * 2 + (unsigned)(end == &ends[1]);

	session = &end->sessions[number];
	memcpy(open.uid, &number, sizeof number);
	session->channel = mux_open(end->mux, &open, session);
	ck_assert_ptr_nonnull(session->channel);
	end->n++;
	opened++;
}

static void
deliver_data(struct end *end, const struct frame *frame)
{
	struct mux_channel *channel = NULL;
	struct session *session;
	const uint8_t *data;
	size_t left, len, half = frame->len / 2;
	const char *why;

	why = mux_on_data(end->mux, frame->id, frame->len, &channel);
	ck_assert_msg(why == NULL, "%s", why);
	if (channel == NULL)
		return;
	session = mux_holder(channel);
	if (half > 0)
		ck_assert_int_eq(mux_keep(channel, frame->bytes, half), 0);
	mux_lend(channel, frame->bytes + half, frame->len - half);
	/* Somebody who reads while it is lent, as a relay does. */
	if (random_below(2) == 0)
		while (session->answered && random_below(4) != 0 &&
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
	state = seed;
	opened = 0;
	for (i = 0; i < 2; i++) {
		struct end *end = &ends[i];
		struct mux_params params = { .dialler = i == 0,
			.window_max = 1 << 20,
			.memory = &end->memory };

		end->memory.bound = 2 << 20;
		end->mux = mux_new(&params);
		end->far = &ends[!i];
		for (s = 0; s < CHANNELS * 50; s++) {
			end->sessions[s].end = end;
			end->sessions[s].number = s;
			end->sessions[s].other = &ends[!i].sessions[s];
			/* Both ends know, from the number alone. */
			end->sessions[s].limit = (s * 2654435761u) % 100000;
			if (s % 3 == 0)
				end->sessions[s].limit = s % 100;
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

	end->now += random_below(100) / 1000.0;
	if (opened < total && mux_count(end->mux) < CHANNELS &&
	    random_below(3) == 0)
		open_one(end);
	number = random_below(2 * (ends[0].n + ends[1].n) + 1);
	if (number < CHANNELS * 50)
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
			while (ends[i].out.n > 0)
				deliver(&ends[i]);
		}
	}
	for (i = 0; i < 2; i++)
		while (ends[i].out.n > 0)
			deliver(&ends[i]);
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
