/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tls.h"

/* Seconds. */
#define DAEMON_LEDGER 2.0 /* to read what is switched off */
#define DAEMON_EXPECT 5.0 /* for links to come back after an upgrade */

/* Wherever the working directory will be. Links are followed anew each time:
 * some replace their configuration by turning one. */
static char *
daemon_absolute(const char *path)
{
	char here[PATH_MAX], *whole;

	if (path[0] == '/')
		return strdup(path);
	if (getcwd(here, sizeof here) == NULL ||
	    asprintf(&whole, "%s/%s", here, path) == -1)
		return NULL;
	return whole;
}

static void
daemon_make_context(struct daemon *daemon)
{
	daemon->admin_context = (struct admin_context){
		.config = daemon->config,
		.version = daemon->version,
		.started_us = loop_wall_us(),
		.peers = daemon->peers,
		.gateway = daemon->gateway,
		.events = &daemon->events,
		.tunnels = daemon->tunnels,
		.ledger = daemon->ledger,
		.reload = daemon_reload,
		.reload_arg = daemon,
		.workers = daemon->workers,
		.upgrade = daemon_upgrade,
		.replaced = daemon_is_replaced,
		.upgrade_arg = daemon,
		.master = (pid_t)daemon->given.master,
	};
}

/* What is left of it when nothing could be made. */
static void
daemon_start_clear(struct daemon_start *start)
{
	config_unref(start->config);
	net_inherited_free(start->inherited);
	if (start->lock_fd != -1)
		close(start->lock_fd);
}

struct daemon *
daemon_new(struct daemon_start *start)
{
	struct daemon *daemon = calloc(1, sizeof *daemon);

	if (daemon == NULL) {
		daemon_start_clear(start);
		log_error("out of memory");
		return NULL;
	}
	LIST_INIT(&daemon->olders);
	daemon->master = start->master;
	daemon->given = start->given;
	daemon->inherited = start->inherited;
	daemon->lock_fd = start->lock_fd;
	daemon->config = start->config;
	daemon->path = daemon_absolute(start->config->path);
	daemon->foreground = start->foreground;
	daemon->verbose = start->verbose;
	daemon->version = start->version;
	events_init(&daemon->events);
	daemon->loop = loop_new();
	if (daemon->loop == NULL || daemon->path == NULL) {
		log_error("out of memory, or libevent has no usable backend");
		goto fail;
	}
	if (daemon_bring_up(daemon) != 0)
		goto fail;
	net_inherited_free(daemon->inherited);
	daemon->inherited = NULL;
	daemon_make_context(daemon);
	return daemon;
fail:
	daemon->master = NULL;
	daemon_free(daemon);
	return NULL;
}

/* --- run, and down ---------------------------------------------------------- */

static void
daemon_start_metrics(struct daemon *daemon)
{
	if (daemon->metrics != NULL)
		metrics_start(daemon->metrics, &daemon->admin_context);
}

/* There was another worker: its links are about to come back to this one. */
static void
daemon_expect(struct daemon *daemon)
{
	size_t i;

	if (daemon->master == NULL || daemon->given.why == HANDOVER_FIRST)
		return;
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_expect(peers_at(daemon->peers, i), DAEMON_EXPECT);
}

void
daemon_go(struct daemon *daemon)
{
	size_t i;

	daemon->serving = true;
	daemon_expect(daemon);
	daemon_hear_olders(daemon);
	gateway_start(daemon->gateway);
	tunnels_start(daemon->tunnels);
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_start(peers_at(daemon->peers, i));
	daemon_start_metrics(daemon);
	admin_start(daemon->admin);
	log_notice("%s: tunneld %s is up, pid %d", daemon->config->daemon.name,
	    daemon->version, (int)getpid());
	notify_ready(daemon->notify);
	if (daemon->hung_up)
		daemon_hangup(daemon);
	daemon->hung_up = false;
}

int
daemon_run(struct daemon *daemon)
{
	int result;

	/* With a slow disk, what is switched off is waited for, but not for
	 * ever; without a master it is not, since nobody serves meanwhile. */
	if (daemon->master == NULL || ledger_is_loaded(daemon->ledger))
		daemon_ready(daemon);
	else
		loop_timer_set(daemon->ready, DAEMON_LEDGER);
	daemon_expect(daemon);
	result = loop_run(daemon->loop);
	if (result != 0)
		log_error("the event loop failed");
	if (!daemon->draining) {
		notify_stopping(daemon->notify);
		log_notice("%s: stopping", daemon->config->daemon.name);
	}
	return result == 0 ? 0 : 1;
}

/* Of UNIX sockets that another process has, or will have. */
static void
daemon_keep_files(struct daemon *daemon)
{
	struct tunnel *tunnel;
	size_t i;

	if (daemon->given.stays == 0 &&
	    (daemon->given.why == HANDOVER_FIRST || daemon->serving))
		return;
	if (daemon->admin != NULL)
		admin_keep(daemon->admin);
	if (daemon->gateway != NULL)
		for (i = 0; i < gateway_listeners(daemon->gateway); i++)
			net_listener_keep(gateway_listener(daemon->gateway, i));
	if (daemon->metrics != NULL)
		net_listener_keep(metrics_listener(daemon->metrics));
	if (daemon->tunnels == NULL)
		return;
	TAILQ_FOREACH(tunnel, &daemon->tunnels->all, entry)
		if (tunnel->listener != NULL)
			net_listener_keep(tunnel->listener);
}

void
daemon_free(struct daemon *daemon)
{
	size_t i;

	if (daemon == NULL)
		return;
	/* From the outside inwards: nobody asks any more, nobody comes any
	 * more, sessions end, links end, all of it is written. */
	daemon_keep_files(daemon);
	admin_free(daemon->admin);
	if (daemon->upgrading)
		daemon_upgraded(daemon, "tunneld is stopping", 0, NULL);
	admin_workers_free(daemon->workers);
	metrics_free(daemon->metrics);
	gateway_free(daemon->gateway);
	if (daemon->tunnels != NULL && daemon->ledger != NULL)
		tunnels_stop(daemon->tunnels, REASON_SHUTDOWN, "daemon");
	if (daemon->peers != NULL && daemon->ledger != NULL)
		for (i = 0; i < peers_count(daemon->peers); i++)
			peer_stop(peers_at(daemon->peers, i),
			    "this daemon was stopped");
	tunnels_free(daemon->tunnels);
	peers_free(daemon->peers);
	ledger_free(daemon->ledger);
	rush_free(daemon->rush);
	resolve_pool_free(daemon->resolver);
	tls_free(daemon->tls);
	for (i = 0; i < DAEMON_SIGNALS; i++)
		loop_signal_free(daemon->signals[i]);
	loop_timer_free(daemon->reload);
	loop_timer_free(daemon->drain);
	notify_free(daemon->notify);
	daemon_forget_links(daemon);
	daemon_forget_users(daemon);
	daemon_leave_master(daemon);
	loop_free(daemon->loop);
	config_unref(daemon->config);
	free(daemon->path);
	free(daemon);
}
