/* SPDX-License-Identifier: ISC */
#include "channel_direct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel_ops.h"
#include "net.h"

/* Frames on a channel before it is open: pings, and one OPEN. */
#define CHANNEL_BUDGET 16

enum channel_state {
	CHANNEL_IDLE_OURS,
	CHANNEL_IDLE_THEIRS,
	CHANNEL_OPENING,   /* OPEN sent, no answer yet */
	CHANNEL_ANSWERING, /* OPEN received, not answered yet */
	CHANNEL_ANSWERED   /* raw bytes both ways */
};

struct channel_direct {
	struct channel base;
	struct loop *loop;
	struct framing *framing;
	enum channel_state state;
	struct loop_task again;
	double last_heard, last_ping;
	bool *freed; /* set by channel_free during a callback */
};

static const struct channel_ops channel_direct_ops;
static void channel_again(void *arg);
static void channel_ready(bool readable, bool writable, void *arg);

static struct channel_direct *
channel_direct(struct channel *channel)
{
	return (struct channel_direct *)channel;
}

struct channel *
channel_direct_new(struct loop *loop, struct framing *framing, double timeout,
    bool ours)
{
	struct channel_direct *channel = calloc(1, sizeof *channel);

	if (channel == NULL) {
		framing_free(framing);
		return NULL;
	}
	channel->base.ops = &channel_direct_ops;
	channel->loop = loop;
	channel->framing = framing;
	channel->state = ours ? CHANNEL_IDLE_OURS : CHANNEL_IDLE_THEIRS;
	channel->last_heard = channel->last_ping = loop_now(loop);
	loop_task_init(&channel->again, channel_again, channel);
	net_set_user_timeout(stream_fd(framing_stream(framing)), timeout);
	if (stream_watch(framing_stream(framing), loop, channel_ready,
		channel) != 0) {
		channel_free(&channel->base);
		return NULL;
	}
	return &channel->base;
}

static void
channel_direct_free(struct channel *base, bool abort)
{
	struct channel_direct *channel = channel_direct(base);

	if (channel->freed != NULL)
		*channel->freed = true;
	if (abort && channel->framing != NULL)
		stream_abort(framing_stream(channel->framing));
	loop_task_cancel(channel->loop, &channel->again);
	framing_free(channel->framing);
	free(channel);
}

static void
channel_lost(struct channel_direct *channel)
{
	channel->base.handler->lost(&channel->base, channel->base.arg);
}

/* An idle channel is watched over by the kernel too; a session must not be:
 * it would kill a user who merely reads slowly. */
static void
channel_becomes_session(struct channel_direct *channel,
    enum channel_state state)
{
	int fd = stream_fd(framing_stream(channel->framing));

	channel->state = state;
	net_set_user_timeout(fd, 0);
}

static void
channel_on_message(struct channel_direct *channel,
    const struct wire_message *msg)
{
	const struct channel_handler *handler = channel->base.handler;
	struct wire_message pong;
	bool idle = channel->state == CHANNEL_IDLE_OURS ||
	    channel->state == CHANNEL_IDLE_THEIRS;

	channel->last_heard = loop_now(channel->loop);
	if (msg->type == WIRE_PONG)
		return;
	if (msg->type == WIRE_PING) {
		pong = *msg;
		pong.type = WIRE_PONG;
		/* Behind OPEN the bytes are the user's: no answer then. */
		if (idle && framing_send(channel->framing, &pong) != 0)
			channel_lost(channel);
	} else if (channel->state == CHANNEL_IDLE_THEIRS &&
	    msg->type == WIRE_OPEN) {
		channel_becomes_session(channel, CHANNEL_ANSWERING);
		handler->opened(&channel->base, &msg->open, channel->base.arg);
	} else if (channel->state == CHANNEL_OPENING &&
	    msg->type == WIRE_OPENED) {
		channel->state = CHANNEL_ANSWERED;
		handler->answered(&channel->base, NULL, channel->base.arg);
	} else if (channel->state == CHANNEL_OPENING &&
	    msg->type == WIRE_FAILED) {
		handler->answered(&channel->base, &msg->refusal,
		    channel->base.arg);
	} else {
		channel_lost(channel);
	}
}

/* Frames until there are no more, or the bytes are raw. */
static void
channel_read(struct channel_direct *channel)
{
	struct wire_message msg;
	enum framing_status status;
	bool freed = false;
	int i;

	channel->freed = &freed;
	for (i = 0; i < CHANNEL_BUDGET && channel->state < CHANNEL_ANSWERING;
	     i++) {
		status = framing_read(channel->framing, &msg);
		if (status == FRAMING_AGAIN)
			break;
		if (status == FRAMING_OK)
			channel_on_message(channel, &msg);
		else
			channel_lost(channel);
		if (freed)
			return;
		if (status != FRAMING_OK)
			break;
	}
	channel->freed = NULL;
	if (i == CHANNEL_BUDGET)
		loop_task_queue(channel->loop, &channel->again);
}

static void
channel_run(struct channel_direct *channel)
{
	bool freed = false;

	if (framing_flush(channel->framing) != 0) {
		channel_lost(channel);
		return;
	}
	if (channel->state >= CHANNEL_OPENING) {
		channel->freed = &freed;
		channel->base.handler->ready(&channel->base, channel->base.arg);
		if (freed)
			return;
		channel->freed = NULL;
	}
	channel_read(channel);
}

static void
channel_again(void *arg)
{
	channel_run(arg);
}

static void
channel_ready(bool readable, bool writable, void *arg)
{
	(void)readable;
	(void)writable;
	channel_run(arg);
}

bool
channel_direct_keep_alive(struct channel *base, double interval, double timeout)
{
	struct channel_direct *channel = channel_direct(base);
	struct wire_message ping = { .type = WIRE_PING };
	double now = loop_now(channel->loop);

	if (now - channel->last_heard >= timeout)
		return false;
	if (now - channel->last_heard < interval ||
	    now - channel->last_ping < interval)
		return true;
	channel->last_ping = now;
	return framing_send(channel->framing, &ping) == 0;
}

bool
channel_direct_is_alive(struct channel *base)
{
	struct channel_direct *channel = channel_direct(base);
	struct wire_message msg;
	enum framing_status status;
	int i;

	stream_look_again(framing_stream(channel->framing));
	for (i = 0; i < CHANNEL_BUDGET; i++) {
		status = framing_read(channel->framing, &msg);
		if (status != FRAMING_OK)
			return status == FRAMING_AGAIN;
		channel->last_heard = loop_now(channel->loop);
		if (msg.type == WIRE_PING) {
			msg.type = WIRE_PONG;
			if (framing_send(channel->framing, &msg) != 0)
				return false;
		} else if (msg.type != WIRE_PONG) {
			return false;
		}
	}
	return true;
}

static int
channel_direct_send_open(struct channel *base, const struct wire_open *open)
{
	struct channel_direct *channel = channel_direct(base);
	struct wire_message msg = { .type = WIRE_OPEN, .open = *open };

	if (framing_send(channel->framing, &msg) != 0) {
		errno = EPIPE;
		return -1;
	}
	channel_becomes_session(channel, CHANNEL_OPENING);
	return 0;
}

static struct stream *
channel_direct_stream(const struct channel *base)
{
	return framing_stream(((const struct channel_direct *)base)->framing);
}

static bool
channel_direct_can_write(const struct channel *base)
{
	return framing_is_flushed(((const struct channel_direct *)base)
				      ->framing);
}

static int
channel_direct_take_early(struct channel *base, struct relay_early *early)
{
	struct channel_direct *channel = channel_direct(base);
	struct stream *stream;

	/* The frames are over: what framing still holds are raw bytes. */
	if (framing_release(channel->framing, &stream, early) != 0) {
		channel->framing = NULL;
		return -1;
	}
	channel->framing = framing_new(stream);
	return channel->framing == NULL ? -1 : 0;
}

static int
channel_direct_send_opened(struct channel *base)
{
	struct channel_direct *channel = channel_direct(base);
	struct wire_message msg = { .type = WIRE_OPENED };

	channel->state = CHANNEL_ANSWERED;
	if (framing_send(channel->framing, &msg) != 0)
		return -1;
	/* The socket had nothing to send before, so it takes these bytes. */
	return framing_is_flushed(channel->framing) ? 0 : -1;
}

static struct stream *
channel_direct_take_stream(struct channel *base, struct relay_early *early)
{
	struct channel_direct *channel = channel_direct(base);
	struct framing *framing = channel->framing;
	struct stream *stream;

	channel->framing = NULL;
	channel_free(base);
	framing_release(framing, &stream, early);
	return stream;
}

static void
channel_direct_send_failed(struct channel *base, struct linger *linger,
    const struct wire_refusal *refusal)
{
	struct wire_message msg = { .type = WIRE_FAILED, .refusal = *refusal };
	struct relay_early early;
	struct stream *stream;

	if (framing_send(channel_direct(base)->framing, &msg) != 0) {
		channel_abort(base);
		return;
	}
	stream = channel_take_stream(base, &early);
	free(early.data);
	if (stream != NULL)
		linger_add(linger, stream, true);
}

static const struct channel_ops channel_direct_ops = {
	.free = channel_direct_free,
	.send_open = channel_direct_send_open,
	.stream = channel_direct_stream,
	.can_write = channel_direct_can_write,
	.take_early = channel_direct_take_early,
	.send_opened = channel_direct_send_opened,
	.send_failed = channel_direct_send_failed,
	.take_stream = channel_direct_take_stream,
	.mode = "direct",
};
