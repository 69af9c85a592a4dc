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

#include "metrics_collect.h"
#include "metrics_text.h"
#include "net.h"

#define METRICS_BACKLOG 64
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
	struct evconnlistener *listener; /* owned by http */
	/* On the listener's descriptor, too: says that somebody waits, where
	 * evhttp does not accept. */
	struct loop_watch *watch;
	struct loop_timer *sweep;
	struct loop_timer *resume;
	unsigned tries; /* since somebody was accepted */
	bool paused;	/* said so in the log */
	struct addr_sock address;
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
		    addr_sock_format(&metrics->address, text, sizeof text));
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
		    addr_sock_format(&metrics->address, text, sizeof text));
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

/* --- answers -------------------------------------------------------------------- */

/* Takes body. One answer a connection: evhttp closes it then. */
static void
metrics_answer(struct evhttp_request *request, int code, const char *words,
    struct evbuffer *body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	char length[24];

	snprintf(length, sizeof length, "%zu", evbuffer_get_length(body));
	if (evhttp_add_header(headers, "Content-Length", length) != 0 ||
	    evhttp_add_header(headers, "Cache-Control", "no-store") != 0) {
		evbuffer_free(body);
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	/* As if the client had asked for it, so that it is said once. */
	headers = evhttp_request_get_input_headers(request);
	evhttp_remove_header(headers, "Connection");
	(void)evhttp_add_header(headers, "Connection", "close");
	evhttp_send_reply(request, code, words,
	    evhttp_request_get_command(request) == EVHTTP_REQ_HEAD ? NULL :
								     body);
	evbuffer_free(body);
}

static void
metrics_answer_text(struct evhttp_request *request, int code, const char *words)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evbuffer_new();

	if (body == NULL || evbuffer_add_printf(body, "%s\n", words) < 0 ||
	    evhttp_add_header(headers, "Content-Type", "text/plain") != 0) {
		if (body != NULL)
			evbuffer_free(body);
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	metrics_answer(request, code, words, body);
}

typedef int metrics_fill_fn(const struct admin_context *context,
    struct evbuffer *out);

static void
metrics_answer_with(struct metrics *metrics, struct evhttp_request *request,
    metrics_fill_fn *fill, const char *type)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	enum evhttp_cmd_type command = evhttp_request_get_command(request);
	struct evbuffer *body;

	if (command != EVHTTP_REQ_GET && command != EVHTTP_REQ_HEAD) {
		(void)evhttp_add_header(headers, "Allow", "GET, HEAD");
		metrics_answer_text(request, HTTP_BADMETHOD,
		    "Method Not Allowed");
		return;
	}
	body = evbuffer_new();
	if (body == NULL || fill(metrics->context, body) != 0 ||
	    evhttp_add_header(headers, "Content-Type", type) != 0) {
		if (body != NULL)
			evbuffer_free(body);
		log_warning("metrics: out of memory");
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	metrics_answer(request, HTTP_OK, "OK", body);
}

static void
metrics_get_metrics(struct evhttp_request *request, void *arg)
{
	metrics_answer_with(arg, request, metrics_collect, METRICS_TEXT_TYPE);
}

static void
metrics_get_health(struct evhttp_request *request, void *arg)
{
	metrics_answer_with(arg, request, metrics_collect_health, "text/plain");
}

static void
metrics_get_other(struct evhttp_request *request, void *arg)
{
	(void)arg;
	metrics_answer_text(request, HTTP_NOTFOUND, "Not Found");
}

/* --- begin and end -------------------------------------------------------------- */

static int
metrics_make_http(struct metrics *metrics)
{
	struct evhttp *http = evhttp_new(loop_base(metrics->loop));

	metrics->http = http;
	if (http == NULL ||
	    evhttp_set_cb(http, "/metrics", metrics_get_metrics, metrics) !=
		0 ||
	    evhttp_set_cb(http, "/healthz", metrics_get_health, metrics) != 0)
		return -1;
	evhttp_set_gencb(http, metrics_get_other, metrics);
	evhttp_set_bevcb(http, metrics_accepted, metrics);
	evhttp_set_allowed_methods(http, METRICS_METHODS);
	evhttp_set_max_headers_size(http, METRICS_HEADERS_MAX);
	evhttp_set_max_body_size(http, METRICS_BODY_MAX);
	evhttp_set_timeout(http, (int)METRICS_LIFE);
	return 0;
}

/* Takes fd. */
static int
metrics_make_listener(struct metrics *metrics, int fd)
{
	struct evconnlistener *listener;

	listener = evconnlistener_new(loop_base(metrics->loop), NULL, NULL,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED,
	    METRICS_BACKLOG, fd);
	if (listener == NULL) {
		close(fd);
		return -1;
	}
	if (evhttp_bind_listener(metrics->http, listener) == NULL) {
		evconnlistener_free(listener);
		return -1;
	}
	evconnlistener_set_error_cb(listener, metrics_accept_failed);
	metrics->listener = listener;
	return 0;
}

struct metrics *
metrics_new(struct loop *loop, const struct addr *listen, char *error,
    size_t error_size)
{
	struct metrics *metrics = calloc(1, sizeof *metrics);
	int fd;

	if (metrics == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	metrics->loop = loop;
	metrics->sweep = loop_timer_new(loop, metrics_sweep, metrics);
	metrics->resume = loop_timer_new(loop, metrics_resume, metrics);
	if (metrics->sweep == NULL || metrics->resume == NULL ||
	    metrics_make_http(metrics) != 0)
		goto no_memory;
	fd = net_listen_fd(listen, &metrics->address, error, error_size);
	if (fd == -1)
		goto fail;
	if (metrics_make_listener(metrics, fd) != 0)
		goto no_memory;
	metrics->watch = loop_watch_new(loop, fd, false, false,
	    metrics_readable, metrics);
	if (metrics->watch == NULL)
		goto no_memory;
	return metrics;
no_memory:
	snprintf(error, error_size, "out of memory");
fail:
	metrics_free(metrics);
	return NULL;
}

void
metrics_start(struct metrics *metrics, const struct admin_context *context)
{
	metrics->context = context;
	loop_watch_set(metrics->watch, true, false);
}

void
metrics_address(const struct metrics *metrics, struct addr_sock *out)
{
	*out = metrics->address;
}

void
metrics_free(struct metrics *metrics)
{
	size_t i;

	if (metrics == NULL)
		return;
	loop_watch_free(metrics->watch);
	loop_timer_free(metrics->sweep);
	loop_timer_free(metrics->resume);
	if (metrics->http != NULL)
		evhttp_free(metrics->http); /* its listener, too */
	for (i = 0; i < METRICS_CLIENTS_MAX; i++)
		if (metrics->clients[i].bev != NULL)
			metrics_drop_client(metrics, &metrics->clients[i]);
	free(metrics);
}
