/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct stream_ops lane_stream_ops;
static const struct stream_ops lane_stream_plain_ops;

static struct lane_stream *
lane_stream(struct stream *stream)
{
	return (struct lane_stream *)stream;
}

static void
lane_stream_kicked(void *arg)
{
	struct lane_stream *ls = arg;

	if (ls->base.fn != NULL)
		ls->base.fn(true, true, ls->base.arg);
}

struct lane_stream *
lane_stream_new(struct lane *lane)
{
	struct lane_stream *ls = calloc(1, sizeof *ls);

	if (ls == NULL)
		return NULL;
	ls->base.ops = lane->plain ? &lane_stream_plain_ops : &lane_stream_ops;
	ls->loop = lane->loop;
	ls->lane = lane;
	loop_task_init(&ls->kick, lane_stream_kicked, ls);
	return ls;
}

void
lane_stream_tell(struct lane_stream *ls, bool readable, bool writable)
{
	if (ls->owner != NULL)
		lane_channel_news(ls->owner,
		    writable ? MUX_NEWS_WRITABLE : MUX_NEWS_NONE, NULL);
	else if (ls->base.fn != NULL)
		ls->base.fn(readable, writable, ls->base.arg);
}

void
lane_stream_detach(struct lane_stream *ls)
{
	struct lane *lane = ls->lane;

	if (lane == NULL)
		return;
	if (lane->current == ls->channel)
		lane->current = NULL;
	lane_forget_gathered(ls);
	lane_drop_pipe(ls);
	mux_close(ls->channel, ls->base.aborted, ls->base.reason);
	lane_send_soon(lane);
	ls->channel = NULL;
	ls->lane = NULL;
	lane_check_done(lane);
}

static void
lane_stream_free(struct stream *stream)
{
	struct lane_stream *ls = lane_stream(stream);

	loop_task_cancel(ls->loop, &ls->kick);
	lane_stream_detach(ls);
	free(ls);
}

static enum stream_status
lane_stream_state(const struct stream *stream)
{
	const struct lane_stream *ls = (const struct lane_stream *)stream;

	if (ls->lane == NULL)
		return STREAM_LOST;
	return mux_is_dead(ls->channel) ? STREAM_RESET : STREAM_OK;
}

static uint8_t
lane_stream_reason(const struct stream *stream)
{
	const struct lane_stream *ls = (const struct lane_stream *)stream;

	return ls->lane == NULL ? 0 : mux_reset_reason(ls->channel);
}

static enum stream_status
lane_stream_peek(struct stream *stream, const uint8_t **data, size_t *len)
{
	struct lane_stream *ls = lane_stream(stream);

	if (ls->lane == NULL)
		return STREAM_LOST;
	if (ls->in_pipe > 0 && !lane_keeps_first(ls)) /* splicing tells */
		return STREAM_AGAIN;
	switch (mux_peek(ls->channel, data, len)) {
	case MUX_BYTES:
		return STREAM_OK;
	case MUX_NOTHING:
		return STREAM_AGAIN;
	case MUX_EOF:
		return STREAM_EOF;
	case MUX_RESET:
		return STREAM_RESET;
	case MUX_LOST:
		return STREAM_LOST;
	}
	return STREAM_LOST;
}

static void
lane_stream_consume(struct stream *stream, size_t len)
{
	struct lane_stream *ls = lane_stream(stream);

	mux_consume(ls->channel, len, loop_now(ls->loop), ls->lane->rtt);
	if (mux_has_frames(ls->lane->mux))
		lane_send_soon(ls->lane);
}

static enum stream_status
lane_stream_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	enum stream_status status;
	const uint8_t *bytes;
	size_t n;

	if (lane_stream(stream)->in_pipe > 0 &&
	    !lane_keeps_first(lane_stream(stream)))
		return lane_read_pipe(lane_stream(stream), data, len, got);
	status = lane_stream_peek(stream, &bytes, &n);
	if (status != STREAM_OK)
		return status;
	*got = n < len ? n : len;
	memcpy(data, bytes, *got);
	lane_stream_consume(stream, *got);
	return STREAM_OK;
}

static enum stream_status
lane_stream_reserve(struct stream *stream, uint8_t **place, size_t *len)
{
	return lane_reserve(lane_stream(stream), place, len);
}

static void
lane_stream_commit(struct stream *stream, size_t len)
{
	lane_commit(lane_stream(stream), len);
}

static enum stream_status
lane_stream_write(struct stream *stream, const void *data, size_t len,
    size_t *put)
{
	enum stream_status status;
	uint8_t *place;
	size_t room;

	status = lane_stream_reserve(stream, &place, &room);
	if (status != STREAM_OK)
		return status;
	*put = room < len ? room : len;
	memcpy(place, data, *put);
	lane_stream_commit(stream, *put);
	return STREAM_OK;
}

static enum stream_status
lane_stream_shutdown(struct stream *stream)
{
	struct lane_stream *ls = lane_stream(stream);

	if (ls->lane == NULL)
		return STREAM_LOST;
	if (mux_is_dead(ls->channel))
		return STREAM_RESET;
	mux_finish(ls->channel);
	lane_send_soon(ls->lane);
	return STREAM_OK;
}

static int
lane_stream_watch(struct stream *stream, struct loop *loop)
{
	loop_task_queue(loop, &lane_stream(stream)->kick);
	return 0;
}

static void
lane_stream_unwatch(struct stream *stream)
{
	stream->fn = NULL;
	loop_task_cancel(lane_stream(stream)->loop, &lane_stream(stream)->kick);
}

static void
lane_stream_splice_in(struct stream *stream, int fd, struct stream_move *move)
{
	lane_splice_in(lane_stream(stream), fd, move);
}

static void
lane_stream_splice_out(struct stream *stream, int fd, struct stream_move *move)
{
	lane_splice_out(lane_stream(stream), fd, move);
}

#define LANE_STREAM_OPS                                               \
	.free = lane_stream_free, .read = lane_stream_read,           \
	.write = lane_stream_write, .shutdown = lane_stream_shutdown, \
	.state = lane_stream_state, .watch = lane_stream_watch,       \
	.unwatch = lane_stream_unwatch, .reason = lane_stream_reason, \
	.peek = lane_stream_peek, .consume = lane_stream_consume,     \
	.reserve = lane_stream_reserve, .commit = lane_stream_commit

static const struct stream_ops lane_stream_ops = {
	LANE_STREAM_OPS,
	.turn = STREAM_TURN_TLS,
};
static const struct stream_ops lane_stream_plain_ops = {
	LANE_STREAM_OPS,
	.turn = STREAM_TURN,
	.splice_in = lane_stream_splice_in,
	.splice_out = lane_stream_splice_out,
};
