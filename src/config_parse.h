/* SPDX-License-Identifier: ISC */
/*
 * config_parse: what the files of the module config share while a config is
 * being made of a file: config_scan.c looks at the bytes before libconfig
 * may, config_parse.c walks through the groups, config_value.c reads one value
 * into a struct, config_check.c judges what spans options. Nobody else includes
 * it.  Floor 1.
 */
#ifndef TUNNELD_CONFIG_PARSE_H
#define TUNNELD_CONFIG_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "config.h"

#define CONFIG_TEXT_MAX 96 /* of a file's text within an error */
#define CONFIG_WHERE_MAX (CONFIG_TEXT_MAX * 2 + 32)

struct config_option;
struct config_setting_t; /* libconfig's */

/* A place where this daemon will listen, to find two of the same. */
struct config_place {
	char text[ADDR_TEXT_SIZE]; /* as the kernel sees it, to compare */
	const struct config_setting_t *at;
	char where[CONFIG_WHERE_MAX];
	const struct config_place *first; /* of that text; maybe this one */
};

struct config_reader {
	struct config *config; /* being filled */
	struct config_errors *errors;
	size_t n_scanned;   /* errors that config_scan found */
	bool out_of_memory; /* an error by itself */
	bool user_unknown;  /* daemon.user: nobody to read secrets as */
	char where[CONFIG_WHERE_MAX]; /* "peer homelab": begins messages */
	struct config_place *places;
	size_t n_places;
};

/*
 * Reads the file and looks for what libconfig would take wrongly: includes
 * that it would end the process on, comments that never end, numbers that it
 * would cut to 32 bits. 0 and the file in *text (the caller frees it) if
 * libconfig may read it, errors or not; else -1, *text is NULL and there is
 * an error.
 */
int config_scan(struct config_reader *reader, char **text);

/* Fills reader->config from text, and checks it. */
void config_parse(struct config_reader *reader, const char *text);

/* Reads one value into the struct at base, or adds an error. */
void config_value_set(struct config_reader *reader,
    const struct config_setting_t *setting, const struct config_option *option,
    void *base);

/* What a setting is: "a list". */
const char *config_type_name(const struct config_setting_t *setting);

/* Checks what spans options and fills the defaults that depend on others. */
void config_check(struct config_reader *reader,
    const struct config_setting_t *root);

/* Sorts what the finders look through; -1 if memory runs out. */
int config_index(struct config *config);

/*
 * list, of n elements of this size, with room for one more: it doubles
 * whenever n is a power of two. NULL if memory runs out; list is as it was.
 */
void *config_grow(void *list, size_t n, size_t size);

/* Adds an error. file is copied; NULL is the main file. */
void config_error_add(struct config_reader *reader, const char *file,
    unsigned line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Adds one that begins with where and key (NULL: none), at a setting. */
void config_error_at(struct config_reader *reader,
    const struct config_setting_t *at, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Text of the file for an error: printable, cut, and never what looks like a
 * secret. Returns buf, of CONFIG_TEXT_MAX bytes.
 */
const char *config_quote(char *buf, const char *text);
bool config_looks_secret(const char *text);

/* Set reader->where for a peer or a tunnel; name may be NULL. */
void config_where_peer(struct config_reader *reader, const char *name,
    size_t place);
void config_where_tunnel(struct config_reader *reader, const char *peer,
    const char *name, size_t place);

#endif
