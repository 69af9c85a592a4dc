/* SPDX-License-Identifier: ISC */
#include "config_diff.h"

#include <stdio.h>
#include <string.h>

#include "config_json.h"
#include "config_options.h"

#define KEY_SIZE 64 /* "heartbeat.interval", terminated */

/*
 * The structs are compared, through the table of options: JSON would take
 * longer, can run out of memory, and shows some paths alike.
 */

static bool
diff_text_equal(const char *x, const char *y)
{
	return x == NULL || y == NULL ? x == y : strcmp(x, y) == 0;
}

/* Letter by letter: also what means the same is shown anew. */
static bool
diff_addr_equal(const struct addr *x, const struct addr *y)
{
	return x->kind == y->kind && x->port == y->port &&
	    strcmp(x->host, y->host) == 0;
}

static bool
diff_network_equal(const struct addr_cidr *x, const struct addr_cidr *y)
{
	return x->family == y->family && x->bits == y->bits &&
	    memcmp(x->bytes, y->bytes, x->family == AF_INET ? 4 : 16) == 0;
}

static bool
diff_list_equal(const struct config_option *option, const char *x,
    const char *y)
{
	const void *xs = *(void *const *)(x + option->offset);
	const void *ys = *(void *const *)(y + option->offset);
	size_t n = *(const size_t *)(x + option->companion);

	if (n != *(const size_t *)(y + option->companion))
		return false;
	for (size_t i = 0; i < n; i++)
		if (option->kind == CONFIG_KIND_LISTENS ?
			!diff_addr_equal((const struct addr *)xs + i,
			    (const struct addr *)ys + i) :
			!diff_network_equal((const struct addr_cidr *)xs + i,
			    (const struct addr_cidr *)ys + i))
			return false;
	return true;
}

/* x and y are structs that hold the option. */
static bool
diff_option_equal(const struct config_option *option, const char *x,
    const char *y)
{
	const char *a = x + option->offset, *b = y + option->offset;
	bool is_there;

	switch (option->kind) {
	case CONFIG_KIND_NAME:
	case CONFIG_KIND_PATH:
	case CONFIG_KIND_USER:
	case CONFIG_KIND_GROUP:
		return diff_text_equal(*(char *const *)a, *(char *const *)b);
	case CONFIG_KIND_WORD:
		return memcmp(a, b, sizeof(unsigned)) == 0;
	case CONFIG_KIND_INT:
		return *(const int *)a == *(const int *)b;
	case CONFIG_KIND_INT64:
		return *(const int64_t *)a == *(const int64_t *)b;
	case CONFIG_KIND_SECONDS:
		return *(const double *)a == *(const double *)b;
	case CONFIG_KIND_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case CONFIG_KIND_LISTEN:
	case CONFIG_KIND_CONNECT:
		is_there = *(const bool *)(x + option->companion);
		if (is_there != *(const bool *)(y + option->companion))
			return false;
		return !is_there ||
		    diff_addr_equal((const struct addr *)a,
			(const struct addr *)b);
	case CONFIG_KIND_LISTENS:
	case CONFIG_KIND_NETWORKS:
		return diff_list_equal(option, x, y);
	case CONFIG_KIND_ON_CHANGE:
		return memcmp(a, b, sizeof(unsigned)) == 0 &&
		    *(const double *)(x + option->companion) ==
		    *(const double *)(y + option->companion);
	case CONFIG_KIND_COUNT:
		break;
	}
	return false;
}

/* Whether options of inner stand in the struct of section. */
static bool
diff_section_holds(enum config_section section, enum config_section inner)
{
	return inner == section || config_sections[inner].parent == section;
}

static bool
diff_secret_equal(const struct config_peer *x, const struct config_peer *y)
{
	return auth_equal(x->secret.bytes, y->secret.bytes,
	    sizeof(x->secret.bytes));
}

static bool
diff_equal(enum config_section section, const void *x, const void *y)
{
	const struct config_option *option;

	if (x == y)
		return true;
	for (size_t i = 0; i < config_options_count; i++) {
		option = &config_options[i];
		if (diff_section_holds(section, option->section) &&
		    !diff_option_equal(option, x, y))
			return false;
	}
	return section != CONFIG_SECTION_PEER || diff_secret_equal(x, y);
}

/* --- what differs, in words -------------------------------------------------- */

struct diff {
	json_t *list;
	bool failed; /* out of memory */
};

/* One thing that differs; before and after are its structs, or NULL. */
struct diff_item {
	enum config_section section;
	const char *name; /* NULL: none */
	const void *before, *after;
};

/* Takes over both values. */
static void
diff_add_key(struct diff *diff, json_t *keys, const char *key, bool restart,
    json_t *values[2])
{
	json_t *object = json_pack("{s:s, s:o, s:o, s:b}", "key", key, "before",
	    values[0], "after", values[1], "restart", restart);

	if (object == NULL || json_array_append_new(keys, object) != 0)
		diff->failed = true;
}

static json_t *
diff_keys(struct diff *diff, const struct diff_item *item)
{
	const struct config_option *option;
	json_t *keys = json_array(), *values[2];
	char key[KEY_SIZE];

	for (size_t i = 0; i < config_options_count; i++) {
		option = &config_options[i];
		if (!diff_section_holds(item->section, option->section) ||
		    diff_option_equal(option, item->before, item->after))
			continue;
		if (option->section == item->section)
			snprintf(key, sizeof(key), "%s", option->key);
		else
			snprintf(key, sizeof(key), "%s.%s",
			    config_sections[option->section].key, option->key);
		values[0] = config_json_option(option, item->before);
		values[1] = config_json_option(option, item->after);
		diff_add_key(diff, keys, key, option->restart, values);
	}
	if (item->section != CONFIG_SECTION_PEER ||
	    diff_secret_equal(item->before, item->after))
		return keys;
	values[0] = json_null();
	values[1] = json_null();
	diff_add_key(diff, keys, "secret", false, values);
	return keys;
}

static void
diff_add(struct diff *diff, const struct diff_item *item)
{
	const char *what = "changed";
	json_t *object, *keys;

	if (item->before == NULL)
		what = "added";
	else if (item->after == NULL)
		what = "removed";
	else if (diff_equal(item->section, item->before, item->after))
		return;
	keys = item->before == NULL || item->after == NULL ?
	    json_array() :
	    diff_keys(diff, item);
	object = json_pack("{s:s, s:s, s:s?, s:o}", "what", what, "section",
	    config_sections[item->section].name, "name", item->name, "keys",
	    keys);
	if (object == NULL || json_array_append_new(diff->list, object) != 0)
		diff->failed = true;
}

static void
diff_groups(struct diff *diff, const struct config *before,
    const struct config *after)
{
	const struct diff_item items[] = {
		{ CONFIG_SECTION_DAEMON, NULL, &before->daemon,
		    &after->daemon },
		{ CONFIG_SECTION_GATEWAY, NULL, &before->gateway,
		    &after->gateway },
		{ CONFIG_SECTION_METRICS, NULL, &before->metrics,
		    &after->metrics },
	};

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
		diff_add(diff, &items[i]);
}

static void
diff_peers(struct diff *diff, const struct config *before,
    const struct config *after)
{
	struct diff_item item = { .section = CONFIG_SECTION_PEER };

	for (size_t i = 0; i < after->n_peers; i++) {
		item.name = after->peers[i]->name;
		item.before = config_find_peer(before, item.name);
		item.after = after->peers[i];
		diff_add(diff, &item);
	}
	item.after = NULL;
	for (size_t i = 0; i < before->n_peers; i++) {
		item.name = before->peers[i]->name;
		item.before = before->peers[i];
		if (config_find_peer(after, item.name) == NULL)
			diff_add(diff, &item);
	}
}

/* The peer is part of the name: elsewhere it is another tunnel. */
static void
diff_tunnels(struct diff *diff, const struct config *before,
    const struct config *after)
{
	struct diff_item item = { .section = CONFIG_SECTION_TUNNEL };
	const struct config_tunnel *tunnel;
	char label[NAME_SIZE * 2];

	item.name = label;
	for (size_t i = 0; i < after->n_tunnels; i++) {
		tunnel = after->tunnels[i];
		config_tunnel_label(tunnel, label, sizeof(label));
		item.before = config_find_tunnel(before, tunnel->peer,
		    tunnel->name);
		item.after = tunnel;
		diff_add(diff, &item);
	}
	item.after = NULL;
	for (size_t i = 0; i < before->n_tunnels; i++) {
		tunnel = before->tunnels[i];
		config_tunnel_label(tunnel, label, sizeof(label));
		item.before = tunnel;
		if (config_find_tunnel(after, tunnel->peer, tunnel->name) ==
		    NULL)
			diff_add(diff, &item);
	}
}

json_t *
config_diff(const struct config *before, const struct config *after)
{
	struct diff diff = { .list = json_array() };

	if (diff.list == NULL)
		return NULL;
	diff_groups(&diff, before, after);
	diff_peers(&diff, before, after);
	diff_tunnels(&diff, before, after);
	if (!diff.failed)
		return diff.list;
	json_decref(diff.list);
	return NULL;
}

static bool
diff_item_needs_restart(const json_t *item)
{
	json_t *key;
	size_t i;

	json_array_foreach(json_object_get(item, "keys"), i, key)
	{
		if (json_is_true(json_object_get(key, "restart")))
			return true;
	}
	return false;
}

bool
config_diff_needs_restart(const json_t *diff)
{
	json_t *item;
	size_t i;

	json_array_foreach(diff, i, item)
	{
		if (diff_item_needs_restart(item))
			return true;
	}
	return false;
}

void
config_share(struct config *after, struct config *before)
{
	const struct config_peer *peer;
	const struct config_tunnel *tunnel;

	for (size_t i = 0; i < after->n_peers; i++) {
		peer = config_find_peer(before, after->peers[i]->name);
		if (peer == NULL || peer == after->peers[i] ||
		    !diff_equal(CONFIG_SECTION_PEER, peer, after->peers[i]))
			continue;
		config_peer_unref(after->peers[i]);
		after->peers[i] = (struct config_peer *)config_peer_ref(peer);
	}
	for (size_t i = 0; i < after->n_tunnels; i++) {
		tunnel = config_find_tunnel(before, after->tunnels[i]->peer,
		    after->tunnels[i]->name);
		if (tunnel == NULL || tunnel == after->tunnels[i] ||
		    !diff_equal(CONFIG_SECTION_TUNNEL, tunnel,
			after->tunnels[i]))
			continue;
		config_tunnel_unref(after->tunnels[i]);
		after->tunnels[i] = (struct config_tunnel *)
		    config_tunnel_ref(tunnel);
	}
}
