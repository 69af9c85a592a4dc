/* SPDX-License-Identifier: ISC */
#include "master_internal.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

/* As it is seen in a list of processes. */
static char worker_name[] = "tunneld: worker";

double
master_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- start ------------------------------------------------------------------ */

/* In the new process, until it is another program. */
static _Noreturn void
worker_exec(const struct worker_start *start, int fd, pid_t master)
{
	char number[16], text[HANDOVER_TEXT_MAX];
	char **argv = start->argv;
	struct handover *handover;
	sigset_t none;

	/* It cannot outlive its master, whatever becomes of that. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != master)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(number, sizeof number, "%d", fd);
	if (fcntl(fd, F_SETFD, 0) == -1 ||
	    setenv(MASTER_VARIABLE, number, 1) == -1)
		_exit(127);
	unsetenv("NOTIFY_SOCKET");
	argv[0] = worker_name;
	execv(start->binary, argv);
	snprintf(text, sizeof text, "cannot execute %s: %s", start->binary,
	    strerror(errno));
	log_error("%s", text);
	handover = handover_new(fd);
	if (handover != NULL)
		(void)handover_say(handover, HANDOVER_FAILED, text);
	_exit(127);
}

static int
worker_tell(struct worker *worker, const struct worker_start *start)
{
	struct handover_message message = {
		.type = HANDOVER_START,
		.body = &start->message,
		.len = sizeof start->message,
		.fd = -1,
	};
	const struct master_kept *kept;
	size_t i;

	if (handover_send(worker->handover, &message) != 0)
		return -1;
	for (i = 0; i < start->listeners->n; i++) {
		kept = &start->listeners->list[i];
		message = (struct handover_message){
			.type = HANDOVER_LISTENER,
			.body = kept->who,
			.len = strlen(kept->who),
			.fd = kept->fd,
		};
		if (handover_send(worker->handover, &message) != 0)
			return -1;
	}
	return handover_say(worker->handover, HANDOVER_BEGIN, NULL);
}

struct worker *
worker_start(const struct worker_start *start, double now)
{
	struct worker *worker = calloc(1, sizeof *worker);
	pid_t master = getpid();
	int fds[2];

	if (worker == NULL || handover_pair(fds) != 0) {
		log_error("cannot start a worker: %s", strerror(errno));
		free(worker);
		return NULL;
	}
	worker->handover = handover_new(fds[0]);
	(void)stat(start->binary, &worker->binary);
	worker->pid = worker->handover == NULL ? -1 : fork();
	if (worker->pid == 0)
		worker_exec(start, fds[1], master);
	close(fds[1]);
	if (worker->pid == -1) {
		log_error("cannot start a worker: %s", strerror(errno));
		worker_free(worker);
		return NULL;
	}
	worker->generation = start->message.generation;
	worker->why = (enum handover_why)start->message.why;
	worker->since = worker->alive_at = now;
	/* If this fails it dies, and that is seen. */
	if (worker_tell(worker, start) != 0)
		log_warning("worker %d takes nothing", (int)worker->pid);
	log_info("worker %d started", (int)worker->pid);
	return worker;
}

void
worker_free(struct worker *worker)
{
	if (worker == NULL)
		return;
	handover_free(worker->handover);
	master_set_clear(&worker->kept);
	master_set_clear(&worker->keeping);
	free(worker);
}

/* --- what there is to know of one ------------------------------------------- */

void
worker_set_state(struct worker *worker, enum worker_state state)
{
	worker->state = state;
	worker->since = master_now();
}

bool
worker_is_outdated(const struct worker *worker, const char *binary)
{
	const struct stat *was = &worker->binary;
	struct stat st;

	return stat(binary, &st) == 0 &&
	    (st.st_dev != was->st_dev || st.st_ino != was->st_ino ||
		st.st_size != was->st_size ||
		st.st_mtim.tv_sec != was->st_mtim.tv_sec ||
		st.st_mtim.tv_nsec != was->st_mtim.tv_nsec);
}

bool
worker_keep(struct worker *worker, struct handover_message *message)
{
	if (message->type == HANDOVER_KEEP) {
		if (message->fd == -1)
			return false;
		if (master_set_add(&worker->keeping, message->fd,
			message->body) != 0)
			log_error("out of memory: a socket is not kept");
		message->fd = -1;
		return false;
	}
	master_set_move(&worker->kept, &worker->keeping);
	return true;
}

char *
worker_death(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "was killed by signal %d",
		    WTERMSIG(status));
	else
		snprintf(buf, size, "exited with status %d",
		    WEXITSTATUS(status));
	return buf;
}

/* --- two of them ------------------------------------------------------------ */

/* Takes fd. */
static void
worker_give(struct worker *worker, enum handover_type type, int fd, pid_t older)
{
	struct handover_message message = {
		.type = type,
		.number = (uint64_t)older,
		.fd = fd,
	};

	(void)handover_send(worker->handover, &message);
	close(fd);
}

void
worker_introduce(struct worker *older, struct worker *heir)
{
	int fds[2];

	if (handover_pair(fds) == 0) {
		worker_give(older, HANDOVER_HEIR, fds[0], older->pid);
		worker_give(heir, HANDOVER_OLDER, fds[1], older->pid);
	} else {
		log_error("workers cannot be connected: %s", strerror(errno));
	}
	/* What administrators speak is a stream of lines. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0) {
		worker_give(older, HANDOVER_GUEST, fds[0], older->pid);
		worker_give(heir, HANDOVER_ELDER, fds[1], older->pid);
	} else {
		log_error("workers cannot be connected: %s", strerror(errno));
	}
}
