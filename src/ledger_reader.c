/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

#define CATCH_UP 0.25 /* seconds a query waits for rows put before it */

/* The reader's connection; NULL until the first query. */
struct reader {
	struct ledger *ledger;
	struct history *history;
	struct ledger_request *request; /* the one that runs */
};

static const char *
request_why_stop(struct ledger_request *request)
{
	if (ledger_now() >= request->deadline)
		return "timed out";
	if (atomic_load(&request->cancelled))
		return "cancelled";
	if (atomic_load(&request->ledger->stopping))
		return "shutting down";
	return NULL;
}

static const char *
reader_why_stop(void *arg)
{
	struct reader *reader = arg;

	return request_why_stop(reader->request);
}

static void
reader_close(struct reader *reader)
{
	history_close(reader->history);
	reader->history = NULL;
}

static void
reader_run(struct reader *reader)
{
	struct ledger_request *request = reader->request;
	const char *why = request_why_stop(request);

	if (why != NULL) {
		snprintf(request->error, sizeof request->error, "%s", why);
		return;
	}
	/* Anew, if another file stands in its place. */
	if (reader->history != NULL && history_has_moved(reader->history))
		reader_close(reader);
	if (reader->history == NULL)
		reader->history = history_open(reader->ledger->path,
		    reader_why_stop, reader, request->error,
		    sizeof request->error);
	if (reader->history == NULL)
		return;
	if (history_ask(reader->history, &request->query, &request->rows,
		request->error, sizeof request->error) == -1 &&
	    request_why_stop(request) == NULL)
		reader_close(reader); /* whatever it is: begin anew */
}

/* Gives the writer a moment to commit what was put before the query, so that
 * who has just killed a session finds it. Locked. */
static void
reader_catch_up(struct ledger *ledger, const struct ledger_request *request)
{
	double until = ledger_now() + CATCH_UP;

	if (until > request->deadline)
		until = request->deadline;
	while (ledger->state == LEDGER_OK && !ledger->stop &&
	    !atomic_load(&request->cancelled) &&
	    ledger->committed < request->puts && ledger_now() < until)
		ledger_wait(ledger, &ledger->reader_wakes, until);
}

/* The request is done, or was cancelled meanwhile. */
static void
reader_finish(struct ledger *ledger, struct ledger_request *request)
{
	static const uint64_t one = 1;
	bool cancelled;

	pthread_mutex_lock(&ledger->lock);
	cancelled = atomic_load(&request->cancelled);
	if (cancelled) {
		ledger->n_requests--;
	} else {
		request->state = LEDGER_REQUEST_DONE;
		TAILQ_INSERT_TAIL(&ledger->done, request, entry);
	}
	pthread_mutex_unlock(&ledger->lock);
	if (cancelled)
		ledger_request_free(request);
	else if (write(ledger->done_fd, &one, sizeof one) != sizeof one)
		log_debug("ledger: eventfd: %s", strerror(errno));
}

void *
ledger_reader_main(void *arg)
{
	struct ledger *ledger = arg;
	struct reader reader = { .ledger = ledger };

	pthread_setname_np(pthread_self(), "ledger-reader");
	pthread_mutex_lock(&ledger->lock);
	while (!ledger->stop) {
		reader.request = TAILQ_FIRST(&ledger->waiting);
		if (reader.request == NULL) {
			pthread_cond_wait(&ledger->reader_wakes, &ledger->lock);
			continue;
		}
		TAILQ_REMOVE(&ledger->waiting, reader.request, entry);
		reader.request->state = LEDGER_REQUEST_RUNNING;
		reader_catch_up(ledger, reader.request);
		pthread_mutex_unlock(&ledger->lock);
		reader_run(&reader);
		reader_finish(ledger, reader.request);
		pthread_mutex_lock(&ledger->lock);
	}
	pthread_mutex_unlock(&ledger->lock);
	reader_close(&reader);
	pthread_mutex_lock(&ledger->lock);
	ledger->running--;
	pthread_cond_broadcast(&ledger->owner_wakes);
	pthread_mutex_unlock(&ledger->lock);
	return NULL;
}
