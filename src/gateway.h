/* SPDX-License-Identifier: ISC */
/*
 * gateway: where peers dial in: listeners, and the bounded places in which
 * strangers prove who they are.
 *
 * When all places, or all of one source, are taken, a newcomer is not turned
 * away: the oldest silent stranger of the fullest source goes. Floor 3.
 */
#ifndef TUNNELD_GATEWAY_H
#define TUNNELD_GATEWAY_H

#include "config.h"
#include "net_inherit.h"
#include "net_plan.h"
#include "peers.h"

struct gateway;

/* Whose its listeners are, to net_inherit. */
#define GATEWAY_WHO "gateway"

struct gateway_params {
	struct loop *loop;
	struct tls *tls;
	const struct peers *peers;
	struct net_inherited *inherited; /* of use in gateway_new alone; NULL:
					    nothing */
	const struct config *config; /* must outlive the gateway, or until the
					next gateway_commit */
};

/* Binds all of gateway.listen. On failure returns NULL and calls error() for
 * each address that cannot be had. */
struct gateway *gateway_new(const struct gateway_params *params,
    void (*error)(const char *text, void *arg), void *arg);
/* Begins to accept. */
void gateway_start(struct gateway *gateway);
void gateway_free(struct gateway *gateway);
/*
 * Another process of this daemon listens now: accepts nobody any more, and
 * closes its listeners; socket files stay. Strangers who are there finish
 * (gateway_handshakes tells how many are left). No change may follow.
 */
void gateway_leave(struct gateway *gateway);

/*
 * Another configuration: its listeners as in tunnels_prepare, its bounds at
 * once; strangers that are there finish. The commit cannot fail; config must
 * then live as the first one. NULL out of memory.
 */
struct gateway_change;
struct gateway_change *gateway_prepare(struct gateway *gateway,
    const struct config *config, struct net_plan *plan);
void gateway_commit(struct gateway_change *change);
void gateway_abandon(struct gateway_change *change); /* NULL is ignored */

size_t gateway_listeners(const struct gateway *gateway);
void gateway_address(const struct gateway *gateway, size_t i,
    struct addr_sock *out);
/* The i'th; borrowed. */
struct net_listener *gateway_listener(const struct gateway *gateway, size_t i);
/* Strangers at this moment. */
size_t gateway_handshakes(const struct gateway *gateway);

#endif
