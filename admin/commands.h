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
	OPTION_EVERYWHERE = OPTION_SOCKET | OPTION_JSON | OPTION_HELP |
	    OPTION_VERSION
};

struct option_entry {
	int bit;
	char letter;
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
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
	char **args; /* of the command */
	int n_args;
};

struct command {
	const char *name;
	const char *args; /* for the usage line */
	const char *help; /* one line */
	const char *more; /* what else there is to know, or NULL */
	int options;
	int min_args, max_args;		     /* max -1: no end */
	int (*run)(struct context *context); /* returns the exit status */
};

/*
 * The command of that name, or the only one that begins with it. NULL if
 * there is none or several: says so, and what may have been meant.
 */
const struct command *commands_find(const char *name);

/* The whole manual in short, or that of one command. */
void commands_usage(FILE *file);
void commands_help(const struct command *command);

/* "tunnelctl: status: ..." on stderr. */
void commands_error(const struct context *context, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
