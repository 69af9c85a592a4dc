/* SPDX-License-Identifier: ISC */
#include <sys/eventfd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_internal.h"

#define DEADLINE_DEFAULT 10.0
#define DEADLINE_MAX 3600.0

void
ledger_request_free(struct ledger_request *request)
{
	history_rows_clear(&request->rows);
	free(request);
}

static const char *
request_copy(char copy[ADDR_TEXT_SIZE + 1], const char *text)
{
	if (text == NULL)
		return NULL;
	snprintf(copy, ADDR_TEXT_SIZE + 1, "%s", text);
	return copy;
}

static struct ledger_request *
request_new(struct ledger *ledger, const struct history_query *query,
    double seconds)
{
	struct ledger_request *request = calloc(1, sizeof *request);

	if (request == NULL)
		return NULL;
	request->ledger = ledger;
	request->query = *query;
	request->query.tunnel = request_copy(request->tunnel, query->tunnel);
	request->query.peer = request_copy(request->peer, query->peer);
	request->query.source = request_copy(request->source, query->source);
	request->query.reason = request_copy(request->reason, query->reason);
	if (!(seconds > 0))
		seconds = DEADLINE_DEFAULT;
	if (seconds > DEADLINE_MAX)
		seconds = DEADLINE_MAX;
	request->deadline = ledger_now() + seconds;
	return request;
}

struct ledger_request *
ledger_query(struct ledger *ledger, const struct history_query *query,
    double seconds, ledger_query_fn *fn, void *arg)
{
	struct ledger_request *request = request_new(ledger, query, seconds);

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
	request->fn(&request->rows,
	    request->error[0] != '\0' ? request->error : NULL, request->arg);
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
