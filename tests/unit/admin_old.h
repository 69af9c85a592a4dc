/* SPDX-License-Identifier: ISC */
/*
 * admin_old: what the tests of merged answers share. world.admin is the worker
 * that is asked: the real commands, of a daemon with one local tunnel "own" and
 * no session. `old` is one that drains, pid OLD_PID, with a tunnel home/web and
 * sessions 10 and 20, whose commands say what they were asked.
 */
#ifndef TUNNELD_ADMIN_OLD_H
#define TUNNELD_ADMIN_OLD_H

#include "admin_commands.h"
#include "admin_world.h"

#define OLD_PID 4711

extern struct admin *old;
extern struct admin_context context;

extern char by[ADMIN_WHO_SIZE];	      /* for whom it was asked to kill */
extern const char *sulks;	      /* it never answers this command, ... */
extern const char *declines;	      /* ... and refuses this one */
extern const char *code;	      /* with this code */
extern struct admin_request *sulking; /* that it does not answer */

extern struct world_client client; /* of the last order */

void old_setup(void);
void old_teardown(void);

/* The answer to one command; its data, of which the client is closed; that it
 * is refused with this code. */
json_t *old_order(const char *command, const char *args);
json_t *old_data(json_t *answer);
void old_refused(const char *command, const char *args, const char *wanted);
/* All rows of a list; error: the code of what stands behind them, or NULL. */
json_t *old_rows(const char *command, const char *args, const char *error);

/* Takes value; wanted is its text, sorted and compact. */
void old_is(json_t *value, const char *wanted);
/* Of what the old one was asked last. */
void old_is_asked(const char *wanted);
json_t *old_member(json_t *object, const char *key); /* a new reference */

#endif
