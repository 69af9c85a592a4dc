/* SPDX-License-Identifier: ISC */
/* What src/loop.c and src/loop_timer.c share. Floor 2. */
#ifndef TUNNELD_LOOP_INTERNAL_H
#define TUNNELD_LOOP_INTERNAL_H

#include "loop.h"

#include <pthread.h>

struct event;
struct loop_message;

TAILQ_HEAD(loop_tasks, loop_task);
STAILQ_HEAD(loop_messages, loop_message);

struct loop {
	struct event_base *base;
	struct loop_tasks tasks;
	struct event *task_event; /* a timer of zero: fires after the poll */
	struct loop_tasks last;	  /* for the end of this turn */
	struct event *last_event; /* activated behind what is active */
	uint8_t *bulk;
	uint8_t *out;
	int wake_fd; /* eventfd, written by loop_post */
	struct event *wake_event;
	pthread_mutex_t lock; /* guards messages */
	struct loop_messages messages;
	uint8_t *scratch;
	size_t n_timers, reserved; /* that there are, and may be set */
};

/* Room for so many timers that are set at a time, the loop's own one included:
 * 0, or -1 without memory. */
int loop_reserve(struct loop *loop, size_t n);

#endif
