/* SPDX-License-Identifier: ISC */
#include "exit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

#define EXIT_DISABLED "this tunnel is disabled here"

enum reason
exit_dial_reason(enum dial_status status)
{
	switch (status) {
	case DIAL_REFUSED:
		return REASON_REFUSED;
	case DIAL_RESET:
		return REASON_RESET;
	case DIAL_TIMEOUT:
		return REASON_CONNECT_TIMEOUT;
	case DIAL_RESOLVE:
		return REASON_RESOLVE_FAILED;
	case DIAL_UNREACHABLE:
		return REASON_UNREACHABLE;
	default:
		return REASON_INTERNAL;
	}
}

const char *
exit_dial_by(enum dial_status status)
{
	return status == DIAL_REFUSED || status == DIAL_RESET ? "service" :
								"daemon";
}

static enum wire_failed_code
exit_failed_code(enum dial_status status)
{
	switch (status) {
	case DIAL_REFUSED:
		return WIRE_FAILED_REFUSED;
	case DIAL_RESET:
		return WIRE_FAILED_RESET;
	case DIAL_TIMEOUT:
		return WIRE_FAILED_TIMEOUT;
	case DIAL_RESOLVE:
		return WIRE_FAILED_RESOLVE;
	case DIAL_UNREACHABLE:
		return WIRE_FAILED_UNREACHABLE;
	default:
		return WIRE_FAILED_INTERNAL;
	}
}

static void
exit_channel_lost(struct channel *channel, void *arg)
{
	(void)channel;
	session_close(arg, REASON_RESET, "peer");
}

/* What the user said already, and whether he is still there. */
static void
exit_channel_ready(struct channel *channel, void *arg)
{
	struct session *session = arg;

	if (!channel_keeps_early(channel) &&
	    session_read_early(session, channel_stream(channel)) ==
		STREAM_RESET)
		session_close(session, REASON_RESET, "peer");
}

static const struct channel_handler exit_channel_handler = {
	.ready = exit_channel_ready,
	.lost = exit_channel_lost,
};

/* The service did not want it: say so, and let the channel linger. */
static void
exit_dial_failed(struct session *session, const struct dial_outcome *outcome)
{
	struct channel *channel = session->channel;
	char address[ADDR_TEXT_SIZE];
	char text[WIRE_TEXT_SIZE];

	snprintf(text, sizeof text, "connect: %s", outcome->error);
	log_notice("%s: session %lld: connect %s: %s", session->tunnel->label,
	    (long long)session->id,
	    addr_format(&session->tunnel->conf->connect, address,
		sizeof address),
	    outcome->error);
	tunnel_set_error(session->tunnel, "connect %s: %s", address,
	    outcome->error);
	session->channel = NULL;
	channel_send_failed(channel, session->tunnel->tunnels->linger,
	    exit_failed_code(outcome->status), text);
	session_close(session, exit_dial_reason(outcome->status),
	    exit_dial_by(outcome->status));
}

static void
exit_dialled(const struct dial_outcome *outcome, void *arg)
{
	struct session *session = arg;
	struct relay_early none = { 0 }, early;
	struct channel *channel = session->channel;
	struct stream *stream;

	session->dial = NULL;
	if (outcome->status != DIAL_OK) {
		exit_dial_failed(session, outcome);
		return;
	}
	session->target = outcome->to;
	session->outside = outcome->stream;
	if (channel_send_opened(channel) != 0) {
		session_close(session, REASON_RESET, "peer");
		return;
	}
	tunnels_remember_uid(session->tunnel->tunnels, session->uid);
	early = session->early;
	session->early = none;
	session->channel = NULL;
	stream = channel_take_stream(channel, &none);
	if (stream == NULL) {
		free(early.data);
		session_close(session, REASON_INTERNAL, "daemon");
		return;
	}
	session_relay(session, stream, &none, &early);
}

/* OPEN that stands for nothing here: FAILED, and no session. */
static void
exit_refuse(struct tunnels *tunnels, struct peer *peer, struct channel *channel,
    enum wire_failed_code code, const char *text)
{
	peer_channel_done(peer);
	channel_send_failed(channel, tunnels->linger, code, text);
}

void
exit_disable(struct session *session, const char *by)
{
	struct channel *channel = session->channel;

	session->channel = NULL;
	channel_send_failed(channel, session->tunnel->tunnels->linger,
	    WIRE_FAILED_DISABLED, EXIT_DISABLED);
	session_close(session, REASON_DISABLED, by);
}

/* NULL, or the reason why this session may not be; *code goes with it. */
static const char *
exit_judge(struct tunnels *tunnels, struct peer *peer, struct tunnel *tunnel,
    const struct wire_open *open, enum wire_failed_code *code)
{
	struct session *same = tunnels_find_uid(tunnels, open->uid);
	struct addr_sock source;

	*code = WIRE_FAILED_DENIED;
	if (tunnel == NULL || tunnel->end != LEDGER_END_EXIT)
		return "no such tunnel is configured here for this peer";
	if (addr_sock_parse(open->source, &source) != 0)
		return "the user's address makes no sense";
	if (!tunnel_allows(tunnel, &source))
		return "the user's address is not allowed here";
	*code = WIRE_FAILED_DISABLED;
	if (tunnel_is_disabled(tunnel))
		return EXIT_DISABLED;
	*code = WIRE_FAILED_DUPLICATE;
	if (tunnels_knows_uid(tunnels, open->uid) ||
	    (same != NULL &&
		(same->tunnel->peer != peer ||
		    same->tunnel->end != LEDGER_END_EXIT ||
		    same->state == SESSION_OPEN)))
		return "this session was opened before";
	*code = WIRE_FAILED_LIMIT;
	if (tunnel->conf->max_sessions > 0 &&
	    tunnel_count_sessions(tunnel) -
		    (same != NULL &&
			strcmp(same->tunnel->label, tunnel->label) == 0) >=
		(unsigned)tunnel->conf->max_sessions)
		return "max_sessions reached";
	return NULL;
}

static void
exit_count_refusal(struct tunnel *tunnel, enum wire_failed_code code,
    const char *why)
{
	enum reason reason = REASON_DENIED;

	if (code == WIRE_FAILED_LIMIT)
		reason = REASON_LIMIT;
	else if (code == WIRE_FAILED_DISABLED)
		reason = REASON_DISABLED;
	tunnel->own.refused[reason]++;
	tunnel_set_error(tunnel, "refused: %s", why);
}

/* That a tunnel is switched off is no news to whoever did it. */
static void
exit_log_refusal(const struct peer *peer, const char *tunnel,
    enum wire_failed_code code, const char *why)
{
	static const char text[] = "%s: refused a session for tunnel %s: %s";

	if (code == WIRE_FAILED_DISABLED)
		log_info(text, peer_name(peer), tunnel, why);
	else
		log_warning(text, peer_name(peer), tunnel, why);
}

static void
exit_begin(struct session *session, struct channel *channel)
{
	struct tunnels *tunnels = session->tunnel->tunnels;
	const struct config_tunnel *conf = session->tunnel->conf;

	session->channel = channel;
	session->mode = channel_mode(channel);
	session->holds_channel = true;
	session_set_state(session, SESSION_OPENING);
	channel_set_handler(channel, &exit_channel_handler, session);
	session->dial = dial_start(tunnels->params.loop,
	    tunnels->params.resolver, &conf->connect, conf->connect_timeout,
	    exit_dialled, session);
	if (session->dial == NULL ||
	    channel_take_early(channel, &session->early) != 0) {
		session_close(session, REASON_INTERNAL, "daemon");
		return;
	}
	exit_channel_ready(channel, session);
}

void
exit_open(struct tunnels *tunnels, struct peer *peer, struct channel *channel,
    const struct wire_open *open)
{
	struct tunnel *tunnel = tunnels_find_peer(tunnels, peer_name(peer),
	    open->tunnel);
	struct session *session, *old;
	struct addr_sock source;
	enum wire_failed_code code;
	const char *why;

	why = exit_judge(tunnels, peer, tunnel, open, &code);
	if (why != NULL) {
		if (tunnel != NULL)
			exit_count_refusal(tunnel, code, why);
		exit_log_refusal(peer, open->tunnel, code, why);
		exit_refuse(tunnels, peer, channel, code, why);
		return;
	}
	/* Repeated by its entry while we still dial: the first channel is
	 * dead, we only have not seen it yet. */
	old = tunnels_find_uid(tunnels, open->uid);
	if (old != NULL)
		session_close(old, REASON_CHANNEL_LOST, "peer");
	addr_sock_parse(open->source, &source);
	session = session_new(tunnel, &source, open->uid);
	if (session == NULL) {
		exit_refuse(tunnels, peer, channel, WIRE_FAILED_INTERNAL,
		    "out of memory");
		return;
	}
	exit_begin(session, channel);
}
