/* SPDX-License-Identifier: ISC */
/*
 * pair_script: the shell script that makes one machine an end of a new pair.
 * Text alone: nothing is run or written here.
 *
 * The script is one command that a person pastes into a terminal, as root or
 * as somebody who may sudo. It writes the secret, which must not be there yet,
 * and tunnels.conf, unless something is in it already: then it puts what is
 * to be added beside it. Who cannot have all gets nothing.
 */
#ifndef TUNNELCTL_PAIR_SCRIPT_H
#define TUNNELCTL_PAIR_SCRIPT_H

#include <stddef.h>

#include "name.h"

#define PAIR_DIRECTORY "/etc/tunneld/"
#define PAIR_SECRETS PAIR_DIRECTORY "secrets/"
#define PAIR_USER "tunneld" /* the Debian package makes it */
#define PAIR_CONFIG_SIZE 2048
#define PAIR_SCRIPT_SIZE 6144

/* One of the two machines. */
struct pair_side {
	const char *name;
	const char *other; /* the name of the other one */
	char config[PAIR_CONFIG_SIZE];
	char secret_file[sizeof PAIR_SECRETS + NAME_SIZE];
};

/* Every word in it must be a valid name or address: the shell reads it. */
void pair_script(const struct pair_side *side, const char *secret,
    char buf[PAIR_SCRIPT_SIZE]);

#endif
