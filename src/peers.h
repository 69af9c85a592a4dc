/* SPDX-License-Identifier: ISC */
/*
 * peers: all peers of the daemon, found by name and by link id without
 * walking a list. Owns them.  Floor 3.
 */
#ifndef TUNNELD_PEERS_H
#define TUNNELD_PEERS_H

#include "peer.h"

struct peers;

/* One peer for each in config; config and context must outlive them. */
struct peers *peers_new(const struct peer_context *context,
    const struct config *config);
void peers_free(struct peers *peers);

size_t peers_count(const struct peers *peers);
struct peer *peers_at(const struct peers *peers, size_t i);
struct peer *peers_find(const struct peers *peers, const char *name);
/* The accepted peer whose link has this id, or NULL. */
struct peer *peers_find_link(const struct peers *peers,
    const uint8_t link_id[WIRE_LINK_ID_SIZE]);

#endif
