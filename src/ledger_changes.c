/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger_internal.h"
#include "log.h"

#define WRITE_CHUNK 256 /* switches written in one transaction */

static struct ledger_switch *
switch_find(struct ledger *ledger, const char *peer, const char *tunnel)
{
	struct ledger_switch_key key;
	struct ledger_switch *found;

	memset(&key, 0, sizeof key);
	snprintf(key.peer, sizeof key.peer, "%s", peer);
	snprintf(key.tunnel, sizeof key.tunnel, "%s", tunnel);
	HASH_FIND(hh, ledger->switches, &key, sizeof key, found);
	return found;
}

/* Makes room: forgets what is on and known to the file as such. */
static void
switches_forget(struct ledger *ledger)
{
	struct ledger_switch *entry, *next;

	HASH_ITER(hh, ledger->switches, entry, next) {
		if (entry->disabled || entry->dirty)
			continue;
		HASH_DEL(ledger->switches, entry);
		free(entry);
	}
}

/* The one there is, or a new one; NULL: too many. Locked. */
static struct ledger_switch *
switch_place(struct ledger *ledger, const struct ledger_disabled *what)
{
	struct ledger_switch *entry;

	entry = switch_find(ledger, what->peer, what->tunnel);
	if (entry != NULL)
		return entry;
	if (HASH_COUNT(ledger->switches) >= LEDGER_DISABLED_MAX)
		switches_forget(ledger);
	if (HASH_COUNT(ledger->switches) >= LEDGER_DISABLED_MAX)
		return NULL;
	entry = calloc(1, sizeof *entry);
	if (entry == NULL)
		return NULL;
	snprintf(entry->key.peer, sizeof entry->key.peer, "%s", what->peer);
	snprintf(entry->key.tunnel, sizeof entry->key.tunnel, "%s",
	    what->tunnel);
	HASH_ADD(hh, ledger->switches, key, sizeof entry->key, entry);
	if (entry->hh.tbl == NULL) {
		free(entry);
		return NULL;
	}
	return entry;
}

static void
switch_mark(struct ledger *ledger, struct ledger_switch *entry)
{
	entry->change = ++ledger->switch_changes;
	if (entry->dirty)
		return;
	entry->dirty = true;
	TAILQ_INSERT_TAIL(&ledger->dirty, entry, entry);
	ledger->n_dirty++;
}

int
ledger_set_disabled(struct ledger *ledger, const struct ledger_disabled *what,
    bool disabled)
{
	struct ledger_switch *entry;
	size_t before;

	pthread_mutex_lock(&ledger->lock);
	entry = switch_place(ledger, what);
	if (entry != NULL) {
		before = ledger->queued + ledger->n_dirty;
		entry->what = *what;
		entry->disabled = disabled;
		switch_mark(ledger, entry);
		ledger_note_put(ledger, before);
	}
	pthread_mutex_unlock(&ledger->lock);
	return entry != NULL ? 0 : -1;
}

bool
ledger_is_loaded(struct ledger *ledger)
{
	bool loaded;

	pthread_mutex_lock(&ledger->lock);
	loaded = ledger->read_switches;
	pthread_mutex_unlock(&ledger->lock);
	return loaded;
}

bool
ledger_get_disabled(struct ledger *ledger, const char *peer, const char *tunnel,
    struct ledger_disabled *out)
{
	struct ledger_switch *entry;
	bool disabled;

	pthread_mutex_lock(&ledger->lock);
	entry = switch_find(ledger, peer, tunnel);
	disabled = entry != NULL && entry->disabled;
	if (disabled && out != NULL)
		*out = entry->what;
	pthread_mutex_unlock(&ledger->lock);
	return disabled;
}

/* --- The file ------------------------------------------------------------- */

static void
switch_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
	const void *text = sqlite3_column_text(stmt, column);

	snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
}

/* A row of the file. true: it was news. */
static bool
switch_take(struct ledger *ledger, sqlite3_stmt *stmt)
{
	struct ledger_disabled what;
	struct ledger_switch *entry = NULL;
	bool known;

	memset(&what, 0, sizeof what);
	switch_text(stmt, 0, what.peer, sizeof what.peer);
	switch_text(stmt, 1, what.tunnel, sizeof what.tunnel);
	what.at_us = sqlite3_column_int64(stmt, 2);
	switch_text(stmt, 3, what.by, sizeof what.by);
	pthread_mutex_lock(&ledger->lock);
	known = switch_find(ledger, what.peer, what.tunnel) != NULL;
	if (!known)
		entry = switch_place(ledger, &what);
	if (entry != NULL) {
		entry->what = what;
		entry->disabled = true;
	}
	pthread_mutex_unlock(&ledger->lock);
	return entry != NULL;
}

/* What we know goes into this file, whatever it says of it. */
static void
switches_mark(struct ledger *ledger)
{
	struct ledger_switch *entry, *next;
	size_t before;

	pthread_mutex_lock(&ledger->lock);
	before = ledger->queued + ledger->n_dirty;
	HASH_ITER(hh, ledger->switches, entry, next)
		switch_mark(ledger, entry);
	if (before == 0 && ledger->n_dirty > 0)
		ledger->first_put = ledger_now();
	pthread_mutex_unlock(&ledger->lock);
}

int
ledger_switches_load(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	sqlite3_stmt *stmt;
	bool news = false;
	int rc;

	switches_mark(ledger);
	rc = sqlite3_prepare_v2(file->db,
	    "SELECT peer, tunnel, at, who FROM disabled LIMIT ?1", -1, &stmt,
	    NULL);
	if (rc != SQLITE_OK)
		return ledger_file_fail(file, rc);
	sqlite3_bind_int64(stmt, 1, LEDGER_DISABLED_MAX);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		news = switch_take(ledger, stmt) || news;
	sqlite3_finalize(stmt);
	if (rc != SQLITE_DONE)
		return ledger_file_fail(file, rc);
	pthread_mutex_lock(&ledger->lock);
	news = ledger->returned && (news || !ledger->read_switches);
	ledger->read_switches = true;
	if (news)
		ledger->say_loaded = true;
	pthread_mutex_unlock(&ledger->lock);
	if (news)
		ledger_sync_wake(ledger);
	return SQLITE_OK;
}

static int
switch_write(sqlite3 *db, const struct ledger_switch *entry)
{
	sqlite3_stmt *stmt;
	int rc;

	rc = sqlite3_prepare_v2(db,
	    entry->disabled ?
		"INSERT OR REPLACE INTO disabled"
		" (peer, tunnel, at, who) VALUES (?1, ?2, ?3, ?4)" :
		"DELETE FROM disabled"
		" WHERE peer = ?1 AND tunnel = ?2",
	    -1, &stmt, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(stmt, 1, entry->key.peer, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, entry->key.tunnel, -1, SQLITE_STATIC);
	if (entry->disabled) {
		sqlite3_bind_int64(stmt, 3, entry->what.at_us);
		sqlite3_bind_text(stmt, 4, entry->what.by,
		    (int)strnlen(entry->what.by, sizeof entry->what.by),
		    SQLITE_STATIC);
	}
	rc = sqlite3_step(stmt);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Copies of some that are to be written; how many. */
static size_t
switches_take(struct ledger *ledger, struct ledger_switch *copies)
{
	struct ledger_switch *entry;
	size_t n = 0;

	pthread_mutex_lock(&ledger->lock);
	TAILQ_FOREACH(entry, &ledger->dirty, entry) {
		if (n == WRITE_CHUNK)
			break;
		copies[n++] = *entry;
	}
	pthread_mutex_unlock(&ledger->lock);
	return n;
}

/* They are written; what changed meanwhile is to be written again. */
static void
switches_done(struct ledger *ledger, const struct ledger_switch *copies,
    size_t n)
{
	struct ledger_switch *entry;

	pthread_mutex_lock(&ledger->lock);
	for (size_t i = 0; i < n; i++) {
		HASH_FIND(hh, ledger->switches, &copies[i].key,
		    sizeof copies[i].key, entry);
		if (entry == NULL || entry->change != copies[i].change)
			continue;
		entry->dirty = false;
		TAILQ_REMOVE(&ledger->dirty, entry, entry);
		ledger->n_dirty--;
	}
	pthread_mutex_unlock(&ledger->lock);
}

int
ledger_switches_write(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	struct ledger_switch *copies;
	size_t n;
	int rc = SQLITE_OK;

	pthread_mutex_lock(&ledger->lock);
	n = ledger->n_dirty;
	pthread_mutex_unlock(&ledger->lock);
	if (n == 0)
		return SQLITE_OK;
	copies = calloc(WRITE_CHUNK, sizeof *copies);
	if (copies == NULL)
		return ledger_file_fail(file, SQLITE_NOMEM);
	while (rc == SQLITE_OK && (n = switches_take(ledger, copies)) > 0) {
		rc = ledger_file_begin(file);
		if (rc != SQLITE_OK)
			break;
		for (size_t i = 0; rc == SQLITE_OK && i < n; i++)
			rc = switch_write(file->db, &copies[i]);
		rc = ledger_file_finish(file, ledger_file_fail(file, rc));
		if (rc == SQLITE_OK)
			switches_done(ledger, copies, n);
	}
	free(copies);
	return rc;
}

void
ledger_switches_free(struct ledger *ledger)
{
	struct ledger_switch *entry, *next;

	HASH_ITER(hh, ledger->switches, entry, next) {
		HASH_DEL(ledger->switches, entry);
		free(entry);
	}
}
