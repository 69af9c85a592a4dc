/* SPDX-License-Identifier: ISC */
/*
 * admin_worker: the connection to one worker that drains: one question at a
 * time out, lines in. For admin_workers.c alone, which owns the questions.
 *
 * Callbacks of the loop read and write; lines are taken, questions end and
 * connections are freed by the task alone.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_WORKER_H
#define TUNNELD_ADMIN_WORKER_H

#include <sys/queue.h>

#include "admin_workers.h"

struct evbuffer;
struct admin_worker;

/* A piece of a list, as the line it came as. */
struct admin_line {
	STAILQ_ENTRY(admin_line) entry;
	pid_t pid;
	size_t len;
	char text[];
};
STAILQ_HEAD(admin_line_list, admin_line);

/* A reply being waited for. */
struct admin_job {
	TAILQ_ENTRY(admin_job) entry;
	struct admin_ask *ask;
	struct admin_worker *worker; /* NULL: it has ended */
	struct admin_line_list lines;
	struct admin_reply reply;
};
TAILQ_HEAD(admin_job_list, admin_job);

struct admin_worker {
	TAILQ_ENTRY(admin_worker) entry;
	struct admin_workers *workers;
	struct loop *loop;
	pid_t pid;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *silence;
	struct loop_task task;
	struct evbuffer *in, *out;
	size_t searched;	    /* so many bytes of in hold no line feed */
	struct admin_job_list jobs; /* the oldest first */
	json_int_t last_id;
	bool asked;		   /* last_id is not wholly answered */
	struct admin_job *current; /* what it is about, the first of jobs;
				      NULL: nobody wants it any more */
	bool eof;
	bool broken;  /* said so in the log; to be forgotten */
	json_t *info; /* what `version` said last; NULL: nothing yet */
};

/* Takes fd, also on failure. NULL out of memory. */
struct admin_worker *admin_worker_new(struct admin_workers *workers,
    struct loop *loop, int fd, pid_t pid);
void admin_worker_free(struct admin_worker *worker); /* its jobs end: GONE */

/* The job waits its turn; and is wanted no more. */
void admin_worker_ask(struct admin_worker *worker, struct admin_job *job);
void admin_worker_forget(struct admin_job *job);

/* --- of admin_workers.c, for the above ---------------------------------------- */

/* The question with this id, as a line, to out; -1 out of memory. */
int admin_ask_write(struct admin_ask *ask, json_int_t id, struct evbuffer *out);
/* Keeps a piece of a list; -1 if that is too much. */
int admin_ask_keep(struct admin_job *job, const char *line, size_t len);
/* The job, which no worker has any more, has ended: reply says how. */
void admin_ask_job_ended(struct admin_job *job);
/* There is nothing more to be had of it: frees it, as the last thing. */
void admin_workers_lost(struct admin_worker *worker);

#endif
