/* SPDX-License-Identifier: ISC */
/*
 * master: the process that the service manager knows. It starts a worker,
 * which is all that tunneld does, keeps its listening sockets, starts another
 * one when it dies or when an upgrade is asked for, and passes signals on.
 *
 * It has no event loop, no threads and no sandbox, reads no configuration, and
 * talks to its workers alone (handover). It lives through upgrades as the
 * program it was started as: hence so little stands here.  Floor 6.
 */
#ifndef TUNNELD_MASTER_H
#define TUNNELD_MASTER_H

/* In the environment of a worker: the number of its descriptor. */
#define MASTER_VARIABLE "TUNNELD_WORKER"

/*
 * argv is the command line, which the workers get, too; the binary is looked
 * for again, where argv[0] found it, for each of them. Returns the exit status
 * of the process: that of the last worker when it was told to stop, that of
 * the first one if it could not start.
 */
int master_run(char **argv);

#endif
