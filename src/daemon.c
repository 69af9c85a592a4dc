/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "stranger.h"
#include "tls.h"

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
	struct admin_options options = {
		.path = conf->admin_socket,
		.group = conf->admin_group,
		.read_group = conf->admin_read_group,
		.owner = daemon->privilege.uid,
		.commands = admin_commands_table(),
		.arg = &daemon->admin_context,
	};
	char error[400];

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
	auth_random(daemon->peer_context.instance,
	    sizeof daemon->peer_context.instance);
	if (daemon->tls == NULL || daemon->resolver == NULL) {
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
	daemon->metrics = metrics_new(daemon->loop, &conf->listen, error,
	    sizeof error);
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
		.config = daemon->config,
	};
	struct tunnels_params tunnels = {
		.loop = daemon->loop,
		.resolver = daemon->resolver,
		.peers = daemon->peers,
		.events = &daemon->events,
		.config = daemon->config,
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
		.loaded = daemon_apply_disabled,
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
	/* The lock first: a second daemon must touch nothing. */
	if (daemon_watch_signals(daemon) != 0 ||
	    daemon_open_admin(daemon) != 0 || daemon_make_core(daemon) != 0 ||
	    daemon_bind(daemon) != 0)
		return -1;
	privilege_make_directory(&daemon->privilege, conf->database);
	if (privilege_drop(&daemon->privilege, error, sizeof error) != 0) {
		log_error("%s", error);
		return -1;
	}
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
	};
}

struct daemon *
daemon_new(const struct daemon_start *start)
{
	struct daemon *daemon = calloc(1, sizeof *daemon);

	if (daemon == NULL) {
		config_unref(start->config);
		log_error("out of memory");
		return NULL;
	}
	daemon->config = start->config;
	daemon->path = daemon_absolute(start->config->path);
	daemon->foreground = start->foreground;
	daemon->verbose = start->verbose;
	daemon->version = start->version;
	events_init(&daemon->events);
	daemon->loop = loop_new();
	if (daemon->loop == NULL || daemon->path == NULL) {
		log_error("out of memory, or libevent has no usable backend");
		daemon_free(daemon);
		return NULL;
	}
	if (daemon_bring_up(daemon) != 0) {
		daemon_free(daemon);
		return NULL;
	}
	daemon_make_context(daemon);
	return daemon;
}

/* --- run, and down ---------------------------------------------------------- */

static void
daemon_start_metrics(struct daemon *daemon)
{
	if (daemon->metrics != NULL)
		metrics_start(daemon->metrics, &daemon->admin_context);
}

int
daemon_run(struct daemon *daemon)
{
	size_t i;
	int result;

	gateway_start(daemon->gateway);
	tunnels_start(daemon->tunnels);
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_start(peers_at(daemon->peers, i));
	daemon_start_metrics(daemon);
	admin_start(daemon->admin);
	log_notice("%s: tunneld %s is up, pid %d", daemon->config->daemon.name,
	    daemon->version, (int)getpid());
	sd_notify(0, "READY=1");
	result = loop_run(daemon->loop);
	if (result != 0)
		log_error("the event loop failed");
	sd_notify(0, "STOPPING=1");
	log_notice("%s: stopping", daemon->config->daemon.name);
	return result == 0 ? 0 : 1;
}

void
daemon_free(struct daemon *daemon)
{
	size_t i;

	if (daemon == NULL)
		return;
	/* From the outside inwards: nobody asks any more, nobody comes any
	 * more, sessions end, links end, all of it is written. */
	admin_free(daemon->admin);
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
	daemon_forget_links(daemon);
	loop_free(daemon->loop);
	config_unref(daemon->config);
	free(daemon->path);
	free(daemon);
}
