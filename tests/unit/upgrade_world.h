/* SPDX-License-Identifier: ISC */
/*
 * upgrade_world: two daemons and their successors in one process and one loop,
 * with everything up to floor 4; a service that echoes; and users who connect
 * all the time. "edge" accepts, "home" dials; tunnel "web" has its users at
 * edge, "db" at home.
 *
 * A successor binds the ports anew, since it can inherit nothing here: in the
 * same turn of the loop, in which nobody connects.
 */
#ifndef UPGRADE_WORLD_H
#define UPGRADE_WORLD_H

#include <netinet/in.h>

#include <check.h>

#include "gateway.h"
#include "ledger_fixture.h"
#include "tls.h"
#include "tunnel.h"

/* What one process of a daemon has. */
struct side {
	const char *name;
	struct config *config;
	struct tls *tls;
	struct resolve_pool *resolver;
	struct peer_context context;
	struct peers *peers;
	struct events events;
	struct ledger *ledger;
	struct tunnels *tunnels;
	struct gateway *gateway;
	struct net_inherited *inherited; /* until it has started */
	uint64_t generation;
	int given, idle, left, late, ups;
	char down[200]; /* why the link went down last */
	struct side *successor;
	struct side *next; /* of all there are */
};

struct users {
	unsigned open, served, failed;
	char error[200]; /* of the first that failed */
};

extern struct users users;

/* After fixture_setup; `more` is put into every tunnel's group. */
void world_setup(const char *security, const char *more);
/* Asserts that every session is recorded, and closed, in the ledger. */
void world_teardown(void);

/* "edge" or "home", the first or the next process of it; not started yet. */
struct side *side_new(const char *name, const struct side *before);
void side_start(struct side *side);
/* Only what a peer needs, after side_new: its gateway, and its dials. */
void side_open_gateway(struct side *side);
/* Makes way for the successor. */
void side_leave(struct side *side, struct side *successor);
/* side_new, side_leave, side_start. */
struct side *side_upgrade(struct side *side);
void side_free(struct side *side);
struct peer *side_peer(const struct side *side); /* its only one */
struct tunnel *side_entry(const struct side *side);

void world_turn(double seconds);
/* Where everything listens: an address of this process's own. */
enum world_place {
	WORLD_GATEWAY,
	WORLD_SERVICE,
	WORLD_ENTRY_EDGE,
	WORLD_ENTRY_HOME
};
struct sockaddr_in world_address(int place);
int world_entry(const struct side *side); /* its place */
void world_wait_up(const struct side *side);
bool side_has_left(const struct side *side); /* and is idle */

/* Users of that side's entry, so many a second, from now on; 0: no more. */
void users_come(const struct side *side, double rate);
/* Waits until all were served or have failed. */
void users_wait(void);
/* One who stays. */
int user_connect(const struct side *side);
/* The same, and the side has accepted him when this returns: his OPEN is sent,
 * if there was a channel, and nobody has read anything. */
int user_appear(struct side *side);
void user_say(int fd, const char *text);
void user_hear(int fd, const char *text);
void user_speak(int fd, const char *text); /* and hears it */
void user_expect_reset(int fd);
void user_leave(int fd);

extern const char *world_mode; /* "mux" or "direct" */

#endif
