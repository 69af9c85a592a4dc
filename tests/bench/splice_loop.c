/* SPDX-License-Identifier: ISC */
/*
 * splice_loop PORT:TARGET...: what a relay on this machine can reach at all.
 * Users of each PORT are spliced to TARGET, both of 127.0.0.1, by one thread:
 * no protocol, no ledger, no limits, no timeouts. tests/bench/bench builds two
 * of these in a chain, and holds tunneld against them. Nothing to be used for
 * anything else: connecting waits, and an error ends a session without a word.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIPE_SIZE (256 * 1024)
#define PIPES_KEPT 16 /* a user has 64 MiB of pipes for all relays here */
#define MOVES 16 /* of a half and turn, so that no session starves another */
#define EVENTS 256
#define BACKLOG 4096

struct half {
	int from, to;
	int pipe[2];
	size_t filled;
	bool eof, done;
};

struct session {
	struct half half[2];
	struct session *next;
	bool queued;
};

struct listener {
	struct listener *next;
	int fd;
	uint16_t target;
};

static int epoll_fd;
static int kept[PIPES_KEPT][2];
static size_t n_kept;
static struct session *ready;
static struct listener *listeners;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
pipe_take(int out[2])
{
	if (n_kept > 0) {
		n_kept--;
		out[0] = kept[n_kept][0];
		out[1] = kept[n_kept][1];
		return 0;
	}
	if (pipe2(out, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	fcntl(out[1], F_SETPIPE_SZ, PIPE_SIZE);
	return 0;
}

static void
pipe_give(struct half *half)
{
	if (half->filled == 0 && n_kept < PIPES_KEPT) {
		kept[n_kept][0] = half->pipe[0];
		kept[n_kept][1] = half->pipe[1];
		n_kept++;
		return;
	}
	close(half->pipe[0]);
	close(half->pipe[1]);
}

static void
session_free(struct session *session)
{
	int i;

	for (i = 0; i < 2; i++) {
		pipe_give(&session->half[i]);
		close(session->half[i].from);
	}
	free(session);
}

static void
session_queue(struct session *session)
{
	if (session->queued)
		return;
	session->queued = true;
	session->next = ready;
	ready = session;
}

/* 1: more to do; 0: waits for an event; -1: the session is broken. */
static int
half_move(struct half *half)
{
	ssize_t in = 0, out = 0;
	int i;

	for (i = 0; i < MOVES && !half->done; i++) {
		in = out = 0;
		if (!half->eof && half->filled < PIPE_SIZE) {
			in = splice(half->from, NULL, half->pipe[1], NULL,
			    PIPE_SIZE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (in > 0)
				half->filled += (size_t)in;
			else if (in == 0)
				half->eof = true;
			else if (errno != EAGAIN)
				return -1;
		}
		if (half->filled > 0) {
			out = splice(half->pipe[0], NULL, half->to, NULL,
			    half->filled, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (out > 0)
				half->filled -= (size_t)out;
			else if (out < 0 && errno != EAGAIN)
				return -1;
		}
		if (half->eof && half->filled == 0) {
			shutdown(half->to, SHUT_WR);
			half->done = true;
		} else if (in <= 0 && out <= 0)
			return 0;
	}
	return half->done ? 0 : 1;
}

static void
session_turn(struct session *session)
{
	int a, b;

	a = half_move(&session->half[0]);
	b = half_move(&session->half[1]);
	if (a < 0 || b < 0 || (session->half[0].done && session->half[1].done))
		session_free(session);
	else if (a > 0 || b > 0)
		session_queue(session);
}

static int
dial(uint16_t port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd, flags;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	flags = fcntl(fd, F_GETFL);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int
session_watch(struct session *session, int fd)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = session,
	};
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void
session_new(int user, uint16_t target)
{
	struct session *session = calloc(1, sizeof(*session));
	int service = session == NULL ? -1 : dial(target);
	struct half *half;

	if (service == -1)
		goto fail;
	half = session->half;
	if (pipe_take(half[0].pipe) != 0)
		goto fail;
	if (pipe_take(half[1].pipe) != 0) {
		pipe_give(&half[0]);
		goto fail;
	}
	half[0].from = half[1].to = user;
	half[1].from = half[0].to = service;
	if (session_watch(session, user) != 0 ||
	    session_watch(session, service) != 0)
		die("epoll_ctl");
	return;
fail:
	perror("session");
	if (service != -1)
		close(service);
	close(user);
	free(session);
}

static void
accept_all(struct listener *listener)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL,
		    SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1)
		session_new(fd, listener->target);
}

static void
listener_new(const char *word)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct epoll_event event = { .events = EPOLLIN };
	unsigned port, target;
	int on = 1;

	if (listener == NULL || sscanf(word, "%5u:%5u", &port, &target) != 2 ||
	    port > UINT16_MAX || target > UINT16_MAX) {
		fprintf(stderr, "usage: splice_loop PORT:TARGET...\n");
		exit(2);
	}
	at.sin_port = htons((uint16_t)port);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener->target = (uint16_t)target;
	listener->fd = socket(AF_INET,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd == -1 ||
	    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on,
		sizeof(on)) != 0 ||
	    bind(listener->fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(listener->fd, BACKLOG) != 0)
		die(word);
	event.data.ptr = listener;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) != 0)
		die("epoll_ctl");
	listener->next = listeners;
	listeners = listener;
}

static struct listener *
listener_find(const void *what)
{
	struct listener *listener = listeners;

	while (listener != NULL && listener != what)
		listener = listener->next;
	return listener;
}

/* Sessions go only after all events of a turn were looked at. */
static void
turn(void)
{
	struct epoll_event events[EVENTS];
	struct session *now, *next;
	struct listener *listener;
	int i, n;

	n = epoll_wait(epoll_fd, events, EVENTS, ready == NULL ? -1 : 0);
	for (i = 0; i < n; i++) {
		listener = listener_find(events[i].data.ptr);
		if (listener != NULL)
			accept_all(listener);
		else
			session_queue(events[i].data.ptr);
	}
	now = ready;
	ready = NULL;
	for (; now != NULL; now = next) {
		next = now->next;
		now->queued = false;
		session_turn(now);
	}
}

int
main(int argc, char **argv)
{
	struct rlimit limit;
	int i;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd == -1)
		die("epoll_create1");
	for (i = 1; i < argc; i++)
		listener_new(argv[i]);
	if (listeners == NULL)
		return 2;
	for (;;)
		turn();
}
