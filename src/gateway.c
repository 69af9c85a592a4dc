/* SPDX-License-Identifier: ISC */
#include "gateway.h"

#include <sys/queue.h>

#include <stdlib.h>
#include <unistd.h>

#include <uthash.h>

#include "stranger.h"

struct gateway_source;

struct gateway_place {
	TAILQ_ENTRY(gateway_place) entry; /* in its source, oldest first */
	struct gateway_source *source;
	struct stranger *stranger;
};

TAILQ_HEAD(gateway_places, gateway_place);

struct gateway_source {
	struct addr_source key;
	struct gateway_places places;
	int n;
	UT_hash_handle hh;
};

struct gateway {
	struct gateway_params params;
	struct stranger_context context;
	struct stranger_noise noise;
	struct net_listener **listeners;
	size_t n_listeners;
	struct gateway_source *sources; /* uthash */
	int n;				/* places taken */
	int max;			/* places */
	bool full;			/* said so in the log */
};

static void
gateway_vacate(struct gateway *gateway, struct gateway_place *place)
{
	struct gateway_source *source = place->source;

	TAILQ_REMOVE(&source->places, place, entry);
	free(place);
	gateway->n--;
	if (--source->n == 0) {
		HASH_DEL(gateway->sources, source);
		free(source);
	}
}

static void
gateway_gone(void *place, void *arg)
{
	gateway_vacate(arg, place);
}

/* The oldest silent one; if all have begun to speak, the oldest. */
static void
gateway_evict(struct gateway *gateway, struct gateway_source *source)
{
	struct gateway_place *place;

	TAILQ_FOREACH(place, &source->places, entry)
		if (stranger_is_silent(place->stranger))
			break;
	if (place == NULL)
		place = TAILQ_FIRST(&source->places);
	stranger_free(place->stranger);
	gateway_vacate(gateway, place);
}

static struct gateway_source *
gateway_fullest(struct gateway *gateway)
{
	struct gateway_source *source, *fullest = gateway->sources;

	for (source = gateway->sources; source != NULL;
	     source = source->hh.next)
		if (source->n > fullest->n)
			fullest = source;
	return fullest;
}

/*
 * Makes room for one more from this source. Two go if there are more than
 * there may be, since a bound was lowered: it is reached after a while,
 * whatever comes.
 */
static void
gateway_make_room(struct gateway *gateway, const struct addr_source *key)
{
	const struct config_daemon *daemon = &gateway->params.config->daemon;
	struct gateway_source *source;
	bool full = gateway->n >= gateway->max;

	HASH_FIND(hh, gateway->sources, key, sizeof *key, source);
	if (source != NULL && source->n > daemon->max_handshakes_per_source)
		gateway_evict(gateway, source);
	if (source != NULL && source->n >= daemon->max_handshakes_per_source)
		gateway_evict(gateway, source);
	else if (full)
		gateway_evict(gateway, gateway_fullest(gateway));
	if (gateway->n > gateway->max)
		gateway_evict(gateway, gateway_fullest(gateway));
	if (full && !gateway->full)
		log_warning("gateway: all %d handshake places are taken; the "
			    "oldest silent ones go",
		    gateway->max);
	gateway->full = full;
}

static struct gateway_source *
gateway_source_get(struct gateway *gateway, const struct addr_source *key)
{
	struct gateway_source *source;

	HASH_FIND(hh, gateway->sources, key, sizeof *key, source);
	if (source != NULL)
		return source;
	source = calloc(1, sizeof *source);
	if (source == NULL)
		return NULL;
	source->key = *key;
	TAILQ_INIT(&source->places);
	HASH_ADD(hh, gateway->sources, key, sizeof source->key, source);
	if (source->hh.tbl == NULL) {
		free(source);
		return NULL;
	}
	return source;
}

static void
gateway_accept(int fd, const struct addr_sock *from, void *arg)
{
	struct gateway *gateway = arg;
	struct gateway_source *source;
	struct gateway_place *place;
	struct addr_source key;

	addr_sock_source(from, &key);
	gateway_make_room(gateway, &key);
	source = gateway_source_get(gateway, &key);
	place = calloc(1, sizeof *place);
	if (source == NULL || place == NULL) {
		close(fd);
		goto fail;
	}
	place->source = source;
	place->stranger = stranger_new(&gateway->context, fd, from, place);
	if (place->stranger == NULL)
		goto fail;
	TAILQ_INSERT_TAIL(&source->places, place, entry);
	source->n++;
	gateway->n++;
	return;
fail:
	free(place);
	if (source != NULL && source->n == 0) {
		HASH_DEL(gateway->sources, source);
		free(source);
	}
}

static void
gateway_set_config(struct gateway *gateway, const struct config *config)
{
	gateway->params.config = config;
	gateway->context.name = config->daemon.name;
	/* Strangers must not take the descriptors that peers need. */
	gateway->max = net_descriptors_max() / 4;
	if (gateway->max > config->daemon.max_handshakes)
		gateway->max = config->daemon.max_handshakes;
}

struct gateway *
gateway_new(const struct gateway_params *params,
    void (*error)(const char *text, void *arg), void *arg)
{
	const struct config_gateway *conf = &params->config->gateway;
	struct gateway *gateway = calloc(1, sizeof *gateway);
	char text[400];
	bool failed = false;
	size_t i;

	if (gateway == NULL ||
	    (gateway->listeners = calloc(conf->n_listen + 1,
		 sizeof(struct net_listener *))) == NULL) {
		free(gateway);
		error("gateway: out of memory", arg);
		return NULL;
	}
	gateway->params = *params;
	gateway->context = (struct stranger_context){
		.loop = params->loop,
		.tls = params->tls,
		.peers = params->peers,
		.noise = &gateway->noise,
		.gone = gateway_gone,
		.arg = gateway,
	};
	auth_random(&gateway->context.dummy, sizeof gateway->context.dummy);
	gateway_set_config(gateway, params->config);
	gateway->params.inherited = NULL;
	for (i = 0; i < conf->n_listen; i++) {
		struct net_listener
		    *listener = net_inherited_listen(params->inherited,
			params->loop, &conf->listen[i], GATEWAY_WHO, text,
			sizeof text);

		if (listener != NULL) {
			gateway->listeners[gateway->n_listeners++] = listener;
			continue;
		}
		error(text, arg);
		failed = true;
	}
	if (failed) {
		gateway_free(gateway);
		return NULL;
	}
	return gateway;
}

static void
gateway_listen(struct gateway *gateway, struct net_listener *listener,
    bool quiet)
{
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;

	net_listener_address(listener, &address);
	if (!quiet)
		log_notice("gateway: listening on %s",
		    addr_sock_format(&address, text, sizeof text));
	net_listener_yield(listener, NULL);
	net_listener_start(listener, gateway_accept, gateway);
}

void
gateway_start(struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->n_listeners; i++)
		gateway_listen(gateway, gateway->listeners[i], false);
}

void
gateway_leave(struct gateway *gateway)
{
	size_t i;

	for (i = 0; i < gateway->n_listeners; i++) {
		net_listener_keep(gateway->listeners[i]);
		net_listener_free(gateway->listeners[i]);
	}
	gateway->n_listeners = 0;
}

void
gateway_free(struct gateway *gateway)
{
	struct gateway_source *source;
	size_t i;

	if (gateway == NULL)
		return;
	for (i = 0; i < gateway->n_listeners; i++)
		net_listener_free(gateway->listeners[i]);
	while ((source = gateway->sources) != NULL)
		gateway_evict(gateway, source);
	free(gateway->listeners);
	free(gateway);
}

size_t
gateway_listeners(const struct gateway *gateway)
{
	return gateway->n_listeners;
}

void
gateway_address(const struct gateway *gateway, size_t i, struct addr_sock *out)
{
	net_listener_address(gateway->listeners[i], out);
}

struct net_listener *
gateway_listener(const struct gateway *gateway, size_t i)
{
	return gateway->listeners[i];
}

size_t
gateway_handshakes(const struct gateway *gateway)
{
	return (size_t)gateway->n;
}

/* --- another configuration -------------------------------------------------- */

struct gateway_change {
	struct gateway *gateway;
	const struct config *config;
	struct net_plan *plan;
	/* One each for gateway.listen of the config. */
	struct net_listener **listeners; /* NULL: it will be taken, with its */
	int *tickets;
};

static bool
gateway_keeps(const struct gateway_change *change,
    const struct net_listener *listener)
{
	size_t i;

	for (i = 0; i < change->config->gateway.n_listen; i++)
		if (change->listeners[i] == listener)
			return true;
	return false;
}

/* One that listens there; with port 0 there may be several. */
static struct net_listener *
gateway_find_listener(const struct gateway_change *change,
    const struct addr *addr)
{
	const struct gateway *gateway = change->gateway;
	size_t i;

	for (i = 0; i < gateway->n_listeners; i++)
		if (addr_equal(net_listener_asked(gateway->listeners[i]),
			addr) &&
		    !gateway_keeps(change, gateway->listeners[i]))
			return gateway->listeners[i];
	return NULL;
}

static int
gateway_plan(struct gateway_change *change)
{
	const struct config_gateway *conf = &change->config->gateway;
	struct gateway *gateway = change->gateway;
	size_t i;

	for (i = 0; i < conf->n_listen; i++) {
		change->listeners[i] = gateway_find_listener(change,
		    &conf->listen[i]);
		if (change->listeners[i] != NULL)
			continue;
		change->tickets[i] = net_plan_want(change->plan,
		    &conf->listen[i], NULL, "gateway: ");
		if (change->tickets[i] == -1)
			return -1;
	}
	for (i = 0; i < gateway->n_listeners; i++)
		if (!gateway_keeps(change, gateway->listeners[i]) &&
		    net_plan_leave(change->plan, gateway->listeners[i]) != 0)
			return -1;
	return 0;
}

struct gateway_change *
gateway_prepare(struct gateway *gateway, const struct config *config,
    struct net_plan *plan)
{
	struct gateway_change *change = calloc(1, sizeof *change);
	size_t n = config->gateway.n_listen + 1;

	if (change == NULL)
		return NULL;
	change->gateway = gateway;
	change->config = config;
	change->plan = plan;
	change->listeners = calloc(n, sizeof(struct net_listener *));
	change->tickets = calloc(n, sizeof *change->tickets);
	if (change->listeners != NULL && change->tickets != NULL &&
	    gateway_plan(change) == 0)
		return change;
	gateway_abandon(change);
	return NULL;
}

void
gateway_commit(struct gateway_change *change)
{
	struct gateway *gateway = change->gateway;
	struct net_plan *plan = change->plan;
	size_t i;

	gateway_set_config(gateway, change->config);
	free(gateway->listeners);
	gateway->listeners = change->listeners;
	gateway->n_listeners = change->config->gateway.n_listen;
	for (i = 0; i < gateway->n_listeners; i++) {
		if (gateway->listeners[i] != NULL)
			continue;
		gateway->listeners[i] = net_plan_take(plan, change->tickets[i]);
		gateway_listen(gateway, gateway->listeners[i],
		    net_plan_moved(plan, change->tickets[i]));
	}
	change->listeners = NULL;
	gateway_abandon(change);
}

void
gateway_abandon(struct gateway_change *change)
{
	if (change == NULL)
		return;
	free(change->listeners);
	free(change->tickets);
	free(change);
}
