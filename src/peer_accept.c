/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <stdio.h>
#include <string.h>

/* An old link has so long to show life before a newcomer replaces it. */
#define PEER_TAKEOVER_SECONDS 2.0

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

void
peer_reject_disabled(struct peer *peer)
{
	char from[ADDR_TEXT_SIZE];

	loop_timer_cancel(peer->takeover);
	addr_sock_format(&peer->newcomer.from, from, sizeof from);
	log_info("%s: rejected a dial from %s: disabled here", peer->conf->name,
	    from);
	peer_note_refusal(peer, from, "disabled here");
	peer_reject(peer->newcomer.framing, WIRE_REJECT_DISABLED,
	    "disabled by the administrator");
	auth_wipe(&peer->newcomer, sizeof peer->newcomer);
}

void
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

void
peer_reject_busy(struct peer *peer)
{
	loop_timer_cancel(peer->takeover);
	peer_reject(peer->newcomer.framing, WIRE_REJECT_BUSY,
	    "this daemon is being upgraded");
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

void
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
	msg.welcome.features = newcomer.hello.features & WIRE_FEATURES;
	/* A send that fails shows as a link that ends soon after. */
	(void)framing_send(newcomer.framing, &msg);
	peer->address = newcomer.from;
	memcpy(peer->instance, newcomer.hello.instance, WIRE_INSTANCE_SIZE);
	peer->link_epoch = newcomer.hello.epoch;
	if (peer_make_link(peer,
		&(struct peer_link_params){ newcomer.framing, &newcomer.key,
		    msg.welcome.link_id, msg.welcome.features }) == 0)
		peer_came_up(peer);
	auth_wipe(&newcomer.key, sizeof newcomer.key);
}

static void
peer_replace_link(struct peer *peer, const char *why, enum peer_end end)
{
	/* Users who wait have their link in a moment. */
	peer_expect(peer, PEER_TAKEOVER_SECONDS);
	peer_drop_link(peer, why, end);
	peer_welcome(peer);
}

void
peer_takeover(void *arg)
{
	peer_replace_link(arg, "replaced: it did not answer a newcomer's ping",
	    PEER_END_LOST);
}

void
peer_accept_link(struct peer *peer, const struct peer_newcomer *newcomer)
{
	const struct wire_hello *hello = &newcomer->hello;

	if (peer->newcomer.framing != NULL)
		peer_reject_newcomer(peer, "replaced by a later newcomer");
	if (peer->disabled) {
		peer->newcomer = *newcomer;
		peer_reject_disabled(peer);
	} else if (peer_is_reserved_from(peer, hello->instance)) {
		peer->newcomer = *newcomer;
		peer_reject_newcomer(peer,
		    "another daemon of that name is being upgraded");
	} else if (peer->link == NULL) {
		peer->newcomer = *newcomer;
		peer_welcome(peer);
	} else if (memcmp(hello->instance, peer->instance,
		       WIRE_INSTANCE_SIZE) != 0) {
		peer->newcomer = *newcomer;
		if (peer->leaving) {
			peer_reject_busy(peer);
			return;
		}
		stream_unwatch(framing_stream(newcomer->framing));
		loop_timer_set(peer->takeover, PEER_TAKEOVER_SECONDS);
		link_probe(peer->link);
	} else if (hello->epoch > peer->link_epoch) {
		peer->newcomer = *newcomer;
		peer_replace_link(peer, "replaced by a later dial",
		    PEER_END_HEARD);
	} else {
		peer_reject(newcomer->framing, WIRE_REJECT_STALE,
		    "a later dial is connected");
	}
}

bool
peer_has_link(const struct peer *peer, const uint8_t link_id[WIRE_LINK_ID_SIZE])
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

void
peer_note_refusal(struct peer *peer, const char *from, const char *why)
{
	snprintf(peer->refusal, sizeof peer->refusal, "%s: %s", from, why);
	peer->refusal_us = loop_wall_us();
}
