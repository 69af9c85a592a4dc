/* SPDX-License-Identifier: ISC */
#include "tunnel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "exit.h"
#include "session.h"

/* How often the counters of open sessions go to the ledger, in seconds. */
#define TUNNELS_REFRESH 5.0
/* Uids of the last sessions that were answered OPENED. */
#define TUNNELS_UIDS 4096

/* A ring, and a hash over it. */
struct tunnel_uid {
	uint8_t uid[WIRE_UID_SIZE];
	bool used;
	UT_hash_handle hh;
};

struct tunnel_uids {
	struct tunnel_uid ring[TUNNELS_UIDS];
	struct tunnel_uid *hash;
	size_t next;
};

static void
tunnel_sample(struct tunnel *tunnel)
{
	uint64_t up, down;

	tunnel_get_bytes(tunnel, &up, &down);
	rate_sample(&tunnel->rate, loop_now(tunnel->tunnels->params.loop), up,
	    down);
}

static void
tunnels_refresh(void *arg)
{
	struct tunnels *tunnels = arg;
	struct session *session;
	size_t i;

	TAILQ_FOREACH(session, &tunnels->refresh, in_refresh)
		session_refresh(session);
	for (i = 0; i < tunnels->n; i++)
		tunnel_sample(&tunnels->all[i]);
	loop_timer_set(tunnels->timer, TUNNELS_REFRESH);
}

static void
tunnel_init(struct tunnels *tunnels, struct tunnel *tunnel,
    const struct config_tunnel *conf)
{
	tunnel->tunnels = tunnels;
	tunnel->conf = conf;
	config_tunnel_label(conf, tunnel->label, sizeof tunnel->label);
	TAILQ_INIT(&tunnel->sessions);
	rate_init(&tunnel->rate, loop_now(tunnels->params.loop));
	tunnel->end = LEDGER_END_LOCAL;
	if (conf->peer != NULL) {
		tunnel->peer = peers_find(tunnels->params.peers, conf->peer);
		tunnel->end = conf->has_listen ? LEDGER_END_ENTRY :
						 LEDGER_END_EXIT;
	}
	if (tunnel->end == LEDGER_END_ENTRY)
		peer_set_entries(tunnel->peer, true);
	HASH_ADD_STR(tunnels->by_label, label, tunnel);
}

struct tunnels *
tunnels_new(const struct tunnels_params *params)
{
	struct tunnels *tunnels = calloc(1, sizeof *tunnels);
	const struct config *config = params->config;
	size_t i;

	if (tunnels == NULL)
		return NULL;
	tunnels->params = *params;
	TAILQ_INIT(&tunnels->refresh);
	tunnels->all = calloc(config->n_tunnels + 1, sizeof *tunnels->all);
	tunnels->uids = calloc(1, sizeof *tunnels->uids);
	tunnels->pipes = pipe_pool_new();
	tunnels->linger = linger_new(params->loop);
	tunnels->timer = loop_timer_new(params->loop, tunnels_refresh, tunnels);
	if (tunnels->all == NULL || tunnels->uids == NULL ||
	    tunnels->pipes == NULL || tunnels->linger == NULL ||
	    tunnels->timer == NULL) {
		tunnels_free(tunnels);
		return NULL;
	}
	for (i = 0; i < config->n_tunnels; i++)
		tunnel_init(tunnels, &tunnels->all[i], &config->tunnels[i]);
	tunnels->n = config->n_tunnels;
	loop_timer_set(tunnels->timer, TUNNELS_REFRESH);
	return tunnels;
}

int
tunnels_listen(struct tunnels *tunnels,
    void (*error)(const char *text, void *arg), void *arg)
{
	char text[400], line[600];
	int result = 0;
	size_t i;

	for (i = 0; i < tunnels->n; i++) {
		struct tunnel *tunnel = &tunnels->all[i];

		if (!tunnel->conf->has_listen)
			continue;
		tunnel->listener = net_listen(tunnels->params.loop,
		    &tunnel->conf->listen, text, sizeof text);
		if (tunnel->listener != NULL)
			continue;
		snprintf(line, sizeof line, "tunnel %s: %s", tunnel->label,
		    text);
		error(line, arg);
		result = -1;
	}
	return result;
}

static void
tunnel_start(struct tunnel *tunnel)
{
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;

	net_listener_address(tunnel->listener, &address);
	log_notice("%s: listening on %s", tunnel->label,
	    addr_sock_format(&address, text, sizeof text));
	net_listener_yield(tunnel->listener);
	net_listener_start(tunnel->listener, entry_accept, tunnel);
}

void
tunnels_start(struct tunnels *tunnels)
{
	size_t i;

	for (i = 0; i < tunnels->n; i++)
		if (tunnels->all[i].listener != NULL)
			tunnel_start(&tunnels->all[i]);
}

static void
tunnel_bound_held(struct tunnel *tunnel)
{
	struct session *session, *before;

	for (session = TAILQ_LAST(&tunnel->sessions, session_list);
	     session != NULL &&
	     tunnel->n_waiting > (unsigned)tunnel->conf->max_held;
	     session = before) {
		before = TAILQ_PREV(session, session_list, in_tunnel);
		if (session->state == SESSION_WAITING)
			session_close(session, REASON_LIMIT, "daemon");
	}
}

void
tunnels_link_down(struct tunnels *tunnels, const struct peer *peer)
{
	size_t i;

	for (i = 0; i < tunnels->n; i++)
		if (tunnels->all[i].peer == peer)
			tunnel_bound_held(&tunnels->all[i]);
}

/* --- switched off ------------------------------------------------------- */

/* Who is not served yet will not be. */
static void
tunnel_turn_away(struct tunnel *tunnel, const char *by)
{
	struct session *session, *next;

	for (session = TAILQ_FIRST(&tunnel->sessions); session != NULL;
	     session = next) {
		next = TAILQ_NEXT(session, in_tunnel);
		if (session->state == SESSION_OPEN)
			continue;
		if (tunnel->end == LEDGER_END_EXIT)
			exit_disable(session, by);
		else
			session_close(session, REASON_DISABLED, by);
	}
}

void
tunnel_set_disabled(struct tunnel *tunnel, bool disabled, int64_t at_us,
    const char *by)
{
	if (disabled == tunnel->disabled)
		return;
	tunnel->disabled = disabled;
	tunnel->disabled_us = disabled ? at_us : 0;
	snprintf(tunnel->disabled_by, sizeof tunnel->disabled_by, "%s",
	    disabled ? by : "");
	if (disabled)
		tunnel_turn_away(tunnel, by);
}

void
tunnels_peer_disabled(struct tunnels *tunnels, const struct peer *peer)
{
	struct peer_status status;
	size_t i;

	peer_get_status(peer, &status);
	for (i = 0; i < tunnels->n; i++)
		if (tunnels->all[i].peer == peer)
			tunnel_turn_away(&tunnels->all[i], status.disabled_by);
}

bool
tunnel_is_disabled(const struct tunnel *tunnel)
{
	return tunnel->disabled ||
	    (tunnel->peer != NULL && peer_is_disabled(tunnel->peer));
}

void
tunnels_stop(struct tunnels *tunnels, enum reason reason, const char *by)
{
	struct session *session;
	size_t i;

	for (i = 0; i < tunnels->n; i++) {
		net_listener_free(tunnels->all[i].listener);
		tunnels->all[i].listener = NULL;
	}
	while ((session = TAILQ_FIRST(&tunnels->refresh)) != NULL)
		session_close(session, reason, by);
}

void
tunnels_free(struct tunnels *tunnels)
{
	if (tunnels == NULL)
		return;
	if (tunnels->linger != NULL && tunnels->pipes != NULL)
		tunnels_stop(tunnels, REASON_SHUTDOWN, "daemon");
	HASH_CLEAR(hh, tunnels->by_label);
	if (tunnels->uids != NULL)
		HASH_CLEAR(hh, tunnels->uids->hash);
	loop_timer_free(tunnels->timer);
	linger_free(tunnels->linger);
	pipe_pool_free(tunnels->pipes);
	free(tunnels->uids);
	free(tunnels->all);
	free(tunnels);
}

struct tunnel *
tunnels_find_peer(const struct tunnels *tunnels, const char *peer,
    const char *name)
{
	char label[NAME_SIZE * 2];
	struct tunnel *tunnel;

	snprintf(label, sizeof label, "%s/%s", peer, name);
	HASH_FIND_STR(tunnels->by_label, label, tunnel);
	return tunnel;
}

struct session *
tunnels_find_id(const struct tunnels *tunnels, int64_t id)
{
	struct session *session;

	HASH_FIND(hh_id, tunnels->by_id, &id, sizeof id, session);
	return session;
}

struct session *
tunnels_find_uid(const struct tunnels *tunnels,
    const uint8_t uid[WIRE_UID_SIZE])
{
	struct session *session;

	HASH_FIND(hh_uid, tunnels->by_uid, uid, WIRE_UID_SIZE, session);
	return session;
}

void
tunnels_remember_uid(struct tunnels *tunnels, const uint8_t uid[WIRE_UID_SIZE])
{
	struct tunnel_uids *uids = tunnels->uids;
	struct tunnel_uid *slot = &uids->ring[uids->next];

	if (tunnels_knows_uid(tunnels, uid))
		return;
	uids->next = (uids->next + 1) % TUNNELS_UIDS;
	if (slot->used)
		HASH_DEL(uids->hash, slot);
	slot->used = true;
	memcpy(slot->uid, uid, WIRE_UID_SIZE);
	HASH_ADD(hh, uids->hash, uid, WIRE_UID_SIZE, slot);
}

bool
tunnels_knows_uid(const struct tunnels *tunnels,
    const uint8_t uid[WIRE_UID_SIZE])
{
	struct tunnel_uid *slot;

	HASH_FIND(hh, tunnels->uids->hash, uid, WIRE_UID_SIZE, slot);
	return slot != NULL;
}

bool
tunnel_allows(const struct tunnel *tunnel, const struct addr_sock *source)
{
	const struct config_tunnel *conf = tunnel->conf;
	size_t i;

	for (i = 0; i < conf->n_deny; i++)
		if (addr_cidr_match(&conf->deny[i], source))
			return false;
	for (i = 0; i < conf->n_allow; i++)
		if (addr_cidr_match(&conf->allow[i], source))
			return true;
	return conf->n_allow == 0;
}

void
tunnel_set_error(struct tunnel *tunnel, const char *fmt, ...)
{
	struct event event = {
		.kind = EVENT_ERROR,
		.peer = tunnel->conf->peer,
		.tunnel = tunnel->conf->name,
		.text = tunnel->error,
	};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(tunnel->error, sizeof tunnel->error, fmt, ap);
	va_end(ap);
	tunnel->error_us = loop_wall_us();
	events_publish(tunnel->tunnels->params.events, &event);
}

void
tunnel_get_bytes(const struct tunnel *tunnel, uint64_t *up, uint64_t *down)
{
	const struct session *session;
	uint64_t one_up, one_down;

	*up = tunnel->up_bytes;
	*down = tunnel->down_bytes;
	TAILQ_FOREACH(session, &tunnel->sessions, in_tunnel) {
		session_get_bytes(session, &one_up, &one_down);
		*up += one_up;
		*down += one_down;
	}
}

void
tunnel_get_rates(const struct tunnel *tunnel, double *up, double *down)
{
	uint64_t up_bytes, down_bytes;

	tunnel_get_bytes(tunnel, &up_bytes, &down_bytes);
	rate_get(&tunnel->rate, loop_now(tunnel->tunnels->params.loop),
	    up_bytes, down_bytes, up, down);
}
