/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdio.h>

/* "2/2 peers up, 17 sessions"; those switched off are not counted. */
static void
daemon_status_text(char *buf, size_t size, void *arg)
{
	struct daemon *daemon = arg;
	size_t i, peers = 0, up = 0;
	unsigned sessions = daemon->tunnels->n_sessions;
	int len = 0;

	for (i = 0; i < peers_count(daemon->peers); i++) {
		const struct peer *peer = peers_at(daemon->peers, i);

		peers += !peer_is_disabled(peer);
		up += !peer_is_disabled(peer) && peer_is_up(peer);
	}
	if (peers > 0)
		len = snprintf(buf, size, "%zu/%zu peers up, ", up, peers);
	snprintf(buf + len, size - (size_t)len, "%u session%s", sessions,
	    sessions == 1 ? "" : "s");
}

int
daemon_open_notify(struct daemon *daemon)
{
	const struct notify_options options = {
		/* The service manager hears its own child alone. */
		.send = daemon->master == NULL ? NULL : daemon_tell_manager,
		.send_arg = daemon,
		.status = daemon_status_text,
		.status_arg = daemon,
		.watchdog_us = notify_watchdog_us(),
	};

	if (daemon->master != NULL && daemon->given.stays == 0)
		return 0; /* there is none */
	daemon->notify = notify_new(daemon->loop, &options);
	if (daemon->notify != NULL)
		return 0;
	log_error("out of memory");
	return -1;
}
