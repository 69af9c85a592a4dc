/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "exit.h"
#include "session.h"

/* The life of a peer's link that goes on now, for the ledger. */
struct daemon_link {
	const struct peer *peer;
	struct ledger_link row;
	UT_hash_handle hh;
};

void
daemon_forget_links(struct daemon *daemon)
{
	struct daemon_link *link, *next;

	HASH_ITER(hh, daemon->links, link, next) {
		HASH_DEL(daemon->links, link);
		free(link);
	}
}

static void
daemon_link_up(struct peer *peer, const char *address, void *arg)
{
	struct daemon *daemon = arg;
	struct daemon_link *link = calloc(1, sizeof *link);
	struct event event = {
		.kind = EVENT_LINK_UP,
		.peer = peer_name(peer),
		.address = address,
	};

	events_publish(&daemon->events, &event);
	if (link != NULL) {
		link->peer = peer;
		HASH_ADD_PTR(daemon->links, peer, link);
	}
	if (link == NULL || link->hh.tbl == NULL) {
		log_error("%s: out of memory to record the link",
		    peer_name(peer));
		free(link);
		return;
	}
	link->row.id = ++daemon->next_link_id;
	snprintf(link->row.peer, sizeof link->row.peer, "%s", peer_name(peer));
	snprintf(link->row.address, sizeof link->row.address, "%s", address);
	link->row.up_us = loop_wall_us();
	ledger_put_link(daemon->ledger, &link->row);
}

static void
daemon_record_down(struct daemon *daemon, const struct peer *peer,
    const char *why)
{
	struct daemon_link *link;

	HASH_FIND_PTR(daemon->links, &peer, link);
	if (link == NULL)
		return;
	link->row.down_us = loop_wall_us();
	snprintf(link->row.reason, sizeof link->row.reason, "%s", why);
	ledger_put_link(daemon->ledger, &link->row);
	HASH_DEL(daemon->links, link);
	free(link);
}

static void
daemon_link_down(struct peer *peer, const char *why, void *arg)
{
	struct daemon *daemon = arg;
	struct event event = {
		.kind = EVENT_LINK_DOWN,
		.peer = peer_name(peer),
		.text = why,
	};

	daemon_record_down(daemon, peer, why);
	events_publish(&daemon->events, &event);
	tunnels_link_down(daemon->tunnels, peer);
}

static void
daemon_link_failed(struct peer *peer, const char *why, void *arg)
{
	struct daemon *daemon = arg;
	struct event event = {
		.kind = EVENT_ERROR,
		.peer = peer_name(peer),
		.text = why,
	};

	events_publish(&daemon->events, &event);
}

static void
daemon_session_open(struct peer *peer, struct channel *channel,
    const struct wire_open *open, void *arg)
{
	struct daemon *daemon = arg;

	exit_open(daemon->tunnels, peer, channel, open);
}

static void
daemon_session_close(struct peer *peer, const struct wire_close *close,
    void *arg)
{
	struct daemon *daemon = arg;
	struct session *session = tunnels_find_uid(daemon->tunnels, close->uid);

	/* A peer may close its own sessions and nobody else's. */
	if (session != NULL && session->tunnel->peer == peer)
		session_close(session,
		    close->reason == WIRE_CLOSE_RELOAD ? REASON_RELOAD :
							 REASON_KILLED_BY_PEER,
		    "peer");
}

static void
daemon_peer_late(struct peer *peer, void *arg)
{
	struct daemon *daemon = arg;

	tunnels_peer_late(daemon->tunnels, peer);
}

const struct peer_handler daemon_peer_handler = {
	.link_up = daemon_link_up,
	.link_down = daemon_link_down,
	.failed = daemon_link_failed,
	.session_open = daemon_session_open,
	.session_close = daemon_session_close,
	.late = daemon_peer_late,
};
