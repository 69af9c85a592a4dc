/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_internal.h"
#include "log.h"

#define SEEN_INTERVAL 5.0 /* a sign of life, while sessions come and go */
#define SEEN_IDLE 60.0	  /* and while nothing happens at all */
#define SEEN_FIRST 1.0	  /* a run that we follow may just be dying */
#define TRIM_INTERVAL 600.0
#define TRIM_PAUSE 0.02	   /* between its steps: others use the disk too */
#define RETRY_BUSY 0.05	   /* another writes, or ledger_free waits */
#define BUSY_PATIENCE 0.5  /* unless it goes on for so long */
#define RETRY_START 0.1	   /* busy while ledger_new waits for us */
#define STEP_RETRY 60.0	   /* after a step towards our version failed */
#define WRITER_TURN 8	   /* rows, before the loop may have the processor */
#define RETRY_REFUSED 10.0 /* somebody may take the wrong file away */

/* What the thread remembers between its rounds. */
struct writer {
	struct ledger *ledger;
	struct ledger_file *file;
	bool failing; /* nothing before retry_at */
	double retry_at;
	double busy_since; /* 0: the last round did not find it busy */
	double seen_at, trim_at, step_at; /* when each is due next */
	uint64_t lost_said;		  /* lost rows that the log knows of */
	bool polite;			  /* it is not behind */
};

/* One row. A row that SQLite will never take must not block the others. */
static int
writer_put_row(struct writer *writer, const struct ledger_row *row,
    uint64_t *lost)
{
	int rc;

	switch ((enum ledger_kind)row->key.kind) {
	case LEDGER_SESSION:
		rc = ledger_put_session_row(writer->file, &row->session);
		break;
	case LEDGER_LINK:
		rc = ledger_put_link_row(writer->file, &row->link);
		break;
	case LEDGER_CHANGE:
		rc = ledger_put_change_row(writer->file, &row->change);
		break;
	default:
		rc = SQLITE_MISMATCH;
		break;
	}
	switch (rc & 0xff) {
	case SQLITE_OK:
		*lost += sqlite3_changes(writer->file->db) == 0;
		return SQLITE_OK;
	case SQLITE_CONSTRAINT:
	case SQLITE_TOOBIG:
	case SQLITE_MISMATCH:
		(*lost)++;
		return SQLITE_OK;
	default:
		return rc;
	}
}

/*
 * Writes the first rows of the list in one transaction, and frees them. Some
 * hundred rows are milliseconds of work, in which the loop may stand behind
 * this thread though another processor is idle: so it lets the loop go first,
 * row by row, unless it must catch up.
 */
static int
writer_write_some(struct writer *writer, struct ledger_row_list *rows)
{
	struct ledger *ledger = writer->ledger;
	struct ledger_row *row;
	uint64_t lost = 0;
	size_t n = 0;
	int rc;

	rc = ledger_file_begin(writer->file);
	if (rc != SQLITE_OK)
		return rc;
	TAILQ_FOREACH(row, rows, entry) {
		if (n == LEDGER_BATCH)
			break;
		rc = atomic_load(&ledger->aborted) ?
		    SQLITE_INTERRUPT :
		    writer_put_row(writer, row, &lost);
		if (rc != SQLITE_OK)
			break;
		if (++n % WRITER_TURN == 0 && writer->polite)
			sched_yield();
	}
	if (rc == SQLITE_OK)
		rc = ledger_put_seen(writer->file);
	rc = ledger_file_finish(writer->file,
	    ledger_file_fail(writer->file, rc));
	if (rc != SQLITE_OK)
		return rc;

	for (size_t i = 0; i < n; i++) {
		row = TAILQ_FIRST(rows);
		TAILQ_REMOVE(rows, row, entry);
		free(row);
	}
	pthread_mutex_lock(&ledger->lock);
	ledger->writing -= n;
	ledger->written += n - lost;
	ledger->lost += lost;
	pthread_mutex_unlock(&ledger->lock);
	return SQLITE_OK;
}

/* Writes everything that is queued. */
static int
writer_flush(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	struct ledger_row_list rows = TAILQ_HEAD_INITIALIZER(rows);
	uint64_t puts = ledger_take_rows(ledger, &rows);
	bool waited;
	int rc = SQLITE_OK;

	writer->polite = ledger->writing < LEDGER_BATCH; /* ours to change */
	if (!TAILQ_EMPTY(&rows))
		writer->seen_at = ledger_now() + SEEN_INTERVAL;
	while (rc == SQLITE_OK && !TAILQ_EMPTY(&rows)) {
		rc = writer_write_some(writer, &rows);
		if (rc == SQLITE_OK)
			rc = ledger_ids_reserve(writer->ledger);
	}
	ledger_return_rows(ledger, &rows);
	if (rc == SQLITE_OK)
		rc = ledger_switches_write(ledger);
	if (rc == SQLITE_OK) {
		pthread_mutex_lock(&ledger->lock);
		ledger->committed = puts;
		pthread_cond_broadcast(&ledger->reader_wakes);
		waited = !TAILQ_EMPTY(&ledger->syncs);
		pthread_mutex_unlock(&ledger->lock);
		if (waited)
			ledger_sync_wake(ledger);
	}
	return rc;
}

static int
writer_refresh(struct writer *writer)
{
	double now = ledger_now(), last_put;
	int rc;

	if (now < writer->seen_at)
		return SQLITE_OK;
	rc = ledger_run_refresh(writer->ledger);
	pthread_mutex_lock(&writer->ledger->lock);
	last_put = writer->ledger->last_put;
	pthread_mutex_unlock(&writer->ledger->lock);
	writer->seen_at = now +
	    (last_put + SEEN_IDLE > now ? SEEN_INTERVAL : SEEN_IDLE);
	return rc;
}

static int
writer_trim(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	double now = ledger_now();
	bool more = false, busy;
	int rc;

	pthread_mutex_lock(&ledger->lock);
	busy = ledger->queued > 0 || ledger->stop;
	if (ledger->new_limits) {
		ledger->new_limits = false;
		writer->trim_at = now;
		/* Not one row more by those there were. */
		ledger->file.trim = (struct ledger_trim){ .phase = 0 };
	}
	pthread_mutex_unlock(&ledger->lock);
	if (now < writer->trim_at || busy || writer->file->step != 0)
		return SQLITE_OK;
	rc = ledger_trim(ledger, &more);
	writer->trim_at = now + (more ? TRIM_PAUSE : TRIM_INTERVAL);
	return rc;
}

/* One step towards our version. What goes wrong with it does not keep rows
 * from being written; only damage does. */
static int
writer_step(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	double now = ledger_now();
	int rc;

	if (writer->file->step == 0 || now < writer->step_at ||
	    atomic_load(&ledger->stopping))
		return SQLITE_OK;
	rc = ledger_schema_step(ledger);
	if (rc == SQLITE_OK || ledger_code_is_damage(rc))
		return rc;
	if (!atomic_load(&ledger->stopping) && (rc & 0xff) != SQLITE_BUSY)
		log_warning("ledger: %s: cannot bring it to version %d: %s",
		    ledger->path, LEDGER_SCHEMA_VERSION, writer->file->error);
	writer->step_at = now +
	    ((rc & 0xff) == SQLITE_BUSY ? RETRY_START : STEP_RETRY);
	return SQLITE_OK;
}

/* Everything that is due. A code. */
static int
writer_round(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	struct ledger_file *file = writer->file;
	int rc = SQLITE_OK;

	if (file->db != NULL && ledger_file_is_gone(ledger)) {
		log_warning("ledger: %s was moved or removed, opening it anew",
		    ledger->path);
		ledger_file_close(ledger);
	}
	if (file->db == NULL) {
		rc = ledger_file_open(ledger);
		writer->seen_at = ledger_now() + SEEN_FIRST;
		/* First of all ledger_new is to return. */
		writer->step_at = ledger_now() + RETRY_BUSY;
	} else {
		rc = ledger_file_check(file);
	}
	if (rc == SQLITE_OK)
		rc = ledger_ids_reserve(writer->ledger);
	if (rc == SQLITE_OK)
		rc = writer_flush(writer);
	if (rc == SQLITE_OK)
		rc = writer_refresh(writer);
	if (rc == SQLITE_OK)
		rc = writer_step(writer);
	if (rc == SQLITE_OK)
		rc = writer_trim(writer);
	return rc;
}

/* The one setter of the state; logs a change once. */
static void
writer_set_state(struct writer *writer, enum ledger_state state,
    const char *error)
{
	struct ledger *ledger = writer->ledger;
	enum ledger_state before;
	uint64_t lost;

	pthread_mutex_lock(&ledger->lock);
	before = ledger->state;
	ledger->state = state;
	snprintf(ledger->error, sizeof ledger->error, "%s", error);
	lost = ledger->lost;
	pthread_mutex_unlock(&ledger->lock);

	if (state == LEDGER_FAILED && before != state)
		log_error("ledger: %s: %s; it is left alone, sessions are "
			  "not recorded",
		    ledger->path, error);
	else if (state == LEDGER_RETRYING && before != state)
		log_warning("ledger: %s: %s; rows wait in memory, trying again "
			    "every second",
		    ledger->path, error);
	else if (state == LEDGER_OK && before > LEDGER_OK)
		log_notice("ledger: %s: writing again", ledger->path);
	/* The first loss of an outage, and their number at its end. */
	if (lost != writer->lost_said &&
	    (before != state || writer->lost_said == 0)) {
		log_warning("ledger: %s: %llu rows lost so far", ledger->path,
		    (unsigned long long)lost);
		writer->lost_said = lost;
	}
}

/* What an error asks for. true: it is only that another is writing. */
static bool
writer_recover(struct writer *writer, int rc)
{
	struct ledger_file *file = writer->file;

	switch (rc == LEDGER_REFUSED ? SQLITE_ERROR : rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return true;
	case SQLITE_FULL:
	case SQLITE_INTERRUPT:
	case SQLITE_NOMEM:
		/* The rollback sufficed, if there was one. */
		if (file->db != NULL && sqlite3_get_autocommit(file->db))
			return false;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		file->damaged = file->damaged || file->db != NULL;
		break;
	default: /* an I/O error: begin anew with all locks and maps */
		break;
	}
	ledger_file_close(writer->ledger);
	return false;
}

static void
writer_failed(struct writer *writer, int rc)
{
	struct ledger *ledger = writer->ledger;
	bool was_open = writer->file->db != NULL;
	bool busy = writer_recover(writer, rc), patient;
	double now = ledger_now(), wait = LEDGER_RETRY;

	if (!busy)
		writer->busy_since = 0;
	else if (writer->busy_since == 0)
		writer->busy_since = now;
	patient = busy && now < writer->busy_since + BUSY_PATIENCE;
	if (!patient)
		writer_set_state(writer,
		    rc == LEDGER_REFUSED ? LEDGER_FAILED : LEDGER_RETRYING,
		    writer->file->error);

	pthread_mutex_lock(&ledger->lock);
	if (rc == LEDGER_REFUSED)
		wait = RETRY_REFUSED;
	else if (was_open && ledger_code_is_damage(rc))
		wait = 0; /* it can be set aside at once */
	else if (patient || ledger->stop)
		wait = RETRY_BUSY;
	else if (busy && !ledger->tried)
		wait = RETRY_START;
	if (!busy && wait > 0)
		ledger->tried = true;
	pthread_cond_broadcast(&ledger->owner_wakes);
	pthread_cond_broadcast(&ledger->reader_wakes);
	pthread_mutex_unlock(&ledger->lock);
	writer->failing = true;
	writer->retry_at = ledger_now() + wait;
}

static void
writer_succeeded(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;

	writer->failing = false;
	writer->busy_since = 0;
	writer_set_state(writer, LEDGER_OK, "");
	pthread_mutex_lock(&ledger->lock);
	if (!ledger->tried) {
		ledger->tried = true;
		pthread_cond_broadcast(&ledger->owner_wakes);
	}
	pthread_mutex_unlock(&ledger->lock);
}

/* When there is something to do. Locked. */
static double
writer_due(const struct writer *writer)
{
	const struct ledger *ledger = writer->ledger;
	double due;

	if (writer->failing)
		return writer->retry_at;
	if (writer->file->db == NULL || ledger->stop || ledger->ids.wanted ||
	    ledger->queued >= LEDGER_BATCH || ledger->urgent ||
	    ledger->new_limits)
		return 0;
	due = writer->seen_at < writer->trim_at ? writer->seen_at :
						  writer->trim_at;
	if (writer->file->step != 0 && writer->step_at < due)
		due = writer->step_at;
	if (ledger->queued + ledger->n_dirty > 0 &&
	    ledger->first_put + LEDGER_DELAY < due)
		due = ledger->first_put + LEDGER_DELAY;
	return due;
}

/* Sleeps until something is due. true: ledger_free waits for us. */
static bool
writer_sleep(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	bool stop, noticed;
	double due;

	pthread_mutex_lock(&ledger->lock);
	noticed = ledger->stop;
	while ((due = writer_due(writer)) > ledger_now()) {
		if (ledger->stop && !noticed)
			break; /* now, whatever retry_at says */
		ledger_wait(ledger, &ledger->writer_wakes, due);
	}
	stop = ledger->stop;
	pthread_mutex_unlock(&ledger->lock);
	return stop;
}

/* Ends the run, once everything is written. */
static int
writer_end_run(struct writer *writer)
{
	struct ledger_ids ids;

	pthread_mutex_lock(&writer->ledger->lock);
	ids = writer->ledger->ids;
	pthread_mutex_unlock(&writer->ledger->lock);
	if (ids.spare_next == ids.spare_end)
		return ledger_run_end(writer->file, ids.next, ids.end);
	return ledger_run_end(writer->file, ids.spare_next, ids.spare_end);
}

/* Is there a point in trying again, now that ledger_free waits? */
static bool
writer_may_go_on(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	bool empty, late;

	pthread_mutex_lock(&ledger->lock);
	empty = ledger->queued + ledger->n_dirty == 0;
	late = ledger_now() >= ledger->stop_at ||
	    ledger->state == LEDGER_FAILED;
	pthread_mutex_unlock(&ledger->lock);
	/* Without a database there is no run to end. */
	return !late && !(empty && writer->file->db == NULL);
}

static void
writer_end(struct writer *writer)
{
	struct ledger *ledger = writer->ledger;
	size_t left;

	/* The last one to close the database folds the -wal into it, which the
	 * reader may not: so it goes first. */
	pthread_mutex_lock(&ledger->lock);
	while (ledger->running > 1 && ledger_now() < ledger->stop_at)
		ledger_wait(ledger, &ledger->owner_wakes, ledger->stop_at);
	pthread_mutex_unlock(&ledger->lock);
	ledger_file_close(ledger);
	ledger_file_unlock(writer->file);
	pthread_mutex_lock(&ledger->lock);
	left = ledger->queued;
	ledger->lost += left;
	left += ledger->n_dirty;
	pthread_mutex_unlock(&ledger->lock);
	if (left > 0)
		log_error("ledger: %s: %zu rows could not be written: %s",
		    ledger->path, left, writer->file->error);
	pthread_mutex_lock(&ledger->lock);
	ledger->running--;
	pthread_cond_broadcast(&ledger->owner_wakes);
	pthread_mutex_unlock(&ledger->lock);
}

void *
ledger_writer_main(void *arg)
{
	struct ledger *ledger = arg;
	struct writer writer = { .ledger = ledger, .file = &ledger->file };
	bool stop;
	int rc;

	pthread_setname_np(pthread_self(), "ledger-writer");
	do {
		stop = writer_sleep(&writer);
		if (stop && !writer_may_go_on(&writer))
			break;
		rc = writer_round(&writer);
		if (rc == SQLITE_OK && stop)
			rc = writer_end_run(&writer);
		if (rc == SQLITE_OK)
			writer_succeeded(&writer);
		else
			writer_failed(&writer, rc);
	} while (!stop || rc != SQLITE_OK);
	writer_end(&writer);
	return NULL;
}
