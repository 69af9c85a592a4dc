/* SPDX-License-Identifier: ISC */
/*
 * admin_kill: ends sessions that an administrator chose, tens of thousands if
 * need be: ADMIN_KILL_STEP a turn of the loop.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_KILL_H
#define TUNNELD_ADMIN_KILL_H

#include "admin_select.h"

#define ADMIN_KILL_STEP 128

/* Embedded by value in what it works for, which must clear it. */
struct admin_killer {
	struct admin_context *context;
	struct loop_task task;
	int64_t *ids;
	size_t n, next;
	json_t *killed; /* an array of the ids it ended so far */
	char who[ADMIN_WHO_SIZE];
	loop_fn *done;
	void *arg;
};

/* -1 out of memory; it may be cleared then, too. */
int admin_killer_init(struct admin_killer *killer,
    struct admin_request *request, struct admin_context *context);
void admin_killer_clear(struct admin_killer *killer);

/* Ends those that are still there; takes ids. done(arg) is called once it is
 * through, before this returns if they are few. May be called again then. */
void admin_killer_run(struct admin_killer *killer, int64_t *ids, size_t n,
    loop_fn *done, void *arg);

/* Those that other workers ended, too; and the pids of those workers that did
 * not say what they did, NULL for none. */
void admin_killer_merge(struct admin_killer *killer,
    const struct admin_ask *ask);
json_t *admin_ask_unreachable(const struct admin_ask *ask);

/* "1 session", "2 sessions": how many it has ended. */
char *admin_killer_count(const struct admin_killer *killer, char *buf,
    size_t size);

#endif
