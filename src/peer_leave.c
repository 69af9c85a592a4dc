/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <string.h>

/* --- giving the name up ----------------------------------------------------- */

void
peer_leave_link(struct peer *peer)
{
	pool_leave(peer->pool);
	lanes_retire(peer->lanes);
	peer_say_goaway(peer, WIRE_GOAWAY_UPGRADE);
	loop_timer_set(peer->leave_timer, PEER_LEAVE_SECONDS);
}

void
peer_leave(struct peer *peer)
{
	if (peer->leaving)
		return;
	peer->leaving = true;
	peer->started = false;
	peer_forget_expected(peer);
	if (peer->newcomer.framing != NULL)
		peer_reject_busy(peer);
	peer_step(peer, SUPERVISOR_STOP);
	if (peer->link != NULL)
		peer_leave_link(peer);
	else if (!peer->disabled)
		peer_set_state(peer, PEER_DOWN);
}

/* The other end had time enough. */
void
peer_leave_late(void *arg)
{
	struct peer *peer = arg;

	if (peer->link != NULL)
		peer_drop_link(peer, PEER_LEFT, PEER_END_LOST);
	peer_past_free_all(peer);
	peer_check_left(peer);
}

bool
peer_has_left(const struct peer *peer)
{
	return peer->leaving && peer->link == NULL &&
	    TAILQ_EMPTY(&peer->pasts) && lanes_are_closed(peer->lanes);
}

void
peer_check_left(struct peer *peer)
{
	const struct peer_handler *handler = peer->context->handler;

	if (!peer_has_left(peer))
		return;
	loop_timer_cancel(peer->leave_timer);
	if (handler->left != NULL)
		handler->left(peer, peer->context->arg);
}

/* --- waiting for who gave it up --------------------------------------------- */

void
peer_expect(struct peer *peer, double seconds)
{
	double now = loop_now(peer->context->loop);

	if (peer->leaving || peer->disabled || peer->retired)
		return;
	peer->expected_until = now + seconds;
	loop_timer_set(peer->late, seconds);
	supervisor_expect(&peer->supervisor, peer->expected_until);
	if (peer->state == PEER_WAITING)
		peer_wait_at_most(peer, SUPERVISOR_QUICK);
}

void
peer_forget_expected(struct peer *peer)
{
	peer->expected_until = 0;
	peer->reserved = false;
	loop_timer_cancel(peer->late);
	supervisor_expect(&peer->supervisor, 0);
}

double
peer_expected_for(const struct peer *peer)
{
	double left;

	if (peer->link != NULL || peer->expected_until == 0)
		return 0;
	left = peer->expected_until - loop_now(peer->context->loop);
	return left > 0 ? left : 0;
}

bool
peer_is_expected(const struct peer *peer)
{
	return peer_expected_for(peer) > 0;
}

bool
peer_get_instance(const struct peer *peer, uint8_t instance[WIRE_INSTANCE_SIZE])
{
	if (peer->link == NULL || peer->conf->dials)
		return false;
	memcpy(instance, peer->instance, WIRE_INSTANCE_SIZE);
	return true;
}

void
peer_reserve(struct peer *peer, const uint8_t instance[WIRE_INSTANCE_SIZE])
{
	if (peer->link != NULL || peer->conf->dials)
		return;
	memcpy(peer->instance, instance, WIRE_INSTANCE_SIZE);
	peer->reserved = true;
}

bool
peer_is_reserved_from(const struct peer *peer,
    const uint8_t instance[WIRE_INSTANCE_SIZE])
{
	return peer->reserved && peer_is_expected(peer) &&
	    memcmp(instance, peer->instance, WIRE_INSTANCE_SIZE) != 0;
}

void
peer_is_late(void *arg)
{
	struct peer *peer = arg;
	const struct peer_handler *handler = peer->context->handler;

	peer->expected_until = 0;
	peer->reserved = false;
	if (peer->link == NULL && handler->late != NULL)
		handler->late(peer, peer->context->arg);
}
