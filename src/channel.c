/* SPDX-License-Identifier: ISC */
#include "channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct channel {
	struct loop *loop;
	struct framing *framing;
	enum channel_state state;
	const struct channel_handler *handler;
	void *arg;
	struct loop_task again;
	double last_heard, last_ping;
	bool *freed; /* set by channel_free during a callback */
};

static void channel_again(void *arg);
static void channel_ready(bool readable, bool writable, void *arg);

struct channel *
channel_new(struct loop *loop, struct framing *framing, double timeout,
    bool ours)
{
	struct channel *channel = calloc(1, sizeof *channel);

	if (channel == NULL) {
		framing_free(framing);
		return NULL;
	}
	channel->loop = loop;
	channel->framing = framing;
	channel->state = ours ? CHANNEL_IDLE_OURS : CHANNEL_IDLE_THEIRS;
	channel->last_heard = channel->last_ping = loop_now(loop);
	loop_task_init(&channel->again, channel_again, channel);
	net_set_user_timeout(stream_fd(framing_stream(framing)), timeout);
	if (stream_watch(framing_stream(framing), loop, channel_ready,
		channel) != 0) {
		channel_free(channel);
		return NULL;
	}
	return channel;
}

void
channel_free(struct channel *channel)
{
	if (channel == NULL)
		return;
	if (channel->freed != NULL)
		*channel->freed = true;
	loop_task_cancel(channel->loop, &channel->again);
	framing_free(channel->framing);
	free(channel);
}

void
channel_abort(struct channel *channel)
{
	if (channel != NULL && channel->framing != NULL)
		stream_abort(framing_stream(channel->framing));
	channel_free(channel);
}

void
channel_set_handler(struct channel *channel,
    const struct channel_handler *handler, void *arg)
{
	channel->handler = handler;
	channel->arg = arg;
}

/* An idle channel is watched over by the kernel too; a session must not be:
 * it would kill a user who merely reads slowly. */
static void
channel_becomes_session(struct channel *channel, enum channel_state state)
{
	int fd = stream_fd(framing_stream(channel->framing));

	channel->state = state;
	net_set_user_timeout(fd, 0);
	net_set_keepalive(fd);
}

static void
channel_on_message(struct channel *channel, const struct wire_message *msg)
{
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
			channel->handler->lost(channel, channel->arg);
	} else if (channel->state == CHANNEL_IDLE_THEIRS &&
	    msg->type == WIRE_OPEN) {
		channel_becomes_session(channel, CHANNEL_ANSWERING);
		channel->handler->opened(channel, &msg->open, channel->arg);
	} else if (channel->state == CHANNEL_OPENING &&
	    msg->type == WIRE_OPENED) {
		channel->state = CHANNEL_ANSWERED;
		channel->handler->answered(channel, NULL, channel->arg);
	} else if (channel->state == CHANNEL_OPENING &&
	    msg->type == WIRE_FAILED) {
		channel->handler->answered(channel, &msg->refusal,
		    channel->arg);
	} else {
		channel->handler->lost(channel, channel->arg);
	}
}

/* Frames until there are no more, or the bytes are raw. */
static void
channel_read(struct channel *channel)
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
			channel->handler->lost(channel, channel->arg);
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
channel_run(struct channel *channel)
{
	bool freed = false;

	if (framing_flush(channel->framing) != 0) {
		channel->handler->lost(channel, channel->arg);
		return;
	}
	if (channel->state >= CHANNEL_OPENING) {
		channel->freed = &freed;
		channel->handler->ready(channel, channel->arg);
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
channel_keep_alive(struct channel *channel, double interval, double timeout)
{
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
channel_is_alive(struct channel *channel)
{
	struct wire_message msg;
	enum framing_status status;
	int i;

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

int
channel_send_open(struct channel *channel, const struct wire_open *open)
{
	struct wire_message msg = { .type = WIRE_OPEN, .open = *open };

	if (framing_send(channel->framing, &msg) != 0)
		return -1;
	channel_becomes_session(channel, CHANNEL_OPENING);
	return 0;
}

struct stream *
channel_stream(const struct channel *channel)
{
	return framing_stream(channel->framing);
}

bool
channel_can_write(const struct channel *channel)
{
	return framing_is_flushed(channel->framing);
}

int
channel_take_early(struct channel *channel, struct relay_early *early)
{
	struct stream *stream;

	/* The frames are over: what framing still holds are raw bytes. */
	if (framing_release(channel->framing, &stream, early) != 0) {
		channel->framing = NULL;
		return -1;
	}
	channel->framing = framing_new(stream);
	return channel->framing == NULL ? -1 : 0;
}

int
channel_send_opened(struct channel *channel)
{
	struct wire_message msg = { .type = WIRE_OPENED };

	channel->state = CHANNEL_ANSWERED;
	if (framing_send(channel->framing, &msg) != 0)
		return -1;
	/* The socket had nothing to send before, so it takes these bytes. */
	return framing_is_flushed(channel->framing) ? 0 : -1;
}

void
channel_send_failed(struct channel *channel, struct linger *linger,
    enum wire_failed_code code, const char *text)
{
	struct wire_message msg = { .type = WIRE_FAILED };
	struct relay_early early;
	struct stream *stream;

	msg.refusal.code = (uint8_t)code;
	snprintf(msg.refusal.text, sizeof msg.refusal.text, "%s", text);
	if (framing_send(channel->framing, &msg) != 0) {
		channel_abort(channel);
		return;
	}
	stream = channel_take_stream(channel, &early);
	free(early.data);
	if (stream != NULL)
		linger_add(linger, stream, true);
}

struct stream *
channel_take_stream(struct channel *channel, struct relay_early *early)
{
	struct framing *framing = channel->framing;
	struct stream *stream;

	channel->framing = NULL;
	channel_free(channel);
	framing_release(framing, &stream, early);
	return stream;
}
