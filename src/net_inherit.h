/* SPDX-License-Identifier: ISC */
/*
 * net_inherit: listening sockets that a process before this one bound, for the
 * same daemon: a worker's that died or leaves, or those that the service
 * manager kept over a restart.
 *
 * Owns those that nobody took. Found by whose they were, where that is known,
 * and else by the address they are bound to (getsockname), never by a name
 * that the service manager gave them.  Floor 2.
 *
 * First all that are wanted are claimed, and the rest is let go; then each is
 * taken in the place of being bound.
 */
#ifndef TUNNELD_NET_INHERIT_H
#define TUNNELD_NET_INHERIT_H

#include "net.h"

#define NET_WHO_SIZE 160

struct net_inherited;

struct net_inherited *net_inherited_new(void);		  /* NULL: memory */
void net_inherited_free(struct net_inherited *inherited); /* NULL is ignored */

/* Takes fd. who is "" if it is not known whose it was. What is no listening
 * stream socket is closed, with a line in the log. */
void net_inherited_add(struct net_inherited *inherited, int fd,
    const char *who);

/* Whoever it is will take one at that address, if there is one. */
void net_inherited_claim(struct net_inherited *inherited,
    const struct addr *addr, const char *who);
/* Closes all that were not claimed. How many there were. */
size_t net_inherited_drop(struct net_inherited *inherited);

/* Those that were claimed, by whom; fd is borrowed. */
void net_inherited_each(const struct net_inherited *inherited,
    void (*fn)(int fd, const char *who, void *arg), void *arg);

/* Its descriptor, the caller's now; -1: none was claimed. */
int net_inherited_take(struct net_inherited *inherited, const struct addr *addr,
    const char *who);

/* As net_listen, with one that was claimed if there is one. inherited may be
 * NULL. */
struct net_listener *net_inherited_listen(struct net_inherited *inherited,
    struct loop *loop, const struct addr *addr, const char *who, char *error,
    size_t error_size);

#endif
