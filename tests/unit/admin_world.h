/* SPDX-License-Identifier: ISC */
/*
 * admin_world: what the tests of the admin socket share: a socket of their own
 * with commands that do what is asked of them, the loop, and clients that
 * turn it while they wait. One world a test: world_setup, world_teardown.
 */
#ifndef TUNNELD_ADMIN_WORLD_H
#define TUNNELD_ADMIN_WORLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "admin.h"

#define WORLD_STALL 0.3 /* seconds until a slow reader is dropped */

struct world {
	char dir[64], path[100];
	struct loop *loop;
	struct admin *admin;
	struct admin_request *pending; /* of the command "later" */
	int cancelled, released, pieces;
	struct admin_request *stream; /* of the command "stream" */
	int readied;
	json_t *farewell; /* sent when the stream is cancelled */
};
extern struct world world;

/* echo, fail, null, who, big {bytes}, later, list {rows}, broken, stream, and
 * change, which changes. */
extern const struct admin_command world_commands[];

void world_setup(void);
void world_teardown(void);

/* At world.path. NULL and error. */
struct admin *world_open(const char *group, char *error, size_t size);
struct admin *world_open_groups(const char *group, const char *read_group,
    char *error, size_t size);
struct admin *world_start(struct admin *admin); /* admin_start; NULL: not */

void world_turn(void);
void world_turns(int n); /* for what is expected not to happen */
void world_run_for(double seconds);

struct world_client {
	int fd;
	char *buf;
	size_t len;
};

int world_dial(void); /* a non-blocking descriptor, or -1 */
struct world_client world_client_open(void);
void world_client_close(struct world_client *client);

void world_say_bytes(struct world_client *client, const char *data, size_t len);
void world_say(struct world_client *client, const char *text); /* a line */

/* The next line, NULL at end of input or after 5 s. */
json_t *world_hear(struct world_client *client);
bool world_is_closed(struct world_client *client);

/* All take the answer. want is its text, sorted and compact. */
void world_check_json(json_t *answer, const char *want);
void world_check_error(json_t *answer, const char *code);
void world_check_works(struct world_client *client);

/* The list of "list". */
struct world_list {
	json_int_t next, end;
};
json_t *world_list_next(void *arg, bool *more);
void world_list_release(void *arg);

#endif
