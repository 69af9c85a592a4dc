/* SPDX-License-Identifier: ISC */
#include "metrics.h"

#include <sys/socket.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "metrics_answer.h"

#define METRICS_HEADERS_MAX 8192
#define METRICS_BODY_MAX 1024
/* Of a client's bytes in memory, whatever it sends while it is answered. */
#define METRICS_INPUT_MAX (2 * METRICS_HEADERS_MAX)
#define METRICS_LIFE 30.0 /* seconds, of a connection */
#define METRICS_SWEEP 1.0 /* seconds, while there are connections */
#define METRICS_TRIES 8	  /* to accept, in vain, before a pause */
#define METRICS_PAUSE 1.0 /* seconds */

/* All that are known of HTTP, so that those that change are told 405. */
#define METRICS_METHODS                                                        \
	(EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | \
	    EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |        \
	    EVHTTP_REQ_PATCH)

/*
 * evhttp knows no bound of connections and none of their life, and tells
 * nobody when one is over. So each connection's bufferevent is made here and
 * held by a second reference: evhttp is done with it when it has taken its
 * callbacks away, and the socket, which the bufferevent closes at its own end,
 * cannot become another one's meanwhile.
 */
struct metrics_client {
	struct bufferevent *bev; /* NULL: a free place */
	double since;
};

struct metrics {
	struct loop *loop;
	const struct admin_context *context; /* NULL until it serves */
	struct evhttp *http;
	struct net_listener *bound; /* owns the descriptor; lends it to: */
	struct evhttp_bound_socket *socket; /* owned by http; NULL: nobody */
	struct evconnlistener *listener;    /* owned by socket */
	/* On the same descriptor: says that somebody waits, where evhttp does
	 * not accept. */
	struct loop_watch *watch;
	struct loop_timer *sweep;
	struct loop_timer *resume;
	unsigned tries; /* since somebody was accepted */
	bool paused;	/* said so in the log */
	struct metrics_client clients[METRICS_CLIENTS_MAX];
	size_t n;
};

/* --- connections -------------------------------------------------------------- */

/* evhttp sees an end, and closes it, at the next turn. */
static void
metrics_end_client(struct metrics_client *client)
{
	shutdown(bufferevent_getfd(client->bev), SHUT_RDWR);
}

static char *
metrics_where(const struct metrics *metrics, char *buf, size_t size)
{
	struct addr_sock address;

	net_listener_address(metrics->bound, &address);
	return addr_sock_format(&address, buf, size);
}

static void
metrics_drop_client(struct metrics *metrics, struct metrics_client *client)
{
	bufferevent_decref(client->bev);
	client->bev = NULL;
	metrics->n--;
}

/* Lets go of those that evhttp is done with, and ends those that are old,
 * whatever they drip. */
static void
metrics_look_through(struct metrics *metrics)
{
	double now = loop_now(metrics->loop);
	struct metrics_client *client;
	bufferevent_event_cb in_use;
	size_t i;

	for (i = 0; i < METRICS_CLIENTS_MAX; i++) {
		client = &metrics->clients[i];
		if (client->bev == NULL)
			continue;
		bufferevent_getcb(client->bev, NULL, NULL, &in_use, NULL);
		if (in_use == NULL)
			metrics_drop_client(metrics, client);
		else if (now - client->since >= METRICS_LIFE)
			metrics_end_client(client);
	}
}

static void
metrics_sweep(void *arg)
{
	struct metrics *metrics = arg;

	metrics_look_through(metrics);
	if (metrics->n > 0)
		loop_timer_set(metrics->sweep, METRICS_SWEEP);
}

static struct metrics_client *
metrics_find_place(struct metrics *metrics)
{
	size_t i;

	for (i = 0; i < METRICS_CLIENTS_MAX; i++)
		if (metrics->clients[i].bev == NULL)
			return &metrics->clients[i];
	return NULL;
}

static struct metrics_client *
metrics_find_oldest(struct metrics *metrics)
{
	struct metrics_client *oldest = NULL, *client;
	size_t i;

	for (i = 0; i < METRICS_CLIENTS_MAX; i++) {
		client = &metrics->clients[i];
		if (client->bev != NULL &&
		    (oldest == NULL || client->since < oldest->since))
			oldest = client;
	}
	return oldest;
}

/* evhttp has accepted somebody, and wants a bufferevent for it. */
static struct bufferevent *
metrics_accepted(struct event_base *base, void *arg)
{
	struct metrics *metrics = arg;
	struct metrics_client *client = metrics_find_place(metrics);
	struct bufferevent *bev;
	char text[ADDR_TEXT_SIZE];

	metrics->tries = 0;
	if (metrics->paused)
		log_notice("metrics: %s: accepting again",
		    metrics_where(metrics, text, sizeof text));
	metrics->paused = false;
	if (client == NULL)
		return NULL; /* never: it accepts only while there is room */
	bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL)
		return NULL;
	/* While it answers evhttp reads on, and looks at nothing. */
	bufferevent_setwatermark(bev, EV_READ, 0, METRICS_INPUT_MAX);
	bufferevent_incref(bev);
	client->bev = bev;
	client->since = loop_now(metrics->loop);
	metrics->n++;
	if (metrics->n == METRICS_CLIENTS_MAX)
		evconnlistener_disable(metrics->listener);
	if (!loop_timer_is_set(metrics->sweep))
		loop_timer_set(metrics->sweep, METRICS_SWEEP);
	return bev;
}

/* --- accepting ------------------------------------------------------------------ */

/* No descriptors, mostly. evhttp has made itself the listener's argument:
 * what is to be done is found by metrics_readable. */
static void
metrics_accept_failed(struct evconnlistener *listener, void *arg)
{
	(void)arg;
	evconnlistener_disable(listener);
}

static void
metrics_resume(void *arg)
{
	struct metrics *metrics = arg;

	metrics->tries = 0;
	if (metrics->watch != NULL)
		loop_watch_set(metrics->watch, true, false);
}

static void
metrics_pause(struct metrics *metrics)
{
	char text[ADDR_TEXT_SIZE];

	if (!metrics->paused)
		log_error(
		    "metrics: %s: nobody can be accepted (no descriptors, "
		    "or no memory); trying again every second",
		    metrics_where(metrics, text, sizeof text));
	metrics->paused = true;
	evconnlistener_disable(metrics->listener);
	loop_watch_set(metrics->watch, false, false);
	loop_timer_set(metrics->resume, METRICS_PAUSE);
}

/*
 * Somebody waits to be accepted. When all places are taken, the oldest goes,
 * not the newcomer: who merely holds connections open keeps no scrape out.
 */
static void
metrics_readable(int fd, bool readable, bool writable, void *arg)
{
	struct metrics *metrics = arg;

	(void)fd;
	(void)readable;
	(void)writable;
	metrics_look_through(metrics);
	if (++metrics->tries > METRICS_TRIES)
		metrics_pause(metrics);
	else if (metrics->n == METRICS_CLIENTS_MAX)
		metrics_end_client(metrics_find_oldest(metrics));
	else
		evconnlistener_enable(metrics->listener);
}

/* --- begin and end -------------------------------------------------------------- */

static int
metrics_make_http(struct metrics *metrics)
{
	struct evhttp *http = evhttp_new(loop_base(metrics->loop));

	metrics->http = http;
	if (http == NULL ||
	    metrics_answer_install(http, &metrics->context) != 0)
		return -1;
	evhttp_set_bevcb(http, metrics_accepted, metrics);
	evhttp_set_allowed_methods(http, METRICS_METHODS);
	evhttp_set_max_headers_size(http, METRICS_HEADERS_MAX);
	evhttp_set_max_body_size(http, METRICS_BODY_MAX);
	evhttp_set_timeout(http, (int)METRICS_LIFE);
	return 0;
}

static int
metrics_make_listener(struct metrics *metrics, int fd)
{
	struct evconnlistener *listener;

	/* Of a descriptor that listens already, and is not its to close. */
	listener = evconnlistener_new(loop_base(metrics->loop), NULL, NULL,
	    LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, fd);
	if (listener == NULL)
		return -1;
	metrics->socket = evhttp_bind_listener(metrics->http, listener);
	if (metrics->socket == NULL) {
		evconnlistener_free(listener);
		return -1;
	}
	evconnlistener_set_error_cb(listener, metrics_accept_failed);
	metrics->listener = listener;
	metrics->watch = loop_watch_new(metrics->loop, fd,
	    metrics->context != NULL, false, metrics_readable, metrics);
	return metrics->watch == NULL ? -1 : 0;
}

/* The listener lends its descriptor, or wants it back. */
static void
metrics_lent(int fd, void *arg)
{
	struct metrics *metrics = arg;

	loop_watch_free(metrics->watch);
	metrics->watch = NULL;
	loop_timer_cancel(metrics->resume);
	if (metrics->socket != NULL)
		evhttp_del_accept_socket(metrics->http, metrics->socket);
	metrics->socket = NULL;
	metrics->listener = NULL;
	if (fd != -1 && metrics_make_listener(metrics, fd) != 0)
		log_error("metrics: out of memory: nobody is answered");
}

/* Without an address yet. */
static struct metrics *
metrics_make(struct loop *loop)
{
	struct metrics *metrics = calloc(1, sizeof *metrics);

	if (metrics == NULL)
		return NULL;
	metrics->loop = loop;
	metrics->sweep = loop_timer_new(loop, metrics_sweep, metrics);
	metrics->resume = loop_timer_new(loop, metrics_resume, metrics);
	if (metrics->sweep == NULL || metrics->resume == NULL ||
	    metrics_make_http(metrics) != 0) {
		metrics_free(metrics);
		return NULL;
	}
	return metrics;
}

struct metrics *
metrics_new(struct loop *loop, struct net_inherited *inherited,
    const struct addr *listen, char *error, size_t error_size)
{
	struct metrics *metrics = metrics_make(loop);

	if (metrics == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	metrics->bound = net_inherited_listen(inherited, loop, listen,
	    METRICS_WHO, error, error_size);
	if (metrics->bound == NULL) {
		metrics_free(metrics);
		return NULL;
	}
	return metrics;
}

void
metrics_start(struct metrics *metrics, const struct admin_context *context)
{
	char text[ADDR_TEXT_SIZE];

	metrics->context = context;
	net_listener_lend(metrics->bound, metrics_lent, metrics);
	log_notice("metrics: http://%s/metrics",
	    metrics_where(metrics, text, sizeof text));
}

void
metrics_free(struct metrics *metrics)
{
	size_t i;

	if (metrics == NULL)
		return;
	net_listener_free(metrics->bound); /* takes back what it lent */
	loop_timer_free(metrics->sweep);
	loop_timer_free(metrics->resume);
	if (metrics->http != NULL)
		evhttp_free(metrics->http);
	for (i = 0; i < METRICS_CLIENTS_MAX; i++)
		if (metrics->clients[i].bev != NULL)
			metrics_drop_client(metrics, &metrics->clients[i]);
	free(metrics);
}

struct net_listener *
metrics_listener(const struct metrics *metrics)
{
	return metrics->bound;
}

/* --- another configuration ------------------------------------------------------ */

struct metrics_change {
	struct metrics *before, *after; /* NULL: none are served */
	struct net_plan *plan;
	int ticket; /* -1: none is wanted */
	bool same;
};

struct metrics_change *
metrics_prepare(struct metrics *metrics, struct loop *loop,
    const struct config_metrics *conf, struct net_plan *plan)
{
	struct metrics_change *change = calloc(1, sizeof *change);

	if (change == NULL)
		return NULL;
	change->before = metrics;
	change->plan = plan;
	change->ticket = -1;
	change->same = conf->has_listen == (metrics != NULL) &&
	    (metrics == NULL ||
		addr_equal(net_listener_asked(metrics->bound), &conf->listen));
	if (change->same)
		return change;
	if (metrics != NULL && net_plan_leave(plan, metrics->bound) != 0)
		goto fail;
	if (!conf->has_listen)
		return change;
	/* At another address it is the same one: who is being answered is. */
	change->after = metrics != NULL ? metrics : metrics_make(loop);
	change->ticket = net_plan_want(plan, &conf->listen, NULL, "metrics: ");
	if (change->after != NULL && change->ticket != -1)
		return change;
fail:
	metrics_abandon(change);
	return NULL;
}

struct metrics *
metrics_commit(struct metrics_change *change,
    const struct admin_context *context)
{
	struct metrics *before = change->before, *after = change->after;

	if (change->same) {
		free(change);
		return before;
	}
	if (before != NULL) {
		/* It may be somebody else's by now, who took it back. */
		net_listener_take_back(before->bound);
		before->bound = NULL;
	}
	if (before != after)
		metrics_free(before);
	if (after != NULL) {
		after->bound = net_plan_take(change->plan, change->ticket);
		metrics_start(after, context);
	}
	free(change);
	return after;
}

void
metrics_abandon(struct metrics_change *change)
{
	if (change == NULL)
		return;
	if (change->after != change->before)
		metrics_free(change->after);
	free(change);
}
