/* SPDX-License-Identifier: ISC */
/* What is looked at now and then while a session lives. Many live that do
 * nothing: they rest, and nobody walks over them. */
#include "session.h"

static double
session_now(const struct session *session)
{
	return loop_now(session->tunnel->tunnels->params.loop);
}

static void
session_probe(const struct stream *stream)
{
	if (stream != NULL && stream_fd(stream) != -1)
		net_set_keepalive(stream_fd(stream));
}

/* Probes begin after a minute: most sessions are over before it is worth a few
 * system calls. A channel that is a connection of its own is probed too; a lane
 * has pings. */
static void
session_keep_alive(struct session *session)
{
	bool relayed = session->relay != NULL;

	if (session->kept_alive)
		return;
	session->kept_alive = relayed;
	session_probe(relayed ? relay_stream(session->relay, ENDING_OUTSIDE) :
				session->outside);
	if (relayed)
		session_probe(relay_stream(session->relay, ENDING_CHANNEL));
}

/* Its rate is 0 by now. */
static void
session_rest(struct session *session)
{
	if (session->state != SESSION_OPEN || session->relay == NULL)
		return;
	session->rests = true;
	TAILQ_REMOVE(&session->tunnel->busy, session, in_busy);
	relay_rest(session->relay);
}

void
session_woke(void *arg)
{
	struct session *session = arg;

	session->rests = false;
	TAILQ_INSERT_TAIL(&session->tunnel->busy, session, in_busy);
	/* What comes now did not come in all the time before. */
	session->rate.at = session_now(session);
}

void
session_refresh(struct session *session)
{
	struct tunnel *tunnel = session->tunnel;
	struct ledger_session row;
	uint64_t up, down;

	session_keep_alive(session);
	session_get_bytes(session, &up, &down);
	rate_sample(&session->rate, session_now(session), up, down);
	if (up == session->up_written && down == session->down_written) {
		session_rest(session);
		return;
	}
	tunnel->live_up += up - session->up_written;
	tunnel->live_down += down - session->down_written;
	session->up_written = up;
	session->down_written = down;
	session_describe(session, &row);
	ledger_put_session(tunnel->tunnels->params.ledger, &row);
}
