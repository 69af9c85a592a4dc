/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stranger.h"
#include "tls.h"

/* Seconds. */
#define DAEMON_LEDGER 2.0 /* to read what is switched off */
#define DAEMON_EXPECT 5.0 /* for links to come back after an upgrade */

static bool
daemon_tls_secret(const char *name, struct auth_secret *secret, void *arg)
{
	struct daemon *daemon = arg;

	return stranger_tls_secret(daemon->peers, name, secret);
}

/* --- up --------------------------------------------------------------------- */

static void
daemon_say_error(const char *text, void *arg)
{
	(void)arg;
	log_error("%s", text);
}

static int
daemon_open_admin(struct daemon *daemon)
{
	const struct config_daemon *conf = &daemon->config->daemon;
	struct admin_inherited inherited;
	struct admin_options options = {
		.path = conf->admin_socket,
		.group = conf->admin_group,
		.read_group = conf->admin_read_group,
		.owner = daemon->privilege.uid,
		.commands = admin_commands_table(),
		.arg = &daemon->admin_context,
		.inherited = &inherited,
	};
	char error[400];

	daemon_get_inherited_admin(daemon, &inherited);
	daemon->admin = admin_new(daemon->loop, &options, error, sizeof error);
	if (daemon->admin != NULL)
		return 0;
	log_error("admin socket: %s", error);
	return -1;
}

/* What binds nothing yet. */
static int
daemon_make_core(struct daemon *daemon)
{
	const struct config *config = daemon->config;

	daemon->tls = tls_new(daemon_tls_secret, daemon);
	daemon->resolver = resolve_pool_new(daemon->loop);
	daemon->peer_context = (struct peer_context){
		.loop = daemon->loop,
		.resolver = daemon->resolver,
		.tls = daemon->tls,
		.name = config->daemon.name,
		.handler = &daemon_peer_handler,
		.arg = daemon,
	};
	/* Workers of one master are one daemon to its peers. */
	_Static_assert(sizeof daemon->given.instance ==
		sizeof daemon->peer_context.instance,
	    "an instance is an instance");
	memcpy(daemon->peer_context.instance, daemon->given.instance,
	    sizeof daemon->peer_context.instance);
	daemon->peer_context.epoch = daemon->given.generation << 32;
	if (daemon->master == NULL)
		auth_random(daemon->peer_context.instance,
		    sizeof daemon->peer_context.instance);
	daemon->workers = admin_workers_new(daemon->loop);
	if (daemon->tls == NULL || daemon->resolver == NULL ||
	    daemon->workers == NULL) {
		log_error("out of memory, or OpenSSL failed");
		return -1;
	}
	daemon->peers = peers_new(&daemon->peer_context, config);
	if (daemon->peers == NULL) {
		log_error("out of memory");
		return -1;
	}
	return 0;
}

static int
daemon_bind_metrics(struct daemon *daemon)
{
	const struct config_metrics *conf = &daemon->config->metrics;
	char error[400];

	if (!conf->has_listen)
		return 0;
	daemon->metrics = metrics_new(daemon->loop, daemon->inherited,
	    &conf->listen, error, sizeof error);
	if (daemon->metrics != NULL)
		return 0;
	log_error("metrics: %s", error);
	return -1;
}

static int
daemon_bind(struct daemon *daemon)
{
	struct gateway_params gateway = {
		.loop = daemon->loop,
		.tls = daemon->tls,
		.peers = daemon->peers,
		.inherited = daemon->inherited,
		.config = daemon->config,
	};
	struct tunnels_params tunnels = {
		.loop = daemon->loop,
		.resolver = daemon->resolver,
		.peers = daemon->peers,
		.events = &daemon->events,
		.config = daemon->config,
		.inherited = daemon->inherited,
	};
	int result = 0;

	daemon->tunnels = tunnels_new(&tunnels);
	if (daemon->tunnels == NULL) {
		log_error("out of memory");
		return -1;
	}
	/* Every address that cannot be had is named, not only the first. */
	daemon->gateway = gateway_new(&gateway, daemon_say_error, NULL);
	if (daemon->gateway == NULL)
		result = -1;
	if (daemon_bind_metrics(daemon) != 0)
		result = -1;
	if (tunnels_listen(daemon->tunnels, daemon_say_error, NULL) != 0)
		result = -1;
	return result;
}

/* What is not configured any more is left alone. */
void
daemon_apply_disabled(void *arg)
{
	struct daemon *daemon = arg;
	struct tunnels *tunnels = daemon->tunnels;
	struct ledger_disabled row;
	struct tunnel *tunnel;
	struct peer *peer;
	size_t i;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		if (tunnel->disabled ||
		    !ledger_get_disabled(daemon->ledger,
			tunnel->conf->peer == NULL ? "" : tunnel->conf->peer,
			tunnel->conf->name, &row))
			continue;
		log_notice("%s: disabled by %s", tunnel->label, row.by);
		tunnel_set_disabled(tunnel, true, row.at_us, row.by);
	}
	for (i = 0; i < peers_count(daemon->peers); i++) {
		peer = peers_at(daemon->peers, i);
		if (peer_is_disabled(peer) ||
		    !ledger_get_disabled(daemon->ledger, peer_name(peer), "",
			&row))
			continue;
		log_notice("%s: disabled by %s", peer_name(peer), row.by);
		peer_set_disabled(peer, true, row.at_us, row.by);
		tunnels_peer_disabled(tunnels, peer);
	}
}

/* The ledger has read what is switched off: nobody is served before. */
static void
daemon_ledger_loaded(void *arg)
{
	daemon_apply_disabled(arg);
	daemon_ready(arg);
}

static int
daemon_open_ledger(struct daemon *daemon)
{
	const struct config_daemon *conf = &daemon->config->daemon;
	struct ledger_options options = {
		.path = conf->database,
		.retention_days = conf->retention_days,
		.max_rows = conf->max_rows,
		.daemon = conf->name,
		.version = daemon->version,
		.generation = (unsigned)daemon->given.generation,
		.loaded = daemon_ledger_loaded,
		.arg = daemon,
	};

	daemon->ledger = ledger_new(daemon->loop, &options);
	if (daemon->ledger == NULL) {
		log_error("ledger: out of memory or threads");
		return -1;
	}
	daemon->tunnels->params.ledger = daemon->ledger;
	daemon_apply_disabled(daemon);
	return 0;
}

static void
daemon_stop(void *arg)
{
	struct daemon *daemon = arg;

	loop_stop(daemon->loop);
}

static int
daemon_watch_signals(struct daemon *daemon)
{
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	daemon->reload = loop_timer_new(daemon->loop, daemon_reload_now,
	    daemon);
	if (daemon->reload == NULL) {
		log_error("out of memory");
		return -1;
	}
	daemon->drain = loop_timer_new(daemon->loop, daemon_drain_check,
	    daemon);
	if (daemon->drain == NULL || daemon_meet_master(daemon) != 0) {
		log_error("out of memory");
		return -1;
	}
	daemon->signals[0] = loop_signal_new(daemon->loop, SIGTERM, daemon_stop,
	    daemon);
	daemon->signals[1] = loop_signal_new(daemon->loop, SIGINT, daemon_stop,
	    daemon);
	daemon->signals[2] = loop_signal_new(daemon->loop, SIGHUP,
	    daemon_hangup, daemon);
	for (i = 0; i < DAEMON_SIGNALS; i++)
		if (daemon->signals[i] == NULL) {
			log_error("out of memory");
			return -1;
		}
	return 0;
}

static int
daemon_bring_up(struct daemon *daemon)
{
	const struct config_daemon *conf = &daemon->config->daemon;
	char error[200];

	if (privilege_init(&daemon->privilege, conf->user, error,
		sizeof error) != 0) {
		log_error("%s", error);
		return -1;
	}
	/* Before a socket is inherited or made, those that nobody wants are let
	 * go. Then the lock first: a second daemon must touch nothing. */
	daemon_claim(daemon);
	if (daemon_watch_signals(daemon) != 0 ||
	    daemon_open_admin(daemon) != 0 || daemon_make_core(daemon) != 0 ||
	    daemon_bind(daemon) != 0)
		return -1;
	privilege_make_directory(&daemon->privilege, conf->database);
	if (privilege_drop(&daemon->privilege, error, sizeof error) != 0) {
		log_error("%s", error);
		return -1;
	}
	if (daemon_stay_with_master(daemon) != 0)
		return -1;
	return daemon_open_ledger(daemon);
}

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
	gateway_start(daemon->gateway);
	tunnels_start(daemon->tunnels);
	daemon_expect(daemon);
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_start(peers_at(daemon->peers, i));
	daemon_start_metrics(daemon);
	admin_start(daemon->admin);
	log_notice("%s: tunneld %s is up, pid %d", daemon->config->daemon.name,
	    daemon->version, (int)getpid());
	daemon_notify(daemon, "READY=1");
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
		daemon_notify(daemon, "STOPPING=1");
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
	resolve_pool_free(daemon->resolver);
	tls_free(daemon->tls);
	for (i = 0; i < DAEMON_SIGNALS; i++)
		loop_signal_free(daemon->signals[i]);
	loop_timer_free(daemon->reload);
	loop_timer_free(daemon->drain);
	daemon_forget_links(daemon);
	daemon_forget_users(daemon);
	daemon_leave_master(daemon);
	loop_free(daemon->loop);
	config_unref(daemon->config);
	free(daemon->path);
	free(daemon);
}
