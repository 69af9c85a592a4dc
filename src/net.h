/* SPDX-License-Identifier: ISC */
/*
 * net: listening sockets, and the options every socket of ours gets.
 *
 * A listener owns its descriptor and hands out accepted ones. It knows
 * nothing of who may connect or what is spoken.  Floor 2.
 */
#ifndef TUNNELD_NET_H
#define TUNNELD_NET_H

#include <stdbool.h>
#include <stddef.h>

#include "addr.h"
#include "loop.h"

struct net_listener;

/* Takes fd (non-blocking, close-on-exec, set up by net_setup). */
typedef void net_accept_fn(int fd, const struct addr_sock *from, void *arg);

/*
 * Binds and listens; accepting starts with the next turn of the loop. The
 * address is a literal or a UNIX path (addr_to_sock); a UNIX socket nobody
 * listens on any more is replaced, and a new one is as open as a port on
 * loopback (0666): its directory is what restricts it. NULL with the reason in error.
 *
 * Out of descriptors, accepting pauses for a second at a time and the log
 * says so once; a bounded number is accepted each turn.
 */
struct net_listener *net_listen(struct loop *loop, const struct addr *addr,
    char *error, size_t error_size);
void net_listener_start(struct net_listener *listener, net_accept_fn *fn,
    void *arg);
/* The same for who accepts by other means (evhttp): only a descriptor, and
 * what it is bound to. -1 with the reason in error. */
int net_listen_fd(const struct addr *addr, struct addr_sock *bound, char *error,
    size_t error_size);
/* For users' listeners: pauses already when a quarter of the descriptors is
 * left, since every user needs a second one, and links and channels must come
 * through whatever the crowd. */
void net_listener_yield(struct net_listener *listener);
/* Closes; removes a UNIX socket from the file system. NULL is ignored. */
void net_listener_free(struct net_listener *listener);

/* What it is bound to, with the port the kernel picked for port 0. */
void net_listener_address(const struct net_listener *listener,
    struct addr_sock *out);

/* How many descriptors this process may have (RLIMIT_NOFILE). */
int net_descriptors_max(void);

/* Small segments leave at once, urgent bytes are read in line. */
void net_setup(int fd);

/*
 * How a silent path is found out. On links and idle channels the kernel gives
 * up unacknowledged bytes after `seconds`; on sessions (0) it must not, or a
 * user who merely reads slowly would be cut off; keep-alive probes do it.
 */
void net_set_user_timeout(int fd, double seconds);
void net_set_keepalive(int fd);

#endif
