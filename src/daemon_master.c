/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <sys/prctl.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seconds. */
#define MASTER_BEGIN 10.0    /* what a worker is given comes by then */
#define MASTER_RELEASE 0.5   /* and the answer of a busy master */
#define MASTER_ANSWER 60.0   /* an upgrade has ended somehow */
#define MASTER_ORPHAN 2.0    /* where the kernel did not kill it */
#define MASTER_ALIVE_MIN 0.1 /* between two signs of life */

/* --- what a worker is given --------------------------------------------------- */

static void
start_take(struct daemon_start *start, const struct handover_message *message)
{
	if (message->fd == -1)
		return;
	if (strcmp(message->body, DAEMON_LOCK_WHO) != 0)
		net_inherited_add(start->inherited, message->fd, message->body);
	else if (start->lock_fd == -1)
		start->lock_fd = message->fd;
	else
		close(message->fd);
}

int
daemon_start_receive(struct daemon_start *start, int fd)
{
	struct handover_message message;
	enum handover_status status = HANDOVER_OK;
	bool begun = false;

	start->lock_fd = -1;
	start->master = handover_new(fd);
	start->inherited = net_inherited_new();
	while (start->master != NULL && start->inherited != NULL) {
		status = handover_await(start->master, &message, MASTER_BEGIN);
		if (status != HANDOVER_OK)
			break;
		if (message.type == HANDOVER_START &&
		    message.len >= sizeof start->given) {
			memcpy(&start->given, message.body,
			    sizeof start->given);
			begun = true;
		} else if (message.type == HANDOVER_LISTENER) {
			start_take(start, &message);
		} else if (message.type == HANDOVER_BEGIN && begun) {
			return 0;
		}
	}
	log_error("the master said nothing of use: a worker is started by its "
		  "master alone");
	return -1;
}

/* Sending what could not be sent at once. */
static void
master_set_watch(struct daemon *daemon)
{
	if (daemon->master_watch != NULL)
		loop_watch_set(daemon->master_watch, true,
		    handover_is_pending(daemon->master));
}

int
daemon_tell_master(struct daemon *daemon,
    const struct handover_message *message)
{
	int result = handover_send(daemon->master, message);

	master_set_watch(daemon);
	return result;
}

/* --- the master speaks ------------------------------------------------------------ */

static void
master_message(struct daemon *daemon, const struct handover_message *message)
{
	const char *text = message->body;
	int fd = message->fd;

	switch (message->type) {
	case HANDOVER_GO:
		if (daemon->is_ready && !daemon->serving)
			daemon_go(daemon);
		break;
	case HANDOVER_KEPT_ALL:
		if (daemon->unanswered > 0)
			daemon->unanswered--;
		break;
	case HANDOVER_UPGRADE:
		/* SIGHUP, and there is another binary. */
		daemon_upgrade(NULL, NULL, daemon);
		break;
	case HANDOVER_REFUSED:
		daemon_upgraded(daemon, text, 0, NULL);
		break;
	case HANDOVER_HEIR:
		daemon_set_heir(daemon, fd);
		return;
	case HANDOVER_OLDER:
		daemon_add_older(daemon, fd);
		return;
	case HANDOVER_GUEST:
		if (fd != -1 && admin_adopt(daemon->admin, fd) != 0)
			log_error("out of memory: the worker that serves "
				  "cannot ask this one");
		return;
	case HANDOVER_ELDER:
		if (fd != -1 &&
		    admin_workers_add(daemon->workers, fd,
			(pid_t)message->number) != 0)
			log_error("out of memory: worker %d cannot be asked",
			    (int)message->number);
		return;
	case HANDOVER_DRAIN:
		daemon_drain(daemon, (pid_t)message->number, text);
		break;
	case HANDOVER_END:
		daemon_end_sessions(daemon);
		break;
	default:
		break;
	}
	if (fd != -1)
		close(fd);
}

/* Not for long: it is a moment of a reload or a start, and the master does
 * little else than to answer. */
void
daemon_await_kept(struct daemon *daemon)
{
	struct handover_message message;

	while (daemon->unanswered > 0) {
		if (handover_await(daemon->master, &message, MASTER_RELEASE) !=
		    HANDOVER_OK) {
			log_warning("the master does not answer");
			return;
		}
		master_message(daemon, &message);
	}
}

/* This process is killed with its master, at about this time. */
static void
master_gone(struct daemon *daemon)
{
	log_error("the master is gone");
	loop_watch_free(daemon->master_watch);
	daemon->master_watch = NULL;
	daemon->orphaned = true;
	loop_timer_set(daemon->alive, MASTER_ORPHAN);
}

static void
master_ready(int fd, bool readable, bool writable, void *arg)
{
	struct daemon *daemon = arg;
	struct handover_message message;
	enum handover_status status = HANDOVER_AGAIN;

	(void)fd;
	(void)readable;
	(void)writable;
	if (handover_flush(daemon->master) == -1) {
		master_gone(daemon);
		return;
	}
	while (daemon->master_watch != NULL &&
	    (status = handover_receive(daemon->master, &message)) ==
		HANDOVER_OK)
		master_message(daemon, &message);
	if (status == HANDOVER_GONE)
		master_gone(daemon);
	else
		master_set_watch(daemon);
}

/* Also looks whether a listener that was lost listens again. */
static void
master_alive(void *arg)
{
	struct daemon *daemon = arg;
	double every = (double)daemon->given.alive_ms / 1000;

	if (daemon->orphaned) {
		loop_stop(daemon->loop);
		return;
	}
	(void)handover_say(daemon->master, HANDOVER_ALIVE, NULL);
	if (daemon->serving)
		daemon_keep(daemon, false);
	master_set_watch(daemon);
	loop_timer_set(daemon->alive,
	    every < MASTER_ALIVE_MIN ? MASTER_ALIVE_MIN : every);
}

int
daemon_meet_master(struct daemon *daemon)
{
	daemon->ready = loop_timer_new(daemon->loop, daemon_ready, daemon);
	if (daemon->ready == NULL)
		return -1;
	if (daemon->master == NULL)
		return 0;
	(void)stat("/proc/self/exe", &daemon->binary);
	daemon->master_watch = loop_watch_new(daemon->loop,
	    handover_fd(daemon->master), true, false, master_ready, daemon);
	daemon->alive = loop_timer_new(daemon->loop, master_alive, daemon);
	return daemon->master_watch == NULL || daemon->alive == NULL ? -1 : 0;
}

void
daemon_leave_master(struct daemon *daemon)
{
	loop_watch_free(daemon->master_watch);
	loop_timer_free(daemon->alive);
	loop_timer_free(daemon->ready);
	loop_timer_free(daemon->upgrade);
	handover_free(daemon->master);
	net_inherited_free(daemon->inherited);
	if (daemon->lock_fd != -1)
		close(daemon->lock_fd);
}

int
daemon_stay_with_master(const struct daemon *daemon)
{
	if (daemon->master == NULL)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
	    getppid() == (pid_t)daemon->given.master)
		return 0;
	log_error("the master is gone");
	return -1;
}

/* --- ready ------------------------------------------------------------------------- */

void
daemon_ready(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->is_ready)
		return;
	daemon->is_ready = true;
	loop_timer_cancel(daemon->ready);
	if (daemon->master == NULL) {
		daemon_go(daemon);
		return;
	}
	daemon_keep(daemon, false);
	(void)handover_say(daemon->master, HANDOVER_READY, daemon->version);
	master_alive(daemon);
}

void
daemon_tell_manager(const char *text, void *arg)
{
	struct daemon *daemon = arg;

	(void)handover_say(daemon->master, HANDOVER_NOTIFY, text);
	master_set_watch(daemon);
}

/* --- an upgrade ---------------------------------------------------------------------- */

bool
daemon_is_replaced(void *arg)
{
	const struct daemon *daemon = arg;
	struct stat st;

	return daemon->master != NULL && stat(daemon->given.path, &st) == 0 &&
	    (st.st_dev != daemon->binary.st_dev ||
		st.st_ino != daemon->binary.st_ino);
}

static void
upgrade_timed_out(void *arg)
{
	daemon_upgraded(arg, "the master does not answer", 0, NULL);
}

void
daemon_upgrade(admin_upgraded_fn *done, void *done_arg, void *arg)
{
	struct daemon *daemon = arg;
	struct admin_upgraded outcome = { .why = NULL };

	if (daemon->upgrade == NULL)
		daemon->upgrade = loop_timer_new(daemon->loop,
		    upgrade_timed_out, daemon);
	if (daemon->master == NULL)
		outcome.why = "there is no master: tunneld was started with "
			      "--no-master";
	else if (daemon->draining)
		outcome.why = "this worker is draining";
	else if (daemon->upgrading)
		outcome.why = "an upgrade is under way";
	else if (!daemon->serving || daemon->upgrade == NULL ||
	    handover_say(daemon->master, HANDOVER_UPGRADE, NULL) != 0)
		outcome.why = "the master takes nothing";
	if (outcome.why != NULL) {
		if (done != NULL)
			done(&outcome, done_arg);
		return;
	}
	daemon->upgrading = daemon->admin_context.upgrading = true;
	daemon->upgraded = done;
	daemon->upgraded_arg = done_arg;
	loop_timer_set(daemon->upgrade, MASTER_ANSWER);
	master_set_watch(daemon);
}

void
daemon_upgraded(struct daemon *daemon, const char *why, pid_t pid,
    const char *version)
{
	struct admin_upgraded outcome = {
		.ok = why == NULL,
		.why = why,
		.pid = pid,
		.version = version,
		.old_pid = getpid(),
		.sessions = daemon->tunnels->n_sessions,
	};
	admin_upgraded_fn *done = daemon->upgraded;

	loop_timer_cancel(daemon->upgrade);
	daemon->upgrading = daemon->admin_context.upgrading = false;
	daemon->upgraded = NULL;
	if (done != NULL)
		done(&outcome, daemon->upgraded_arg);
	if (why != NULL && daemon->hung_up) {
		daemon->hung_up = false;
		daemon_hangup(daemon);
	}
}
