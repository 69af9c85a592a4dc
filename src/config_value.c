/* SPDX-License-Identifier: ISC */
#include "config_parse.h"

#include <grp.h>
#include <libconfig.h>
#include <math.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_options.h"

/* 32 bytes in base64 are 43 characters and one '='. */
bool
config_looks_secret(const char *text)
{
	size_t run = 0;

	for (; *text != '\0'; text++) {
		if (*text == '=' && run >= 43)
			return true;
		if ((*text >= 'A' && *text <= 'Z') ||
		    (*text >= 'a' && *text <= 'z') ||
		    (*text >= '0' && *text <= '9') || *text == '+' ||
		    *text == '/')
			run++;
		else
			run = 0;
	}
	return false;
}

const char *
config_quote(char *buf, const char *text)
{
	if (config_looks_secret(text))
		snprintf(buf, CONFIG_TEXT_MAX, "(a secret, not shown)");
	else
		log_escape(buf, CONFIG_TEXT_MAX, text, strlen(text));
	return buf;
}

const char *
config_type_name(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_GROUP:
		return "a group";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
	case CONFIG_TYPE_FLOAT:
		return "a number";
	case CONFIG_TYPE_STRING:
		return "a string";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_ARRAY:
		return "an array";
	default:
		return "a list";
	}
}

static void
config_error_type_of(struct config_reader *reader,
    const config_setting_t *setting, const struct config_option *option)
{
	config_error_at(reader, setting, option->key, "must be %s, not %s",
	    config_kind_name(option->kind), config_type_name(setting));
}

/* Whether config_scan had something to say on this line already. */
static bool
config_is_scanned_line(struct config_reader *reader,
    const config_setting_t *setting)
{
	const char *file = config_setting_source_file(setting);
	const struct config_error *error;

	if (file == NULL)
		file = reader->config->path;
	for (size_t i = 0; i < reader->n_scanned; i++) {
		error = &reader->errors->list[i];
		if (error->line == (int)config_setting_source_line(setting) &&
		    strcmp(error->file, file) == 0)
			return true;
	}
	return false;
}

static void
config_value_number(struct config_reader *reader,
    const config_setting_t *setting, const struct config_option *option,
    void *base)
{
	bool is_seconds = option->kind == CONFIG_KIND_SECONDS;
	double value;

	/* What is refused must not be compared with anything later. */
	if (is_seconds)
		config_option_set_number(option, base, (double)NAN);
	if (!config_setting_is_number(setting)) {
		config_error_type_of(reader, setting, option);
		return;
	}
	if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
		value = config_setting_get_float(setting);
	else
		value = (double)config_setting_get_int64(setting);
	if (config_is_scanned_line(reader, setting))
		return; /* it may have been cut to 32 bits */
	if (!(value >= option->min && value <= option->max))
		config_error_at(reader, setting, option->key,
		    "%.15g is out of range (%.15g to %.15g)", value,
		    option->min, option->max);
	else if (!is_seconds && (double)(int64_t)value != value)
		config_error_at(reader, setting, option->key,
		    "must be a whole number, not %.15g", value);
	else
		config_option_set_number(option, base, value);
}

static void
config_value_word(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, void *base)
{
	const char *text = config_setting_get_string(setting);
	char quoted[CONFIG_TEXT_MAX];
	int place = config_word_find(option->words, text);

	if (place != -1)
		config_option_set_word(option, base, place);
	else if (option->later != NULL &&
	    config_word_find(option->later, text) != -1)
		config_error_at(reader, setting, option->key,
		    "\"%s\" is not supported yet", text);
	else
		config_error_at(reader, setting, option->key,
		    "\"%s\" is not one of: %s", config_quote(quoted, text),
		    option->words);
}

/* The SECONDS of "drain:SECONDS": digits, and perhaps a fraction. */
static bool
config_parse_seconds(const char *text, double *seconds)
{
	size_t len = strspn(text, "0123456789.");
	char *end;

	*seconds = strtod(text, &end);
	return text[0] >= '0' && text[0] <= '9' && text[len] == '\0' &&
	    *end == '\0';
}

static void
config_value_on_change(struct config_reader *reader,
    const config_setting_t *setting, const struct config_option *option,
    void *base)
{
	const char *text = config_setting_get_string(setting);
	int place = CONFIG_ON_CHANGE_DRAIN;
	char quoted[CONFIG_TEXT_MAX];
	double seconds = 0;

	if (strcmp(text, "keep") == 0)
		place = CONFIG_ON_CHANGE_KEEP;
	else if (strcmp(text, "kill") == 0)
		place = CONFIG_ON_CHANGE_KILL;
	else if (strncmp(text, "drain:", 6) != 0 ||
	    !config_parse_seconds(text + 6, &seconds)) {
		config_error_at(reader, setting, option->key,
		    "\"%s\" is not one of: %s", config_quote(quoted, text),
		    option->words);
		return;
	} else if (!(seconds >= option->min && seconds <= option->max)) {
		config_error_at(reader, setting, option->key,
		    "%.15g is out of range (%.15g to %.15g)", seconds,
		    option->min, option->max);
		return;
	}
	config_option_set_word(option, base, place);
	*(double *)((char *)base + option->companion) = seconds;
}

/* What is wrong with the text of a name, path, user or group; or NULL. */
static const char *
config_text_fault(const struct config_option *option, const char *text)
{
	switch (option->kind) {
	case CONFIG_KIND_NAME:
		return name_is_valid(text, strlen(text)) ?
		    NULL :
		    "is not a valid name (1 to 64 of A-Z a-z 0-9 . _ -)";
	case CONFIG_KIND_PATH:
		if (text[0] != '/')
			return "must be an absolute path";
		return (double)strlen(text) > option->max ? "is too long" :
							    NULL;
	case CONFIG_KIND_USER:
		return getpwnam(text) == NULL ? "no such user" : NULL;
	case CONFIG_KIND_GROUP:
		return getgrnam(text) == NULL ? "no such group" : NULL;
	default:
		return NULL;
	}
}

static void
config_value_text(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, void *base)
{
	const char *text = config_setting_get_string(setting), *fault;
	char quoted[CONFIG_TEXT_MAX];

	if (option->kind == CONFIG_KIND_PATH && config_looks_secret(text)) {
		config_error_at(reader, setting, option->key,
		    "must be the path of a file, not a secret");
		return;
	}
	fault = config_text_fault(option, text);
	if (fault != NULL) {
		config_error_at(reader, setting, option->key, "\"%s\" %s",
		    config_quote(quoted, text), fault);
		if (option->kind == CONFIG_KIND_USER)
			reader->user_unknown = true;
		/* A bad name may still be one that others refer to. */
		if (option->kind != CONFIG_KIND_NAME)
			return;
	}
	if (config_option_set_text(option, base, text) == -1)
		reader->out_of_memory = true;
}

/* Remembers where we listen; port 0 is never the same twice. */
static void
config_place_add(struct config_reader *reader, const config_setting_t *at,
    const struct addr *addr, const struct addr_sock *sock)
{
	struct config_place *places;

	if (addr->kind == ADDR_INET && addr->port == 0)
		return;
	places = config_grow(reader->places, reader->n_places, sizeof(*places));
	if (places == NULL) {
		reader->out_of_memory = true;
		return;
	}
	reader->places = places;
	places += reader->n_places++;
	addr_sock_format(sock, places->text, sizeof(places->text));
	places->at = at;
	memcpy(places->where, reader->where, sizeof(places->where));
	places->first = NULL;
}

static int
config_value_addr(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, struct addr *addr)
{
	const char *text = config_setting_get_string(setting), *why;
	char quoted[CONFIG_TEXT_MAX];
	struct addr_sock sock;

	if (addr_parse(text, addr, &why) == -1)
		goto fail;
	if (option->kind == CONFIG_KIND_CONNECT) {
		if (addr->kind == ADDR_UNIX)
			return 0;
		why = "port 0 cannot be connected to";
		if (addr->port == 0)
			goto fail;
		why = "the host is missing";
		if (addr->host[0] == '\0')
			goto fail;
		return 0;
	}
	why = "a host name; listen takes addresses such as 127.0.0.1 or [::1]";
	if (addr_to_sock(addr, &sock) == -1)
		goto fail;
	config_place_add(reader, setting, addr, &sock);
	return 0;
fail:
	config_error_at(reader, setting, option->key, "\"%s\": %s",
	    config_quote(quoted, text), why);
	return -1;
}

static int
config_value_network(struct config_reader *reader,
    const config_setting_t *setting, const struct config_option *option,
    struct addr_cidr *network)
{
	const char *text = config_setting_get_string(setting), *why;
	char quoted[CONFIG_TEXT_MAX];

	if (addr_cidr_parse(text, network, &why) == 0)
		return 0;
	config_error_at(reader, setting, option->key, "\"%s\": %s",
	    config_quote(quoted, text), why);
	return -1;
}

/* One element of a list into item. */
static int
config_value_item(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, void *item)
{
	if (config_setting_type(setting) != CONFIG_TYPE_STRING) {
		config_error_type_of(reader, setting, option);
		return -1;
	}
	if (option->kind == CONFIG_KIND_NETWORKS)
		return config_value_network(reader, setting, option, item);
	return config_value_addr(reader, setting, option, item);
}

static void
config_value_list(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, void *base)
{
	bool is_single = config_setting_type(setting) == CONFIG_TYPE_STRING;
	size_t *count = (size_t *)((char *)base + option->companion);
	size_t n, size;
	char *items;

	if (!is_single && !config_setting_is_array(setting) &&
	    !config_setting_is_list(setting)) {
		config_error_type_of(reader, setting, option);
		return;
	}
	n = is_single ? 1 : (size_t)config_setting_length(setting);
	if ((double)n < option->min || (double)n > option->max) {
		config_error_at(reader, setting, option->key,
		    n == 0 ? "is empty; leave it out to mean all" :
			     "has too many elements");
		return;
	}
	size = option->kind == CONFIG_KIND_NETWORKS ? sizeof(struct addr_cidr) :
						      sizeof(struct addr);
	items = calloc(n > 0 ? n : 1, size);
	if (items == NULL) {
		reader->out_of_memory = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (config_value_item(reader,
			is_single ?
			    setting :
			    config_setting_get_elem(setting, (unsigned)i),
			option, items + *count * size) == 0)
			++*count;
	if (option->kind == CONFIG_KIND_NETWORKS)
		*(struct addr_cidr **)((char *)base +
		    option->offset) = (struct addr_cidr *)items;
	else
		*(struct addr **)((char *)base +
		    option->offset) = (struct addr *)items;
}

void
config_value_set(struct config_reader *reader, const config_setting_t *setting,
    const struct config_option *option, void *base)
{
	char *member = (char *)base + option->offset;
	bool is_string = config_setting_type(setting) == CONFIG_TYPE_STRING;

	switch (option->kind) {
	case CONFIG_KIND_INT:
	case CONFIG_KIND_INT64:
	case CONFIG_KIND_SECONDS:
		config_value_number(reader, setting, option, base);
		return;
	case CONFIG_KIND_BOOL:
		if (config_setting_type(setting) == CONFIG_TYPE_BOOL)
			*(bool *)member = config_setting_get_bool(setting) != 0;
		else
			config_error_type_of(reader, setting, option);
		return;
	case CONFIG_KIND_LISTENS:
	case CONFIG_KIND_NETWORKS:
		config_value_list(reader, setting, option, base);
		return;
	case CONFIG_KIND_LISTEN:
	case CONFIG_KIND_CONNECT:
		/* There, even if wrong: no error that it is missing, too. */
		*(bool *)((char *)base + option->companion) = true;
		break;
	default:
		break;
	}
	if (!is_string)
		config_error_type_of(reader, setting, option);
	else if (option->kind == CONFIG_KIND_WORD)
		config_value_word(reader, setting, option, base);
	else if (option->kind == CONFIG_KIND_ON_CHANGE)
		config_value_on_change(reader, setting, option, base);
	else if (option->kind == CONFIG_KIND_LISTEN ||
	    option->kind == CONFIG_KIND_CONNECT)
		config_value_addr(reader, setting, option,
		    (struct addr *)member);
	else
		config_value_text(reader, setting, option, base);
}
