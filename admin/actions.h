/* SPDX-License-Identifier: ISC */
/*
 * actions: what each command does: asks the daemon and shows its answer. Each
 * returns the exit status and has said on stderr what went wrong.
 */
#ifndef TUNNELCTL_ACTIONS_H
#define TUNNELCTL_ACTIONS_H

#include "commands.h"

/* admin/actions_show.c */
int action_status(struct context *context);
int action_peers(struct context *context);
int action_tunnels(struct context *context);
int action_sessions(struct context *context);
int action_session(struct context *context);
int action_version(struct context *context);

/* admin/actions_kill.c */
int action_kill(struct context *context);

/* admin/actions_control.c */
int action_disconnect(struct context *context);
int action_disable(struct context *context);
int action_enable(struct context *context);
int action_log_level(struct context *context);

/* admin/history.c */
int action_history(struct context *context);
int action_stats(struct context *context);

/* admin/actions_events.c */
int action_events(struct context *context);

/* admin/actions_diagnose.c */
int action_test(struct context *context);
int action_ping(struct context *context);

/* admin/actions_reload.c */
int action_reload(struct context *context);

/* admin/actions_upgrade.c */
int action_upgrade(struct context *context);

/* admin/actions_config.c */
int action_config(struct context *context);

/* admin/actions_pair.c */
int action_secret(struct context *context);
int action_pair(struct context *context);

/* admin/actions_words.c */
int action_complete_words(struct context *context);

/* admin/completion.c */
int action_completion(struct context *context);

#endif
