/* SPDX-License-Identifier: ISC */
/*
 * commands: the one table of what tunnelctl can do: words, help, options,
 * function; and the table of options.
 *
 * Everything a command needs is in struct context; nothing is global.
 */
#ifndef TUNNELCTL_COMMANDS_H
#define TUNNELCTL_COMMANDS_H

#include <stdbool.h>
#include <stdio.h>

#include "output.h"

/* Exit statuses, part of the manual. */
enum {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1, /* or not found */
	EXIT_USAGE = 2,
	EXIT_UNREACHABLE = 3
};

enum { /* which options there are; bits, for what a command takes */
	OPTION_SOCKET = 1 << 0,
	OPTION_JSON = 1 << 1,
	OPTION_HELP = 1 << 2,
	OPTION_VERSION = 1 << 3,
	OPTION_TUNNEL = 1 << 4,
	OPTION_PEER = 1 << 5,
	OPTION_LIMIT = 1 << 6,
	OPTION_NAME = 1 << 7,
	OPTION_CSV = 1 << 8,
	OPTION_COLUMNS = 1 << 9,
	OPTION_BYTES = 1 << 10,
	OPTION_UTC = 1 << 11,
	OPTION_SOURCE = 1 << 12,
	OPTION_OLDER = 1 << 13,
	OPTION_IDLE = 1 << 14,
	OPTION_DRY_RUN = 1 << 15,
	OPTION_KILL = 1 << 16,
	OPTION_REASON = 1 << 17,
	OPTION_SINCE = 1 << 18,
	OPTION_UNTIL = 1 << 19,
	OPTION_MIN_BYTES = 1 << 20,
	OPTION_BY = 1 << 21,
	OPTION_PER = 1 << 22,
	OPTION_DATABASE = 1 << 23,
	OPTION_KIND = 1 << 24,
	OPTION_COUNT = 1 << 25,
	OPTION_INTERVAL = 1 << 26,
	OPTION_IF_NEW = 1 << 27,
	OPTION_EVERYWHERE = OPTION_SOCKET | OPTION_JSON | OPTION_BYTES |
	    OPTION_UTC | OPTION_HELP | OPTION_VERSION,
	/* Of commands that show a list or an object with named members. */
	OPTION_TABLE = OPTION_CSV | OPTION_COLUMNS,
	OPTION_SELECT = OPTION_TUNNEL | OPTION_PEER | OPTION_SOURCE |
	    OPTION_OLDER | OPTION_IDLE
};

struct option_entry {
	int bit;
	int letter; /* above 255: it has none */
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
	const char *words; /* the kind of words it takes, for completion */
};
extern const struct option_entry commands_options[]; /* ends at name NULL */

struct context {
	const struct command *command;
	struct output *out;
	const char *socket;
	const char *tunnel; /* these are NULL where not given */
	const char *peer;
	const char *limit;
	const char *name;
	const char *source;
	const char *older;
	const char *idle;
	const char *reason;
	const char *since;
	const char *until;
	const char *min_bytes;
	const char *by;
	const char *per;
	const char *database;
	const char *columns;
	const char *kind;
	const char *count;
	const char *interval;
	bool dry_run;
	bool kill;
	bool if_new;
	bool bytes; /* exact numbers; out knows it, too */
	bool utc;   /* exact times in UTC; likewise */
	bool json;  /* or CSV: what is written is for programs */
	bool csv;
	int given;   /* option bits */
	char **args; /* of the command */
	int n_args;
};

struct command {
	const char *name;
	const char *args; /* for the usage; each form a line of its own */
	const char *help; /* one line; NULL: hidden from people */
	const char *more; /* what else there is to know, or NULL */
	int options;
	int min_args, max_args; /* max -1: no end */
	const char *words;	/* the kind of its arguments, for completion */
	int (*run)(struct context *context); /* returns the exit status */
};

extern const struct command commands_table[]; /* ends at name NULL */

/*
 * The command of that name, or the only one that begins with it. NULL if
 * there is none or several: says so, and what may have been meant.
 */
const struct command *commands_find(const char *name);
/* The same, and says nothing. */
const struct command *commands_lookup(const char *name);

/* What a command takes, "usage: ..." to file. */
void commands_synopsis(FILE *file, const struct command *command);

/* The whole manual in short, or that of one command. */
void commands_usage(FILE *file);
void commands_help(const struct command *command);

/* "tunnelctl: status: ..." on stderr. */
void commands_error(const struct context *context, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
