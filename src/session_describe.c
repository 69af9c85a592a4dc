/* SPDX-License-Identifier: ISC */
/* What a session says of itself. */
#include "session.h"

#include <string.h>

void
session_get_bytes(const struct session *session, uint64_t *up, uint64_t *down)
{
	struct relay_counters counters = { 0 };
	uint64_t from, to;

	if (session->relay != NULL)
		relay_get_counters(session->relay, &counters);
	from = session->early_bytes + counters.from_outside;
	to = counters.to_outside;
	*up = session_is_entry(session) ? from : to;
	*down = session_is_entry(session) ? to : from;
}

void
session_get_rates(const struct session *session, double *up, double *down)
{
	uint64_t up_bytes, down_bytes;

	session_get_bytes(session, &up_bytes, &down_bytes);
	rate_get(&session->rate,
	    loop_now(session->tunnel->tunnels->params.loop), up_bytes,
	    down_bytes, up, down);
}

/* Without snprintf: there are many sessions. */
static void
session_copy(char *out, size_t size, const char *text)
{
	size_t len = strnlen(text, size - 1);

	memcpy(out, text, len);
	out[len] = '\0';
}

void
session_describe(const struct session *session, struct ledger_session *out)
{
	const struct tunnel *tunnel = session->tunnel;

	memset(out, 0, sizeof *out);
	out->id = session->id;
	memcpy(out->uid, session->uid, sizeof out->uid);
	session_copy(out->tunnel, sizeof out->tunnel, tunnel->conf->name);
	if (tunnel->peer != NULL)
		session_copy(out->peer, sizeof out->peer,
		    peer_name(tunnel->peer));
	strcpy(out->type, "tcp");
	out->end = tunnel->end;
	addr_sock_format(&session->source, out->source, sizeof out->source);
	if (session->target.len > 0)
		addr_sock_format(&session->target, out->target,
		    sizeof out->target);
	else if (tunnel->conf->has_connect)
		addr_format(&tunnel->conf->connect, out->target,
		    sizeof out->target);
	out->opened_us = session->opened_us;
	out->taken = session->taken;
	session_get_bytes(session, &out->up_bytes, &out->down_bytes);
}

const char *
session_state_name(const struct session *session)
{
	if (session->state == SESSION_WAITING)
		return peer_is_up(session->tunnel->peer) ? "opening" : "held";
	return session->state == SESSION_OPENING ? "opening" : "open";
}

double
session_idle(const struct session *session)
{
	struct relay_counters counters;
	double idle;

	if (session->relay == NULL)
		return (double)(loop_wall_us() - session->opened_us) / 1e6;
	relay_get_counters(session->relay, &counters);
	idle = loop_now(session->tunnel->tunnels->params.loop) - counters.last;
	return idle < 0 ? 0 : idle;
}
