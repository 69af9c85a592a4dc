/* SPDX-License-Identifier: ISC */
/*
 * daemon: owns everything: brings it up in order, runs the loop, takes it
 * down in order. No global state: all hangs from struct daemon.  Floor 6.
 */
#ifndef TUNNELD_DAEMON_H
#define TUNNELD_DAEMON_H

#include "config.h"

/* All that a worker is given at its start. */
struct daemon_start {
	struct config *config; /* a reference, taken over; reloads read the
				  file at its path again */
	bool foreground;       /* log to stderr whatever it says */
	bool verbose;	       /* at level debug, likewise */
	const char *version;
};

struct daemon;

/*
 * Takes the admin socket's lock, binds everything, gives up root, opens the
 * ledger. NULL after logging everything that failed.
 */
struct daemon *daemon_new(const struct daemon_start *start);

/* Serves until SIGTERM or SIGINT; the exit status of the process. */
int daemon_run(struct daemon *daemon);

/* Closes all in order and writes the ledger. NULL is ignored. */
void daemon_free(struct daemon *daemon);

#endif
