/* SPDX-License-Identifier: ISC */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

struct peers_entry {
	struct peer *peer;
	UT_hash_handle hh;
};

struct peers {
	struct peers_entry *entries; /* n of them */
	struct peers_entry *by_name; /* uthash */
	size_t n;
};

struct peers *
peers_new(const struct peer_context *context, const struct config *config)
{
	struct peers *peers = calloc(1, sizeof *peers);
	struct peers_entry *entry;
	size_t i;

	if (peers == NULL)
		return NULL;
	peers->entries = calloc(config->n_peers + 1, sizeof *peers->entries);
	if (peers->entries == NULL)
		goto fail;
	for (i = 0; i < config->n_peers; i++) {
		entry = &peers->entries[i];
		entry->peer = peer_new(context, &config->peers[i], (uint32_t)i);
		if (entry->peer == NULL)
			goto fail;
		peers->n++;
		HASH_ADD_KEYPTR(hh, peers->by_name, peer_name(entry->peer),
		    strlen(peer_name(entry->peer)), entry);
	}
	return peers;
fail:
	peers_free(peers);
	return NULL;
}

void
peers_free(struct peers *peers)
{
	size_t i;

	if (peers == NULL)
		return;
	HASH_CLEAR(hh, peers->by_name);
	for (i = 0; i < peers->n; i++)
		peer_free(peers->entries[i].peer);
	free(peers->entries);
	free(peers);
}

size_t
peers_count(const struct peers *peers)
{
	return peers->n;
}

struct peer *
peers_at(const struct peers *peers, size_t i)
{
	return peers->entries[i].peer;
}

struct peer *
peers_find(const struct peers *peers, const char *name)
{
	struct peers_entry *entry;

	HASH_FIND_STR(peers->by_name, name, entry);
	return entry == NULL ? NULL : entry->peer;
}

struct peer *
peers_find_link(const struct peers *peers,
    const uint8_t link_id[WIRE_LINK_ID_SIZE])
{
	uint32_t i = peer_link_index(link_id);

	if (i >= peers->n || !peer_has_link(peers->entries[i].peer, link_id))
		return NULL;
	return peers->entries[i].peer;
}
