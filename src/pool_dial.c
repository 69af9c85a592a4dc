/* SPDX-License-Identifier: ISC */
#include "pool_internal.h"

#include <stdlib.h>

double
pool_next_retry(double retry)
{
	if (retry < POOL_RETRY_MIN)
		return POOL_RETRY_MIN;
	return retry * 2 > POOL_RETRY_MAX ? POOL_RETRY_MAX : retry * 2;
}

void
pool_end_turn(struct pool *pool)
{
	pool->warmth = POOL_WARM;
	rush_done(pool->params.rush, &pool->turn);
}

static void
pool_check_turn(struct pool *pool)
{
	if (pool->warmth == POOL_WARMING && TAILQ_EMPTY(&pool->attaching))
		pool_end_turn(pool);
}

void
pool_turn(void *arg)
{
	struct pool *pool = arg;

	pool->warmth = POOL_WARMING;
	pool_fill(pool);
	pool_check_turn(pool);
}

static void
pool_lane_attached(struct pool_entry *entry, struct framing *framing)
{
	struct pool *pool = entry->pool;

	pool_entry_remove(entry);
	if (pool->leaving) { /* of a link that is past */
		framing_free(framing);
		return;
	}
	pool->retry = 0;
	pool->lane_attached_at = loop_now(pool->params.loop);
	pool->lanes++;
	pool_fill(pool);
	pool_check_turn(pool);
	pool->params.handler->lane(framing, pool->params.arg);
}

static void
pool_attached(const struct handshake_outcome *outcome, void *arg)
{
	struct pool_entry *entry = arg;
	struct pool *pool = entry->pool;
	const struct config_peer *peer = pool->params.peer;
	struct channel *channel = NULL;

	entry->handshake = NULL;
	if (entry->lane && outcome->status == HANDSHAKE_OK) {
		pool_lane_attached(entry, outcome->framing);
		return;
	}
	if (outcome->status == HANDSHAKE_OK)
		channel = channel_direct_new(pool->params.loop,
		    outcome->framing, peer->heartbeat_timeout, entry->ours);
	if (channel == NULL) {
		log_info("%s: channel: %s", peer->name,
		    outcome->status == HANDSHAKE_OK ? "out of memory" :
						      outcome->error);
		/* It may be the other end's bound that is reached. */
		if (!entry->ours && !entry->lane &&
		    pool->n_ours > pool->waiting)
			channel_free(
			    pool_entry_remove(TAILQ_FIRST(&pool->ours)));
		pool_entry_remove(entry);
		pool_check_turn(pool);
		if (pool->leaving)
			return;
		pool->retry = pool_next_retry(pool->retry);
		loop_timer_set(pool->retry_timer, pool->retry);
		return;
	}
	pool->retry = 0;
	TAILQ_REMOVE(&pool->attaching, entry, entry);
	if (entry->ours) {
		pool->attaching_ours--;
	} else {
		pool->attaching_theirs--;
		pool->served++;
	}
	pool_entry_idle(entry, channel);
	if (pool->leaving)
		return;
	pool_fill(pool);
	pool_check_turn(pool);
	pool->params.handler->available(pool->params.arg);
}

static int
pool_attach(struct pool *pool, enum wire_opener opener)
{
	struct handshake_params params = {
		.loop = pool->params.loop,
		.resolver = pool->params.resolver,
		.tls = pool->params.tls,
		.peer = pool->params.peer,
		.fn = pool_attached,
	};
	struct handshake_attach attach = {
		.to = &pool->params.address,
		.link_id = pool->params.link_id,
		.key = &pool->params.key,
		.serial = pool->serial + 1,
		.opener = opener,
	};
	struct pool_entry *entry = calloc(1, sizeof *entry);

	if (entry == NULL)
		return -1;
	entry->pool = pool;
	entry->ours = opener == WIRE_OPENER_DIALLER;
	entry->lane = opener == WIRE_OPENER_LANE;
	params.arg = entry;
	entry->handshake = handshake_start_attach(&params, &attach);
	if (entry->handshake == NULL) {
		free(entry);
		return -1;
	}
	pool->serial++;
	TAILQ_INSERT_TAIL(&pool->attaching, entry, entry);
	*pool_attaching(pool, entry) += 1;
	return 0;
}

/* Somebody waits at the other end and all places are taken: an idle channel of
 * ours that nobody waits for gives way. */
static void
pool_make_room(struct pool *pool, unsigned max)
{
	if (pool_total(pool) >= max && pool->n_ours > pool->waiting &&
	    pool->served + pool->attaching_theirs < pool->wanted)
		channel_free(pool_entry_remove(TAILQ_FIRST(&pool->ours)));
}

static bool
pool_needs(const struct pool *pool, unsigned need)
{
	return pool->lanes + pool->attaching_lanes < pool->lanes_goal ||
	    pool->n_ours + pool->attaching_ours < need ||
	    pool->served + pool->attaching_theirs < pool->wanted;
}

/* Whether a reserve may be attached now. */
static bool
pool_may_warm(struct pool *pool, unsigned need)
{
	if (pool->warmth == POOL_COLD && pool_needs(pool, need))
		pool->warmth = rush_ask(pool->params.rush, &pool->turn) ?
		    POOL_WARMING :
		    POOL_QUEUED;
	return pool->warmth >= POOL_WARMING;
}

void
pool_fill_dialler(struct pool *pool, unsigned need)
{
	unsigned max = (unsigned)pool->params.peer->max_channels;
	bool warm = pool_may_warm(pool, need);
	bool ours, theirs;

	if (!warm && need > pool->waiting)
		need = pool->waiting;
	while ((warm || pool->lanes_waited_for) &&
	    !loop_timer_is_set(pool->lane_timer) &&
	    pool->lanes + pool->attaching_lanes < pool->lanes_goal) {
		if (pool_attach(pool, WIRE_OPENER_LANE) != 0) {
			loop_timer_set(pool->retry_timer, POOL_RETRY_MAX);
			return;
		}
	}
	for (;;) {
		pool_make_room(pool, max);
		if (pool_total(pool) >= max ||
		    pool->attaching_ours + pool->attaching_theirs >=
			POOL_DIALS_MAX)
			return;
		ours = pool->n_ours + pool->attaching_ours < need;
		theirs = warm &&
		    pool->served + pool->attaching_theirs < pool->wanted;
		if (!ours && !theirs)
			return;
		/* Somebody waits for theirs; ours may be a mere reserve. */
		if (ours && theirs)
			ours = pool->n_ours + pool->attaching_ours <
				pool->waiting &&
			    pool->attaching_ours <= pool->attaching_theirs;
		if (pool_attach(pool,
			ours ? WIRE_OPENER_DIALLER : WIRE_OPENER_GATEWAY) !=
		    0) {
			loop_timer_set(pool->retry_timer, POOL_RETRY_MAX);
			return;
		}
	}
}
