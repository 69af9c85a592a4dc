/* SPDX-License-Identifier: ISC */
/*
 * daemon_internal: what the files of daemon share, and nobody else includes.
 *
 * daemon.c is its life; daemon_start.c brings it up; daemon_peers.c what peers
 * tell it; daemon_reload.c another configuration; daemon_change.c what that
 * does, in words; daemon_master.c what its master tells it, and is told;
 * daemon_keep.c the listeners that the master holds, too; daemon_drain.c how it
 * leaves to another worker; daemon_users.c users on the way from one to the
 * other; daemon_notify.c what a service manager is told.  Floor 6.
 */
#ifndef TUNNELD_DAEMON_INTERNAL_H
#define TUNNELD_DAEMON_INTERNAL_H

#include <sys/queue.h>
#include <sys/stat.h>

#include "admin_commands.h"
#include "admin_workers.h"
#include "daemon.h"
#include "metrics.h"
#include "notify.h"
#include "privilege.h"

struct daemon_link;
struct daemon_older;

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
	struct rush *rush;
	struct peer_context peer_context;
	struct peers *peers;
	struct events events;
	struct ledger *ledger;
	struct tunnels *tunnels;
	struct gateway *gateway;
	struct metrics *metrics; /* NULL: not asked for */
	struct admin *admin;
	struct admin_context admin_context;
	struct notify *notify;
	struct daemon_link *links; /* uthash: a peer's life of a link */
	int64_t next_link_id;
	struct loop_signal *signals[DAEMON_SIGNALS];
	struct loop_timer *reload; /* SIGHUP came */
	double reloaded_at;
	bool serving; /* accepts and dials */
	/* The master; NULL: none. */
	struct handover *master;
	struct handover_start given;
	struct net_inherited *inherited; /* until everything is bound */
	int lock_fd;
	struct loop_watch *master_watch;
	struct loop_timer *alive;
	bool orphaned;	     /* the master is gone */
	uint64_t kept;	     /* a sum of what the master keeps */
	unsigned unanswered; /* KEPT that are to be answered */
	struct loop_timer *ready;
	bool is_ready; /* and has said so */
	struct stat binary;
	struct admin_workers *workers; /* that drain */
	/* An upgrade, while one is under way. */
	bool upgrading;
	admin_upgraded_fn *upgraded; /* NULL: nobody waits for the answer */
	void *upgraded_arg;
	struct loop_timer *upgrade;
	bool hung_up; /* SIGHUP came meanwhile */
	/* Leaving. */
	bool draining;
	struct loop_timer *drain; /* looks whether it is done */
	double drain_since;	  /* as loop_now */
	double drain_end;	  /* its sessions end then; 0: never */
	double idle_since;	  /* there are none; 0: there are some */
	struct handover *heir;	  /* users who wait go there */
	struct loop_watch *heir_watch;
	LIST_HEAD(daemon_olders, daemon_older) olders; /* and come from there */
};

/* daemon.c */
/* What administrators switched off stays so over restarts. */
void daemon_apply_disabled(void *daemon);

/* daemon_start.c */
/* Everything is there but what serves; 0, or -1 after logging why. */
int daemon_bring_up(struct daemon *daemon);

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

/* daemon_notify.c */
/* Before the loop runs; 0, or -1 after logging. */
int daemon_open_notify(struct daemon *daemon);

/* daemon_change.c: one object of config_diff. Both work on what is in force
 * before it is applied. */
/* Adds "sessions" and "effect". */
int daemon_change_describe(const struct daemon *daemon,
    const struct config *after, json_t *change); /* 0, or -1: memory */
/* One line. Returns buf. */
char *daemon_change_text(const json_t *change, char *buf, size_t size);

/* daemon_master.c */
/* Listens to the master from now on, where there is one. -1: memory. */
int daemon_meet_master(struct daemon *daemon);
/* Is killed when the master dies; once more after root was given up, which
 * takes that back. -1: it is dead. */
int daemon_stay_with_master(const struct daemon *daemon);
/* Waits, half a second at most, until it has answered each KEPT: nothing is
 * kept that was let go. It may speak of other things meanwhile. */
void daemon_await_kept(struct daemon *daemon);
/* Sends, now or as soon as it takes what is sent. -1: it is gone. */
int daemon_tell_master(struct daemon *daemon,
    const struct handover_message *message);

/* daemon_keep.c */
#define DAEMON_LOCK_WHO "admin lock" /* that of the admin socket */
/* Before anything is bound: what of the inherited listeners the configuration
 * wants. The rest is let go. */
void daemon_claim(struct daemon *daemon);
void daemon_get_inherited_admin(struct daemon *daemon,
    struct admin_inherited *out);
/* Tells the master what it listens on, if that has changed; waits: until the
 * master has closed what is not among it. */
void daemon_keep(struct daemon *daemon, bool waits);
/* A loop_fn: the same, and the service manager must have closed it, too. */
void daemon_release(void *daemon);

/* daemon_master.c */
/* Everything is there: waits for GO, or, without a master, goes. */
void daemon_ready(void *daemon);
/* As notify_send_fn, by way of the master. */
void daemon_tell_manager(const char *text, void *daemon);
/* As admin_context.upgrade and .replaced. */
void daemon_upgrade(admin_upgraded_fn *done, void *done_arg, void *daemon);
bool daemon_is_replaced(void *daemon);
/* Tells whoever waits for it. why is NULL if it succeeded. */
void daemon_upgraded(struct daemon *daemon, const char *why, pid_t pid,
    const char *version);
void daemon_leave_master(struct daemon *daemon); /* at the end of all */

/* daemon.c */
void daemon_go(struct daemon *daemon); /* accepts and dials from now on */

/* daemon_drain.c */
/* To the worker of that pid. */
void daemon_drain(struct daemon *daemon, pid_t pid, const char *version);
void daemon_end_sessions(struct daemon *daemon);
/* The timer. */
void daemon_drain_check(void *daemon);

/* daemon_users.c; both take fd. */
void daemon_set_heir(struct daemon *daemon, int fd);
void daemon_add_older(struct daemon *daemon, int fd);
/* Tells the heir whose links there are, so that it lets no other daemon of
 * their names in before them. */
void daemon_give_peers(struct daemon *daemon);
/* Reads what those who leave have said so far. */
void daemon_hear_olders(struct daemon *daemon);
/* As tunnels_give_fn. */
void daemon_give_user(struct tunnel_user *user, void *daemon);
void daemon_forget_users(struct daemon *daemon); /* at the end of all */

#endif
