/* SPDX-License-Identifier: ISC */
#include "upgrade_world.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "log.h"
#include "session.h"
#include "stranger.h"

#define WORLD_SECRET "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhISE="

static char gateway[40], service_at[40], entries[2][40];
static struct net_listener *service;
static struct side *sides;
static char security[8], more[200];

/* --- what peers tell -------------------------------------------------------- */

static void
on_up(struct peer *peer, const char *address, void *arg)
{
	struct side *side = arg;

	(void)peer;
	(void)address;
	side->ups++;
}

static void
on_down(struct peer *peer, const char *why, void *arg)
{
	struct side *side = arg;

	snprintf(side->down, sizeof side->down, "%s", why);
	tunnels_link_down(side->tunnels, peer);
}

static void
on_failed(struct peer *peer, const char *why, void *arg)
{
	(void)peer;
	(void)why;
	(void)arg;
}

static void
on_open(struct peer *peer, struct channel *channel,
    const struct wire_open *open, void *arg)
{
	struct side *side = arg;

	exit_open(side->tunnels, peer, channel, open);
}

static void
on_close(struct peer *peer, const struct wire_close *close, void *arg)
{
	struct side *side = arg;
	struct session *session = tunnels_find_uid(side->tunnels, close->uid);

	if (session != NULL && session->tunnel->peer == peer)
		session_close(session, REASON_KILLED_BY_PEER, "peer");
}

static void
on_late(struct peer *peer, void *arg)
{
	struct side *side = arg;

	side->late++;
	tunnels_peer_late(side->tunnels, peer);
}

static void
on_left(struct peer *peer, void *arg)
{
	struct side *side = arg;

	ck_assert(peer_has_left(peer));
	side->left++;
}

static const struct peer_handler handler = {
	.link_up = on_up,
	.link_down = on_down,
	.failed = on_failed,
	.session_open = on_open,
	.session_close = on_close,
	.late = on_late,
	.left = on_left,
};

/* --- one process ------------------------------------------------------------ */

static void
write_file(const char *name, const char *text)
{
	char file[200];
	FILE *stream;

	snprintf(file, sizeof file, "%s/%s", dir, name);
	stream = fopen(file, "w");
	ck_assert_ptr_nonnull(stream);
	fputs(text, stream);
	fclose(stream);
	ck_assert_int_eq(chmod(file, 0600), 0);
}

const char *world_mode = "mux";

static struct config *
load(const char *name)
{
	bool edge = strcmp(name, "edge") == 0;
	struct config_errors errors = { 0 };
	char text[2000], file[200];
	struct config *config;

	snprintf(text, sizeof text,
	    "daemon = { name = \"%s\"; };\n"
	    "%s%s%s"
	    "peers = ( { name = \"%s\"; secret_file = \"%s/secret\";"
	    " security = \"%s\"; mode = \"%s\"; %s%s%s } );\n"
	    "tunnels = ( { name = \"web\"; peer = \"%s\";"
	    " %s = \"%s\"; %s },\n"
	    " { name = \"db\"; peer = \"%s\"; %s = \"%s\"; %s } );\n",
	    name, edge ? "gateway = { listen = \"" : "#", gateway,
	    edge ? "\"; };\n" : "\n", edge ? "home" : "edge", dir, security,
	    world_mode, edge ? "max_channels = " : "connect = \"",
	    edge ? "10000" : gateway, edge ? ";" : "\";",
	    edge ? "home" : "edge", edge ? "listen" : "connect",
	    edge ? entries[0] : service_at, more, edge ? "home" : "edge",
	    edge ? "connect" : "listen", edge ? service_at : entries[1], more);
	snprintf(file, sizeof file, "%s/%s.conf", dir, name);
	write_file(strrchr(file, '/') + 1, text);
	config = config_load(file, &errors);
	ck_assert_msg(config != NULL, "%s", text);
	return config;
}

static bool
side_secret(const char *name, struct auth_secret *secret, void *arg)
{
	struct side *side = arg;

	return stranger_tls_secret(side->peers, name, secret);
}

struct side *
side_new(const char *name, const struct side *before)
{
	struct side *side = calloc(1, sizeof *side);
	struct tunnels_params params = { .loop = loop };
	struct ledger_options ledger = options;

	side->name = name;
	side->generation = before == NULL ? 0 : before->generation + 1;
	side->config = load(name);
	events_init(&side->events);
	side->tls = tls_new(side_secret, side);
	side->resolver = resolve_pool_new(loop);
	side->context = (struct peer_context){
		.loop = loop,
		.resolver = side->resolver,
		.tls = side->tls,
		.name = side->config->daemon.name,
		.handler = &handler,
		.arg = side,
		.epoch = side->generation << 32,
	};
	snprintf((char *)side->context.instance, sizeof side->context.instance,
	    "%s", name);
	side->peers = peers_new(&side->context, side->config);
	ledger.generation = (unsigned)side->generation;
	side->ledger = ledger_new(loop, &ledger);
	params.resolver = side->resolver;
	params.peers = side->peers;
	params.events = &side->events;
	params.config = side->config;
	params.ledger = side->ledger;
	side->tunnels = tunnels_new(&params);
	ck_assert(side->tls != NULL && side->resolver != NULL &&
	    side->peers != NULL && side->ledger != NULL &&
	    side->tunnels != NULL);
	side->next = sides;
	sides = side;
	return side;
}

static void
say_error(const char *text, void *arg)
{
	(void)arg;
	ck_abort_msg("%s", text);
}

void
side_open_gateway(struct side *side)
{
	struct gateway_params params = {
		.loop = loop,
		.tls = side->tls,
		.peers = side->peers,
		.inherited = side->inherited,
		.config = side->config,
	};

	side->gateway = gateway_new(&params, say_error, NULL);
	ck_assert_ptr_nonnull(side->gateway);
	gateway_start(side->gateway);
	peer_start(side_peer(side));
}

void
side_start(struct side *side)
{
	side->tunnels->params.inherited = side->inherited;
	ck_assert_int_eq(tunnels_listen(side->tunnels, say_error, NULL), 0);
	tunnels_start(side->tunnels);
	side_open_gateway(side);
	net_inherited_free(side->inherited);
	side->inherited = NULL;
}

static void
on_idle(void *arg)
{
	struct side *side = arg;

	side->idle++;
}

static void
give(struct tunnel_user *user, void *arg)
{
	struct side *side = arg;

	side->given++;
	tunnels_take(side->successor->tunnels, user);
}

void
side_leave(struct side *side, struct side *successor)
{
	struct tunnel *entry = side_entry(side);

	/* What no process would lose of a socket that both have. */
	if (entry->listener != NULL)
		net_listener_accept_all(entry->listener);
	side->successor = successor;
	peer_expect(side_peer(successor), 5);
	gateway_leave(side->gateway);
	tunnels_leave(side->tunnels, give, side);
	peer_leave(side_peer(side));
	tunnels_on_idle(side->tunnels, on_idle, side);
}

/* The very sockets, as the master hands them on: who waits in a backlog is
 * lost with the last of those who have it. */
static void
side_inherit(struct side *side, const struct side *before)
{
	const struct config *config = side->config;
	const struct tunnel *tunnel;
	char who[NET_WHO_SIZE];
	size_t i;

	side->inherited = net_inherited_new();
	for (i = 0; i < gateway_listeners(before->gateway); i++) {
		net_inherited_add(side->inherited,
		    dup(net_listener_fd(gateway_listener(before->gateway, i))),
		    GATEWAY_WHO);
		net_inherited_claim(side->inherited, &config->gateway.listen[i],
		    GATEWAY_WHO);
	}
	TAILQ_FOREACH(tunnel, &before->tunnels->all, entry) {
		if (tunnel->listener == NULL)
			continue;
		tunnel_who(tunnel->label, who);
		net_inherited_add(side->inherited,
		    dup(net_listener_fd(tunnel->listener)), who);
		net_inherited_claim(side->inherited, &tunnel->conf->listen,
		    who);
	}
}

struct side *
side_upgrade(struct side *side)
{
	struct side *successor = side_new(side->name, side);

	side_inherit(successor, side);
	side_leave(side, successor);
	side_start(successor);
	return successor;
}

void
side_free(struct side *side)
{
	struct side **at;

	for (at = &sides; *at != side; at = &(*at)->next)
		;
	*at = side->next;
	gateway_free(side->gateway);
	tunnels_stop(side->tunnels, REASON_SHUTDOWN, "daemon");
	peer_stop(side_peer(side), "stopped");
	tunnels_free(side->tunnels);
	peers_free(side->peers);
	ledger_free(side->ledger);
	resolve_pool_free(side->resolver);
	tls_free(side->tls);
	config_unref(side->config);
	free(side);
}

struct peer *
side_peer(const struct side *side)
{
	return peers_at(side->peers, 0);
}

struct tunnel *
side_entry(const struct side *side)
{
	return strcmp(side->name, "edge") == 0 ?
	    tunnels_find(side->tunnels, "home/web") :
	    tunnels_find(side->tunnels, "edge/db");
}

bool
side_has_left(const struct side *side)
{
	return peer_has_left(side_peer(side)) && tunnels_is_idle(side->tunnels);
}

/* --- the world -------------------------------------------------------------- */

/* An address of this process's own, so that no two tests meet; and ports that
 * the kernel gives to nobody by itself: a successor must find them free. */
struct sockaddr_in
world_address(int place)
{
	uint32_t pid = (uint32_t)getpid();

	return (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons((uint16_t)(12000 + place)),
		.sin_addr.s_addr = htonl(0x7f010000 + (pid & 0x3fffff)) };
}

static void
write_address(int place, char text[40])
{
	struct sockaddr_in sin = world_address(place);
	char host[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &sin.sin_addr, host, sizeof host);
	snprintf(text, 40, "%s:%d", host, ntohs(sin.sin_port));
}

/* One whom the service talks to. */
struct guest {
	TAILQ_ENTRY(guest) entry;
	struct loop_watch *watch;
	int fd;
};

static TAILQ_HEAD(, guest) guests;

static void
service_end(struct guest *guest)
{
	TAILQ_REMOVE(&guests, guest, entry);
	loop_watch_free(guest->watch);
	close(guest->fd);
	free(guest);
}

static void
service_ready(int fd, bool readable, bool writable, void *arg)
{
	char bytes[4096];
	ssize_t n = read(fd, bytes, sizeof bytes);

	(void)readable;
	(void)writable;
	if (n == -1 && errno == EAGAIN)
		return;
	if (n > 0 && send(fd, bytes, (size_t)n, MSG_NOSIGNAL) == n)
		return;
	service_end(arg);
}

static void
service_accept(int fd, const struct addr_sock *from, void *arg)
{
	struct guest *guest = malloc(sizeof *guest);

	(void)from;
	(void)arg;
	guest->fd = fd;
	guest->watch = loop_watch_new(loop, fd, true, false, service_ready,
	    guest);
	TAILQ_INSERT_TAIL(&guests, guest, entry);
}

void
world_setup(const char *with_security, const char *with_more)
{
	struct addr addr;
	const char *why;
	char text[100];

	signal(SIGPIPE, SIG_IGN);
	log_open(LOG_TARGET_STDERR,
	    getenv("UPGRADE_VERBOSE") != NULL ? LOG_LEVEL_DEBUG :
						LOG_LEVEL_ERROR);
	snprintf(security, sizeof security, "%s", with_security);
	snprintf(more, sizeof more, "%s", with_more);
	sides = NULL;
	TAILQ_INIT(&guests);
	memset(&users, 0, sizeof users);
	write_address(WORLD_ENTRY_EDGE, entries[0]);
	write_address(WORLD_ENTRY_HOME, entries[1]);
	write_address(WORLD_GATEWAY, gateway);
	write_address(WORLD_SERVICE, service_at);
	write_file("secret", WORLD_SECRET "\n");
	ck_assert_int_eq(addr_parse(service_at, &addr, &why), 0);
	service = net_listen(loop, &addr, text, sizeof text);
	ck_assert_msg(service != NULL, "%s", text);
	net_listener_start(service, service_accept, NULL);
}

void
world_teardown(void)
{
	while (sides != NULL)
		side_free(sides);
	net_listener_free(service);
	while (!TAILQ_EMPTY(&guests))
		service_end(TAILQ_FIRST(&guests));
	ck_assert_int_eq(
	    fixture_number(
		"SELECT count(*) FROM sessions WHERE closed_at IS NULL"),
	    0);
}

static void
nothing(void *arg)
{
	(void)arg;
}

void
world_turn(double seconds)
{
	double until = loop_now(loop) + seconds;
	struct loop_timer *timer = loop_timer_new(loop, nothing, NULL);

	do {
		loop_timer_set(timer, 0.002);
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
	} while (loop_now(loop) < until);
	loop_timer_free(timer);
}

int
world_entry(const struct side *side)
{
	return strcmp(side->name, "edge") == 0 ? WORLD_ENTRY_EDGE :
						 WORLD_ENTRY_HOME;
}

void
world_wait_up(const struct side *side)
{
	double until = loop_now(loop) + 10;

	while (!peer_is_up(side_peer(side)) && loop_now(loop) < until)
		world_turn(0);
	ck_assert(peer_is_up(side_peer(side)));
}
