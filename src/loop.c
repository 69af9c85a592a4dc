/* SPDX-License-Identifier: ISC */
#include "loop_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

/* One message from another thread. */
struct loop_message {
	STAILQ_ENTRY(loop_message) entry;
	loop_fn *fn;
	void *arg;
};

struct loop_watch {
	struct loop *loop;
	struct event *event;
	int fd;
	loop_watch_fn *fn;
	void *arg;
};

struct loop_signal {
	struct event *event;
	loop_fn *fn;
	void *arg;
};

/*
 * Runs the tasks that were queued when the turn began; those that they queue
 * wait for the next turn, so that sockets are polled in between.
 */
static void
loop_run_tasks(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_task *task, *last;

	(void)fd;
	(void)what;
	last = TAILQ_LAST(&loop->tasks, loop_tasks);
	if (last == NULL)
		return;
	/* A sentinel, because a task may cancel the one that was last. */
	struct loop_task mark = { .queued = true };
	TAILQ_INSERT_AFTER(&loop->tasks, last, &mark, entry);
	while ((task = TAILQ_FIRST(&loop->tasks)) != &mark) {
		TAILQ_REMOVE(&loop->tasks, task, entry);
		task->queued = false;
		task->fn(task->arg);
	}
	TAILQ_REMOVE(&loop->tasks, &mark, entry);
	if (!TAILQ_EMPTY(&loop->tasks))
		event_add(loop->task_event, &(struct timeval){ 0, 0 });
}

/* Whoever is active already goes before: this was put behind them. */
static void
loop_run_last(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_task *task;

	(void)fd;
	(void)what;
	while ((task = TAILQ_FIRST(&loop->last)) != NULL) {
		loop_task_cancel(loop, task);
		task->fn(task->arg);
	}
}

static void
loop_run_messages(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_messages batch = STAILQ_HEAD_INITIALIZER(batch);
	struct loop_message *message;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof count) < 0)
		return; /* already drained by an earlier turn */
	pthread_mutex_lock(&loop->lock);
	STAILQ_CONCAT(&batch, &loop->messages);
	pthread_mutex_unlock(&loop->lock);
	while ((message = STAILQ_FIRST(&batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch, entry);
		message->fn(message->arg);
		free(message);
	}
}

struct loop *
loop_new(void)
{
	struct loop *loop = calloc(1, sizeof *loop);
	struct event_config *config = event_config_new();

	if (loop == NULL)
		goto fail;
	loop->wake_fd = -1;
	TAILQ_INIT(&loop->tasks);
	TAILQ_INIT(&loop->last);
	STAILQ_INIT(&loop->messages);
	pthread_mutex_init(&loop->lock, NULL);
	if (config == NULL)
		goto fail;
	/* Edge-triggered session sockets need a backend that has them. Only
	 * this thread touches the base, so it needs no locks of its own. */
	event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_O1);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	loop->base = event_base_new_with_config(config);
	loop->scratch = malloc(LOOP_SCRATCH_SIZE);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->base == NULL || loop->scratch == NULL || loop->wake_fd == -1)
		goto fail;
	loop->task_event = evtimer_new(loop->base, loop_run_tasks, loop);
	loop->last_event = event_new(loop->base, -1, 0, loop_run_last, loop);
	loop->wake_event = event_new(loop->base, loop->wake_fd,
	    EV_READ | EV_PERSIST, loop_run_messages, loop);
	if (loop->task_event == NULL || loop->last_event == NULL ||
	    loop->wake_event == NULL ||
	    event_add(loop->wake_event, NULL) != 0 ||
	    loop_reserve(loop, 1) != 0) /* task_event */
		goto fail;
	event_config_free(config);
	return loop;
fail:
	if (config != NULL)
		event_config_free(config);
	loop_free(loop);
	return NULL;
}

void
loop_free(struct loop *loop)
{
	struct loop_message *message;

	if (loop == NULL)
		return;
	if (loop->task_event != NULL)
		event_free(loop->task_event);
	if (loop->last_event != NULL)
		event_free(loop->last_event);
	if (loop->wake_event != NULL)
		event_free(loop->wake_event);
	if (loop->base != NULL)
		event_base_free(loop->base);
	if (loop->wake_fd != -1)
		close(loop->wake_fd);
	while ((message = STAILQ_FIRST(&loop->messages)) != NULL) {
		STAILQ_REMOVE_HEAD(&loop->messages, entry);
		free(message);
	}
	pthread_mutex_destroy(&loop->lock);
	free(loop->scratch);
	free(loop->bulk);
	free(loop->out);
	free(loop);
}

int
loop_run(struct loop *loop)
{
	return event_base_dispatch(loop->base) < 0 ? -1 : 0;
}

void
loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}

struct event_base *
loop_base(struct loop *loop)
{
	return loop->base;
}

double
loop_now(struct loop *loop)
{
	struct timespec now;

	/* A vDSO call costs less than keeping a cache honest. */
	(void)loop;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int64_t
loop_wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint8_t *
loop_scratch(struct loop *loop)
{
	return loop->scratch;
}

uint8_t *
loop_bulk(struct loop *loop)
{
	if (loop->bulk == NULL)
		loop->bulk = malloc(LOOP_BULK_SIZE);
	return loop->bulk;
}

uint8_t *
loop_out(struct loop *loop)
{
	if (loop->out == NULL)
		loop->out = malloc(LOOP_OUT_SIZE);
	return loop->out;
}

void
loop_task_init(struct loop_task *task, loop_fn *fn, void *arg)
{
	memset(task, 0, sizeof *task);
	task->fn = fn;
	task->arg = arg;
}

void
loop_task_queue(struct loop *loop, struct loop_task *task)
{
	if (task->queued)
		return;
	if (TAILQ_EMPTY(&loop->tasks))
		event_add(loop->task_event, &(struct timeval){ 0, 0 });
	TAILQ_INSERT_TAIL(&loop->tasks, task, entry);
	task->queued = true;
}

void
loop_task_cancel(struct loop *loop, struct loop_task *task)
{
	if (!task->queued)
		return;
	if (task->last)
		TAILQ_REMOVE(&loop->last, task, entry);
	else
		TAILQ_REMOVE(&loop->tasks, task, entry);
	task->queued = task->last = false;
}

void
loop_task_queue_last(struct loop *loop, struct loop_task *task)
{
	if (task->queued)
		return;
	if (TAILQ_EMPTY(&loop->last))
		event_active(loop->last_event, EV_TIMEOUT, 0);
	TAILQ_INSERT_TAIL(&loop->last, task, entry);
	task->queued = task->last = true;
}

static void
loop_watch_fire(evutil_socket_t fd, short what, void *arg)
{
	struct loop_watch *watch = arg;

	(void)fd;
	watch->fn(watch->fd, (what & EV_READ) != 0, (what & EV_WRITE) != 0,
	    watch->arg);
}

static short
loop_watch_events(bool read, bool write)
{
	return (short)(EV_PERSIST | (read ? EV_READ : 0) |
	    (write ? EV_WRITE : 0));
}

struct loop_watch *
loop_watch_new(struct loop *loop, int fd, bool read, bool write,
    loop_watch_fn *fn, void *arg)
{
	struct loop_watch *watch = malloc(sizeof *watch);

	if (watch == NULL)
		return NULL;
	*watch = (struct loop_watch){ .loop = loop,
		.fd = fd,
		.fn = fn,
		.arg = arg };
	watch->event = event_new(loop->base, fd, loop_watch_events(read, write),
	    loop_watch_fire, watch);
	if (watch->event == NULL)
		goto fail;
	if ((read || write) && event_add(watch->event, NULL) != 0)
		goto fail;
	return watch;
fail:
	if (watch->event != NULL)
		event_free(watch->event);
	free(watch);
	return NULL;
}

void
loop_watch_set(struct loop_watch *watch, bool read, bool write)
{
	short now = (short)(event_get_events(watch->event) &
	    (EV_READ | EV_WRITE | EV_PERSIST));

	if (now == loop_watch_events(read, write) &&
	    event_pending(watch->event, EV_READ | EV_WRITE, NULL))
		return;
	event_del(watch->event);
	event_assign(watch->event, watch->loop->base, watch->fd,
	    loop_watch_events(read, write), loop_watch_fire, watch);
	if (read || write)
		event_add(watch->event, NULL);
}

void
loop_watch_free(struct loop_watch *watch)
{
	if (watch == NULL)
		return;
	event_free(watch->event);
	free(watch);
}

static void
loop_signal_fire(evutil_socket_t fd, short what, void *arg)
{
	struct loop_signal *signal = arg;

	(void)fd;
	(void)what;
	signal->fn(signal->arg);
}

struct loop_signal *
loop_signal_new(struct loop *loop, int signo, loop_fn *fn, void *arg)
{
	struct loop_signal *signal = malloc(sizeof *signal);

	if (signal == NULL)
		return NULL;
	signal->fn = fn;
	signal->arg = arg;
	signal->event = evsignal_new(loop->base, signo, loop_signal_fire,
	    signal);
	if (signal->event == NULL || event_add(signal->event, NULL) != 0) {
		if (signal->event != NULL)
			event_free(signal->event);
		free(signal);
		return NULL;
	}
	return signal;
}

void
loop_signal_free(struct loop_signal *signal)
{
	if (signal == NULL)
		return;
	event_free(signal->event);
	free(signal);
}

int
loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
	struct loop_message *message = malloc(sizeof *message);
	uint64_t one = 1;
	bool first;

	if (message == NULL)
		return -1;
	message->fn = fn;
	message->arg = arg;
	pthread_mutex_lock(&loop->lock);
	first = STAILQ_EMPTY(&loop->messages);
	STAILQ_INSERT_TAIL(&loop->messages, message, entry);
	pthread_mutex_unlock(&loop->lock);
	/* An eventfd can only be full if a wake-up is pending anyway. */
	if (first && write(loop->wake_fd, &one, sizeof one) < 0)
		return 0;
	return 0;
}
