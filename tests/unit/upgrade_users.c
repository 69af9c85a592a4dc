/* SPDX-License-Identifier: ISC */
#include "upgrade_world.h"

#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USERS_MAX 200

struct user {
	int fd;
	struct loop_watch *watch;
	bool spoke;
	double since;
};

struct users users;

static struct loop_timer *coming;
static int coming_to; /* a place */
static double coming_rate, came_at;

static int
user_open(int place, int flags)
{
	struct sockaddr_in sin = world_address(place);
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	ck_assert_int_ne(fd, -1);
	if (connect(fd, (struct sockaddr *)&sin, sizeof sin) == -1 &&
	    errno != EINPROGRESS)
		ck_abort_msg("connect: %s", strerror(errno));
	return fd;
}

static void
user_done(struct user *user, const char *error)
{
	users.open--;
	users.served += error == NULL;
	users.failed += error != NULL;
	if (error != NULL && users.error[0] == '\0')
		snprintf(users.error, sizeof users.error, "%s, after %.3f s",
		    error, loop_now(loop) - user->since);
	loop_watch_free(user->watch);
	close(user->fd);
	free(user);
}

static void
user_ready(int fd, bool readable, bool writable, void *arg)
{
	struct user *user = arg;
	char bytes[16];
	ssize_t n;

	if (writable && !user->spoke) {
		if (send(fd, "hello", 5, MSG_NOSIGNAL) != 5) {
			user_done(user, strerror(errno));
			return;
		}
		user->spoke = true;
		loop_watch_set(user->watch, true, false);
	}
	if (!readable)
		return;
	n = recv(fd, bytes, sizeof bytes, 0);
	if (n == -1 && errno == EAGAIN)
		return;
	user_done(user,
	    n == -1    ? strerror(errno) :
		n == 0 ? "EOF" :
		n != 5 ? "other bytes" :
			 NULL);
}

static void
users_more(void *arg)
{
	double now = loop_now(loop);
	struct user *user;

	(void)arg;
	for (; came_at < now; came_at += 1 / coming_rate) {
		/* A slow machine has fewer of them, not a longer queue. */
		if (users.open >= USERS_MAX)
			continue;
		user = calloc(1, sizeof *user);
		user->fd = user_open(coming_to, SOCK_NONBLOCK);
		user->since = now;
		user->watch = loop_watch_new(loop, user->fd, true, true,
		    user_ready, user);
		users.open++;
	}
	loop_timer_set(coming, 0.002);
}

void
users_come(const struct side *side, double rate)
{
	loop_timer_free(coming);
	coming = NULL;
	if (rate == 0)
		return;
	coming = loop_timer_new(loop, users_more, NULL);
	coming_to = world_entry(side);
	coming_rate = rate;
	came_at = loop_now(loop);
	loop_timer_set(coming, 0);
}

void
users_wait(void)
{
	double until = loop_now(loop) + 20;

	users_come(NULL, 0);
	while (users.open > 0 && loop_now(loop) < until)
		world_turn(0);
	ck_assert_uint_eq(users.open, 0);
}

int
user_connect(const struct side *side)
{
	return user_open(world_entry(side), 0);
}

int
user_appear(struct side *side)
{
	int fd = user_connect(side);

	net_listener_accept_all(side_entry(side)->listener);
	return fd;
}

static void
user_poll(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	double until = loop_now(loop) + 10;

	while (poll(&pfd, 1, 0) == 0 && loop_now(loop) < until)
		world_turn(0);
}

void
user_say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL),
	    strlen(text));
}

void
user_hear(int fd, const char *text)
{
	char bytes[200];
	size_t len = 0;
	ssize_t n;

	while (len < strlen(text)) {
		user_poll(fd);
		n = recv(fd, bytes + len, sizeof bytes - 1 - len, MSG_DONTWAIT);
		ck_assert_msg(n > 0, "recv: %zd, %s", n, strerror(errno));
		len += (size_t)n;
	}
	bytes[len] = '\0';
	ck_assert_str_eq(bytes, text);
}

void
user_speak(int fd, const char *text)
{
	user_say(fd, text);
	user_hear(fd, text);
}

void
user_expect_reset(int fd)
{
	char byte;

	user_poll(fd);
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	close(fd);
}

void
user_leave(int fd)
{
	close(fd);
}
