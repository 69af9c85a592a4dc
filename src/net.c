/* SPDX-License-Identifier: ISC */
#include "net.h"

#include <sys/stat.h>
#include <sys/un.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* A thousand peers come back at once. */
#define NET_BACKLOG 4096
/* Accepted in one turn, so that a flood leaves the others their share. */
#define NET_ACCEPT_BUDGET 64
#define NET_PAUSE 1.0 /* seconds without accepting when out of descriptors */

struct net_listener {
	struct loop *loop;
	struct loop_watch *watch;
	struct loop_timer *resume;
	net_accept_fn *fn;
	net_lend_fn *lend;
	void *arg;
	int fd;		     /* -1: suspended */
	unsigned high;	     /* so many in use are too many, as last asked */
	const unsigned *due; /* NULL: it does not yield */
	bool paused;	     /* said so in the log */
	bool kept;	     /* the file of a UNIX socket stays */
	bool bare;	     /* who is accepted has to be set up */
	struct addr asked;
	struct addr_sock address;
	/* Of a UNIX socket: its file, which may be another one's by now. */
	dev_t dev;
	ino_t ino;
};

static bool
net_is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS ||
	    error == ENOMEM;
}

static void
net_pause(struct net_listener *listener, const char *why)
{
	char text[ADDR_TEXT_SIZE];

	if (!listener->paused)
		log_error("%s: accepting pauses: %s",
		    addr_sock_format(&listener->address, text, sizeof text),
		    why);
	listener->paused = true;
	loop_watch_set(listener->watch, false, false);
	loop_timer_set(listener->resume, NET_PAUSE);
}

/* So many descriptors are left to links, channels and tunnelctl, and to the
 * strangers at the gateway; of few descriptors a quarter. */
#define NET_RESERVE 1280

/* The kernel gives the lowest free number, so it says how many are taken. Those
 * who wait for a second one will take as many again. */
static bool
net_is_scarce(struct net_listener *listener, int fd)
{
	unsigned used = (unsigned)fd;
	int max;

	if (listener->due == NULL)
		return false;
	used += *listener->due;
	if (used < listener->high)
		return false;
	max = net_descriptors_max();
	listener->high = (unsigned)(max -
	    (max / 4 < NET_RESERVE ? max / 4 : NET_RESERVE));
	return used >= listener->high;
}

/* One of the backlog. -1: there is none, or there are no descriptors. */
static int
net_accept_one(struct net_listener *listener, struct addr_sock *from)
{
	int client;

	do {
		memset(from, 0, sizeof *from);
		from->len = sizeof from->ss;
		client = accept4(listener->fd, &from->sa, &from->len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
		/* Otherwise that one connection is gone. */
	} while (client == -1 && errno != EAGAIN && errno != EWOULDBLOCK &&
	    !net_is_shortage(errno) && errno != EBADF && errno != EINVAL);
	if (client != -1 && listener->bare)
		net_setup(client);
	return client;
}

static void
net_accept(int fd, bool readable, bool writable, void *arg)
{
	struct net_listener *listener = arg;
	struct addr_sock from;
	char text[ADDR_TEXT_SIZE];
	int i, client;

	(void)fd;
	(void)readable;
	(void)writable;
	for (i = 0; i < NET_ACCEPT_BUDGET; i++) {
		client = net_accept_one(listener, &from);
		if (client == -1 && net_is_shortage(errno)) {
			net_pause(listener, strerror(errno));
			return;
		}
		if (client == -1)
			break;
		listener->fn(client, &from, listener->arg);
		if (net_is_scarce(listener, client)) {
			net_pause(listener, "file descriptors run short");
			return;
		}
	}
	if (listener->paused)
		log_notice("%s: accepting again",
		    addr_sock_format(&listener->address, text, sizeof text));
	listener->paused = false;
}

/* A socket file that nobody listens on is left from a crash: remove it. */
static void
net_remove_stale(const struct addr_sock *sock)
{
	const char *path = ((const struct sockaddr_un *)&sock->ss)->sun_path;
	struct stat st;
	int fd;

	if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	/* Of the wrong type on purpose: whoever listens there is told nothing,
	 * and the kernel says EPROTOTYPE if somebody does. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return;
	if (connect(fd, &sock->sa, sock->len) == -1 && errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static int
net_bind(const struct addr *addr, struct addr_sock *sock)
{
	int fd, one = 1, zero = 0;

	fd = socket(sock->sa.sa_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1 && errno == EAFNOSUPPORT && addr->kind == ADDR_INET &&
	    addr->host[0] == '\0') {
		/* A machine without IPv6: every address means every IPv4. */
		struct addr any = *addr;
		strcpy(any.host, "0.0.0.0");
		addr_to_sock(&any, sock);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    0);
	}
	if (fd == -1)
		return -1;
	if (addr->kind == ADDR_UNIX)
		net_remove_stale(sock);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	/* ":port" is both families on one socket; "[::]:port" only IPv6, so
	 * that it can stand beside "0.0.0.0:port". */
	if (sock->sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY,
		    addr->host[0] == '\0' ? &zero : &one, sizeof one);
	net_setup(fd);
	if (bind(fd, &sock->sa, sock->len) == -1 ||
	    (addr->kind == ADDR_UNIX && chmod(addr->host, 0666) == -1) ||
	    listen(fd, NET_BACKLOG) == -1) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* What the kernel says of it. */
static void
net_learn(struct net_listener *listener, const struct addr *addr)
{
	struct addr_sock *bound = &listener->address;
	struct stat st;

	bound->len = sizeof bound->ss;
	getsockname(listener->fd, &bound->sa, &bound->len);
	listener->bare = !net_is_set_up(listener->fd);
	if (addr->kind == ADDR_UNIX && lstat(addr->host, &st) == 0) {
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
	}
}

/* -1 with the reason in error and errno. */
static int
net_open(struct net_listener *listener, const struct addr *addr, char *error,
    size_t error_size)
{
	struct addr_sock *bound = &listener->address;
	char text[ADDR_TEXT_SIZE];
	int saved;

	if (addr_to_sock(addr, bound) != 0) {
		snprintf(error, error_size,
		    "listen %s: not an address of "
		    "this machine but a name",
		    addr_format(addr, text, sizeof text));
		errno = EADDRNOTAVAIL;
		return -1;
	}
	listener->fd = net_bind(addr, bound);
	if (listener->fd == -1) {
		saved = errno;
		snprintf(error, error_size, "listen %s: %s",
		    addr_format(addr, text, sizeof text), strerror(saved));
		errno = saved;
		return -1;
	}
	net_learn(listener, addr);
	return 0;
}

static void
net_watch(struct net_listener *listener)
{
	if (listener->watch == NULL)
		listener->watch = loop_watch_new(listener->loop, listener->fd,
		    true, false, net_accept, listener);
	if (listener->watch == NULL)
		log_error("out of memory: a listener does not accept");
}

/* The timer: of a pause, or of an address that could not be had again. */
static void
net_resume(void *arg)
{
	struct net_listener *listener = arg;
	char error[400], text[ADDR_TEXT_SIZE];

	if (listener->watch != NULL)
		loop_watch_set(listener->watch, true, false);
	else if (listener->fd == -1 &&
	    net_listener_resume(listener, error, sizeof error) == 0)
		log_notice("%s: listening again",
		    addr_sock_format(&listener->address, text, sizeof text));
}

/* Without a socket yet. */
static struct net_listener *
net_make(struct loop *loop, const struct addr *addr, char *error,
    size_t error_size)
{
	struct net_listener *listener = calloc(1, sizeof *listener);

	if (listener != NULL) {
		listener->loop = loop;
		listener->asked = *addr;
		listener->fd = -1;
		listener->resume = loop_timer_new(loop, net_resume, listener);
		if (listener->resume != NULL)
			return listener;
		free(listener);
	}
	snprintf(error, error_size, "out of memory");
	errno = ENOMEM;
	return NULL;
}

struct net_listener *
net_listen(struct loop *loop, const struct addr *addr, char *error,
    size_t error_size)
{
	struct net_listener *listener;
	int saved;

	listener = net_make(loop, addr, error, error_size);
	if (listener == NULL ||
	    net_open(listener, addr, error, error_size) == 0)
		return listener;
	saved = errno;
	net_listener_free(listener);
	errno = saved;
	return NULL;
}

struct net_listener *
net_adopt(struct loop *loop, const struct addr *addr, int fd, char *error,
    size_t error_size)
{
	struct net_listener *listener;

	listener = net_make(loop, addr, error, error_size);
	if (listener == NULL) {
		close(fd);
		return NULL;
	}
	listener->fd = fd;
	net_learn(listener, addr);
	net_setup(fd);
	return listener;
}

void
net_listener_take_back(struct net_listener *listener)
{
	net_lend_fn *lend = listener->lend;

	listener->lend = NULL;
	if (lend != NULL && listener->fd != -1)
		lend(-1, listener->arg);
}

void
net_listener_start(struct net_listener *listener, net_accept_fn *fn, void *arg)
{
	net_listener_take_back(listener);
	listener->fn = fn;
	listener->arg = arg;
	if (listener->fd != -1)
		net_watch(listener);
}

void
net_listener_lend(struct net_listener *listener, net_lend_fn *fn, void *arg)
{
	net_listener_take_back(listener);
	loop_watch_free(listener->watch);
	listener->watch = NULL;
	listener->fn = NULL;
	listener->lend = fn;
	listener->arg = arg;
	if (listener->fd != -1)
		fn(listener->fd, arg);
}

void
net_listener_yield(struct net_listener *listener, const unsigned *due)
{
	listener->due = due;
}

/* Closes, and removes the file of a UNIX socket. While it is bound, its inode
 * is no other file's. */
static void
net_close(struct net_listener *listener)
{
	struct stat st;

	loop_watch_free(listener->watch);
	listener->watch = NULL;
	if (listener->fd == -1)
		return;
	if (!listener->kept && listener->asked.kind == ADDR_UNIX &&
	    lstat(listener->asked.host, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    st.st_dev == listener->dev && st.st_ino == listener->ino)
		unlink(listener->asked.host);
	close(listener->fd);
	listener->fd = -1;
}

void
net_listener_keep(struct net_listener *listener)
{
	listener->kept = true;
}

void
net_listener_free(struct net_listener *listener)
{
	if (listener == NULL)
		return;
	loop_timer_free(listener->resume);
	net_listener_take_back(listener);
	net_close(listener);
	free(listener);
}

int
net_listener_fd(const struct net_listener *listener)
{
	return listener->fd;
}

void
net_listener_address(const struct net_listener *listener, struct addr_sock *out)
{
	*out = listener->address;
}

const struct addr *
net_listener_asked(const struct net_listener *listener)
{
	return &listener->asked;
}

/* --- one that goes, or moves ------------------------------------------------ */

void
net_listener_accept_all(struct net_listener *listener)
{
	struct addr_sock from;
	int i, client;

	if (listener->fn == NULL || listener->fd == -1)
		return;
	for (i = 0; i < NET_BACKLOG; i++) {
		client = net_accept_one(listener, &from);
		if (client == -1)
			return;
		listener->fn(client, &from, listener->arg);
	}
}

void
net_listener_suspend(struct net_listener *listener)
{
	if (listener->lend != NULL && listener->fd != -1)
		listener->lend(-1, listener->arg);
	net_close(listener);
}

int
net_listener_resume(struct net_listener *listener, char *error,
    size_t error_size)
{
	struct addr_sock was = listener->address;
	struct addr addr = listener->asked;

	/* The one that the kernel picked for port 0. */
	if (was.sa.sa_family == AF_INET)
		addr.port = ntohs(was.in.sin_port);
	else if (was.sa.sa_family == AF_INET6)
		addr.port = ntohs(was.in6.sin6_port);
	if (net_open(listener, &addr, error, error_size) != 0) {
		listener->address = was;
		loop_timer_set(listener->resume, NET_PAUSE);
		return -1;
	}
	if (listener->lend != NULL)
		listener->lend(listener->fd, listener->arg);
	else if (listener->fn != NULL)
		net_watch(listener);
	return 0;
}
