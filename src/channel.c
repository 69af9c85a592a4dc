/* SPDX-License-Identifier: ISC */
#include "channel_ops.h"

#include <stdio.h>

void
channel_free(struct channel *channel)
{
	if (channel != NULL)
		channel->ops->free(channel, false);
}

void
channel_abort(struct channel *channel)
{
	if (channel != NULL)
		channel->ops->free(channel, true);
}

void
channel_set_handler(struct channel *channel,
    const struct channel_handler *handler, void *arg)
{
	channel->handler = handler;
	channel->arg = arg;
}

const char *
channel_mode(const struct channel *channel)
{
	return channel->ops->mode;
}

int
channel_send_open(struct channel *channel, const struct wire_open *open)
{
	return channel->ops->send_open(channel, open);
}

struct stream *
channel_stream(const struct channel *channel)
{
	return channel->ops->stream(channel);
}

bool
channel_can_write(const struct channel *channel)
{
	return channel->ops->can_write(channel);
}

bool
channel_keeps_early(const struct channel *channel)
{
	return channel->ops->keeps_early;
}

int
channel_take_early(struct channel *channel, struct relay_early *early)
{
	return channel->ops->take_early(channel, early);
}

int
channel_send_opened(struct channel *channel)
{
	return channel->ops->send_opened(channel);
}

void
channel_send_failed(struct channel *channel, struct linger *linger,
    enum wire_failed_code code, const char *text)
{
	struct wire_refusal refusal = { .code = (uint8_t)code };

	snprintf(refusal.text, sizeof refusal.text, "%s", text);
	channel->ops->send_failed(channel, linger, &refusal);
}

struct stream *
channel_take_stream(struct channel *channel, struct relay_early *early)
{
	return channel->ops->take_stream(channel, early);
}
