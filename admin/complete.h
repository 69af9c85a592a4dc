/* SPDX-License-Identifier: ISC */
/*
 * complete: what kind of word may stand at the end of an unfinished command
 * line; from the tables of commands and options. Asks nobody.
 */
#ifndef TUNNELCTL_COMPLETE_H
#define TUNNELCTL_COMPLETE_H

#include <stddef.h>

#include "commands.h"

struct complete_spot {
	const char *kind;   /* "tunnels", ...; NULL: nothing to offer */
	const char *word;   /* what there is of it already */
	const char *prefix; /* what stands before it in the same shell word, */
	size_t prefix_len;  /* "--tunnel=" or "id,age,", and is kept */
	const struct command *command; /* NULL: none yet */
	const char *first;	       /* its first argument, NULL: none */
	const char *socket;	       /* of -s, NULL: none */
};

/*
 * The words of a line without "tunnelctl", the last one the unfinished one
 * (it may be ""). A "=" may be a word of its own, as bash has it.
 */
void complete_find(struct complete_spot *spot, char **words, int n);

#endif
