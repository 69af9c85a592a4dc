/* SPDX-License-Identifier: ISC */
#include "tunnel_change.h"

#include <stdio.h>
#include <stdlib.h>

#include "tunnel_drain.h"

/* One for each tunnel of the configuration to come, in its order. */
struct tunnels_item {
	struct tunnel *tunnel; /* the one that stays, or a new one */
	struct tunnel *before; /* the one it replaces; NULL: none */
	bool made;
	int ticket; /* for its listener; -1: it needs none */
};

struct tunnels_change {
	struct tunnels *tunnels;
	struct net_plan *plan;
	struct tunnels_item *items;
	size_t n;
};

/* --- prepare ---------------------------------------------------------------- */

static int
tunnels_item_make(struct tunnels_change *change, struct tunnels_item *item,
    const struct config_tunnel *conf)
{
	struct net_listener *listener = NULL;
	char who[sizeof item->tunnel->label + 16];

	item->tunnel = tunnel_new(change->tunnels, conf);
	item->made = true;
	item->ticket = -1;
	if (item->tunnel == NULL)
		return -1;
	if (!conf->has_listen)
		return 0;
	if (item->before != NULL)
		listener = item->before->listener;
	snprintf(who, sizeof who, "tunnel %s: ", item->tunnel->label);
	item->ticket = net_plan_want(change->plan, &conf->listen, listener,
	    who);
	return item->ticket == -1 ? -1 : 0;
}

static int
tunnels_item_prepare(struct tunnels_change *change, struct tunnels_item *item,
    const struct config_tunnel *conf)
{
	char label[sizeof item->tunnel->label];

	config_tunnel_label(conf, label, sizeof label);
	item->before = tunnels_find(change->tunnels, label);
	if (item->before == NULL || item->before->conf != conf)
		return tunnels_item_make(change, item, conf);
	item->tunnel = item->before;
	item->tunnel->stays = true;
	return 0;
}

/* After all that stay were marked. */
static int
tunnels_plan_leave(struct tunnels_change *change)
{
	struct tunnel *tunnel;

	TAILQ_FOREACH(tunnel, &change->tunnels->all, entry)
		if (!tunnel->stays && tunnel->listener != NULL &&
		    net_plan_leave(change->plan, tunnel->listener) != 0)
			return -1;
	return 0;
}

struct tunnels_change *
tunnels_prepare(struct tunnels *tunnels, const struct config *config,
    struct net_plan *plan)
{
	struct tunnels_change *change = calloc(1, sizeof *change);
	struct tunnel *tunnel;

	if (change == NULL)
		return NULL;
	change->tunnels = tunnels;
	change->plan = plan;
	change->items = calloc(config->n_tunnels + 1, sizeof *change->items);
	if (change->items == NULL)
		goto fail;
	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		tunnel->stays = false;
	while (change->n < config->n_tunnels) {
		size_t i = change->n++;

		if (tunnels_item_prepare(change, &change->items[i],
			config->tunnels[i]) != 0)
			goto fail;
	}
	if (tunnels_plan_leave(change) == 0)
		return change;
fail:
	tunnels_abandon(change);
	return NULL;
}

/* --- commit ----------------------------------------------------------------- */

/* What administrators switched off, and which was away meanwhile. */
static void
tunnel_recall_disabled(struct tunnel *tunnel)
{
	const struct config_tunnel *conf = tunnel->conf;
	struct ledger_disabled row;

	if (!ledger_get_disabled(tunnel->tunnels->params.ledger,
		conf->peer == NULL ? "" : conf->peer, conf->name, &row))
		return;
	log_notice("%s: disabled by %s", tunnel->label, row.by);
	tunnel_set_disabled(tunnel, true, row.at_us, row.by);
}

static void
tunnels_item_commit(struct tunnels_change *change, struct tunnels_item *item)
{
	struct tunnels *tunnels = change->tunnels;
	struct tunnel *tunnel = item->tunnel;
	bool moved = false;

	if (!item->made) {
		TAILQ_REMOVE(&tunnels->all, tunnel, entry);
		TAILQ_INSERT_TAIL(&tunnels->all, tunnel, entry);
		if (tunnel->end == LEDGER_END_ENTRY)
			peer_add_entry(tunnel->peer, tunnel->conf->mode);
		return;
	}
	if (item->ticket != -1) {
		tunnel->listener = net_plan_take(change->plan, item->ticket);
		moved = net_plan_moved(change->plan, item->ticket);
	}
	tunnel_install(tunnel);
	if (item->before != NULL)
		tunnel_inherit(tunnel, item->before);
	else
		tunnel_recall_disabled(tunnel);
	if (tunnels->started)
		tunnel_start(tunnel, moved);
}

void
tunnels_commit(struct tunnels_change *change)
{
	struct tunnels *tunnels = change->tunnels;
	struct tunnel *tunnel, *next;
	size_t i;

	for (i = 0; i < change->n; i++)
		if (change->items[i].made && change->items[i].before != NULL)
			tunnel_detach(change->items[i].before,
			    change->items[i].tunnel->conf, true);
	for (tunnel = TAILQ_FIRST(&tunnels->all); tunnel != NULL;
	     tunnel = next) {
		next = TAILQ_NEXT(tunnel, entry);
		if (!tunnel->stays)
			tunnel_detach(tunnel, tunnel->conf, false);
	}
	for (i = 0; i < change->n; i++)
		tunnels_item_commit(change, &change->items[i]);
	free(change->items);
	free(change);
}

void
tunnels_abandon(struct tunnels_change *change)
{
	size_t i;

	if (change == NULL)
		return;
	for (i = 0; i < change->n; i++)
		if (change->items[i].made)
			tunnel_free(change->items[i].tunnel);
	free(change->items);
	free(change);
}
