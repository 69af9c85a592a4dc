/* SPDX-License-Identifier: ISC */
#include "entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "session.h"
#include "tunnel_drain.h"

/* The exit's own connect_timeout should speak first. */
#define ENTRY_ANSWER_SLACK 2.0

static void entry_got_channel(struct channel *channel, void *arg);

void
entry_reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(fd);
}

/* Turned away without a session, as a refused service is: by a reset, not by
 * an empty success. */
static void
entry_refuse(struct tunnel *tunnel, int fd, const struct addr_sock *from,
    enum reason reason)
{
	char text[ADDR_TEXT_SIZE];

	tunnel->own.refused[reason]++;
	tunnel_set_error(tunnel, "%s", reason_name(reason));
	log_info("%s: refused %s: %s", tunnel->label,
	    addr_sock_format(from, text, sizeof text), reason_name(reason));
	entry_reset(fd);
}

/* max_sessions and max_held; the latter is about outages, and does not count
 * while the link is about to come back. */
static bool
entry_has_room(const struct tunnel *tunnel)
{
	const struct config_tunnel *conf = tunnel->conf;

	if (conf->max_sessions > 0 &&
	    tunnel_count_sessions(tunnel) >= (unsigned)conf->max_sessions)
		return false;
	return tunnel->peer == NULL || peer_is_up(tunnel->peer) ||
	    peer_is_expected(tunnel->peer) || conf->hold <= 0 ||
	    tunnel->n_waiting < (unsigned)conf->max_held;
}

/* --- local: straight to the service ------------------------------------ */

static void
entry_dialled(const struct dial_outcome *outcome, void *arg)
{
	struct session *session = arg;
	struct relay_early none = { 0 }, early;
	char address[ADDR_TEXT_SIZE];

	session->dial = NULL;
	if (outcome->status != DIAL_OK) {
		log_notice("%s: session %lld: connect %s: %s",
		    session->tunnel->label, (long long)session->id,
		    addr_format(&session->tunnel->conf->connect, address,
			sizeof address),
		    outcome->error);
		tunnel_set_error(session->tunnel, "connect %s: %s", address,
		    outcome->error);
		session_close(session, exit_dial_reason(outcome->status),
		    exit_dial_by(outcome->status));
		return;
	}
	session->target = outcome->to;
	early = session->early;
	session->early = none;
	session_relay(session, outcome->stream, &early, &none);
}

static void
entry_dial(struct session *session)
{
	struct tunnels *tunnels = session->tunnel->tunnels;
	const struct config_tunnel *conf = session->tunnel->conf;

	session_set_state(session, SESSION_OPENING);
	session->dial = dial_start(tunnels->params.loop,
	    tunnels->params.resolver, &conf->connect, conf->connect_timeout,
	    entry_dialled, session);
	if (session->dial == NULL)
		session_close(session, REASON_INTERNAL, "daemon");
}

/* --- by a channel -------------------------------------------------------- */

/* Waiting has an end, whether the link is up or down; each is waited for
 * once, so that a link that comes and goes does not hold a user for ever. */
static void
entry_timed_out(void *arg)
{
	struct session *session = arg;
	const struct config_tunnel *conf = session->tunnel->conf;
	bool up = peer_is_up(session->tunnel->peer);
	double left = peer_expected_for(session->tunnel->peer);

	if (session->state == SESSION_OPENING) {
		session_close(session, REASON_CONNECT_TIMEOUT, "daemon");
	} else if (up && !session->waited_up) {
		session->waited_up = true;
		loop_timer_set(session->timer, conf->connect_timeout);
	} else if (!up && !session->waited_down) {
		session->waited_down = true;
		loop_timer_set(session->timer,
		    conf->hold > left ? conf->hold : left);
	} else {
		session_close(session,
		    up ? REASON_NO_CHANNEL : REASON_LINK_DOWN, "daemon");
	}
}

static void
entry_wait(struct session *session)
{
	session_set_state(session, SESSION_WAITING);
	/* Sets the first of the two waits. */
	entry_timed_out(session);
}

/* Puts what the user said behind OPEN; false if the channel is dead. */
static bool
entry_send_early(struct session *session)
{
	struct stream *stream = channel_stream(session->channel);
	struct relay_early *early = &session->early;
	enum stream_status status;
	size_t put;

	if (!channel_can_write(session->channel))
		return true;
	while (session->early_sent < early->len) {
		status = stream_write(stream, early->data + session->early_sent,
		    early->len - session->early_sent, &put);
		if (status != STREAM_OK)
			return status == STREAM_AGAIN;
		session->early_sent += put;
	}
	if (!early->eof || early->sent)
		return true;
	status = stream_shutdown(stream);
	early->sent = status == STREAM_OK;
	return status != STREAM_RESET;
}

/* The channel died before an answer: once more on a fresh one. */
static void
entry_channel_lost(struct channel *channel, void *arg)
{
	struct session *session = arg;
	struct peer *peer = session->tunnel->peer;
	/* An upgrade at the other end may take it along: that is no try. */
	bool counts = session->open_sent && !peer_is_expected(peer) &&
	    peer_ups(peer) == session->open_ups;

	channel_abort(channel);
	session->channel = NULL;
	session->holds_channel = false;
	peer_channel_done(peer);
	if (counts && session->retried) {
		session_close(session, REASON_CHANNEL_LOST, "peer");
		return;
	}
	session->retried |= counts;
	session->open_sent = false;
	session->early_sent = 0;
	session->early.sent = false;
	session->waited_up = session->waited_down = false;
	session_set_state(session, SESSION_WAITING);
	if (tunnels_give(session))
		return;
	/* The link may be down already, and those who wait were counted. */
	if (!peer_is_up(peer) && !peer_is_expected(peer) &&
	    session->tunnel->n_waiting >
		(unsigned)session->tunnel->conf->max_held) {
		session_close(session, REASON_LIMIT, "daemon");
		return;
	}
	entry_timed_out(session);
	peer_wait(peer, &session->waiter);
}

static void
entry_channel_ready(struct channel *channel, void *arg)
{
	struct session *session = arg;

	if (!entry_send_early(session))
		entry_channel_lost(channel, session);
}

static enum reason
entry_failed_reason(uint8_t code)
{
	switch (code) {
	case WIRE_FAILED_REFUSED:
		return REASON_REFUSED;
	case WIRE_FAILED_RESET:
		return REASON_RESET;
	case WIRE_FAILED_UNREACHABLE:
		return REASON_UNREACHABLE;
	case WIRE_FAILED_TIMEOUT:
		return REASON_CONNECT_TIMEOUT;
	case WIRE_FAILED_RESOLVE:
		return REASON_RESOLVE_FAILED;
	case WIRE_FAILED_DENIED:
		return REASON_DENIED;
	case WIRE_FAILED_LIMIT:
		return REASON_LIMIT;
	case WIRE_FAILED_DUPLICATE:
		return REASON_CHANNEL_LOST;
	case WIRE_FAILED_DISABLED:
		return REASON_DISABLED;
	default:
		return REASON_INTERNAL;
	}
}

static void
entry_failed(struct session *session, const struct wire_refusal *refusal)
{
	char text[WIRE_TEXT_SIZE];

	log_notice("%s: session %lld: the peer says: %s",
	    session->tunnel->label, (long long)session->id,
	    log_escape(text, sizeof text, refusal->text,
		strlen(refusal->text)));
	tunnel_set_error(session->tunnel, "the peer says: %s", text);
	session_close(session, entry_failed_reason(refusal->code),
	    refusal->code == WIRE_FAILED_REFUSED ||
		    refusal->code == WIRE_FAILED_RESET ?
		"service" :
		"peer");
}

/* The bytes that OPEN was not followed by yet, for the relay. */
static void
entry_rest_of_early(struct session *session, struct relay_early *rest)
{
	*rest = session->early;
	memset(&session->early, 0, sizeof session->early);
	rest->len -= session->early_sent;
	if (rest->len > 0) {
		memmove(rest->data, rest->data + session->early_sent,
		    rest->len);
		return;
	}
	free(rest->data);
	rest->data = NULL;
}

static void
entry_answered(struct channel *channel, const struct wire_refusal *refusal,
    void *arg)
{
	struct session *session = arg;
	struct relay_early mine, theirs;
	struct stream *stream;

	if (refusal != NULL) {
		entry_failed(session, refusal);
		return;
	}
	entry_rest_of_early(session, &mine);
	session->channel = NULL;
	stream = channel_take_stream(channel, &theirs);
	if (stream == NULL) {
		free(mine.data);
		session_close(session, REASON_INTERNAL, "daemon");
		return;
	}
	session_relay(session, stream, &mine, &theirs);
}

static const struct channel_handler entry_channel_handler = {
	.answered = entry_answered,
	.ready = entry_channel_ready,
	.lost = entry_channel_lost,
};

static void
entry_got_channel(struct channel *channel, void *arg)
{
	struct session *session = arg;
	const struct config_tunnel *conf = session->tunnel->conf;
	struct wire_open open = { 0 };

	memcpy(open.uid, session->uid, sizeof open.uid);
	strcpy(open.tunnel, conf->name);
	addr_sock_format(&session->source, open.source, sizeof open.source);
	session->channel = channel;
	session->mode = channel_mode(channel);
	session->holds_channel = true;
	session_set_state(session, SESSION_OPENING);
	loop_timer_set(session->timer,
	    conf->connect_timeout + ENTRY_ANSWER_SLACK);
	channel_set_handler(channel, &entry_channel_handler, session);
	if (channel_send_open(channel, &open) != 0) {
		/* One that was dead costs nothing but another try. */
		if (errno == EPIPE)
			entry_channel_lost(channel, session);
		else
			session_close(session, REASON_INTERNAL, "daemon");
		return;
	}
	session->open_sent = true;
	session->open_ups = peer_ups(session->tunnel->peer);
	if (!entry_send_early(session))
		entry_channel_lost(channel, session);
}

/* The user speaks, hangs up, or dies before the session is open. */
static void
entry_user_ready(bool readable, bool writable, void *arg)
{
	struct session *session = arg;
	size_t before = session->early.len;

	(void)writable;
	if (!readable)
		return;
	if (session_read_early(session, session->outside) == STREAM_RESET) {
		session_close(session, REASON_RESET, "user");
		return;
	}
	session->early_bytes += session->early.len - before;
	if (session->state == SESSION_OPENING && session->channel != NULL &&
	    !entry_send_early(session))
		entry_channel_lost(session->channel, session);
}

/* Watches the user, who is the session's from now on. 0, or -1: it is closed. */
static int
entry_begin(struct session *session, int fd)
{
	struct loop *loop = session->tunnel->tunnels->params.loop;

	session->waiter.got = entry_got_channel;
	session->waiter.arg = session;
	session->waiter.mux = session->tunnel->conf->mode == CONFIG_MODE_MUX;
	session->outside = stream_new(fd);
	session->timer = loop_timer_new(loop, entry_timed_out, session);
	if (session->outside != NULL && session->timer != NULL &&
	    stream_watch(session->outside, loop, entry_user_ready, session) ==
		0)
		return 0;
	session_close(session, REASON_INTERNAL, "daemon");
	return -1;
}

/* Waits for a channel, if he may; room: there was for one more. */
static void
entry_admit(struct session *session, bool room)
{
	struct tunnel *tunnel = session->tunnel;

	if (tunnel_is_disabled(tunnel)) {
		session_close(session, REASON_DISABLED, "daemon");
	} else if (!room) {
		session_close(session, REASON_LIMIT, "daemon");
	} else if (tunnel->peer == NULL) {
		entry_dial(session);
	} else if (!peer_is_up(tunnel->peer) && tunnel->conf->hold <= 0 &&
	    !peer_is_expected(tunnel->peer)) {
		session_close(session, REASON_LINK_DOWN, "daemon");
	} else if (!tunnels_give(session)) {
		entry_wait(session);
		peer_wait(tunnel->peer, &session->waiter);
	}
}

void
entry_accept(int fd, const struct addr_sock *from, void *arg)
{
	struct tunnel *tunnel = arg;
	struct session *session;
	bool room = entry_has_room(tunnel);

	if (!tunnel_allows(tunnel, from)) {
		entry_refuse(tunnel, fd, from, REASON_DENIED);
		return;
	}
	session = session_new(tunnel, from, NULL);
	if (session == NULL)
		entry_refuse(tunnel, fd, from, REASON_INTERNAL);
	else if (entry_begin(session, fd) == 0)
		entry_admit(session, room);
}

void
entry_take(struct tunnel *tunnel, struct tunnel_user *user)
{
	bool room = entry_has_room(tunnel);
	struct session *session = session_take(tunnel, user);

	if (session == NULL) {
		entry_refuse(tunnel, user->fd, &user->source, REASON_INTERNAL);
		free(user->early.data);
	} else if (entry_begin(session, user->fd) != 0) {
		return;
	} else if (!tunnel_allows(tunnel, &session->source)) {
		session_close(session, REASON_DENIED, "daemon");
	} else {
		entry_admit(session, room);
	}
}
