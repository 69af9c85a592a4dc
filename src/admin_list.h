/* SPDX-License-Identifier: ISC */
/*
 * admin_list: answers of many rows, sent in pieces, and what else the files
 * of the commands share.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_LIST_H
#define TUNNELD_ADMIN_LIST_H

#include "admin_commands.h"

/* Live sessions by id (from malloc, taken over), those that are still there
 * when their turn comes. */
void admin_list_sessions(struct admin_request *request,
    struct admin_context *context, int64_t *ids, size_t n);
/* An array that is at hand, taken over; NULL: out of memory. */
void admin_list_array(struct admin_request *request, json_t *rows);

/* An optional string of args; false after answering that it is none. */
bool admin_arg_string(struct admin_request *request, json_t *args,
    const char *key, const char **out);

/*
 * admin_record.c: every change is logged, recorded in the ledger with the uid
 * that asked, and told to who follows events. `who` is admin_request_who's.
 */
struct admin_change {
	const char *command;
	const struct tunnel *tunnel; /* what it was done to; NULL: no tunnel */
	const struct peer *peer;     /* ... and no peer */
	const char *detail;	     /* "3 sessions"; "" */
};
void admin_record(struct admin_request *request, struct admin_context *context,
    const struct admin_change *change);

/* admin_find.c: which tunnel or peer is meant: "PEER/NAME", or "NAME" where
 * that is one only; "/NAME" is a local tunnel. NULL after answering. */
struct tunnel *admin_find_tunnel(struct admin_request *request,
    const struct tunnels *tunnels, const char *name);
/* The same, also one that is configured no more, whose sessions drain. */
struct tunnel *admin_find_any_tunnel(struct admin_request *request,
    const struct tunnels *tunnels, const char *name);
struct peer *admin_find_peer(struct admin_request *request, struct peers *peers,
    const char *name);
struct peer *admin_find_any_peer(struct admin_request *request,
    const struct admin_context *context, const char *name);

/* admin_history.c: what the ledger is asked for. */
admin_run_fn admin_session, admin_history, admin_links, admin_stats,
    admin_uptime, admin_changes;
/* admin_select.c, admin_kill.c, admin_control.c */
admin_run_fn admin_sessions, admin_kill, admin_disconnect, admin_disable,
    admin_enable;
/* admin_diagnose.c, admin_events.c */
admin_run_fn admin_test, admin_ping, admin_log_level, admin_config,
    admin_events;
/* admin_reload.c */
admin_run_fn admin_reload;

#endif
