/* SPDX-License-Identifier: ISC */
/*
 * channel_direct: a channel that is a connection of its own. It begins idle:
 * `ours` if this end may OPEN it, `theirs` otherwise. After OPEN its bytes are
 * raw; frames that still come in before OPENED or FAILED are handled here.
 * Then the session takes its stream.  Floor 3.
 *
 *   idle, ours    channel_send_open     -> opening    -> answered()
 *   idle, theirs  opened()              -> answering  -> channel_send_opened
 *   any           lost()                -> free it
 */
#ifndef TUNNELD_CHANNEL_DIRECT_H
#define TUNNELD_CHANNEL_DIRECT_H

#include "channel.h"

/* Takes the framing over, on failure (NULL) too. `timeout` is that of the
 * heartbeat, for TCP_USER_TIMEOUT while idle. */
struct channel *channel_direct_new(struct loop *loop, struct framing *framing,
    double timeout, bool ours);

/* While idle: a ping if nothing was heard for `interval`; false if nothing was
 * for `timeout`: free it then. */
bool channel_direct_keep_alive(struct channel *channel, double interval,
    double timeout);

/* While idle: handles what has come in but was not looked at yet; false if it
 * has ended: free it. Never calls back. */
bool channel_direct_is_alive(struct channel *channel);

#endif
