/* SPDX-License-Identifier: ISC */
#include <sys/eventfd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_internal.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 100000
#define DEADLINE_DEFAULT 10.0
#define DEADLINE_MAX 3600.0

void
ledger_request_free(struct ledger_request *request)
{
	free(request->sessions);
	free(request->links);
	free(request);
}

static void
request_set_text(struct ledger_request *request, int which, const char *text)
{
	if (text == NULL)
		return;
	request->has[which] = true;
	snprintf(request->text[which], sizeof request->text[which], "%s", text);
}

/* "[::1]" and "::1" are the same host. */
static void
request_set_source(struct ledger_request *request, const char *source)
{
	char *text = request->text[LEDGER_TEXT_SOURCE];
	size_t len;

	request_set_text(request, LEDGER_TEXT_SOURCE, source);
	len = strlen(text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		memmove(text, text + 1, len - 2);
		text[len - 2] = '\0';
	}
}

static struct ledger_request *
request_new(struct ledger *ledger, const struct ledger_query *query)
{
	struct ledger_request *request = calloc(1, sizeof *request);
	double seconds = query->deadline;

	if (request == NULL)
		return NULL;
	request->ledger = ledger;
	request->query = *query;
	request_set_text(request, LEDGER_TEXT_TUNNEL, query->tunnel);
	request_set_text(request, LEDGER_TEXT_PEER, query->peer);
	request_set_source(request, query->source);
	request_set_text(request, LEDGER_TEXT_REASON, query->reason);
	if (request->query.limit == 0)
		request->query.limit = LIMIT_DEFAULT;
	if (request->query.limit > LIMIT_MAX)
		request->query.limit = LIMIT_MAX;
	if (!(seconds > 0))
		seconds = DEADLINE_DEFAULT;
	if (seconds > DEADLINE_MAX)
		seconds = DEADLINE_MAX;
	request->deadline = ledger_now() + seconds;
	return request;
}

struct ledger_request *
ledger_query(struct ledger *ledger, const struct ledger_query *query,
    ledger_query_fn *fn, void *arg)
{
	struct ledger_request *request = request_new(ledger, query);

	if (request == NULL)
		return NULL;
	request->fn = fn;
	request->arg = arg;
	pthread_mutex_lock(&ledger->lock);
	if (ledger->n_requests >= LEDGER_QUERIES) {
		pthread_mutex_unlock(&ledger->lock);
		ledger_request_free(request);
		return NULL;
	}
	ledger->n_requests++;
	TAILQ_INSERT_TAIL(&ledger->waiting, request, entry);
	request->puts = ledger->puts;
	if (ledger->queued > 0) {
		ledger->urgent = true;
		pthread_cond_signal(&ledger->writer_wakes);
	}
	pthread_cond_signal(&ledger->reader_wakes);
	pthread_mutex_unlock(&ledger->lock);
	return request;
}

void
ledger_query_cancel(struct ledger_request *request)
{
	struct ledger *ledger;

	if (request == NULL)
		return;
	ledger = request->ledger;
	pthread_mutex_lock(&ledger->lock);
	if (request->state == LEDGER_REQUEST_RUNNING) {
		/* The reader stops soon, and frees it. */
		atomic_store(&request->cancelled, true);
		pthread_mutex_unlock(&ledger->lock);
		return;
	}
	if (request->state == LEDGER_REQUEST_WAITING)
		TAILQ_REMOVE(&ledger->waiting, request, entry);
	else
		TAILQ_REMOVE(&ledger->done, request, entry);
	ledger->n_requests--;
	pthread_mutex_unlock(&ledger->lock);
	ledger_request_free(request);
}

/*
 * On the loop's thread: hands out one result. done_fd counts them, so that it
 * stays readable while there are more; a cancelled one is counted still.
 */
static void
query_deliver(int fd, bool readable, bool writable, void *arg)
{
	struct ledger *ledger = arg;
	struct ledger_request *request;
	struct ledger_rows rows;
	ledger_query_fn *fn;
	uint64_t one;

	(void)readable;
	(void)writable;
	if (read(fd, &one, sizeof one) != sizeof one)
		return;
	pthread_mutex_lock(&ledger->lock);
	request = TAILQ_FIRST(&ledger->done);
	if (request != NULL) {
		TAILQ_REMOVE(&ledger->done, request, entry);
		ledger->n_requests--;
	}
	pthread_mutex_unlock(&ledger->lock);
	if (request == NULL)
		return;
	rows = (struct ledger_rows){
		.error = request->error[0] != '\0' ? request->error : NULL,
		.sessions = request->sessions,
		.n_sessions = request->query.links ? 0 : request->n,
		.links = request->links,
		.n_links = request->query.links ? request->n : 0,
	};
	fn = request->fn;
	fn(&rows, request->arg);
	ledger_request_free(request);
}

int
ledger_query_init(struct ledger *ledger)
{
	TAILQ_INIT(&ledger->waiting);
	TAILQ_INIT(&ledger->done);
	ledger->done_fd = eventfd(0,
	    EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (ledger->done_fd == -1)
		return -1;
	ledger->done_watch = loop_watch_new(ledger->loop, ledger->done_fd, true,
	    false, query_deliver, ledger);
	return ledger->done_watch != NULL ? 0 : -1;
}

void
ledger_query_free(struct ledger *ledger)
{
	struct ledger_request *request;

	TAILQ_CONCAT(&ledger->done, &ledger->waiting, entry);
	while ((request = TAILQ_FIRST(&ledger->done)) != NULL) {
		TAILQ_REMOVE(&ledger->done, request, entry);
		ledger_request_free(request);
	}
	loop_watch_free(ledger->done_watch);
	if (ledger->done_fd != -1)
		close(ledger->done_fd);
}
