/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends to what is in buf. */
static void __attribute__((format(printf, 3, 4)))
change_append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

static bool
change_is(const json_t *change, const char *key, const char *word)
{
	const char *value = json_string_value(json_object_get(change, key));

	return value != NULL && strcmp(value, word) == 0;
}

static bool
change_needs_restart(const json_t *change)
{
	const json_t *keys = json_object_get(change, "keys");
	size_t i;

	for (i = 0; i < json_array_size(keys); i++)
		if (json_is_true(json_object_get(json_array_get(keys, i),
			"restart")))
			return true;
	return false;
}

static const struct config_tunnel *
change_find_tunnel(const struct config *config, const char *label)
{
	char one[NAME_SIZE * 2];
	size_t i;

	for (i = 0; i < config->n_tunnels; i++)
		if (strcmp(config_tunnel_label(config->tunnels[i], one,
			       sizeof one),
			label) == 0)
			return config->tunnels[i];
	return NULL;
}

/* --- effects ------------------------------------------------------------ */

/* What becomes of so many sessions. */
static void
change_say_sessions(unsigned n, const char *what, char *buf, size_t size)
{
	if (n > 0)
		change_append(buf, size, "%s%u session%s %s",
		    buf[0] == '\0' ? "" : "; ", n, n == 1 ? "" : "s", what);
}

/* Of a tunnel that is changed or removed: under the rule of `rule`. */
static void
change_say_draining(const struct config_tunnel *rule, unsigned n, char *buf,
    size_t size)
{
	char what[80];

	switch (rule->on_change) {
	case CONFIG_ON_CHANGE_KEEP:
		snprintf(what, sizeof what, "run%s on under the old settings",
		    n == 1 ? "s" : "");
		break;
	case CONFIG_ON_CHANGE_KILL:
		snprintf(what, sizeof what, "%s closed", n == 1 ? "is" : "are");
		break;
	case CONFIG_ON_CHANGE_DRAIN:
		snprintf(what, sizeof what, "%s closed after %g s",
		    n == 1 ? "is" : "are", rule->drain_seconds);
		break;
	}
	change_say_sessions(n, what, buf, size);
}

static unsigned
change_tunnel(const struct daemon *daemon, const struct config *after,
    const json_t *change, char *buf, size_t size)
{
	const char *label = json_string_value(json_object_get(change, "name"));
	const struct tunnel *tunnel = tunnels_find(daemon->tunnels, label);
	const struct config_tunnel *conf = change_find_tunnel(after, label);
	unsigned n = tunnel == NULL ? 0 : tunnel->n_sessions;

	if (tunnel != NULL)
		change_say_draining(conf != NULL ? conf : tunnel->conf, n, buf,
		    size);
	if (buf[0] == '\0')
		change_append(buf, size, "applies at once");
	return n;
}

/* All of it, draining ones too. */
static unsigned
change_count_peer(const struct daemon *daemon, const struct peer *peer)
{
	const struct tunnels *tunnels = daemon->tunnels;
	const struct tunnel *tunnel;
	unsigned n = 0;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		n += tunnel->peer == peer ? tunnel->n_sessions : 0;
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		n += tunnel->peer == peer ? tunnel->n_sessions : 0;
	return n;
}

static unsigned
change_peer(const struct daemon *daemon, const struct config *after,
    const json_t *change, char *buf, size_t size)
{
	const char *name = json_string_value(json_object_get(change, "name"));
	const struct config_peer *conf = config_find_peer(after, name);
	const struct peer *peer = peers_find(daemon->peers, name);
	unsigned n = peer == NULL ? 0 : change_count_peer(daemon, peer);
	bool up = peer != NULL && peer_is_up(peer);

	if (peer != NULL && conf == NULL) {
		if (up)
			change_append(buf, size, "link goes down");
		/* What becomes of them is said where its tunnels are. */
	} else if (peer != NULL && peer_conf_relinks(peer_conf(peer), conf)) {
		change_append(buf, size,
		    up		    ? "link reconnects" :
			conf->dials ? "is dialled at once" :
				      "");
		change_say_sessions(n, n == 1 ? "runs on" : "run on", buf,
		    size);
	}
	if (buf[0] == '\0')
		change_append(buf, size, "applies at once");
	return n;
}

int
daemon_change_describe(const struct daemon *daemon, const struct config *after,
    json_t *change)
{
	char effect[200] = "";
	unsigned n = 0;

	if (change_is(change, "section", "tunnel"))
		n = change_tunnel(daemon, after, change, effect, sizeof effect);
	else if (change_is(change, "section", "peer"))
		n = change_peer(daemon, after, change, effect, sizeof effect);
	else
		snprintf(effect, sizeof effect, "%s",
		    change_needs_restart(change) ? "needs a restart" :
						   "applies at once");
	return json_object_set_new(change, "sessions",
		   json_integer((json_int_t)n)) == 0 &&
		json_object_set_new(change, "effect", json_string(effect)) ==
		    0 ?
	    0 :
	    -1;
}

/* --- one line ------------------------------------------------------------ */

static void
change_say_value(const json_t *value, char *buf, size_t size)
{
	char *text = json_is_null(value) ?
	    NULL :
	    json_dumps(value,
		JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));

	change_append(buf, size, "%.200s", text == NULL ? "none" : text);
	free(text);
}

static void
change_say_key(const json_t *key, char *buf, size_t size)
{
	const json_t *before = json_object_get(key, "before");
	const json_t *after = json_object_get(key, "after");

	change_append(buf, size, "%s ",
	    json_string_value(json_object_get(key, "key")));
	if (json_is_null(before) && json_is_null(after)) {
		/* A secret: nobody says which. */
		change_append(buf, size, "is another one");
		return;
	}
	change_say_value(before, buf, size);
	change_append(buf, size, " -> ");
	change_say_value(after, buf, size);
}

char *
daemon_change_text(const json_t *change, char *buf, size_t size)
{
	const json_t *keys = json_object_get(change, "keys");
	const char *name = json_string_value(json_object_get(change, "name"));
	size_t i;

	snprintf(buf, size, "%s%s%s %s",
	    json_string_value(json_object_get(change, "section")),
	    name == NULL ? "" : " ", name == NULL ? "" : name,
	    json_string_value(json_object_get(change, "what")));
	for (i = 0; i < json_array_size(keys); i++) {
		change_append(buf, size, i == 0 ? ": " : ", ");
		change_say_key(json_array_get(keys, i), buf, size);
	}
	change_append(buf, size, " (%s)",
	    json_string_value(json_object_get(change, "effect")));
	return buf;
}
