/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const peer_state_names[] = {
	[PEER_DOWN] = "down",
	[PEER_DIALLING] = "dialling",
	[PEER_WAITING] = "waiting",
	[PEER_UP] = "up",
	[PEER_DISABLED] = "disabled",
};

void
peer_set_state(struct peer *peer, enum peer_state state)
{
	if (peer->state == state)
		return;
	log_debug("%s: %s -> %s", peer->conf->name,
	    peer_state_names[peer->state], peer_state_names[state]);
	peer->state = state;
	peer->since_us = loop_wall_us();
	if (state != PEER_WAITING)
		peer->next_try_us = 0;
}

void
peer_set_error(struct peer *peer, const char *error)
{
	snprintf(peer->error, sizeof peer->error, "%s", error);
	peer->error_us = loop_wall_us();
}

/* --- dialling ----------------------------------------------------------- */

/* A wrong secret is none for ever while both ends are being changed. */
static bool
peer_is_patient(const struct peer *peer)
{
	return peer->relinked_at != 0 &&
	    loop_now(peer->context->loop) - peer->relinked_at < PEER_PATIENCE;
}

static void
peer_dialled(const struct handshake_outcome *outcome, void *arg)
{
	struct peer *peer = arg;
	bool refused = outcome->status == HANDSHAKE_REFUSED &&
	    !peer_is_patient(peer);

	peer->handshake = NULL;
	rush_done(peer->context->rush, &peer->turn);
	peer->address = outcome->address;
	if (outcome->status == HANDSHAKE_OK &&
	    peer_make_link(peer,
		&(struct peer_link_params){ outcome->framing, &outcome->key,
		    outcome->link_id, outcome->features }) == 0) {
		peer_step(peer, SUPERVISOR_CONNECTED);
		if (strcmp(outcome->name, peer->conf->name) != 0)
			log_info("%s: calls itself %s", peer->conf->name,
			    outcome->name);
		peer_came_up(peer);
		return;
	}
	/* The same failure again and again is said once. */
	if (strcmp(peer->error, outcome->error) != 0)
		log_warning("%s: %s", peer->conf->name, outcome->error);
	peer_set_error(peer,
	    outcome->status == HANDSHAKE_OK ? "out of memory" : outcome->error);
	peer->context->handler->failed(peer, peer->error, peer->context->arg);
	peer_step(peer, refused ? SUPERVISOR_REFUSED : SUPERVISOR_FAILED);
}

/* Its turn has come. */
static void
peer_dial_now(void *arg)
{
	struct peer *peer = arg;
	struct handshake_params params = {
		.loop = peer->context->loop,
		.resolver = peer->context->resolver,
		.tls = peer->context->tls,
		.peer = peer->conf,
		.fn = peer_dialled,
		.arg = peer,
	};

	peer->handshake = handshake_start_link(&params, peer->context->instance,
	    ++peer->epoch);
	if (peer->handshake == NULL) {
		rush_done(peer->context->rush, &peer->turn);
		peer_set_error(peer, "out of memory");
		peer_step(peer, SUPERVISOR_FAILED);
	}
}

static void
peer_dial(struct peer *peer)
{
	peer_set_state(peer, PEER_DIALLING);
	if (rush_ask(peer->context->rush, &peer->turn))
		peer_dial_now(peer);
}

/* What warms other links waits for one that is dialled in a moment. */
#define PEER_SOON 1.0

static void
peer_dial_in(struct peer *peer, double seconds)
{
	peer_set_state(peer, PEER_WAITING);
	peer->next_try_us = loop_wall_us() + (int64_t)(seconds * 1e6);
	loop_timer_set(peer->retry, seconds);
	if (seconds <= PEER_SOON)
		rush_expect(peer->context->rush, &peer->turn);
}

static double
peer_random(void)
{
	uint32_t bits;

	auth_random(&bits, sizeof bits);
	return bits / 4294967296.0;
}

void
peer_step(struct peer *peer, enum supervisor_event event)
{
	struct supervisor_action action;

	if (!peer->conf->dials)
		return;
	action = supervisor_step(&peer->supervisor, event,
	    loop_now(peer->context->loop), peer_random());
	switch (action.what) {
	case SUPERVISOR_NOTHING:
		return;
	case SUPERVISOR_DIAL:
		peer_dial(peer);
		return;
	case SUPERVISOR_WAIT:
		peer_dial_in(peer, action.seconds);
		return;
	case SUPERVISOR_CANCEL:
		rush_done(peer->context->rush, &peer->turn);
		loop_timer_cancel(peer->retry);
		handshake_cancel(peer->handshake);
		peer->handshake = NULL;
		return;
	}
}

void
peer_wait_at_most(struct peer *peer, double seconds)
{
	int64_t latest = loop_wall_us() + (int64_t)(seconds * 1e6);

	if (peer->state != PEER_WAITING || peer->next_try_us <= latest)
		return;
	peer->next_try_us = latest;
	loop_timer_set(peer->retry, seconds);
}

static void
peer_retry(void *arg)
{
	peer_step(arg, SUPERVISOR_TIMER);
}

/* --- life --------------------------------------------------------------- */

struct peer *
peer_new(const struct peer_context *context, const struct config_peer *conf,
    uint32_t index, struct loop_task *unused)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (peer == NULL)
		return NULL;
	peer->context = context;
	peer->conf = config_peer_ref(conf);
	peer->conf_since = loop_now(context->loop);
	peer->index = index;
	peer->refs = 1;
	peer->unused = unused;
	peer->epoch = context->epoch;
	peer->since_us = loop_wall_us();
	TAILQ_INIT(&peer->waiters);
	TAILQ_INIT(&peer->mux_waiters);
	TAILQ_INIT(&peer->postponed);
	rush_turn_init(&peer->turn, RUSH_LINK, peer_dial_now, peer);
	loop_task_init(&peer->lanes_need, peer_need_lanes, peer);
	peer->lanes = lanes_new(context->loop, conf, &peer_lanes_handler, peer);
	TAILQ_INIT(&peer->pings);
	TAILQ_INIT(&peer->pasts);
	supervisor_init(&peer->supervisor, conf->reconnect_min,
	    conf->reconnect_max);
	peer->retry = loop_timer_new(context->loop, peer_retry, peer);
	peer->takeover = loop_timer_new(context->loop, peer_takeover, peer);
	peer->leave_timer = loop_timer_new(context->loop, peer_leave_late,
	    peer);
	peer->late = loop_timer_new(context->loop, peer_is_late, peer);
	if (peer->retry == NULL || peer->takeover == NULL ||
	    peer->leave_timer == NULL || peer->late == NULL ||
	    peer->lanes == NULL) {
		peer_free(peer);
		return NULL;
	}
	return peer;
}

void
peer_free(struct peer *peer)
{
	if (peer == NULL)
		return;
	loop_timer_free(peer->retry);
	loop_timer_free(peer->takeover);
	loop_timer_free(peer->leave_timer);
	loop_timer_free(peer->late);
	peer_past_free_all(peer);
	rush_done(peer->context->rush, &peer->turn);
	handshake_cancel(peer->handshake);
	framing_free(peer->newcomer.framing);
	auth_wipe(&peer->newcomer, sizeof peer->newcomer);
	link_free(peer->link);
	pool_free(peer->pool);
	peer_drop_postponed(peer);
	lanes_free(peer->lanes);
	loop_task_cancel(peer->context->loop, &peer->lanes_need);
	config_peer_unref(peer->conf);
	free(peer);
}

struct peer *
peer_ref(struct peer *peer)
{
	if (peer != NULL)
		peer->refs++;
	return peer;
}

void
peer_unref(struct peer *peer)
{
	/* Not freed here: it may be the peer itself that calls. */
	if (peer != NULL && --peer->refs == 0)
		loop_task_queue(peer->context->loop, peer->unused);
}

bool
peer_is_unused(const struct peer *peer)
{
	return peer->refs == 0;
}

void
peer_start(struct peer *peer)
{
	if (peer->started)
		return;
	peer->started = true;
	if (!peer->disabled)
		peer_step(peer, SUPERVISOR_START);
}

void
peer_say_goaway(struct peer *peer, enum wire_goaway_reason reason)
{
	struct wire_message msg = { .type = WIRE_GOAWAY };

	if (peer->leaving && reason != WIRE_GOAWAY_UPGRADE)
		return;
	msg.goaway.reason = (uint8_t)reason;
	link_send(peer->link, &msg);
}

void
peer_cut(struct peer *peer, const char *why, const char *to_newcomer,
    enum wire_goaway_reason reason)
{
	peer_forget_expected(peer);
	/* What they would bring is none of this peer's any more. */
	peer_past_free_all(peer);
	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer, to_newcomer);
	peer_step(peer, SUPERVISOR_STOP);
	if (peer->link == NULL)
		return;
	peer_say_goaway(peer, reason);
	peer_drop_link(peer, why, PEER_END_SAID);
}

void
peer_stop(struct peer *peer, const char *why)
{
	peer->started = false;
	peer_cut(peer, why, "the gateway is going away", WIRE_GOAWAY_STOPPING);
}

/* --- what administrators do --------------------------------------------- */

void
peer_disconnect(struct peer *peer, const char *why)
{
	if (peer->link == NULL)
		return;
	peer_say_goaway(peer, WIRE_GOAWAY_ADMIN);
	peer_end_link(peer, why, PEER_END_SAID);
}

static void
peer_disable(struct peer *peer)
{
	char why[sizeof peer->disabled_by + 16];

	snprintf(why, sizeof why, "disabled by %s", peer->disabled_by);
	peer_forget_expected(peer);
	if (peer->newcomer.framing != NULL)
		peer_reject_disabled(peer);
	peer_step(peer, SUPERVISOR_STOP);
	if (peer->link != NULL) {
		peer_say_goaway(peer, WIRE_GOAWAY_ADMIN);
		peer_drop_link(peer, why, PEER_END_SAID);
	}
	peer_set_state(peer, PEER_DISABLED);
}

void
peer_set_disabled(struct peer *peer, bool disabled, int64_t at_us,
    const char *by)
{
	if (disabled == peer->disabled)
		return;
	peer->disabled = disabled;
	peer->disabled_us = disabled ? at_us : 0;
	snprintf(peer->disabled_by, sizeof peer->disabled_by, "%s",
	    disabled ? by : "");
	if (disabled) {
		peer_disable(peer);
		return;
	}
	peer_set_state(peer, PEER_DOWN);
	if (peer->started)
		peer_step(peer, SUPERVISOR_START);
}

bool
peer_is_disabled(const struct peer *peer)
{
	return peer->disabled;
}

/* --- what is there to see ----------------------------------------------- */

const struct config_peer *
peer_conf(const struct peer *peer)
{
	return peer->conf;
}

const char *
peer_name(const struct peer *peer)
{
	return peer->conf->name;
}

uint64_t
peer_ups(const struct peer *peer)
{
	return peer->ups;
}

bool
peer_is_up(const struct peer *peer)
{
	return peer->state == PEER_UP;
}

void
peer_get_status(const struct peer *peer, struct peer_status *out)
{
	memset(out, 0, sizeof *out);
	out->state = peer_state_names[peer->state];
	out->since_us = peer->since_us;
	out->rtt_ms = peer->link == NULL ? -1 : link_rtt_ms(peer->link);
	if (peer->link != NULL)
		addr_sock_format(&peer->address, out->address,
		    sizeof out->address);
	out->error = peer->error;
	out->error_us = peer->error_us;
	out->refusal = peer->refusal;
	out->refusal_us = peer->refusal_us;
	out->next_try_us = peer->next_try_us;
	out->ups = peer->ups;
	out->idle = peer->pool == NULL ? 0 : pool_idle(peer->pool);
	out->in_use = peer->in_use;
	out->waiting = peer->n_waiting + peer->n_mux_waiting;
	out->disabled_us = peer->disabled_us;
	out->disabled_by = peer->disabled_by;
}
