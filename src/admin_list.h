/* SPDX-License-Identifier: ISC */
/*
 * admin_list: answers of many rows, sent in pieces, and what else the files
 * of the commands share.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_LIST_H
#define TUNNELD_ADMIN_LIST_H

#include "admin_commands.h"

/* An array that is at hand, taken over; NULL: out of memory. */
void admin_list_array(struct admin_request *request, json_t *rows);
/* The piece of it that begins at *next, which is moved behind it. */
json_t *admin_list_piece(const json_t *rows, size_t *next);

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

/* The same where the request may be gone by then. */
struct admin_author {
	uid_t uid;
	char who[ADMIN_WHO_SIZE];
	bool relayed; /* the other process records it */
};
void admin_author_set(struct admin_author *author,
    const struct admin_request *request);
void admin_record_by(const struct admin_author *author,
    struct admin_context *context, const struct admin_change *change);

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
/* Whether it means one of those, or several. */
bool admin_find_knows_tunnel(const struct tunnels *tunnels, const char *name);
bool admin_find_knows_peer(const struct admin_context *context,
    const char *name);

/* Whether others than this worker are to be asked, too. */
bool admin_has_workers(const struct admin_context *context);
/* True after answering that this worker drains: it is asked for its sessions
 * alone. */
bool admin_refuse_draining(struct admin_request *request,
    const struct admin_context *context);

/* admin_show.c: what this daemon is, and what it holds. */
admin_run_fn admin_version, admin_status, admin_peers, admin_tunnels;
/* Whether a reply says that the worker is there, but not what was asked for. */
bool admin_reply_is_not_found(const struct admin_reply *reply);
/* The end of a list for which others were asked: some may not have answered. */
void admin_list_end_ask(struct admin_request *request,
    const struct admin_ask *ask);
/* admin_history.c: what the ledger is asked for. */
admin_run_fn admin_session, admin_history, admin_links, admin_stats,
    admin_uptime, admin_changes;
/* admin_sessions.c, admin_kill.c, admin_control.c */
admin_run_fn admin_sessions, admin_kill, admin_disconnect, admin_disable,
    admin_enable;
/* admin_diagnose.c, admin_events.c */
admin_run_fn admin_test, admin_ping, admin_log_level, admin_config,
    admin_events;
/* admin_reload.c, admin_upgrade.c */
admin_run_fn admin_reload, admin_upgrade;

#endif
