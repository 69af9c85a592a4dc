/* SPDX-License-Identifier: ISC */
/*
 * master_internal: what the files of master share, and nobody else includes.
 *
 * master.c is its life: signals, time; master_succession.c who serves: workers
 * come, take over and go; master_worker.c one worker's process; master_store.c
 * the sockets that are kept, here and with the service manager.  Floor 6.
 */
#ifndef TUNNELD_MASTER_INTERNAL_H
#define TUNNELD_MASTER_INTERNAL_H

#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "handover.h"
#include "master.h"
#include "net_inherit.h"

/* --- sockets that are kept -------------------------------------------------- */

struct master_kept {
	int fd;
	ino_t inode; /* of the socket */
	bool is_socket;
	char who[NET_WHO_SIZE];
};

struct master_set {
	struct master_kept *list;
	size_t n;
};

/* Takes fd. -1 out of memory. */
int master_set_add(struct master_set *set, int fd, const char *who);
void master_set_clear(struct master_set *set);
/* What was in `to` is closed, `from` is empty. */
void master_set_move(struct master_set *to, struct master_set *from);

/* What the service manager has. */
struct master_stored {
	ino_t inode;
	char name[256];
};

struct master_store {
	bool on; /* there is a service manager */
	struct master_stored *list;
	size_t n;
	unsigned next; /* for names */
};

/* What it hands back from before, into orphans. */
void master_store_init(struct master_store *store, struct master_set *orphans);
void master_store_free(struct master_store *store);
/* It is to have these and no others. waits: for a second at most, until it has
 * let go of those it has to. */
void master_store_sync(struct master_store *store, const struct master_set *set,
    bool waits);

/* --- workers ---------------------------------------------------------------- */

enum worker_state {
	WORKER_STARTING,
	WORKER_READY,	/* and waits for the one before it to leave */
	WORKER_SERVING, /* the current one */
	WORKER_LEAVING, /* was told to */
	WORKER_DRAINING /* has left */
};

struct worker {
	TAILQ_ENTRY(worker) entry;
	struct handover *handover;
	pid_t pid;
	uint64_t generation;
	enum worker_state state;
	enum handover_why why;
	struct stat binary; /* as it was when it was started */
	char version[64];
	char error[HANDOVER_TEXT_MAX + 1]; /* why it cannot start; or "" */
	double since;			   /* of the state */
	double alive_at;
	bool gone;    /* its end of the handover is closed */
	bool aborted; /* it hung, and was killed for it */
	struct master_set kept;
	struct master_set keeping; /* being told */
};

TAILQ_HEAD(worker_list, worker);

struct worker_start {
	const char *binary;
	char **argv;
	struct handover_start message;
	const struct master_set *listeners;
};

double master_now(void); /* monotonic seconds */

/* NULL after logging why. */
struct worker *worker_start(const struct worker_start *start, double now);
/* Closes what is there of it; the process is not ended. */
void worker_free(struct worker *worker);
void worker_set_state(struct worker *worker, enum worker_state state);
/* Whether the file at that path is another one than it was started from. */
bool worker_is_outdated(const struct worker *worker, const char *binary);
/* KEEP and KEPT. True after KEPT: kept has changed. */
bool worker_keep(struct worker *worker, struct handover_message *message);
/* Lets one that drains, or will, and the one that serves know each other. */
void worker_introduce(struct worker *older, struct worker *heir);
/* "exited with status 1", "was killed by signal 11". Returns buf. */
char *worker_death(int status, char *buf, size_t size);

/* --- who serves -------------------------------------------------------------- */

struct master {
	char *binary;
	char **argv;
	uint8_t instance[HANDOVER_INSTANCE_SIZE];
	uint64_t generation; /* of the latest */
	struct worker_list workers;
	struct worker *current;	   /* SERVING or LEAVING; NULL: none */
	struct worker *successor;  /* STARTING or READY; NULL: none */
	struct master_set orphans; /* nobody's, until the next one starts */
	struct master_store store;
	int signals;
	double backoff;
	double restart_at; /* 0: not waiting */
	bool hung_up;	   /* SIGHUP, for the successor */
	bool stopping;
	double stop_at; /* patience ends */
	bool done;	/* leave the loop */
	int status;	/* with this */
	double feed_every,
	    feed_at;	    /* the service manager's watchdog; 0: none */
	double alive, hung; /* of workers */
};

/* NULL after logging why. */
struct worker *master_start_worker(struct master *master,
    enum handover_why why);
/* The back-off is over. */
void master_restart(struct master *master);
/* Starts a successor, or tells who serves why not. */
void master_upgrade(struct master *master);
/* The one that serves has left, or is given up waiting for. */
void master_left(struct master *master);
/* Reads what it says. */
void master_read(struct master *master, struct worker *worker);
/* Whoever has died. */
void master_bury(struct master *master);

#endif
