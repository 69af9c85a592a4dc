/* SPDX-License-Identifier: ISC */
/*
 * channel_ops: what a kind of channel has to offer. For those who make one
 * (channel_direct; lane_channel), and channel.c, which hands every call to it.
 * Floor 3.
 */
#ifndef TUNNELD_CHANNEL_OPS_H
#define TUNNELD_CHANNEL_OPS_H

#include "channel.h"

struct channel_ops {
	void (*free)(struct channel *channel, bool abort);
	int (*send_open)(struct channel *channel, const struct wire_open *open);
	struct stream *(*stream)(const struct channel *channel);
	bool (*can_write)(const struct channel *channel);
	bool keeps_early;
	int (*take_early)(struct channel *channel, struct relay_early *early);
	int (*send_opened)(struct channel *channel);
	void (*send_failed)(struct channel *channel, struct linger *linger,
	    const struct wire_refusal *refusal);
	struct stream *(*take_stream)(struct channel *channel,
	    struct relay_early *early);
	const char *mode;
};

struct channel { /* the first member of every kind */
	const struct channel_ops *ops;
	const struct channel_handler *handler;
	void *arg;
};

#endif
