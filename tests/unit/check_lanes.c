/* SPDX-License-Identifier: ISC */
/* lanes: several of them, and an other end that says what it likes, or says it
 * slowly. */
#include <sys/socket.h>

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "lane_internal.h"
#include "lanes.h"
#include "loop_turns.h"

#define FRAME 60000
#define MANY 256 /* lanes, old ones included */

static struct loop *loop;
static struct lanes *lanes;
static struct config_peer conf;
static int near_end, raw; /* of the latest one */
static unsigned n_lost;
static bool refuses;
static struct stream *stream; /* the latest one that was opened */
static uint8_t bytes[4 << 20];

/* --- who has the lanes ---------------------------------------------------------- */

static void
opened(struct channel *channel, const struct wire_open *open, void *arg)
{
	struct relay_early early;

	(void)open;
	(void)arg;
	if (refuses) {
		channel_send_failed(channel, NULL, WIRE_FAILED_LIMIT, "no");
		return;
	}
	ck_assert_int_eq(channel_send_opened(channel), 0);
	stream = channel_take_stream(channel, &early);
}

static void
nothing(void *arg)
{
	(void)arg;
}

static void
lost(void *arg)
{
	(void)arg;
	n_lost++;
}

static const struct lanes_handler handler = {
	.opened = opened,
	.available = nothing,
	.lost = lost,
	.closed = nothing,
};

static void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	conf = (struct config_peer){ .refs = 1,
		.name = (char *)"shed",
		.dials = true,
		.heartbeat_interval = 1,
		.heartbeat_timeout = 100,
		.link_memory = 64 << 20,
		.window_max = 16 << 20 };
	n_lost = 0;
	refuses = false;
	raw = -1;
}

static void
teardown(void)
{
	lanes_free(lanes);
	loop_free(loop);
	close(raw);
}

static void
turn_for(double seconds)
{
	double until = loop_now(loop) + seconds;

	while (loop_now(loop) < until) {
		loop_run_turns(loop, 1);
		usleep(1000);
	}
}

static int
add(int fd)
{
	return lanes_add(lanes, framing_new(stream_new(fd)));
}

static void
begin(void)
{
	int fds[2];

	if (lanes == NULL)
		lanes = lanes_new(loop, &conf, &handler, NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	near_end = fds[0];
	raw = fds[1];
	ck_assert_int_eq(add(near_end), 0);
}

/* --- the other end ---------------------------------------------------------------- */

static void
say(const void *data, size_t len)
{
	ck_assert_int_eq(send(raw, data, len, MSG_NOSIGNAL), (ssize_t)len);
	loop_run_turns(loop, 3);
}

static size_t
encode(uint8_t *to, uint8_t type, uint32_t id, uint32_t window)
{
	struct wire_message msg = { .type = type, .channel = id };

	if (type == WIRE_OPEN) {
		strcpy(msg.open.tunnel, "web");
		strcpy(msg.open.source, "unix:");
		msg.open.window = window;
	}
	return wire_encode(&msg, to, WIRE_FRAME_MAX);
}

static void
say_message(uint8_t type, uint32_t id, uint32_t window)
{
	uint8_t frame[WIRE_FRAME_MAX];

	say(frame, encode(frame, type, id, window));
}

static void
takes_nothing(bool readable, bool writable, void *arg)
{
	(void)readable;
	(void)writable;
	(void)arg;
}

/* --- memory ------------------------------------------------------------------------ */

/* What is kept goes beyond the bound with the last words of a lane: it goes
 * with the lane, and the loop goes on. */
START_TEST(memory_is_used_up_by_a_lane_that_dies)
{
	struct stream *streams[20];
	size_t len;
	uint32_t i, n;

	conf.link_memory = 1 << 20;
	begin();
	for (i = 0; i < 20; i++) {
		say_message(WIRE_OPEN, 2 * i + 2, 0);
		streams[i] = stream;
		stream_watch(stream, loop, takes_nothing, NULL);
	}
	for (n = 0; n < 17; n++) {
		wire_encode_data(bytes, 2 * n + 2, FRAME);
		say(bytes, WIRE_HEADER_SIZE + FRAME);
	}
	ck_assert_uint_eq(lanes_count(lanes), 1);
	wire_encode_data(bytes, 2 * n + 2, FRAME);
	len = WIRE_HEADER_SIZE + FRAME;
	len += encode(bytes + len, WIRE_OPEN, 3, 0); /* one of ours */
	say(bytes, len);
	loop_run_turns(loop, 10);
	ck_assert_uint_eq(lanes_count(lanes), 0);
	ck_assert_uint_eq(n_lost, 1);
	for (i = 0; i < 20; i++) {
		ck_assert_int_eq(stream_state(streams[i]), STREAM_LOST);
		stream_free(streams[i]);
	}
}
END_TEST

/* --- how many ----------------------------------------------------------------------- */

START_TEST(old_ones_are_bounded)
{
	static int ends[MANY + 1];
	int fds[2], i;

	for (i = 0; i < MANY; i++) {
		begin();
		ends[i] = raw;
		lanes_retire(lanes);
	}
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	ck_assert_int_eq(add(fds[0]), -1);
	close(fds[1]);
	for (i = 0; i < MANY - 1; i++)
		close(ends[i]);
	loop_run_turns(loop, 10);
	begin(); /* there is room again */
	close(ends[MANY - 1]);
}
END_TEST

/* The other end opens, is refused, and never says its last frame: the lane does
 * not wait for that for ever once it is retired. */
START_TEST(last_frames_that_never_come)
{
	double until;
	char c;

	refuses = true;
	begin();
	say_message(WIRE_OPEN, 2, 0);
	say_message(WIRE_GOAWAY, 0, 0);
	ck_assert_uint_eq(n_lost, 1);
	until = loop_now(loop) + 20;
	while (recv(raw, &c, 1, MSG_DONTWAIT) != 0) {
		ck_assert(loop_now(loop) < until);
		turn_for(0.01);
	}
}
END_TEST

/* --- slow paths ---------------------------------------------------------------------- */

/* A frame of bulk that takes longer than the heartbeat has time. */
START_TEST(a_long_frame_is_a_sign_of_life)
{
	struct stream *reader;

	conf.heartbeat_timeout = 1;
	begin();
	say_message(WIRE_OPEN, 2, 0);
	reader = stream;
	stream_watch(reader, loop, takes_nothing, NULL);
	wire_encode_data(bytes, 2, FRAME);
	say(bytes, WIRE_HEADER_SIZE + 1);
	for (int i = 0; i < 25; i++) {
		say(bytes, 100);
		turn_for(0.1);
	}
	ck_assert_uint_eq(lanes_count(lanes), 1);
	/* And then nothing. */
	for (int i = 0; i < 200 && lanes_count(lanes) > 0; i++)
		turn_for(0.1);
	ck_assert_uint_eq(lanes_count(lanes), 0);
	stream_free(reader);
}
END_TEST

/* Writes as much as it can. */
static void
writes(bool readable, bool writable, void *arg)
{
	struct stream *sink = *(struct stream **)arg;
	size_t put;

	(void)readable;
	while (writable &&
	    stream_write(sink, bytes, sizeof bytes, &put) == STREAM_OK)
		continue;
}

/* A TCP connection whose other end reads 40 KiB/s. */
static void
begin_slowly(void)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), size = 4096;
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof sin;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sin, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&sin, &len);
	near_end = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(near_end, (struct sockaddr *)&sin, len), 0);
	raw = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	close(listener);
	evutil_make_socket_nonblocking(near_end);
	lanes = lanes_new(loop, &conf, &handler, NULL);
	ck_assert_int_eq(add(near_end), 0);
}

static int
unsent(int fd)
{
	socklen_t len = sizeof(int);
	int n = 0;

	getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &n, &len);
	return n;
}

/* What the kernel is given goes by the rate, however slow: a keystroke would
 * stand behind it. */
START_TEST(a_slow_path_is_given_little)
{
	double until, next;

	begin_slowly();
	say_message(WIRE_OPEN, 2, MUX_CREDIT_MAX);
	ck_assert_int_eq(unsent(near_end), LANE_AHEAD_FIRST);
	stream_watch(stream, loop, writes, &stream);
	writes(false, true, &stream);
	until = loop_now(loop) + 60;
	while (unsent(near_end) != LANE_AHEAD_MIN) {
		ck_assert(loop_now(loop) < until);
		next = loop_now(loop) + 0.1;
		(void)recv(raw, bytes, 4096, 0);
		turn_for(next - loop_now(loop));
	}
	stream_free(stream);
}
END_TEST

/* --- turns ----------------------------------------------------------------------------- */

/* Who sends all the time leaves the others their turns: those that wait for a
 * connection which takes all that they have. */
START_TEST(sending_has_a_budget)
{
	struct stream *streams[4];
	struct lane_status status;
	int size = 64 << 20;
	uint64_t before;
	int i;

	begin();
	for (i = 0; i < 4; i++) {
		say_message(WIRE_OPEN, 2 * (uint32_t)i + 2, 16 << 20);
		streams[i] = stream;
		stream_watch(stream, loop, writes, &streams[i]);
		writes(false, true, &streams[i]);
	}
	loop_run_turns(loop, 3);
	lanes_get_status(lanes, 0, &status);
	before = status.out;
	ck_assert_uint_lt(before, 4 * STREAM_TURN);
	if (setsockopt(near_end, SOL_SOCKET, SO_SNDBUFFORCE, &size,
		sizeof size) != 0) {
		ck_assert_int_eq(errno, EPERM); /* root's: nothing to see */
		goto out;
	}
	while (recv(raw, bytes, sizeof bytes, 0) > 0)
		continue;
	for (i = 0; i < 40; i++) {
		event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
		lanes_get_status(lanes, 0, &status);
		ck_assert_uint_le(status.out - before, 2 * STREAM_TURN);
		before = status.out;
	}
	ck_assert_uint_gt(status.out, 8 * STREAM_TURN);
out:
	for (i = 0; i < 4; i++)
		stream_free(streams[i]);
}
END_TEST

/* A connection that has PINGs without end. */
struct endless {
	struct stream base;
	uint64_t taken;
};

static enum stream_status
endless_read(struct stream *endless, void *data, size_t len, size_t *got)
{
	struct wire_message msg = { .type = WIRE_PING };
	uint8_t ping[WIRE_FRAME_MAX];
	size_t n = wire_encode(&msg, ping, sizeof ping), i;
	uint64_t *taken = &((struct endless *)endless)->taken;

	for (i = 0; i < len; i++)
		((uint8_t *)data)[i] = ping[(*taken + i) % n];
	*taken += len;
	*got = len;
	return STREAM_OK;
}

static enum stream_status
endless_write(struct stream *endless, const void *data, size_t len, size_t *put)
{
	(void)endless;
	(void)data;
	*put = len;
	return STREAM_OK;
}

static int
endless_watch(struct stream *endless, struct loop *on)
{
	(void)endless;
	(void)on;
	return 0;
}

static void
endless_free(struct stream *endless)
{
	endless->fn = NULL;
}

static const struct stream_ops endless_ops = {
	.free = endless_free,
	.read = endless_read,
	.write = endless_write,
	.watch = endless_watch,
	.turn = STREAM_TURN,
};

/* Who sends frames that are no DATA, as many as can be read, leaves the others
 * their turns, too. */
START_TEST(reading_has_a_budget_whatever_comes)
{
	struct endless endless = { .base.ops = &endless_ops };
	uint64_t before;
	int i;

	lanes = lanes_new(loop, &conf, &handler, NULL);
	ck_assert_int_eq(lanes_add(lanes, framing_new(&endless.base)), 0);
	endless.base.fn(true, true, endless.base.arg);
	ck_assert_uint_gt(endless.taken, 0);
	ck_assert_uint_le(endless.taken, STREAM_TURN + LOOP_BULK_SIZE);
	for (i = 0; i < 10; i++) {
		before = endless.taken;
		event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
		ck_assert_uint_gt(endless.taken, before); /* it goes on */
		ck_assert_uint_le(endless.taken - before,
		    STREAM_TURN + LOOP_BULK_SIZE);
	}
	ck_assert_uint_eq(lanes_count(lanes), 1);
	lanes_free(lanes); /* while the connection is there */
	lanes = NULL;
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("lanes");
	TCase *tc = tcase_create("lanes");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tc, 90);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, memory_is_used_up_by_a_lane_that_dies);
	tcase_add_test(tc, old_ones_are_bounded);
	tcase_add_test(tc, last_frames_that_never_come);
	tcase_add_test(tc, a_long_frame_is_a_sign_of_life);
	tcase_add_test(tc, a_slow_path_is_given_little);
	tcase_add_test(tc, sending_has_a_budget);
	tcase_add_test(tc, reading_has_a_budget_whatever_comes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
