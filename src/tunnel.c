/* SPDX-License-Identifier: ISC */
#include "tunnel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "exit.h"
#include "session.h"
#include "tunnel_drain.h"

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
tunnel_refresh(struct tunnel *tunnel)
{
	struct session *session, *next;

	for (session = TAILQ_FIRST(&tunnel->busy); session != NULL;
	     session = next) {
		next = TAILQ_NEXT(session, in_busy);
		session_refresh(session);
	}
	tunnel_sample(tunnel);
}

static void
tunnels_refresh(void *arg)
{
	struct tunnels *tunnels = arg;
	struct tunnel *tunnel;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		tunnel_refresh(tunnel);
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		tunnel_refresh(tunnel);
	loop_timer_set(tunnels->timer, TUNNELS_REFRESH);
}

static int
tunnels_make_all(struct tunnels *tunnels, const struct config *config)
{
	struct tunnel *tunnel;
	size_t i;

	for (i = 0; i < config->n_tunnels; i++) {
		tunnel = tunnel_new(tunnels, config->tunnels[i]);
		if (tunnel == NULL)
			return -1;
		tunnel_install(tunnel);
	}
	return 0;
}

struct tunnels *
tunnels_new(const struct tunnels_params *params)
{
	struct tunnels *tunnels = calloc(1, sizeof *tunnels);

	if (tunnels == NULL)
		return NULL;
	tunnels->params = *params;
	tunnels->params.config = NULL;
	TAILQ_INIT(&tunnels->all);
	TAILQ_INIT(&tunnels->draining);
	TAILQ_INIT(&tunnels->refresh);
	loop_task_init(&tunnels->reap, tunnels_reap, tunnels);
	tunnels->uids = calloc(1, sizeof *tunnels->uids);
	tunnels->pipes = pipe_pool_new();
	tunnels->linger = linger_new(params->loop);
	tunnels->timer = loop_timer_new(params->loop, tunnels_refresh, tunnels);
	if (tunnels->uids == NULL || tunnels->pipes == NULL ||
	    tunnels->linger == NULL || tunnels->timer == NULL ||
	    tunnels_make_all(tunnels, params->config) != 0) {
		tunnels_free(tunnels);
		return NULL;
	}
	tunnels_leave_init(tunnels);
	loop_timer_set(tunnels->timer, TUNNELS_REFRESH);
	return tunnels;
}

char *
tunnel_who(const char *label, char buf[NET_WHO_SIZE])
{
	snprintf(buf, NET_WHO_SIZE, "tunnel %s", label);
	return buf;
}

int
tunnels_listen(struct tunnels *tunnels,
    void (*error)(const char *text, void *arg), void *arg)
{
	char text[400], line[600], who[NET_WHO_SIZE];
	struct tunnel *tunnel;
	int result = 0;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		if (!tunnel->conf->has_listen)
			continue;
		tunnel
		    ->listener = net_inherited_listen(tunnels->params.inherited,
		    tunnels->params.loop, &tunnel->conf->listen,
		    tunnel_who(tunnel->label, who), text, sizeof text);
		if (tunnel->listener != NULL)
			continue;
		snprintf(line, sizeof line, "%s: %s", who, text);
		error(line, arg);
		result = -1;
	}
	tunnels->params.inherited = NULL;
	return result;
}

void
tunnels_start(struct tunnels *tunnels)
{
	struct tunnel *tunnel;

	tunnels->started = true;
	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		tunnel_start(tunnel, false);
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
	struct tunnel *tunnel;

	/* It is there again in a moment. */
	if (peer_is_expected(peer))
		return;
	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		if (tunnel->peer == peer)
			tunnel_bound_held(tunnel);
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		if (tunnel->peer == peer)
			tunnel_bound_held(tunnel);
}

void
tunnels_peer_late(struct tunnels *tunnels, const struct peer *peer)
{
	tunnels_link_down(tunnels, peer);
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
	struct tunnel *older;

	if (disabled == tunnel->disabled)
		return;
	tunnel->disabled = disabled;
	tunnel->disabled_us = disabled ? at_us : 0;
	snprintf(tunnel->disabled_by, sizeof tunnel->disabled_by, "%s",
	    disabled ? by : "");
	if (!disabled)
		return;
	tunnel_turn_away(tunnel, by);
	TAILQ_FOREACH(older, &tunnel->tunnels->draining, entry)
		if (strcmp(older->label, tunnel->label) == 0)
			tunnel_turn_away(older, by);
}

void
tunnels_peer_disabled(struct tunnels *tunnels, const struct peer *peer)
{
	struct peer_status status;
	struct tunnel *tunnel;

	peer_get_status(peer, &status);
	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		if (tunnel->peer == peer)
			tunnel_turn_away(tunnel, status.disabled_by);
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		if (tunnel->peer == peer)
			tunnel_turn_away(tunnel, status.disabled_by);
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
	struct tunnel *tunnel;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		net_listener_free(tunnel->listener);
		tunnel->listener = NULL;
	}
	while ((session = TAILQ_FIRST(&tunnels->refresh)) != NULL)
		session_close(session, reason, by);
}

static void
tunnels_free_list(struct tunnel_list *list)
{
	struct tunnel *tunnel;

	while ((tunnel = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, tunnel, entry);
		tunnel_free(tunnel);
	}
}

void
tunnels_free(struct tunnels *tunnels)
{
	if (tunnels == NULL)
		return;
	if (tunnels->linger != NULL && tunnels->pipes != NULL)
		tunnels_stop(tunnels, REASON_SHUTDOWN, "daemon");
	loop_task_cancel(tunnels->params.loop, &tunnels->reap);
	tunnels_leave_cancel(tunnels);
	HASH_CLEAR(hh, tunnels->by_label);
	tunnels_free_list(&tunnels->all);
	tunnels_free_list(&tunnels->draining);
	if (tunnels->uids != NULL)
		HASH_CLEAR(hh, tunnels->uids->hash);
	loop_timer_free(tunnels->timer);
	linger_free(tunnels->linger);
	pipe_pool_free(tunnels->pipes);
	free(tunnels->uids);
	free(tunnels);
}

struct tunnel *
tunnels_find(const struct tunnels *tunnels, const char *label)
{
	struct tunnel *tunnel;

	HASH_FIND_STR(tunnels->by_label, label, tunnel);
	if (tunnel == NULL && tunnels->by_label_partly)
		TAILQ_FOREACH(tunnel, &tunnels->all, entry)
			if (strcmp(tunnel->label, label) == 0)
				break;
	return tunnel;
}

struct tunnel *
tunnels_find_peer(const struct tunnels *tunnels, const char *peer,
    const char *name)
{
	char label[NAME_SIZE * 2];

	snprintf(label, sizeof label, "%s/%s", peer, name);
	return tunnels_find(tunnels, label);
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
	memcpy(slot->uid, uid, WIRE_UID_SIZE);
	HASH_ADD(hh, uids->hash, uid, WIRE_UID_SIZE, slot);
	slot->used = slot->hh.tbl != NULL; /* else out of memory */
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
