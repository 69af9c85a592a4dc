/* SPDX-License-Identifier: ISC */
#include "config_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_options.h"

static json_t *
config_json_word(const struct config_option *option, const char *member)
{
	const char *word = option->words;
	unsigned place;

	/* Copied, since the member is of one of several enum types. */
	memcpy(&place, member, sizeof place);
	for (; place > 0; place--)
		word += strcspn(word, " ") + 1;
	return json_stringn(word, strcspn(word, " "));
}

static json_t *
config_json_addr(const struct addr *addr)
{
	char text[ADDR_TEXT_SIZE];

	return json_string(addr_format(addr, text, sizeof text));
}

/* An empty list that may not stand in the file is one that is not set. */
static json_t *
config_json_list(const struct config_option *option, const char *base)
{
	const void *items = *(void *const *)(base + option->offset);
	size_t i, n = *(const size_t *)(base + option->companion);
	char text[ADDR_TEXT_SIZE];
	json_t *list;

	if (n == 0 && option->min > 0)
		return json_null();
	list = json_array();
	for (i = 0; i < n; i++)
		if (json_array_append_new(list,
			option->kind == CONFIG_KIND_LISTENS ?
			    config_json_addr((const struct addr *)items + i) :
			    json_string(addr_cidr_format((const struct addr_cidr
								 *)items +
				    i,
				text, sizeof text))) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Paths may hold bytes that are no UTF-8: these show as '?'. */
static json_t *
config_json_text(const char *text)
{
	json_t *json;
	char *copy, *c;

	if (text == NULL)
		return json_null();
	json = json_string(text);
	if (json != NULL || (copy = strdup(text)) == NULL)
		return json;
	for (c = copy; *c != '\0'; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

static json_t *
config_json_on_change(enum config_on_change on_change, double seconds)
{
	char text[64];

	if (on_change != CONFIG_ON_CHANGE_DRAIN)
		return json_string(on_change == CONFIG_ON_CHANGE_KILL ? "kill" :
									"keep");
	snprintf(text, sizeof text, "drain:%.15g", seconds);
	return json_string(text);
}

static json_t *
config_json_value(const struct config_option *option, const char *base)
{
	const char *member = base + option->offset;

	switch (option->kind) {
	case CONFIG_KIND_WORD:
		return config_json_word(option, member);
	case CONFIG_KIND_INT:
		return json_integer(*(const int *)member);
	case CONFIG_KIND_INT64:
		return json_integer(*(const int64_t *)member);
	case CONFIG_KIND_SECONDS:
		return json_real(*(const double *)member);
	case CONFIG_KIND_BOOL:
		return json_boolean(*(const bool *)member);
	case CONFIG_KIND_LISTEN:
	case CONFIG_KIND_CONNECT:
		if (!*(const bool *)(base + option->companion))
			return json_null();
		return config_json_addr((const struct addr *)member);
	case CONFIG_KIND_LISTENS:
	case CONFIG_KIND_NETWORKS:
		return config_json_list(option, base);
	case CONFIG_KIND_ON_CHANGE:
		return config_json_on_change(*(const enum config_on_change *)
						 member,
		    *(const double *)(base + option->companion));
	default:
		return config_json_text(*(char *const *)member);
	}
}

/* A group that may not stand there, so that all in it is unset. */
static bool
config_json_is_void(enum config_section section, const char *base)
{
	return section == CONFIG_SECTION_RECONNECT &&
	    !((const struct config_peer *)base)->dials;
}

json_t *
config_json_option(const struct config_option *option, const void *base)
{
	return config_json_is_void(option->section, base) ?
	    json_null() :
	    config_json_value(option, base);
}

/* One group, and those within it, whose options stand in the same struct. */
static json_t *
config_json_group(enum config_section section, const char *base)
{
	json_t *group = json_object();
	int failed = 0, inner;
	size_t i;

	for (i = 0; i < config_options_count; i++)
		if (config_options[i].section == section)
			failed |= json_object_set_new(group,
			    config_options[i].key,
			    config_json_option(&config_options[i], base));
	for (inner = CONFIG_SECTION_TOP + 1; inner < CONFIG_SECTION_COUNT;
	     inner++)
		if (config_sections[inner].parent == section)
			failed |= json_object_set_new(group,
			    config_sections[inner].key,
			    config_json_group(inner, base));
	if (failed == 0)
		return group;
	json_decref(group);
	return NULL;
}

/* Appended to list, which is no more if that failed. */
static json_t *
config_json_append(json_t *list, enum config_section section, const void *base)
{
	if (json_array_append_new(list, config_json_group(section, base)) == 0)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *
config_json_section(const struct config *config, enum config_section section)
{
	json_t *list;

	switch (section) {
	case CONFIG_SECTION_DAEMON:
		return config_json_group(section,
		    (const char *)&config->daemon);
	case CONFIG_SECTION_GATEWAY:
		return config_json_group(section,
		    (const char *)&config->gateway);
	case CONFIG_SECTION_METRICS:
		return config_json_group(section,
		    (const char *)&config->metrics);
	case CONFIG_SECTION_PEER:
		list = json_array();
		for (size_t i = 0; list != NULL && i < config->n_peers; i++)
			list = config_json_append(list, section,
			    config->peers[i]);
		return list;
	case CONFIG_SECTION_TUNNEL:
		list = json_array();
		for (size_t i = 0; list != NULL && i < config->n_tunnels; i++)
			list = config_json_append(list, section,
			    config->tunnels[i]);
		return list;
	default:
		return NULL; /* within others, or none */
	}
}

json_t *
config_json(const struct config *config)
{
	json_t *root = json_object();
	int failed = 0, section;

	for (section = CONFIG_SECTION_TOP + 1; section < CONFIG_SECTION_COUNT;
	     section++)
		if (config_sections[section].parent == CONFIG_SECTION_TOP)
			failed |= json_object_set_new(root,
			    config_sections[section].key,
			    config_json_section(config, section));
	if (failed == 0)
		return root;
	json_decref(root);
	return NULL;
}
