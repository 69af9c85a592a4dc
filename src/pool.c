/* SPDX-License-Identifier: ISC */
#include "pool_internal.h"

#include <stdlib.h>
#include <string.h>

/* More than the other end may want, since old ones may linger. */
#define POOL_LANES_MAX (2 * WIRE_LANES_MAX)
/* Seconds that a lane lives, or the next one waits longer. */
#define POOL_LANE_SOON 10.0
/* Seconds without a miss before the goal halves at each tick. */
#define POOL_QUIET 10.0

static void pool_entry_opened(struct channel *channel,
    const struct wire_open *open, void *arg);
static void pool_entry_lost(struct channel *channel, void *arg);

static const struct channel_handler pool_channel_handler = {
	.opened = pool_entry_opened,
	.lost = pool_entry_lost,
};

/* The last channel is gone, of a pool that gets no more. */
static void
pool_check_empty(struct pool *pool)
{
	if (pool->leaving && TAILQ_EMPTY(&pool->theirs) &&
	    TAILQ_EMPTY(&pool->attaching))
		loop_task_queue(pool->params.loop, &pool->emptied);
}

unsigned *
pool_attaching(struct pool *pool, const struct pool_entry *entry)
{
	if (entry->lane)
		return &pool->attaching_lanes;
	return entry->ours ? &pool->attaching_ours : &pool->attaching_theirs;
}

struct channel *
pool_entry_remove(struct pool_entry *entry)
{
	struct pool *pool = entry->pool;
	struct channel *channel = entry->channel;

	if (channel == NULL) {
		TAILQ_REMOVE(&pool->attaching, entry, entry);
		*pool_attaching(pool, entry) -= 1;
	} else if (entry->ours) {
		TAILQ_REMOVE(&pool->ours, entry, entry);
		pool->n_ours--;
	} else {
		TAILQ_REMOVE(&pool->theirs, entry, entry);
		pool->n_theirs--;
	}
	handshake_cancel(entry->handshake);
	free(entry);
	pool_check_empty(pool);
	return channel;
}

static void
pool_entry_lost(struct channel *channel, void *arg)
{
	struct pool_entry *entry = arg;
	struct pool *pool = entry->pool;

	pool_entry_remove(entry);
	channel_free(channel);
	pool_fill(pool);
}

static void
pool_entry_opened(struct channel *channel, const struct wire_open *open,
    void *arg)
{
	struct pool_entry *entry = arg;
	struct pool *pool = entry->pool;

	pool_entry_remove(entry);
	pool->params.handler->opened(channel, open, pool->params.arg);
}

void
pool_entry_idle(struct pool_entry *entry, struct channel *channel)
{
	struct pool *pool = entry->pool;

	entry->channel = channel;
	channel_set_handler(channel, &pool_channel_handler, entry);
	if (entry->ours) {
		TAILQ_INSERT_TAIL(&pool->ours, entry, entry);
		pool->n_ours++;
	} else {
		TAILQ_INSERT_TAIL(&pool->theirs, entry, entry);
		pool->n_theirs++;
	}
}

unsigned
pool_total(const struct pool *pool)
{
	return *pool->params.in_use + pool->n_ours + pool->n_theirs +
	    pool->attaching_ours + pool->attaching_theirs;
}

/* A reserve takes at most a quarter of all places, whatever is configured. */
static void
pool_set_goal(struct pool *pool, unsigned goal)
{
	unsigned max = (unsigned)pool->params.peer->max_channels / 4;
	unsigned bound = (unsigned)pool->params.peer->pool;

	if (bound < POOL_BURST_MAX)
		bound = POOL_BURST_MAX;
	if (bound > max)
		bound = max;
	pool->goal = goal < bound ? goal : bound;
}

/* --- both sides -------------------------------------------------------- */

static void
pool_fill_gateway(struct pool *pool, unsigned need)
{
	uint64_t total;

	if (pool->n_ours >= need)
		return;
	total = pool->arrived + need - pool->n_ours;
	if (total <= pool->asked)
		return;
	pool->asked = total;
	pool->params.handler->want(total, pool->params.arg);
}

void
pool_fill(struct pool *pool)
{
	unsigned max = (unsigned)pool->params.peer->max_channels;
	unsigned need = pool->waiting + (pool->entries ? pool->goal : 0);

	if (pool->leaving)
		return;
	if (need > max)
		need = max;
	if (!pool->params.dialler)
		pool_fill_gateway(pool, need);
	else if (!loop_timer_is_set(pool->retry_timer))
		pool_fill_dialler(pool, need);
}

static void
pool_retry(void *arg)
{
	pool_fill(arg);
}

static void
pool_keep_alive(struct pool *pool, struct pool_list *list)
{
	const struct config_peer *peer = pool->params.peer;
	struct pool_entry *entry, *next;

	for (entry = TAILQ_FIRST(list); entry != NULL; entry = next) {
		next = TAILQ_NEXT(entry, entry);
		if (!channel_direct_keep_alive(entry->channel,
			peer->heartbeat_interval, peer->heartbeat_timeout))
			channel_free(pool_entry_remove(entry));
	}
}

static void
pool_tick(void *arg)
{
	struct pool *pool = arg;
	unsigned least = (unsigned)pool->params.peer->pool;
	double now = loop_now(pool->params.loop);

	if (now - pool->last_miss >= POOL_QUIET && pool->goal > least) {
		pool_set_goal(pool,
		    pool->goal / 2 > least ? pool->goal / 2 : least);
	}
	/* Only this end may open them, so it may close them without a word. */
	while (pool->n_ours > pool->goal + pool->waiting)
		channel_free(pool_entry_remove(TAILQ_FIRST(&pool->ours)));
	pool_keep_alive(pool, &pool->ours);
	pool_keep_alive(pool, &pool->theirs);
	loop_timer_set(pool->tick, pool->params.peer->heartbeat_interval / 2);
	pool_fill(pool);
}

void
pool_set_need(struct pool *pool, bool entries, unsigned waiting)
{
	pool->entries = entries;
	pool->waiting = waiting;
	pool_fill(pool);
}

static void
pool_missed(struct pool *pool)
{
	pool->last_miss = loop_now(pool->params.loop);
	/* Without a pool by configuration there is none to grow. */
	if (pool->params.peer->pool > 0)
		pool_set_goal(pool, pool->goal * 2);
}

struct channel *
pool_take(struct pool *pool)
{
	struct pool_entry *entry;
	struct channel *channel;

	while ((entry = TAILQ_FIRST(&pool->ours)) != NULL) {
		channel = pool_entry_remove(entry);
		if (channel_direct_is_alive(channel)) {
			*pool->params.in_use += 1;
			pool_fill(pool);
			return channel;
		}
		channel_free(channel);
	}
	pool_missed(pool);
	return NULL;
}

void
pool_on_want(struct pool *pool, uint64_t total)
{
	if (total > pool->wanted)
		pool->wanted = total;
	pool_fill(pool);
}

void
pool_set_lanes(struct pool *pool, unsigned count, unsigned have,
    bool waited_for)
{
	pool->lanes_goal = count;
	pool->lanes_waited_for = waited_for;
	pool->lanes = have;
	pool_fill(pool);
}

void
pool_lane_gone(struct pool *pool)
{
	if (pool->lanes > 0)
		pool->lanes--;
	if (!pool->params.dialler || pool->leaving)
		return;
	/* Not at once: one that is lost is lost again, as a rule. */
	if (loop_now(pool->params.loop) - pool->lane_attached_at >=
	    POOL_LANE_SOON)
		pool->lane_retry = 0;
	if (loop_timer_is_set(pool->lane_timer)) /* several at once */
		return;
	pool->lane_retry = pool_next_retry(pool->lane_retry);
	loop_timer_set(pool->lane_timer, pool->lane_retry);
}

static int
pool_accept_lane(struct pool *pool, const struct wire_message *answer,
    struct framing *framing)
{
	(void)framing_send(framing, answer);
	if (pool->leaving) {
		framing_free(framing);
		return 0;
	}
	pool->lanes++;
	pool->params.handler->lane(framing, pool->params.arg);
	return 0;
}

int
pool_accept(struct pool *pool, const struct wire_attach *attach,
    struct framing *framing, const char **why)
{
	struct wire_message answer = { .type = WIRE_ATTACHED };
	const struct config_peer *peer = pool->params.peer;
	bool lane = attach->opener == WIRE_OPENER_LANE;
	struct pool_entry *entry = NULL;
	struct channel *channel;
	uint8_t mac[WIRE_MAC_SIZE];

	*why = "ATTACH with a wrong MAC";
	if (auth_attach_mac(&pool->params.key, attach, mac) != 0 ||
	    !auth_equal(mac, attach->mac, sizeof mac))
		return -1;
	*why = "ATTACH with a serial used before";
	if (auth_serials_take(&pool->serials, attach->serial) != 0)
		return -1;
	*why = "max_channels reached";
	if (!lane && pool_total(pool) >= (unsigned)peer->max_channels)
		return -1;
	*why = "a lane that was not agreed on";
	if (lane && !pool->params.knows_lanes)
		return -1;
	*why = "too many lanes";
	if (lane && pool->lanes >= POOL_LANES_MAX)
		return -1;
	*why = "out of memory";
	if (auth_attached_mac(&pool->params.key, attach, answer.attached.mac) !=
	    0)
		return -1;
	if (lane)
		return pool_accept_lane(pool, &answer, framing);
	entry = calloc(1, sizeof *entry);
	if (entry == NULL)
		return -1;
	entry->pool = pool;
	entry->ours = attach->opener == WIRE_OPENER_GATEWAY;
	if (entry->ours)
		pool->arrived++;
	/* A send that fails shows as an end of the stream soon after. */
	(void)framing_send(framing, &answer);
	if (entry->ours && pool->leaving) {
		free(entry);
		framing_free(framing);
		return 0;
	}
	channel = channel_direct_new(pool->params.loop, framing,
	    peer->heartbeat_timeout, entry->ours);
	if (channel == NULL) {
		free(entry);
		return 0; /* the framing is gone, as promised */
	}
	pool_entry_idle(entry, channel);
	if (entry->ours)
		pool->params.handler->available(pool->params.arg);
	return 0;
}

const uint8_t *
pool_link_id(const struct pool *pool)
{
	return pool->params.link_id;
}

unsigned
pool_idle(const struct pool *pool)
{
	return pool->n_ours;
}

static void
pool_emptied(void *arg)
{
	struct pool *pool = arg;

	if (pool->on_empty != NULL && pool_is_empty(pool))
		pool->on_empty(pool->on_empty_arg);
}

struct pool *
pool_new(const struct pool_params *params)
{
	struct pool *pool = calloc(1, sizeof *pool);

	if (pool == NULL)
		return NULL;
	pool->params = *params;
	config_peer_ref(pool->params.peer);
	TAILQ_INIT(&pool->ours);
	TAILQ_INIT(&pool->theirs);
	TAILQ_INIT(&pool->attaching);
	loop_task_init(&pool->emptied, pool_emptied, pool);
	rush_turn_init(&pool->turn, RUSH_WARM, pool_turn, pool);
	pool_set_goal(pool, (unsigned)params->peer->pool);
	pool->last_miss = loop_now(params->loop);
	pool->tick = loop_timer_new(params->loop, pool_tick, pool);
	pool->retry_timer = loop_timer_new(params->loop, pool_retry, pool);
	pool->lane_timer = loop_timer_new(params->loop, pool_retry, pool);
	if (pool->tick == NULL || pool->retry_timer == NULL ||
	    pool->lane_timer == NULL) {
		pool_free(pool);
		return NULL;
	}
	loop_timer_set(pool->tick, params->peer->heartbeat_interval / 2);
	return pool;
}

void
pool_set_conf(struct pool *pool, const struct config_peer *peer)
{
	config_peer_ref(peer);
	config_peer_unref(pool->params.peer);
	pool->params.peer = peer;
	pool_set_goal(pool, (unsigned)peer->pool);
	/* At once: one that is pinged more often must be from now on. */
	loop_timer_set(pool->tick, 0);
}

static void
pool_close_all(struct pool_list *list)
{
	struct pool_entry *entry;

	while ((entry = TAILQ_FIRST(list)) != NULL)
		channel_free(pool_entry_remove(entry));
}

void
pool_leave(struct pool *pool)
{
	struct pool_entry *entry, *next;

	pool->leaving = true;
	pool_end_turn(pool);
	loop_timer_cancel(pool->retry_timer);
	loop_timer_cancel(pool->lane_timer);
	pool_close_all(&pool->ours);
	/* One for the other end may be attached there already, and in use. */
	for (entry = TAILQ_FIRST(&pool->attaching); entry != NULL;
	     entry = next) {
		next = TAILQ_NEXT(entry, entry);
		if (entry->ours)
			pool_entry_remove(entry);
	}
}

bool
pool_is_empty(const struct pool *pool)
{
	return TAILQ_EMPTY(&pool->ours) && TAILQ_EMPTY(&pool->theirs) &&
	    TAILQ_EMPTY(&pool->attaching);
}

void
pool_on_empty(struct pool *pool, loop_fn *fn, void *arg)
{
	pool->on_empty = fn;
	pool->on_empty_arg = arg;
	pool_check_empty(pool);
}

void
pool_free(struct pool *pool)
{
	if (pool == NULL)
		return;
	pool_close_all(&pool->ours);
	pool_close_all(&pool->theirs);
	pool_close_all(&pool->attaching);
	pool_end_turn(pool);
	loop_task_cancel(pool->params.loop, &pool->emptied);
	loop_timer_free(pool->tick);
	loop_timer_free(pool->retry_timer);
	loop_timer_free(pool->lane_timer);
	config_peer_unref(pool->params.peer);
	auth_wipe(&pool->params.key, sizeof pool->params.key);
	free(pool);
}
