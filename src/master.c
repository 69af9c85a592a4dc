/* SPDX-License-Identifier: ISC */
#include "master_internal.h"

#include <sys/random.h>
#include <sys/signalfd.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "log.h"

/* Seconds. */
#define MASTER_READY 30.0 /* a successor must be ready by then */
#define MASTER_LEAVE 3.0  /* and who it replaces must have left */
#define MASTER_STOP 20.0  /* told to stop, a worker is killed then */
#define MASTER_ABORT 5.0  /* SIGABRT ends a worker that hangs by then */
#define MASTER_ALIVE 5.0  /* between two signs of life */
#define MASTER_HUNG 60.0  /* silence for so long is none */

#define MASTER_POLL_MAX 64 /* workers are fewer */

/* --- time ------------------------------------------------------------------------- */

static void
master_init_watchdog(struct master *master)
{
	uint64_t usec = 0;

	master->alive = MASTER_ALIVE;
	master->hung = MASTER_HUNG;
	if (sd_watchdog_enabled(1, &usec) <= 0)
		return;
	master->feed_every = (double)usec / 3e6;
	/* A worker that hangs is this process's to end: the service manager
	 * would end those that drain with it. */
	if (master->hung > master->feed_every * 2)
		master->hung = master->feed_every * 2;
	if (master->alive > master->hung / 6)
		master->alive = master->hung / 6;
}

/* --- signals ---------------------------------------------------------------------- */

static void
master_signal_all(struct master *master, int signo)
{
	struct worker *worker;

	TAILQ_FOREACH(worker, &master->workers, entry)
		(void)kill(worker->pid, signo);
}

static void
master_stop(struct master *master)
{
	if (!master->stopping)
		sd_notify(0, "STOPPING=1");
	master->stopping = true;
	master->restart_at = 0;
	master->stop_at = master_now() + MASTER_STOP;
	master_signal_all(master, SIGTERM);
}

static void
master_hangup(struct master *master)
{
	struct worker *current = master->current;

	if (current == NULL || master->stopping)
		return;
	if (worker_is_outdated(current, master->binary))
		/* It asks for it then, and lets nothing be changed meanwhile. */
		(void)handover_say(current->handover, HANDOVER_UPGRADE, NULL);
	else
		(void)kill(current->pid, SIGHUP);
}

static void
master_signals(struct master *master)
{
	struct signalfd_siginfo info;

	while (read(master->signals, &info, sizeof info) ==
	    (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD)
			master_bury(master);
		else if (info.ssi_signo == SIGHUP)
			master_hangup(master);
		else
			master_stop(master);
	}
}

static void
master_kill(struct worker *worker, int signo, const char *why)
{
	if (worker->aborted)
		return;
	worker->aborted = true;
	log_error("worker %d %s: it is killed", (int)worker->pid, why);
	(void)kill(worker->pid, signo);
}

static void
master_check(struct master *master, double now)
{
	struct worker *current = master->current;
	struct worker *successor = master->successor;

	if (master->restart_at != 0 && now >= master->restart_at)
		master_restart(master);
	if (successor != NULL && successor->state == WORKER_STARTING &&
	    successor->why != HANDOVER_FIRST &&
	    now - successor->since > MASTER_READY) {
		snprintf(successor->error, sizeof successor->error,
		    "the new worker was not ready within %.0f s", MASTER_READY);
		master_kill(successor, SIGKILL, "was not ready in time");
	}
	if (current != NULL && current->state == WORKER_LEAVING &&
	    now - current->since > MASTER_LEAVE && successor != NULL) {
		log_warning("worker %d does not leave", (int)current->pid);
		master_left(master);
	}
	if (current != NULL && current->state == WORKER_SERVING &&
	    now - current->alive_at > master->hung) {
		master_kill(current, SIGABRT, "hangs");
		/* One that is stopped, or dumps its core for ever. */
		if (now - current->alive_at > master->hung + MASTER_ABORT)
			(void)kill(current->pid, SIGKILL);
	}
	if (master->stopping && now > master->stop_at) {
		master->stop_at = now + MASTER_STOP;
		master_signal_all(master, SIGKILL);
	}
	if (master->feed_every > 0 && now >= master->feed_at) {
		sd_notify(0, "WATCHDOG=1");
		master->feed_at = now + master->feed_every;
	}
}

/* Milliseconds until something may be due: coarse, for what waits for longer
 * than a moment. */
static int
master_patience(const struct master *master, double now)
{
	double left = 1.0;

	if (master->restart_at != 0 && master->restart_at - now < left)
		left = master->restart_at - now;
	if (master->feed_every > 0 && master->feed_at - now < left)
		left = master->feed_at - now;
	return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

/* --- life -------------------------------------------------------------------------- */

static void
master_turn(struct master *master)
{
	struct pollfd fds[MASTER_POLL_MAX];
	struct worker *polled[MASTER_POLL_MAX];
	struct worker *worker;
	nfds_t i, n = 0;

	TAILQ_FOREACH(worker, &master->workers, entry) {
		if (worker->gone || n + 1 >= MASTER_POLL_MAX)
			continue;
		polled[n] = worker;
		fds[n].fd = handover_fd(worker->handover);
		fds[n].events = POLLIN;
		if (handover_is_pending(worker->handover))
			fds[n].events |= POLLOUT;
		n++;
	}
	fds[n].fd = master->signals;
	fds[n].events = POLLIN;
	if (poll(fds, n + 1, master_patience(master, master_now())) < 0)
		return;
	/* What one said before it died comes before its death. */
	for (i = 0; i < n; i++) {
		if (fds[i].revents & POLLOUT)
			(void)handover_flush(polled[i]->handover);
		if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
			master_read(master, polled[i]);
	}
	if (fds[n].revents & POLLIN)
		master_signals(master);
	master_check(master, master_now());
}

/* The way to the binary as it was named: a link that is turned leads to
 * another one. */
static char *
master_find_binary(const char *name)
{
	char path[PATH_MAX];
	ssize_t len;

	if (name[0] == '/')
		return strdup(name);
	if (strchr(name, '/') != NULL && getcwd(path, sizeof path) != NULL) {
		char *whole;

		return asprintf(&whole, "%s/%s", path, name) == -1 ? NULL :
								     whole;
	}
	len = readlink("/proc/self/exe", path, sizeof path - 1);
	if (len <= 0)
		return NULL;
	path[len] = '\0';
	return strdup(path);
}

static int
master_init(struct master *master, char **argv)
{
	sigset_t set;

	memset(master, 0, sizeof *master);
	TAILQ_INIT(&master->workers);
	master->argv = argv;
	master->signals = -1;
	master->binary = master_find_binary(argv[0]);
	if (master->binary == NULL) {
		log_error("cannot find the way to this program");
		return -1;
	}
	if (getrandom(master->instance, sizeof master->instance, 0) !=
	    (ssize_t)sizeof master->instance) {
		log_error("no random bytes: %s", strerror(errno));
		return -1;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 ||
	    (master->signals = signalfd(-1, &set,
		 SFD_CLOEXEC | SFD_NONBLOCK)) == -1) {
		log_error("signals: %s", strerror(errno));
		return -1;
	}
	master_store_init(&master->store, &master->orphans);
	master_init_watchdog(master);
	return 0;
}

int
master_run(char **argv)
{
	struct master master;
	struct worker *worker;

	if (master_init(&master, argv) != 0)
		return 1;
	master.status = 1; /* until one serves */
	master.successor = master_start_worker(&master, HANDOVER_FIRST);
	master.done = master.successor == NULL;
	while (!master.done &&
	    !(master.stopping && TAILQ_EMPTY(&master.workers)))
		master_turn(&master);
	while ((worker = TAILQ_FIRST(&master.workers)) != NULL) {
		TAILQ_REMOVE(&master.workers, worker, entry);
		(void)kill(worker->pid, SIGKILL);
		worker_free(worker);
	}
	master_set_clear(&master.orphans);
	master_store_free(&master.store);
	close(master.signals);
	free(master.binary);
	return master.status;
}
