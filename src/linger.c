/* SPDX-License-Identifier: ISC */
#include "linger.h"

#include <sys/queue.h>

#include <stdlib.h>

#define LINGER_READS 16

struct linger_stream {
	TAILQ_ENTRY(linger_stream) entry;
	struct linger *linger;
	struct stream *stream;
	bool finish; /* the sending side is still to be shut down */
	double until;
};

TAILQ_HEAD(linger_list, linger_stream);

struct linger {
	struct loop *loop;
	struct loop_timer *timer; /* for the oldest, which is the first */
	struct linger_list list;
	struct loop_task *on_empty; /* NULL: nobody asks */
	unsigned n;
};

static void
linger_drop(struct linger_stream *old)
{
	TAILQ_REMOVE(&old->linger->list, old, entry);
	old->linger->n--;
	stream_free(old->stream);
	if (old->linger->n == 0 && old->linger->on_empty != NULL)
		loop_task_queue(old->linger->loop, old->linger->on_empty);
	free(old);
}

static void
linger_expire(void *arg)
{
	struct linger *linger = arg;
	struct linger_stream *first;
	double now = loop_now(linger->loop);

	while ((first = TAILQ_FIRST(&linger->list)) != NULL &&
	    first->until <= now) {
		stream_abort(first->stream);
		linger_drop(first);
	}
	if (first != NULL)
		loop_timer_set(linger->timer, first->until - now);
}

struct linger *
linger_new(struct loop *loop)
{
	struct linger *linger = calloc(1, sizeof *linger);

	if (linger == NULL)
		return NULL;
	linger->loop = loop;
	TAILQ_INIT(&linger->list);
	linger->timer = loop_timer_new(loop, linger_expire, linger);
	if (linger->timer == NULL) {
		free(linger);
		return NULL;
	}
	return linger;
}

void
linger_on_empty(struct linger *linger, struct loop_task *task)
{
	linger->on_empty = task;
}

bool
linger_is_empty(const struct linger *linger)
{
	return linger->n == 0;
}

void
linger_free(struct linger *linger)
{
	struct linger_stream *first;

	if (linger == NULL)
		return;
	while ((first = TAILQ_FIRST(&linger->list)) != NULL)
		linger_drop(first);
	loop_timer_free(linger->timer);
	free(linger);
}

static void
linger_ready(bool readable, bool writable, void *arg)
{
	struct linger_stream *old = arg;
	struct loop *loop = old->linger->loop;
	enum stream_status status = STREAM_OK;
	size_t got;
	int i;

	(void)readable;
	(void)writable;
	if (old->finish) {
		status = stream_shutdown(old->stream);
		old->finish = status == STREAM_AGAIN;
	}
	/* Bounded for each event: if more came already, the next edge or the
	 * end of the time comes too. */
	for (i = 0; i < LINGER_READS && status == STREAM_OK; i++)
		status = stream_read(old->stream, loop_scratch(loop),
		    LOOP_SCRATCH_SIZE, &got);
	if (status == STREAM_EOF || status == STREAM_RESET)
		linger_drop(old);
}

void
linger_add(struct linger *linger, struct stream *stream, bool finish)
{
	struct linger_stream *new = calloc(1, sizeof *new);

	if (new == NULL) {
		stream_free(stream);
		return;
	}
	if (linger->n == LINGER_MAX) {
		stream_abort(TAILQ_FIRST(&linger->list)->stream);
		linger_drop(TAILQ_FIRST(&linger->list));
	}
	new->linger = linger;
	new->stream = stream;
	new->finish = finish;
	new->until = loop_now(linger->loop) + LINGER_SECONDS;
	TAILQ_INSERT_TAIL(&linger->list, new, entry);
	if (linger->n++ == 0)
		loop_timer_set(linger->timer, LINGER_SECONDS);
	if (!finish)
		stream_abort(stream);
	if (stream_watch(stream, linger->loop, linger_ready, new) != 0)
		linger_drop(new);
}
