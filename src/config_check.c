/* SPDX-License-Identifier: ISC */
#include "config_parse.h"

#include <errno.h>
#include <libconfig.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_options.h"
#include "secret.h"

#define REASON_SIZE 512

static bool
config_has(const config_setting_t *group, const char *key)
{
	return config_setting_get_member(group, key) != NULL;
}

/* The element of a list that is a group, else NULL: told already. */
static const config_setting_t *
config_element(const config_setting_t *list, size_t place)
{
	const config_setting_t *element;

	element = config_setting_get_elem(list, (unsigned)place);
	return element != NULL && config_setting_is_group(element) ? element :
								     NULL;
}

/* The host name up to its first dot, unless daemon.name was given. */
static void
config_check_name(struct config_reader *reader, const config_setting_t *root)
{
	struct config_daemon *daemon = &reader->config->daemon;
	const config_setting_t *group;
	char host[HOST_NAME_MAX + 1], quoted[CONFIG_TEXT_MAX];

	group = config_setting_get_member(root, "daemon");
	if (daemon->name != NULL ||
	    (group != NULL && config_has(group, "name")))
		return;
	if (gethostname(host, sizeof(host)) == -1)
		host[0] = '\0';
	host[sizeof(host) - 1] = '\0';
	host[strcspn(host, ".")] = '\0';
	if (!name_is_valid(host, strlen(host)))
		config_error_at(reader, group, NULL,
		    "the host name \"%s\" is not valid as a name: "
		    "set daemon.name",
		    config_quote(quoted, host));
	else if ((daemon->name = strdup(host)) == NULL)
		reader->out_of_memory = true;
}

/* Whether an accepted peer has a gateway to come to, or an error instead. */
static bool
config_gateway_listens(const config_setting_t *root)
{
	const config_setting_t *gateway, *listen;

	gateway = config_setting_get_member(root, "gateway");
	if (gateway == NULL)
		return false;
	if (!config_setting_is_group(gateway))
		return true;
	listen = config_setting_get_member(gateway, "listen");
	return listen != NULL &&
	    (!config_setting_is_aggregate(listen) ||
		config_setting_length(listen) > 0);
}

/* Two options of one group, of which the low one must not be the greater. */
struct config_order {
	const char *group;
	const char *low;
	double low_value;
	const char *high;
	double high_value;
	bool strict; /* nor the same */
};

static void
config_check_order(struct config_reader *reader, const config_setting_t *peer,
    const struct config_order *order)
{
	const config_setting_t *group, *at;
	bool is_wrong;

	group = config_setting_get_member(peer, order->group);
	if (group == NULL || !config_setting_is_group(group))
		return;
	/* A value that was refused is NAN, and so no further error. */
	is_wrong = order->strict ? order->high_value <= order->low_value :
				   order->high_value < order->low_value;
	if (!is_wrong)
		return;
	at = config_setting_get_member(group, order->high);
	if (at == NULL)
		at = config_setting_get_member(group, order->low);
	config_error_at(reader, at, order->group,
	    "%s (%.15g) must%s be %s than %s (%.15g)", order->high,
	    order->high_value, order->strict ? "" : " not",
	    order->strict ? "greater" : "less", order->low, order->low_value);
}

static void
config_check_peer_times(struct config_reader *reader,
    const config_setting_t *group, const struct config_peer *peer)
{
	const config_setting_t *reconnect;
	struct config_order heartbeat = { "heartbeat", "interval",
		peer->heartbeat_interval, "timeout", peer->heartbeat_timeout,
		true };
	struct config_order back_off = { "reconnect", "min",
		peer->reconnect_min, "max", peer->reconnect_max, false };

	config_check_order(reader, group, &heartbeat);
	config_check_order(reader, group, &back_off);
	reconnect = config_setting_get_member(group, "reconnect");
	if (reconnect != NULL && !peer->dials)
		config_error_at(reader, reconnect, NULL,
		    "reconnect is for peers with connect");
}

static void
config_check_peer_name(struct config_reader *reader,
    const config_setting_t *group, const struct config_peer *peer)
{
	const struct config_peer *first;

	first = config_find_peer(reader->config, peer->name);
	if (first != NULL && first != peer)
		config_error_at(reader,
		    config_setting_get_member(group, "name"), NULL,
		    "there is a peer of this name already, on line %d",
		    first->line);
}

static void
config_check_peer(struct config_reader *reader, const config_setting_t *root,
    const config_setting_t *group, size_t place)
{
	struct config_peer *peer = reader->config->peers[place];
	const char *name = reader->config->daemon.name;

	config_where_peer(reader, peer->name, place);
	config_check_peer_name(reader, group, peer);
	if (peer->as == NULL && name != NULL && !config_has(group, "as") &&
	    (peer->as = strdup(name)) == NULL)
		reader->out_of_memory = true;
	if (!peer->dials && !config_gateway_listens(root))
		config_error_at(reader, group, NULL,
		    "without connect the peer has to dial in, "
		    "but there is no gateway.listen");
	config_check_peer_times(reader, group, peer);
}

/* reader is NULL where it is not known as whom to read. */
static void
config_check_secret(struct config_reader *reader, const config_setting_t *group,
    struct config_peer *peer, const struct secret_reader *as)
{
	const config_setting_t *at;
	char reason[REASON_SIZE], shown[REASON_SIZE];
	char quoted[CONFIG_TEXT_MAX];

	if (peer->secret_file == NULL)
		return; /* missing, or no path; told already */
	at = config_setting_get_member(group, "secret_file");
	if (as == NULL) {
		if (access(peer->secret_file, F_OK) == -1)
			config_error_at(reader, at, "secret_file", "%s: %s",
			    config_quote(quoted, peer->secret_file),
			    strerror(errno));
	} else if (secret_read(peer->secret_file, as, &peer->secret, reason,
		       sizeof(reason)) == -1) {
		config_error_at(reader, at, "secret_file", "%s",
		    log_escape(shown, sizeof(shown), reason, strlen(reason)));
	}
}

static void
config_check_secrets(struct config_reader *reader,
    const config_setting_t *peers)
{
	struct config *config = reader->config;
	const char *user = geteuid() == 0 ? config->daemon.user : NULL;
	const config_setting_t *group;
	struct secret_reader as;
	char reason[REASON_SIZE];
	bool is_known = false;

	reader->where[0] = '\0';
	if (!reader->user_unknown) {
		is_known = secret_reader_init(&as, user, reason,
			       sizeof(reason)) == 0;
		if (!is_known)
			config_error_at(reader, NULL, NULL,
			    "secret files cannot be judged: %s", reason);
	}
	for (size_t i = 0; i < config->n_peers; i++) {
		group = config_element(peers, i);
		if (group == NULL)
			continue;
		config_where_peer(reader, config->peers[i]->name, i);
		config_check_secret(reader, group, config->peers[i],
		    is_known ? &as : NULL);
	}
	if (is_known)
		secret_reader_clear(&as);
}

static void
config_check_tunnel_ends(struct config_reader *reader,
    const config_setting_t *group, const struct config_tunnel *tunnel)
{
	bool both = tunnel->has_listen && tunnel->has_connect;

	if (!config_has(group, "peer")) {
		if (!both)
			config_error_at(reader, group, NULL,
			    "%s is missing: without a peer both ends are here",
			    tunnel->has_listen	    ? "connect" :
				tunnel->has_connect ? "listen" :
						      "listen and connect");
	} else if (both) {
		config_error_at(reader, group, NULL,
		    "has both listen and connect: with a peer, "
		    "one of them stands in the peer's file");
	} else if (!tunnel->has_listen && !tunnel->has_connect) {
		config_error_at(reader, group, NULL,
		    "listen or connect is missing: one end must be here");
	}
}

static void
config_check_tunnel_name(struct config_reader *reader,
    const config_setting_t *group, const struct config_tunnel *tunnel)
{
	const struct config_tunnel *first;

	first = config_find_tunnel(reader->config, tunnel->peer, tunnel->name);
	if (first != NULL && first != tunnel)
		config_error_at(reader,
		    config_setting_get_member(group, "name"), NULL,
		    "there is a tunnel of this name already, on line %d",
		    first->line);
}

/* What it does not say itself its peer does. */
static void
config_fill_mode(const struct config *config, const config_setting_t *group,
    struct config_tunnel *tunnel)
{
	const struct config_peer *peer = NULL;

	if (config_has(group, "mode"))
		return;
	if (tunnel->peer != NULL)
		peer = config_find_peer(config, tunnel->peer);
	tunnel->mode = peer == NULL ? CONFIG_MODE_DIRECT : peer->mode;
}

static void
config_check_tunnels(struct config_reader *reader, const config_setting_t *list,
    bool peers_known)
{
	struct config *config = reader->config;
	struct config_tunnel *tunnel;
	const config_setting_t *group;
	char quoted[CONFIG_TEXT_MAX];

	for (size_t i = 0; i < config->n_tunnels; i++) {
		tunnel = config->tunnels[i];
		group = config_element(list, i);
		if (group == NULL)
			continue;
		config_where_tunnel(reader, tunnel->peer, tunnel->name, i);
		config_check_tunnel_name(reader, group, tunnel);
		if (peers_known && tunnel->peer != NULL &&
		    config_find_peer(config, tunnel->peer) == NULL)
			config_error_at(reader,
			    config_setting_get_member(group, "peer"), "peer",
			    "there is no peer \"%s\"",
			    config_quote(quoted, tunnel->peer));
		config_check_tunnel_ends(reader, group, tunnel);
		config_fill_mode(config, group, tunnel);
	}
}

/* HTTP clients have no way to write the path of a socket. */
static void
config_check_metrics(struct config_reader *reader, const config_setting_t *root)
{
	const struct config_metrics *metrics = &reader->config->metrics;
	const config_setting_t *group;

	if (!metrics->has_listen || metrics->listen.kind != ADDR_UNIX)
		return;
	group = config_setting_get_member(root, "metrics");
	snprintf(reader->where, sizeof(reader->where), "metrics");
	config_error_at(reader, config_setting_get_member(group, "listen"),
	    "listen", "must be host:port, not a UNIX path");
	reader->where[0] = '\0';
}

static int
config_order_texts(const void *x, const void *y)
{
	const struct config_place *a = *(struct config_place *const *)x;
	const struct config_place *b = *(struct config_place *const *)y;
	int order = strcmp(a->text, b->text);

	/* Of the same array: in the order of the file. */
	return order != 0 ? order : (a > b) - (a < b);
}

static void
config_find_first_places(struct config_reader *reader)
{
	struct config_place **sorted;

	sorted = calloc(reader->n_places + 1, sizeof(*sorted));
	if (sorted == NULL) {
		reader->out_of_memory = true;
		return;
	}
	for (size_t i = 0; i < reader->n_places; i++) {
		sorted[i] = &reader->places[i];
		sorted[i]->first = sorted[i];
	}
	qsort(sorted, reader->n_places, sizeof(*sorted), config_order_texts);
	for (size_t i = 1; i < reader->n_places; i++)
		if (strcmp(sorted[i]->text, sorted[i - 1]->text) == 0)
			sorted[i]->first = sorted[i - 1]->first;
	free(sorted);
}

/*
 * No two listeners at the same address. Addresses that merely overlap
 * (":80" and "127.0.0.1:80") are left to the kernel, which knows.
 */
static void
config_check_places(struct config_reader *reader)
{
	const char *admin = reader->config->daemon.admin_socket;
	const struct config_place *place;

	config_find_first_places(reader);
	for (size_t i = 0; i < reader->n_places; i++) {
		place = &reader->places[i];
		memcpy(reader->where, place->where, sizeof(reader->where));
		if (strncmp(place->text, "unix:", 5) == 0 &&
		    strcmp(place->text + 5, admin) == 0)
			config_error_at(reader, place->at, "listen",
			    "%s is daemon.admin_socket", place->text);
		if (place->first == NULL || place->first == place)
			continue;
		config_error_at(reader, place->at, "listen",
		    "%s is taken by %s on line %u", place->text,
		    place->first->where,
		    (unsigned)config_setting_source_line(place->first->at));
	}
}

void
config_check(struct config_reader *reader, const config_setting_t *root)
{
	struct config *config = reader->config;
	const config_setting_t *peers, *tunnels, *group;

	peers = config_setting_get_member(root, "peers");
	tunnels = config_setting_get_member(root, "tunnels");
	reader->where[0] = '\0';
	if (config_index(config) == -1) {
		reader->out_of_memory = true;
		return;
	}
	config_check_name(reader, root);
	config_check_metrics(reader, root);
	for (size_t i = 0; i < config->n_peers; i++)
		if ((group = config_element(peers, i)) != NULL)
			config_check_peer(reader, root, group, i);
	if (config->n_peers > 0)
		config_check_secrets(reader, peers);
	if (config->n_tunnels > 0)
		config_check_tunnels(reader, tunnels,
		    peers == NULL || config_setting_is_list(peers));
	config_check_places(reader);
	reader->where[0] = '\0';
}
