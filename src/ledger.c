/* SPDX-License-Identifier: ISC */
#include "ledger.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

#define QUEUE_DEFAULT 65536
#define START_TIME 2.0	 /* seconds ledger_new waits for the writer */
#define ABORT_TIME 0.5	 /* seconds an interrupted writer gets to end */
#define RETURN_CHUNK 256 /* rows put back under one hold of the lock */

double
ledger_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
ledger_wait(struct ledger *ledger, pthread_cond_t *cond, double until)
{
	struct timespec ts;

	ts.tv_sec = (time_t)until;
	ts.tv_nsec = (long)((until - (double)ts.tv_sec) * 1e9);
	pthread_cond_timedwait(cond, &ledger->lock, &ts);
}

static int
ledger_start_thread(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, before;
	int error;

	/* Signals are the loop's business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0)
		log_error("ledger: cannot start a thread: %s", strerror(error));
	return error == 0 ? 0 : -1;
}

static int
ledger_copy_options(struct ledger *ledger, const struct ledger_options *options)
{
	ledger->path = strdup(options->path);
	ledger->daemon = strdup(options->daemon ? options->daemon : "");
	ledger->version = strdup(options->version ? options->version : "");
	if (asprintf(&ledger->lock_path, "%s-runs", options->path) == -1)
		ledger->lock_path = NULL;
	ledger->retention_days = options->retention_days;
	ledger->max_rows = options->max_rows;
	ledger->loaded = options->loaded;
	ledger->loaded_arg = options->arg;
	ledger->max_queued = options->max_queued ? options->max_queued :
						   QUEUE_DEFAULT;
	if (ledger->path == NULL || ledger->lock_path == NULL ||
	    ledger->daemon == NULL || ledger->version == NULL)
		return -1;
	return 0;
}

void
ledger_set_limits(struct ledger *ledger, int retention_days, int64_t max_rows)
{
	if (atomic_load(&ledger->retention_days) == retention_days &&
	    atomic_load(&ledger->max_rows) == max_rows)
		return;
	atomic_store(&ledger->retention_days, retention_days);
	atomic_store(&ledger->max_rows, max_rows);
	pthread_mutex_lock(&ledger->lock);
	ledger->new_limits = true;
	pthread_cond_signal(&ledger->writer_wakes);
	pthread_mutex_unlock(&ledger->lock);
}

static void
ledger_init_sync(struct ledger *ledger)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&ledger->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ledger->writer_wakes, &attr);
	pthread_cond_init(&ledger->reader_wakes, &attr);
	pthread_cond_init(&ledger->owner_wakes, &attr);
	pthread_condattr_destroy(&attr);
}

static void
ledger_release(struct ledger *ledger)
{
	struct ledger_row *row;

	ledger_query_free(ledger);
	ledger_switches_free(ledger);
	if (ledger->news_fd != -1)
		close(ledger->news_fd);
	HASH_CLEAR(hh, ledger->by_key);
	while ((row = TAILQ_FIRST(&ledger->rows)) != NULL) {
		TAILQ_REMOVE(&ledger->rows, row, entry);
		free(row);
	}
	pthread_cond_destroy(&ledger->writer_wakes);
	pthread_cond_destroy(&ledger->reader_wakes);
	pthread_cond_destroy(&ledger->owner_wakes);
	pthread_mutex_destroy(&ledger->lock);
	free(ledger->path);
	free(ledger->lock_path);
	free(ledger->daemon);
	free(ledger->version);
	free(ledger);
}

struct ledger *
ledger_new(struct loop *loop, const struct ledger_options *options)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	double until = ledger_now() + START_TIME;

	if (ledger == NULL)
		return NULL;
	/* Nobody asks how much memory SQLite has, and counting it takes a lock
	 * for every piece. Too late the second time, and no harm. */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	ledger->loop = loop;
	ledger->patience = LEDGER_STOP_TIME;
	ledger->done_fd = ledger->news_fd = -1;
	ledger->file.lock_fd = -1;
	ledger->ids = (struct ledger_ids){ .block = LEDGER_ID_BLOCK,
		.lane = options->generation % LEDGER_ID_LANES,
		.wanted = true };
	TAILQ_INIT(&ledger->rows);
	TAILQ_INIT(&ledger->dirty);
	ledger_init_sync(ledger);
	if (ledger_query_init(ledger) == -1 || ledger_sync_init(ledger) == -1 ||
	    ledger_copy_options(ledger, options) == -1)
		goto fail;

	ledger->running = 2;
	if (ledger_start_thread(&ledger->writer, ledger_writer_main, ledger) ==
	    -1)
		goto fail;
	ledger->has_writer = true;
	if (ledger_start_thread(&ledger->reader, ledger_reader_main, ledger) ==
	    -1)
		goto fail;
	ledger->has_reader = true;

	pthread_mutex_lock(&ledger->lock);
	while (!ledger->tried && ledger_now() < until)
		ledger_wait(ledger, &ledger->owner_wakes, until);
	ledger->returned = true;
	pthread_mutex_unlock(&ledger->lock);
	return ledger;
fail:
	ledger_free(ledger);
	return NULL;
}

/* Waits for the threads to end. false: they hang, and own the ledger now. */
static bool
ledger_stop(struct ledger *ledger)
{
	bool ended;

	pthread_mutex_lock(&ledger->lock);
	/* A thread that was never started has ended. */
	ledger->running -= !ledger->has_writer + !ledger->has_reader;
	ledger->stop = true;
	atomic_store(&ledger->stopping, true);
	ledger->stop_at = ledger_now() + ledger->patience;
	pthread_cond_broadcast(&ledger->writer_wakes);
	pthread_cond_broadcast(&ledger->reader_wakes);
	while (ledger->running > 0 && ledger_now() < ledger->stop_at)
		ledger_wait(ledger, &ledger->owner_wakes, ledger->stop_at);
	if (ledger->running > 0) {
		double until = ledger_now() + ABORT_TIME;

		atomic_store(&ledger->aborted, true);
		if (ledger->writer_db != NULL)
			sqlite3_interrupt(ledger->writer_db);
		while (ledger->running > 0 && ledger_now() < until)
			ledger_wait(ledger, &ledger->owner_wakes, until);
	}
	ended = ledger->running <= 0;
	pthread_mutex_unlock(&ledger->lock);

	if (ledger->has_writer && ended)
		pthread_join(ledger->writer, NULL);
	if (ledger->has_reader && ended)
		pthread_join(ledger->reader, NULL);
	return ended;
}

void
ledger_set_patience(struct ledger *ledger, double seconds)
{
	ledger->patience = seconds;
}

void
ledger_free(struct ledger *ledger)
{
	if (ledger == NULL)
		return;
	/* No callback from here on, whatever the threads still do. */
	loop_watch_free(ledger->done_watch);
	ledger->done_watch = NULL;
	ledger_sync_free(ledger);
	if (ledger_stop(ledger)) {
		ledger_release(ledger);
		return;
	}
	/* A disk that does not come back from a system call: what the threads
	 * use must stay, and the process is about to end. */
	log_error("ledger: %s: the disk is too slow, not waiting for it",
	    ledger->path);
}

int64_t
ledger_take_id(struct ledger *ledger)
{
	struct ledger_ids *ids = &ledger->ids;
	int64_t id, left;

	pthread_mutex_lock(&ledger->lock);
	if (ids->next == ids->end) {
		ids->next = ids->spare_next;
		ids->end = ids->spare_end;
		ids->spare_next = ids->spare_end = 0;
	}
	if (ids->next < ids->end) {
		id = ids->next++;
	} else {
		/* Microseconds: below 2^52 until the year 2112. */
		id = loop_wall_us() & (LEDGER_ID_ODD - LEDGER_ID_LANES);
		id |= ids->lane;
		if (id <= ids->odd)
			id = ids->odd + LEDGER_ID_LANES;
		ids->odd = id;
		id += LEDGER_ID_ODD;
	}
	left = ids->end - ids->next + ids->spare_end - ids->spare_next;
	if (!ids->wanted && left < ids->block / 2) {
		ids->wanted = true;
		pthread_cond_signal(&ledger->writer_wakes);
	}
	pthread_mutex_unlock(&ledger->lock);
	return id;
}

static struct ledger_row *
ledger_find_row(struct ledger *ledger, const struct ledger_key *key)
{
	struct ledger_row *row;

	HASH_FIND(hh, ledger->by_key, key, sizeof *key, row);
	return row;
}

/* Adds to the hash and the list. -1 out of memory, the row is the caller's. */
static int
ledger_insert_row(struct ledger *ledger, struct ledger_row *row, bool front)
{
	HASH_ADD(hh, ledger->by_key, key, sizeof row->key, row);
	if (row->hh.tbl == NULL)
		return -1;
	if (front)
		TAILQ_INSERT_HEAD(&ledger->rows, row, entry);
	else
		TAILQ_INSERT_TAIL(&ledger->rows, row, entry);
	ledger->queued++;
	return 0;
}

/* The row that is to hold this key's data, or NULL: no room. Locked. */
static struct ledger_row *
ledger_place_row(struct ledger *ledger, const struct ledger_key *key)
{
	struct ledger_row *row = ledger_find_row(ledger, key);
	size_t room = ledger->max_queued;

	if (row != NULL)
		return row;
	if (key->kind == LEDGER_CHANGE)
		room += LEDGER_SPARE;
	if (ledger->queued + ledger->writing >= room)
		return NULL;
	row = calloc(1, sizeof *row);
	if (row == NULL)
		return NULL;
	row->key = *key;
	if (ledger_insert_row(ledger, row, false) == -1) {
		free(row);
		return NULL;
	}
	return row;
}

/* Says that there is something to write; before: how much there was. Locked. */
void
ledger_note_put(struct ledger *ledger, size_t before)
{
	ledger->puts++;
	ledger->last_put = ledger_now();
	if (before == 0)
		ledger->first_put = ledger->last_put;
	if (before == 0 || ledger->queued == LEDGER_BATCH)
		pthread_cond_signal(&ledger->writer_wakes);
}

/* row is of the kind and the id that stand in its key; last: what it says is
 * not said again. */
static void
ledger_put(struct ledger *ledger, const struct ledger_row *row, bool last)
{
	struct ledger_row *place;
	size_t before;

	pthread_mutex_lock(&ledger->lock);
	before = ledger->queued + ledger->n_dirty;
	place = ledger_place_row(ledger, &row->key);
	if (place == NULL) {
		ledger->lost += last;
		ledger->dropped = ++ledger->puts;
	} else {
		switch ((enum ledger_kind)row->key.kind) {
		case LEDGER_SESSION:
			place->session = row->session;
			break;
		case LEDGER_LINK:
			place->link = row->link;
			break;
		case LEDGER_CHANGE:
			place->change = row->change;
			break;
		}
		ledger_note_put(ledger, before);
	}
	pthread_mutex_unlock(&ledger->lock);
}

void
ledger_put_session(struct ledger *ledger, const struct ledger_session *session)
{
	struct ledger_row row;

	row.key = (struct ledger_key){ LEDGER_SESSION, session->id };
	row.session = *session;
	ledger_put(ledger, &row, session->closed_us != 0);
}

void
ledger_put_link(struct ledger *ledger, const struct ledger_link *link)
{
	struct ledger_row row;

	row.key = (struct ledger_key){ LEDGER_LINK, link->id };
	row.link = *link;
	ledger_put(ledger, &row, link->down_us != 0);
}

void
ledger_put_change(struct ledger *ledger, const struct ledger_change *change)
{
	struct ledger_row row;

	pthread_mutex_lock(&ledger->lock);
	row.key = (struct ledger_key){ LEDGER_CHANGE, ++ledger->n_changes };
	pthread_mutex_unlock(&ledger->lock);
	row.change = *change;
	ledger_put(ledger, &row, true);
}

uint64_t
ledger_take_rows(struct ledger *ledger, struct ledger_row_list *out)
{
	struct ledger_row *table;
	uint64_t puts;

	pthread_mutex_lock(&ledger->lock);
	TAILQ_CONCAT(out, &ledger->rows, entry);
	table = ledger->by_key;
	ledger->by_key = NULL;
	ledger->writing = ledger->queued;
	ledger->queued = 0;
	ledger->urgent = false;
	puts = ledger->puts;
	pthread_mutex_unlock(&ledger->lock);
	HASH_CLEAR(hh, table);
	return puts;
}

void
ledger_return_rows(struct ledger *ledger, struct ledger_row_list *rows)
{
	struct ledger_row *row;

	while (!TAILQ_EMPTY(rows)) {
		/* In pieces, so that the loop never waits long for the lock.
		 * Last ones first: in front they are in their order again. */
		pthread_mutex_lock(&ledger->lock);
		for (int i = 0; i < RETURN_CHUNK; i++) {
			row = TAILQ_LAST(rows, ledger_row_list);
			if (row == NULL)
				break;
			TAILQ_REMOVE(rows, row, entry);
			ledger->writing--;
			if (ledger_find_row(ledger, &row->key) != NULL) {
				free(row);
			} else if (ledger_insert_row(ledger, row, true) == -1) {
				ledger->lost++;
				ledger->dropped = ++ledger->puts;
				free(row);
			}
		}
		pthread_mutex_unlock(&ledger->lock);
	}
}

void
ledger_get_status(struct ledger *ledger, struct ledger_status *out)
{
	static const char *const names[] = { "starting", "ok", "retrying",
		"failed" };

	memset(out, 0, sizeof *out);
	snprintf(out->path, sizeof out->path, "%s", ledger->path);
	pthread_mutex_lock(&ledger->lock);
	snprintf(out->state, sizeof out->state, "%s", names[ledger->state]);
	snprintf(out->error, sizeof out->error, "%s", ledger->error);
	out->queued = ledger->queued + ledger->writing;
	out->written = ledger->written;
	out->lost = ledger->lost;
	out->set_aside_us = ledger->set_aside_us;
	pthread_mutex_unlock(&ledger->lock);
}
