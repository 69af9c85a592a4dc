/* SPDX-License-Identifier: ISC */
#include "peer_internal.h"

#include <string.h>

#include "net.h"

bool
peer_conf_relinks(const struct config_peer *before,
    const struct config_peer *after)
{
	return before->dials != after->dials ||
	    (before->dials && !addr_equal(&before->connect, &after->connect)) ||
	    before->security != after->security ||
	    strcmp(before->as, after->as) != 0 ||
	    !auth_equal(&before->secret, &after->secret, sizeof before->secret);
}

static void
peer_adopt(struct peer *peer)
{
	const struct config_peer *conf = peer->conf;
	int fd;

	supervisor_set_bounds(&peer->supervisor, conf->reconnect_min,
	    conf->reconnect_max);
	/* A wait that began under another bound is none for longer. */
	peer_wait_at_most(peer, conf->reconnect_max);
	lanes_set_conf(peer->lanes, conf);
	if (peer->link == NULL)
		return;
	peer_tell_need(peer);
	fd = link_set_times(peer->link, conf->heartbeat_interval,
	    conf->heartbeat_timeout);
	net_set_user_timeout(fd, conf->heartbeat_timeout);
	pool_set_conf(peer->pool, conf);
}

void
peer_set_conf(struct peer *peer, const struct config_peer *conf)
{
	const struct config_peer *before = peer->conf;
	bool relinks = peer_conf_relinks(before, conf);

	if (relinks) {
		/* Still as what it was: only a dialled one has a dial. */
		peer_cut(peer, "its configuration changed",
		    "its configuration changed", WIRE_GOAWAY_RELOAD);
		if (!peer->disabled)
			peer_set_state(peer, PEER_DOWN);
		/* What failed before may be another thing now. */
		peer->error[0] = peer->refusal[0] = '\0';
		peer->error_us = peer->refusal_us = 0;
		peer->conf_since = loop_now(peer->context->loop);
		peer->relinked_at = peer->conf_since;
	}
	peer->conf = config_peer_ref(conf);
	peer_adopt(peer);
	config_peer_unref(before);
	if (relinks && peer->started && !peer->disabled)
		peer_step(peer, SUPERVISOR_START);
}

double
peer_conf_since(const struct peer *peer)
{
	return peer->conf_since;
}

void
peer_retire(struct peer *peer)
{
	peer->retired = true;
	peer->started = false;
	peer_cut(peer, "removed from the configuration",
	    "removed from the configuration", WIRE_GOAWAY_RELOAD);
}

bool
peer_is_retired(const struct peer *peer)
{
	return peer->retired;
}
