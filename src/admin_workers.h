/* SPDX-License-Identifier: ISC */
/*
 * admin_workers: the other workers of this daemon, that an upgrade replaced
 * and that serve their last sessions: each is asked over a socket, on which it
 * serves this process as an administrator (admin_adopt).
 *
 * Owns the sockets. Knows no command: what is asked, and what is made of the
 * answers, is in admin_merge and the commands. Never waits for a worker: one
 * that says nothing for ADMIN_WORKERS_SILENCE seconds, or is not through after
 * ADMIN_WORKERS_DEADLINE, has not answered. Who hangs up, or does not speak the
 * protocol, is forgotten.  Floor 5.
 *
 * Bounds: a worker is asked one question at a time; the others wait, of which
 * every client of the admin socket has one at most. Lists are kept as the text
 * they came as, ADMIN_WORKERS_KEPT bytes in all; a line of a worker is read a
 * turn of the loop, and has ADMIN_WORKERS_LINE bytes at most.
 */
#ifndef TUNNELD_ADMIN_WORKERS_H
#define TUNNELD_ADMIN_WORKERS_H

#include <sys/types.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

#define ADMIN_WORKERS_SILENCE 2.0
#define ADMIN_WORKERS_DEADLINE 10.0
#define ADMIN_WORKERS_LINE ((size_t)8 << 20)
#define ADMIN_WORKERS_KEPT ((size_t)64 << 20)
#define ADMIN_WORKERS_POLL 5.0

struct admin_request;
struct admin_workers;

/* NULL out of memory. Free it after the admin socket, and while there is a
 * ledger: what is being asked ends, and whoever asked is told. */
struct admin_workers *admin_workers_new(struct loop *loop);
void admin_workers_free(struct admin_workers *workers); /* NULL is ignored */

/* Takes fd, a connected stream socket, also on failure; pid is the worker's.
 * The oldest first. 0, or -1 out of memory. */
int admin_workers_add(struct admin_workers *workers, int fd, pid_t pid);

/* How many there are; NULL has none. */
size_t admin_workers_count(const struct admin_workers *workers);

/* How many sessions they have, all together, as far as they have said so: a
 * new answer is asked for, ADMIN_WORKERS_POLL after the last one. */
size_t admin_workers_sessions(struct admin_workers *workers);

/* --- asking all of them ------------------------------------------------------ */

enum admin_reply_end {
	ADMIN_REPLY_OPEN,     /* it is being asked */
	ADMIN_REPLY_ANSWERED, /* whole */
	ADMIN_REPLY_REFUSED,  /* an error, after the rows that came before it */
	ADMIN_REPLY_SILENT,   /* not in time, or too much */
	ADMIN_REPLY_GONE /* it hung up, as it does after its last session */
};

/* The answer of one of them. */
struct admin_reply {
	pid_t pid;
	enum admin_reply_end end;
	char code[32];	 /* REFUSED: as it said it, "not_found" */
	char error[400]; /* REFUSED, SILENT: in words; otherwise "" */
	json_t *data;	 /* ANSWERED, and not with a list */
};

struct admin_ask;

struct admin_question {
	const char *command;
	json_t *args;			  /* borrowed; NULL: none */
	const struct admin_request *whom; /* it is asked for; NULL: nobody */
};

/*
 * Asks all there are. done(arg) is called once all replies have ended, never
 * before this returns, and not after admin_ask_free; it may free the ask. NULL
 * out of memory.
 */
struct admin_ask *admin_workers_ask(struct admin_workers *workers,
    const struct admin_question *question, loop_fn *done, void *arg);
/* A question that is on its way is answered nevertheless. NULL is ignored. */
void admin_ask_free(struct admin_ask *ask);

/* In the order of the workers. NULL: there are no more. */
const struct admin_reply *admin_ask_reply(const struct admin_ask *ask,
    size_t i);

/*
 * The next rows of all lists that came, one worker's after the other's: an
 * array of objects, each with "worker", the pid, and perhaps empty; *more:
 * there are others. NULL out of memory.
 */
json_t *admin_ask_next(struct admin_ask *ask, bool *more);

/*
 * The pids of those that did not do what they were asked, or did not say so,
 * as an array; and why, "worker 12 does not answer", "" where there are none.
 * Who is gone has no sessions any more; "not_found" is an answer.
 */
json_t *admin_ask_missing(const struct admin_ask *ask);
char *admin_ask_describe(const struct admin_ask *ask, char *buf, size_t size);

/* What is known of each worker, as status shows it: an array of {pid, state,
 * version, started_at, draining_since, until, sessions, error}, of which ask,
 * a question for `version`, has the news, and who did not answer it. */
json_t *admin_workers_rows(struct admin_workers *workers,
    const struct admin_ask *ask);

#endif
