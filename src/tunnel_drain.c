/* SPDX-License-Identifier: ISC */
#include "tunnel_drain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "session.h"

/* So many are ended in one turn of the loop. */
#define DRAIN_STEP 128

static void tunnel_end_sessions(void *arg);

/* --- life ------------------------------------------------------------------- */

struct tunnel *
tunnel_new(struct tunnels *tunnels, const struct config_tunnel *conf)
{
	struct tunnel *tunnel = calloc(1, sizeof *tunnel);
	struct loop *loop = tunnels->params.loop;

	if (tunnel == NULL)
		return NULL;
	tunnel->tunnels = tunnels;
	tunnel->conf = config_tunnel_ref(conf);
	config_tunnel_label(conf, tunnel->label, sizeof tunnel->label);
	TAILQ_INIT(&tunnel->sessions);
	TAILQ_INIT(&tunnel->busy);
	rate_init(&tunnel->rate, loop_now(loop));
	tunnel->end = LEDGER_END_LOCAL;
	if (conf->peer != NULL)
		tunnel->end = conf->has_listen ? LEDGER_END_ENTRY :
						 LEDGER_END_EXIT;
	/* Now, since a commit cannot fail. */
	tunnel->drain.timer = loop_timer_new(loop, tunnel_end_sessions, tunnel);
	if (tunnel->drain.timer == NULL) {
		tunnel_free(tunnel);
		return NULL;
	}
	return tunnel;
}

void
tunnel_free(struct tunnel *tunnel)
{
	if (tunnel == NULL)
		return;
	loop_timer_free(tunnel->drain.timer);
	net_listener_free(tunnel->listener);
	peer_unref(tunnel->peer);
	config_tunnel_unref(tunnel->conf);
	free(tunnel);
}

void
tunnel_install(struct tunnel *tunnel)
{
	struct tunnels *tunnels = tunnel->tunnels;
	const struct tunnel *older;

	if (tunnel->conf->peer != NULL)
		tunnel->peer = peer_ref(peers_find(tunnels->params.peers,
		    tunnel->conf->peer));
	if (tunnel->end == LEDGER_END_ENTRY)
		peer_add_entry(tunnel->peer, tunnel->conf->mode);
	TAILQ_FOREACH(older, &tunnels->draining, entry)
		if (strcmp(older->label, tunnel->label) == 0)
			tunnel->n_older += older->n_sessions;
	TAILQ_INSERT_TAIL(&tunnels->all, tunnel, entry);
	HASH_ADD_STR(tunnels->by_label, label, tunnel);
	if (tunnel->hh.tbl == NULL) /* out of memory */
		tunnels->by_label_partly = true;
}

void
tunnel_inherit(struct tunnel *tunnel, const struct tunnel *before)
{
	tunnel->past = before->past;
	memcpy(tunnel->error, before->error, sizeof tunnel->error);
	tunnel->error_us = before->error_us;
	tunnel->disabled = before->disabled;
	tunnel->disabled_us = before->disabled_us;
	memcpy(tunnel->disabled_by, before->disabled_by,
	    sizeof tunnel->disabled_by);
}

void
tunnel_start(struct tunnel *tunnel, bool quiet)
{
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;

	if (tunnel->listener == NULL)
		return;
	net_listener_address(tunnel->listener, &address);
	if (!quiet)
		log_notice("%s: listening on %s", tunnel->label,
		    addr_sock_format(&address, text, sizeof text));
	net_listener_yield(tunnel->listener, &tunnel->tunnels->n_waiting);
	net_listener_start(tunnel->listener, entry_accept, tunnel);
}

/* --- who keeps it ----------------------------------------------------------- */

static bool
tunnel_is_done(const struct tunnel *tunnel)
{
	return tunnel->drain.on && tunnel->n_sessions == 0 && tunnel->refs == 0;
}

/* Not at once: whoever ended its last session may still look at it. */
static void
tunnel_left(struct tunnel *tunnel)
{
	struct tunnels *tunnels = tunnel->tunnels;

	if (tunnel_is_done(tunnel))
		loop_task_queue(tunnels->params.loop, &tunnels->reap);
}

struct tunnel *
tunnel_ref(struct tunnel *tunnel)
{
	if (tunnel != NULL)
		tunnel->refs++;
	return tunnel;
}

void
tunnel_unref(struct tunnel *tunnel)
{
	if (tunnel == NULL)
		return;
	tunnel->refs--;
	tunnel_left(tunnel);
}

void
tunnel_session_gone(struct tunnel *tunnel)
{
	struct tunnel *current = tunnels_find(tunnel->tunnels, tunnel->label);

	if (current != NULL)
		current->n_older--;
	tunnel_left(tunnel);
}

void
tunnels_reap(void *arg)
{
	struct tunnels *tunnels = arg;
	struct tunnel *tunnel, *next, *current;

	for (tunnel = TAILQ_FIRST(&tunnels->draining); tunnel != NULL;
	     tunnel = next) {
		next = TAILQ_NEXT(tunnel, entry);
		if (!tunnel_is_done(tunnel))
			continue;
		current = tunnels_find(tunnels, tunnel->label);
		if (current != NULL)
			tunnel_add_counts(&current->past, &tunnel->own);
		TAILQ_REMOVE(&tunnels->draining, tunnel, entry);
		log_debug("%s: the old one is done", tunnel->label);
		tunnel_free(tunnel);
	}
}

/* --- draining --------------------------------------------------------------- */

/* The timer: their time is over. */
static void
tunnel_end_sessions(void *arg)
{
	struct tunnel *tunnel = arg;
	struct session *session;
	int i;

	for (i = 0; i < DRAIN_STEP; i++) {
		session = TAILQ_FIRST(&tunnel->sessions);
		if (session == NULL)
			return;
		session_close(session, REASON_RELOAD, "daemon");
	}
	loop_timer_set(tunnel->drain.timer, 0);
}

static void
tunnel_limit(struct tunnel *tunnel, double seconds)
{
	tunnel->drain.until_us = tunnel->drain.since_us +
	    (int64_t)(seconds * 1e6);
	loop_timer_set(tunnel->drain.timer, seconds);
}

void
tunnel_detach(struct tunnel *tunnel, const struct config_tunnel *rule,
    bool changed)
{
	struct tunnels *tunnels = tunnel->tunnels;

	if (tunnel->hh.tbl != NULL)
		HASH_DEL(tunnels->by_label, tunnel);
	TAILQ_REMOVE(&tunnels->all, tunnel, entry);
	TAILQ_INSERT_TAIL(&tunnels->draining, tunnel, entry);
	if (tunnel->end == LEDGER_END_ENTRY)
		peer_clear_entries(tunnel->peer);
	tunnel->listener = NULL;
	tunnel->n_older = 0;
	tunnel->drain.on = true;
	tunnel->drain.changed = changed;
	tunnel->drain.since_us = loop_wall_us();
	if (tunnel->n_sessions > 0)
		log_info("%s: %u sessions of the old one", tunnel->label,
		    tunnel->n_sessions);
	if (rule->on_change == CONFIG_ON_CHANGE_KILL)
		tunnel_limit(tunnel, 0);
	else if (rule->on_change == CONFIG_ON_CHANGE_DRAIN)
		tunnel_limit(tunnel, rule->drain_seconds);
	tunnel_left(tunnel);
}
