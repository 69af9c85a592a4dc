/* SPDX-License-Identifier: ISC */
#include "config_parse.h"

#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "config_options.h"

#define CONFIG_MALLOC_STEP (2 * 1024 * 1024)

static void config_parse_group(struct config_reader *reader,
    const config_setting_t *group, enum config_section section, void *base);

void
config_error_at(struct config_reader *reader, const config_setting_t *at,
    const char *key, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	config_error_add(reader,
	    at != NULL ? config_setting_source_file(at) : NULL,
	    at != NULL ? config_setting_source_line(at) : 0, "%s%s%s%s%s",
	    reader->where, reader->where[0] != '\0' ? ": " : "",
	    key != NULL ? key : "", key != NULL ? ": " : "", text);
}

void
config_where_peer(struct config_reader *reader, const char *name, size_t place)
{
	char quoted[CONFIG_TEXT_MAX];

	if (name != NULL)
		snprintf(reader->where, sizeof(reader->where), "peer %s",
		    config_quote(quoted, name));
	else
		snprintf(reader->where, sizeof(reader->where), "peer #%zu",
		    place + 1);
}

void
config_where_tunnel(struct config_reader *reader, const char *peer,
    const char *name, size_t place)
{
	char quoted[2][CONFIG_TEXT_MAX];

	if (name == NULL)
		snprintf(reader->where, sizeof(reader->where), "tunnel #%zu",
		    place + 1);
	else
		snprintf(reader->where, sizeof(reader->where), "tunnel %s%s%s",
		    peer != NULL ? config_quote(quoted[0], peer) : "",
		    peer != NULL ? "/" : "", config_quote(quoted[1], name));
}

static void
config_error_key(struct config_reader *reader, const config_setting_t *setting,
    enum config_section section)
{
	const char *key = config_setting_name(setting), *meant;

	meant = config_option_suggest(section, key);
	if (config_option_is_later(section, key))
		config_error_at(reader, setting, NULL,
		    "%s is not supported yet", key);
	else if (meant != NULL)
		config_error_at(reader, setting, NULL,
		    "unknown key `%.64s`, did you mean `%s`?", key, meant);
	else
		config_error_at(reader, setting, NULL, "unknown key `%.64s`",
		    key);
}

/* A group that is not in a list: daemon, metrics, heartbeat and so on. */
static void
config_parse_inner(struct config_reader *reader,
    const config_setting_t *setting, enum config_section section, void *base)
{
	const char *key = config_sections[section].key;
	size_t len = strlen(reader->where);

	if (!config_setting_is_group(setting)) {
		config_error_at(reader, setting, key,
		    "must be a group, { ... }, not %s",
		    config_type_name(setting));
		return;
	}
	snprintf(reader->where + len, sizeof(reader->where) - len, "%s%s",
	    len > 0 ? ": " : "", key);
	config_parse_group(reader, setting, section, base);
	reader->where[len] = '\0';
}

static void
config_parse_group(struct config_reader *reader, const config_setting_t *group,
    enum config_section section, void *base)
{
	int n = config_setting_length(group);

	for (int i = 0; i < n; i++) {
		const config_setting_t *setting = config_setting_get_elem(group,
		    (unsigned)i);
		const char *key = config_setting_name(setting);
		const struct config_option *option = config_option_find(section,
		    key);
		enum config_section inner = config_section_find(section, key);

		if (option != NULL)
			config_value_set(reader, setting, option, base);
		else if (inner != CONFIG_SECTION_COUNT)
			config_parse_inner(reader, setting, inner, base);
		else
			config_error_key(reader, setting, section);
	}
	for (size_t i = 0; i < config_options_count; i++)
		if (config_options[i].section == section &&
		    config_options[i].required &&
		    config_setting_get_member(group, config_options[i].key) ==
			NULL)
			config_error_at(reader, group, NULL, "%s is missing",
			    config_options[i].key);
}

/* The string that key has in group, or NULL. */
static const char *
config_peek(const config_setting_t *group, const char *key)
{
	const char *text = NULL;

	config_setting_lookup_string(group, key, &text);
	return text;
}

static void
config_parse_element(struct config_reader *reader,
    const config_setting_t *group, enum config_section section, void *base)
{
	if (!config_setting_is_group(group))
		config_error_at(reader, group, NULL,
		    "must be a group, { ... }, not %s",
		    config_type_name(group));
	else if (config_section_set_defaults(section, base) == -1)
		reader->out_of_memory = true;
	else
		config_parse_group(reader, group, section, base);
	reader->where[0] = '\0';
}

/* How many elements it has; 0 and an error if it is no list. */
static size_t
config_list_length(struct config_reader *reader, const config_setting_t *list,
    enum config_section section)
{
	if (config_setting_is_list(list))
		return (size_t)config_setting_length(list);
	config_error_at(reader, list, config_sections[section].key,
	    "must be a list of groups, ( { ... }, { ... } ), not %s",
	    config_type_name(list));
	return 0;
}

static const char *
config_peek_name(const config_setting_t *group, const char *key)
{
	return config_setting_is_group(group) ? config_peek(group, key) : NULL;
}

static void
config_parse_peers(struct config_reader *reader, const config_setting_t *list)
{
	struct config *config = reader->config;
	size_t n = config_list_length(reader, list, CONFIG_SECTION_PEER);
	const config_setting_t *group;
	struct config_peer *peer;

	config->peers = calloc(n + 1, sizeof(struct config_peer *));
	if (config->peers == NULL)
		reader->out_of_memory = true;
	for (size_t i = 0; i < n && !reader->out_of_memory; i++) {
		peer = calloc(1, sizeof(*peer));
		if (peer == NULL) {
			reader->out_of_memory = true;
			return;
		}
		config->peers[config->n_peers++] = peer;
		group = config_setting_get_elem(list, (unsigned)i);
		peer->refs = 1;
		peer->line = (int)config_setting_source_line(group);
		config_where_peer(reader, config_peek_name(group, "name"), i);
		config_parse_element(reader, group, CONFIG_SECTION_PEER, peer);
	}
}

static void
config_parse_tunnels(struct config_reader *reader, const config_setting_t *list)
{
	struct config *config = reader->config;
	size_t n = config_list_length(reader, list, CONFIG_SECTION_TUNNEL);
	const config_setting_t *group;
	struct config_tunnel *tunnel;

	config->tunnels = calloc(n + 1, sizeof(struct config_tunnel *));
	if (config->tunnels == NULL)
		reader->out_of_memory = true;
	for (size_t i = 0; i < n && !reader->out_of_memory; i++) {
		tunnel = calloc(1, sizeof(*tunnel));
		if (tunnel == NULL) {
			reader->out_of_memory = true;
			return;
		}
		config->tunnels[config->n_tunnels++] = tunnel;
		group = config_setting_get_elem(list, (unsigned)i);
		tunnel->refs = 1;
		tunnel->line = (int)config_setting_source_line(group);
		config_where_tunnel(reader, config_peek_name(group, "peer"),
		    config_peek_name(group, "name"), i);
		config_parse_element(reader, group, CONFIG_SECTION_TUNNEL,
		    tunnel);
	}
}

static void
config_parse_top(struct config_reader *reader, const config_setting_t *setting)
{
	struct config *config = reader->config;
	enum config_section section;

	section = config_section_find(CONFIG_SECTION_TOP,
	    config_setting_name(setting));
	switch (section) {
	case CONFIG_SECTION_DAEMON:
		config_parse_inner(reader, setting, section, &config->daemon);
		break;
	case CONFIG_SECTION_GATEWAY:
		config_parse_inner(reader, setting, section, &config->gateway);
		break;
	case CONFIG_SECTION_METRICS:
		config_parse_inner(reader, setting, section, &config->metrics);
		break;
	case CONFIG_SECTION_PEER:
		config_parse_peers(reader, setting);
		break;
	case CONFIG_SECTION_TUNNEL:
		config_parse_tunnels(reader, setting);
		break;
	default:
		config_error_key(reader, setting, CONFIG_SECTION_TOP);
	}
}

/* libconfig 1.5 does not look at what malloc returns, or ends the process. What
 * it takes is tried before: 44 bytes for one of the text were the most that was
 * measured (a long list `(0,0,...)`), and what malloc takes at a time. */
static bool
config_has_memory(const char *text)
{
	size_t most = CONFIG_MALLOC_STEP + 64 * strlen(text);
	void *trial = mmap(NULL, most, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, 0, 0); /* of no file */

	return trial != MAP_FAILED && munmap(trial, most) == 0;
}

void
config_parse(struct config_reader *reader, const char *text)
{
	const config_setting_t *root;
	config_t file;
	int n;

	if (!config_has_memory(text)) {
		reader->out_of_memory = true;
		return;
	}
	config_init(&file);
	if (config_read_string(&file, text) == CONFIG_FALSE) {
		config_error_add(reader, config_error_file(&file),
		    (unsigned)config_error_line(&file), "%s",
		    config_error_text(&file));
		goto out;
	}
	root = config_root_setting(&file);
	n = config_setting_length(root);
	for (int i = 0; i < n; i++)
		config_parse_top(reader,
		    config_setting_get_elem(root, (unsigned)i));
	if (!reader->out_of_memory)
		config_check(reader, root);
out:
	config_destroy(&file);
}
