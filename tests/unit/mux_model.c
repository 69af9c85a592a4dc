/* SPDX-License-Identifier: ISC */
#include "mux_model.h"

#include <stdlib.h>
#include <string.h>

struct end ends[2];
unsigned opened;
uint64_t random_state;
double rtt;
struct seen seen;
static unsigned by_id[2 * SESSIONS]; /* whose number it is, or was last */

uint32_t
random_below(uint32_t below)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

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

/* What the other end may send, by the frames that go to it: never more than
 * was passed on, and a window. */
static void
note_grant(struct end *end, const uint8_t *frame, size_t len)
{
	struct wire_message msg;
	struct session *session;
	uint32_t grant = 0;
	size_t used;

	ck_assert_int_eq(wire_decode(frame, len, &msg, &used), WIRE_OK);
	ck_assert_uint_lt(msg.channel, 2 * SESSIONS);
	if (msg.type == WIRE_OPEN)
		memcpy(&by_id[msg.channel], msg.open.uid, sizeof *by_id);
	session = &end->sessions[by_id[msg.channel]];
	if (msg.type == WIRE_OPEN)
		grant = msg.open.window == 0 ? MUX_WINDOW : msg.open.window;
	else if (msg.type == WIRE_OPENED)
		grant = (msg.opened.window == 0 ? MUX_WINDOW :
						  msg.opened.window) -
		    MUX_EARLY;
	else if (msg.type == WIRE_WINDOW)
		grant = msg.window.credit;
	seen.windows += msg.type == WIRE_WINDOW;
	session->other->granted += grant;
	if (grant > 0)
		ck_assert_uint_le(session->other->granted,
		    session->got + WINDOW_LIMIT);
}

void
emit_all(struct end *end)
{
	uint8_t frame[WIRE_FRAME_MAX], *copy;
	size_t len;

	while (end->out.n < FRAMES / 2 &&
	    (len = mux_emit(end->mux, frame)) > 0) {
		if (opened > 0)
			note_grant(end, frame, len);
		copy = malloc(len);
		memcpy(copy, frame, len);
		push(end, copy, len, 0, false);
	}
}

void
send_some(struct session *session)
{
	size_t len = mux_allowance(session->channel);
	uint8_t *bytes;
	uint64_t left = session->limit - session->sent;

	/* Whoever is dead is not asked for more, nor finished. */
	if (session->fin || session->end->out.n >= FRAMES / 2 ||
	    mux_is_dead(session->channel))
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
	if (len > FRAME_MAX)
		len = FRAME_MAX;
	emit_all(session->end); /* OPEN goes before its bytes */
	bytes = malloc(len);
	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_at(session->number, is_ours(session),
		    session->sent + i);
	session->sent += len;
	ck_assert_uint_le(session->sent, session->granted);
	mux_sent(session->channel, len);
	push(session->end, bytes, len, mux_id(session->channel), true);
}

static void
drop_pipe(struct session *session)
{
	free(session->pipe);
	session->pipe = NULL;
	session->in_pipe = 0;
}

void
close_session(struct session *session, bool abort)
{
	mux_close(session->channel, abort, 0);
	session->channel = NULL;
	session->done = true;
	session->aborted |= abort;
	drop_pipe(session);
}

static void
check_bytes(struct session *session, const uint8_t *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (data[i] !=
		    byte_at(session->number, !is_ours(session),
			session->got + i))
			ck_abort_msg("a byte is wrong");
	session->got += len;
}

/* What is in the pipe comes before what is kept. */
static void
read_pipe(struct session *session)
{
	size_t len = 1 + random_below((uint32_t)session->in_pipe);

	check_bytes(session, session->pipe, len);
	session->in_pipe -= len;
	memmove(session->pipe, session->pipe + len, session->in_pipe);
	mux_set_piped(session->channel, session->in_pipe);
	mux_passed(session->channel, len, session->end->now, rtt);
	if (session->in_pipe == 0)
		drop_pipe(session);
}

static void
read_any(struct session *session)
{
	const uint8_t *data;
	size_t len;

	if (session->in_pipe > 0) {
		read_pipe(session);
		return;
	}
	switch (mux_peek(session->channel, &data, &len)) {
	case MUX_BYTES:
		len = 1 + random_below((uint32_t)len);
		check_bytes(session, data, len);
		mux_consume(session->channel, len, session->end->now, rtt);
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
		    session->other->refused || session->other->evicted ||
		    session->evicted);
		close_session(session, true);
	}
}

void
read_some(struct session *session)
{
	const struct mux_memory *memory = &session->end->memory;
	uint64_t grown = memory->grown;

	read_any(session);
	seen.grown += memory->grown > grown;
}

/* As if memory were used up. Who is not answered is told at once. */
static void
evict(struct session *session)
{
	if (mux_held(session->channel) == 0)
		return;
	session->evicted = true;
	seen.evicted++;
	drop_pipe(session);
	mux_evict(session->channel);
	if (!session->answered)
		close_session(session, true);
}

static bool
is_large(const struct session *session)
{
	return session->limit >= 100000;
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

void
act(struct session *session)
{
	if (session->done || session->channel == NULL)
		return;
	if (random_below(500) == 0) {
		evict(session);
		return;
	}
	if (!is_ours(session) && !session->answered) {
		if (random_below(4) == 0)
			answer(session);
		else if (random_below(20) == 0)
			close_session(session, true);
		return;
	}
	if (random_below(is_large(session) ? 5000 : 150) == 0) {
		close_session(session, true);
		return;
	}
	if (random_below(2) == 0)
		send_some(session);
	if (session->channel != NULL && session->answered &&
	    random_below(2) == 0)
		read_some(session);
}

void
open_one(struct end *end)
{
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	struct session *session;
	unsigned number = end->n * 2 + (unsigned)(end == &ends[1]);

	session = &end->sessions[number];
	memcpy(open.uid, &number, sizeof number);
	session->channel = mux_open(end->mux, &open, session);
	ck_assert_ptr_nonnull(session->channel);
	session->granted = MUX_EARLY;
	end->n++;
	opened++;
}
