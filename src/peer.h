/* SPDX-License-Identifier: ISC */
/*
 * peer: another tunneld, as the configuration names it: its supervisor if we
 * dial it, its link while there is one, its pool of channels, and the sessions
 * that wait for one.
 *
 * Knows nothing of tunnels and sessions but through its handler.  Floor 3.
 */
#ifndef TUNNELD_PEER_H
#define TUNNELD_PEER_H

#include <sys/queue.h>

#include "channel.h"
#include "config.h"
#include "framing.h"
#include "lanes.h"
#include "resolve.h"
#include "rush.h"
#include "tls.h"

struct peer;

/* The floor above. None is called before peer_new returns. */
struct peer_handler {
	void (*link_up)(struct peer *peer, const char *address, void *arg);
	void (*link_down)(struct peer *peer, const char *why, void *arg);
	/* A dial or a handshake failed: what peer_get_status tells as error. */
	void (*failed)(struct peer *peer, const char *why, void *arg);
	/* The other end opened a session: the channel is the callee's, who
	 * says peer_channel_done once it is gone. */
	void (*session_open)(struct peer *peer, struct channel *channel,
	    const struct wire_open *open, void *arg);
	/* The other end killed a session. */
	void (*session_close)(struct peer *peer, const struct wire_close *close,
	    void *arg);
	/* It was expected, and has not come in time; may be NULL. */
	void (*late)(struct peer *peer, void *arg);
	/* peer_has_left came true, after peer_leave; may be NULL. */
	void (*left)(struct peer *peer, void *arg);
};

/* What all peers of a daemon share. */
struct peer_context {
	struct loop *loop;
	struct resolve_pool *resolver;
	struct rush *rush; /* NULL: nobody waits for his turn to dial */
	struct tls *tls;
	const char *name; /* daemon.name */
	uint8_t instance[WIRE_INSTANCE_SIZE];
	uint64_t epoch; /* that of the first dial is the next one */
	const struct peer_handler *handler;
	void *arg;
};

/*
 * With one reference, the caller's. The context must outlive the peer, which
 * refers to conf. The ids of its links begin with `index`, so that they lead
 * back to it. `unused` is queued when the last reference is gone: whoever made
 * the peer frees it then, and not before.
 */
struct peer *peer_new(const struct peer_context *context,
    const struct config_peer *conf, uint32_t index, struct loop_task *unused);
/* Tunnels refer to their peer, and whoever waits for something of it that may
 * take more than one turn. NULL is allowed. */
struct peer *peer_ref(struct peer *peer);
void peer_unref(struct peer *peer);
bool peer_is_unused(const struct peer *peer);
uint32_t peer_link_index(const uint8_t link_id[WIRE_LINK_ID_SIZE]);
void peer_free(struct peer *peer); /* says nothing to anybody */
/* Begins to dial, where the peer is dialled. Once is enough. */
void peer_start(struct peer *peer);
/* GOAWAY (stopping) on the link, then closes it; link_down is called. */
void peer_stop(struct peer *peer, const char *why);

/* --- upgrade ------------------------------------------------------------- */

/*
 * Gives the name up to another process of this daemon: GOAWAY (upgrade) on the
 * link. It is not dialled any more, a dial under way is cancelled. The link,
 * and the channels on which the other end may have sent OPEN already, stay
 * until they are closed there, or for 5 seconds: session_open and session_close
 * are called meanwhile. Who becomes the link later, since his handshake was
 * under way, is sent on in the same way; another daemon that waits to take
 * the name over is rejected, and comes back. Whoever waits for a channel gets
 * none: the caller sees to that (tunnels_leave). For good; peer_stop may
 * follow. Calls nobody back before it returns.
 */
void peer_leave(struct peer *peer);
/* It was left, and nothing more can come in. */
bool peer_has_left(const struct peer *peer);

/*
 * The link is about to come back, within `seconds`: its users wait so long,
 * whatever `hold` says, and it is dialled often. The peer does so itself, for 5
 * seconds, when the other end says that it is upgraded. Over once the link is
 * up; else the handler is told (late). Nothing for one that is disabled.
 */
void peer_expect(struct peer *peer, double seconds);
bool peer_is_expected(const struct peer *peer);
/*
 * Of one that is accepted: whose link it is; false: it has none. And, on the
 * side that expects it: no other daemon of that name gets its place meanwhile.
 * The peer does so itself when the other end says that it is upgraded.
 */
bool peer_get_instance(const struct peer *peer,
    uint8_t instance[WIRE_INSTANCE_SIZE]);
void peer_reserve(struct peer *peer,
    const uint8_t instance[WIRE_INSTANCE_SIZE]);
/* For so many seconds yet; 0: it is not. */
double peer_expected_for(const struct peer *peer);

/* --- reload -------------------------------------------------------------- */

/* Whether a link made under one of these is none under the other: where it
 * leads, who we are there, secret, security, who dials. */
bool peer_conf_relinks(const struct config_peer *before,
    const struct config_peer *after);

/*
 * Of the same name. Where peer_conf_relinks the link goes down ("its
 * configuration changed", after GOAWAY), and a peer that is dialled is at
 * once; everything else is taken over without touching the link. Sessions on
 * channels of their own run on either way. Who refuses the new name or secret
 * may not know of it yet: for a minute that is a failure like any other.
 */
void peer_set_conf(struct peer *peer, const struct config_peer *conf);
/* When it became what it is now: who began to prove himself before has proven
 * nothing. As loop_now. */
double peer_conf_since(const struct peer *peer);

/* As peer_stop, and for good: it is in no configuration any more. */
void peer_retire(struct peer *peer);
bool peer_is_retired(const struct peer *peer);

/* --- what administrators do --------------------------------------------- */

/* Takes the link down for that reason; it comes back by itself. */
void peer_disconnect(struct peer *peer, const char *why);

/*
 * Off: the link goes down, the peer is not dialled, and who comes in its name
 * is rejected (WIRE_REJECT_DISABLED) once it has proven who it is. On: dials
 * at once. `by` as in a row of changes. The ledger is not told.
 */
void peer_set_disabled(struct peer *peer, bool disabled, int64_t at_us,
    const char *by);
bool peer_is_disabled(const struct peer *peer);

/* One round trip on the link; embedded by value in who asks. */
#define PEER_PINGS_MAX 64
struct peer_ping {
	TAILQ_ENTRY(peer_ping) entry;
	uint64_t token;
	double sent_at;
	bool sent; /* not answered yet */
	/* Once: milliseconds, or < 0 and the link went down meanwhile. */
	void (*fn)(double ms, void *arg);
	void *arg;
};
/* 0, or -1 if the link is not up, or PEER_PINGS_MAX are under way. fn is not
 * called before it returns. Has no deadline: whoever asks has his own. */
int peer_ping(struct peer *peer, struct peer_ping *ping);
void peer_ping_cancel(struct peer *peer, struct peer_ping *ping);

const struct config_peer *peer_conf(const struct peer *peer);
const char *peer_name(const struct peer *peer);
bool peer_is_up(const struct peer *peer);
/* How many times its link has come up. */
uint64_t peer_ups(const struct peer *peer);

/* --- channels, for entries -------------------------------------------- */

/*
 * Somebody who waits for a channel; embedded by value in who it is. got() is
 * called with an idle channel of ours, the callee's (peer_channel_done), when
 * there is one, as long as it takes: the waiter sets its own deadline. It may
 * be called before peer_wait returns.
 */
struct peer_waiter {
	TAILQ_ENTRY(peer_waiter) entry;
	void (*got)(struct channel *channel, void *arg);
	void *arg;
	bool waiting;
	bool mux;	 /* a share of a lane, where the other end knows them */
	bool listed_mux; /* of use in peer_link alone */
};
void peer_wait(struct peer *peer, struct peer_waiter *waiter);
void peer_wait_cancel(struct peer *peer, struct peer_waiter *waiter);

/* A channel that was handed out is closed. */
void peer_channel_done(struct peer *peer);

/* Which entries this end has towards the peer: it then keeps channels ready,
 * or lanes. None; then add one for each. */
void peer_clear_entries(struct peer *peer);
void peer_add_entry(struct peer *peer, enum config_mode mode);
/* The lanes, for whoever wants to see. */
const struct lanes *peer_lanes(const struct peer *peer);

/* Tells the other end that a session was killed here; false: no link, or one
 * that takes nothing. */
bool peer_send_close(struct peer *peer, const uint8_t uid[WIRE_UID_SIZE],
    enum wire_close_reason reason);

/* --- accepting, for the gateway ---------------------------------------- */

/* A dialler that has proven who it is. */
struct peer_newcomer {
	struct framing *framing; /* taken over */
	struct wire_hello hello;
	struct auth_key key;
	struct addr_sock from;
};

/* Makes it the link, or waits for the old one to show life (2 s at most), or
 * sends REJECT: design, take-over. */
void peer_accept_link(struct peer *peer, const struct peer_newcomer *newcomer);

/* Whether the peer's link has this id. */
bool peer_has_link(const struct peer *peer,
    const uint8_t link_id[WIRE_LINK_ID_SIZE]);
/* As pool_accept. */
int peer_accept_channel(struct peer *peer, const struct wire_attach *attach,
    struct framing *framing, const char **why);

/* Somebody who claimed to be this peer was turned away, from there. */
void peer_note_refusal(struct peer *peer, const char *from, const char *why);

/* --- what is there to see ---------------------------------------------- */

struct peer_status {
	const char *state; /* "up", "waiting", "dialling", "down", "disabled" */
	int64_t since_us;  /* of the state */
	char address[ADDR_TEXT_SIZE]; /* "" if not up */
	double rtt_ms;		      /* < 0: not known */
	const char *error;	      /* "" if none */
	int64_t error_us;
	const char *refusal; /* of the last who came in its name; "" if none */
	int64_t refusal_us;
	int64_t next_try_us; /* 0: none */
	uint64_t ups;	     /* how many times the link came up */
	unsigned idle;	     /* channels of ours */
	unsigned in_use;
	unsigned waiting;	 /* sessions that wait for a channel */
	int64_t disabled_us;	 /* 0: it is not */
	const char *disabled_by; /* "" if it is not */
};
void peer_get_status(const struct peer *peer, struct peer_status *out);

#endif
