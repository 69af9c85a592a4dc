/* SPDX-License-Identifier: ISC */
/*
 * ledger_internal: what the files of the ledger share; nobody else includes
 * it.  Floor 2.
 *
 *     ledger.c		the public face: queue, ids, status, start and end
 *     ledger_writer.c	the writer's thread: when to write what, and errors
 *     ledger_file.c	the file: opening, locks, setting aside
 *     ledger_schema.c	tables, and bringing an old file to our version
 *     ledger_runs.c	runs, ids
 *     ledger_trim.c	retention
 *     ledger_rows.c	rows between structs and SQL
 *     ledger_changes.c	what administrators changed, what is switched off
 *     ledger_sync.c	telling the loop that rows are on the disk
 *     ledger_query.c	queries as the loop sees them
 *     ledger_reader.c	the reader's thread
 *
 * One mutex guards what the threads share. It is held for a handful of
 * instructions, never across a call to SQLite or the disk (sqlite3_interrupt,
 * which only sets a flag, apart). struct ledger_file belongs to the writer.
 *
 * Functions that return "a code" return SQLITE_OK, an (extended) SQLite code,
 * or LEDGER_REFUSED, and have then put the words into file->error.
 */
#ifndef TUNNELD_LEDGER_INTERNAL_H
#define TUNNELD_LEDGER_INTERNAL_H

#include <sys/queue.h>
#include <sys/types.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include <uthash.h>

#include "ledger.h"

#define LEDGER_BATCH 5000    /* rows in one transaction */
#define LEDGER_DELAY 0.05    /* seconds a row waits for company */
#define LEDGER_RETRY 1.0     /* seconds between attempts */
#define LEDGER_ID_BLOCK 1000 /* ids reserved at a time, to begin with */
#define LEDGER_ID_BLOCK_MAX 65536
#define LEDGER_ID_ODD (INT64_C(1) << 52) /* ids without a block start here */
#define LEDGER_ID_LANES 64 /* they are equal to `generation` modulo this */
#define LEDGER_QUERIES 64
#define LEDGER_SYNCS 256
#define LEDGER_SPARE 1024 /* rows of changes for which there is always room */
#define LEDGER_ERROR_SIZE 160

/* The file is sound, but not for us: from a newer version, or not a ledger. */
#define LEDGER_REFUSED (-1)

enum ledger_kind { LEDGER_SESSION, LEDGER_LINK, LEDGER_CHANGE };

struct ledger_key {
	int64_t kind; /* enum ledger_kind; as wide as id: no padding */
	int64_t id;
};

/* A row on its way to the disk. */
struct ledger_row {
	struct ledger_key key;
	UT_hash_handle hh;
	TAILQ_ENTRY(ledger_row) entry;
	union {
		struct ledger_session session;
		struct ledger_link link;
		struct ledger_change change;
	};
};
TAILQ_HEAD(ledger_row_list, ledger_row);

/* What is or was switched off. One that was switched on stays, in case the
 * file says something else when it is read again. */
struct ledger_switch_key {
	char peer[NAME_SIZE];
	char tunnel[NAME_SIZE];
};
struct ledger_switch {
	struct ledger_switch_key key; /* zeros behind the texts */
	UT_hash_handle hh;
	TAILQ_ENTRY(ledger_switch) entry; /* of dirty, if it is */
	struct ledger_disabled what;
	bool disabled;
	bool dirty;	 /* to be written */
	uint64_t change; /* tells whether it changed while it was written */
};
TAILQ_HEAD(ledger_switch_list, ledger_switch);

struct ledger_sync {
	TAILQ_ENTRY(ledger_sync) entry;
	struct ledger *ledger;
	uint64_t puts; /* done when so many are committed */
	bool lost;     /* but one of them was dropped */
	struct loop_timer *timer;
	ledger_sync_fn *fn;
	void *arg;
};
TAILQ_HEAD(ledger_sync_list, ledger_sync);

/* Ids to give out: [next, end), then [spare_next, spare_end). */
struct ledger_ids {
	int64_t next, end;
	int64_t spare_next, spare_end;
	int64_t block;	    /* how many to reserve next */
	double reserved_at; /* when the last block came */
	int64_t odd;	    /* the last one given without a block */
	int64_t lane;	    /* of those: no other process uses it */
	bool wanted;	    /* the writer is to reserve a block */
};

/* Where the removal of old rows stands. */
struct ledger_trim {
	int phase;
	int64_t cutoff; /* rows that ended before it go; 0: none */
	int64_t excess; /* rows over max_rows still to go */
};

/* The writer's own: the database as it is open just now. */
struct ledger_file {
	sqlite3 *db; /* NULL: not open */
	sqlite3_stmt *put_session, *put_open, *put_taken, *put_link,
	    *put_change, *seen;
	int lock_fd;	    /* of PATH-runs, or -1 */
	int64_t run;	    /* whose byte we hold locked; 0: none */
	int64_t started_us; /* tells our run from another of that number */
	dev_t dev;	    /* what stood at path when it was opened */
	ino_t ino;
	bool damaged; /* set it aside before it is opened again */
	double set_aside_at;
	int step; /* the next on the way to our version; 0: it is there */
	struct ledger_trim trim;
	char error[LEDGER_ERROR_SIZE];
};

enum ledger_state {
	LEDGER_STARTING,
	LEDGER_OK,
	LEDGER_RETRYING,
	LEDGER_FAILED
};

enum ledger_request_state {
	LEDGER_REQUEST_WAITING,
	LEDGER_REQUEST_RUNNING,
	LEDGER_REQUEST_DONE
};

struct ledger_request {
	TAILQ_ENTRY(ledger_request) entry; /* of waiting or done */
	struct ledger *ledger;
	enum ledger_request_state state; /* guarded by the ledger's lock */
	atomic_bool cancelled;
	struct history_query query; /* its strings are those below */
	/* A cut text is longer than any in the database: it finds nothing,
	 * as the whole one would. */
	char tunnel[ADDR_TEXT_SIZE + 1];
	char peer[ADDR_TEXT_SIZE + 1];
	char source[ADDR_TEXT_SIZE + 1];
	char reason[ADDR_TEXT_SIZE + 1];
	double deadline;
	uint64_t puts; /* rows put before the query */
	ledger_query_fn *fn;
	void *arg;

	struct history_rows rows;
	char error[LEDGER_ERROR_SIZE]; /* "": none */
};

TAILQ_HEAD(ledger_request_list, ledger_request);

struct ledger {
	/* Constant after ledger_new. */
	struct loop *loop;
	char *path, *lock_path;
	char *daemon, *version;
	size_t max_queued;
	pthread_t writer, reader;
	bool has_writer, has_reader; /* threads to be joined */
	int done_fd; /* an eventfd: counts requests moved to done */
	struct loop_watch *done_watch;
	int news_fd; /* an eventfd: syncs are done, the switches are loaded */
	struct loop_watch *news_watch;
	void (*loaded)(void *arg);
	void *loaded_arg;

	struct ledger_file file; /* the writer's */
	atomic_bool stopping;	 /* as stop, for where no lock is held */
	atomic_bool aborted;	 /* time is up: drop everything, end */
	atomic_int retention_days;
	_Atomic int64_t max_rows;

	double patience; /* the owner's: ledger_free waits so long */

	/* All below is guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t writer_wakes; /* rows, ids wanted, stop */
	pthread_cond_t reader_wakes; /* requests, rows committed, stop */
	pthread_cond_t owner_wakes;  /* first attempt done; writer gone */
	bool stop;
	double stop_at; /* when ledger_free stops waiting */
	bool tried;	/* opened, or failed for more than being busy */
	int running;	/* threads that have not ended */

	struct ledger_row_list rows;
	struct ledger_row *by_key; /* a hash of rows */
	size_t queued;
	size_t writing; /* rows the writer has taken and not committed */
	double first_put, last_put;
	bool urgent;	    /* somebody waits for what is queued */
	bool new_limits;    /* how much is kept was changed */
	uint64_t puts;	    /* rows ever queued, replaced or dropped */
	uint64_t dropped;   /* `puts` when a row was dropped last */
	uint64_t committed; /* `puts` when the last full batch was taken */
	int64_t n_changes;  /* rows of changes ever put */
	struct ledger_ids ids;

	enum ledger_state state;
	char error[LEDGER_ERROR_SIZE];
	uint64_t written, lost;
	int64_t set_aside_us;
	sqlite3 *writer_db; /* for sqlite3_interrupt only */

	struct ledger_switch *switches; /* a hash */
	struct ledger_switch_list dirty;
	size_t n_dirty;
	uint64_t switch_changes;
	bool read_switches; /* the file has been asked */
	bool returned;	    /* ledger_new has */
	bool say_loaded;    /* the loop is to be told */
	struct ledger_sync_list syncs;
	unsigned n_syncs;

	struct ledger_request_list waiting, done;
	unsigned n_requests; /* waiting, running and done */
};

/* ledger.c */
double ledger_now(void); /* monotonic seconds */
/* Waits at most until `until`; the lock is held. */
void ledger_wait(struct ledger *ledger, pthread_cond_t *cond, double until);
/* There is something to write; before: how much there was. Locked. */
void ledger_note_put(struct ledger *ledger, size_t before);
/* Takes all queued rows into an empty list; counts them as being written. */
uint64_t ledger_take_rows(struct ledger *ledger, struct ledger_row_list *out);
/* Puts rows that could not be written back, unless newer ones are queued. */
void ledger_return_rows(struct ledger *ledger, struct ledger_row_list *rows);

/* ledger_writer.c */
void *ledger_writer_main(void *ledger);

/* ledger_file.c */
int ledger_file_open(struct ledger *ledger); /* a code */
void ledger_file_close(struct ledger *ledger);
/* Is its first page still that of a database? Reads past SQLite's cache, which
 * would not see for long that somebody wrote over the file. A code. */
int ledger_file_check(struct ledger_file *file);
/* Was it moved or removed under our feet? */
bool ledger_file_is_gone(struct ledger *ledger);
/* Unlocks the run and closes PATH-runs. */
void ledger_file_unlock(struct ledger_file *file);
int ledger_file_lock_run(struct ledger_file *file, int64_t run); /* or -1 */
void ledger_file_unlock_run(struct ledger_file *file, int64_t run);
bool ledger_file_run_lives(const struct ledger_file *file, int64_t run);
/* Fills file->error with SQLite's words for a code; returns the code. */
int ledger_file_fail(struct ledger_file *file, int code);
int ledger_file_begin(struct ledger_file *file); /* a code */
/* Commits if code is SQLITE_OK, rolls back if not. */
int ledger_file_finish(struct ledger_file *file, int code);
bool ledger_code_is_damage(int code);

/* ledger_schema.c; all return a code. */
/* Runs sql with n integers bound; *out (or NULL): the first column. Leaves
 * file->error alone. */
int ledger_sql(sqlite3 *db, const char *sql, const int64_t *args, int n,
    int64_t *out);
int ledger_schema_open(struct ledger_file *file);
/* Takes file->step. Interrupted when ledger_free waits. */
int ledger_schema_step(struct ledger *ledger);

/* ledger_runs.c; all return a code. */
/* Claims a run, or finds the one claimed before; closes lost runs. */
int ledger_run_claim(struct ledger *ledger);
/* A sign of life of ours, and a look for others that died meanwhile. */
int ledger_run_refresh(struct ledger *ledger);
/* Gives ledger_take_id a block of ids, if it wants one. */
int ledger_ids_reserve(struct ledger *ledger);
/* Ends our run; ids from `unused` to `end`, not given out, are returned. */
int ledger_run_end(struct ledger_file *file, int64_t unused, int64_t end);

/* ledger_trim.c: one small step of removing old rows; *more: there is another.
 * A code. */
int ledger_trim(struct ledger *ledger, bool *more);

/* ledger_changes.c; the first two return a code. */
/* Reads what the file says; what we know better is to be written to it. */
int ledger_switches_load(struct ledger *ledger);
int ledger_switches_write(struct ledger *ledger);
void ledger_switches_free(struct ledger *ledger);

/* ledger_sync.c */
int ledger_sync_init(struct ledger *ledger);  /* 0, or -1 */
void ledger_sync_free(struct ledger *ledger); /* on the loop's thread */
void ledger_sync_wake(struct ledger *ledger); /* any thread: look at it all */

/* ledger_query.c */
void ledger_request_free(struct ledger_request *request);
int ledger_query_init(struct ledger *ledger);  /* 0, or -1 */
void ledger_query_free(struct ledger *ledger); /* after the reader ended */

/* ledger_reader.c */
void *ledger_reader_main(void *ledger);

/* ledger_rows.c: structs to SQL; all return a code and leave file->error
 * alone. */
int ledger_rows_prepare(struct ledger_file *file);
int ledger_put_session_row(struct ledger_file *file,
    const struct ledger_session *session);
int ledger_put_link_row(struct ledger_file *file,
    const struct ledger_link *link);
int ledger_put_change_row(struct ledger_file *file,
    const struct ledger_change *change);
int ledger_put_seen(struct ledger_file *file);

#endif
