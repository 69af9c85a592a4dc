/* SPDX-License-Identifier: ISC */
/* Listeners that move, go, and are swapped; on real sockets. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "net_plan.h"

static struct loop *loop;
static struct loop_timer *stop;
static char dir[64];
static char last_error[600];
static int errors;

/* Who accepts, and how many. */
struct owner {
	int n;
	int lent; /* the descriptor; -1: none */
};

static void
accepted(int fd, const struct addr_sock *from, void *arg)
{
	struct owner *owner = arg;

	(void)from;
	owner->n++;
	close(fd);
}

static void
lent(int fd, void *arg)
{
	struct owner *owner = arg;

	owner->lent = fd;
}

static void
failed(const char *text, void *arg)
{
	ck_assert_ptr_eq(arg, &errors);
	snprintf(last_error, sizeof last_error, "%s", text);
	errors++;
}

static void
turn_over(void *arg)
{
	loop_stop(arg);
}

static void
turn(void)
{
	loop_timer_set(stop, 0.05);
	ck_assert_int_eq(loop_run(loop), 0);
}

static void
setup(void)
{
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	stop = loop_timer_new(loop, turn_over, loop);
	strcpy(dir, "/tmp/check_net_plan.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	errors = 0;
}

static void
teardown(void)
{
	loop_timer_free(stop);
	loop_free(loop);
	rmdir(dir);
}

static struct addr
parse(const char *text)
{
	struct addr addr;
	const char *why;

	ck_assert_int_eq(addr_parse(text, &addr, &why), 0);
	return addr;
}

static struct addr
path(const char *name)
{
	char text[100];

	snprintf(text, sizeof text, "unix:%s/%s", dir, name);
	return parse(text);
}

static struct addr
port_of(const char *host, unsigned port)
{
	char text[100];

	snprintf(text, sizeof text, "%s:%u", host, port);
	return parse(text);
}

static struct net_listener *
listen_at(struct addr addr, struct owner *owner)
{
	char error[400];
	struct net_listener *listener = net_listen(loop, &addr, error,
	    sizeof error);

	ck_assert_msg(listener != NULL, "%s", error);
	if (owner != NULL)
		net_listener_start(listener, accepted, owner);
	return listener;
}

/* A port that nobody has. */
static unsigned
pick_port(void)
{
	struct net_listener *listener = listen_at(parse("127.0.0.1:0"), NULL);
	struct addr_sock bound;

	net_listener_address(listener, &bound);
	net_listener_free(listener);
	return ntohs(bound.in.sin_port);
}

/* A user: the kernel takes it in, nobody has accepted it. -1: refused. */
static int
knock(struct addr addr)
{
	struct addr_sock sock;
	int fd;

	ck_assert_int_eq(addr_to_sock(&addr, &sock), 0);
	fd = socket(sock.sa.sa_family, SOCK_STREAM, 0);
	ck_assert_int_ne(fd, -1);
	if (connect(fd, &sock.sa, sock.len) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool
is_there(struct addr addr)
{
	return access(addr.host, F_OK) == 0;
}

static struct net_plan *
plan_of(struct net_listener *leaves)
{
	struct net_plan *plan = net_plan_new(loop);

	ck_assert_ptr_nonnull(plan);
	if (leaves != NULL)
		ck_assert_int_eq(net_plan_leave(plan, leaves), 0);
	return plan;
}

static int
want(struct net_plan *plan, struct addr addr)
{
	int ticket = net_plan_want(plan, &addr, NULL, "it: ");

	ck_assert_int_ge(ticket, 0);
	return ticket;
}

static void
carry_out(struct net_plan *plan)
{
	ck_assert_int_eq(net_plan_bind(plan, failed, &errors), 0);
	ck_assert_int_eq(net_plan_swap(plan, failed, &errors), 0);
}

START_TEST(moves_with_its_backlog)
{
	struct owner before = { 0 }, after = { 0 };
	struct net_listener *old = listen_at(path("a"), &before);
	struct net_plan *plan = plan_of(old);
	int ticket = want(plan, path("a")), user = knock(path("a"));

	carry_out(plan);
	ck_assert_ptr_eq(net_plan_take(plan, ticket), old);
	ck_assert(net_plan_moved(plan, ticket));
	net_listener_start(old, accepted, &after);
	net_plan_commit(plan);
	turn();
	ck_assert_int_eq(before.n, 0);
	ck_assert_int_eq(after.n, 1);
	ck_assert(is_there(path("a")));
	close(user);
	net_listener_free(old);
	ck_assert(!is_there(path("a")));
}
END_TEST

START_TEST(goes_after_its_backlog)
{
	struct owner before = { 0 };
	struct net_plan *plan = plan_of(listen_at(path("a"), &before));
	int user = knock(path("a"));

	carry_out(plan);
	ck_assert_int_eq(before.n, 1);
	net_plan_commit(plan);
	ck_assert(!is_there(path("a")));
	close(user);
}
END_TEST

START_TEST(abandoned_plan_changes_nothing)
{
	struct owner before = { 0 };
	struct net_listener *old = listen_at(path("a"), &before);
	struct net_plan *plan = plan_of(old);
	int user;

	want(plan, path("a"));
	want(plan, path("b"));
	carry_out(plan);
	ck_assert(is_there(path("b")));
	net_plan_abandon(plan);
	ck_assert(!is_there(path("b")));
	user = knock(path("a"));
	turn();
	ck_assert_int_eq(before.n, 1);
	close(user);
	net_listener_free(old);
	net_plan_abandon(NULL);
}
END_TEST

START_TEST(each_keeps_its_picked_port)
{
	struct addr any = parse("127.0.0.1:0");
	struct net_listener *x = listen_at(any, NULL),
			    *y = listen_at(any, NULL);
	struct net_plan *plan = plan_of(x);
	int first, own, new;

	ck_assert_int_eq(net_plan_leave(plan, y), 0);
	first = want(plan, any);
	own = net_plan_want(plan, &any, x, "");
	new = want(plan, any);
	carry_out(plan);
	ck_assert_ptr_eq(net_plan_take(plan, own), x);
	ck_assert_ptr_eq(net_plan_take(plan, first), y);
	ck_assert(!net_plan_moved(plan, new));
	net_listener_free(net_plan_take(plan, new));
	net_plan_commit(plan);
	net_listener_free(x);
	net_listener_free(y);
}
END_TEST

START_TEST(swaps_those_that_overlap)
{
	static const char *const hosts[] = { "0.0.0.0", "127.0.0.1", "" };
	struct owner owner = { 0 };
	unsigned port = pick_port();
	struct net_listener *at = listen_at(port_of("127.0.0.1", port), &owner);
	size_t i;

	for (i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
		struct net_plan *plan = plan_of(at);
		int ticket = want(plan, port_of(hosts[i], port));
		int user = knock(port_of("127.0.0.1", port));

		carry_out(plan);
		ck_assert_int_eq(owner.n, 1);
		at = net_plan_take(plan, ticket);
		net_listener_start(at, accepted, &owner);
		net_plan_commit(plan);
		close(user);
		user = knock(port_of("127.0.0.1", port));
		ck_assert_int_ne(user, -1);
		turn();
		ck_assert_int_eq(owner.n, 2);
		owner.n = 0;
		close(user);
	}
	net_listener_free(at);
}
END_TEST

/* Another process has the socket, too. */
static void
let_go(void *arg)
{
	int *elsewhere = arg;

	ck_assert_int_ne(*elsewhere, -1);
	close(*elsewhere);
	*elsewhere = -1;
}

START_TEST(swaps_what_another_lets_go)
{
	unsigned port = pick_port();
	struct net_listener *at = listen_at(port_of("127.0.0.1", port), NULL);
	int elsewhere = dup(net_listener_fd(at)), ticket;
	struct net_plan *plan = plan_of(at);

	ticket = want(plan, port_of("0.0.0.0", port));
	net_plan_on_release(plan, let_go, &elsewhere);
	carry_out(plan);
	ck_assert_int_eq(elsewhere, -1);
	net_listener_free(net_plan_take(plan, ticket));
	net_plan_commit(plan);
}
END_TEST

/* Where nothing is in the way nobody is asked. */
START_TEST(moves_without_letting_go)
{
	unsigned port = pick_port();
	struct net_listener *at = listen_at(port_of("127.0.0.1", port), NULL);
	int elsewhere = dup(net_listener_fd(at)), ticket;
	struct net_plan *plan = plan_of(at);

	ticket = want(plan, port_of("127.0.0.1", port));
	net_plan_on_release(plan, let_go, &elsewhere);
	carry_out(plan);
	ck_assert_int_ne(elsewhere, -1);
	close(elsewhere);
	net_listener_free(net_plan_take(plan, ticket));
	net_plan_commit(plan);
}
END_TEST

START_TEST(swap_that_fails_is_undone)
{
	struct owner owner = { 0 };
	unsigned port = pick_port(), other = pick_port();
	struct net_listener *old = listen_at(port_of("127.0.0.1", port),
	    &owner);
	struct net_listener *also = listen_at(port_of("127.0.0.1", other),
	    &owner);
	struct net_listener *foreign = listen_at(port_of("127.0.0.2", other),
	    &owner);
	struct net_plan *plan = plan_of(old);
	int x, y;

	ck_assert_int_eq(net_plan_leave(plan, also), 0);
	want(plan, port_of("0.0.0.0", port));
	want(plan, port_of("0.0.0.0", other));
	ck_assert_int_eq(net_plan_bind(plan, failed, &errors), 0);
	ck_assert_int_eq(net_plan_swap(plan, failed, &errors), -1);
	ck_assert_int_eq(errors, 1);
	ck_assert(strstr(last_error, "it: listen 0.0.0.0:") == last_error);
	net_plan_abandon(plan);
	x = knock(port_of("127.0.0.1", port));
	y = knock(port_of("127.0.0.1", other));
	turn();
	ck_assert_int_eq(owner.n, 2);
	ck_assert_int_eq(knock(port_of("127.0.0.3", port)), -1);
	close(x);
	close(y);
	net_listener_free(old);
	net_listener_free(also);
	net_listener_free(foreign);
}
END_TEST

START_TEST(all_that_is_taken_is_told)
{
	struct net_listener *x = listen_at(path("x"), NULL);
	struct net_listener *y = listen_at(path("y"), NULL);
	struct net_plan *plan = plan_of(NULL);

	want(plan, path("x"));
	want(plan, path("z"));
	want(plan, path("y"));
	ck_assert_int_eq(net_plan_bind(plan, failed, &errors), -1);
	ck_assert_int_eq(errors, 2);
	net_plan_abandon(plan);
	ck_assert(is_there(path("x")) && is_there(path("y")));
	ck_assert(!is_there(path("z")));
	net_listener_free(x);
	net_listener_free(y);
}
END_TEST

/* The same file by another name, and one that was put in its place. */
START_TEST(file_of_another_stays)
{
	struct net_listener *old = listen_at(path("a"), NULL), *new;
	struct net_plan *plan = plan_of(old);
	int ticket = want(plan, path("/a"));

	carry_out(plan);
	new = net_plan_take(plan, ticket);
	ck_assert_ptr_ne(new, old);
	net_plan_commit(plan);
	ck_assert(is_there(path("a")));
	ck_assert_int_eq(unlink(path("a").host), 0);
	old = listen_at(path("a"), NULL);
	net_listener_free(new);
	ck_assert(is_there(path("a")));
	net_listener_free(old);
	ck_assert(!is_there(path("a")));
}
END_TEST

START_TEST(lent_one_is_taken_back)
{
	struct owner borrower = { .lent = -1 }, owner = { 0 };
	struct net_listener *listener = listen_at(path("a"), NULL);
	int user;

	net_listener_lend(listener, lent, &borrower);
	ck_assert_int_ne(borrower.lent, -1);
	net_listener_suspend(listener);
	ck_assert_int_eq(borrower.lent, -1);
	ck_assert_int_eq(net_listener_resume(listener, last_error,
			     sizeof last_error),
	    0);
	ck_assert_int_ne(borrower.lent, -1);
	net_listener_start(listener, accepted, &owner);
	ck_assert_int_eq(borrower.lent, -1);
	user = knock(path("a"));
	turn();
	ck_assert_int_eq(owner.n, 1);
	close(user);
	net_listener_free(listener);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("net_plan");
	TCase *tc = tcase_create("plan");
	SRunner *runner = srunner_create(suite);
	int n;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, moves_with_its_backlog);
	tcase_add_test(tc, goes_after_its_backlog);
	tcase_add_test(tc, abandoned_plan_changes_nothing);
	tcase_add_test(tc, each_keeps_its_picked_port);
	tcase_add_test(tc, swaps_those_that_overlap);
	tcase_add_test(tc, swaps_what_another_lets_go);
	tcase_add_test(tc, moves_without_letting_go);
	tcase_add_test(tc, swap_that_fails_is_undone);
	tcase_add_test(tc, all_that_is_taken_is_told);
	tcase_add_test(tc, file_of_another_stays);
	tcase_add_test(tc, lent_one_is_taken_back);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	n = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
