/* SPDX-License-Identifier: ISC */
/* config_rows: for each option two values, and files made of them. */
#ifndef CONFIG_ROWS_H
#define CONFIG_ROWS_H

#include "config.h"
#include "config_options.h"

/* Short, for tables. */
#define DAEMON CONFIG_SECTION_DAEMON
#define GATEWAY CONFIG_SECTION_GATEWAY
#define METRICS CONFIG_SECTION_METRICS
#define PEER CONFIG_SECTION_PEER
#define HEARTBEAT CONFIG_SECTION_HEARTBEAT
#define RECONNECT CONFIG_SECTION_RECONNECT
#define TUNNEL CONFIG_SECTION_TUNNEL

/* NULL: not set. config_rows_fixed: there is no other value yet, or it is what
 * a thing is known by. */
struct config_row {
	enum config_section section;
	const char *key;
	const char *values[2];
};

extern const char config_rows_fixed[];

const struct config_row *config_row_of(const struct config_option *option);
/* A file with all of them, each with its first value but `changed`. */
void config_rows_write(const struct config_row *changed, char *text,
    size_t size);

#endif
