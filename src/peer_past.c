/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <stdlib.h>

/* So many links of a peer that are over may still be heard at a time. */
#define PEER_PASTS_MAX 8

/* One that is over: kills and OPENs that were under way still arrive. */
struct peer_past {
	TAILQ_ENTRY(peer_past) entry;
	struct peer *peer;
	struct link *link; /* NULL: the other end has closed it */
	struct pool *pool; /* NULL: no channel is left */
	struct loop_timer *timer;
};

static void
peer_past_free(struct peer_past *past)
{
	struct peer *peer = past->peer;

	TAILQ_REMOVE(&peer->pasts, past, entry);
	peer->n_pasts--;
	link_free(past->link);
	pool_free(past->pool);
	loop_timer_free(past->timer);
	free(past);
}

static void
peer_past_check(struct peer_past *past)
{
	struct peer *peer = past->peer;

	if (past->link != NULL || past->pool != NULL)
		return;
	peer_past_free(past);
	peer_check_left(peer);
}

static void
peer_past_frame(const struct wire_message *msg, void *arg)
{
	struct peer_past *past = arg;
	struct peer *peer = past->peer;

	/* All else was about a link that goes on. */
	if (msg->type == WIRE_CLOSE)
		peer->context->handler->session_close(peer, &msg->close,
		    peer->context->arg);
}

static void
peer_past_down(const char *why, void *arg)
{
	struct peer_past *past = arg;

	(void)why;
	link_free(past->link);
	past->link = NULL;
	peer_past_check(past);
}

static const struct link_handler peer_past_handler = {
	.frame = peer_past_frame,
	.down = peer_past_down,
};

static void
peer_past_emptied(void *arg)
{
	struct peer_past *past = arg;

	pool_free(past->pool);
	past->pool = NULL;
	peer_past_check(past);
}

static void
peer_past_over(void *arg)
{
	struct peer_past *past = arg;
	struct peer *peer = past->peer;

	peer_past_free(past);
	peer_check_left(peer);
}

void
peer_past_add(struct peer *peer, struct link *link, struct pool *pool)
{
	struct peer_past *past = calloc(1, sizeof *past);
	struct loop *loop = peer->context->loop;

	if (past != NULL)
		past->timer = loop_timer_new(loop, peer_past_over, past);
	if (past == NULL || past->timer == NULL) {
		link_free(link);
		pool_free(pool);
		free(past);
		return;
	}
	if (peer->n_pasts == PEER_PASTS_MAX)
		peer_past_free(TAILQ_FIRST(&peer->pasts));
	past->peer = peer;
	past->link = link;
	past->pool = pool;
	TAILQ_INSERT_TAIL(&peer->pasts, past, entry);
	peer->n_pasts++;
	loop_timer_set(past->timer, PEER_LEAVE_SECONDS);
	if (link != NULL)
		link_finish(link, PEER_LEAVE_SECONDS, &peer_past_handler, past);
	if (pool != NULL) {
		pool_leave(pool);
		pool_on_empty(pool, peer_past_emptied, past);
	}
}

void
peer_past_free_all(struct peer *peer)
{
	struct peer_past *past;

	while ((past = TAILQ_FIRST(&peer->pasts)) != NULL)
		peer_past_free(past);
}
