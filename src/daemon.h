/* SPDX-License-Identifier: ISC */
/*
 * daemon: owns everything: brings it up in order, runs the loop, takes it
 * down in order. No global state: all hangs from struct daemon.  Floor 6.
 */
#ifndef TUNNELD_DAEMON_H
#define TUNNELD_DAEMON_H

#include "config.h"
#include "handover.h"
#include "net_inherit.h"

/* All that a worker is given at its start. */
struct daemon_start {
	struct config *config; /* a reference, taken over; reloads read the
				  file at its path again */
	bool foreground;       /* log to stderr whatever it says */
	bool verbose;	       /* at level debug, likewise */
	const char *version;
	/* By daemon_start_receive; else NULL, zero and -1: no master. What is
	 * not NULL is taken over. */
	struct handover *master;
	struct handover_start given;
	struct net_inherited *inherited;
	int lock_fd; /* of the admin socket */
};

struct daemon;

/* What the master, at the other end of fd, gives a worker: all of the above
 * that it knows. 0, or -1 after logging why. Waits for it. */
int daemon_start_receive(struct daemon_start *start, int fd);

/*
 * Takes the admin socket's lock, binds everything, gives up root, opens the
 * ledger. NULL after logging everything that failed; start is used up either
 * way, but for its master, which is then still the caller's.
 */
struct daemon *daemon_new(struct daemon_start *start);

/* Serves until SIGTERM or SIGINT, or until it has drained; the exit status of
 * the process. With a master, it accepts nobody before that says so. */
int daemon_run(struct daemon *daemon);

/* Closes all in order and writes the ledger. NULL is ignored. */
void daemon_free(struct daemon *daemon);

#endif
