/* SPDX-License-Identifier: ISC */
/*
 * notify: what a service manager hears of the daemon (sd_notify(3)): that it
 * is ready, reloads, stops; a line of STATUS, when it changes and at most once
 * a second; and, where it asked for one, a sign of life at half the time that
 * it waits for it. The signs come from the loop: one that hangs sends none.
 *
 * Knows nothing of peers and sessions: the text of STATUS is asked for. Where
 * nobody listens it does nothing, and no timer runs.  Floor 2.
 */
#ifndef TUNNELD_NOTIFY_H
#define TUNNELD_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

#include "loop.h"

#define NOTIFY_STATUS_SIZE 200

/* text is one message, as in sd_notify(3). Must not wait, nor fail loudly. */
typedef void notify_send_fn(const char *text, void *arg);
/* Writes one line, without newline; control characters become '?'. */
typedef void notify_status_fn(char *buf, size_t size, void *arg);

struct notify_options {
	/* NULL: to $NOTIFY_SOCKET, if that is set. */
	notify_send_fn *send;
	void *send_arg;
	notify_status_fn *status; /* NULL: none */
	void *status_arg;
	int64_t watchdog_us; /* a sign of life is awaited so often; 0: not */
};

struct notify;

/* NULL out of memory. Says nothing yet. */
struct notify *notify_new(struct loop *loop,
    const struct notify_options *options);
void notify_free(struct notify *notify);

/* From the first of these on STATUS and signs of life follow. NULL is ignored
 * in all of them. */
void notify_ready(struct notify *notify);
/* With the time, as Type=notify-reload wants it; notify_ready ends it. */
void notify_reloading(struct notify *notify);
/* Nothing follows. */
void notify_stopping(struct notify *notify);

/*
 * What $WATCHDOG_USEC asks of this process: 0 if it is not there, no number
 * that can be, or meant for another ($WATCHDOG_PID).
 */
int64_t notify_watchdog_us(void);

#endif
