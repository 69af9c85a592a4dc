/* SPDX-License-Identifier: ISC */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "link.h"
#include "net.h"
#include "pool.h"
#include "supervisor.h"

/* An old link has so long to show life before a newcomer replaces it. */
#define PEER_TAKEOVER_SECONDS 2.0

TAILQ_HEAD(peer_waiters, peer_waiter);

enum peer_state { PEER_DOWN, PEER_DIALLING, PEER_WAITING, PEER_UP };

static const char *const peer_state_names[] = {
	[PEER_DOWN] = "down",
	[PEER_DIALLING] = "dialling",
	[PEER_WAITING] = "waiting",
	[PEER_UP] = "up",
};

struct peer {
	const struct peer_context *context;
	const struct config_peer *conf;
	uint32_t index;
	enum peer_state state;
	int64_t since_us;
	struct supervisor supervisor;
	struct loop_timer *retry;    /* the next dial */
	struct handshake *handshake; /* the dial under way */
	uint64_t epoch;		     /* of our last dial */
	struct link *link;
	struct pool *pool; /* lives with the link */
	struct addr_sock address;
	uint8_t instance[WIRE_INSTANCE_SIZE]; /* accepted: whose link it is */
	uint64_t link_epoch;
	struct peer_newcomer newcomer; /* while its framing is not NULL */
	struct loop_timer *takeover;
	struct peer_waiters waiters;
	unsigned n_waiting;
	unsigned in_use; /* channels handed out */
	bool entries;
	uint64_t ups;
	char error[200];
	int64_t error_us;
	int64_t next_try_us;
};

static void peer_link_frame(const struct wire_message *msg, void *arg);
static void peer_link_down(const char *why, void *arg);
static void peer_link_alive(void *arg);
static void peer_step(struct peer *peer, enum supervisor_event event);

static const struct link_handler peer_link_handler = {
	.frame = peer_link_frame,
	.down = peer_link_down,
	.alive = peer_link_alive,
};

static void
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

static void
peer_set_error(struct peer *peer, const char *error)
{
	snprintf(peer->error, sizeof peer->error, "%s", error);
	peer->error_us = loop_wall_us();
}

/* --- channels ----------------------------------------------------------- */

static void
peer_serve_waiters(struct peer *peer)
{
	struct peer_waiter *waiter;
	struct channel *channel;

	/* A waiter may end the link, and with it the pool. */
	while (peer->pool != NULL && pool_idle(peer->pool) > 0 &&
	    (waiter = TAILQ_FIRST(&peer->waiters)) != NULL) {
		peer_wait_cancel(peer, waiter);
		channel = pool_take(peer->pool);
		peer->in_use++;
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
};

void
peer_wait(struct peer *peer, struct peer_waiter *waiter)
{
	struct channel *channel;

	if (peer->pool != NULL && TAILQ_EMPTY(&peer->waiters)) {
		channel = pool_take(peer->pool);
		if (channel != NULL) {
			peer->in_use++;
			waiter->got(channel, waiter->arg);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&peer->waiters, waiter, entry);
	waiter->waiting = true;
	peer->n_waiting++;
	if (peer->pool != NULL)
		pool_set_need(peer->pool, peer->entries, peer->n_waiting);
}

void
peer_wait_cancel(struct peer *peer, struct peer_waiter *waiter)
{
	if (!waiter->waiting)
		return;
	TAILQ_REMOVE(&peer->waiters, waiter, entry);
	waiter->waiting = false;
	peer->n_waiting--;
	if (peer->pool != NULL)
		pool_set_need(peer->pool, peer->entries, peer->n_waiting);
}

void
peer_channel_done(struct peer *peer)
{
	peer->in_use--;
}

void
peer_set_entries(struct peer *peer, bool entries)
{
	peer->entries = entries;
	if (peer->pool != NULL)
		pool_set_need(peer->pool, entries, peer->n_waiting);
}

bool
peer_send_close(struct peer *peer, const uint8_t uid[WIRE_UID_SIZE],
    enum wire_close_reason reason)
{
	struct wire_message msg = { .type = WIRE_CLOSE };

	if (peer->link == NULL)
		return false;
	memcpy(msg.close.uid, uid, WIRE_UID_SIZE);
	msg.close.reason = (uint8_t)reason;
	link_send(peer->link, &msg);
	return true;
}

/* --- the link ----------------------------------------------------------- */

/* Everything for a link but the link; on failure the framing is freed. */
static int
peer_make_link(struct peer *peer, struct framing *framing,
    const struct auth_key *key, const uint8_t *link_id)
{
	struct link_params link = {
		.loop = peer->context->loop,
		.framing = framing,
		.interval = peer->conf->heartbeat_interval,
		.timeout = peer->conf->heartbeat_timeout,
		.handler = &peer_link_handler,
		.arg = peer,
	};
	struct pool_params pool = {
		.loop = peer->context->loop,
		.resolver = peer->context->resolver,
		.tls = peer->context->tls,
		.peer = peer->conf,
		.dialler = peer->conf->dials,
		.address = peer->address,
		.key = *key,
		.in_use = &peer->in_use,
		.handler = &peer_pool_handler,
		.arg = peer,
	};

	memcpy(pool.link_id, link_id, WIRE_LINK_ID_SIZE);
	net_set_user_timeout(stream_fd(framing_stream(framing)), link.timeout);
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

static void
peer_came_up(struct peer *peer)
{
	char address[ADDR_TEXT_SIZE];

	addr_sock_format(&peer->address, address, sizeof address);
	peer->ups++;
	peer_set_state(peer, PEER_UP);
	log_notice("%s: link up, %s %s", peer->conf->name,
	    peer->conf->dials ? "to" : "from", address);
	pool_set_need(peer->pool, peer->entries, peer->n_waiting);
	peer->context->handler->link_up(peer, address, peer->context->arg);
}

/* Takes the link down; the supervisor is not told. */
static void
peer_drop_link(struct peer *peer, const char *why)
{
	link_free(peer->link);
	pool_free(peer->pool);
	peer->link = NULL;
	peer->pool = NULL;
	peer_set_error(peer, why);
	peer_set_state(peer, PEER_DOWN);
	log_notice("%s: link down: %s", peer->conf->name, why);
	peer->context->handler->link_down(peer, why, peer->context->arg);
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
		why = "the peer is going away";
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

static void peer_welcome(struct peer *peer);

static void
peer_link_down(const char *why, void *arg)
{
	struct peer *peer = arg;
	char copy[sizeof peer->error];

	snprintf(copy, sizeof copy, "%s", why);
	peer_drop_link(peer, copy);
	peer_step(peer, SUPERVISOR_LOST);
	if (peer->newcomer.framing != NULL)
		peer_welcome(peer);
}

/* --- dialling ----------------------------------------------------------- */

static void
peer_dialled(const struct handshake_outcome *outcome, void *arg)
{
	struct peer *peer = arg;
	bool refused = outcome->status == HANDSHAKE_REFUSED;

	peer->handshake = NULL;
	peer->address = outcome->address;
	if (outcome->status == HANDSHAKE_OK &&
	    peer_make_link(peer, outcome->framing, &outcome->key,
	    outcome->link_id) == 0) {
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
	peer_set_error(peer, outcome->status == HANDSHAKE_OK ?
	    "out of memory" : outcome->error);
	peer_step(peer, refused ? SUPERVISOR_REFUSED : SUPERVISOR_FAILED);
}

static void
peer_dial(struct peer *peer)
{
	struct handshake_params params = {
		.loop = peer->context->loop,
		.resolver = peer->context->resolver,
		.tls = peer->context->tls,
		.peer = peer->conf,
		.fn = peer_dialled,
		.arg = peer,
	};

	peer_set_state(peer, PEER_DIALLING);
	peer->handshake = handshake_start_link(&params,
	    peer->context->instance, ++peer->epoch);
	if (peer->handshake == NULL) {
		peer_set_error(peer, "out of memory");
		peer_step(peer, SUPERVISOR_FAILED);
	}
}

static double
peer_random(void)
{
	uint32_t bits;

	auth_random(&bits, sizeof bits);
	return bits / 4294967296.0;
}

static void
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
		peer_set_state(peer, PEER_WAITING);
		peer->next_try_us = loop_wall_us() +
		    (int64_t)(action.seconds * 1e6);
		loop_timer_set(peer->retry, action.seconds);
		return;
	case SUPERVISOR_CANCEL:
		loop_timer_cancel(peer->retry);
		handshake_cancel(peer->handshake);
		peer->handshake = NULL;
		return;
	}
}

static void
peer_retry(void *arg)
{
	peer_step(arg, SUPERVISOR_TIMER);
}

/* --- accepting ---------------------------------------------------------- */

static void
peer_reject(struct framing *framing, enum wire_reject_code code,
    const char *text)
{
	struct wire_message msg = { .type = WIRE_REJECT };

	msg.refusal.code = (uint8_t)code;
	snprintf(msg.refusal.text, sizeof msg.refusal.text, "%s", text);
	(void)framing_send(framing, &msg);
	framing_free(framing);
}

static void
peer_reject_newcomer(struct peer *peer, const char *text)
{
	char from[ADDR_TEXT_SIZE];

	loop_timer_cancel(peer->takeover);
	log_warning("%s: refused a second daemon of that name, from %s",
	    peer->conf->name,
	    addr_sock_format(&peer->newcomer.from, from, sizeof from));
	peer_reject(peer->newcomer.framing, WIRE_REJECT_IN_USE, text);
	auth_wipe(&peer->newcomer, sizeof peer->newcomer);
}

uint32_t
peer_link_index(const uint8_t link_id[WIRE_LINK_ID_SIZE])
{
	uint32_t index;

	memcpy(&index, link_id, sizeof index);
	return index;
}

/* Not a secret: what proves the right to a link is its key. */
static void
peer_make_link_id(struct peer *peer, uint8_t link_id[WIRE_LINK_ID_SIZE])
{
	auth_random(link_id, WIRE_LINK_ID_SIZE);
	memcpy(link_id, &peer->index, sizeof peer->index);
}

/* Makes the newcomer the link. There is none before. */
static void
peer_welcome(struct peer *peer)
{
	struct peer_newcomer newcomer = peer->newcomer;
	struct wire_message msg = { .type = WIRE_WELCOME };

	loop_timer_cancel(peer->takeover);
	auth_wipe(&peer->newcomer, sizeof peer->newcomer);
	msg.welcome.version = WIRE_VERSION;
	snprintf(msg.welcome.name, sizeof msg.welcome.name, "%s",
	    peer->context->name);
	peer_make_link_id(peer, msg.welcome.link_id);
	/* A send that fails shows as a link that ends soon after. */
	(void)framing_send(newcomer.framing, &msg);
	peer->address = newcomer.from;
	memcpy(peer->instance, newcomer.hello.instance, WIRE_INSTANCE_SIZE);
	peer->link_epoch = newcomer.hello.epoch;
	if (peer_make_link(peer, newcomer.framing, &newcomer.key,
	    msg.welcome.link_id) == 0)
		peer_came_up(peer);
	auth_wipe(&newcomer.key, sizeof newcomer.key);
}

static void
peer_replace_link(struct peer *peer, const char *why)
{
	peer_drop_link(peer, why);
	peer_welcome(peer);
}

static void
peer_takeover(void *arg)
{
	peer_replace_link(arg, "replaced: it did not answer a newcomer's ping");
}

static void
peer_link_alive(void *arg)
{
	struct peer *peer = arg;

	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer,
		    "another daemon of that name is connected");
}

void
peer_accept_link(struct peer *peer, const struct peer_newcomer *newcomer)
{
	const struct wire_hello *hello = &newcomer->hello;

	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer, "replaced by a later newcomer");
	if (peer->link == NULL) {
		peer->newcomer = *newcomer;
		peer_welcome(peer);
	} else if (memcmp(hello->instance, peer->instance,
	    WIRE_INSTANCE_SIZE) != 0) {
		peer->newcomer = *newcomer;
		stream_unwatch(framing_stream(newcomer->framing));
		loop_timer_set(peer->takeover, PEER_TAKEOVER_SECONDS);
		link_probe(peer->link);
	} else if (hello->epoch > peer->link_epoch) {
		peer->newcomer = *newcomer;
		peer_replace_link(peer, "replaced by a later dial");
	} else {
		peer_reject(newcomer->framing, WIRE_REJECT_STALE,
		    "a later dial is connected");
	}
}

bool
peer_has_link(const struct peer *peer,
    const uint8_t link_id[WIRE_LINK_ID_SIZE])
{
	return peer->pool != NULL && !peer->conf->dials &&
	    auth_equal(pool_link_id(peer->pool), link_id, WIRE_LINK_ID_SIZE);
}

int
peer_accept_channel(struct peer *peer, const struct wire_attach *attach,
    struct framing *framing, const char **why)
{
	return pool_accept(peer->pool, attach, framing, why);
}

/* --- life --------------------------------------------------------------- */

struct peer *
peer_new(const struct peer_context *context, const struct config_peer *conf,
    uint32_t index)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (peer == NULL)
		return NULL;
	peer->context = context;
	peer->conf = conf;
	peer->index = index;
	peer->since_us = loop_wall_us();
	TAILQ_INIT(&peer->waiters);
	supervisor_init(&peer->supervisor, conf->reconnect_min,
	    conf->reconnect_max);
	peer->retry = loop_timer_new(context->loop, peer_retry, peer);
	peer->takeover = loop_timer_new(context->loop, peer_takeover, peer);
	if (peer->retry == NULL || peer->takeover == NULL) {
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
	handshake_cancel(peer->handshake);
	framing_free(peer->newcomer.framing);
	auth_wipe(&peer->newcomer, sizeof peer->newcomer);
	link_free(peer->link);
	pool_free(peer->pool);
	free(peer);
}

void
peer_start(struct peer *peer)
{
	peer_step(peer, SUPERVISOR_START);
}

void
peer_stop(struct peer *peer, const char *why)
{
	struct wire_message goaway = { .type = WIRE_GOAWAY };

	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer, "the gateway is going away");
	peer_step(peer, SUPERVISOR_STOP);
	if (peer->link == NULL)
		return;
	link_send(peer->link, &goaway);
	peer_drop_link(peer, why);
}

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
	out->next_try_us = peer->next_try_us;
	out->ups = peer->ups;
	out->idle = peer->pool == NULL ? 0 : pool_idle(peer->pool);
	out->in_use = peer->in_use;
	out->waiting = peer->n_waiting;
}
