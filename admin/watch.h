/* SPDX-License-Identifier: ISC */
/*
 * watch: tunnels and sessions on a screen that is refreshed in place. Uses
 * --interval, --tunnel and --peer of the context. Never waits for the daemon.
 */
#ifndef TUNNELCTL_WATCH_H
#define TUNNELCTL_WATCH_H

#include "commands.h"

int action_watch(struct context *context); /* the exit status */

#endif
