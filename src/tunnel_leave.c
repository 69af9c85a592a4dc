/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "entry.h"
#include "session.h"
#include "tunnel_drain.h"

/* So many sessions are ended in one turn of the loop. */
#define LEAVE_STEP 128

/* --- giving ----------------------------------------------------------------- */

bool
tunnels_give(struct session *session)
{
	struct tunnel_leave *leave = &session->tunnel->tunnels->leave;
	struct tunnel_user user;
	tunnels_give_fn *give = leave->give;
	void *arg = leave->give_arg;

	if (give == NULL)
		return false;
	memset(&user, 0, sizeof user);
	session_give(session, &user);
	give(&user, arg);
	return true;
}

static void
tunnel_give_all(struct tunnel *tunnel)
{
	struct session *session, *next;

	for (session = TAILQ_FIRST(&tunnel->sessions); session != NULL;
	     session = next) {
		next = TAILQ_NEXT(session, in_tunnel);
		if (session->state == SESSION_WAITING)
			tunnels_give(session);
	}
}

static void
tunnel_stop_listening(struct tunnel *tunnel)
{
	if (tunnel->listener == NULL)
		return;
	net_listener_keep(tunnel->listener);
	net_listener_free(tunnel->listener);
	tunnel->listener = NULL;
}

void
tunnels_leave(struct tunnels *tunnels, tunnels_give_fn *give, void *arg)
{
	struct tunnel *tunnel;

	tunnels->started = false;
	tunnels->leave.give = give;
	tunnels->leave.give_arg = arg;
	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		tunnel_stop_listening(tunnel);
		tunnel_give_all(tunnel);
	}
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		tunnel_give_all(tunnel);
}

/* --- taking ----------------------------------------------------------------- */

/* He was accepted, so his end is told, though no tunnel stands for him. */
static void
tunnels_turn_away(struct tunnels *tunnels, const struct tunnel_user *user)
{
	struct ledger_session row = {
		.id = user->id,
		.type = "tcp",
		.end = LEDGER_END_ENTRY,
		.opened_us = user->opened_us,
		.closed_us = loop_wall_us(),
		.up_bytes = user->early.len,
		.reason = REASON_RELOAD,
		.closed_by = "daemon",
		.taken = true,
	};
	struct event event = {
		.kind = EVENT_SESSION_CLOSE,
		.peer = row.peer,
		.tunnel = row.tunnel,
		.session = &row,
		.text = reason_name(row.reason),
	};
	const char *slash = strchr(user->label, '/');
	const char *name = slash == NULL ? user->label : slash + 1;
	int len = slash == NULL ? 0 : (int)(slash - user->label);

	memcpy(row.uid, user->uid, sizeof row.uid);
	snprintf(row.peer, sizeof row.peer, "%.*s", len, user->label);
	snprintf(row.tunnel, sizeof row.tunnel, "%.*s", NAME_SIZE - 1, name);
	addr_sock_format(&user->source, row.source, sizeof row.source);
	ledger_put_session(tunnels->params.ledger, &row);
	events_publish(tunnels->params.events, &event);
	log_info("%s: session %lld: refused %s: there is no such entry any "
		 "more",
	    user->label, (long long)user->id, row.source);
	entry_reset(user->fd);
	free(user->early.data);
}

void
tunnels_take(struct tunnels *tunnels, struct tunnel_user *user)
{
	struct tunnel *tunnel = tunnels_find(tunnels, user->label);

	if (tunnels_find_id(tunnels, user->id) != NULL ||
	    tunnels_find_uid(tunnels, user->uid) != NULL) {
		log_error("%s: session %lld: given twice", user->label,
		    (long long)user->id);
		close(user->fd);
		free(user->early.data);
	} else if (tunnel == NULL || tunnel->end != LEDGER_END_ENTRY ||
	    user->early.len > SESSION_EARLY_MAX) {
		tunnels_turn_away(tunnels, user);
	} else {
		entry_take(tunnel, user);
	}
}

/* --- the end ---------------------------------------------------------------- */

static void
tunnels_end_some(void *arg)
{
	struct tunnels *tunnels = arg;
	struct tunnel_leave *leave = &tunnels->leave;
	struct session *session;
	int i;

	for (i = 0; i < LEAVE_STEP; i++) {
		session = TAILQ_FIRST(&tunnels->refresh);
		if (session == NULL)
			return;
		session_close(session, leave->reason, leave->by);
	}
	loop_task_queue(tunnels->params.loop, &leave->end_task);
}

void
tunnels_end_sessions(struct tunnels *tunnels, enum reason reason,
    const char *by)
{
	tunnels->leave.reason = reason;
	tunnels->leave.by = by;
	tunnels_check_end(tunnels);
}

void
tunnels_check_end(struct tunnels *tunnels)
{
	struct tunnel_leave *leave = &tunnels->leave;

	if (leave->by != NULL)
		loop_task_queue(tunnels->params.loop, &leave->end_task);
}

bool
tunnels_is_idle(const struct tunnels *tunnels)
{
	return tunnels->n_sessions == 0 && linger_is_empty(tunnels->linger);
}

static void
tunnels_tell_idle(void *arg)
{
	struct tunnels *tunnels = arg;

	if (tunnels->leave.idle != NULL && tunnels_is_idle(tunnels))
		tunnels->leave.idle(tunnels->leave.idle_arg);
}

void
tunnels_check_idle(struct tunnels *tunnels)
{
	struct tunnel_leave *leave = &tunnels->leave;

	if (tunnels->n_sessions == 0)
		loop_task_queue(tunnels->params.loop, &leave->idle_task);
}

void
tunnels_on_idle(struct tunnels *tunnels, loop_fn *fn, void *arg)
{
	tunnels->leave.idle = fn;
	tunnels->leave.idle_arg = arg;
	tunnels_check_idle(tunnels);
}

void
tunnels_leave_init(struct tunnels *tunnels)
{
	struct tunnel_leave *leave = &tunnels->leave;

	loop_task_init(&leave->idle_task, tunnels_tell_idle, tunnels);
	loop_task_init(&leave->end_task, tunnels_end_some, tunnels);
	linger_on_empty(tunnels->linger, &leave->idle_task);
}

void
tunnels_leave_cancel(struct tunnels *tunnels)
{
	struct tunnel_leave *leave = &tunnels->leave;

	if (leave->idle_task.fn == NULL)
		return; /* tunnels_new failed before */
	linger_on_empty(tunnels->linger, NULL);
	loop_task_cancel(tunnels->params.loop, &leave->idle_task);
	loop_task_cancel(tunnels->params.loop, &leave->end_task);
}
