/* SPDX-License-Identifier: ISC */
/* What a service manager is told, and when. */
#include <sys/socket.h>
#include <sys/un.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loop_turns.h"
#include "notify.h"

#define HEARD_MAX 500

static struct loop *loop;
static struct notify *notify;
static char heard[HEARD_MAX][300];
static double heard_at[HEARD_MAX];
static int n_heard;
static const char *status_text;

static void
hear(const char *text, void *arg)
{
	ck_assert_ptr_eq(arg, heard);
	ck_assert_int_lt(n_heard, HEARD_MAX);
	snprintf(heard[n_heard], sizeof heard[0], "%s", text);
	heard_at[n_heard++] = loop_now(loop);
}

static void
put_status(char *buf, size_t size, void *arg)
{
	ck_assert_ptr_eq(arg, &status_text);
	snprintf(buf, size, "%s", status_text);
}

static void
setup(void)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	n_heard = 0;
	status_text = "one";
	loop = loop_new();
	notify = NULL;
}

static void
teardown(void)
{
	notify_free(notify);
	loop_free(loop);
}

static void
make(int64_t watchdog_us)
{
	const struct notify_options options = {
		.send = hear,
		.send_arg = heard,
		.status = put_status,
		.status_arg = &status_text,
		.watchdog_us = watchdog_us,
	};

	notify = notify_new(loop, &options);
	ck_assert_ptr_nonnull(notify);
}

/* Until that many were heard, however slow the machine is. */
static void
run_until(int n)
{
	double until = loop_now(loop) + 20;

	while (n_heard < n) {
		ck_assert_msg(loop_now(loop) < until, "%d heard, not %d",
		    n_heard, n);
		loop_run_for(loop, 0.01);
	}
}

static int
count(const char *text)
{
	int i, n = 0;

	for (i = 0; i < n_heard; i++)
		n += strcmp(heard[i], text) == 0;
	return n;
}

START_TEST(test_states)
{
	make(0);
	ck_assert_int_eq(n_heard, 0);
	notify_ready(notify);
	ck_assert_str_eq(heard[0], "READY=1\nSTATUS=one");
	notify_reloading(notify);
	ck_assert_int_eq(strncmp(heard[1], "RELOADING=1\nMONOTONIC_USEC=", 27),
	    0);
	ck_assert_int_gt(atoll(heard[1] + 27), 0);
	notify_ready(notify);
	ck_assert_str_eq(heard[2], "READY=1");
	notify_stopping(notify);
	ck_assert_int_eq(strncmp(heard[3], "STOPPING=1\n", 11), 0);
	ck_assert_int_eq(n_heard, 4);
	/* And it is quiet after that. */
	status_text = "two";
	loop_run_for(loop, 1.3);
	ck_assert_int_eq(n_heard, 4);
	notify_ready(NULL);
	notify_reloading(NULL);
	notify_stopping(NULL);
	notify_free(NULL);
}
END_TEST

static void
change_often(void *arg)
{
	static char text[40];
	static unsigned n;
	struct loop_timer **timer = arg;

	snprintf(text, sizeof text, "number %u", ++n);
	status_text = text;
	loop_timer_set(*timer, 0.05);
}

START_TEST(test_status_when_it_changes)
{
	make(0);
	notify_ready(notify);
	loop_run_for(loop, 1.3);
	ck_assert_int_eq(n_heard, 1);
	status_text = "two";
	run_until(2);
	ck_assert_str_eq(heard[1], "STATUS=two");
	/* What would be another message is not. */
	status_text = "three\nREADY=1";
	run_until(3);
	ck_assert_str_eq(heard[2], "STATUS=three?READY=1");
}
END_TEST

START_TEST(test_status_once_a_second)
{
	struct loop_timer *timer;
	int i;

	make(0);
	timer = loop_timer_new(loop, change_often, &timer);
	loop_timer_set(timer, 0);
	notify_ready(notify);
	run_until(4);
	loop_timer_free(timer);
	for (i = 1; i < n_heard; i++)
		ck_assert(heard_at[i] - heard_at[i - 1] > 0.9);
}
END_TEST

START_TEST(test_watchdog)
{
	make(400000);
	loop_run_for(loop, 0.5);
	ck_assert_int_eq(n_heard, 0); /* not ready yet */
	notify_ready(notify);
	run_until(5);
	ck_assert_int_eq(count("WATCHDOG=1"), 4);
	for (int i = 2; i < n_heard; i++)
		ck_assert(heard_at[i] - heard_at[i - 1] > 0.15);
	notify_reloading(notify);
	notify_ready(notify);
	run_until(9);
	ck_assert_int_eq(count("WATCHDOG=1"), 6);
	notify_stopping(notify);
	n_heard = 0;
	loop_run_for(loop, 0.5);
	ck_assert_int_eq(n_heard, 0);
}
END_TEST

START_TEST(test_hung_loop_feeds_nobody)
{
	make(200000);
	notify_ready(notify);
	run_until(3);
	ck_assert_int_eq(count("WATCHDOG=1"), 2);
	usleep(500000);
	ck_assert_int_eq(count("WATCHDOG=1"), 2);
	run_until(5);
	ck_assert_int_eq(count("WATCHDOG=1"), 4);
	/* None is made up for. */
	ck_assert(heard_at[4] - heard_at[3] > 0.05);
}
END_TEST

START_TEST(test_watchdog_environment)
{
	char pid[32];

	ck_assert(notify_watchdog_us() == 0);
	setenv("WATCHDOG_USEC", "3000000", 1);
	ck_assert(notify_watchdog_us() == 3000000);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	ck_assert(notify_watchdog_us() == 3000000);
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert(notify_watchdog_us() == 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "0", 1);
	ck_assert(notify_watchdog_us() == 0);
	setenv("WATCHDOG_USEC", "often", 1);
	ck_assert(notify_watchdog_us() == 0);
}
END_TEST

/* --- to a socket ----------------------------------------------------------------- */

static int
listen_at(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun,
			     (socklen_t)(sizeof sun.sun_family + len)),
	    0);
	setenv("NOTIFY_SOCKET", path, 1);
	return fd;
}

static void
take(int fd, const char *wanted)
{
	char text[300];
	ssize_t n = recv(fd, text, sizeof text - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	ck_assert_str_eq(text, wanted);
}

static void
make_plain(void)
{
	const struct notify_options options = {
		.status = put_status,
		.status_arg = &status_text,
		.watchdog_us = 20000,
	};

	notify = notify_new(loop, &options);
}

START_TEST(test_socket)
{
	char path[80];
	int fd;

	snprintf(path, sizeof path, "%s%d",
	    _i == 0 ? "/tmp/check_notify." : "@check_notify.", (int)getpid());
	fd = listen_at(path);
	make_plain();
	notify_ready(notify);
	take(fd, "READY=1\nSTATUS=one");
	loop_run_for(loop, 0.015);
	take(fd, "WATCHDOG=1");
	close(fd);
	if (_i == 0)
		unlink(path);
	/* Nobody is there any more, or never was. */
	notify_stopping(notify);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	notify_ready(notify);
	setenv("NOTIFY_SOCKET", "", 1);
	notify_ready(notify);
}
END_TEST

/* The loop does not stand still because the service manager does. */
START_TEST(test_socket_that_nobody_reads)
{
	char path[80];
	struct timespec began, ended;
	int fd;

	snprintf(path, sizeof path, "/tmp/check_notify.%d", (int)getpid());
	fd = listen_at(path);
	make_plain();
	notify_ready(notify);
	clock_gettime(CLOCK_MONOTONIC, &began);
	/* More than its queue holds, by default 10, 512 with systemd. */
	loop_run_for(loop, 8);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	ck_assert_int_le(ended.tv_sec - began.tv_sec, 30);
	notify_reloading(notify);
	close(fd);
	unlink(path);
}
END_TEST

START_TEST(test_nobody_listens)
{
	make_plain();
	notify_ready(notify);
	loop_run_for(loop, 0.1);
	notify_stopping(notify);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tc = tcase_create("notify");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_states);
	tcase_add_test(tc, test_status_when_it_changes);
	tcase_add_test(tc, test_status_once_a_second);
	tcase_add_test(tc, test_watchdog);
	tcase_add_test(tc, test_hung_loop_feeds_nobody);
	tcase_add_test(tc, test_watchdog_environment);
	tcase_add_loop_test(tc, test_socket, 0, 2);
	tcase_add_test(tc, test_socket_that_nobody_reads);
	tcase_add_test(tc, test_nobody_listens);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
