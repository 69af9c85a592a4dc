/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox.h"
#include "stranger.h"
#include "tls.h"

static bool
daemon_tls_secret(const char *name, struct auth_secret *secret, void *arg)
{
	struct daemon *daemon = arg;

	return stranger_tls_secret(daemon->peers, name, secret);
}

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
	daemon->rush = rush_new(daemon->loop);
	daemon->peer_context = (struct peer_context){
		.loop = daemon->loop,
		.resolver = daemon->resolver,
		.rush = daemon->rush,
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
	    daemon->rush == NULL || daemon->workers == NULL) {
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

	/* Nobody serves beside it then, drained or not. */
	if (daemon->ledger != NULL)
		ledger_set_patience(daemon->ledger, LEDGER_STOP_TIME);
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

/* From here on the worker, and all the threads it starts, are in it. */
static int
daemon_enter_sandbox(const struct daemon *daemon)
{
	struct sandbox_options options;
	char error[200];

	if (!daemon->config->daemon.sandbox) {
		log_notice("no sandbox: daemon.sandbox is false");
		return 0;
	}
	if (sandbox_weakness() != NULL)
		log_notice("weak sandbox: %s", sandbox_weakness());
	if (sandbox_read_environment(&options, error, sizeof error) == 0 &&
	    sandbox_enter(&options, error, sizeof error) == 0)
		return 0;
	log_error("%s (daemon.sandbox = false does without)", error);
	return -1;
}

int
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
	if (daemon_stay_with_master(daemon) != 0 ||
	    daemon_enter_sandbox(daemon) != 0 ||
	    daemon_open_notify(daemon) != 0)
		return -1;
	return daemon_open_ledger(daemon);
}
