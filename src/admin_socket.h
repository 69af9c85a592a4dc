/* SPDX-License-Identifier: ISC */
/*
 * admin_socket: the file of the admin socket, the lock beside it, and the two
 * descriptors: made, or taken over from another process of this daemon. For
 * admin.c alone.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_SOCKET_H
#define TUNNELD_ADMIN_SOCKET_H

#include <sys/un.h>

#include "admin_judge.h"

struct admin_socket {
	struct sockaddr_un address;
	int lock_fd;
	int fd;	   /* listening; -1: none */
	bool ours; /* its file is removed at the end */
	dev_t dev; /* the socket's file, to remove no other */
	ino_t ino;
};

/* Where a reason for failure goes. */
struct admin_reason {
	char *buf;
	size_t size;
};
int admin_reason_set(struct admin_reason *why, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* returns -1 */

/*
 * Zeroed memory in, both descriptors or neither out; -1 and why. inherited may
 * be NULL; it is still the caller's until admin_socket_settle, which closes
 * what of it was not used, and to which admin_socket_give_back is the
 * alternative. Sets the umask for a moment.
 */
int admin_socket_open(struct admin_socket *out, const char *path,
    const struct admin_rules *rules, const struct admin_inherited *inherited,
    struct admin_reason *why);
void admin_socket_settle(const struct admin_socket *sock,
    const struct admin_inherited *inherited);
void admin_socket_give_back(struct admin_socket *sock,
    const struct admin_inherited *inherited);

/* Closes both. The file goes if it is ours, and as far as that is still
 * permitted; that of the lock stays. */
void admin_socket_close(struct admin_socket *sock);

#endif
