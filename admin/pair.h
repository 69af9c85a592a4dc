/* SPDX-License-Identifier: ISC */
/*
 * pair: new secrets, and the config of a new pair of machines, ready to paste.
 * Needs no daemon. The only place where a secret is printed.
 */
#ifndef TUNNELCTL_PAIR_H
#define TUNNELCTL_PAIR_H

#include "output.h"

/* Both return 0, or -1 with the reason, that never holds the secret, in
 * error. */

/* Prints a new secret, or writes it to a new file of mode 0600. */
int pair_secret(struct output *out, const char *file, char *error,
    size_t error_size);

struct pair_names {
	const char *client;
	const char *address; /* where the client reaches the server */
	const char *server;  /* NULL: the host name up to its first dot */
};
int pair_print(struct output *out, const struct pair_names *names, char *error,
    size_t error_size);

#endif
