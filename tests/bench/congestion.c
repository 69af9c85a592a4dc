/* SPDX-License-Identifier: ISC */
/*
 * A library to be preloaded: every TCP socket gets the congestion control that
 * the environment names (BENCH_CONGESTION), where the system's own cannot be
 * set. An accepted one has its listener's. For tests/bench/bench alone, which
 * looks at all sockets afterwards: programs that are linked statically are not
 * reached by this.
 *
 * The name is read once, at the start: nginx drops its environment later.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static char name[16];

__attribute__((constructor)) static void
read_name(void)
{
	const char *value = getenv("BENCH_CONGESTION");

	if (value != NULL)
		snprintf(name, sizeof name, "%s", value);
}

int
socket(int domain, int type, int protocol)
{
	static int (*real)(int, int, int);
	int fd;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "socket");
	fd = real(domain, type, protocol);
	if (fd == -1 || name[0] == '\0' ||
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
