/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

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

	if (!peer_knows_mux(peer))
		return;
	if (peer->conf->dials) {
		lanes_limit(peer->lanes, count);
		pool_set_lanes(peer->pool, count, lanes_count(peer->lanes));
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
}

static void
peer_lane_opened(struct channel *channel, const struct wire_open *open,
    void *arg)
{
	struct peer *peer = arg;

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

const struct lanes_handler peer_lanes_handler = {
	.opened = peer_lane_opened,
	.available = peer_lane_available,
	.lost = peer_lane_lost,
};
