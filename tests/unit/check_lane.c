/* SPDX-License-Identifier: ISC */
/* lane: two of them, or one and whoever does not keep to the protocol. */
#include "lane_setting.h"

#include <sys/socket.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void
open_raw(void)
{
	int fds[2];

	lane_sockets(fds);
	raw = fds[1];
	lane_pair_open_one(&pair, loop, pipes, stream_new(fds[0]));
}

static void
turns(int n)
{
	while (n-- > 0)
		lane_pair_turn(&pair);
}

/* --- sessions ---------------------------------------------------------------- */

START_TEST(sessions_from_both_ends)
{
	struct stream *near[6], *far[6];
	size_t got;
	char c;
	int i;

	lane_open_pair();
	for (i = 0; i < 6; i++)
		lane_pair_connect(&pair, i % 2, &near[i], &far[i]);
	ck_assert_uint_eq(lane_channels(pair.end[0].lane), 6);
	for (i = 0; i < 6; i++) {
		lane_say(near[i], "ask");
		lane_say(far[i], "answer");
	}
	for (i = 0; i < 6; i++) {
		lane_hear(&pair, far[i], "ask");
		lane_hear(&pair, near[i], "answer");
		stream_shutdown(near[i]);
		turns(3);
		ck_assert_int_eq(stream_read(far[i], &c, 1, &got), STREAM_EOF);
		stream_shutdown(far[i]);
		turns(3);
		ck_assert_int_eq(stream_read(near[i], &c, 1, &got), STREAM_EOF);
		stream_free(near[i]);
		stream_free(far[i]);
	}
	turns(5);
	ck_assert_uint_eq(lane_channels(pair.end[0].lane), 0);
	ck_assert_uint_eq(lane_channels(pair.end[1].lane), 0);
}
END_TEST

static const struct wire_refusal *refused;
static bool was_lost;

static void
on_answered(struct channel *channel, const struct wire_refusal *refusal,
    void *arg)
{
	static struct wire_refusal copy;

	(void)arg;
	ck_assert_ptr_nonnull(refusal);
	copy = *refusal;
	refused = &copy;
	channel_abort(channel);
}

static void
on_ready(struct channel *channel, void *arg)
{
	(void)channel;
	(void)arg;
}

static void
on_lost(struct channel *channel, void *arg)
{
	(void)arg;
	was_lost = true;
	channel_abort(channel);
}

static const struct channel_handler handler = {
	.answered = on_answered,
	.ready = on_ready,
	.lost = on_lost,
};

static struct channel *
open_channel(int from)
{
	struct wire_open open = { .tunnel = "web", .source = "unix:" };
	struct channel *channel = lane_open(pair.end[from].lane);

	ck_assert_ptr_nonnull(channel);
	channel_set_handler(channel, &handler, NULL);
	ck_assert_int_eq(channel_send_open(channel, &open), 0);
	was_lost = false;
	refused = NULL;
	return channel;
}

START_TEST(a_refusal_says_why)
{
	lane_open_pair();
	pair.end[1].refuses = true;
	open_channel(0);
	turns(10);
	ck_assert_ptr_nonnull(refused);
	ck_assert_uint_eq(refused->code, WIRE_FAILED_LIMIT);
	ck_assert_str_eq(refused->text, "no");
	turns(10);
	ck_assert_uint_eq(lane_channels(pair.end[0].lane), 0);
	ck_assert_uint_eq(lane_channels(pair.end[1].lane), 0);
}
END_TEST

START_TEST(who_gives_up_before_the_answer_is_lost)
{
	struct channel *channel;

	lane_open_pair();
	pair.end[1].waits = true;
	channel = open_channel(0);
	turns(10);
	ck_assert_ptr_nonnull(pair.end[1].waiting);
	channel_abort(channel);
	channel_set_handler(pair.end[1].waiting, &handler, NULL);
	turns(10);
	ck_assert(was_lost);
	ck_assert_uint_eq(lane_channels(pair.end[1].lane), 0);
}
END_TEST

/* --- the end of a lane --------------------------------------------------------- */

START_TEST(a_lost_lane_loses_its_sessions)
{
	struct stream *near, *far;
	uint8_t c;
	size_t n;

	lane_open_pair();
	lane_pair_connect(&pair, 0, &near, &far);
	open_channel(1);
	lane_free(pair.end[0].lane);
	pair.end[0].lane = NULL;
	ck_assert_int_eq(stream_state(near), STREAM_LOST);
	ck_assert_int_eq(stream_read(near, &c, 1, &n), STREAM_LOST);
	ck_assert_int_eq(stream_write(near, "x", 1, &n), STREAM_LOST);
	turns(5);
	ck_assert_ptr_null(pair.end[1].lane);
	ck_assert_str_ne(pair.end[1].why, "");
	ck_assert(was_lost);
	ck_assert_int_eq(stream_read(far, &c, 1, &n), STREAM_LOST);
	ck_assert_int_eq(stream_shutdown(far), STREAM_LOST);
	stream_free(near);
	stream_free(far);
}
END_TEST

START_TEST(a_retired_lane_carries_its_sessions_to_their_end)
{
	struct stream *near, *far;
	int i;

	lane_open_pair();
	lane_pair_connect(&pair, 0, &near, &far);
	lane_retire(pair.end[0].lane);
	ck_assert_ptr_null(lane_open(pair.end[0].lane));
	turns(5);
	/* The other end was told. */
	ck_assert(lane_is_retired(pair.end[1].lane));
	ck_assert(!lane_has_room(pair.end[1].lane));
	lane_say(near, "still here");
	lane_hear(&pair, far, "still here");
	ck_assert_int_eq(pair.end[0].closed, 1);
	ck_assert_int_eq(pair.end[1].closed, 1);
	lane_say(far, "indeed");
	lane_hear(&pair, near, "indeed");
	ck_assert_ptr_nonnull(pair.end[0].lane);
	stream_free(near);
	stream_free(far);
	for (i = 0; i < 1000 && pair.end[0].lane != NULL; i++)
		turns(1);
	turns(10);
	ck_assert_ptr_null(pair.end[0].lane);
	ck_assert_ptr_null(pair.end[1].lane);
	ck_assert_str_eq(pair.end[0].why, "");
	ck_assert_str_eq(pair.end[1].why, "");
}
END_TEST

/* --- who does not keep to the protocol ------------------------------------------- */

static void
send_raw(const void *data, size_t len)
{
	ck_assert_int_eq(send(raw, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void
send_message(const struct wire_message *msg)
{
	uint8_t frame[WIRE_FRAME_MAX];

	send_raw(frame, wire_encode(msg, frame, sizeof frame));
}

static void
send_open(uint32_t id)
{
	struct wire_message msg = { .type = WIRE_OPEN, .channel = id };

	strcpy(msg.open.tunnel, "web");
	strcpy(msg.open.source, "unix:");
	send_message(&msg);
}

static void
ends_with(const char *why)
{
	turns(5);
	ck_assert_ptr_null(pair.end[0].lane);
	ck_assert_str_eq(pair.end[0].why, why);
}

START_TEST(every_frame_that_has_no_business_there)
{
	static const uint8_t known[] = { WIRE_PING, WIRE_PONG, WIRE_OPEN,
		WIRE_OPENED, WIRE_FAILED, WIRE_DATA, WIRE_FIN, WIRE_RESET,
		WIRE_WINDOW, WIRE_GOAWAY };
	struct wire_message msg = { .type = (uint8_t)_i, .channel = 7 };
	uint8_t frame[WIRE_FRAME_MAX];

	open_raw();
	strcpy(msg.hello.name, "x");
	if (_i == WIRE_OPEN || _i == WIRE_HELLO || _i == WIRE_CHALLENGE ||
	    _i == WIRE_WELCOME || _i == WIRE_ATTACH || _i == WIRE_LANES) {
		/* Their members must be sound; an empty one never is. */
		memset(frame, 0, WIRE_HEADER_SIZE);
		frame[0] = (uint8_t)_i;
		frame[7] = 7;
		send_raw(frame, WIRE_HEADER_SIZE);
		ends_with("bytes that are no frame");
		return;
	}
	send_message(&msg);
	turns(5);
	if (_i == WIRE_PING || _i == WIRE_PONG || _i == WIRE_GOAWAY) {
		ck_assert_ptr_nonnull(pair.end[0].lane);
		return;
	}
	ck_assert_ptr_null(pair.end[0].lane);
	if (memchr(known, _i, sizeof known) != NULL)
		ck_assert_ptr_nonnull(strstr(pair.end[0].why, "not open"));
	else
		ck_assert_ptr_nonnull(strstr(pair.end[0].why,
					  "does not belong on a lane") != NULL ?
			pair.end[0].why :
			strstr(pair.end[0].why, "resumption"));
}
END_TEST

START_TEST(open_after_goaway)
{
	struct wire_message goaway = { .type = WIRE_GOAWAY };
	struct stream *stream = NULL;

	open_raw();
	pair.end[0].opened = &stream;
	send_open(2);
	send_message(&goaway);
	turns(5);
	ck_assert_ptr_nonnull(stream);
	ck_assert_int_eq(pair.end[0].closed, 1);
	ck_assert_ptr_nonnull(pair.end[0].lane); /* the session goes on */
	send_open(4);
	ends_with("OPEN after GOAWAY");
	stream_free(stream);
}
END_TEST

START_TEST(a_frame_that_is_too_long)
{
	static const uint8_t frame[8] = { WIRE_FIN, 0, 0xff, 0xff, 0, 0, 0, 1 };

	open_raw();
	send_raw(frame, sizeof frame);
	ends_with("bytes that are no frame");
}
END_TEST

START_TEST(more_than_its_credit)
{
	static uint8_t data[WIRE_HEADER_SIZE + 60000];
	struct stream *stream = NULL;
	size_t sent = 0;

	open_raw();
	pair.end[0].opened = &stream;
	send_open(2);
	turns(5);
	ck_assert_ptr_nonnull(stream);
	wire_encode_data(data, 2, 60000);
	while (sent + 60000 <= MUX_WINDOW) {
		send_raw(data, sizeof data);
		turns(2);
		sent += 60000;
	}
	ck_assert_ptr_nonnull(pair.end[0].lane);
	send_raw(data, sizeof data);
	ends_with("DATA beyond the credit");
	ck_assert_int_eq(stream_state(stream), STREAM_LOST);
	stream_free(stream);
}
END_TEST

START_TEST(what_it_keeps_is_bounded)
{
	static uint8_t data[WIRE_HEADER_SIZE + 60000];
	struct stream *streams[10];
	uint32_t i;
	int j, resets = 0;

	open_raw();
	pair.end[0].memory.bound = 1 << 20;
	for (i = 0; i < 10; i++) {
		pair.end[0].opened = &streams[i];
		send_open(2 * i + 2);
		turns(5);
	}
	for (j = 0; j < 4; j++)
		for (i = 0; i < 10; i++) {
			wire_encode_data(data, 2 * i + 2, 60000);
			send_raw(data, sizeof data);
			turns(2);
			if (pair.end[0].fulls > 0) {
				lane_evict(pair.end[0].lane);
				pair.end[0].fulls = 0;
			}
			ck_assert_uint_le(pair.end[0].memory.kept,
			    (1 << 20) + 70000);
		}
	ck_assert_ptr_nonnull(pair.end[0].lane);
	for (i = 0; i < 10; i++) {
		resets += stream_state(streams[i]) == STREAM_RESET;
		stream_free(streams[i]);
	}
	ck_assert_int_ge(resets, 3);
	ck_assert_int_le(resets, 9);
}
END_TEST

/* --- one that reads nothing ------------------------------------------------------ */

START_TEST(a_stalled_reader_among_a_thousand)
{
	enum { N = 1000 };
	static struct stream *near[N], *far[N];
	static uint8_t bulk[65536];
	struct stream *stalled, *behind;
	size_t put, total = 0;
	char text[20];
	int i, round;

	lane_open_pair();
	lane_pair_connect(&pair, 0, &stalled, &behind);
	for (i = 0; i < N; i++)
		lane_pair_connect(&pair, i % 2, &near[i], &far[i]);
	for (round = 0; round < 100; round++) {
		while (stream_write(stalled, bulk, sizeof bulk, &put) ==
		    STREAM_OK)
			total += put;
		turns(2);
	}
	ck_assert_uint_eq(total, MUX_WINDOW);
	for (round = 0; round < 3; round++)
		for (i = 0; i < N; i++) {
			snprintf(text, sizeof text, "%d %d", round, i);
			lane_say(near[i], text);
			lane_hear(&pair, far[i], text);
		}
	ck_assert_uint_le(pair.end[1].memory.kept, 2 * MUX_WINDOW);
	stream_abort(stalled);
	stream_free(stalled);
	turns(5);
	stream_free(behind);
	for (i = 0; i < N; i++) {
		stream_free(near[i]);
		stream_free(far[i]);
	}
	turns(20);
	ck_assert_uint_eq(lane_channels(pair.end[0].lane), 0);
	ck_assert_uint_eq(lane_channels(pair.end[1].lane), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("lane");
	TCase *tc = tcase_create("lanes");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, lane_setup, lane_teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, sessions_from_both_ends);
	tcase_add_test(tc, a_refusal_says_why);
	tcase_add_test(tc, who_gives_up_before_the_answer_is_lost);
	tcase_add_test(tc, a_lost_lane_loses_its_sessions);
	tcase_add_test(tc, a_retired_lane_carries_its_sessions_to_their_end);
	tcase_add_loop_test(tc, every_frame_that_has_no_business_there, 0,
	    0x30);
	tcase_add_test(tc, open_after_goaway);
	tcase_add_test(tc, a_frame_that_is_too_long);
	tcase_add_test(tc, more_than_its_credit);
	tcase_add_test(tc, what_it_keeps_is_bounded);
	tcase_add_test(tc, a_stalled_reader_among_a_thousand);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
