/* SPDX-License-Identifier: ISC */
/* lane: what is kept when the link's memory is used up: a session that is
 * reset for it says nothing any more, and holds nothing. */
#include "lane_fixture.h"

#include <sys/socket.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#define FRAME 60000

static struct loop *loop;
static struct pipe_pool *pipes;
static struct lane_pair pair;
static int raw; /* the other end */
static uint8_t frame[WIRE_HEADER_SIZE + FRAME];

static void
setup(void)
{
	int fds[2], size = 1 << 20;

	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	pipes = pipe_pool_new();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	raw = fds[1];
	lane_pair_open_one(&pair, loop, pipes, stream_new(fds[0]));
}

static void
teardown(void)
{
	lane_pair_close(&pair);
	close(raw);
	pipe_pool_free(pipes);
	loop_free(loop);
}

static void
turns(int n)
{
	while (n-- > 0)
		lane_pair_turn(&pair);
}

static void
send_raw(const void *data, size_t len)
{
	ck_assert_int_eq(send(raw, data, len, MSG_NOSIGNAL), (ssize_t)len);
	turns(3);
}

static void
takes_nothing(bool readable, bool writable, void *arg)
{
	(void)readable;
	(void)writable;
	(void)arg;
}

/* A session that raw opened, and whose reader takes nothing. */
static struct stream *
open_stream(uint32_t id)
{
	struct wire_message msg = { .type = WIRE_OPEN, .channel = id };
	uint8_t bytes[WIRE_FRAME_MAX];
	struct stream *stream = NULL;

	strcpy(msg.open.tunnel, "web");
	strcpy(msg.open.source, "unix:");
	pair.end[0].opened = &stream;
	send_raw(bytes, wire_encode(&msg, bytes, sizeof bytes));
	pair.end[0].opened = NULL;
	ck_assert_ptr_nonnull(stream);
	stream_watch(stream, loop, takes_nothing, NULL);
	turns(3);
	return stream;
}

/* In two pieces: the second one may be spliced. */
static void
send_data(uint32_t id)
{
	wire_encode_data(frame, id, FRAME);
	send_raw(frame, WIRE_HEADER_SIZE + 1);
	send_raw(frame + WIRE_HEADER_SIZE + 1, FRAME - 1);
}

/* It is dead, and nothing comes of what was said meanwhile. */
static void
is_silent(struct stream *stream)
{
	uint8_t bytes[100];
	size_t got;

	ck_assert_int_eq(stream_state(stream), STREAM_RESET);
	ck_assert_int_eq(stream_read(stream, bytes, sizeof bytes, &got),
	    STREAM_RESET);
	ck_assert_uint_eq(pair.end[0].memory.kept, 0);
}

START_TEST(nothing_is_heard_after_it)
{
	struct stream *stream = open_stream(2);

	/* Small ones are kept, large ones may wait in a pipe. */
	wire_encode_data(frame, 2, 1000);
	send_raw(frame, WIRE_HEADER_SIZE + 1000);
	if (_i == 1)
		send_data(2);
	ck_assert_uint_gt(pair.end[0].memory.kept, 0);
	lane_evict(pair.end[0].lane);
	is_silent(stream);
	/* Under way before the other end can know. */
	send_data(2);
	is_silent(stream);
	wire_encode_data(frame, 2, 1000);
	send_raw(frame, WIRE_HEADER_SIZE + 1000);
	is_silent(stream);
	ck_assert_ptr_nonnull(pair.end[0].lane);
	stream_free(stream);
}
END_TEST

START_TEST(amid_a_frame)
{
	struct stream *stream = open_stream(2);

	wire_encode_data(frame, 2, FRAME);
	send_raw(frame, FRAME / 2);
	lane_evict(pair.end[0].lane);
	is_silent(stream);
	send_raw(frame + FRAME / 2, sizeof frame - FRAME / 2);
	is_silent(stream);
	ck_assert_ptr_nonnull(pair.end[0].lane);
	stream_free(stream);
}
END_TEST

/* Whoever has most, wherever it waits. */
START_TEST(bytes_in_a_pipe_count)
{
	struct stream *small = open_stream(2), *large;
	uint64_t most;

	large = open_stream(4);
	send_data(4);
	send_data(4);
	ck_assert_uint_ge(pair.end[0].memory.kept, 2 * FRAME);
	wire_encode_data(frame, 2, 1000);
	send_raw(frame, WIRE_HEADER_SIZE + 1000);
	most = lane_most_kept(pair.end[0].lane);
	ck_assert_uint_eq(most, 2 * FRAME);
	lane_evict(pair.end[0].lane);
	ck_assert_int_eq(stream_state(large), STREAM_RESET);
	ck_assert_int_eq(stream_state(small), STREAM_OK);
	ck_assert_uint_le(pair.end[0].memory.kept, 3000);
	ck_assert_uint_eq(lane_most_kept(pair.end[0].lane), 1000);
	lane_evict(pair.end[0].lane);
	is_silent(small);
	ck_assert_uint_eq(lane_most_kept(pair.end[0].lane), 0);
	stream_free(small);
	stream_free(large);
}
END_TEST

/* And are told of, when there are too many of them. */
START_TEST(pipes_may_be_full)
{
	struct stream *streams[20];
	uint32_t i, n;

	pair.end[0].memory.bound = 1 << 20;
	for (i = 0; i < 20; i++)
		streams[i] = open_stream(2 * i + 2);
	for (n = 0; n < 4; n++)
		for (i = 0; i < 20; i++) {
			send_data(2 * i + 2);
			if (pair.end[0].fulls > 0)
				lane_evict(pair.end[0].lane);
			pair.end[0].fulls = 0;
			ck_assert_uint_le(pair.end[0].memory.kept,
			    (1 << 20) + FRAME + 1000);
		}
	ck_assert_ptr_nonnull(pair.end[0].lane);
	for (i = 0; i < 20; i++)
		stream_free(streams[i]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("lane_memory");
	TCase *tc = tcase_create("memory");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, nothing_is_heard_after_it, 0, 2);
	tcase_add_test(tc, amid_a_frame);
	tcase_add_test(tc, bytes_in_a_pipe_count);
	tcase_add_test(tc, pipes_may_be_full);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
