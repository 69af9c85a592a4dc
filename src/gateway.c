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
gateway_leave(struct gateway *gateway, struct gateway_place *place)
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
	gateway_leave(arg, place);
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
	gateway_leave(gateway, place);
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

/* Makes room for one more from this source. */
static void
gateway_make_room(struct gateway *gateway, const struct addr_source *key)
{
	const struct config_daemon *daemon = &gateway->params.config->daemon;
	struct gateway_source *source;
	bool full = gateway->n >= gateway->max;

	HASH_FIND(hh, gateway->sources, key, sizeof *key, source);
	if (source != NULL && source->n >= daemon->max_handshakes_per_source)
		gateway_evict(gateway, source);
	else if (full)
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
	/* Strangers must not take the descriptors that peers need. */
	gateway->max = net_descriptors_max() / 4;
	if (gateway->max > params->config->daemon.max_handshakes)
		gateway->max = params->config->daemon.max_handshakes;
	gateway->context = (struct stranger_context){
		.loop = params->loop,
		.tls = params->tls,
		.peers = params->peers,
		.name = params->config->daemon.name,
		.noise = &gateway->noise,
		.gone = gateway_gone,
		.arg = gateway,
	};
	auth_random(&gateway->context.dummy, sizeof gateway->context.dummy);
	for (i = 0; i < conf->n_listen; i++) {
		struct net_listener *listener = net_listen(params->loop,
		    &conf->listen[i], text, sizeof text);

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

void
gateway_start(struct gateway *gateway)
{
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;
	size_t i;

	for (i = 0; i < gateway->n_listeners; i++) {
		gateway_address(gateway, i, &address);
		log_notice("gateway: listening on %s",
		    addr_sock_format(&address, text, sizeof text));
		net_listener_start(gateway->listeners[i], gateway_accept,
		    gateway);
	}
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

size_t
gateway_handshakes(const struct gateway *gateway)
{
	return (size_t)gateway->n;
}
