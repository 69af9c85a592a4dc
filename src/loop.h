/* SPDX-License-Identifier: ISC */
/*
 * loop: one event loop, the clock, timers, tasks, and messages from other
 * threads. Everything of one peer hangs from one loop, so that there may be
 * more of them one day.
 *
 * libevent's names stop here and in stream, net and admin: other modules see
 * only what stands below. Nothing here calls back before it returns.
 * Floor 2.
 */
#ifndef TUNNELD_LOOP_H
#define TUNNELD_LOOP_H

#include <sys/queue.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct loop;

/* NULL if libevent or memory fails. Free it last: no timer may be left. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Runs until loop_stop(). 0, or -1 if the loop itself failed. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* For the few files that hold raw events. */
struct event_base *loop_base(struct loop *loop);

/* Monotonic seconds; and the time of day in microseconds since the epoch. */
double loop_now(struct loop *loop);
int64_t loop_wall_us(void);

/* A scratch buffer for use within one callback, never across. */
#define LOOP_SCRATCH_SIZE 65536
uint8_t *loop_scratch(struct loop *loop);
/* A larger one, for lanes that lend what they have read. NULL: memory. */
#define LOOP_BULK_SIZE (256 * 1024)
uint8_t *loop_bulk(struct loop *loop);
/* One for what is written, made of what stands in those. NULL: memory. */
#define LOOP_OUT_SIZE (136 * 1024)
uint8_t *loop_out(struct loop *loop);

/*
 * Timers. Opaque, one shot; NULL without memory, and nothing more is needed
 * to set it; setting one that is set moves it. Freeing cancels. NULL is ignored by cancel and free. Seconds may be fractions;
 * negative counts as 0.
 */
typedef void loop_fn(void *arg);
struct loop_timer;
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_free(struct loop_timer *timer);
void loop_timer_set(struct loop_timer *timer, double seconds);
void loop_timer_cancel(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

/*
 * Tasks: run once, at the next turn of the loop, after it has polled: the
 * ready queue of relays whose budget ran out, and the end of the turn at which
 * objects are freed. Embedded by value in what they belong to; queueing a
 * queued one does nothing. A task must be cancelled before its memory goes.
 */
struct loop_task {
	TAILQ_ENTRY(loop_task) entry;
	loop_fn *fn;
	void *arg;
	bool queued, last;
};
void loop_task_init(struct loop_task *task, loop_fn *fn, void *arg);
void loop_task_queue(struct loop *loop, struct loop_task *task);
/* At the end of this turn instead, before the loop polls again: for what is
 * gathered in a turn. Such a task must not queue itself so. */
void loop_task_queue_last(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop *loop, struct loop_task *task);

/* A descriptor to watch, level-triggered; not for session sockets, which
 * stream watches itself. Cancel (free) before closing the descriptor. */
struct loop_watch;
typedef void loop_watch_fn(int fd, bool readable, bool writable, void *arg);
struct loop_watch *loop_watch_new(struct loop *loop, int fd, bool read,
    bool write, loop_watch_fn *fn, void *arg);
void loop_watch_set(struct loop_watch *watch, bool read, bool write);
void loop_watch_free(struct loop_watch *watch);

/* A UNIX signal as a callback on this loop. */
struct loop_signal;
struct loop_signal *loop_signal_new(struct loop *loop, int signo, loop_fn *fn,
    void *arg);
void loop_signal_free(struct loop_signal *signal);

/*
 * From any thread: fn(arg) will run on the loop's thread, in the order
 * posted. 0, or -1 out of memory. What is still posted when the loop is freed
 * is dropped: arg must be reachable otherwise.
 */
int loop_post(struct loop *loop, loop_fn *fn, void *arg);

#endif
