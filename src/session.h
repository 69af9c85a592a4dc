/* SPDX-License-Identifier: ISC */
/*
 * session: one user connection carried by a tunnel, from accept to close, as
 * the ledger sees it: id, uid, counters, state, and how it ends.
 *
 * entry and exit drive it to SESSION_OPEN; from then on its relay does. There
 * is one way out, session_close, which writes the ledger and frees it: after
 * that call nothing of it may be touched.  Floor 4.
 */
#ifndef TUNNELD_SESSION_H
#define TUNNELD_SESSION_H

#include "channel.h"
#include "dial.h"
#include "relay.h"
#include "tunnel.h"

/* As many user bytes may follow OPEN before it is answered. */
#define SESSION_EARLY_MAX 65536

enum session_state {
	SESSION_WAITING, /* entry: for a channel (held, while the link is down) */
	SESSION_OPENING, /* entry: OPEN sent; exit, local: dialling */
	SESSION_OPEN	 /* the relay is at work */
};

struct session {
	UT_hash_handle hh_id, hh_uid;
	TAILQ_ENTRY(session) in_tunnel;
	TAILQ_ENTRY(session) in_refresh;
	TAILQ_ENTRY(session) in_busy; /* unless it rests */
	struct tunnel *tunnel;
	enum session_state state;
	int64_t id;
	uint8_t uid[WIRE_UID_SIZE];
	int64_t opened_us;
	struct addr_sock source;
	struct addr_sock target; /* len 0: not known */
	/* Until SESSION_OPEN; the relay then owns outside and channel. */
	struct stream *outside;	 /* the user's; the service's later */
	struct channel *channel; /* of a tunnel with a peer */
	struct dial *dial;	 /* exit, local */
	struct loop_timer *timer;
	struct peer_waiter waiter;
	uint64_t open_ups;  /* which link it was, when OPEN was sent */
	bool holds_channel; /* peer_channel_done is due */
	const char *mode; /* "mux", "direct"; NULL: no channel yet, or local */
	bool waited_up, waited_down, open_sent, retried;
	struct relay_early early; /* from the user (exit: from the channel) */
	size_t early_sent;	  /* of them, to the channel */
	uint64_t early_bytes;	  /* read from the outside before the relay */
	struct relay *relay;
	uint64_t up_written, down_written; /* what the ledger was last told */
	struct rate rate;
	bool taken;	 /* from another process: tunnels_take */
	bool kept_alive; /* its connections, by the kernel's probes */
	bool rests;	 /* no byte since the last refresh */
};

/* Registered with its tunnel; uid NULL makes one. NULL: memory. */
struct session *session_new(struct tunnel *tunnel,
    const struct addr_sock *source, const uint8_t *uid);

/* The same for one that began in another process: with his id, uid and time.
 * What he said is the session's own. */
struct session *session_take(struct tunnel *tunnel, struct tunnel_user *user);
/* The way there: fills in *user, and the session is gone. It waits. */
void session_give(struct session *session, struct tunnel_user *user);

/* Waiting, opening, open: the one setter. */
void session_set_state(struct session *session, enum session_state state);

/*
 * Ends it. CLOSED leaves the sockets to end in order, everything else resets
 * what is still there. KILLED and RELOAD tell the other end. `by` is "user",
 * "service", "peer", "daemon" or an admin. The session is gone.
 */
void session_close(struct session *session, enum reason reason, const char *by);

/* Joins the outside to the given stream, and SESSION_OPEN. Takes `channel`
 * and the early bytes of both; on failure the session is closed. */
int session_relay(struct session *session, struct stream *channel,
    struct relay_early *from_outside, struct relay_early *from_channel);

/*
 * Reads what a side says before the relay is there into session->early, up to
 * SESSION_EARLY_MAX. RESET if it died, else AGAIN.
 */
enum stream_status session_read_early(struct session *session,
    struct stream *from);

/* Of a local tunnel too. */
bool session_is_entry(const struct session *session);

/* The whole row, as it stands now. */
void session_describe(const struct session *session,
    struct ledger_session *out);
void session_get_bytes(const struct session *session, uint64_t *up,
    uint64_t *down);
/* Bytes per second, lately. */
void session_get_rates(const struct session *session, double *up, double *down);
/* "held", "opening", "open". */
const char *session_state_name(const struct session *session);
/* Seconds since the last byte, or since it was accepted. */
double session_idle(const struct session *session);

/* Writes its counters to the ledger if they changed, and samples its rate. An
 * open one without a byte since the last time rests from then on: it is not
 * refreshed any more, until its relay says that there was one. */
void session_refresh(struct session *session);
void session_woke(void *arg); /* the relay's woke */

#endif
