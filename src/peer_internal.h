/* SPDX-License-Identifier: ISC */
/*
 * peer_internal: what the files of peer share, and nobody else includes.
 *
 * peer.c is its life, state and dialling; peer_link.c the link, its channels
 * and who waits for them; peer_accept.c the accepting side and take-over;
 * peer_reload.c another configuration; peer_leave.c giving the name up to
 * another process, and waiting for one; peer_lanes.c the lanes of the link;
 * peer_past.c links that are over, while something may still come in on them.
 * Floor 3.
 */
#ifndef TUNNELD_PEER_INTERNAL_H
#define TUNNELD_PEER_INTERNAL_H

#include "handshake.h"
#include "history.h"
#include "link.h"
#include "peer.h"
#include "pool.h"
#include "supervisor.h"

/* So long, in seconds, after a reload a refusal may mean that the other end is
 * yet to be reloaded: it is tried again as after any failure. */
#define PEER_PATIENCE 60.0

/* So long a link that was left, or is over, may take to be closed. */
#define PEER_LEAVE_SECONDS 5.0
/* The other end is upgraded: another process of it takes so long at most. */
#define PEER_EXPECT_SECONDS 5.0
#define PEER_LEFT "this daemon is being upgraded"

TAILQ_HEAD(peer_waiters, peer_waiter);
TAILQ_HEAD(peer_pings, peer_ping);
struct peer_past;
struct peer_postponed;
TAILQ_HEAD(peer_postponed_list, peer_postponed);
TAILQ_HEAD(peer_pasts, peer_past);

enum peer_state {
	PEER_DOWN,
	PEER_DIALLING,
	PEER_WAITING,
	PEER_UP,
	PEER_DISABLED /* by an administrator; no link, no dial */
};

struct peer {
	const struct peer_context *context;
	const struct config_peer *conf;
	double conf_since;
	double relinked_at; /* a reload changed what the link needs; 0: none */
	uint32_t index;
	unsigned refs;
	struct loop_task *unused; /* for when there are none */
	enum peer_state state;
	int64_t since_us;
	struct supervisor supervisor;
	struct loop_timer *retry;    /* the next dial */
	struct handshake *handshake; /* the dial under way */
	struct rush_turn turn;	     /* to dial */
	uint64_t epoch;		     /* of our last dial */
	struct link *link;
	struct pool *pool; /* lives with the link */
	struct addr_sock address;
	uint8_t instance[WIRE_INSTANCE_SIZE]; /* accepted: whose link it is */
	uint64_t link_epoch;
	struct peer_newcomer newcomer; /* while its framing is not NULL */
	struct loop_timer *takeover;
	uint32_t features; /* agreed for this link */
	struct lanes *lanes;
	unsigned lanes_told;  /* accepted: by LANES, on this link */
	unsigned lanes_asked; /* dialled: by the other end's */
	struct loop_task lanes_need;
	struct peer_postponed_list postponed; /* OPENs beyond max_channels */
	unsigned n_postponed;
	struct peer_waiters waiters;	 /* for a channel of their own */
	struct peer_waiters mux_waiters; /* for a lane */
	unsigned n_waiting, n_mux_waiting;
	struct peer_pings pings; /* on this link */
	unsigned n_pings;
	unsigned in_use; /* channels handed out */
	bool entries, mux_entries;
	bool started; /* peer_start was called */
	bool retired;
	bool leaving;			/* peer_leave was called */
	struct loop_timer *leave_timer; /* the link goes then */
	struct peer_pasts pasts;	/* oldest first */
	unsigned n_pasts;
	double expected_until;	 /* loop_now; 0: it is not */
	bool reserved;		 /* so long, for `instance` alone */
	struct loop_timer *late; /* and then it is not any more */
	bool disabled;
	int64_t disabled_us;
	char disabled_by[HISTORY_BY_SIZE];
	uint64_t ups;
	char error[512];
	int64_t error_us;
	char refusal[ADDR_TEXT_SIZE + 128]; /* of one who came in our name */
	int64_t refusal_us;
	int64_t next_try_us;
};

/* peer.c */
void peer_set_state(struct peer *peer, enum peer_state state);
void peer_set_error(struct peer *peer, const char *error);
/* Tells the supervisor of a dialled peer, and does what it says. */
void peer_step(struct peer *peer, enum supervisor_event event);
/* Leaves nothing of the link, the dial and who may come, and says so to the
 * other end. */
void peer_cut(struct peer *peer, const char *why, const char *to_newcomer,
    enum wire_goaway_reason reason);
/* Once: one that is leaving has said it already. */
void peer_say_goaway(struct peer *peer, enum wire_goaway_reason reason);
/* Waiting: the next dial comes in so many seconds at the latest. */
void peer_wait_at_most(struct peer *peer, double seconds);

/* peer_link.c */
/* The link and its pool, not announced yet; -1 out of memory. Takes the
 * framing either way. */
struct peer_link_params {
	struct framing *framing;
	const struct auth_key *key;
	const uint8_t *link_id;
	uint32_t features;
};
int peer_make_link(struct peer *peer, const struct peer_link_params *made);
/* Whoever waits for a lane, or a channel, as far as there are. */
void peer_serve_waiters(struct peer *peer);

/* peer_lanes.c */
extern const struct lanes_handler peer_lanes_handler;
bool peer_knows_mux(const struct peer *peer);
/* What the entries need: of the pool now, of lanes at the next turn. */
void peer_tell_need(struct peer *peer);
void peer_need_lanes(void *arg); /* the task */
/* Those whose turn it is, or all of them, who are told nothing. */
void peer_serve_postponed(struct peer *peer);
void peer_drop_postponed(struct peer *peer);
void peer_on_lanes(struct peer *peer, unsigned count); /* LANES */
void peer_pool_lane(struct framing *framing, void *arg);
void peer_came_up(struct peer *peer);
/* How a link ends, and what is still listened to. */
enum peer_end {
	PEER_END_LOST, /* it is dead: nothing, unless we were leaving */
	PEER_END_SAID, /* GOAWAY was sent: kills, until it is closed there */
	PEER_END_HEARD /* GOAWAY came, or a later dial: kills and OPENs */
};
/* Takes the link down; the supervisor is not told. */
void peer_drop_link(struct peer *peer, const char *why, enum peer_end end);
/* The same, and it may come back; a newcomer that waits takes its place. */
void peer_end_link(struct peer *peer, const char *why, enum peer_end end);

/* peer_accept.c */
/* Makes the newcomer the link. There is none before. */
void peer_welcome(struct peer *peer);
void peer_reject_newcomer(struct peer *peer, const char *text);
/* The same, since the peer is switched off here. */
void peer_reject_disabled(struct peer *peer);
/* The same, since another process of this daemon will accept it. */
void peer_reject_busy(struct peer *peer);
/* The timer of take-over: the old link has shown no life. */
void peer_takeover(void *arg);

/* peer_leave.c */
void peer_leave_link(struct peer *peer); /* which has just come up */
void peer_leave_late(void *arg);	 /* leave_timer */
/* Tells the handler if it has left now. */
void peer_check_left(struct peer *peer);
void peer_forget_expected(struct peer *peer);
/* Whether it is another daemon's place. */
bool peer_is_reserved_from(const struct peer *peer,
    const uint8_t instance[WIRE_INSTANCE_SIZE]);
void peer_is_late(void *arg); /* the timer of that name */

/* peer_past.c */
/* Takes both, of which one may be NULL. What they still bring arrives as if
 * they were the peer's. */
void peer_past_add(struct peer *peer, struct link *link, struct pool *pool);
void peer_past_free_all(struct peer *peer);

#endif
