/* SPDX-License-Identifier: ISC */
/*
 * exit: where services are reached: authorises what a peer opens, dials the
 * service, and answers. None of the user's bytes reaches the service before
 * OPENED is sent.  Floor 4.
 */
#ifndef TUNNELD_EXIT_H
#define TUNNELD_EXIT_H

#include "dial.h"
#include "tunnel.h"

/* A peer's OPEN on a channel, which is taken over. */
void exit_open(struct tunnels *tunnels, struct peer *peer,
    struct channel *channel, const struct wire_open *open);

/* Ends a session that is not open yet: FAILED, for its tunnel is disabled. */
void exit_disable(struct session *session, const char *by);

/* The words for the ledger of a dial that failed: why, and by whom. */
enum reason exit_dial_reason(enum dial_status status);
const char *exit_dial_by(enum dial_status status);

#endif
