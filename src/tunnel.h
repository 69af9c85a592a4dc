/* SPDX-License-Identifier: ISC */
/*
 * tunnel: the tunnels of this daemon and the sessions they carry, found by
 * name, id and uid without walking a list.
 *
 * Owns listeners and sessions. What a session does stands in session, entry
 * and exit; who asks for it (admin) and who records it (ledger) are told
 * through plain structs.  Floor 4.
 */
#ifndef TUNNELD_TUNNEL_H
#define TUNNELD_TUNNEL_H

#include <sys/queue.h>

#include <uthash.h>

#include "config.h"
#include "events.h"
#include "ledger.h"
#include "linger.h"
#include "net_inherit.h"
#include "peers.h"
#include "pipe.h"
#include "relay.h"
#include "rate.h"

struct session;
TAILQ_HEAD(session_list, session);

struct tunnel_counts {
	uint64_t total;			/* sessions */
	uint64_t refused[REASON_COUNT]; /* users not served, by reason */
	uint64_t up_bytes, down_bytes;	/* of closed sessions */
};

/* One whose configuration changed or went, while it still has sessions. */
struct tunnel_drain {
	bool on;
	bool changed; /* there was another of its label right away */
	int64_t since_us;
	int64_t until_us; /* its sessions are closed then; 0: never */
	struct loop_timer *timer;
};

/*
 * Current: named by the configuration in force, and then it stands in
 * tunnels->all and is found by its label. Or draining: it stands in
 * tunnels->draining, accepts nobody, and is freed at the end of a turn of the
 * loop once it has no session and nobody holds it.
 */
struct tunnel {
	TAILQ_ENTRY(tunnel) entry;
	struct tunnels *tunnels;
	const struct config_tunnel *conf; /* counted */
	char label[NAME_SIZE * 2];	  /* "PEER/NAME" or "NAME" */
	struct peer *peer;		  /* NULL: local; counted */
	enum ledger_end end;
	unsigned refs;		       /* tunnel_ref */
	struct net_listener *listener; /* NULL: an exit, or draining */
	struct session_list sessions;  /* live, oldest first */
	struct session_list busy;      /* of them, those that do not rest */
	uint64_t live_up, live_down; /* of them all, when each was refreshed */
	unsigned n_sessions;
	unsigned n_waiting;	   /* of them, for a channel */
	unsigned n_older;	   /* current: sessions of draining ones of
				      its label; see tunnel_count_sessions */
	struct tunnel_counts own;  /* of this object */
	struct tunnel_counts past; /* current: of those of its label that are
				      gone, since the start */
	char error[512]; /* why the last user was not served; "": none */
	int64_t error_us;
	struct rate rate;
	struct tunnel_drain drain;
	bool stays; /* of use in tunnel_change alone */
	/* Switched off by an administrator, until switched on again. */
	bool disabled;
	int64_t disabled_us;
	char disabled_by[HISTORY_BY_SIZE];
	UT_hash_handle hh; /* by label */
};

TAILQ_HEAD(tunnel_list, tunnel);

/* A user who waits for a channel, on the way to the other process. */
struct tunnel_user {
	char label[NAME_SIZE * 2]; /* of his tunnel */
	int64_t id;		   /* of his session, and its uid */
	uint8_t uid[WIRE_UID_SIZE];
	struct addr_sock source;
	int64_t opened_us;
	int fd;			  /* his connection */
	struct relay_early early; /* what he said so far */
};

/* Takes fd and early.data; calls nothing of tunnels. */
typedef void tunnels_give_fn(struct tunnel_user *user, void *arg);

/* Of use only once this process makes way for another. */
struct tunnel_leave {
	tunnels_give_fn *give; /* NULL: tunnels_leave was not called */
	void *give_arg;
	loop_fn *idle; /* NULL: nobody asks */
	void *idle_arg;
	struct loop_task idle_task;
	struct loop_task end_task;
	enum reason reason; /* of the end */
	const char *by;	    /* NULL: sessions run on */
};

struct tunnels_params {
	struct loop *loop;
	struct resolve_pool *resolver;
	struct peers *peers;
	struct ledger *ledger;
	struct events *events;
	const struct config *config;	 /* of use in tunnels_new alone */
	struct net_inherited *inherited; /* of use in tunnels_listen alone;
					    NULL: nothing */
};

struct tunnels;

/* Shared by session, entry and exit. */
struct tunnels {
	struct tunnels_params params;
	struct pipe_pool *pipes;
	struct linger *linger;
	struct tunnel_list all;	     /* in the order of the config */
	struct tunnel_list draining; /* oldest first */
	struct tunnel *by_label;     /* uthash, of all */
	bool by_label_partly;	     /* of all that there was memory for */
	bool started;		     /* listeners accept */
	struct loop_task reap;	     /* frees those that are done draining */
	struct session *by_id;	     /* uthash */
	struct session *by_uid;	     /* uthash */
	struct session_list refresh; /* all live ones, oldest first */
	struct loop_timer *timer;    /* when busy ones are looked at */
	unsigned n_sessions;
	unsigned n_waiting; /* of them, for a channel */
	uint64_t total;
	struct tunnel_uids *uids;		/* those answered lately */
	uint8_t fresh_uids[16 * WIRE_UID_SIZE]; /* random, made in one go */
	size_t n_fresh;				/* bytes of them not used */
	struct tunnel_leave leave;
};

struct tunnels *tunnels_new(const struct tunnels_params *params);
/* Whose a tunnel's listener is, to net_inherit. Returns buf. */
char *tunnel_who(const char *label, char buf[NET_WHO_SIZE]);
/* Binds every listener; -1 after calling error() for each that fails. */
int tunnels_listen(struct tunnels *tunnels,
    void (*error)(const char *text, void *arg), void *arg);
void tunnels_start(struct tunnels *tunnels); /* begins to accept */
/* The peer's link went down: who waits for a channel is held from now on, and
 * of those there are at most max_held a tunnel; the latest go. */
void tunnels_link_down(struct tunnels *tunnels, const struct peer *peer);
/* Closes every session; none is accepted any more. */
void tunnels_stop(struct tunnels *tunnels, enum reason reason, const char *by);
void tunnels_free(struct tunnels *tunnels);

/* The peer was expected back, and is late: who waits is held from now on as
 * by any outage. */
void tunnels_peer_late(struct tunnels *tunnels, const struct peer *peer);

/* --- upgrade: another process takes the place of this one ------------------ */

/*
 * Stops listening; socket files stay. Users who wait for a channel are given
 * away: those there are, before this returns, and later each who comes to wait
 * since his channel died before it was answered. Nothing is recorded of that,
 * his session goes on elsewhere. All other sessions run on. For good: no change
 * of the configuration may follow.
 */
void tunnels_leave(struct tunnels *tunnels, tunnels_give_fn *give, void *arg);

/*
 * The other side of it: as if he were accepted just now, but that it is the
 * session that it was, from its first moment: so peer_expect comes before it,
 * or `hold` counts. Takes fd and early.data. Where
 * there is no entry of that label any more, or it is disabled or full, he is
 * reset, and that is recorded.
 */
void tunnels_take(struct tunnels *tunnels, struct tunnel_user *user);

/* Ends all sessions as tunnels_stop does, those to come too, but a bounded
 * number in each turn of the loop. `by` must live on. */
void tunnels_end_sessions(struct tunnels *tunnels, enum reason reason,
    const char *by);

/*
 * fn is called, by a task, each time that the last session has gone and
 * nothing lingers; soon, if it is so already.
 */
void tunnels_on_idle(struct tunnels *tunnels, loop_fn *fn, void *arg);
bool tunnels_is_idle(const struct tunnels *tunnels);

/* By "PEER/NAME", or "NAME" of a local one; NULL. */
struct tunnel *tunnels_find(const struct tunnels *tunnels, const char *label);
/* The tunnel of that name with that peer; NULL. */
struct tunnel *tunnels_find_peer(const struct tunnels *tunnels,
    const char *peer, const char *name);
struct session *tunnels_find_id(const struct tunnels *tunnels, int64_t id);
struct session *tunnels_find_uid(const struct tunnels *tunnels,
    const uint8_t uid[WIRE_UID_SIZE]);

/* An exit's OPENED is final: its uid is remembered for a while. */
void tunnels_remember_uid(struct tunnels *tunnels,
    const uint8_t uid[WIRE_UID_SIZE]);
bool tunnels_knows_uid(const struct tunnels *tunnels,
    const uint8_t uid[WIRE_UID_SIZE]);

/* Who keeps a tunnel over a turn of the loop, and has no session of it, says
 * so. It may begin to drain meanwhile. */
struct tunnel *tunnel_ref(struct tunnel *tunnel); /* NULL is allowed */
void tunnel_unref(struct tunnel *tunnel);	  /* NULL is ignored */

/* Whether the tunnel's allow and deny let the source in. */
bool tunnel_allows(const struct tunnel *tunnel, const struct addr_sock *source);

/* A user was not served: for whoever asks. */
void tunnel_set_error(struct tunnel *tunnel, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * What was counted since the start, bytes of live sessions too. Of a current
 * one: of all that had its label, so that a reload takes nothing back. Of a
 * draining one: of itself.
 */
void tunnel_get_counts(const struct tunnel *tunnel, struct tunnel_counts *out);
/* Sessions at this moment, likewise: what max_sessions bounds. */
unsigned tunnel_count_sessions(const struct tunnel *tunnel);
/* Bytes per second, lately; of itself alone. */
void tunnel_get_rates(const struct tunnel *tunnel, double *up, double *down);

/*
 * Switches it off or on. Off: users are turned away at once (entry, local) or
 * by FAILED (exit) with REASON_DISABLED, those not served yet too, also where
 * an older one of its label drains; open sessions run on. The ledger is not told: who calls does that. `by` as in a
 * row of changes.
 */
void tunnel_set_disabled(struct tunnel *tunnel, bool disabled, int64_t at_us,
    const char *by);
/* The same for all that is waiting for this peer's link; the peer itself is
 * switched off by peer_set_disabled, which calls back link_down. */
void tunnels_peer_disabled(struct tunnels *tunnels, const struct peer *peer);
/* It is switched off, or its peer is. */
bool tunnel_is_disabled(const struct tunnel *tunnel);

#endif
