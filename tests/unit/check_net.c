/* SPDX-License-Identifier: ISC */
#include <sys/resource.h>
#include <sys/socket.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop_turns.h"
#include "net.h"

#define CROWD 40
#define LIMIT 100

static struct loop *loop;
static struct net_listener *listener;
static int in[CROWD], out[CROWD];
static int accepted;

static void
take(int fd, const struct addr_sock *from, void *arg)
{
	(void)from;
	(void)arg;
	ck_assert_int_lt(accepted, CROWD);
	in[accepted++] = fd;
}

/* As many users as there are, while LIMIT descriptors may be in use. */
static void
let_come(const unsigned *due)
{
	struct rlimit limit;
	struct addr_sock address;
	struct addr addr;
	const char *why;
	char error[200];
	int i;

	ck_assert_int_eq(addr_parse("127.0.0.1:0", &addr, &why), 0);
	loop = loop_new();
	listener = net_listen(loop, &addr, error, sizeof error);
	ck_assert_ptr_nonnull(listener);
	net_listener_address(listener, &address);
	for (i = 0; i < CROWD; i++) {
		out[i] = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_eq(connect(out[i], &address.sa, address.len), 0);
	}
	ck_assert_int_lt(out[CROWD - 1], LIMIT * 3 / 4 - 1);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = LIMIT;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	accepted = 0;
	net_listener_yield(listener, due);
	net_listener_start(listener, take, NULL);
	loop_run_for(loop, 0.1);
}

static void
leave(void)
{
	for (int i = 0; i < CROWD; i++)
		close(out[i]);
	while (accepted > 0)
		close(in[--accepted]);
	net_listener_free(listener);
	loop_free(loop);
}

/* The gateway takes whoever comes. */
START_TEST(takes_all)
{
	let_come(NULL);
	ck_assert_int_eq(accepted, CROWD);
	leave();
}
END_TEST

/* A quarter is left for links and channels. */
START_TEST(yields)
{
	unsigned due = 0;

	let_come(&due);
	ck_assert_int_lt(accepted, CROWD);
	ck_assert_int_eq(in[accepted - 1], LIMIT * 3 / 4);
	leave();
}
END_TEST

/* Those who wait for a second one will have it. */
START_TEST(yields_sooner)
{
	unsigned due = 10;
	int before;

	let_come(&due);
	before = accepted;
	ck_assert_int_eq(in[accepted - 1], LIMIT * 3 / 4 - 10);
	due = 5;
	/* Until the pause is over, after a second, and somebody was taken. */
	for (int i = 0; i < 20 && accepted == before; i++)
		loop_run_for(loop, 1);
	ck_assert_int_eq(in[accepted - 1], LIMIT * 3 / 4 - 5);
	leave();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("net");
	TCase *tc = tcase_create("descriptors");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, takes_all);
	tcase_add_test(tc, yields);
	tcase_add_test(tc, yields_sooner);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
