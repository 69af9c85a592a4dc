/* SPDX-License-Identifier: ISC */
#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#define NOTIFY_STATUS_PAUSE 1.0 /* seconds between two of them */
/* How long a message that must not be lost waits for room, in ms. */
#define NOTIFY_PATIENCE 200
/* More often would be a load of its own. */
#define NOTIFY_WATCHDOG_MIN 0.01

struct notify {
	struct loop *loop;
	struct notify_options options;
	struct loop_timer *status;
	struct loop_timer *watchdog;
	double feed; /* seconds between two signs of life */
	char last[NOTIFY_STATUS_SIZE];
};

/* --- to $NOTIFY_SOCKET ------------------------------------------------------ */

/*
 * The socket of the service manager, non-blocking: it may be slow, and the
 * loop does not wait for it, as sd_notify(3) would. -1: there is none.
 */
static int
notify_open(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || len < 2 ||
	    len > sizeof sun.sun_path)
		return -1;
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@') /* an abstract one */
		sun.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return -1;
	if (connect(fd, (struct sockaddr *)&sun,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
notify_write(const char *text, bool matters)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct pollfd room = { .events = POLLOUT };

	if (path == NULL || (room.fd = notify_open(path)) == -1)
		return;
	if (send(room.fd, text, strlen(text), MSG_NOSIGNAL) == -1 &&
	    errno == EAGAIN && matters &&
	    poll(&room, 1, NOTIFY_PATIENCE) == 1 &&
	    send(room.fd, text, strlen(text), MSG_NOSIGNAL) == -1)
		(void)errno; /* nobody is left to be told */
	close(room.fd);
}

static bool
notify_is_heard(const struct notify *notify)
{
	return notify->options.send != NULL || getenv("NOTIFY_SOCKET") != NULL;
}

static void
notify_send(const struct notify *notify, const char *text, bool matters)
{
	if (notify->options.send != NULL)
		notify->options.send(text, notify->options.send_arg);
	else
		notify_write(text, matters);
}

int64_t
notify_watchdog_us(void)
{
	uint64_t us;

	if (sd_watchdog_enabled(0, &us) <= 0 || us > INT64_MAX)
		return 0;
	return (int64_t)us;
}

/* --- STATUS and signs of life ------------------------------------------------ */

/* Whether it is another one than was told last; text is empty if not. */
static bool
notify_take_status(struct notify *notify, char text[NOTIFY_STATUS_SIZE])
{
	char *p;

	text[0] = '\0';
	if (notify->options.status == NULL)
		return false;
	notify->options.status(text, NOTIFY_STATUS_SIZE,
	    notify->options.status_arg);
	/* A newline would begin another assignment. */
	for (p = text; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	if (strcmp(text, notify->last) == 0)
		return false;
	memcpy(notify->last, text, sizeof notify->last);
	return true;
}

static void
notify_status_due(void *arg)
{
	struct notify *notify = arg;
	char status[NOTIFY_STATUS_SIZE], text[NOTIFY_STATUS_SIZE + 8];

	loop_timer_set(notify->status, NOTIFY_STATUS_PAUSE);
	if (!notify_take_status(notify, status))
		return;
	snprintf(text, sizeof text, "STATUS=%s", status);
	notify_send(notify, text, false);
}

static void
notify_watchdog_due(void *arg)
{
	struct notify *notify = arg;

	loop_timer_set(notify->watchdog, notify->feed);
	notify_send(notify, "WATCHDOG=1", false);
}

static void
notify_start_timers(struct notify *notify)
{
	if (!notify_is_heard(notify))
		return;
	if (notify->options.status != NULL)
		loop_timer_set(notify->status, NOTIFY_STATUS_PAUSE);
	if (notify->feed > 0 && !loop_timer_is_set(notify->watchdog))
		loop_timer_set(notify->watchdog, notify->feed);
}

/* --- states -------------------------------------------------------------------- */

struct notify *
notify_new(struct loop *loop, const struct notify_options *options)
{
	struct notify *notify = calloc(1, sizeof *notify);

	if (notify == NULL)
		return NULL;
	notify->loop = loop;
	notify->options = *options;
	if (options->watchdog_us > 0) {
		notify->feed = (double)options->watchdog_us / 2e6;
		if (notify->feed < NOTIFY_WATCHDOG_MIN)
			notify->feed = NOTIFY_WATCHDOG_MIN;
	}
	notify->status = loop_timer_new(loop, notify_status_due, notify);
	notify->watchdog = loop_timer_new(loop, notify_watchdog_due, notify);
	if (notify->status != NULL && notify->watchdog != NULL)
		return notify;
	notify_free(notify);
	return NULL;
}

void
notify_free(struct notify *notify)
{
	if (notify == NULL)
		return;
	loop_timer_free(notify->status);
	loop_timer_free(notify->watchdog);
	free(notify);
}

void
notify_ready(struct notify *notify)
{
	char status[NOTIFY_STATUS_SIZE], text[NOTIFY_STATUS_SIZE + 32];

	if (notify == NULL)
		return;
	if (notify_take_status(notify, status))
		snprintf(text, sizeof text, "READY=1\nSTATUS=%s", status);
	else
		snprintf(text, sizeof text, "READY=1");
	notify_send(notify, text, true);
	notify_start_timers(notify);
}

void
notify_reloading(struct notify *notify)
{
	struct timespec now;
	char text[80];

	if (notify == NULL)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	notify_send(notify, text, true);
}

void
notify_stopping(struct notify *notify)
{
	if (notify == NULL)
		return;
	loop_timer_cancel(notify->status);
	loop_timer_cancel(notify->watchdog);
	notify_send(notify, "STOPPING=1\nSTATUS=stopping", true);
}
