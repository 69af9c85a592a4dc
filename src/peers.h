/* SPDX-License-Identifier: ISC */
/*
 * peers: all peers of the daemon, found by name and by link id without
 * walking a list. Owns them.  Floor 3.
 *
 * One that the configuration names no more is found by nobody, and freed once
 * nobody refers to it. Its place, with which the ids of its links begin, is
 * given to another one only then.
 */
#ifndef TUNNELD_PEERS_H
#define TUNNELD_PEERS_H

#include "peer.h"

struct peers;

/* One peer for each in config; the context must outlive them. */
struct peers *peers_new(const struct peer_context *context,
    const struct config *config);
void peers_free(struct peers *peers);

/*
 * Another configuration. Of the peers that are in both, only those whose
 * config_peer is another object are changed, as peer_set_conf does it.
 *
 * peers_prepare makes those that are new, and changes nothing yet; NULL out
 * of memory. Then one of the two, which free the change: peers_commit, which
 * cannot fail, takes down the links of those that are gone ("removed from the
 * configuration") and calls the handler's link_down. New ones are not started
 * (peer_start). Or peers_abandon (NULL is ignored).
 */
struct peers_change;
struct peers_change *peers_prepare(struct peers *peers,
    const struct config *config);
void peers_commit(struct peers_change *change);
void peers_abandon(struct peers_change *change);

/* In the order of the configuration. */
size_t peers_count(const struct peers *peers);
struct peer *peers_at(const struct peers *peers, size_t i);
struct peer *peers_find(const struct peers *peers, const char *name);
/* The accepted peer whose link has this id, or NULL. */
struct peer *peers_find_link(const struct peers *peers,
    const uint8_t link_id[WIRE_LINK_ID_SIZE]);

#endif
