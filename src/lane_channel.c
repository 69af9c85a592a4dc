/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct channel_ops lane_channel_ops;

static struct lane_channel *
lane_channel(struct channel *channel)
{
	return (struct lane_channel *)channel;
}

struct lane_channel *
lane_channel_new(struct lane *lane)
{
	struct lane_channel *lc = calloc(1, sizeof *lc);

	if (lc == NULL)
		return NULL;
	lc->base.ops = &lane_channel_ops;
	lc->lane = lane;
	TAILQ_INSERT_TAIL(&lane->fresh, lc, entry);
	return lc;
}

/* Takes it out of the lane, and gives back its stream, which lives on. */
static struct stream *
lane_channel_dissolve(struct lane_channel *lc)
{
	struct lane_stream *ls = lc->stream;

	if (ls == NULL && lc->lane != NULL) {
		TAILQ_REMOVE(&lc->lane->fresh, lc, entry);
		lane_check_done(lc->lane);
	}
	free(lc);
	if (ls == NULL)
		return NULL;
	ls->owner = NULL;
	return &ls->base;
}

static void
lane_channel_free(struct channel *channel, bool abort)
{
	struct stream *stream = lane_channel_dissolve(lane_channel(channel));

	if (stream != NULL && abort)
		stream_abort(stream);
	stream_free(stream);
}

static int
lane_channel_send_open(struct channel *channel, const struct wire_open *open)
{
	struct lane_channel *lc = lane_channel(channel);
	struct lane *lane = lc->lane;
	struct lane_stream *ls;

	/* Once it has said GOAWAY it must not say OPEN. */
	if (lane == NULL || lane->dead != NULL || lane->retired) {
		errno = EPIPE;
		return -1;
	}
	ls = lane_stream_new(lane);
	if (ls == NULL) {
		errno = ENOMEM;
		return -1;
	}
	ls->channel = mux_open(lane->mux, open, ls);
	if (ls->channel == NULL) {
		ls->lane = NULL;
		stream_free(&ls->base);
		errno = ENOMEM;
		return -1;
	}
	TAILQ_REMOVE(&lane->fresh, lc, entry);
	lc->stream = ls;
	ls->owner = lc;
	lane_send_soon(lane);
	return 0;
}

static struct stream *
lane_channel_stream(const struct channel *channel)
{
	return &((const struct lane_channel *)channel)->stream->base;
}

static bool
lane_channel_can_write(const struct channel *channel)
{
	(void)channel;
	return true;
}

static int
lane_channel_take_early(struct channel *channel, struct relay_early *early)
{
	(void)channel;
	memset(early, 0, sizeof *early);
	return 0;
}

static int
lane_channel_send_opened(struct channel *channel)
{
	struct lane_stream *ls = lane_channel(channel)->stream;

	if (lane_channel(channel)->lane == NULL)
		return -1;
	mux_accept(ls->channel);
	lane_send_soon(ls->lane);
	return 0;
}

static void
lane_channel_send_failed(struct channel *channel, struct linger *linger,
    const struct wire_refusal *refusal)
{
	struct lane_stream *ls = lane_channel(channel)->stream;
	struct lane *lane = ls->lane;

	(void)linger; /* the lane itself sees to that */
	if (lane != NULL) {
		if (lane->current == ls->channel)
			lane->current = NULL;
		mux_refuse(ls->channel, refusal);
		ls->channel = NULL;
		ls->lane = NULL;
		lane_send_soon(lane);
	}
	lane_channel_free(channel, false);
}

static struct stream *
lane_channel_take_stream(struct channel *channel, struct relay_early *early)
{
	memset(early, 0, sizeof *early);
	return lane_channel_dissolve(lane_channel(channel));
}

void
lane_channel_news(struct lane_channel *lc, enum mux_news news,
    const struct wire_message *msg)
{
	const struct channel_handler *handler = lc->base.handler;
	void *arg = lc->base.arg;

	if (news == MUX_NEWS_ACCEPTED)
		handler->answered(&lc->base, NULL, arg);
	else if (news == MUX_NEWS_REFUSED)
		handler->answered(&lc->base, &msg->refusal, arg);
	else if (mux_is_dead(lc->stream->channel))
		handler->lost(&lc->base, arg);
	else if (news == MUX_NEWS_WRITABLE)
		handler->ready(&lc->base, arg);
}

void
lane_channel_lost(struct lane_channel *lc)
{
	lc->base.handler->lost(&lc->base, lc->base.arg);
}

static const struct channel_ops lane_channel_ops = {
	.free = lane_channel_free,
	.send_open = lane_channel_send_open,
	.stream = lane_channel_stream,
	.can_write = lane_channel_can_write,
	.keeps_early = true,
	.take_early = lane_channel_take_early,
	.send_opened = lane_channel_send_opened,
	.send_failed = lane_channel_send_failed,
	.take_stream = lane_channel_take_stream,
	.mode = "mux",
};
