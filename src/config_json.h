/* SPDX-License-Identifier: ISC */
/*
 * config_json: the effective configuration as JSON: every option of the table
 * with its value, defaults filled in, in the groups and lists of the file.
 *
 * Names, paths, words, addresses and networks are strings as the file may hold
 * them; numbers are numbers, seconds reals; lists are arrays. null stands for
 * what is not set and has no default, also in reconnect of a peer that is not
 * dialled: a group of which all is null may not stand in the file. What it
 * says loads as an equal configuration. Of a secret it knows only the path of
 * the file.  Floor 1.
 */
#ifndef TUNNELD_CONFIG_JSON_H
#define TUNNELD_CONFIG_JSON_H

#include <jansson.h>

#include "config.h"

/* {"daemon": {...}, "gateway": {...}, ..., "peers": [...], "tunnels": [...]},
 * a new object; NULL out of memory. */
json_t *config_json(const struct config *config);

/* The value of one option, whose member is in the struct at base, as it stands
 * in that. */
struct config_option;
json_t *config_json_option(const struct config_option *option,
    const void *base);

#endif
