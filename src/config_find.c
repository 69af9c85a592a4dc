/* SPDX-License-Identifier: ISC */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_parse.h"

/* What is missing comes first. */
static int
config_compare_text(const char *x, const char *y)
{
	if (x == NULL || y == NULL)
		return (x != NULL) - (y != NULL);
	return strcmp(x, y);
}

static int
config_compare_tunnel(const struct config_tunnel *tunnel, const char *peer,
    const char *name)
{
	int order = config_compare_text(tunnel->peer, peer);

	return order != 0 ? order : config_compare_text(tunnel->name, name);
}

/* Of two with the same name the first in the file is found. */
static int
config_order_places(size_t x, size_t y)
{
	return (x > y) - (x < y);
}

static int
config_order_peers(const void *x, const void *y, void *arg)
{
	struct config_peer *const *peers = ((struct config *)arg)->peers;
	size_t i = *(const size_t *)x, j = *(const size_t *)y;
	int order = config_compare_text(peers[i]->name, peers[j]->name);

	return order != 0 ? order : config_order_places(i, j);
}

static int
config_order_tunnels(const void *x, const void *y, void *arg)
{
	struct config_tunnel *const *tunnels = ((struct config *)arg)->tunnels;
	size_t i = *(const size_t *)x, j = *(const size_t *)y;
	int order = config_compare_tunnel(tunnels[i], tunnels[j]->peer,
	    tunnels[j]->name);

	return order != 0 ? order : config_order_places(i, j);
}

static size_t *
config_sort_places(struct config *config, size_t n,
    int (*order)(const void *x, const void *y, void *arg))
{
	size_t *places = calloc(n + 1, sizeof(*places));

	if (places == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		places[i] = i;
	qsort_r(places, n, sizeof(*places), order, config);
	return places;
}

int
config_index(struct config *config)
{
	config->peers_by_name = config_sort_places(config, config->n_peers,
	    config_order_peers);
	config->tunnels_by_name = config_sort_places(config, config->n_tunnels,
	    config_order_tunnels);
	return config->peers_by_name == NULL ||
		config->tunnels_by_name == NULL ?
	    -1 :
	    0;
}

const struct config_peer *
config_find_peer(const struct config *config, const char *name)
{
	size_t low = 0, high, middle;
	const struct config_peer *peer;

	if (config == NULL || name == NULL)
		return NULL;
	for (high = config->n_peers; low < high;) {
		middle = low + (high - low) / 2;
		peer = config->peers[config->peers_by_name[middle]];
		if (config_compare_text(peer->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == config->n_peers)
		return NULL;
	peer = config->peers[config->peers_by_name[low]];
	return config_compare_text(peer->name, name) == 0 ? peer : NULL;
}

const struct config_tunnel *
config_find_tunnel(const struct config *config, const char *peer,
    const char *name)
{
	size_t low = 0, high, middle;
	const struct config_tunnel *tunnel;

	if (config == NULL || name == NULL)
		return NULL;
	for (high = config->n_tunnels; low < high;) {
		middle = low + (high - low) / 2;
		tunnel = config->tunnels[config->tunnels_by_name[middle]];
		if (config_compare_tunnel(tunnel, peer, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == config->n_tunnels)
		return NULL;
	tunnel = config->tunnels[config->tunnels_by_name[low]];
	return config_compare_tunnel(tunnel, peer, name) == 0 ? tunnel : NULL;
}
