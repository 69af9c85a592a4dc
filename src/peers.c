/* SPDX-License-Identifier: ISC */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

struct peers_entry {
	struct peer *peer;
	char name[NAME_SIZE]; /* the key: that in conf may go */
	UT_hash_handle hh;
};

struct peers {
	const struct peer_context *context;
	/* By the index of a peer; NULL: free. Holds retired ones, too. */
	struct peer **slots;
	size_t n_slots;
	struct peers_entry **list;   /* n of them, as configured */
	struct peers_entry *by_name; /* uthash */
	bool by_name_partly;	     /* of all that there was memory for */
	size_t n;
	struct loop_task reap;
};

struct peers_change {
	struct peers *peers;
	const struct config *config;
	struct peers_entry **list; /* of the new ones; n of them */
	size_t n;
};

static void
peers_reap(void *arg)
{
	struct peers *peers = arg;
	size_t i;

	for (i = 0; i < peers->n_slots; i++) {
		if (peers->slots[i] == NULL || !peer_is_unused(peers->slots[i]))
			continue;
		peer_free(peers->slots[i]);
		peers->slots[i] = NULL;
	}
}

/* The index of a free slot; n_slots if memory is short. */
static size_t
peers_find_slot(struct peers *peers)
{
	size_t i, n = peers->n_slots == 0 ? 8 : peers->n_slots * 2;
	struct peer **slots;

	for (i = 0; i < peers->n_slots; i++)
		if (peers->slots[i] == NULL)
			return i;
	slots = reallocarray(peers->slots, n, sizeof(struct peer *));
	if (slots == NULL)
		return i;
	memset(slots + i, 0, (n - i) * sizeof(struct peer *));
	peers->slots = slots;
	peers->n_slots = n;
	return i;
}

static struct peers_entry *
peers_entry_new(struct peers *peers, const struct config_peer *conf)
{
	struct peers_entry *entry = calloc(1, sizeof *entry);
	size_t slot = peers_find_slot(peers);

	if (entry == NULL || slot >= peers->n_slots)
		goto fail;
	entry->peer = peer_new(peers->context, conf, (uint32_t)slot,
	    &peers->reap);
	if (entry->peer == NULL)
		goto fail;
	strcpy(entry->name, conf->name);
	peers->slots[slot] = entry->peer;
	return entry;
fail:
	free(entry);
	return NULL;
}

static void
peers_entry_free(struct peers_entry *entry)
{
	peer_unref(entry->peer);
	free(entry);
}

static struct peers_entry *
peers_find_entry(const struct peers *peers, const char *name)
{
	struct peers_entry *entry;
	size_t i;

	HASH_FIND_STR(peers->by_name, name, entry);
	if (entry == NULL && peers->by_name_partly)
		for (i = 0; i < peers->n; i++)
			if (strcmp(peers->list[i]->name, name) == 0)
				return peers->list[i];
	return entry;
}

/* --- another configuration ---------------------------------------------- */

struct peers_change *
peers_prepare(struct peers *peers, const struct config *config)
{
	struct peers_change *change = calloc(1, sizeof *change);
	struct peers_entry *entry;

	if (change == NULL)
		return NULL;
	change->peers = peers;
	change->config = config;
	change->list = calloc(config->n_peers + 1,
	    sizeof(struct peers_entry *));
	if (change->list == NULL)
		goto fail;
	for (; change->n < config->n_peers; change->n++) {
		const struct config_peer *conf = config->peers[change->n];

		entry = peers_find_entry(peers, conf->name);
		if (entry == NULL)
			entry = peers_entry_new(peers, conf);
		if (entry == NULL)
			goto fail;
		change->list[change->n] = entry;
	}
	return change;
fail:
	peers_abandon(change);
	return NULL;
}

/* Whether it was made for the change, and is not known yet. */
static bool
peers_entry_is_new(const struct peers *peers, const struct peers_entry *entry)
{
	return peers_find_entry(peers, entry->name) != entry;
}

void
peers_abandon(struct peers_change *change)
{
	size_t i;

	if (change == NULL)
		return;
	for (i = 0; i < change->n; i++)
		if (peers_entry_is_new(change->peers, change->list[i]))
			peers_entry_free(change->list[i]);
	free(change->list);
	free(change);
}

static void
peers_remove(struct peers *peers, struct peers_entry *entry)
{
	if (entry->hh.tbl != NULL)
		HASH_DEL(peers->by_name, entry);
	peer_retire(entry->peer);
	peers_entry_free(entry);
}

void
peers_commit(struct peers_change *change)
{
	struct peers *peers = change->peers;
	struct peers_entry **before = peers->list;
	size_t i, n_before = peers->n;

	/* The list first: what goes down on the way is told to who may look
	 * at it. */
	peers->list = change->list;
	peers->n = change->n;
	for (i = 0; i < n_before; i++)
		if (config_find_peer(change->config, before[i]->name) == NULL)
			peers_remove(peers, before[i]);
	for (i = 0; i < change->n; i++) {
		struct peers_entry *entry = change->list[i];
		const struct config_peer *conf = change->config->peers[i];

		if (!peers_entry_is_new(peers, entry)) {
			if (peer_conf(entry->peer) != conf)
				peer_set_conf(entry->peer, conf);
			continue;
		}
		HASH_ADD_STR(peers->by_name, name, entry);
		if (entry->hh.tbl == NULL) /* out of memory */
			peers->by_name_partly = true;
	}
	free(before);
	free(change);
}

/* --- all of them --------------------------------------------------------- */

struct peers *
peers_new(const struct peer_context *context, const struct config *config)
{
	struct peers *peers = calloc(1, sizeof *peers);
	struct peers_change *change;

	if (peers == NULL)
		return NULL;
	peers->context = context;
	loop_task_init(&peers->reap, peers_reap, peers);
	change = peers_prepare(peers, config);
	if (change == NULL) {
		peers_free(peers);
		return NULL;
	}
	peers_commit(change);
	return peers;
}

void
peers_free(struct peers *peers)
{
	size_t i;

	if (peers == NULL)
		return;
	HASH_CLEAR(hh, peers->by_name);
	for (i = 0; i < peers->n; i++)
		peers_entry_free(peers->list[i]);
	/* Nobody is left to refer to one. */
	loop_task_cancel(peers->context->loop, &peers->reap);
	for (i = 0; i < peers->n_slots; i++)
		peer_free(peers->slots[i]);
	free(peers->slots);
	free(peers->list);
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
	return peers->list[i]->peer;
}

struct peer *
peers_find(const struct peers *peers, const char *name)
{
	struct peers_entry *entry = peers_find_entry(peers, name);

	return entry == NULL ? NULL : entry->peer;
}

struct peer *
peers_find_link(const struct peers *peers,
    const uint8_t link_id[WIRE_LINK_ID_SIZE])
{
	uint32_t i = peer_link_index(link_id);

	if (i >= peers->n_slots || peers->slots[i] == NULL ||
	    !peer_has_link(peers->slots[i], link_id))
		return NULL;
	return peers->slots[i];
}
