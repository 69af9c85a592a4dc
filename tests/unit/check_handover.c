/* SPDX-License-Identifier: ISC */
/* Messages between the processes of a daemon; on real socket pairs. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover.h"

static struct handover *here, *there;

static void
setup(void)
{
	int fds[2];

	ck_assert_int_eq(handover_pair(fds), 0);
	here = handover_new(fds[0]);
	there = handover_new(fds[1]);
	ck_assert_ptr_nonnull(here);
	ck_assert_ptr_nonnull(there);
}

static void
teardown(void)
{
	handover_free(here);
	handover_free(there);
}

START_TEST(test_text)
{
	struct handover_message message;

	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_AGAIN);
	ck_assert_int_eq(handover_say(here, HANDOVER_FAILED, "no such port"),
	    0);
	ck_assert_int_eq(handover_say(here, HANDOVER_ALIVE, NULL), 0);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_int_eq(message.type, HANDOVER_FAILED);
	ck_assert_str_eq(message.body, "no such port");
	ck_assert_uint_eq(message.len, 12);
	ck_assert_int_eq(message.fd, -1);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_int_eq(message.type, HANDOVER_ALIVE);
	ck_assert_uint_eq(message.len, 0);
	ck_assert_str_eq(message.body, "");
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_AGAIN);
}
END_TEST

START_TEST(test_long_text_is_cut)
{
	static char text[HANDOVER_TEXT_MAX + 100];
	struct handover_message message;

	memset(text, 'x', sizeof text - 1);
	ck_assert_int_eq(handover_say(here, HANDOVER_FAILED, text), 0);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_uint_eq(message.len, HANDOVER_TEXT_MAX);
}
END_TEST

START_TEST(test_descriptor)
{
	struct handover_message message = {
		.type = HANDOVER_KEEP,
		.number = 77,
		.body = "gateway",
		.len = 7,
	};
	char byte = 'x';
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	message.fd = fds[0];
	ck_assert_int_eq(handover_send(here, &message), 0);
	close(fds[0]);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_int_eq(message.type, HANDOVER_KEEP);
	ck_assert_uint_eq(message.number, 77);
	ck_assert_str_eq(message.body, "gateway");
	ck_assert_int_ge(message.fd, 0);
	ck_assert_int_eq(fcntl(message.fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(write(fds[1], &byte, 1), 1);
	byte = 0;
	ck_assert_int_eq(read(message.fd, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	close(message.fd);
	close(fds[1]);
}
END_TEST

/* The largest, with its end. */
START_TEST(test_largest)
{
	static uint8_t body[HANDOVER_BODY_MAX + 1];
	struct handover_message message = {
		.type = HANDOVER_USER,
		.body = body,
		.len = HANDOVER_BODY_MAX,
		.fd = -1,
	};

	memset(body, 0xa5, sizeof body);
	ck_assert_int_eq(handover_send(here, &message), 0);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_uint_eq(message.len, HANDOVER_BODY_MAX);
	ck_assert_mem_eq(message.body, body, HANDOVER_BODY_MAX);
	message.body = body;
	message.len = HANDOVER_BODY_MAX + 1;
	ck_assert_int_eq(handover_send(here, &message), -1);
}
END_TEST

/* More than the socket takes: in order, with their descriptors, which the
 * sender may close at once. */
START_TEST(test_queue)
{
	enum { MANY = 3000 };
	struct handover_message message;
	int fds[2], i;

	for (i = 0; i < MANY; i++) {
		ck_assert_int_eq(pipe(fds), 0);
		message = (struct handover_message){
			.type = HANDOVER_LISTENER,
			.number = (uint64_t)i,
			.fd = i % 100 == 0 ? fds[0] : -1,
		};
		ck_assert_int_eq(handover_send(here, &message), 0);
		close(fds[0]);
		close(fds[1]);
	}
	ck_assert(handover_is_pending(here));
	for (i = 0; i < MANY; i++) {
		while (handover_receive(there, &message) != HANDOVER_OK)
			ck_assert_int_eq(handover_flush(here), 0);
		ck_assert_uint_eq(message.number, (uint64_t)i);
		ck_assert_int_eq(message.fd != -1, i % 100 == 0);
		if (message.fd != -1)
			close(message.fd);
	}
	ck_assert(!handover_is_pending(here));
}
END_TEST

START_TEST(test_queue_is_bounded)
{
	int i, sent = 0;

	for (i = 0; i < 2 * HANDOVER_QUEUE_MAX; i++) {
		if (handover_say(here, HANDOVER_ALIVE, NULL) != 0)
			break;
		sent++;
	}
	ck_assert_int_ge(sent, HANDOVER_QUEUE_MAX);
	ck_assert_int_lt(sent, 2 * HANDOVER_QUEUE_MAX);
}
END_TEST

START_TEST(test_gone)
{
	struct handover_message message;

	ck_assert_int_eq(handover_say(here, HANDOVER_LEFT, NULL), 0);
	handover_free(here);
	here = NULL;
	/* What it said last is there. */
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_int_eq(message.type, HANDOVER_LEFT);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_GONE);
	ck_assert_int_eq(handover_say(there, HANDOVER_GO, NULL), -1);
	ck_assert_int_eq(handover_await(there, &message, 5), HANDOVER_GONE);
}
END_TEST

/* It leaves without having read what it was told: what it said counts. */
START_TEST(test_gone_in_haste)
{
	struct handover_message message;

	ck_assert_int_eq(handover_say(there, HANDOVER_GO, NULL), 0);
	ck_assert_int_eq(handover_say(here, HANDOVER_FAILED, "no"), 0);
	handover_free(here);
	here = NULL;
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_OK);
	ck_assert_str_eq(message.body, "no");
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_GONE);
}
END_TEST

START_TEST(test_await)
{
	struct handover_message message;

	ck_assert_int_eq(handover_await(there, &message, 0.02), HANDOVER_AGAIN);
	ck_assert_int_eq(handover_say(here, HANDOVER_GO, NULL), 0);
	ck_assert_int_eq(handover_await(there, &message, 5), HANDOVER_OK);
	ck_assert_int_eq(message.type, HANDOVER_GO);
}
END_TEST

/* What is no message is skipped, and its descriptors are closed. */
START_TEST(test_rubbish)
{
	struct handover_message message;
	int fds[2], before, after;

	ck_assert_int_eq(handover_pair(fds), 0);
	handover_free(here);
	here = NULL;
	handover_free(there);
	there = handover_new(fds[1]);
	before = dup(0);
	close(before);
	ck_assert_int_eq(send(fds[0], "rubbish", 7, 0), 7);
	ck_assert_int_eq(send(fds[0], "rubbish that is longer than any header",
			     38, 0),
	    38);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_AGAIN);
	after = dup(0);
	close(after);
	ck_assert_int_eq(before, after);
	close(fds[0]);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_GONE);
}
END_TEST

/* A packet that is longer than any message of ours. */
START_TEST(test_too_long)
{
	static uint8_t body[HANDOVER_BODY_MAX + 100];
	struct handover_message message;
	int fds[2];

	ck_assert_int_eq(handover_pair(fds), 0);
	handover_free(there);
	there = handover_new(fds[1]);
	memcpy(body, "1lnt", 4);
	ck_assert_int_eq(send(fds[0], body, sizeof body, 0), (int)sizeof body);
	ck_assert_int_eq(handover_receive(there, &message), HANDOVER_AGAIN);
	close(fds[0]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("handover");
	TCase *tcase = tcase_create("messages");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_text);
	tcase_add_test(tcase, test_long_text_is_cut);
	tcase_add_test(tcase, test_descriptor);
	tcase_add_test(tcase, test_largest);
	tcase_add_test(tcase, test_queue);
	tcase_add_test(tcase, test_queue_is_bounded);
	tcase_add_test(tcase, test_gone);
	tcase_add_test(tcase, test_gone_in_haste);
	tcase_add_test(tcase, test_await);
	tcase_add_test(tcase, test_rubbish);
	tcase_add_test(tcase, test_too_long);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
