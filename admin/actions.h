/* SPDX-License-Identifier: ISC */
/*
 * actions: what each command does: asks the daemon and shows its answer. Each
 * returns the exit status and has said on stderr what went wrong.
 */
#ifndef TUNNELCTL_ACTIONS_H
#define TUNNELCTL_ACTIONS_H

#include "commands.h"

int action_peers(struct context *context);
int action_tunnels(struct context *context);
int action_sessions(struct context *context);
int action_history(struct context *context);
int action_status(struct context *context);
int action_session(struct context *context);
int action_version(struct context *context);
int action_kill(struct context *context);
int action_secret(struct context *context);
int action_pair(struct context *context);

#endif
