/* SPDX-License-Identifier: ISC */
#include "admin_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "log.h"

/* A turn's work: libevent reads 4,096 bytes at a time. */
#define READS 16

/* --- jobs -------------------------------------------------------------------- */

/* Takes it away from the worker; its answer, if that comes, is not looked at. */
static void
job_leave(struct admin_job *job)
{
	struct admin_worker *worker = job->worker;

	TAILQ_REMOVE(&worker->jobs, job, entry);
	job->worker = NULL;
	if (worker->current == job)
		worker->current = NULL;
	if (TAILQ_EMPTY(&worker->jobs))
		loop_timer_cancel(worker->silence);
}

static void
job_end(struct admin_job *job, enum admin_reply_end end)
{
	job_leave(job);
	job->reply.end = end;
	admin_ask_job_ended(job);
}

static void
job_silent(struct admin_job *job, const char *why)
{
	snprintf(job->reply.error, sizeof job->reply.error, "worker %ld %s",
	    (long)job->reply.pid, why);
	job_end(job, ADMIN_REPLY_SILENT);
}

void
admin_worker_forget(struct admin_job *job)
{
	if (job->worker != NULL)
		job_leave(job);
}

void
admin_worker_ask(struct admin_worker *worker, struct admin_job *job)
{
	job->worker = worker;
	if (TAILQ_EMPTY(&worker->jobs))
		loop_timer_set(worker->silence, ADMIN_WORKERS_SILENCE);
	TAILQ_INSERT_TAIL(&worker->jobs, job, entry);
	loop_task_queue(worker->loop, &worker->task);
}

static void
worker_silent(void *arg)
{
	struct admin_worker *worker = arg;
	struct admin_job *job;

	while ((job = TAILQ_FIRST(&worker->jobs)) != NULL)
		job_silent(job, "does not answer");
}

/* --- answers ----------------------------------------------------------------- */

static void
worker_break(struct admin_worker *worker, const char *why)
{
	struct admin_job *job;

	if (worker->broken)
		return;
	worker->broken = true;
	log_warning("admin: worker %ld: %s: it is asked no more",
	    (long)worker->pid, why);
	while ((job = TAILQ_FIRST(&worker->jobs)) != NULL)
		job_silent(job, why);
}

static void
copy_text(char *buf, size_t size, const json_t *text, const char *otherwise)
{
	const char *value = json_string_value(text);

	snprintf(buf, size, "%s", value != NULL ? value : otherwise);
}

static void
take_refusal(struct admin_job *job, const json_t *line)
{
	const json_t *error = json_object_get(line, "error");
	struct admin_reply *reply = &job->reply;

	copy_text(reply->code, sizeof reply->code,
	    json_object_get(error, "code"), "unavailable");
	copy_text(reply->error, sizeof reply->error,
	    json_object_get(error, "message"), "refused, without a reason");
	job_end(job, ADMIN_REPLY_REFUSED);
}

static void
take_data(struct admin_job *job, json_t *data, bool more)
{
	if (!more && !json_is_array(data))
		job->reply.data = json_incref(data);
	if (!more)
		job_end(job, ADMIN_REPLY_ANSWERED);
}

/* NULL if the line makes sense; otherwise what it is not. */
static const char *
take_line(struct admin_worker *worker, const json_t *line, const char *text,
    size_t len)
{
	struct admin_job *job = worker->current;
	json_t *id = json_object_get(line, "id");
	json_t *data = json_object_get(line, "data");
	bool ok = json_is_true(json_object_get(line, "ok"));
	bool more = ok && json_is_true(json_object_get(line, "more"));

	if (!worker->asked || !json_is_integer(id) ||
	    json_integer_value(id) != worker->last_id)
		return "answers what it was not asked";
	if (ok && (data == NULL || (more && !json_is_array(data))))
		return "does not speak this admin protocol";
	worker->asked = more;
	if (!TAILQ_EMPTY(&worker->jobs))
		loop_timer_set(worker->silence, ADMIN_WORKERS_SILENCE);
	if (job == NULL)
		return NULL;
	if (json_is_array(data) && json_array_size(data) > 0 &&
	    admin_ask_keep(job, text, len) != 0)
		job_silent(job, "has more to say than can be kept");
	else if (ok)
		take_data(job, data, more);
	else
		take_refusal(job, line);
	return NULL;
}

/* The length of the next line, or -1. */
static ssize_t
find_line(struct admin_worker *worker)
{
	size_t have = evbuffer_get_length(worker->in);
	struct evbuffer_ptr from, found;

	if (worker->searched >= have)
		return -1;
	evbuffer_ptr_set(worker->in, &from, worker->searched, EVBUFFER_PTR_SET);
	found = evbuffer_search(worker->in, "\n", 1, &from);
	if (found.pos < 0)
		worker->searched = have;
	else
		worker->searched = (size_t)found.pos;
	return found.pos;
}

/* One line, if there is one: then true. */
static bool
worker_take_line(struct admin_worker *worker)
{
	ssize_t found = find_line(worker);
	const char *why = "does not speak JSON";
	size_t len;
	char *text;
	json_t *line;

	if (found < 0)
		return false;
	len = (size_t)found;
	text = malloc(len + 1);
	if (text == NULL) {
		worker_break(worker, "out of memory for its answer");
		return false;
	}
	evbuffer_remove(worker->in, text, len);
	evbuffer_drain(worker->in, 1);
	worker->searched = 0;
	line = json_loadb(text, len, 0, NULL);
	if (json_is_object(line))
		why = take_line(worker, line, text, len);
	json_decref(line);
	free(text);
	if (why != NULL)
		worker_break(worker, why);
	return true;
}

/* --- the connection ----------------------------------------------------------- */

/* One question at a time, so that no more than that ever waits to be read by a
 * worker that hangs. */
static void
worker_send_next(struct admin_worker *worker)
{
	struct admin_job *job = TAILQ_FIRST(&worker->jobs);

	if (worker->asked || job == NULL)
		return;
	worker->asked = true;
	worker->current = job;
	if (admin_ask_write(job->ask, ++worker->last_id, worker->out) != 0)
		worker_break(worker, "out of memory for a question");
}

/* The task. */
static void
worker_turn(void *arg)
{
	struct admin_worker *worker = arg;
	size_t waits;

	if (!worker->broken && worker_take_line(worker) && !worker->broken) {
		loop_task_queue(worker->loop, &worker->task);
	} else if (worker->eof || worker->broken) {
		admin_workers_lost(worker);
		return;
	}
	if (!worker->broken)
		worker_send_next(worker);
	waits = evbuffer_get_length(worker->in);
	if (waits > ADMIN_WORKERS_LINE && find_line(worker) < 0)
		worker_break(worker, "sends a line without an end");
	if (worker->broken)
		loop_task_queue(worker->loop, &worker->task);
	else
		loop_watch_set(worker->watch,
		    !worker->eof && waits <= ADMIN_WORKERS_LINE,
		    evbuffer_get_length(worker->out) > 0);
}

static void
worker_read(struct admin_worker *worker)
{
	int n = 1;

	for (int i = 0; i < READS && n > 0; i++)
		n = evbuffer_read(worker->in, worker->fd, -1);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		worker->eof = true;
}

static void
worker_ready(int fd, bool readable, bool writable, void *arg)
{
	struct admin_worker *worker = arg;
	if (writable && evbuffer_get_length(worker->out) > 0 &&
	    evbuffer_write(worker->out, fd) < 0 && errno != EAGAIN &&
	    errno != EINTR)
		/* What it said before it went is still to be read. */
		evbuffer_drain(worker->out, evbuffer_get_length(worker->out));
	if (readable)
		worker_read(worker);
	if (worker->eof)
		loop_watch_set(worker->watch, false, false);
	loop_task_queue(worker->loop, &worker->task);
}

struct admin_worker *
admin_worker_new(struct admin_workers *workers, struct loop *loop, int fd,
    pid_t pid)
{
	struct admin_worker *worker = calloc(1, sizeof *worker);

	if (worker == NULL) {
		close(fd);
		return NULL;
	}
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	worker->workers = workers;
	worker->loop = loop;
	worker->pid = pid;
	worker->fd = fd;
	TAILQ_INIT(&worker->jobs);
	loop_task_init(&worker->task, worker_turn, worker);
	worker->in = evbuffer_new();
	worker->out = evbuffer_new();
	worker->silence = loop_timer_new(loop, worker_silent, worker);
	worker->watch = loop_watch_new(loop, fd, true, false, worker_ready,
	    worker);
	if (worker->in != NULL && worker->out != NULL &&
	    worker->silence != NULL && worker->watch != NULL)
		return worker;
	admin_worker_free(worker);
	return NULL;
}

void
admin_worker_free(struct admin_worker *worker)
{
	struct admin_job *job;

	while ((job = TAILQ_FIRST(&worker->jobs)) != NULL)
		job_end(job, ADMIN_REPLY_GONE);
	loop_task_cancel(worker->loop, &worker->task);
	loop_timer_free(worker->silence);
	loop_watch_free(worker->watch);
	if (worker->in != NULL)
		evbuffer_free(worker->in);
	if (worker->out != NULL)
		evbuffer_free(worker->out);
	close(worker->fd);
	json_decref(worker->info);
	free(worker);
}
