/* SPDX-License-Identifier: ISC */
/* What is asked of the kernel for a socket. */
#include "net.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

void
net_setup(int fd)
{
	int one = 1;

	/* Urgent data (RFC 6093) is no channel of its own here: its byte is
	 * carried where it stands. */
	(void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
	/* Fails on UNIX sockets, which need it not. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void
net_push(int fd)
{
	int one = 1;

	/* It was set before: setting it sends what waits. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

bool
net_is_set_up(int fd)
{
	int inlined = 0, nodelay = 0;
	socklen_t len = sizeof inlined;

	(void)getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inlined, &len);
	len = sizeof nodelay;
	(void)getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
	return inlined != 0 && nodelay != 0;
}

void
net_set_user_timeout(int fd, double seconds)
{
	unsigned ms = (unsigned)(seconds * 1000);

	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

void
net_set_unsent(int fd, int bytes)
{
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes,
	    sizeof bytes);
}

void
net_set_keepalive(int fd)
{
	int one = 1, idle = 60, interval = 15, count = 8;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval,
	    sizeof interval);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int
net_descriptors_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)limit.rlim_cur;
}
