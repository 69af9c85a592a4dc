/* SPDX-License-Identifier: ISC */
/*
 * entry: where users arrive: judges them, holds them while the link is down,
 * gets a channel (or, for a local tunnel, the service) and opens the session.
 *
 * What the user says before the exit has answered is sent right behind OPEN,
 * and kept until OPENED, so that OPEN can be repeated once on a fresh channel
 * when the first one died.  Floor 4.
 */
#ifndef TUNNELD_ENTRY_H
#define TUNNELD_ENTRY_H

#include "tunnel.h"

/* A user: as net_accept_fn, with the tunnel as arg. Takes fd. */
void entry_accept(int fd, const struct addr_sock *from, void *arg);
/* The same for one who was accepted by another process: tunnels_take. */
void entry_take(struct tunnel *tunnel, struct tunnel_user *user);
void entry_reset(int fd); /* closes it so */

#endif
