/* SPDX-License-Identifier: ISC */
#include "metrics_answer.h"

#include <stdio.h>

#include <event2/buffer.h>

#include "log.h"
#include "metrics_collect.h"
#include "metrics_text.h"

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
metrics_answer_with(struct evhttp_request *request, metrics_fill_fn *fill,
    const char *type, const struct admin_context *context)
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
	if (body == NULL || fill(context, body) != 0 ||
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
	const struct admin_context *const *context = arg;

	metrics_answer_with(request, metrics_collect, METRICS_TEXT_TYPE,
	    *context);
}

static void
metrics_get_health(struct evhttp_request *request, void *arg)
{
	const struct admin_context *const *context = arg;

	metrics_answer_with(request, metrics_collect_health, "text/plain",
	    *context);
}

static void
metrics_get_other(struct evhttp_request *request, void *arg)
{
	(void)arg;
	metrics_answer_text(request, HTTP_NOTFOUND, "Not Found");
}

int
metrics_answer_install(struct evhttp *http,
    const struct admin_context **context)
{
	if (evhttp_set_cb(http, "/metrics", metrics_get_metrics, context) !=
		0 ||
	    evhttp_set_cb(http, "/healthz", metrics_get_health, context) != 0)
		return -1;
	evhttp_set_gencb(http, metrics_get_other, NULL);
	return 0;
}
