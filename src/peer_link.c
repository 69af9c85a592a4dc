/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <stdio.h>
#include <string.h>

#include "net.h"

static void peer_link_frame(const struct wire_message *msg, void *arg);
static void peer_link_down(const char *why, void *arg);
static void peer_link_alive(void *arg);
static void peer_link_pong(uint64_t token, void *arg);

static const struct link_handler peer_link_handler = {
	.frame = peer_link_frame,
	.down = peer_link_down,
	.alive = peer_link_alive,
	.pong = peer_link_pong,
};

/* --- channels ----------------------------------------------------------- */

/* Where the other end knows no lanes it waits for a channel of its own. */
static void
peer_enqueue(struct peer *peer, struct peer_waiter *waiter, bool first)
{
	struct peer_waiters *list = &peer->waiters;

	waiter->listed_mux = waiter->mux &&
	    (peer->link == NULL || peer_knows_mux(peer));
	if (waiter->listed_mux)
		list = &peer->mux_waiters;
	if (first)
		TAILQ_INSERT_HEAD(list, waiter, entry);
	else
		TAILQ_INSERT_TAIL(list, waiter, entry);
	waiter->waiting = true;
	*(waiter->listed_mux ? &peer->n_mux_waiting : &peer->n_waiting) += 1;
	peer_tell_need(peer);
}

/* The link that came knows no lanes: they wait for channels after all. */
static void
peer_requeue(struct peer *peer)
{
	struct peer_waiter *waiter;

	while ((waiter = TAILQ_FIRST(&peer->mux_waiters)) != NULL) {
		peer_wait_cancel(peer, waiter);
		peer_enqueue(peer, waiter, false);
	}
}

static struct channel *
peer_take_lane(struct peer *peer)
{
	struct channel *channel;

	if (peer->link == NULL || !peer_knows_mux(peer) ||
	    peer->in_use >= (unsigned)peer->conf->max_channels)
		return NULL;
	channel = lanes_take(peer->lanes);
	if (channel != NULL)
		peer->in_use++;
	return channel;
}

void
peer_serve_waiters(struct peer *peer)
{
	struct peer_waiter *waiter;
	struct channel *channel;

	while ((waiter = TAILQ_FIRST(&peer->mux_waiters)) != NULL &&
	    (channel = peer_take_lane(peer)) != NULL) {
		peer_wait_cancel(peer, waiter);
		waiter->got(channel, waiter->arg);
	}
	/* A waiter may end the link, and with it the pool. */
	while (peer->pool != NULL && pool_idle(peer->pool) > 0 &&
	    (waiter = TAILQ_FIRST(&peer->waiters)) != NULL) {
		peer_wait_cancel(peer, waiter);
		channel = pool_take(peer->pool);
		if (channel == NULL) {
			peer_enqueue(peer, waiter, true);
			return;
		}
		waiter->got(channel, waiter->arg);
	}
}

static void
peer_pool_available(void *arg)
{
	peer_serve_waiters(arg);
}

static void
peer_pool_opened(struct channel *channel, const struct wire_open *open,
    void *arg)
{
	struct peer *peer = arg;

	peer->in_use++;
	peer->context->handler->session_open(peer, channel, open,
	    peer->context->arg);
}

static void
peer_pool_want(uint64_t total, void *arg)
{
	struct peer *peer = arg;
	struct wire_message msg = { .type = WIRE_WANT, .want.total = total };

	link_send(peer->link, &msg);
}

static const struct pool_handler peer_pool_handler = {
	.available = peer_pool_available,
	.opened = peer_pool_opened,
	.want = peer_pool_want,
	.lane = peer_pool_lane,
};

void
peer_wait(struct peer *peer, struct peer_waiter *waiter)
{
	struct channel *channel = NULL;

	if (waiter->mux && peer_knows_mux(peer)) {
		if (TAILQ_EMPTY(&peer->mux_waiters))
			channel = peer_take_lane(peer);
	} else if (peer->pool != NULL && TAILQ_EMPTY(&peer->waiters)) {
		channel = pool_take(peer->pool);
	}
	if (channel != NULL)
		waiter->got(channel, waiter->arg);
	else
		peer_enqueue(peer, waiter, false);
}

void
peer_wait_cancel(struct peer *peer, struct peer_waiter *waiter)
{
	if (!waiter->waiting)
		return;
	waiter->waiting = false;
	if (waiter->listed_mux) {
		TAILQ_REMOVE(&peer->mux_waiters, waiter, entry);
		peer->n_mux_waiting--;
	} else {
		TAILQ_REMOVE(&peer->waiters, waiter, entry);
		peer->n_waiting--;
	}
	peer_tell_need(peer);
}

void
peer_channel_done(struct peer *peer)
{
	peer->in_use--;
	/* Somebody may wait for just this place; not within this call. */
	peer_tell_need(peer);
}

bool
peer_send_close(struct peer *peer, const uint8_t uid[WIRE_UID_SIZE],
    enum wire_close_reason reason)
{
	struct wire_message msg = { .type = WIRE_CLOSE };

	/* Thousands of kills must not cost the link. */
	if (peer->link == NULL || link_is_clogged(peer->link))
		return false;
	memcpy(msg.close.uid, uid, WIRE_UID_SIZE);
	msg.close.reason = (uint8_t)reason;
	link_send(peer->link, &msg);
	return true;
}

/* --- pings -------------------------------------------------------------- */

int
peer_ping(struct peer *peer, struct peer_ping *ping)
{
	if (peer->state != PEER_UP || peer->n_pings >= PEER_PINGS_MAX)
		return -1;
	ping->sent_at = loop_now(peer->context->loop);
	ping->token = link_ping(peer->link);
	ping->sent = true;
	TAILQ_INSERT_TAIL(&peer->pings, ping, entry);
	peer->n_pings++;
	return 0;
}

void
peer_ping_cancel(struct peer *peer, struct peer_ping *ping)
{
	if (!ping->sent)
		return;
	TAILQ_REMOVE(&peer->pings, ping, entry);
	ping->sent = false;
	peer->n_pings--;
}

/* The other end answers what it likes: an unknown token says nothing. */
static void
peer_link_pong(uint64_t token, void *arg)
{
	struct peer *peer = arg;
	double now = loop_now(peer->context->loop);
	struct peer_ping *ping;

	TAILQ_FOREACH(ping, &peer->pings, entry)
		if (ping->token == token)
			break;
	if (ping == NULL)
		return;
	peer_ping_cancel(peer, ping);
	ping->fn((now - ping->sent_at) * 1000, ping->arg);
}

/* Those that are asked anew meanwhile are none of them: the link is down. */
static void
peer_fail_pings(struct peer *peer)
{
	struct peer_ping *ping;

	while ((ping = TAILQ_FIRST(&peer->pings)) != NULL) {
		peer_ping_cancel(peer, ping);
		ping->fn(-1, ping->arg);
	}
}

/* --- the link ----------------------------------------------------------- */

int
peer_make_link(struct peer *peer, const struct peer_link_params *made)
{
	struct link_params link = {
		.loop = peer->context->loop,
		.framing = made->framing,
		.interval = peer->conf->heartbeat_interval,
		.timeout = peer->conf->heartbeat_timeout,
		.handler = &peer_link_handler,
		.arg = peer,
	};
	struct pool_params pool = {
		.loop = peer->context->loop,
		.resolver = peer->context->resolver,
		.tls = peer->context->tls,
		.rush = peer->context->rush,
		.peer = peer->conf,
		.dialler = peer->conf->dials,
		.knows_lanes = (made->features & WIRE_FEATURE_MUX) != 0,
		.address = peer->address,
		.key = *made->key,
		.in_use = &peer->in_use,
		.handler = &peer_pool_handler,
		.arg = peer,
	};

	memcpy(pool.link_id, made->link_id, WIRE_LINK_ID_SIZE);
	net_set_user_timeout(stream_fd(framing_stream(made->framing)),
	    link.timeout);
	peer->features = made->features;
	peer->lanes_told = peer->lanes_asked = 0;
	peer->link = link_new(&link);
	if (peer->link == NULL)
		return -1;
	peer->pool = pool_new(&pool);
	auth_wipe(&pool.key, sizeof pool.key);
	if (peer->pool == NULL) {
		link_free(peer->link);
		peer->link = NULL;
		return -1;
	}
	return 0;
}

void
peer_came_up(struct peer *peer)
{
	char address[ADDR_TEXT_SIZE];

	addr_sock_format(&peer->address, address, sizeof address);
	peer->ups++;
	peer_forget_expected(peer);
	peer_set_state(peer, PEER_UP);
	log_notice("%s: link up, %s %s", peer->conf->name,
	    peer->conf->dials ? "to" : "from", address);
	if (!peer_knows_mux(peer))
		peer_requeue(peer);
	peer_tell_need(peer);
	peer->context->handler->link_up(peer, address, peer->context->arg);
	if (peer->leaving && peer->link != NULL)
		peer_leave_link(peer);
}

void
peer_drop_link(struct peer *peer, const char *why, enum peer_end end)
{
	struct link *link = peer->link;
	struct pool *pool = peer->pool;

	peer->link = NULL;
	peer->pool = NULL;
	lanes_retire(peer->lanes);
	if (end == PEER_END_LOST) {
		link_free(link);
		link = NULL;
	}
	/* A link that we left may be closed there sooner than an OPEN that
	 * was sent before arrives. */
	if (end == PEER_END_SAID || (end == PEER_END_LOST && !peer->leaving)) {
		pool_free(pool);
		pool = NULL;
	}
	if (link != NULL || pool != NULL)
		peer_past_add(peer, link, pool);
	peer_set_error(peer, why);
	peer_set_state(peer, PEER_DOWN);
	log_notice("%s: link down: %s", peer->conf->name, why);
	peer_fail_pings(peer);
	peer->context->handler->link_down(peer, why, peer->context->arg);
}

void
peer_end_link(struct peer *peer, const char *why, enum peer_end end)
{
	peer_drop_link(peer, why, end);
	peer_step(peer,
	    end == PEER_END_HEARD ? SUPERVISOR_GOAWAY : SUPERVISOR_LOST);
	if (peer->newcomer.framing != NULL)
		peer_welcome(peer);
	peer_check_left(peer);
}

static void
peer_on_goaway(struct peer *peer, uint8_t reason)
{
	static const char *const whys[] = {
		[WIRE_GOAWAY_UNKNOWN] = "the peer is going away",
		[WIRE_GOAWAY_STOPPING] = "the peer was stopped",
		[WIRE_GOAWAY_UPGRADE] = "the peer is being upgraded",
		[WIRE_GOAWAY_RELOAD] = "the peer's configuration changed",
		[WIRE_GOAWAY_ADMIN] = "closed by an administrator of the peer",
	};

	if (reason == WIRE_GOAWAY_UPGRADE) {
		peer_expect(peer, PEER_EXPECT_SECONDS);
		/* Not for whoever waited for it to go. */
		peer->reserved = !peer->conf->dials;
		if (peer->newcomer.framing != NULL)
			peer_reject_newcomer(peer,
			    "another daemon of that name is being upgraded");
	}
	peer_end_link(peer, whys[reason], PEER_END_HEARD);
}

static void
peer_link_frame(const struct wire_message *msg, void *arg)
{
	struct peer *peer = arg;
	const char *why = NULL;

	switch (msg->type) {
	case WIRE_WANT:
		if (peer->conf->dials)
			pool_on_want(peer->pool, msg->want.total);
		else
			why = "protocol error: WANT from the dialling side";
		break;
	case WIRE_CLOSE:
		peer->context->handler->session_close(peer, &msg->close,
		    peer->context->arg);
		break;
	case WIRE_GOAWAY:
		peer_on_goaway(peer, msg->goaway.reason);
		return;
	case WIRE_LANES:
		if (peer->conf->dials && peer_knows_mux(peer))
			peer_on_lanes(peer, msg->lanes.count);
		else
			why = "protocol error: LANES that nobody asked for";
		break;
	case WIRE_RETIRE:
		break; /* never needed: only who opens a channel idles it */
	default:
		log_warning("%s: %s on a link", peer->conf->name,
		    wire_type_name(msg->type));
		why = "protocol error: a frame that does not belong there";
	}
	if (why != NULL)
		peer_link_down(why, peer);
}

static void
peer_link_down(const char *why, void *arg)
{
	struct peer *peer = arg;
	char copy[sizeof peer->error];

	snprintf(copy, sizeof copy, "%s", peer->leaving ? PEER_LEFT : why);
	peer_end_link(peer, copy, PEER_END_LOST);
}

/* An old link that shows life keeps its name. */
static void
peer_link_alive(void *arg)
{
	struct peer *peer = arg;

	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer,
		    "another daemon of that name is connected");
}
