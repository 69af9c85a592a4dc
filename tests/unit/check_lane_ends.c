/* SPDX-License-Identifier: ISC */
/* lane: what stands at its very beginning, and at its very end. */
#include "lane_setting.h"

#include <sys/socket.h>

#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop_turns.h"

static void
turns(int n)
{
	while (n-- > 0)
		lane_pair_turn(&pair);
}

static size_t
put_message(uint8_t *place, const struct wire_message *msg)
{
	return wire_encode(msg, place, WIRE_FRAME_MAX);
}

/* --- its beginning ------------------------------------------------------------- */

/* OPEN came in one piece with ATTACHED; nothing follows for a round trip. */
START_TEST(what_came_with_the_handshake)
{
	struct wire_message msg = { .type = WIRE_ATTACHED };
	uint8_t frames[2 * WIRE_FRAME_MAX];
	struct stream *opened = NULL;
	struct framing *framing;
	size_t len;
	int fds[2];

	lane_sockets(fds);
	raw = fds[1];
	len = put_message(frames, &msg);
	msg = (struct wire_message){ .type = WIRE_OPEN, .channel = 2 };
	strcpy(msg.open.tunnel, "web");
	strcpy(msg.open.source, "unix:");
	len += put_message(frames + len, &msg);
	ck_assert_int_eq(send(raw, frames, len, 0), (ssize_t)len);
	framing = framing_new(stream_new(fds[0]));
	ck_assert_int_eq(framing_read(framing, &msg), FRAMING_OK);
	ck_assert_int_eq(msg.type, WIRE_ATTACHED);
	lane_pair_open_framing(&pair, loop, pipes, framing);
	pair.end[0].opened = &opened;
	turns(5);
	ck_assert_ptr_nonnull(opened);
	stream_free(opened);
}
END_TEST

/* --- its end --------------------------------------------------------------------- */

/* All has come that will, and the end that sent it is through with the lane:
 * who reads slowly still gets it. */
static struct stream *
leave_unread(int from)
{
	struct stream *near, *far;
	size_t got;
	char c;

	lane_open_pair();
	lane_pair_connect(&pair, from, &near, &far);
	stream_shutdown(far);
	turns(5);
	ck_assert_int_eq(stream_read(near, &c, 1, &got), STREAM_EOF);
	lane_say(near, "the rest");
	stream_shutdown(near);
	stream_free(near);
	turns(5);
	lane_retire(pair.end[from].lane);
	turns(20);
	ck_assert_ptr_null(pair.end[from].lane);
	ck_assert_str_eq(pair.end[from].why, "");
	ck_assert_ptr_nonnull(pair.end[!from].lane);
	ck_assert_int_eq(pair.end[!from].closed, 1);
	return far;
}

START_TEST(a_slow_reader_has_the_rest)
{
	struct stream *far = leave_unread(_i);
	size_t got;
	char c;

	/* A reload in between. */
	lane_set_times(pair.end[!_i].lane, 0.001, 0.001);
	turns(5);
	lane_hear(&pair, far, "the rest");
	ck_assert_int_eq(stream_read(far, &c, 1, &got), STREAM_EOF);
	stream_free(far);
	turns(5);
	ck_assert_ptr_null(pair.end[!_i].lane);
	ck_assert_str_eq(pair.end[!_i].why, "");
}
END_TEST

/* He takes up memory as anybody else does. */
START_TEST(a_slow_reader_may_give_way)
{
	struct stream *far = leave_unread(0);
	size_t got;
	char c;

	lane_evict(pair.end[1].lane);
	ck_assert_uint_eq(pair.end[1].memory.kept, 0);
	ck_assert_int_eq(stream_read(far, &c, 1, &got), STREAM_RESET);
	stream_abort(far);
	stream_free(far);
	turns(5);
	ck_assert_ptr_null(pair.end[1].lane);
}
END_TEST

/* The daemon ends meanwhile. */
START_TEST(a_slow_reader_is_lost_with_his_daemon)
{
	struct stream *far = leave_unread(0);
	size_t got;
	char c;

	lane_free(pair.end[1].lane);
	pair.end[1].lane = NULL;
	ck_assert_int_eq(stream_read(far, &c, 1, &got), STREAM_LOST);
	stream_free(far);
}
END_TEST

/* --- a path that stands still --------------------------------------------------- */

/* Over TCP; what the raw end does not read stays in the kernel of the other. */
static int
tcp_sockets(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server = socket(AF_INET, SOCK_STREAM, 0), fd, small = 4096;
	socklen_t len = sizeof to;

	ck_assert_int_eq(bind(server, (struct sockaddr *)&to, sizeof to), 0);
	ck_assert_int_eq(listen(server, 1), 0);
	getsockname(server, (struct sockaddr *)&to, &len);
	raw = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(raw, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	ck_assert_int_eq(connect(raw, (struct sockaddr *)&to, sizeof to), 0);
	fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
	close(server);
	return fd;
}

static void
say_raw(uint8_t type, uint32_t id)
{
	struct wire_message msg = { .type = type, .channel = id };
	uint8_t frame[WIRE_FRAME_MAX];
	size_t len;

	if (type == WIRE_OPEN) {
		strcpy(msg.open.tunnel, "web");
		strcpy(msg.open.source, "unix:");
	}
	len = put_message(frame, &msg);
	ck_assert_int_eq(send(raw, frame, len, MSG_NOSIGNAL), (ssize_t)len);
	turns(10);
}

/* What the raw end can still read. */
static size_t
read_raw(void)
{
	static uint8_t bytes[65536];
	size_t sum = 0;
	ssize_t n;

	for (;;) {
		turns(10);
		n = recv(raw, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN && pair.end[0].lane != NULL)
			continue;
		if (n <= 0)
			return sum;
		sum += (size_t)n;
	}
}

/* For longer than the other end has to say its last frames, since nothing has
 * reached it yet. Then it says something, which must not meet a closed lane
 * before all the rest has come. */
START_TEST(what_is_still_on_its_way_arrives)
{
	static const uint8_t bytes[50000];
	struct stream *stream = NULL;
	size_t put;

	lane_pair_open_one(&pair, loop, pipes, stream_new(tcp_sockets()));
	pair.end[0].opened = &stream;
	say_raw(WIRE_OPEN, 2);
	say_raw(WIRE_FIN, 2);
	ck_assert_int_eq(stream_write(stream, bytes, sizeof bytes, &put),
	    STREAM_OK);
	ck_assert_uint_eq(put, sizeof bytes);
	stream_shutdown(stream);
	stream_free(stream);
	lane_retire(pair.end[0].lane);
	say_raw(WIRE_GOAWAY, 0);
	loop_run_for(loop, LANE_GRACE_SECONDS + 3);
	say_raw(WIRE_PONG, 0);
	ck_assert_uint_gt(read_raw(), sizeof bytes);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("lane_ends");
	TCase *tc = tcase_create("ends");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, lane_setup, lane_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_came_with_the_handshake);
	tcase_add_loop_test(tc, a_slow_reader_has_the_rest, 0, 2);
	tcase_add_test(tc, a_slow_reader_may_give_way);
	tcase_add_test(tc, a_slow_reader_is_lost_with_his_daemon);
	tcase_add_test(tc, what_is_still_on_its_way_arrives);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
