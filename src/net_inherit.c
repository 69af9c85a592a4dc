/* SPDX-License-Identifier: ISC */
#include "net_inherit.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

struct net_heir {
	int fd; /* -1: taken */
	char who[NET_WHO_SIZE];
	struct addr_sock bound;
	bool v6only;
	bool claimed;
	char claimed_by[NET_WHO_SIZE];
	struct addr claimed_at;
};

struct net_inherited {
	struct net_heir *list;
	size_t n;
};

struct net_inherited *
net_inherited_new(void)
{
	return calloc(1, sizeof(struct net_inherited));
}

void
net_inherited_free(struct net_inherited *inherited)
{
	size_t i;

	if (inherited == NULL)
		return;
	for (i = 0; i < inherited->n; i++)
		if (inherited->list[i].fd != -1)
			close(inherited->list[i].fd);
	free(inherited->list);
	free(inherited);
}

static int
inherit_get(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof value;

	return getsockopt(fd, level, name, &value, &len) == 0 ? value : -1;
}

void
net_inherited_add(struct net_inherited *inherited, int fd, const char *who)
{
	struct net_heir heir = { .fd = fd }, *list;

	snprintf(heir.who, sizeof heir.who, "%s", who);
	heir.bound.len = sizeof heir.bound.ss;
	if (inherit_get(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 ||
	    inherit_get(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
	    getsockname(fd, &heir.bound.sa, &heir.bound.len) != 0) {
		log_warning("a descriptor that was handed over is no listening "
			    "socket: closed");
		close(fd);
		return;
	}
	heir.v6only = heir.bound.sa.sa_family == AF_INET6 &&
	    inherit_get(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
	list = reallocarray(inherited->list, inherited->n + 1, sizeof *list);
	if (list == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
		if (list != NULL)
			inherited->list = list;
		log_error("out of memory for a listening socket that was "
			  "handed over: closed");
		close(fd);
		return;
	}
	inherited->list = list;
	list[inherited->n++] = heir;
}

/* --- whose is it ------------------------------------------------------------ */

static bool
inherit_fits_unix(const struct net_heir *heir, const struct addr *addr)
{
	struct stat st;
	size_t len = heir->bound.len;

	/* Without its file nobody would find it. */
	return heir->bound.sa.sa_family == AF_UNIX &&
	    len > offsetof(struct sockaddr_un, sun_path) &&
	    strcmp(heir->bound.un.sun_path, addr->host) == 0 &&
	    lstat(addr->host, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Whether net_listen would have bound it so. any_port: it may have picked the
 * port itself. */
static bool
inherit_fits(const struct net_heir *heir, const struct addr *addr,
    bool any_port)
{
	const struct addr_sock *bound = &heir->bound;
	struct addr_sock sock;
	struct addr any = *addr;

	if (addr->kind == ADDR_UNIX)
		return inherit_fits_unix(heir, addr);
	/* A machine without IPv6: see net_bind. */
	if (addr->host[0] == '\0' && bound->sa.sa_family == AF_INET)
		strcpy(any.host, "0.0.0.0");
	if (addr_to_sock(&any, &sock) != 0 ||
	    sock.sa.sa_family != bound->sa.sa_family)
		return false;
	if (addr->port == 0 && !any_port)
		return false;
	if (sock.sa.sa_family == AF_INET)
		return sock.in.sin_addr.s_addr == bound->in.sin_addr.s_addr &&
		    (addr->port == 0 || sock.in.sin_port == bound->in.sin_port);
	return memcmp(&sock.in6.sin6_addr, &bound->in6.sin6_addr,
		   sizeof sock.in6.sin6_addr) == 0 &&
	    heir->v6only == (addr->host[0] != '\0') &&
	    (addr->port == 0 || sock.in6.sin6_port == bound->in6.sin6_port);
}

static struct net_heir *
inherit_find(struct net_inherited *inherited, const struct addr *addr,
    const char *who)
{
	struct net_heir *heir;
	size_t i;

	for (i = 0; i < inherited->n; i++) {
		heir = &inherited->list[i];
		if (!heir->claimed && heir->fd != -1 &&
		    strcmp(heir->who, who) == 0 &&
		    inherit_fits(heir, addr, true))
			return heir;
	}
	for (i = 0; i < inherited->n; i++) {
		heir = &inherited->list[i];
		if (!heir->claimed && heir->fd != -1 &&
		    inherit_fits(heir, addr, false))
			return heir;
	}
	return NULL;
}

void
net_inherited_claim(struct net_inherited *inherited, const struct addr *addr,
    const char *who)
{
	struct net_heir *heir = inherit_find(inherited, addr, who);

	if (heir == NULL)
		return;
	heir->claimed = true;
	heir->claimed_at = *addr;
	snprintf(heir->claimed_by, sizeof heir->claimed_by, "%s", who);
}

size_t
net_inherited_drop(struct net_inherited *inherited)
{
	char text[ADDR_TEXT_SIZE];
	struct net_heir *heir;
	size_t i, n = 0;

	for (i = 0; i < inherited->n; i++) {
		heir = &inherited->list[i];
		if (heir->claimed || heir->fd == -1)
			continue;
		log_notice("%s: nobody listens there any more: closed",
		    addr_sock_format(&heir->bound, text, sizeof text));
		close(heir->fd);
		heir->fd = -1;
		n++;
	}
	return n;
}

void
net_inherited_each(const struct net_inherited *inherited,
    void (*fn)(int fd, const char *who, void *arg), void *arg)
{
	const struct net_heir *heir;
	size_t i;

	for (i = 0; i < inherited->n; i++) {
		heir = &inherited->list[i];
		if (heir->fd != -1 && heir->claimed)
			fn(heir->fd, heir->claimed_by, arg);
	}
}

int
net_inherited_take(struct net_inherited *inherited, const struct addr *addr,
    const char *who)
{
	struct net_heir *heir;
	size_t i;
	int fd;

	if (inherited == NULL)
		return -1;
	for (i = 0; i < inherited->n; i++) {
		heir = &inherited->list[i];
		if (heir->fd == -1 || !heir->claimed ||
		    strcmp(heir->claimed_by, who) != 0 ||
		    !addr_equal(&heir->claimed_at, addr))
			continue;
		fd = heir->fd;
		heir->fd = -1;
		return fd;
	}
	return -1;
}

struct net_listener *
net_inherited_listen(struct net_inherited *inherited, struct loop *loop,
    const struct addr *addr, const char *who, char *error, size_t error_size)
{
	int fd = net_inherited_take(inherited, addr, who);

	return fd == -1 ? net_listen(loop, addr, error, error_size) :
			  net_adopt(loop, addr, fd, error, error_size);
}
