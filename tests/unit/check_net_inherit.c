/* SPDX-License-Identifier: ISC */
/* Listening sockets of a process before this one; on real sockets. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "net_inherit.h"

static struct loop *loop;
static struct net_inherited *inherited;
static char dir[64];

static void
setup(void)
{
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	loop = loop_new();
	inherited = net_inherited_new();
	strcpy(dir, "/tmp/check_inherit.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
teardown(void)
{
	char command[100];

	net_inherited_free(inherited);
	loop_free(loop);
	snprintf(command, sizeof command, "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct addr
address(const char *text)
{
	struct addr addr;
	const char *why;

	ck_assert_msg(addr_parse(text, &addr, &why) == 0, "%s", why);
	return addr;
}

static struct net_listener *
listen_at(const char *text)
{
	struct addr addr = address(text);
	char error[400];
	struct net_listener *listener = net_listen(loop, &addr, error,
	    sizeof error);

	ck_assert_msg(listener != NULL, "%s", error);
	return listener;
}

static unsigned
port_of(const struct net_listener *listener)
{
	struct addr_sock sock;

	net_listener_address(listener, &sock);
	return ntohs(sock.sa.sa_family == AF_INET ? sock.in.sin_port :
						    sock.in6.sin6_port);
}

/* As a process before this one would have given it. */
static void
bequeath(struct net_listener *listener, const char *who)
{
	net_inherited_add(inherited, dup(net_listener_fd(listener)), who);
}

static int
claim_and_take(const char *text, const char *who)
{
	struct addr addr = address(text);

	net_inherited_claim(inherited, &addr, who);
	return net_inherited_take(inherited, &addr, who);
}

static void
assert_same(int fd, const struct net_listener *listener)
{
	struct stat x, y;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &x), 0);
	ck_assert_int_eq(fstat(net_listener_fd(listener), &y), 0);
	ck_assert_uint_eq(x.st_ino, y.st_ino);
	close(fd);
}

/* Of the same owner, whatever port the kernel had picked. */
START_TEST(test_port_zero_is_its_owners)
{
	struct net_listener *a = listen_at("127.0.0.1:0");
	struct net_listener *b = listen_at("127.0.0.1:0");

	bequeath(a, "tunnel a");
	bequeath(b, "tunnel b");
	assert_same(claim_and_take("127.0.0.1:0", "tunnel b"), b);
	assert_same(claim_and_take("127.0.0.1:0", "tunnel a"), a);
	ck_assert_int_eq(claim_and_take("127.0.0.1:0", "tunnel a"), -1);
	net_listener_free(a);
	net_listener_free(b);
}
END_TEST

/* With nobody's name, only the very address will do. */
START_TEST(test_by_address)
{
	struct net_listener *a = listen_at("127.0.0.1:0");
	char text[40];

	bequeath(a, "");
	ck_assert_int_eq(claim_and_take("127.0.0.1:0", "tunnel a"), -1);
	snprintf(text, sizeof text, "127.0.0.2:%u", port_of(a));
	ck_assert_int_eq(claim_and_take(text, "tunnel a"), -1);
	snprintf(text, sizeof text, ":%u", port_of(a));
	ck_assert_int_eq(claim_and_take(text, "tunnel a"), -1);
	snprintf(text, sizeof text, "127.0.0.1:%u", port_of(a));
	assert_same(claim_and_take(text, "tunnel a"), a);
	net_listener_free(a);
}
END_TEST

/* An address that went from one tunnel to another. */
START_TEST(test_other_owner)
{
	struct net_listener *a = listen_at("127.0.0.1:0");
	char text[40];

	bequeath(a, "tunnel a");
	snprintf(text, sizeof text, "127.0.0.1:%u", port_of(a));
	assert_same(claim_and_take(text, "tunnel b"), a);
	net_listener_free(a);
}
END_TEST

/* ":port" is both families; "[::]:port" is not. */
START_TEST(test_wildcards)
{
	struct net_listener *both = listen_at(":0");
	struct net_listener *six = listen_at("[::]:0");
	char text[40];

	bequeath(both, "");
	bequeath(six, "");
	snprintf(text, sizeof text, "[::]:%u", port_of(both));
	ck_assert_int_eq(claim_and_take(text, "gateway"), -1);
	snprintf(text, sizeof text, ":%u", port_of(six));
	ck_assert_int_eq(claim_and_take(text, "gateway"), -1);
	snprintf(text, sizeof text, ":%u", port_of(both));
	assert_same(claim_and_take(text, "gateway"), both);
	snprintf(text, sizeof text, "[::]:%u", port_of(six));
	assert_same(claim_and_take(text, "gateway"), six);
	net_listener_free(both);
	net_listener_free(six);
}
END_TEST

START_TEST(test_unix)
{
	struct net_listener *a;
	char text[100];

	snprintf(text, sizeof text, "unix:%s/a", dir);
	a = listen_at(text);
	bequeath(a, "");
	bequeath(a, "");
	assert_same(claim_and_take(text, "tunnel a"), a);
	/* Without its file nobody would find it. */
	net_listener_free(a);
	ck_assert_int_eq(access(text + 5, F_OK), -1);
	ck_assert_int_eq(claim_and_take(text, "tunnel a"), -1);
}
END_TEST

/* The file of one that is kept stays, and serves whoever adopts it. */
START_TEST(test_keep_and_adopt)
{
	struct net_listener *a, *b;
	struct addr addr;
	char text[100], error[400];

	snprintf(text, sizeof text, "unix:%s/a", dir);
	addr = address(text);
	a = listen_at(text);
	bequeath(a, "tunnel a");
	net_listener_keep(a);
	net_listener_free(a);
	ck_assert_int_eq(access(text + 5, F_OK), 0);
	net_inherited_claim(inherited, &addr, "tunnel a");
	b = net_inherited_listen(inherited, loop, &addr, "tunnel a", error,
	    sizeof error);
	ck_assert_ptr_nonnull(b);
	ck_assert_int_eq(access(text + 5, F_OK), 0);
	net_listener_free(b);
	ck_assert_int_eq(access(text + 5, F_OK), -1);
}
END_TEST

/* What nobody claimed is closed, and may be bound anew; what was claimed may
 * not. */
START_TEST(test_drop)
{
	struct net_listener *a = listen_at("127.0.0.1:0"), *b;
	struct net_listener *c = listen_at("127.0.0.1:0");
	char at_a[40], at_c[40], error[400];
	struct addr addr;

	snprintf(at_a, sizeof at_a, "127.0.0.1:%u", port_of(a));
	snprintf(at_c, sizeof at_c, "127.0.0.1:%u", port_of(c));
	bequeath(a, "tunnel a");
	bequeath(c, "tunnel c");
	net_listener_free(a);
	addr = address(at_c);
	net_inherited_claim(inherited, &addr, "tunnel c");
	ck_assert_uint_eq(net_inherited_drop(inherited), 1);
	ck_assert_uint_eq(net_inherited_drop(inherited), 0);
	b = listen_at(at_a);
	net_listener_free(b);
	assert_same(net_inherited_take(inherited, &addr, "tunnel c"), c);
	/* Nothing inherited: bound, as ever. */
	addr = address(at_a);
	b = net_inherited_listen(NULL, loop, &addr, "x", error, sizeof error);
	ck_assert_ptr_nonnull(b);
	net_listener_free(b);
	net_listener_free(c);
}
END_TEST

START_TEST(test_no_listening_socket)
{
	struct net_listener *a = listen_at("127.0.0.1:0");
	int udp = socket(AF_INET, SOCK_DGRAM, 0), fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	net_inherited_add(inherited, udp, "");
	net_inherited_add(inherited, fds[0], "");
	net_inherited_add(inherited, fds[1], "");
	ck_assert_int_eq(fcntl(udp, F_GETFD), -1);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
	ck_assert_int_eq(fcntl(fds[1], F_GETFD), -1);
	net_listener_free(a);
}
END_TEST

static void
on_accepted(int fd, const struct addr_sock *from, void *arg)
{
	(void)from;
	*(int *)arg = fd;
}

/* Somebody comes; what his socket is set to. */
static void
accept_one(struct net_listener *listener, bool tcp)
{
	struct addr_sock at;
	int user, fd = -1, inlined = 0;
	socklen_t len = sizeof inlined;

	net_listener_address(listener, &at);
	net_listener_start(listener, on_accepted, &fd);
	user = socket(at.sa.sa_family, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(user, &at.sa, at.len), 0);
	net_listener_accept_all(listener);
	ck_assert_int_ne(fd, -1);
	if (tcp)
		ck_assert(net_is_set_up(fd));
	getsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &inlined, &len);
	ck_assert_int_ne(inlined, 0);
	close(fd);
	close(user);
	net_listener_free(listener);
}

/* By inheritance, or one by one where the listener had nothing to hand on. */
START_TEST(test_who_is_accepted_is_set_up)
{
	char text[100], error[400];
	struct addr addr = address("127.0.0.1:0");
	struct addr_sock at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	accept_one(listen_at("127.0.0.1:0"), true);
	ck_assert_int_eq(addr_to_sock(&addr, &at), 0);
	ck_assert_int_eq(bind(fd, &at.sa, at.len), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert(!net_is_set_up(fd));
	accept_one(net_adopt(loop, &addr, fd, error, sizeof error), true);
	snprintf(text, sizeof text, "unix:%s/socket", dir);
	accept_one(listen_at(text), false);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("net_inherit");
	TCase *tcase = tcase_create("inherit");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_port_zero_is_its_owners);
	tcase_add_test(tcase, test_by_address);
	tcase_add_test(tcase, test_other_owner);
	tcase_add_test(tcase, test_wildcards);
	tcase_add_test(tcase, test_unix);
	tcase_add_test(tcase, test_keep_and_adopt);
	tcase_add_test(tcase, test_drop);
	tcase_add_test(tcase, test_no_listening_socket);
	tcase_add_test(tcase, test_who_is_accepted_is_set_up);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
