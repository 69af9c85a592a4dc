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
	for (size_t i = 0; i < config->n_peers; i++) {
		auth_wipe(&config->peers[i].secret,
		    sizeof(config->peers[i].secret));
		config_section_clear(CONFIG_SECTION_PEER, &config->peers[i]);
	}
	free(config->peers);
	for (size_t i = 0; i < config->n_tunnels; i++)
		config_section_clear(CONFIG_SECTION_TUNNEL,
		    &config->tunnels[i]);
	free(config->tunnels);
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

const struct config_peer *
config_find_peer(const struct config *config, const char *name)
{
	if (config == NULL || name == NULL)
		return NULL;
	for (size_t i = 0; i < config->n_peers; i++)
		if (config->peers[i].name != NULL &&
		    strcmp(config->peers[i].name, name) == 0)
			return &config->peers[i];
	return NULL;
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
	list = reallocarray(errors->list, errors->n + 1, sizeof(*list));
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

/* By file (the main one first), then by line. */
static int
config_error_compare(const struct config_error *x, const struct config_error *y,
    const char *path)
{
	bool x_main = strcmp(x->file, path) == 0;
	bool y_main = strcmp(y->file, path) == 0;

	if (x_main != y_main)
		return x_main ? -1 : 1;
	if (!x_main && strcmp(x->file, y->file) != 0)
		return strcmp(x->file, y->file);
	return (x->line > y->line) - (x->line < y->line);
}

/* Keeps the order of equals. Few are out of place: a pass each at most. */
static void
config_errors_sort(struct config_errors *errors, const char *path)
{
	struct config_error error;
	size_t j;

	for (size_t i = 1; i < errors->n; i++) {
		error = errors->list[i];
		for (j = i; j > 0; j--) {
			if (config_error_compare(&errors->list[j - 1], &error,
				path) <= 0)
				break;
			errors->list[j] = errors->list[j - 1];
		}
		errors->list[j] = error;
	}
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
	if (config == NULL)
		return NULL;
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
