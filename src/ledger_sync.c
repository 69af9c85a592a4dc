/* SPDX-License-Identifier: ISC */
#include <sys/eventfd.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

#define SYNC_MAX 3600.0

void
ledger_sync_wake(struct ledger *ledger)
{
	static const uint64_t one = 1;

	/* Full is as good: the loop has yet to look. */
	if (write(ledger->news_fd, &one, sizeof one) != sizeof one &&
	    errno != EAGAIN)
		log_debug("ledger: eventfd: %s", strerror(errno));
}

static void
sync_remove(struct ledger_sync *sync)
{
	struct ledger *ledger = sync->ledger;

	pthread_mutex_lock(&ledger->lock);
	TAILQ_REMOVE(&ledger->syncs, sync, entry);
	ledger->n_syncs--;
	pthread_mutex_unlock(&ledger->lock);
}

/* It is over; the callback is the last thing that happens. */
static void
sync_finish(struct ledger_sync *sync, const char *error)
{
	ledger_sync_fn *fn = sync->fn;
	void *arg = sync->arg;

	sync_remove(sync);
	loop_timer_free(sync->timer);
	free(sync);
	fn(error, arg);
}

static void
sync_late(void *arg)
{
	struct ledger_sync *sync = arg;
	struct ledger *ledger = sync->ledger;
	char error[LEDGER_ERROR_SIZE];

	pthread_mutex_lock(&ledger->lock);
	snprintf(error, sizeof error, "%s",
	    ledger->error[0] != '\0' ? ledger->error :
		ledger->state == LEDGER_STARTING ?
				       "the database is not open yet" :
				       "timed out");
	pthread_mutex_unlock(&ledger->lock);
	sync_finish(sync, error);
}

/* One whose rows are all committed or dropped, or NULL. */
static struct ledger_sync *
sync_first_done(struct ledger *ledger)
{
	struct ledger_sync *sync;

	pthread_mutex_lock(&ledger->lock);
	TAILQ_FOREACH(sync, &ledger->syncs, entry)
		if (sync->puts <= ledger->committed)
			break;
	pthread_mutex_unlock(&ledger->lock);
	return sync;
}

static void
sync_news(int fd, bool readable, bool writable, void *arg)
{
	struct ledger *ledger = arg;
	struct ledger_sync *sync;
	uint64_t count;
	bool loaded;

	(void)readable;
	(void)writable;
	if (read(fd, &count, sizeof count) != sizeof count)
		return;
	pthread_mutex_lock(&ledger->lock);
	loaded = ledger->say_loaded;
	ledger->say_loaded = false;
	pthread_mutex_unlock(&ledger->lock);
	while ((sync = sync_first_done(ledger)) != NULL)
		sync_finish(sync,
		    sync->lost ? "rows were lost, too many were waiting" :
				 NULL);
	if (loaded && ledger->loaded != NULL)
		ledger->loaded(ledger->loaded_arg);
}

int
ledger_sync_init(struct ledger *ledger)
{
	TAILQ_INIT(&ledger->syncs);
	ledger->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ledger->news_fd == -1)
		return -1;
	ledger->news_watch = loop_watch_new(ledger->loop, ledger->news_fd, true,
	    false, sync_news, ledger);
	return ledger->news_watch != NULL ? 0 : -1;
}

void
ledger_sync_free(struct ledger *ledger)
{
	struct ledger_sync *sync;

	loop_watch_free(ledger->news_watch);
	ledger->news_watch = NULL;
	while ((sync = TAILQ_FIRST(&ledger->syncs)) != NULL)
		ledger_sync_cancel(sync);
}

struct ledger_sync *
ledger_sync(struct ledger *ledger, double seconds, ledger_sync_fn *fn,
    void *arg)
{
	struct ledger_sync *sync;
	bool done;

	if (ledger->n_syncs >= LEDGER_SYNCS)
		return NULL;
	sync = calloc(1, sizeof *sync);
	if (sync == NULL)
		return NULL;
	*sync = (struct ledger_sync){ .ledger = ledger, .fn = fn, .arg = arg };
	sync->timer = loop_timer_new(ledger->loop, sync_late, sync);
	if (sync->timer == NULL) {
		free(sync);
		return NULL;
	}
	loop_timer_set(sync->timer,
	    !(seconds > 0)	   ? 0 :
		seconds < SYNC_MAX ? seconds :
				     SYNC_MAX);
	pthread_mutex_lock(&ledger->lock);
	sync->puts = ledger->puts;
	sync->lost = ledger->dropped > ledger->committed;
	TAILQ_INSERT_TAIL(&ledger->syncs, sync, entry);
	ledger->n_syncs++;
	done = ledger->committed >= sync->puts;
	if (!done) {
		ledger->urgent = true;
		pthread_cond_signal(&ledger->writer_wakes);
	}
	pthread_mutex_unlock(&ledger->lock);
	if (done)
		ledger_sync_wake(ledger);
	return sync;
}

void
ledger_sync_cancel(struct ledger_sync *sync)
{
	if (sync == NULL)
		return;
	sync_remove(sync);
	loop_timer_free(sync->timer);
	free(sync);
}
