/* SPDX-License-Identifier: ISC */
/*
 * admin_asking: what the tests of admin_workers share: world.admin is a worker
 * that is asked, and `workers` who asks it; scripts play others.
 */
#ifndef TUNNELD_ADMIN_ASKING_H
#define TUNNELD_ADMIN_ASKING_H

#include "admin_workers.h"
#include "admin_world.h"

#define PID 4711 /* of the one that is world.admin */

extern struct admin_workers *workers;
extern int done; /* questions */

void asking_setup(void);
void asking_teardown(void);

/* A worker that answers; one whose end is held by the test. */
void asking_add(pid_t pid);
struct world_client asking_script(pid_t pid);

/* Takes args. `done` counts its end. */
struct admin_ask *asking_ask(const char *command, json_t *args);
/* Waits for so many ends. */
void asking_await(int n, double seconds);
/* For who asks by other means. */
void asking_done(void *arg);

/* What the script was asked, by its id; and its answers. */
json_int_t asking_heard(struct world_client *script, const char *command);
void asking_say(struct world_client *script, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* To how many sessions it has. */
void asking_poll(struct world_client *script, int sessions);

/* The rows of this worker that are left; takes all that are. */
size_t asking_rows(struct admin_ask *asked, json_int_t pid);

#endif
