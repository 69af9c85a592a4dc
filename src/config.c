/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_options.h"
#include "config_parse.h"

#define MESSAGE_SIZE 1024

static void
config_free(struct config *config)
{
	for (size_t i = 0; i < config->n_peers; i++)
		config_peer_unref(config->peers[i]);
	free(config->peers);
	for (size_t i = 0; i < config->n_tunnels; i++)
		config_tunnel_unref(config->tunnels[i]);
	free(config->tunnels);
	free(config->peers_by_name);
	free(config->tunnels_by_name);
	config_section_clear(CONFIG_SECTION_METRICS, &config->metrics);
	config_section_clear(CONFIG_SECTION_GATEWAY, &config->gateway);
	config_section_clear(CONFIG_SECTION_DAEMON, &config->daemon);
	free(config->path);
	free(config);
}

static struct config *
config_new(const char *path)
{
	struct config *config;

	config = calloc(1, sizeof(*config));
	if (config == NULL)
		return NULL;
	config->refs = 1;
	config->path = strdup(path);
	if (config->path == NULL ||
	    config_section_set_defaults(CONFIG_SECTION_DAEMON,
		&config->daemon) == -1 ||
	    config_section_set_defaults(CONFIG_SECTION_GATEWAY,
		&config->gateway) == -1 ||
	    config_section_set_defaults(CONFIG_SECTION_METRICS,
		&config->metrics) == -1) {
		config_free(config);
		return NULL;
	}
	return config;
}

struct config *
config_ref(struct config *config)
{
	if (config != NULL)
		config->refs++;
	return config;
}

void
config_unref(struct config *config)
{
	if (config != NULL && --config->refs == 0)
		config_free(config);
}

/* Made by config_parse.c, and const only for those who hold them. */
const struct config_peer *
config_peer_ref(const struct config_peer *peer)
{
	if (peer != NULL)
		((struct config_peer *)peer)->refs++;
	return peer;
}

void
config_peer_unref(const struct config_peer *held)
{
	struct config_peer *peer = (struct config_peer *)held;

	if (peer == NULL || --peer->refs > 0)
		return;
	auth_wipe(&peer->secret, sizeof(peer->secret));
	config_section_clear(CONFIG_SECTION_PEER, peer);
	free(peer);
}

const struct config_tunnel *
config_tunnel_ref(const struct config_tunnel *tunnel)
{
	if (tunnel != NULL)
		((struct config_tunnel *)tunnel)->refs++;
	return tunnel;
}

void
config_tunnel_unref(const struct config_tunnel *held)
{
	struct config_tunnel *tunnel = (struct config_tunnel *)held;

	if (tunnel == NULL || --tunnel->refs > 0)
		return;
	config_section_clear(CONFIG_SECTION_TUNNEL, tunnel);
	free(tunnel);
}

char *
config_tunnel_label(const struct config_tunnel *tunnel, char *buf, size_t size)
{
	if (tunnel->peer != NULL)
		snprintf(buf, size, "%s/%s", tunnel->peer, tunnel->name);
	else
		snprintf(buf, size, "%s", tunnel->name);
	return buf;
}

void *
config_grow(void *list, size_t n, size_t size)
{
	if (n > 0 && (n & (n - 1)) != 0)
		return list;
	return reallocarray(list, n > 0 ? n * 2 : 1, size);
}

void
config_error_add(struct config_reader *reader, const char *file, unsigned line,
    const char *fmt, ...)
{
	struct config_errors *errors = reader->errors;
	struct config_error *list, error;
	char message[MESSAGE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (file == NULL)
		file = reader->config->path;
	error.file = strdup(file);
	error.line = (int)line;
	error.message = strdup(message);
	list = config_grow(errors->list, errors->n, sizeof(*list));
	if (list != NULL)
		errors->list = list;
	if (list == NULL || error.file == NULL || error.message == NULL) {
		reader->out_of_memory = true;
		free(error.file);
		free(error.message);
		return;
	}
	errors->list[errors->n++] = error;
}

void
config_errors_clear(struct config_errors *errors)
{
	for (size_t i = 0; i < errors->n; i++) {
		free(errors->list[i].file);
		free(errors->list[i].message);
	}
	free(errors->list);
	errors->list = NULL;
	errors->n = 0;
}

/* An error, and where it was in the list. */
struct config_error_place {
	struct config_error error;
	size_t place;
};

/* By file (the main one first), then by line, then as they were found. */
static int
config_error_compare(const void *a, const void *b, void *path)
{
	const struct config_error_place *x = a, *y = b;
	bool x_main = strcmp(x->error.file, path) == 0;
	bool y_main = strcmp(y->error.file, path) == 0;
	int order;

	if (x_main != y_main)
		return x_main ? -1 : 1;
	order = x_main ? 0 : strcmp(x->error.file, y->error.file);
	if (order == 0)
		order = (x->error.line > y->error.line) -
		    (x->error.line < y->error.line);
	return order != 0 ? order :
			    (x->place > y->place) - (x->place < y->place);
}

/* Left as they are if memory has run out. */
static void
config_errors_sort(struct config_errors *errors, char *path)
{
	struct config_error_place *sorted;

	sorted = calloc(errors->n + 1, sizeof(*sorted));
	if (sorted == NULL)
		return;
	for (size_t i = 0; i < errors->n; i++) {
		sorted[i].error = errors->list[i];
		sorted[i].place = i;
	}
	qsort_r(sorted, errors->n, sizeof(*sorted), config_error_compare, path);
	for (size_t i = 0; i < errors->n; i++)
		errors->list[i] = sorted[i].error;
	free(sorted);
}

struct config *
config_load(const char *path, struct config_errors *errors)
{
	struct config_reader reader = { .errors = errors };
	struct config *config;
	char *text;

	errors->list = NULL;
	errors->n = 0;
	config = config_new(path);
	if (config == NULL) {
		config_error_add(&reader, path, 0, "out of memory");
		return NULL;
	}
	reader.config = config;
	if (config_scan(&reader, &text) == 0)
		config_parse(&reader, text);
	free(text);
	free(reader.places);
	if (reader.out_of_memory)
		config_error_add(&reader, NULL, 0, "out of memory");
	if (errors->n == 0 && !reader.out_of_memory)
		return config;
	config_errors_sort(errors, config->path);
	config_unref(config);
	return NULL;
}
