/* SPDX-License-Identifier: ISC */
/*
 * daemon_internal: what the files of daemon share, and nobody else includes.
 *
 * daemon.c is its life; daemon_peers.c what peers tell it; daemon_reload.c
 * another configuration; daemon_change.c what that does, in words.  Floor 6.
 */
#ifndef TUNNELD_DAEMON_INTERNAL_H
#define TUNNELD_DAEMON_INTERNAL_H

#include "admin_commands.h"
#include "daemon.h"
#include "metrics.h"
#include "privilege.h"

struct daemon_link;

enum { DAEMON_SIGNALS = 3 };

struct daemon {
	struct config *config;
	char *path; /* of its file, absolute */
	bool foreground, verbose;
	const char *version;
	struct privilege privilege;
	struct loop *loop;
	struct tls *tls;
	struct resolve_pool *resolver;
	struct peer_context peer_context;
	struct peers *peers;
	struct events events;
	struct ledger *ledger;
	struct tunnels *tunnels;
	struct gateway *gateway;
	struct metrics *metrics; /* NULL: not asked for */
	struct admin *admin;
	struct admin_context admin_context;
	struct daemon_link *links; /* uthash: a peer's life of a link */
	int64_t next_link_id;
	struct loop_signal *signals[DAEMON_SIGNALS];
	struct loop_timer *reload; /* SIGHUP came */
	double reloaded_at;
};

/* daemon.c */
/* What administrators switched off stays so over restarts. */
void daemon_apply_disabled(void *daemon);

/* daemon_peers.c */
extern const struct peer_handler daemon_peer_handler;
void daemon_forget_links(struct daemon *daemon); /* at the end of all */

/* daemon_reload.c */
/* SIGHUP: soon, and once for many of them that come together. */
void daemon_hangup(void *daemon);
/* For the timer of it. */
void daemon_reload_now(void *daemon);
/* As admin_context.reload. */
void daemon_reload(struct admin_reload *reload, void *daemon);

/* daemon_change.c: one object of config_diff. Both work on what is in force
 * before it is applied. */
/* Adds "sessions" and "effect". */
int daemon_change_describe(const struct daemon *daemon,
    const struct config *after, json_t *change); /* 0, or -1: memory */
/* One line. Returns buf. */
char *daemon_change_text(const json_t *change, char *buf, size_t size);

#endif
