/* SPDX-License-Identifier: ISC */
#include "link.h"

#include <check.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Two ends of one link. */
struct end {
	struct link *link;
	struct framing *raw; /* instead of a link: says what it is told to */
	int alive, downs, pongs;
	uint64_t token; /* of the last pong */
	bool free_when_alive;
	double patience; /* > 0: finishes when it is told GOAWAY */
	int last;	 /* frames after that */
};

static struct loop *loop;
static struct end here, there;

static const struct link_handler last_handler;

static void
on_frame(const struct wire_message *msg, void *arg)
{
	struct end *end = arg;

	if (msg->type == WIRE_GOAWAY && end->patience > 0) {
		link_finish(end->link, end->patience, &last_handler, end);
		return;
	}
	ck_abort_msg("a frame of type %d", msg->type);
}

static void
on_down(const char *why, void *arg)
{
	struct end *end = arg;

	ck_assert_ptr_nonnull(why);
	end->downs++;
	link_free(end->link);
	end->link = NULL;
}

static void
on_alive(void *arg)
{
	struct end *end = arg;

	end->alive++;
	if (end->free_when_alive) {
		link_free(end->link);
		end->link = NULL;
	}
}

static void
on_pong(uint64_t token, void *arg)
{
	struct end *end = arg;

	end->pongs++;
	end->token = token;
}

static const struct link_handler handler = {
	.frame = on_frame,
	.down = on_down,
	.alive = on_alive,
	.pong = on_pong,
};

static void
on_last_frame(const struct wire_message *msg, void *arg)
{
	struct end *end = arg;

	ck_assert_int_eq(msg->type, WIRE_CLOSE);
	end->last++;
}

static const struct link_handler last_handler = {
	.frame = on_last_frame,
	.down = on_down,
};

static void
open_link(struct end *end, int fd)
{
	struct link_params params = {
		.loop = loop,
		.framing = framing_new(stream_new(fd)),
		.interval = 3600,
		.timeout = 7200,
		.handler = &handler,
		.arg = end,
	};

	end->link = link_new(&params);
	ck_assert_ptr_nonnull(end->link);
}

static void
turn(double seconds)
{
	double until = loop_now(loop) + seconds;

	do
		event_base_loop(loop_base(loop), EVLOOP_NONBLOCK);
	while (loop_now(loop) < until);
}

/* The first heartbeat is over then. */
static void
open_both(bool raw)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	open_link(&here, fds[0]);
	if (raw)
		there.raw = framing_new(stream_new(fds[1]));
	else
		open_link(&there, fds[1]);
	turn(0.05);
	ck_assert_int_eq(here.pongs, 0);
}

/* The next ping at the raw end. */
static struct wire_message
hear(void)
{
	struct wire_message msg;

	turn(0.02);
	ck_assert_int_eq(framing_read(there.raw, &msg), FRAMING_OK);
	ck_assert_int_eq(msg.type, WIRE_PING);
	return msg;
}

static void
answer(uint64_t token)
{
	struct wire_message msg = { .type = WIRE_PONG, .ping.token = token };

	ck_assert_int_eq(framing_send(there.raw, &msg), 0);
	turn(0.02);
}

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	here = there = (struct end){ 0 };
}

static void
teardown(void)
{
	link_free(here.link);
	link_free(there.link);
	framing_free(there.raw);
	loop_free(loop);
}

START_TEST(test_ping)
{
	uint64_t token;

	open_both(false);
	ck_assert_int_eq(here.alive, 1);
	ck_assert(link_rtt_ms(here.link) >= 0);
	token = link_ping(here.link);
	turn(0.05);
	ck_assert_int_eq(here.pongs, 1);
	ck_assert_uint_eq(here.token, token);
	ck_assert_int_eq(here.alive, 2);
	ck_assert_int_eq(there.pongs, 0);
}
END_TEST

/* Each has its own answer, in whatever order they come, and the heartbeat's
 * round trip is not touched. */
START_TEST(test_several)
{
	uint64_t beat, first, second;
	double rtt;

	open_both(true);
	beat = hear().ping.token;
	answer(beat);
	rtt = link_rtt_ms(here.link);
	ck_assert(rtt >= 0);
	ck_assert_int_eq(here.pongs, 0);
	first = link_ping(here.link);
	second = link_ping(here.link);
	ck_assert_uint_ne(first, second);
	ck_assert_uint_eq(hear().ping.token, first);
	ck_assert_uint_eq(hear().ping.token, second);
	turn(0.1);
	answer(second);
	ck_assert_uint_eq(here.token, second);
	answer(first);
	ck_assert_uint_eq(here.token, first);
	ck_assert_int_eq(here.pongs, 2);
	ck_assert_double_eq(link_rtt_ms(here.link), rtt);
}
END_TEST

/* What was never asked hurts nobody. */
START_TEST(test_foreign_token)
{
	open_both(true);
	hear();
	answer(12345);
	ck_assert_double_lt(link_rtt_ms(here.link), 0);
	answer(UINT64_MAX);
	ck_assert_int_eq(here.pongs, 1);
	ck_assert_uint_eq(here.token, UINT64_MAX);
	ck_assert_int_eq(here.downs, 0);
}
END_TEST

START_TEST(test_freed_when_alive)
{
	uint64_t token;

	open_both(true);
	token = link_ping(here.link);
	here.free_when_alive = true;
	answer(token);
	ck_assert_ptr_null(here.link);
	ck_assert_int_eq(here.pongs, 0);
}
END_TEST

START_TEST(test_dead)
{
	open_both(true);
	link_ping(here.link);
	framing_free(there.raw);
	there.raw = NULL;
	link_ping(here.link);
	turn(0.05);
	ck_assert_int_eq(here.downs, 1);
	ck_assert_int_eq(here.pongs, 0);
}
END_TEST

/* --- the end of it --------------------------------------------------------- */

static void
say(uint8_t type)
{
	struct wire_message msg = { .type = type };

	if (type == WIRE_CLOSE)
		msg.close.reason = WIRE_CLOSE_KILLED;
	ck_assert_int_eq(framing_send(there.raw, &msg), 0);
}

/* GOAWAY, then what was under way: none of it is lost at either end. */
START_TEST(test_finish)
{
	struct wire_message msg = { .type = WIRE_CLOSE };

	here.patience = 5;
	open_both(true);
	hear();
	link_send(here.link, &msg);
	say(WIRE_GOAWAY);
	say(WIRE_CLOSE);
	say(WIRE_PING);
	turn(0.05);
	ck_assert_int_eq(here.last, 1);
	say(WIRE_CLOSE);
	turn(0.05);
	ck_assert_int_eq(here.last, 2);
	ck_assert_int_eq(here.downs, 0);
	ck_assert_int_eq(framing_read(there.raw, &msg), FRAMING_OK);
	ck_assert_int_eq(msg.type, WIRE_CLOSE);
	/* No PONG: its side is over. */
	ck_assert_int_eq(framing_read(there.raw, &msg), FRAMING_EOF);
	framing_free(there.raw);
	there.raw = NULL;
	turn(0.05);
	ck_assert_int_eq(here.downs, 1);
}
END_TEST

START_TEST(test_finish_has_an_end)
{
	here.patience = 0.2;
	open_both(true);
	say(WIRE_GOAWAY);
	turn(0.1);
	ck_assert_int_eq(here.downs, 0);
	turn(0.2);
	ck_assert_int_eq(here.downs, 1);
}
END_TEST

/* What it would not read is no reason for a reset. */
START_TEST(test_finished_is_freed)
{
	struct wire_message msg = { .type = WIRE_CLOSE };

	open_both(true);
	hear();
	link_send(here.link, &msg);
	link_finish(here.link, 5, &last_handler, &here);
	say(WIRE_CLOSE);
	say(WIRE_PING);
	link_free(here.link);
	here.link = NULL;
	ck_assert_int_eq(framing_read(there.raw, &msg), FRAMING_OK);
	ck_assert_int_eq(msg.type, WIRE_CLOSE);
	ck_assert_int_eq(framing_read(there.raw, &msg), FRAMING_EOF);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link");
	TCase *tc = tcase_create("pings");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_ping);
	tcase_add_test(tc, test_several);
	tcase_add_test(tc, test_foreign_token);
	tcase_add_test(tc, test_freed_when_alive);
	tcase_add_test(tc, test_dead);
	suite_add_tcase(suite, tc);
	tc = tcase_create("the end");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_finish);
	tcase_add_test(tc, test_finish_has_an_end);
	tcase_add_test(tc, test_finished_is_freed);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
