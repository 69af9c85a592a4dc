/* SPDX-License-Identifier: ISC */
#include "session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel_drain.h"

static const char *const session_states[] = {
	[SESSION_WAITING] = "waiting",
	[SESSION_OPENING] = "opening",
	[SESSION_OPEN] = "open",
};

bool
session_is_entry(const struct session *session)
{
	return session->tunnel->end != LEDGER_END_EXIT;
}

/* So that it is found; its id and uid are set. -1: out of memory. */
static int
session_enter(struct session *session)
{
	struct tunnels *tunnels = session->tunnel->tunnels;

	HASH_ADD(hh_id, tunnels->by_id, id, sizeof session->id, session);
	if (session->hh_id.tbl == NULL)
		return -1;
	HASH_ADD(hh_uid, tunnels->by_uid, uid, sizeof session->uid, session);
	if (session->hh_uid.tbl == NULL) {
		HASH_DELETE(hh_id, tunnels->by_id, session);
		return -1;
	}
	return 0;
}

/* It was entered, and its time is set. */
static void
session_register(struct session *session)
{
	struct tunnel *tunnel = session->tunnel;
	struct tunnels *tunnels = tunnel->tunnels;
	struct ledger_session row;

	rate_init(&session->rate, loop_now(tunnels->params.loop));
	TAILQ_INSERT_TAIL(&tunnel->sessions, session, in_tunnel);
	TAILQ_INSERT_TAIL(&tunnels->refresh, session, in_refresh);
	TAILQ_INSERT_TAIL(&tunnel->busy, session, in_busy);
	tunnel->n_sessions++;
	tunnel->n_waiting++; /* SESSION_WAITING is the first state */
	tunnels->n_waiting++;
	tunnel->own.total++;
	tunnels->n_sessions++;
	tunnels->total++;
	session_describe(session, &row);
	ledger_put_session(tunnels->params.ledger, &row);
	tunnels_check_end(tunnels);
	log_debug("%s: session %lld: from %s", tunnel->label,
	    (long long)session->id, row.source);
}

static void
session_make_uid(struct session *session)
{
	struct tunnels *tunnels = session->tunnel->tunnels;

	if (tunnels->n_fresh == 0) {
		auth_random(tunnels->fresh_uids, sizeof tunnels->fresh_uids);
		tunnels->n_fresh = sizeof tunnels->fresh_uids;
	}
	tunnels->n_fresh -= sizeof session->uid;
	memcpy(session->uid, tunnels->fresh_uids + tunnels->n_fresh,
	    sizeof session->uid);
}

struct session *
session_new(struct tunnel *tunnel, const struct addr_sock *source,
    const uint8_t *uid)
{
	struct session *session = calloc(1, sizeof *session);

	if (session == NULL)
		return NULL;
	session->tunnel = tunnel;
	session->source = *source;
	session->id = ledger_take_id(tunnel->tunnels->params.ledger);
	session->opened_us = loop_wall_us();
	if (uid != NULL)
		memcpy(session->uid, uid, sizeof session->uid);
	else
		session_make_uid(session);
	if (session_enter(session) != 0) {
		free(session);
		return NULL;
	}
	session_register(session);
	return session;
}

struct session *
session_take(struct tunnel *tunnel, struct tunnel_user *user)
{
	struct session *session = calloc(1, sizeof *session);

	if (session == NULL)
		return NULL;
	session->tunnel = tunnel;
	session->source = user->source;
	session->id = user->id;
	session->opened_us = user->opened_us;
	memcpy(session->uid, user->uid, sizeof session->uid);
	if (session_enter(session) != 0) {
		free(session);
		return NULL;
	}
	session->early = user->early;
	session->early.sent = false;
	session->early_bytes = user->early.len;
	memset(&user->early, 0, sizeof user->early);
	session->taken = true;
	session_register(session);
	return session;
}

void
session_set_state(struct session *session, enum session_state state)
{
	struct tunnel *tunnel = session->tunnel;

	if (state == session->state)
		return;
	if (session->state == SESSION_WAITING) {
		tunnel->n_waiting--;
		tunnel->tunnels->n_waiting--;
	}
	if (state == SESSION_WAITING) {
		tunnel->n_waiting++;
		tunnel->tunnels->n_waiting++;
	}
	log_debug("%s: session %lld: %s -> %s", tunnel->label,
	    (long long)session->id, session_states[session->state],
	    session_states[state]);
	session->state = state;
}

/* What the other end is told; 0: nothing but the reset. */
static uint8_t
session_wire_reason(enum reason reason)
{
	if (reason == REASON_KILLED)
		return WIRE_CLOSE_KILLED;
	return reason == REASON_RELOAD ? WIRE_CLOSE_RELOAD : 0;
}

/* What the relay holds: the channel of a killed session stays for a moment, so
 * that the other end hears why before it sees a reset. */
static void
session_end_relay(struct session *session, enum reason reason, bool told)
{
	struct stream *channel;

	if (reason != REASON_CLOSED)
		relay_abort(session->relay, session_wire_reason(reason));
	if (told) {
		channel = relay_take_channel(session->relay);
		linger_add(session->tunnel->tunnels->linger, channel, false);
	}
	relay_free(session->relay);
}

/* The same for one that is not open yet. */
static void
session_end_channel(struct session *session, bool told)
{
	struct linger *linger = session->tunnel->tunnels->linger;
	struct relay_early early;
	struct stream *stream;

	if (!told || session->channel == NULL) {
		channel_abort(session->channel);
		return;
	}
	stream = channel_take_stream(session->channel, &early);
	free(early.data);
	if (stream != NULL)
		linger_add(linger, stream, false);
}

static void
session_release(struct session *session, enum reason reason, bool told)
{
	struct tunnel *tunnel = session->tunnel;

	if (session->relay != NULL)
		session_end_relay(session, reason, told);
	if (session->outside != NULL)
		stream_abort(session->outside);
	stream_free(session->outside);
	session_end_channel(session, told);
	dial_cancel(session->dial);
	loop_timer_free(session->timer);
	free(session->early.data);
	if (tunnel->peer != NULL) {
		peer_wait_cancel(tunnel->peer, &session->waiter);
		if (session->holds_channel)
			peer_channel_done(tunnel->peer);
	}
}

static void
session_unregister(struct session *session)
{
	struct tunnel *tunnel = session->tunnel;
	struct tunnels *tunnels = tunnel->tunnels;

	HASH_DELETE(hh_id, tunnels->by_id, session);
	HASH_DELETE(hh_uid, tunnels->by_uid, session);
	TAILQ_REMOVE(&tunnel->sessions, session, in_tunnel);
	TAILQ_REMOVE(&tunnels->refresh, session, in_refresh);
	if (!session->rests)
		TAILQ_REMOVE(&tunnel->busy, session, in_busy);
	tunnel->live_up -= session->up_written;
	tunnel->live_down -= session->down_written;
	tunnel->n_sessions--;
	tunnels->n_sessions--;
	if (session->state == SESSION_WAITING) {
		tunnel->n_waiting--;
		tunnels->n_waiting--;
	}
	if (tunnel->drain.on)
		tunnel_session_gone(tunnel);
	tunnels_check_idle(tunnels);
}

static void
session_publish(const struct session *session, enum event_kind kind,
    const struct ledger_session *row)
{
	const struct tunnel *tunnel = session->tunnel;
	struct event event = {
		.kind = kind,
		.peer = tunnel->conf->peer,
		.tunnel = tunnel->conf->name,
		.session = row,
	};

	if (row->reason != REASON_NONE)
		event.text = reason_name(row->reason);
	events_publish(tunnel->tunnels->params.events, &event);
}

/* Not served, for a reason that was not the user's own. */
static bool
session_was_refused(enum reason reason)
{
	return reason != REASON_CLOSED && reason != REASON_RESET &&
	    reason != REASON_KILLED && reason != REASON_KILLED_BY_PEER &&
	    reason != REASON_SHUTDOWN && reason != REASON_RELOAD;
}

/* Why, before it sees the reset. One that is not open yet, and ends by a
 * reload, may be opened again under the new settings. */
static bool
session_tell_peer(const struct session *session, enum reason reason)
{
	struct peer *peer = session->tunnel->peer;

	if (peer == NULL)
		return false;
	if (reason == REASON_KILLED)
		return peer_send_close(peer, session->uid, WIRE_CLOSE_KILLED);
	return reason == REASON_RELOAD && session->state == SESSION_OPEN &&
	    peer_send_close(peer, session->uid, WIRE_CLOSE_RELOAD);
}

void
session_close(struct session *session, enum reason reason, const char *by)
{
	struct tunnel *tunnel = session->tunnel;
	struct ledger_session row;
	bool told;

	session_describe(session, &row);
	row.closed_us = loop_wall_us();
	row.reason = reason;
	snprintf(row.closed_by, sizeof row.closed_by, "%s", by);
	if (session->state != SESSION_OPEN && session_was_refused(reason)) {
		tunnel->own.refused[reason]++;
		/* A better word may have been said just now. */
		if (tunnel->error_us < session->opened_us)
			tunnel_set_error(tunnel, "%s", reason_name(reason));
	}
	tunnel->own.up_bytes += row.up_bytes;
	tunnel->own.down_bytes += row.down_bytes;
	ledger_put_session(tunnel->tunnels->params.ledger, &row);
	session_publish(session, EVENT_SESSION_CLOSE, &row);
	log_info("%s: session %lld: %s by %s, %s -> %s, %llu up, %llu down",
	    tunnel->label, (long long)row.id, reason_name(reason), by,
	    row.source, row.target[0] == '\0' ? "peer" : row.target,
	    (unsigned long long)row.up_bytes,
	    (unsigned long long)row.down_bytes);
	told = session_tell_peer(session, reason);
	/* Its entry may take the reset for a lost channel and open it again. */
	if (reason == REASON_KILLED && tunnel->end == LEDGER_END_EXIT)
		tunnels_remember_uid(tunnel->tunnels, session->uid);
	session_unregister(session);
	session_release(session, reason, told);
	free(session);
}

void
session_give(struct session *session, struct tunnel_user *user)
{
	struct tunnel *tunnel = session->tunnel;

	strcpy(user->label, tunnel->label);
	user->id = session->id;
	memcpy(user->uid, session->uid, sizeof user->uid);
	user->source = session->source;
	user->opened_us = session->opened_us;
	user->fd = stream_release(session->outside);
	session->outside = NULL;
	user->early = session->early;
	memset(&session->early, 0, sizeof session->early);
	log_debug("%s: session %lld: given to another process", tunnel->label,
	    (long long)session->id);
	/* It is counted there. */
	tunnel->own.total--;
	tunnel->tunnels->total--;
	session_unregister(session);
	session_release(session, REASON_NONE, false);
	free(session);
}

static const char *
session_side_name(const struct session *session, enum ending_side side,
    enum reason reason)
{
	bool entry = session_is_entry(session);

	if (side == ENDING_OUTSIDE)
		return entry ? "user" : "service";
	if (session->tunnel->peer == NULL)
		return "service";
	/* An EOF is carried over from the far socket; a reset may as well be
	 * the path's doing. */
	if (reason == REASON_CLOSED)
		return entry ? "service" : "user";
	return "peer";
}

static enum reason
session_told_reason(uint8_t told)
{
	if (told == WIRE_CLOSE_KILLED)
		return REASON_KILLED_BY_PEER;
	return told == WIRE_CLOSE_RELOAD ? REASON_RELOAD : REASON_RESET;
}

static void
session_relay_done(enum reason reason, enum ending_side side, void *arg)
{
	struct session *session = arg;

	/* Told with the reset, where no link is left to tell it before. */
	if (reason == REASON_RESET && side == ENDING_CHANNEL &&
	    session->tunnel->peer != NULL)
		reason = session_told_reason(relay_reason(session->relay));
	session_close(session, reason,
	    reason == REASON_IDLE_TIMEOUT || reason == REASON_INTERNAL ||
		    reason == REASON_LINK_LOST ?
		"daemon" :
		session_side_name(session, side, reason));
}

int
session_relay(struct session *session, struct stream *channel,
    struct relay_early *from_outside, struct relay_early *from_channel)
{
	struct tunnels *tunnels = session->tunnel->tunnels;
	struct relay_params params = {
		.loop = tunnels->params.loop,
		.pipes = tunnels->pipes,
		.outside = session->outside,
		.channel = channel,
		.from_outside = *from_outside,
		.from_channel = *from_channel,
		.idle_timeout = session->tunnel->conf->idle_timeout,
		.done = session_relay_done,
		.woke = session_woke,
		.arg = session,
	};
	struct ledger_session row;

	session->outside = NULL;
	loop_timer_free(session->timer);
	session->timer = NULL;
	session->relay = relay_new(&params);
	if (session->relay == NULL) {
		session_close(session, REASON_INTERNAL, "daemon");
		return -1;
	}
	session_set_state(session, SESSION_OPEN);
	if (events_are_followed(tunnels->params.events)) {
		session_describe(session, &row);
		session_publish(session, EVENT_SESSION_OPEN, &row);
	}
	return 0;
}

enum stream_status
session_read_early(struct session *session, struct stream *from)
{
	struct relay_early *early = &session->early;
	uint8_t *scratch = loop_scratch(session->tunnel->tunnels->params.loop);
	enum stream_status status;
	uint8_t *grown;
	size_t got;

	while (!early->eof && early->len < SESSION_EARLY_MAX) {
		status = stream_read(from, scratch,
		    SESSION_EARLY_MAX - early->len, &got);
		if (status == STREAM_EOF) {
			early->eof = true;
			break;
		}
		if (status != STREAM_OK)
			return status;
		grown = realloc(early->data, early->len + got);
		if (grown == NULL)
			return STREAM_RESET;
		memcpy(grown + early->len, scratch, got);
		early->data = grown;
		early->len += got;
	}
	return STREAM_AGAIN;
}
