/* SPDX-License-Identifier: ISC */
#include "master_internal.h"

#include <sys/wait.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "log.h"

/* Before another worker is started, in seconds. */
#define MASTER_BACKOFF_MIN 0.1
#define MASTER_BACKOFF_MAX 30.0
#define MASTER_SETTLED 60.0 /* one that lived so long was a good one */
/* So many workers drain; when there is one more the oldest must end. */
#define MASTER_DRAINING_MAX 16

/* --- workers come ------------------------------------------------------------ */

struct worker *
master_start_worker(struct master *master, enum handover_why why)
{
	struct worker_start start = {
		.binary = master->binary,
		.argv = master->argv,
		.listeners = why == HANDOVER_SUCCESSOR ?
		    &master->current->kept :
		    &master->orphans,
	};
	struct worker *worker;

	memcpy(start.message.instance, master->instance,
	    sizeof start.message.instance);
	start.message.generation = ++master->generation;
	start.message.why = why;
	start.message.master = getpid();
	start.message.stays = master->store.on;
	start.message.alive_ms = (uint32_t)(master->alive * 1000);
	snprintf(start.message.path, sizeof start.message.path, "%s",
	    master->binary);
	worker = worker_start(&start, master_now());
	if (worker != NULL)
		TAILQ_INSERT_TAIL(&master->workers, worker, entry);
	return worker;
}

static void
master_restart_later(struct master *master)
{
	if (master->stopping)
		return;
	if (master->backoff == 0)
		master->backoff = MASTER_BACKOFF_MIN;
	master->restart_at = master_now() + master->backoff;
	log_notice("another worker is started in %.1f s", master->backoff);
	master->backoff *= 2;
	if (master->backoff > MASTER_BACKOFF_MAX)
		master->backoff = MASTER_BACKOFF_MAX;
}

void
master_restart(struct master *master)
{
	master->restart_at = 0;
	master->successor = master_start_worker(master, HANDOVER_RESTART);
	if (master->successor == NULL)
		master_restart_later(master);
}

/* Those that drain are asked, and give users, by the one that serves. */
static void
master_introduce_draining(struct master *master, struct worker *heir)
{
	struct worker *older;

	TAILQ_FOREACH(older, &master->workers, entry)
		if (older->state == WORKER_DRAINING)
			worker_introduce(older, heir);
}

static unsigned
master_count_draining(const struct master *master)
{
	const struct worker *worker;
	unsigned n = 0;

	TAILQ_FOREACH(worker, &master->workers, entry)
		n += worker->state == WORKER_DRAINING;
	return n;
}

static void
master_end_oldest(struct master *master)
{
	struct worker *worker;

	if (master_count_draining(master) <= MASTER_DRAINING_MAX)
		return;
	TAILQ_FOREACH(worker, &master->workers, entry)
		if (worker->state == WORKER_DRAINING)
			break;
	log_notice("more than %d workers drain: %d ends its sessions",
	    MASTER_DRAINING_MAX, (int)worker->pid);
	(void)handover_say(worker->handover, HANDOVER_END, NULL);
}

/* The successor serves from now on: nobody else accepts any more. */
static void
master_promote(struct master *master)
{
	struct worker *worker = master->successor;

	master->successor = NULL;
	master->current = worker;
	master->status = 0;
	worker_set_state(worker, WORKER_SERVING);
	worker->alive_at = worker->since;
	master_set_clear(&master->orphans);
	master_store_sync(&master->store, &worker->kept, false);
	(void)handover_say(worker->handover, HANDOVER_GO, NULL);
	if (master->hung_up)
		(void)kill(worker->pid, SIGHUP);
	master->hung_up = false;
	master_end_oldest(master);
}

/* The one that serves has left, or is given up waiting for. */
void
master_left(struct master *master)
{
	worker_set_state(master->current, WORKER_DRAINING);
	/* Its successor's are kept now; what that has not is closed. */
	master_set_clear(&master->current->kept);
	master->current = NULL;
	master_promote(master);
}

static void
master_ready(struct master *master, struct worker *worker)
{
	struct handover_message drain = {
		.type = HANDOVER_DRAIN,
		.number = (uint64_t)worker->pid,
		.body = worker->version,
		.len = strlen(worker->version),
		.fd = -1,
	};
	struct worker *older = master->current;

	if (worker != master->successor || worker->state != WORKER_STARTING)
		return;
	worker_set_state(worker, WORKER_READY);
	master_introduce_draining(master, worker);
	if (older == NULL) {
		log_info("worker %d is ready", (int)worker->pid);
		master_promote(master);
		return;
	}
	log_notice("upgrade: worker %d is ready and takes over from %d",
	    (int)worker->pid, (int)older->pid);
	worker_introduce(older, worker);
	worker_set_state(older, WORKER_LEAVING);
	(void)handover_send(older->handover, &drain);
}

/* --- an upgrade ---------------------------------------------------------------- */

static void
master_notify_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

static void
master_refuse_upgrade(struct master *master, const char *why)
{
	log_error("upgrade failed: %s; worker %d goes on", why,
	    (int)master->current->pid);
	(void)handover_say(master->current->handover, HANDOVER_REFUSED, why);
	sd_notify(0, "READY=1");
}

void
master_upgrade(struct master *master)
{
	struct worker *current = master->current;
	const char *why = NULL;

	if (current == NULL || current->state != WORKER_SERVING) {
		log_warning("upgrade: no worker serves at this moment");
		return;
	}
	if (master->stopping)
		why = "tunneld is stopping";
	else if (master->successor != NULL)
		why = "an upgrade is under way";
	else if (master_count_draining(master) > MASTER_DRAINING_MAX + 8)
		why = "too many workers drain and do not end";
	if (why != NULL) {
		(void)handover_say(current->handover, HANDOVER_REFUSED, why);
		return;
	}
	master_notify_reloading();
	master->successor = master_start_worker(master, HANDOVER_SUCCESSOR);
	if (master->successor == NULL)
		master_refuse_upgrade(master, "cannot start a process");
}

/* --- workers go ----------------------------------------------------------------- */

/* One that was to serve never did. */
static void
master_lost_successor(struct master *master, struct worker *worker,
    const char *death)
{
	char why[HANDOVER_TEXT_MAX + 200];

	master->successor = NULL;
	if (worker->error[0] != '\0')
		snprintf(why, sizeof why, "%s", worker->error);
	else
		snprintf(why, sizeof why,
		    "the new worker %s before it was "
		    "ready",
		    death);
	if (master->current == NULL) {
		log_error("worker %d %s before it was ready", (int)worker->pid,
		    death);
		if (worker->kept.n > 0)
			master_set_move(&master->orphans, &worker->kept);
		master_restart_later(master);
	} else if (master->current->state == WORKER_SERVING) {
		master_refuse_upgrade(master, why);
	} else {
		/* Too late for the old one to go on. */
		log_error("worker %d %s when it was to take over",
		    (int)worker->pid, death);
		master_set_move(&master->orphans, &worker->kept);
		worker_set_state(master->current, WORKER_DRAINING);
		master->current = NULL;
		master_restart_later(master);
	}
}

static void
master_lost_current(struct master *master, struct worker *worker,
    const char *death)
{
	bool left = worker->state == WORKER_LEAVING;

	master->current = NULL;
	if (left) {
		log_error("worker %d %s while it left", (int)worker->pid,
		    death);
		master_promote(master);
		return;
	}
	log_error("worker %d %s", (int)worker->pid, death);
	if (master_now() - worker->since > MASTER_SETTLED)
		master->backoff = 0;
	master_set_move(&master->orphans, &worker->kept);
	/* One that is starting serves as soon as it can. */
	if (master->successor == NULL)
		master_restart_later(master);
}

static void
master_stopped(struct master *master, const struct worker *worker, int status)
{
	if (worker == master->current)
		master->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	if (worker == master->current)
		master->current = NULL;
	if (worker == master->successor)
		master->successor = NULL;
}

static void
master_buried(struct master *master, struct worker *worker, int status)
{
	char death[64];

	/* What it said before it died. */
	if (!worker->gone)
		master_read(master, worker);
	worker_death(status, death, sizeof death);
	TAILQ_REMOVE(&master->workers, worker, entry);
	if (master->stopping) {
		master_stopped(master, worker, status);
	} else if (worker->why == HANDOVER_FIRST &&
	    worker->state == WORKER_STARTING) {
		/* It has said why itself. */
		master->successor = NULL;
		master->done = true;
		master->status = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		if (WIFSIGNALED(status))
			log_error("the worker %s before it was ready", death);
	} else if (worker == master->successor) {
		master_lost_successor(master, worker, death);
	} else if (worker == master->current) {
		master_lost_current(master, worker, death);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_notice("worker %d is done", (int)worker->pid);
	} else {
		log_error("worker %d %s while it drained", (int)worker->pid,
		    death);
	}
	worker_free(worker);
}

void
master_bury(struct master *master)
{
	struct worker *worker;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		TAILQ_FOREACH(worker, &master->workers, entry)
			if (worker->pid == pid) {
				master_buried(master, worker, status);
				break;
			}
}

/* --- what workers say ------------------------------------------------------------ */

static void
master_kept(struct master *master, struct worker *worker, uint64_t answer)
{
	bool waits = answer == HANDOVER_KEPT_EVERYWHERE;

	/* The first of one that starts: what was kept for it is its own now,
	 * and the rest is nobody's. */
	if (worker == master->successor && worker->why != HANDOVER_SUCCESSOR) {
		master_set_clear(&master->orphans);
		master_store_sync(&master->store, &worker->kept, waits);
	}
	if (worker == master->current && worker->state == WORKER_SERVING)
		master_store_sync(&master->store, &worker->kept, waits);
	if (answer != HANDOVER_KEPT_NO_ANSWER)
		(void)handover_say(worker->handover, HANDOVER_KEPT_ALL, NULL);
}

static void
master_message(struct master *master, struct worker *worker,
    struct handover_message *message)
{
	const char *text = message->body;

	switch (message->type) {
	case HANDOVER_KEEP:
	case HANDOVER_KEPT:
		if (worker_keep(worker, message))
			master_kept(master, worker, message->number);
		break;
	case HANDOVER_READY:
		snprintf(worker->version, sizeof worker->version, "%s", text);
		master_ready(master, worker);
		break;
	case HANDOVER_FAILED:
		snprintf(worker->error, sizeof worker->error, "%s", text);
		break;
	case HANDOVER_NOTIFY:
		if (worker == master->current &&
		    worker->state == WORKER_SERVING)
			sd_notify(0, text);
		break;
	case HANDOVER_ALIVE:
		worker->alive_at = master_now();
		break;
	case HANDOVER_UPGRADE:
		if (worker == master->current)
			master_upgrade(master);
		break;
	case HANDOVER_HANGUP:
		master->hung_up = true;
		break;
	case HANDOVER_LEFT:
		if (worker == master->current &&
		    worker->state == WORKER_LEAVING)
			master_left(master);
		break;
	default:
		break;
	}
	if (message->fd != -1)
		close(message->fd);
}

void
master_read(struct master *master, struct worker *worker)
{
	struct handover_message message;
	enum handover_status status;

	while ((status = handover_receive(worker->handover, &message)) ==
	    HANDOVER_OK)
		master_message(master, worker, &message);
	/* It is dying: that is seen when it is dead. */
	if (status == HANDOVER_GONE)
		worker->gone = true;
}
