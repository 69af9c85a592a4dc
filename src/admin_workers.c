/* SPDX-License-Identifier: ISC */
#include "admin_worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "admin.h"

TAILQ_HEAD(admin_worker_list, admin_worker);
TAILQ_HEAD(admin_ask_list, admin_ask);

struct admin_workers {
	struct loop *loop;
	struct admin_worker_list list; /* the oldest first */
	size_t n;
	struct admin_ask_list open; /* questions whose done is to be called */
	size_t kept;		    /* bytes of lists */
	struct admin_ask *poll;	    /* how many sessions have they? */
	double polled_at;
	bool poll_again; /* one came meanwhile */
};

struct admin_ask {
	TAILQ_ENTRY(admin_ask) entry; /* while done is to be called */
	struct admin_workers *workers;
	json_t *root; /* of the line to send, but for its id */
	loop_fn *done;
	void *arg;
	struct loop_timer *deadline;
	struct loop_task task;
	bool called; /* done was */
	size_t n, n_open;
	size_t next; /* of jobs: whose lines are being taken */
	struct admin_job jobs[];
};

/* --- what came ---------------------------------------------------------------- */

const struct admin_reply *
admin_ask_reply(const struct admin_ask *ask, size_t i)
{
	return i < ask->n ? &ask->jobs[i].reply : NULL;
}

int
admin_ask_keep(struct admin_job *job, const char *line, size_t len)
{
	struct admin_workers *workers = job->ask->workers;
	struct admin_line *kept;

	if (workers->kept + len > ADMIN_WORKERS_KEPT)
		return -1;
	kept = malloc(sizeof *kept + len);
	if (kept == NULL)
		return -1;
	kept->pid = job->reply.pid;
	kept->len = len;
	memcpy(kept->text, line, len);
	STAILQ_INSERT_TAIL(&job->lines, kept, entry);
	workers->kept += len;
	return 0;
}

static void
job_drop_line(struct admin_job *job)
{
	struct admin_line *line = STAILQ_FIRST(&job->lines);

	STAILQ_REMOVE_HEAD(&job->lines, entry);
	job->ask->workers->kept -= line->len;
	free(line);
}

/* The rows of one line, which was looked at when it came. */
static json_t *
line_rows(const struct admin_line *line)
{
	json_t *root = json_loadb(line->text, line->len, 0, NULL), *row;
	json_t *rows = json_incref(json_object_get(root, "data"));
	size_t i;

	json_decref(root);
	json_array_foreach(rows, i, row)
	{
		json_object_set_new(row, "worker", json_integer(line->pid));
	}
	return rows;
}

json_t *
admin_ask_next(struct admin_ask *ask, bool *more)
{
	struct admin_job *job = NULL;
	json_t *rows = NULL;

	for (; ask->next < ask->n; ask->next++) {
		job = &ask->jobs[ask->next];
		if (!STAILQ_EMPTY(&job->lines))
			break;
	}
	*more = ask->next < ask->n;
	if (!*more)
		return json_array();
	rows = line_rows(STAILQ_FIRST(&job->lines));
	job_drop_line(job);
	return rows;
}

/* It has said that it has nothing of the kind. */
static bool
reply_is_nothing(const struct admin_reply *reply)
{
	return reply->end == ADMIN_REPLY_REFUSED &&
	    strcmp(reply->code, "not_found") == 0;
}

json_t *
admin_ask_missing(const struct admin_ask *ask)
{
	const struct admin_reply *reply;
	json_t *pids = json_array();
	size_t i;

	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++)
		if (reply->end != ADMIN_REPLY_ANSWERED &&
		    reply->end != ADMIN_REPLY_GONE && !reply_is_nothing(reply))
			json_array_append_new(pids, json_integer(reply->pid));
	return pids;
}

char *
admin_ask_describe(const struct admin_ask *ask, char *buf, size_t size)
{
	const struct admin_reply *reply;
	size_t i, len = 0;
	char pid[40];

	buf[0] = '\0';
	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++) {
		if (reply->error[0] == '\0' || reply_is_nothing(reply) ||
		    len >= size)
			continue;
		snprintf(pid, sizeof pid, "worker %ld: ", (long)reply->pid);
		len += (size_t)snprintf(buf + len, size - len, "%s%s%s",
		    len > 0 ? "; " : "",
		    reply->end == ADMIN_REPLY_REFUSED ? pid : "", reply->error);
	}
	return buf;
}

/* --- asking ------------------------------------------------------------------- */

static void
ask_finish(struct admin_ask *ask)
{
	if (ask->called)
		return;
	ask->called = true;
	TAILQ_REMOVE(&ask->workers->open, ask, entry);
	loop_timer_cancel(ask->deadline);
	ask->done(ask->arg);
}

/* The task. */
static void
ask_done(void *arg)
{
	ask_finish(arg);
}

void
admin_ask_job_ended(struct admin_job *job)
{
	struct admin_ask *ask = job->ask;

	if (--ask->n_open == 0)
		loop_task_queue(ask->workers->loop, &ask->task);
}

/* All that are not through are let go of. */
static void
ask_end_jobs(struct admin_ask *ask, enum admin_reply_end end)
{
	struct admin_job *job;
	size_t i;

	for (i = 0; i < ask->n; i++) {
		job = &ask->jobs[i];
		if (job->reply.end != ADMIN_REPLY_OPEN)
			continue;
		admin_worker_forget(job);
		if (end == ADMIN_REPLY_SILENT)
			snprintf(job->reply.error, sizeof job->reply.error,
			    "worker %ld has not answered in time",
			    (long)job->reply.pid);
		job->reply.end = end;
		admin_ask_job_ended(job);
	}
}

static void
ask_late(void *arg)
{
	ask_end_jobs(arg, ADMIN_REPLY_SILENT);
}

int
admin_ask_write(struct admin_ask *ask, json_int_t id, struct evbuffer *out)
{
	char *text;
	int result;

	if (json_object_set_new(ask->root, "id", json_integer(id)) != 0)
		return -1;
	text = json_dumps(ask->root, JSON_COMPACT | JSON_REAL_PRECISION(17));
	if (text == NULL)
		return -1;
	result = evbuffer_add_printf(out, "%s\n", text) < 0 ? -1 : 0;
	free(text);
	return result;
}

static json_t *
ask_root(const struct admin_question *question)
{
	json_t *root = json_pack("{s:s}", "cmd", question->command);
	char who[ADMIN_WHO_SIZE];

	if (question->args != NULL)
		json_object_set_new(root, "args",
		    json_deep_copy(question->args));
	if (question->whom == NULL)
		return root;
	admin_request_who(question->whom, who, sizeof who);
	json_object_set_new(root, "by", json_string(who));
	json_object_set_new(root, "uid",
	    json_integer((json_int_t)admin_request_uid(question->whom)));
	return root;
}

struct admin_ask *
admin_workers_ask(struct admin_workers *workers,
    const struct admin_question *question, loop_fn *done, void *arg)
{
	struct admin_ask *ask = calloc(1,
	    sizeof *ask + workers->n * sizeof ask->jobs[0]);
	struct admin_worker *worker;
	struct admin_job *job;

	if (ask == NULL)
		return NULL;
	ask->workers = workers;
	ask->done = done;
	ask->arg = arg;
	ask->called = true; /* not by what fails here */
	loop_task_init(&ask->task, ask_done, ask);
	ask->root = ask_root(question);
	ask->deadline = loop_timer_new(workers->loop, ask_late, ask);
	if (ask->root == NULL || ask->deadline == NULL) {
		admin_ask_free(ask);
		return NULL;
	}
	ask->called = false;
	TAILQ_INSERT_TAIL(&workers->open, ask, entry);
	loop_timer_set(ask->deadline, ADMIN_WORKERS_DEADLINE);
	TAILQ_FOREACH(worker, &workers->list, entry) {
		job = &ask->jobs[ask->n++];
		job->ask = ask;
		job->reply.pid = worker->pid;
		STAILQ_INIT(&job->lines);
		admin_worker_ask(worker, job);
	}
	ask->n_open = ask->n;
	if (ask->n == 0)
		loop_task_queue(workers->loop, &ask->task);
	return ask;
}

void
admin_ask_free(struct admin_ask *ask)
{
	size_t i;

	if (ask == NULL)
		return;
	for (i = 0; i < ask->n; i++) {
		admin_worker_forget(&ask->jobs[i]);
		while (!STAILQ_EMPTY(&ask->jobs[i].lines))
			job_drop_line(&ask->jobs[i]);
		json_decref(ask->jobs[i].reply.data);
	}
	if (!ask->called)
		TAILQ_REMOVE(&ask->workers->open, ask, entry);
	loop_task_cancel(ask->workers->loop, &ask->task);
	loop_timer_free(ask->deadline);
	json_decref(ask->root);
	free(ask);
}

/* --- what is known of them ---------------------------------------------------- */

static struct admin_worker *
workers_find(const struct admin_workers *workers, pid_t pid)
{
	struct admin_worker *worker;

	TAILQ_FOREACH(worker, &workers->list, entry)
		if (worker->pid == pid)
			return worker;
	return NULL;
}

static void
workers_note(struct admin_workers *workers, const struct admin_ask *ask)
{
	const struct admin_reply *reply;
	struct admin_worker *worker;
	size_t i;

	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++) {
		worker = workers_find(workers, reply->pid);
		if (worker == NULL || reply->data == NULL)
			continue;
		json_decref(worker->info);
		worker->info = json_incref(reply->data);
	}
}

static json_t *
worker_member(const struct admin_worker *worker, const char *key)
{
	json_t *value = json_object_get(worker->info, key);

	return value != NULL ? json_incref(value) : json_null();
}

static json_t *
worker_row(const struct admin_worker *worker, const char *error)
{
	json_t *sessions = json_object_get(worker->info, "sessions");

	/* clang-format off */
	return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:I, s:s?}",
	    "pid", (json_int_t)worker->pid,
	    "state", "draining",
	    "version", worker_member(worker, "version"),
	    "started_at", worker_member(worker, "started_at"),
	    "draining_since", worker_member(worker, "draining_since"),
	    "until", worker_member(worker, "until"),
	    "sessions", json_integer_value(sessions),
	    "error", error);
	/* clang-format on */
}

json_t *
admin_workers_rows(struct admin_workers *workers, const struct admin_ask *ask)
{
	const struct admin_reply *reply;
	struct admin_worker *worker;
	json_t *rows = json_array();
	size_t i;

	workers_note(workers, ask);
	/* Those that are still there, of those that were asked. */
	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++) {
		worker = workers_find(workers, reply->pid);
		if (worker != NULL)
			json_array_append_new(rows,
			    worker_row(worker,
				reply->error[0] != '\0' ? reply->error : NULL));
	}
	return rows;
}

static void workers_poll(struct admin_workers *workers);

static void
poll_done(void *arg)
{
	struct admin_workers *workers = arg;
	struct admin_ask *ask = workers->poll;

	workers->poll = NULL;
	workers_note(workers, ask);
	admin_ask_free(ask);
	if (workers->poll_again && workers->n > 0)
		workers_poll(workers);
}

static void
workers_poll(struct admin_workers *workers)
{
	static const struct admin_question question = { .command = "version" };

	workers->poll_again = workers->poll != NULL;
	if (workers->poll_again)
		return;
	workers->polled_at = loop_now(workers->loop);
	workers->poll = admin_workers_ask(workers, &question, poll_done,
	    workers);
}

size_t
admin_workers_sessions(struct admin_workers *workers)
{
	const struct admin_worker *worker;
	size_t n = 0;

	if (admin_workers_count(workers) == 0)
		return 0;
	TAILQ_FOREACH(worker, &workers->list, entry)
		n += (size_t)json_integer_value(json_object_get(worker->info,
		    "sessions"));
	if (workers->poll == NULL &&
	    loop_now(workers->loop) - workers->polled_at >= ADMIN_WORKERS_POLL)
		workers_poll(workers);
	return n;
}

/* --- the workers --------------------------------------------------------------- */

struct admin_workers *
admin_workers_new(struct loop *loop)
{
	struct admin_workers *workers = calloc(1, sizeof *workers);

	if (workers == NULL)
		return NULL;
	workers->loop = loop;
	TAILQ_INIT(&workers->list);
	TAILQ_INIT(&workers->open);
	return workers;
}

int
admin_workers_add(struct admin_workers *workers, int fd, pid_t pid)
{
	struct admin_worker *worker = admin_worker_new(workers, workers->loop,
	    fd, pid);

	if (worker == NULL)
		return -1;
	TAILQ_INSERT_TAIL(&workers->list, worker, entry);
	workers->n++;
	workers_poll(workers);
	return 0;
}

size_t
admin_workers_count(const struct admin_workers *workers)
{
	return workers == NULL ? 0 : workers->n;
}

void
admin_workers_lost(struct admin_worker *worker)
{
	struct admin_workers *workers = worker->workers;

	TAILQ_REMOVE(&workers->list, worker, entry);
	workers->n--;
	admin_worker_free(worker);
}

void
admin_workers_free(struct admin_workers *workers)
{
	struct admin_worker *worker;
	struct admin_ask *ask;

	if (workers == NULL)
		return;
	workers->poll_again = false;
	while ((worker = TAILQ_FIRST(&workers->list)) != NULL)
		admin_workers_lost(worker);
	/* Whoever is told may ask again, of nobody. */
	while ((ask = TAILQ_FIRST(&workers->open)) != NULL)
		ask_finish(ask);
	free(workers);
}
