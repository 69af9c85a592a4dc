/* SPDX-License-Identifier: ISC */
/* Lines, levels and escaping of the log. */
#include <sys/socket.h>

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define STAMP_LENGTH 24 /* 2026-11-21T09:00:00.123Z */
#define THREADS 4
#define LINES 100

/*
 * Stands in for stderr: a socket that keeps messages apart, so that one write
 * is one message.
 */
static int lines;
static int real_stderr;

static void
setup(void)
{
	int fds[2];
	int size = 1 << 20;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	real_stderr = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	lines = fds[0];
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_DEBUG);
}

static void
teardown(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(lines);
}

/* The text of the next line behind its date, or NULL if there is none. */
static const char *
next_line(void)
{
	static char line[4096];
	ssize_t n = recv(lines, line, sizeof line - 1, MSG_DONTWAIT);
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";

	if (n < 0)
		return NULL;
	line[n] = '\0';
	ck_assert_int_gt(n, STAMP_LENGTH + 2);
	for (size_t i = 0; form[i] != '\0'; i++)
		if (form[i] == 'd')
			ck_assert_msg(line[i] >= '0' && line[i] <= '9', "%s",
			    line);
		else
			ck_assert_msg(line[i] == form[i], "%s", line);
	ck_assert_ptr_eq(strchr(line, '\n'), line + n - 1);
	return line + STAMP_LENGTH + 1;
}

/* As above, of somebody else who is about to say it. */
static const char *
await_line(void)
{
	struct pollfd pfd = { .fd = lines, .events = POLLIN };

	return poll(&pfd, 1, 2000) == 1 ? next_line() : NULL;
}

START_TEST(one_line_each)
{
	log_error("disk %s is %d%% full", "a", 99);
	log_warning("w");
	log_notice("homelab: link up");
	log_info("%s", "");
	log_debug("d");
	ck_assert_str_eq(next_line(), "error: disk a is 99% full\n");
	ck_assert_str_eq(next_line(), "warning: w\n");
	ck_assert_str_eq(next_line(), "notice: homelab: link up\n");
	ck_assert_str_eq(next_line(), "info: \n");
	ck_assert_str_eq(next_line(), "debug: d\n");
	ck_assert_ptr_null(next_line());
}
END_TEST

START_TEST(levels)
{
	static const char *const names[] = { "error", "warning", "notice",
		"info", "debug" };
	enum log_level level;

	for (int i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		ck_assert_str_eq(log_level_name((enum log_level)i), names[i]);
		ck_assert_int_eq(log_level_parse(names[i], &level), 0);
		ck_assert_int_eq(level, i);
		log_set_level((enum log_level)i);
		ck_assert_int_eq(log_get_level(), i);
		log_error("0");
		log_warning("1");
		log_notice("2");
		log_info("3");
		log_debug("4");
		for (int j = 0; j <= i; j++)
			ck_assert_ptr_nonnull(next_line());
		ck_assert_ptr_null(next_line());
	}
	ck_assert_int_eq(log_level_parse("", &level), -1);
	ck_assert_int_eq(log_level_parse("Error", &level), -1);
	ck_assert_int_eq(log_level_parse("errors", &level), -1);
	ck_assert_int_eq(log_level_parse("inf", &level), -1);
	ck_assert_ptr_nonnull(log_level_name((enum log_level)99));
}
END_TEST

START_TEST(date_is_utc_and_now)
{
	char line[256];
	struct tm tm;
	struct timespec before, after;
	time_t then;
	ssize_t n;

	/* Not time(): it goes by the tick, and is a second behind for a while. */
	clock_gettime(CLOCK_REALTIME, &before);
	setenv("TZ", "XXX-7:30", 1);
	tzset();
	log_info("x");
	n = recv(lines, line, sizeof line - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	line[n] = '\0';
	memset(&tm, 0, sizeof tm);
	ck_assert_ptr_nonnull(strptime(line, "%Y-%m-%dT%H:%M:%S", &tm));
	then = timegm(&tm);
	clock_gettime(CLOCK_REALTIME, &after);
	ck_assert_int_ge(then, before.tv_sec);
	ck_assert_int_le(then, after.tv_sec);
}
END_TEST

START_TEST(long_lines_are_cut)
{
	char text[5000];
	const char *line;

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	log_info("%s", text);
	line = next_line();
	ck_assert_uint_eq(strlen(line), strlen("info: ") + 1023 + 1);
	ck_assert_ptr_null(next_line());
}
END_TEST

START_TEST(control_characters_make_no_line)
{
	log_info("a\nb\r\t\033[0m\x7f%c", '\n');
	ck_assert_str_eq(next_line(), "info: a?b???[0m??\n");
	ck_assert_ptr_null(next_line());
}
END_TEST

START_TEST(errno_is_kept)
{
	int fd;

	errno = ENOENT;
	log_error("%m");
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_str_eq(next_line(), "error: No such file or directory\n");
	/* Even with nobody to write to. */
	fd = dup(STDERR_FILENO);
	close(STDERR_FILENO);
	errno = ENOENT;
	log_error("lost");
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}
END_TEST

START_TEST(syslog_leaves_stderr_alone)
{
	log_open(LOG_TARGET_SYSLOG, LOG_LEVEL_ERROR);
	errno = EAGAIN;
	log_error("check_log: a test of tunneld");
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_ptr_null(next_line());
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_INFO);
	log_info("back");
	ck_assert_str_eq(next_line(), "info: back\n");
}
END_TEST

static void *
talk(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_notice("thread %d says %d and more", *(int *)arg, i);
	return NULL;
}

START_TEST(threads_do_not_mix)
{
	pthread_t threads[THREADS];
	int numbers[THREADS], said[THREADS] = { 0 };
	int who, what, count = 0;
	const char *line;
	char end;

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, talk,
				     &numbers[i]),
		    0);
	}
	while (count < THREADS * LINES) {
		line = await_line();
		ck_assert_ptr_nonnull(line);
		ck_assert_int_eq(sscanf(line,
				     "notice: thread %d says %d and mor%c\n",
				     &who, &what, &end),
		    3);
		ck_assert_int_eq(what, said[who]++);
		count++;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(fatal_exits_with_1)
{
	log_set_level(LOG_LEVEL_ERROR);
	log_fatal("no %s", "disk");
}
END_TEST

START_TEST(fatal_says_why)
{
	const char *line;
	pid_t pid = fork();

	if (pid == 0)
		log_fatal("no %s", "disk");
	ck_assert_int_gt(pid, 0);
	line = await_line();
	ck_assert_msg(line != NULL, "it said nothing");
	ck_assert_str_eq(line, "error: no disk\n");
}
END_TEST

/* Puts data through log_escape() into a buffer of exactly size bytes. */
static void
escapes(const char *data, size_t len, size_t size, const char *wanted)
{
	char *out = malloc(size);

	ck_assert_ptr_eq(log_escape(out, size, data, len), out);
	ck_assert_str_eq(out, wanted);
	free(out);
}

START_TEST(escape)
{
	escapes("", 0, 8, "");
	escapes(NULL, 0, 8, "");
	escapes("plain ~text", 11, 64, "plain ~text");
	escapes("a\nb\0c\\d\x7f\xff", 9, 64, "a\\x0ab\\x00c\\x5cd\\x7f\\xff");
	/* What fits to the last byte is whole, else it ends with "...". */
	escapes("1234567", 7, 8, "1234567");
	escapes("12345678", 8, 8, "1234...");
	escapes("\n", 1, 8, "\\x0a");
	escapes("123\n", 4, 8, "123\\x0a");
	escapes("1234\n", 5, 8, "1234...");
	escapes("\n\n", 2, 8, "\\x0a...");
	escapes("\n\n", 2, 9, "\\x0a\\x0a");
}
END_TEST

START_TEST(escape_every_size)
{
	char data[40];

	for (size_t len = 0; len <= sizeof data; len++)
		for (size_t size = 8; size < 170; size++) {
			char *out = malloc(size);
			size_t n;

			for (size_t i = 0; i < len; i++)
				data[i] = (char)(i * 37 + len);
			log_escape(out, size, data, len);
			n = strlen(out);
			ck_assert_uint_lt(n, size);
			for (size_t i = 0; i < n; i++)
				ck_assert(out[i] >= 0x20 && out[i] < 0x7f);
			if (size > 4 * len)
				ck_assert(n < 3 ||
				    strcmp(out + n - 3, "...") != 0);
			free(out);
		}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("lines"), *esc = tcase_create("escape");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_line_each);
	tcase_add_test(tc, levels);
	tcase_add_test(tc, date_is_utc_and_now);
	tcase_add_test(tc, long_lines_are_cut);
	tcase_add_test(tc, control_characters_make_no_line);
	tcase_add_test(tc, errno_is_kept);
	tcase_add_test(tc, syslog_leaves_stderr_alone);
	tcase_add_test(tc, threads_do_not_mix);
	tcase_add_exit_test(tc, fatal_exits_with_1, 1);
	tcase_add_test(tc, fatal_says_why);
	suite_add_tcase(suite, tc);
	tcase_add_test(esc, escape);
	tcase_add_test(esc, escape_every_size);
	suite_add_tcase(suite, esc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
