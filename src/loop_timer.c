/* SPDX-License-Identifier: ISC */
#include "loop_internal.h"

#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

struct loop_timer {
	struct loop *loop;
	struct event *event;
	loop_fn *fn;
	void *arg;
};

static void
loop_fill_fire(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* libevent's array of the timers that are set grows as they are, and does not
 * shrink. It is made large enough here, where it may fail: to set a timer, and
 * to queue a task, needs no memory. */
int
loop_reserve(struct loop *loop, size_t n)
{
	size_t i, want = loop->reserved == 0 ? 64 : loop->reserved * 2;
	struct event *fill;
	int status = 0;

	if (n <= loop->reserved)
		return 0;
	fill = calloc(want, sizeof *fill);
	if (fill == NULL)
		return -1;
	for (i = 0; i < want && status == 0; i++) {
		evtimer_assign(&fill[i], loop->base, loop_fill_fire, NULL);
		status = event_add(&fill[i], &(struct timeval){ 3600, 0 });
	}
	while (i-- > 0)
		event_del(&fill[i]);
	free(fill);
	if (status == 0)
		loop->reserved = want;
	return status;
}

static void
loop_timer_fire(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *timer = arg;

	(void)fd;
	(void)what;
	timer->fn(timer->arg);
}

struct loop_timer *
loop_timer_new(struct loop *loop, loop_fn *fn, void *arg)
{
	struct loop_timer *timer = malloc(sizeof *timer);

	if (timer == NULL)
		return NULL;
	timer->loop = loop;
	timer->fn = fn;
	timer->arg = arg;
	timer->event = evtimer_new(loop->base, loop_timer_fire, timer);
	if (timer->event == NULL ||
	    loop_reserve(loop, loop->n_timers + 2) != 0) {
		if (timer->event != NULL)
			event_free(timer->event);
		free(timer);
		return NULL;
	}
	loop->n_timers++;
	return timer;
}

void
loop_timer_free(struct loop_timer *timer)
{
	if (timer == NULL)
		return;
	event_free(timer->event);
	timer->loop->n_timers--;
	free(timer);
}

void
loop_timer_set(struct loop_timer *timer, double seconds)
{
	struct timeval tv;

	if (!(seconds > 0))
		seconds = 0;
	if (seconds > 1e9)
		seconds = 1e9;
	tv.tv_sec = (time_t)seconds;
	tv.tv_usec = (suseconds_t)((seconds - (double)tv.tv_sec) * 1e6);
	event_add(timer->event, &tv);
}

void
loop_timer_cancel(struct loop_timer *timer)
{
	if (timer != NULL)
		event_del(timer->event);
}

bool
loop_timer_is_set(const struct loop_timer *timer)
{
	return event_pending(timer->event, EV_TIMEOUT, NULL) != 0;
}
