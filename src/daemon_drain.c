/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

/* Seconds. */
#define DRAIN_CHECK 0.05
/* Without a session: for links, strangers and clients that are about to be
 * done; then it ends anyway. */
#define DRAIN_LAST 12.0

/* Everybody has gone. */
static bool
drain_is_done(const struct daemon *daemon)
{
	size_t i;

	for (i = 0; i < peers_count(daemon->peers); i++)
		if (!peer_has_left(peers_at(daemon->peers, i)))
			return false;
	if (daemon->heir != NULL && handover_is_pending(daemon->heir))
		return false; /* users are on their way */
	return gateway_handshakes(daemon->gateway) == 0 &&
	    admin_has_left(daemon->admin);
}

void
daemon_drain_check(void *arg)
{
	struct daemon *daemon = arg;
	double now = loop_now(daemon->loop);

	if (daemon->drain_end != 0 && now >= daemon->drain_end) {
		log_notice("draining: drain_timeout is over");
		daemon->drain_end = 0;
		daemon_end_sessions(daemon);
	}
	if (tunnels_is_idle(daemon->tunnels)) {
		if (daemon->idle_since == 0)
			daemon->idle_since = now;
		if (drain_is_done(daemon) ||
		    now - daemon->idle_since > DRAIN_LAST) {
			log_notice("draining: done");
			loop_stop(daemon->loop);
			return;
		}
	} else {
		daemon->idle_since = 0;
	}
	/* Often at first, when most is done soon. */
	loop_timer_set(daemon->drain,
	    now - daemon->drain_since < DRAIN_LAST ? DRAIN_CHECK : 0.5);
}

void
daemon_end_sessions(struct daemon *daemon)
{
	if (!daemon->draining)
		return;
	log_notice("draining: sessions end now: %u",
	    daemon->tunnels->n_sessions);
	tunnels_end_sessions(daemon->tunnels, REASON_SHUTDOWN, "daemon");
}

static void
drain_begin(struct daemon *daemon)
{
	double timeout = daemon->config->daemon.drain_timeout;
	struct admin_context *context = &daemon->admin_context;

	daemon->draining = true;
	ledger_set_patience(daemon->ledger, LEDGER_LEAVE_TIME);
	daemon->drain_since = loop_now(daemon->loop);
	context->draining_us = loop_wall_us();
	if (timeout > 0) {
		daemon->drain_end = daemon->drain_since + timeout;
		context->drain_until_us = context->draining_us +
		    (int64_t)(timeout * 1e6);
	}
}

void
daemon_drain(struct daemon *daemon, pid_t pid, const char *version)
{
	size_t i;

	if (daemon->draining || !daemon->serving)
		return;
	drain_begin(daemon);
	/* Who waits goes: what is told counts those who stay. */
	tunnels_leave(daemon->tunnels, daemon_give_user, daemon);
	log_notice("draining: sessions run on here: %u; worker %d serves",
	    daemon->tunnels->n_sessions, (int)pid);
	daemon_upgraded(daemon, NULL, pid, version);
	admin_leave(daemon->admin);
	if (daemon->metrics != NULL)
		net_listener_keep(metrics_listener(daemon->metrics));
	metrics_free(daemon->metrics);
	daemon->metrics = NULL;
	gateway_leave(daemon->gateway);
	daemon_give_peers(daemon);
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_leave(peers_at(daemon->peers, i));
	/* What it was to read is for the other one to read. */
	if (daemon->hung_up || loop_timer_is_set(daemon->reload))
		(void)handover_say(daemon->master, HANDOVER_HANGUP, NULL);
	loop_timer_cancel(daemon->reload);
	(void)handover_say(daemon->master, HANDOVER_LEFT, NULL);
	loop_timer_set(daemon->drain, 0);
}
