/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <stdlib.h>

/* An OPEN that found max_channels in use: its user waits, as for a channel of
 * his own, and the entry's patience is the bound. */
#define PEER_POSTPONED_MAX 1024

struct peer_postponed {
	TAILQ_ENTRY(peer_postponed) entry;
	struct peer *peer;
	struct channel *channel;
	struct wire_open open;
};

bool
peer_knows_mux(const struct peer *peer)
{
	return peer->link != NULL && (peer->features & WIRE_FEATURE_MUX) != 0;
}

const struct lanes *
peer_lanes(const struct peer *peer)
{
	return peer->lanes;
}

/* --- how many ------------------------------------------------------------- */

/* Of both ends the one that needs more has it. */
static unsigned
peer_count_lanes(const struct peer *peer)
{
	unsigned own = 0;

	if (!peer_knows_mux(peer) || peer->leaving)
		return 0;
	if (peer->mux_entries || peer->n_mux_waiting > 0)
		own = (unsigned)peer->conf->lanes;
	return own > peer->lanes_asked ? own : peer->lanes_asked;
}

void
peer_need_lanes(void *arg)
{
	struct peer *peer = arg;
	unsigned count = peer_count_lanes(peer);
	struct wire_message msg = { .type = WIRE_LANES,
		.lanes.count = (uint8_t)count };

	peer_serve_postponed(peer);
	if (!peer_knows_mux(peer))
		return;
	if (peer->conf->dials) {
		lanes_limit(peer->lanes, count);
		pool_set_lanes(peer->pool, count, lanes_count(peer->lanes),
		    peer->n_mux_waiting > 0);
	} else if (count != peer->lanes_told) {
		peer->lanes_told = count;
		link_send(peer->link, &msg);
	}
	peer_serve_waiters(peer);
}

void
peer_tell_need(struct peer *peer)
{
	bool entries = peer->entries;

	if (!TAILQ_EMPTY(&peer->postponed))
		loop_task_queue(peer->context->loop, &peer->lanes_need);
	if (peer->pool == NULL)
		return;
	if (!peer_knows_mux(peer))
		entries |= peer->mux_entries;
	pool_set_need(peer->pool, entries, peer->n_waiting);
	/* Entries come and go one by one in a reload. */
	if (peer_knows_mux(peer))
		loop_task_queue(peer->context->loop, &peer->lanes_need);
}

void
peer_on_lanes(struct peer *peer, unsigned count)
{
	peer->lanes_asked = count;
	peer_tell_need(peer);
}

void
peer_clear_entries(struct peer *peer)
{
	peer->entries = peer->mux_entries = false;
	peer_tell_need(peer);
}

void
peer_add_entry(struct peer *peer, enum config_mode mode)
{
	if (mode == CONFIG_MODE_MUX)
		peer->mux_entries = true;
	else
		peer->entries = true;
	peer_tell_need(peer);
}

/* --- what they say ---------------------------------------------------------- */

void
peer_pool_lane(struct framing *framing, void *arg)
{
	struct peer *peer = arg;

	if (lanes_add(peer->lanes, framing) != 0 && peer->pool != NULL)
		pool_lane_gone(peer->pool);
	/* Fewer may be wanted than when it was dialled. */
	if (peer->conf->dials)
		loop_task_queue(peer->context->loop, &peer->lanes_need);
}

static bool
peer_is_full(const struct peer *peer)
{
	return peer->in_use >= (unsigned)peer->conf->max_channels;
}

static struct channel *
peer_postponed_remove(struct peer_postponed *postponed)
{
	struct peer *peer = postponed->peer;
	struct channel *channel = postponed->channel;

	TAILQ_REMOVE(&peer->postponed, postponed, entry);
	peer->n_postponed--;
	free(postponed);
	return channel;
}

static void
peer_postponed_lost(struct channel *channel, void *arg)
{
	peer_postponed_remove(arg);
	channel_abort(channel);
}

static void
peer_postponed_ready(struct channel *channel, void *arg)
{
	(void)channel;
	(void)arg;
}

static const struct channel_handler peer_postponed_handler = {
	.ready = peer_postponed_ready,
	.lost = peer_postponed_lost,
};

static void
peer_postpone(struct peer *peer, struct channel *channel,
    const struct wire_open *open)
{
	struct peer_postponed *postponed = NULL;

	if (peer->n_postponed < PEER_POSTPONED_MAX)
		postponed = calloc(1, sizeof *postponed);
	if (postponed == NULL) {
		channel_send_failed(channel, NULL, WIRE_FAILED_LIMIT,
		    "max_channels reached");
		return;
	}
	postponed->peer = peer;
	postponed->channel = channel;
	postponed->open = *open;
	TAILQ_INSERT_TAIL(&peer->postponed, postponed, entry);
	peer->n_postponed++;
	channel_set_handler(channel, &peer_postponed_handler, postponed);
}

void
peer_serve_postponed(struct peer *peer)
{
	struct peer_postponed *postponed;
	struct channel *channel;
	struct wire_open open;

	while (!peer_is_full(peer) &&
	    (postponed = TAILQ_FIRST(&peer->postponed)) != NULL) {
		open = postponed->open;
		channel = peer_postponed_remove(postponed);
		peer->in_use++;
		peer->context->handler->session_open(peer, channel, &open,
		    peer->context->arg);
	}
}

void
peer_drop_postponed(struct peer *peer)
{
	struct peer_postponed *postponed;

	while ((postponed = TAILQ_FIRST(&peer->postponed)) != NULL)
		channel_abort(peer_postponed_remove(postponed));
}

static void
peer_lane_opened(struct channel *channel, const struct wire_open *open,
    void *arg)
{
	struct peer *peer = arg;

	if (peer_is_full(peer)) {
		peer_postpone(peer, channel, open);
		return;
	}
	peer->in_use++;
	peer->context->handler->session_open(peer, channel, open,
	    peer->context->arg);
}

static void
peer_lane_available(void *arg)
{
	peer_serve_waiters(arg);
}

static void
peer_lane_lost(void *arg)
{
	struct peer *peer = arg;

	if (peer->pool != NULL)
		pool_lane_gone(peer->pool);
}

static void
peer_lane_closed(void *arg)
{
	peer_check_left(arg);
}

const struct lanes_handler peer_lanes_handler = {
	.opened = peer_lane_opened,
	.available = peer_lane_available,
	.lost = peer_lane_lost,
	.closed = peer_lane_closed,
};
