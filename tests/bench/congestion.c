/* SPDX-License-Identifier: ISC */
/*
 * A library to be preloaded: every TCP socket gets the congestion control that
 * the environment names (BENCH_CONGESTION), where the system's own cannot be
 * set. An accepted one has its listener's. For tests/bench/bench alone, which
 * looks at all sockets afterwards: programs that are linked statically are not
 * reached by this.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int
socket(int domain, int type, int protocol)
{
	static int (*real)(int, int, int);
	const char *name = getenv("BENCH_CONGESTION");
	int fd;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "socket");
	fd = real(domain, type, protocol);
	if (fd == -1 || name == NULL ||
	    (domain != AF_INET && domain != AF_INET6) ||
	    (type & 0xf) != SOCK_STREAM)
		return fd;
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name,
		(socklen_t)strlen(name)) != 0) {
		perror(name);
		abort(); /* no figure under another one */
	}
	return fd;
}
