/* SPDX-License-Identifier: ISC */
/* lane: what goes before what, on a connection that takes no more. */
#include "lane_fixture.h"

#include <sys/socket.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#define BULKS 8

static struct loop *loop;
static struct pipe_pool *pipes;
static struct lane_pair pair;
static int raw; /* the other end */

/* What has arrived there. */
static uint8_t heard[4 << 20];
static size_t heard_len;

static struct bulk {
	struct stream *stream;
	size_t sent;
} bulks[BULKS];

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	pipes = pipe_pool_new();
	heard_len = 0;
	memset(bulks, 0, sizeof bulks);
}

static void
open_lane(int type)
{
	int fds[2], size = 65536;

	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	raw = fds[1];
	lane_pair_open_one(&pair, loop, pipes, stream_new(fds[0]));
}

static void
teardown(void)
{
	int i;

	for (i = 0; i < BULKS; i++)
		stream_free(bulks[i].stream);
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

static bool
hear_some(size_t most)
{
	size_t room = sizeof heard - heard_len;
	ssize_t n;

	turns(1);
	n = recv(raw, heard + heard_len, room < most ? room : most, 0);
	if (n > 0)
		heard_len += (size_t)n;
	return n > 0;
}

static void
hear(void)
{
	while (hear_some(sizeof heard))
		;
}

static void
send_message(const struct wire_message *msg)
{
	uint8_t frame[WIRE_FRAME_MAX];
	size_t len = wire_encode(msg, frame, sizeof frame);

	ck_assert_int_eq(send(raw, frame, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A session that raw opened, and grants so much. */
static struct stream *
open_stream(uint32_t id, uint32_t window)
{
	struct wire_message msg = { .type = WIRE_OPEN, .channel = id };
	struct stream *stream = NULL;

	strcpy(msg.open.tunnel, "web");
	strcpy(msg.open.source, "unix:");
	msg.open.window = window;
	pair.end[0].opened = &stream;
	send_message(&msg);
	turns(3);
	pair.end[0].opened = NULL;
	ck_assert_ptr_nonnull(stream);
	return stream;
}

static void
bulk_ready(bool readable, bool writable, void *arg)
{
	static const uint8_t bytes[16384];
	struct bulk *bulk = arg;
	size_t put;

	(void)readable;
	if (!writable)
		return;
	while (bulk->sent < 16 << 20 &&
	    stream_write(bulk->stream, bytes, sizeof bytes, &put) == STREAM_OK)
		bulk->sent += put;
}

static size_t
bulk_sent(void)
{
	size_t sent = 0;
	int i;

	for (i = 0; i < BULKS; i++)
		sent += bulks[i].sent;
	return sent;
}

/* Eight that have more to send than the connection takes, and have taken
 * turns for a while. How much they have sent so far. */
static size_t
block(void)
{
	size_t sent;
	int i;

	for (i = 0; i < BULKS; i++)
		bulks[i].stream = open_stream(2 * (uint32_t)i + 2, 64 << 20);
	hear(); /* their answers */
	heard_len = 0;
	for (i = 0; i < BULKS; i++)
		stream_watch(bulks[i].stream, loop, bulk_ready, &bulks[i]);
	while (heard_len < sizeof heard / 2)
		hear_some(10000);
	turns(20);
	sent = bulk_sent();
	turns(5);
	ck_assert_uint_eq(sent, bulk_sent()); /* it is blocked */
	for (i = 0; i < BULKS; i++)
		ck_assert_uint_gt(bulks[i].sent, 2 * MUX_QUANTUM);
	return sent;
}

/* How many bytes of bulk came before the first such frame. */
static size_t
bulk_before(uint8_t type, uint32_t id)
{
	struct wire_header header;
	size_t at = 0, bulk = 0;

	while (at + WIRE_HEADER_SIZE <= heard_len) {
		wire_decode_header(heard + at, &header);
		if (header.type == type && (id == 0 || header.channel == id))
			return bulk;
		if (header.type == WIRE_DATA)
			bulk += header.length;
		at += WIRE_HEADER_SIZE + header.length;
	}
	ck_abort_msg("no %s", wire_type_name(type));
	return 0;
}

START_TEST(a_keystroke_beside_eight_bulk_transfers)
{
	struct stream *key;
	size_t sent, put;

	open_lane(SOCK_STREAM);
	sent = block();
	key = open_stream(2 * BULKS + 2, 0);
	ck_assert_int_eq(stream_write(key, "k", 1, &put), STREAM_AGAIN);
	/* It is told when its turn has come. */
	stream_free(bulks[0].stream);
	bulks[0] = (struct bulk){ .stream = key, .sent = (16 << 20) - 16384 };
	stream_watch(key, loop, bulk_ready, &bulks[0]);
	hear();
	/* Those that were amid a quantum may have ended it. */
	ck_assert_uint_le(bulk_before(WIRE_DATA, 2 * BULKS + 2),
	    sent + 2 * MUX_QUANTUM);
}
END_TEST

START_TEST(no_bulk_goes_before_other_frames)
{
	struct wire_message ping = { .type = WIRE_PING, .ping.token = 7 };
	struct stream *other, *late;
	size_t sent;

	open_lane(SOCK_STREAM);
	sent = block();
	other = open_stream(2 * BULKS + 2, 0);
	stream_abort(other);
	stream_free(other);
	send_message(&ping);
	stream_shutdown(bulks[0].stream);
	late = open_stream(2 * BULKS + 4, 0);
	hear();
	/* Only what was put together before. */
	ck_assert_uint_eq(bulk_before(WIRE_RESET, 2 * BULKS + 2), sent);
	ck_assert_uint_eq(bulk_before(WIRE_PONG, 0), sent);
	ck_assert_uint_eq(bulk_before(WIRE_FIN, 2), sent);
	ck_assert_uint_eq(bulk_before(WIRE_OPENED, 2 * BULKS + 4), sent);
	stream_free(late);
}
END_TEST

START_TEST(small_writes_of_a_turn_leave_together)
{
	struct stream *streams[20];
	uint8_t bytes[1000];
	size_t put;
	int i;

	open_lane(SOCK_SEQPACKET); /* each write arrives as it was */
	for (i = 0; i < 20; i++)
		streams[i] = open_stream(2 * (uint32_t)i + 2, 0);
	hear();
	for (i = 0; i < 20; i++)
		ck_assert_int_eq(stream_write(streams[i], "x", 1, &put),
		    STREAM_OK);
	/* Not before the turn's end. */
	ck_assert_int_eq(recv(raw, bytes, sizeof bytes, 0), -1);
	turns(1);
	ck_assert_int_eq(recv(raw, bytes, sizeof bytes, 0),
	    20 * (WIRE_HEADER_SIZE + 1));
	for (i = 0; i < 20; i++)
		stream_free(streams[i]);
}
END_TEST

START_TEST(other_frames_of_a_turn_go_first)
{
	struct wire_open open = { .tunnel = "web", .source = "unix:" };
	struct stream *stream, *other;
	struct channel *channel;
	size_t put;

	open_lane(SOCK_STREAM);
	stream = open_stream(2, 0);
	other = open_stream(4, 0);
	hear();
	heard_len = 0;
	stream_abort(other);
	stream_free(other);
	ck_assert_int_eq(stream_write(stream, "xyz", 3, &put), STREAM_OK);
	/* And OPEN before its first bytes. */
	channel = lane_open(pair.end[0].lane);
	ck_assert_int_eq(channel_send_open(channel, &open), 0);
	ck_assert_int_eq(stream_write(channel_stream(channel), "early", 5,
			     &put),
	    STREAM_OK);
	hear();
	ck_assert_uint_eq(bulk_before(WIRE_RESET, 4), 0);
	ck_assert_uint_eq(bulk_before(WIRE_OPEN, 1), 3);
	ck_assert_uint_eq(bulk_before(WIRE_DATA, 1), 3);
	channel_abort(channel);
	stream_free(stream);
}
END_TEST

/* The largest frame of those that have come, which are all DATA. */
static size_t
largest_heard(void)
{
	struct wire_header header;
	size_t at, most = 0;

	for (at = 0; at < heard_len;) {
		wire_decode_header(heard + at, &header);
		ck_assert_int_eq(header.type, WIRE_DATA);
		most = header.length > most ? header.length : most;
		at += WIRE_HEADER_SIZE + header.length;
	}
	ck_assert_uint_eq(at, heard_len);
	return most;
}

START_TEST(who_is_alone_sends_large_frames)
{
	static uint8_t bytes[1 << 18];
	struct stream *stream;
	size_t put;

	open_lane(SOCK_STREAM);
	stream = open_stream(2, 16 << 20);
	hear();
	heard_len = 0;
	ck_assert_int_eq(stream_write(stream, bytes, sizeof bytes, &put),
	    STREAM_OK);
	turns(2);
	hear();
	ck_assert_uint_eq(largest_heard(), 65535);
	stream_free(stream);
}
END_TEST

/* What its user's socket holds is one frame, whose length has 24 bits. */
START_TEST(what_is_spliced_goes_in_larger_ones)
{
	static uint8_t bytes[100000];
	struct stream_move move;
	struct stream *stream;
	int fds[2], i, size = 1 << 20;

	open_lane(SOCK_STREAM);
	stream = open_stream(2, 16 << 20);
	hear();
	heard_len = 0;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	ck_assert_int_eq(send(fds[0], bytes, sizeof bytes, 0), sizeof bytes);
	stream_splice_in(stream, fds[1], &move);
	ck_assert_uint_eq(move.moved, sizeof bytes);
	for (i = 0; i < 100 && heard_len < sizeof bytes; i++) {
		turns(1);
		hear();
	}
	ck_assert_uint_eq(largest_heard(), sizeof bytes);
	stream_free(stream);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("lane_order");
	TCase *tc = tcase_create("order");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_keystroke_beside_eight_bulk_transfers);
	tcase_add_test(tc, no_bulk_goes_before_other_frames);
	tcase_add_test(tc, small_writes_of_a_turn_leave_together);
	tcase_add_test(tc, other_frames_of_a_turn_go_first);
	tcase_add_test(tc, who_is_alone_sends_large_frames);
	tcase_add_test(tc, what_is_spliced_goes_in_larger_ones);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
