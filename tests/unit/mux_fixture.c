/* SPDX-License-Identifier: ISC */
#include "mux_fixture.h"

#include <string.h>

struct mux_memory memory;
struct mux *mux;
struct mux_channel *channel;
enum mux_news news;

void
setup(void)
{
	struct mux_params params = { .dialler = true,
		.window_max = 16 << 20,
		.memory = &memory };

	memory = (struct mux_memory){ .bound = 64 << 20 };
	mux = mux_new(&params);
	ck_assert_ptr_nonnull(mux);
	channel = NULL;
}

void
teardown(void)
{
	mux_free(mux);
	ck_assert_uint_eq(memory.kept, 0);
	ck_assert_uint_eq(memory.grown, 0);
}

struct wire_message
message(uint8_t type, uint32_t id)
{
	struct wire_message msg = { .type = type, .channel = id };

	if (type == WIRE_OPEN) {
		strcpy(msg.open.tunnel, "web");
		strcpy(msg.open.source, "unix:");
	}
	if (type == WIRE_WINDOW)
		msg.window.credit = 1;
	return msg;
}

const char *
receive(uint8_t type, uint32_t id)
{
	struct wire_message msg = message(type == LAST ? WIRE_FIN : type, id);
	struct mux_channel *out = NULL;
	const char *why;

	if (type == WIRE_DATA)
		return mux_on_data(mux, id, 1, &out);
	if (type == LAST)
		msg.fin.last = 1;
	why = mux_on_message(mux, &msg, &news, &out);
	if (why == NULL && type == WIRE_OPEN)
		channel = out;
	return why;
}

void
take(uint8_t type, uint32_t id)
{
	const char *why = receive(type, id);

	ck_assert_msg(why == NULL, "%s", why);
}

struct wire_message
emit(uint8_t type)
{
	uint8_t frame[WIRE_FRAME_MAX];
	struct wire_message msg = { 0 };
	size_t used, len = mux_emit(mux, frame);

	ck_assert_msg(len > 0, "no %s is due", wire_type_name(type));
	ck_assert_int_eq(wire_decode(frame, len, &msg, &used), WIRE_OK);
	ck_assert_uint_eq(used, len);
	ck_assert_str_eq(wire_type_name(msg.type), wire_type_name(type));
	return msg;
}

void
emit_fin(bool last)
{
	ck_assert_uint_eq(emit(WIRE_FIN).fin.last, last);
}

void
nothing_due(void)
{
	uint8_t frame[WIRE_FRAME_MAX];

	ck_assert(!mux_has_frames(mux));
	ck_assert_uint_eq(mux_emit(mux, frame), 0);
}

struct mux_channel *
open_ours(void)
{
	struct wire_message msg = message(WIRE_OPEN, 0);

	channel = mux_open(mux, &msg.open, &msg);
	ck_assert_ptr_nonnull(channel);
	return channel;
}

/* Ours, from the moment on that it is answered. */
static void
reach_ours(enum state state)
{
	take(WIRE_OPENED, 1);
	if (state == HALF || state == BOTH || state == CLOSED) {
		mux_finish(channel);
		emit_fin(false);
	}
	if (state == FINISHED || state == BOTH || state == CLOSED ||
	    state == WAITING)
		take(WIRE_FIN, 1);
	if (state == CLOSED || state == WAITING) {
		mux_finish(channel);
		emit_fin(true);
	}
	if (state == CLOSED) {
		take(LAST, 1);
		mux_close(channel, false, 0);
	}
	if (state == RESETTING) {
		mux_close(channel, true, 0);
		emit(WIRE_RESET);
	}
	if (state == RESET)
		take(WIRE_RESET, 1);
	if (state == EVICTED)
		mux_evict(channel);
}

static void
reach_theirs(enum state state)
{
	struct wire_refusal refusal = { .code = WIRE_FAILED_REFUSED };

	take(WIRE_OPEN, 2);
	if (state == EARLY)
		take(WIRE_FIN, 2);
	if (state == REFUSED) {
		mux_refuse(channel, &refusal);
		emit(WIRE_FAILED);
	}
	if (state == ANSWERING || state == EARLY || state == REFUSED)
		return;
	mux_accept(channel);
	emit(WIRE_OPENED);
	if (state == THEIR_HALF || state == THEIR_BOTH) {
		mux_finish(channel);
		emit_fin(false);
	}
	if (state == THEIR_BOTH)
		take(WIRE_FIN, 2);
	if (state == THEIR_RESET || state == THEIR_CLOSED)
		take(WIRE_RESET, 2);
	if (state == THEIR_CLOSED) {
		emit(WIRE_RESET);
		mux_close(channel, false, 0);
	}
}

uint32_t
reach(enum state state)
{
	switch (state) {
	case NONE:
		return 2;
	case ANSWERING:
	case THEIRS:
	case REFUSED:
	case EARLY:
	case THEIR_HALF:
	case THEIR_BOTH:
	case THEIR_RESET:
	case THEIR_CLOSED:
		reach_theirs(state);
		return 2;
	default:
		open_ours();
		emit(WIRE_OPEN);
	}
	if (state == FAILED) {
		take(WIRE_FAILED, 1);
	} else if (state == DROPPED) {
		mux_close(channel, true, 0);
		emit(WIRE_RESET);
	} else if (state != OPENING) {
		reach_ours(state);
	}
	return 1;
}
