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
 * loopback (0666): its directory is what restricts it. NULL with the reason in
 * error, and in errno.
 *
 * Out of descriptors, accepting pauses for a second at a time and the log
 * says so once; a bounded number is accepted each turn.
 */
struct net_listener *net_listen(struct loop *loop, const struct addr *addr,
    char *error, size_t error_size);
void net_listener_start(struct net_listener *listener, net_accept_fn *fn,
    void *arg);
/* For users' listeners: pauses already when a quarter of the descriptors is
 * left, or 1,280 of many, so that links and channels come through whatever the
 * crowd. *due: so many more the users who are there will need; read whenever
 * somebody is accepted. NULL: it is none of these. */
void net_listener_yield(struct net_listener *listener, const unsigned *due);
/* Closes; removes a UNIX socket from the file system, unless another one has
 * its place there. NULL is ignored. */
void net_listener_free(struct net_listener *listener);

/* One that listens at that address already, of use in net_inherit. Takes fd,
 * on failure too. */
struct net_listener *net_adopt(struct loop *loop, const struct addr *addr,
    int fd, char *error, size_t error_size);
/* The file of its UNIX socket stays when it is freed: another process listens
 * there, too. */
void net_listener_keep(struct net_listener *listener);
/* Borrowed; -1 while it is suspended. */
int net_listener_fd(const struct net_listener *listener);

/* What it is bound to, with the port the kernel picked for port 0. */
void net_listener_address(const struct net_listener *listener,
    struct addr_sock *out);
/* What net_listen was asked for. */
const struct addr *net_listener_asked(const struct net_listener *listener);

/* --- of use in net_plan: a listener that goes, or moves ------------------- */

/* net_listener_start may be called again: who is accepted from then on, and
 * who waits in the backlog already, is given to the new owner. */

/* Accepts at once all who wait in the backlog. */
void net_listener_accept_all(struct net_listener *listener);
/* Closes its socket; and binds it again, to the same address and port, for
 * the same owner. Where that fails it is tried again every second, and -1 with
 * the reason in error. */
void net_listener_suspend(struct net_listener *listener);
int net_listener_resume(struct net_listener *listener, char *error,
    size_t error_size);

/*
 * For who accepts by other means (evhttp), in the place of net_listener_start:
 * fn is told the descriptor, at once and after each net_listener_resume, and
 * -1 before it is closed or given to another.
 */
typedef void net_lend_fn(int fd, void *arg);
void net_listener_lend(struct net_listener *listener, net_lend_fn *fn,
    void *arg);
void net_listener_take_back(struct net_listener *listener);

/* How many descriptors this process may have (RLIMIT_NOFILE). */
int net_descriptors_max(void);

/* Small segments leave at once, urgent bytes are read in line. Of TCP, who is
 * accepted inherits that from the listening socket. */
void net_setup(int fd);
/* Sends what MSG_MORE, or SPLICE_F_MORE, held back. */
void net_push(int fd);
bool net_is_set_up(int fd); /* never true of a UNIX socket */

/*
 * How a silent path is found out. On links and idle channels the kernel gives
 * up unacknowledged bytes after `seconds`; on sessions (0) it must not, or a
 * user who merely reads slowly would be cut off; keep-alive probes do it.
 */
void net_set_user_timeout(int fd, double seconds);
void net_set_keepalive(int fd);
/* TCP: so many bytes may wait in the kernel before they are sent: what is not
 * handed over yet can still be put in another order. */
void net_set_unsent(int fd, int bytes);

#endif
