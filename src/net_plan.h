/* SPDX-License-Identifier: ISC */
/*
 * net_plan: the listeners of a change of configuration. Whoever listens tells
 * which of its listeners it gives up, and at which addresses it wants one:
 *
 *   - at an address that is given up, the listener moves, with all who wait in
 *     its backlog, and is not bound anew;
 *   - at one that overlaps one that is given up (":80" and "127.0.0.1:80"),
 *     the old one is closed just before the new one is bound, and bound again
 *     if that fails: net_plan_swap;
 *   - all others are bound beforehand: net_plan_bind.
 *
 * In this order: new, leave and want, bind, swap, and either take and commit,
 * or abandon, in one turn of the loop. Until net_plan_swap, and after
 * net_plan_abandon, all is as it was.  Floor 2.
 */
#ifndef TUNNELD_NET_PLAN_H
#define TUNNELD_NET_PLAN_H

#include "net.h"

struct net_plan;

typedef void net_plan_error_fn(const char *text, void *arg);

struct net_plan *net_plan_new(struct loop *loop); /* NULL: memory */

/* Given up at the commit: its owner must not touch it any more then. -1 out
 * of memory. */
int net_plan_leave(struct net_plan *plan, struct net_listener *listener);

/*
 * A listener is wanted there. `before`, which must have been given up, comes
 * first if its address is the same; or NULL. `who` stands before errors
 * ("tunnel ssh: "). Returns a ticket for net_plan_take, or -1 out of memory.
 */
int net_plan_want(struct net_plan *plan, const struct addr *addr,
    struct net_listener *before, const char *who);

/* Called by net_plan_swap when those in the way are closed here, before others
 * are bound: whoever else holds these sockets must let go of them in it. */
void net_plan_on_release(struct net_plan *plan, loop_fn *fn, void *arg);

/* Binds what can be bound now; -1 after calling error() for each that cannot.
 */
int net_plan_bind(struct net_plan *plan, net_plan_error_fn *error, void *arg);

/*
 * The last that can fail: swaps those that overlap; who waits in the backlog
 * of a listener that goes is accepted for its owner first. -1 after calling
 * error() for each that failed, and all old ones listen again.
 */
int net_plan_swap(struct net_plan *plan, net_plan_error_fn *error, void *arg);

/* The caller's from now on; it may be accepting for whoever had it before,
 * until net_listener_start. */
struct net_listener *net_plan_take(struct net_plan *plan, int ticket);
/* The listener moved, it was not bound for this ticket. */
bool net_plan_moved(const struct net_plan *plan, int ticket);

/* Closes what was given up and nobody wanted; the plan is gone. */
void net_plan_commit(struct net_plan *plan);
/* Closes what was bound; the plan is gone. NULL is ignored. */
void net_plan_abandon(struct net_plan *plan);

#endif
