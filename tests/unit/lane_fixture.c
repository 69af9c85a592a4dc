/* SPDX-License-Identifier: ISC */
#include "lane_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

static void
answered(struct channel *channel, const struct wire_refusal *refusal, void *arg)
{
	struct stream **near = arg;
	struct relay_early early;

	ck_assert_ptr_null(refusal);
	*near = channel_take_stream(channel, &early);
	ck_assert_uint_eq(early.len, 0);
}

static void
ready(struct channel *channel, void *arg)
{
	(void)channel;
	(void)arg;
}

static void
lost(struct channel *channel, void *arg)
{
	(void)arg;
	channel_abort(channel);
}

static const struct channel_handler channel_handler = {
	.answered = answered,
	.ready = ready,
	.lost = lost,
};

static void
opened(struct channel *channel, const struct wire_open *open, void *arg)
{
	struct lane_end *end = arg;
	struct relay_early early;
	struct stream *stream;

	ck_assert_str_eq(open->tunnel, "web");
	channel_set_handler(channel, &channel_handler, NULL);
	if (end->refuses) {
		channel_send_failed(channel, NULL, WIRE_FAILED_LIMIT, "no");
		return;
	}
	if (end->waits) {
		end->waiting = channel;
		return;
	}
	ck_assert_int_eq(channel_send_opened(channel), 0);
	stream = channel_take_stream(channel, &early);
	if (end->opened != NULL)
		*end->opened = stream;
	else
		stream_free(stream);
}

static void
down(struct lane *lane, const char *why, void *arg)
{
	struct lane_end *end = arg;

	ck_assert(end->lane == lane);
	snprintf(end->why, sizeof end->why, "%s", why == NULL ? "" : why);
	lane_free(lane);
	end->lane = NULL;
}

static void
retired(struct lane *lane, void *arg)
{
	(void)arg;
	lane_retire(lane);
}

static void
full(void *arg)
{
	struct lane_end *end = arg;

	end->fulls++;
}

static void
closed(struct lane *lane, void *arg)
{
	struct lane_end *end = arg;

	ck_assert(lane_is_closed(lane));
	end->closed++;
}

static const struct lane_handler lane_handler = {
	.opened = opened,
	.retired = retired,
	.closed = closed,
	.down = down,
	.full = full,
};

static void
open_end(struct lane_pair *pair, int i, struct framing *framing)
{
	struct lane_end *end = &pair->end[i];
	struct lane_params params = { .loop = pair->loop,
		.pipes = pair->pipes,
		.framing = framing,
		.dialler = i == 0,
		.interval = 1,
		.timeout = 10,
		.window_max = 16 << 20,
		.memory = &end->memory,
		.handler = &lane_handler,
		.arg = end };

	end->memory.bound = 64 << 20;
	end->lane = lane_new(&params);
	ck_assert_ptr_nonnull(end->lane);
}

void
lane_pair_open_framing(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct framing *near)
{
	memset(pair, 0, sizeof *pair);
	pair->loop = loop;
	pair->pipes = pipes;
	open_end(pair, 0, near);
}

void
lane_pair_open_one(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct stream *near)
{
	lane_pair_open_framing(pair, loop, pipes, framing_new(near));
}

void
lane_pair_open(struct lane_pair *pair, struct loop *loop,
    struct pipe_pool *pipes, struct stream *near, struct stream *far)
{
	lane_pair_open_one(pair, loop, pipes, near);
	open_end(pair, 1, framing_new(far));
}

void
lane_pair_close(struct lane_pair *pair)
{
	lane_free(pair->end[0].lane);
	lane_free(pair->end[1].lane);
	ck_assert_uint_eq(pair->end[0].memory.kept, 0);
	ck_assert_uint_eq(pair->end[1].memory.kept, 0);
	memset(pair, 0, sizeof *pair);
}

void
lane_pair_turn(struct lane_pair *pair)
{
	event_base_loop(loop_base(pair->loop), EVLOOP_NONBLOCK);
}

void
lane_pair_connect(struct lane_pair *pair, int from, struct stream **near,
    struct stream **far)
{
	struct channel *channel = lane_open(pair->end[from].lane);
	struct wire_open open = { .tunnel = "web", .source = "unix:" };
	int i;

	ck_assert_ptr_nonnull(channel);
	*near = *far = NULL;
	channel_set_handler(channel, &channel_handler, near);
	pair->end[!from].opened = far;
	ck_assert_int_eq(channel_send_open(channel, &open), 0);
	for (i = 0; i < 1000 && (*near == NULL || *far == NULL); i++)
		lane_pair_turn(pair);
	ck_assert(*near != NULL && *far != NULL);
	pair->end[!from].opened = NULL;
}

void
lane_say(struct stream *stream, const char *text)
{
	size_t put;

	ck_assert_int_eq(stream_write(stream, text, strlen(text), &put),
	    STREAM_OK);
	ck_assert_uint_eq(put, strlen(text));
}

void
lane_hear(struct lane_pair *pair, struct stream *stream, const char *text)
{
	char heard[100] = "";
	size_t got, len = 0;
	int i;

	for (i = 0; i < 1000 && len < strlen(text); i++) {
		lane_pair_turn(pair);
		if (stream_read(stream, heard + len, sizeof heard - len - 1,
			&got) == STREAM_OK)
			len += got;
	}
	ck_assert_str_eq(heard, text);
}
