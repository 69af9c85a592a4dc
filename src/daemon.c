/* SPDX-License-Identifier: ISC */
#include "daemon.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "admin.h"
#include "admin_commands.h"
#include "exit.h"
#include "gateway.h"
#include "metrics.h"
#include "privilege.h"
#include "session.h"
#include "stranger.h"
#include "tls.h"

/* The life of a peer's link that goes on now, for the ledger. */
struct daemon_link {
	struct peer *peer;
	struct ledger_link row; /* id 0: it is down */
};

struct daemon {
	struct config *config;
	const char *version;
	struct privilege privilege;
	struct loop *loop;
	struct tls *tls;
	struct resolve_pool *resolver;
	struct peer_context peer_context;
	struct peers *peers;
	struct events events;
	struct ledger *ledger;
	struct tunnels *tunnels;
	struct gateway *gateway;
	struct metrics *metrics; /* NULL: not asked for */
	struct admin *admin;
	struct admin_context admin_context;
	struct daemon_link *links; /* one for each peer */
	int64_t next_link_id;
	struct loop_signal *signals[3];
};

/* --- what peers tell -------------------------------------------------------- */

static struct daemon_link *
daemon_find_link(struct daemon *daemon, const struct peer *peer)
{
	/* The index of a peer is that of its entry in the config. */
	return &daemon->links[peer_conf(peer) - daemon->config->peers];
}

static void
daemon_link_up(struct peer *peer, const char *address, void *arg)
{
	struct daemon *daemon = arg;
	struct ledger_link *row = &daemon_find_link(daemon, peer)->row;
	struct event event = { .kind = EVENT_LINK_UP, .peer = peer_name(peer) };

	memset(row, 0, sizeof *row);
	row->id = ++daemon->next_link_id;
	snprintf(row->peer, sizeof row->peer, "%s", peer_name(peer));
	snprintf(row->address, sizeof row->address, "%s", address);
	row->up_us = loop_wall_us();
	ledger_put_link(daemon->ledger, row);
	event.address = row->address;
	events_publish(&daemon->events, &event);
}

static void
daemon_link_down(struct peer *peer, const char *why, void *arg)
{
	struct daemon *daemon = arg;
	struct ledger_link *row = &daemon_find_link(daemon, peer)->row;
	struct event event = {
		.kind = EVENT_LINK_DOWN,
		.peer = peer_name(peer),
		.text = why,
	};

	if (row->id == 0)
		return;
	row->down_us = loop_wall_us();
	snprintf(row->reason, sizeof row->reason, "%s", why);
	ledger_put_link(daemon->ledger, row);
	row->id = 0;
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
		session_close(session, REASON_KILLED_BY_PEER, "peer");
}

static const struct peer_handler daemon_peer_handler = {
	.link_up = daemon_link_up,
	.link_down = daemon_link_down,
	.failed = daemon_link_failed,
	.session_open = daemon_session_open,
	.session_close = daemon_session_close,
};

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
	daemon->links = calloc(config->n_peers + 1, sizeof *daemon->links);
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
	if (daemon->tls == NULL || daemon->resolver == NULL ||
	    daemon->links == NULL) {
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

/* What administrators switched off stays so over restarts. What is not
 * configured any more is left alone. */
static void
daemon_apply_disabled(void *arg)
{
	struct daemon *daemon = arg;
	struct tunnels *tunnels = daemon->tunnels;
	struct ledger_disabled row;
	struct tunnel *tunnel;
	struct peer *peer;
	size_t i;

	for (i = 0; i < tunnels->n; i++) {
		tunnel = &tunnels->all[i];
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

static void
daemon_hangup(void *arg)
{
	(void)arg;
	log_warning("SIGHUP: reload is not supported yet, nothing was "
		    "changed");
}

static int
daemon_watch_signals(struct daemon *daemon)
{
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	daemon->signals[0] = loop_signal_new(daemon->loop, SIGTERM, daemon_stop,
	    daemon);
	daemon->signals[1] = loop_signal_new(daemon->loop, SIGINT, daemon_stop,
	    daemon);
	daemon->signals[2] = loop_signal_new(daemon->loop, SIGHUP,
	    daemon_hangup, daemon);
	for (i = 0; i < 3; i++)
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
	daemon->version = start->version;
	events_init(&daemon->events);
	daemon->loop = loop_new();
	if (daemon->loop == NULL) {
		log_error("libevent has no usable backend");
		daemon_free(daemon);
		return NULL;
	}
	if (daemon_bring_up(daemon) != 0) {
		daemon_free(daemon);
		return NULL;
	}
	daemon->admin_context = (struct admin_context){
		.config = daemon->config,
		.version = daemon->version,
		.started_us = loop_wall_us(),
		.peers = daemon->peers,
		.gateway = daemon->gateway,
		.events = &daemon->events,
		.tunnels = daemon->tunnels,
		.ledger = daemon->ledger,
	};
	return daemon;
}

/* --- run, and down ---------------------------------------------------------- */

static void
daemon_start_metrics(struct daemon *daemon)
{
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;

	if (daemon->metrics == NULL)
		return;
	metrics_address(daemon->metrics, &address);
	metrics_start(daemon->metrics, &daemon->admin_context);
	log_notice("metrics: http://%s/metrics",
	    addr_sock_format(&address, text, sizeof text));
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
	for (i = 0; i < 3; i++)
		loop_signal_free(daemon->signals[i]);
	loop_free(daemon->loop);
	free(daemon->links);
	config_unref(daemon->config);
	free(daemon);
}
