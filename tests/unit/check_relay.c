/* SPDX-License-Identifier: ISC */
/* relay: bytes, endings and back-pressure between real sockets. */
#include <sys/socket.h>

#include <stdlib.h>
#include <string.h>

#include "relay_fixture.h"

#define BULK (1024 * 1024 + 12345)

static struct world w;

static void
begin(int i)
{
	world_open(&w, &settings[i]);
	world_begin(&w);
}

START_TEST(bulk_both_ways)
{
	begin(_i);
	w.user.limit = BULK;
	w.far.limit = BULK + 1;
	UNTIL(&w, w.user.got == BULK + 1 && w.far.got == BULK);
	ck_assert(!w.done);
	world_finish(&w);
	ck_assert_uint_eq(w.counters.from_outside, BULK);
	ck_assert_uint_eq(w.counters.to_outside, BULK + 1);
	ck_assert_double_le(w.counters.last, world_now());
}
END_TEST

START_TEST(small_requests)
{
	int i;

	begin(_i);
	for (i = 1; i <= 100; i++) {
		w.user.limit += (uint64_t)i;
		UNTIL(&w, w.far.got == w.user.limit);
		w.far.limit += (uint64_t)(3 * i);
		UNTIL(&w, w.user.got == w.far.limit);
	}
	world_finish(&w);
}
END_TEST

/* Bulk, then little, then bulk: splicing begins and ends in between. */
START_TEST(sizes_change)
{
	static const unsigned sizes[] = { 16384, 16383, 16385, 1, 200000, 1,
		262144, 262145, 16384, 1000000, 2 };
	size_t i;

	begin(_i);
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		w.user.limit += sizes[i];
		w.far.limit += sizes[(i + 3) % (sizeof sizes / sizeof *sizes)];
		UNTIL(&w,
		    w.far.got == w.user.limit && w.user.got == w.far.limit);
	}
	world_finish(&w);
}
END_TEST

static void
half_close(int i, enum ending_side first)
{
	struct end *a, *b;

	begin(i);
	a = world_end(&w, first);
	b = world_end(&w, (enum ending_side) !first);
	a->limit = 300000;
	a->fin = true;
	UNTIL(&w, b->eof);
	ck_assert_uint_eq(b->got, 300000);
	world_quiet(&w);
	ck_assert(!w.done && !end_over(a));
	b->limit = BULK;
	UNTIL(&w, a->got == BULK);
	ck_assert(!w.done && !end_over(a));
	b->fin = true;
	UNTIL(&w, a->eof);
	ck_done(&w, REASON_CLOSED, first);
	world_finish(&w);
}

START_TEST(half_close_by_user)
{
	half_close(_i, ENDING_OUTSIDE);
}
END_TEST

START_TEST(half_close_by_far)
{
	half_close(_i, ENDING_CHANNEL);
}
END_TEST

START_TEST(eof_without_a_byte)
{
	begin(_i);
	w.far.fin = true;
	UNTIL(&w, w.user.eof);
	ck_assert(!w.done);
	world_finish(&w);
	ck_assert_int_eq(w.side, ENDING_CHANNEL);
}
END_TEST

/* A UNIX socket that closes says EOF; it resets if bytes were unread. */
static void
reset(int i, enum ending_side side)
{
	enum ending_side other = (enum ending_side) !side;
	struct end *a, *b;

	begin(i);
	a = world_end(&w, side);
	b = world_end(&w, other);
	a->limit = b->limit = 1000;
	UNTIL(&w, a->got == 1000 && b->got == 1000);
	a->deaf = true;
	b->limit += 1000;
	UNTIL(&w, end_unread(a) > 0);
	end_reset(a);
	ck_was_reset(&w, other);
	ck_done(&w, REASON_RESET, side);
	world_close(&w);
}

START_TEST(reset_by_user)
{
	reset(_i, ENDING_OUTSIDE);
}
END_TEST

START_TEST(reset_by_far)
{
	reset(_i, ENDING_CHANNEL);
}
END_TEST

/* After its EOF nothing is read from that side; its death shows all the
 * same, although the other side never says a word. */
static void
reset_after_eof(int i, enum ending_side side)
{
	enum ending_side other = (enum ending_side) !side;
	struct end *a, *b;

	begin(i);
	if (world_kind(&w, side) == KIND_UNIX ||
	    world_kind(&w, side) == KIND_TLS_UNIX) {
		world_close(&w);
		return; /* no reset to see */
	}
	a = world_end(&w, side);
	b = world_end(&w, other);
	a->limit = 10;
	a->fin = true;
	UNTIL(&w, b->eof);
	world_quiet(&w);
	end_reset(a);
	ck_done(&w, REASON_RESET, side);
	world_close(&w);
}

START_TEST(reset_by_user_after_eof)
{
	reset_after_eof(_i, ENDING_OUTSIDE);
}
END_TEST

START_TEST(reset_by_far_after_eof)
{
	reset_after_eof(_i, ENDING_CHANNEL);
}
END_TEST

/* The user takes no more, but goes on sending: all of it arrives, and then
 * the reset. */
START_TEST(broken_but_still_sending)
{
	begin(_i);
	if (w.setting.outside != KIND_UNIX) {
		world_close(&w);
		return;
	}
	w.user.limit = 1000;
	UNTIL(&w, w.far.got == 1000);
	w.user.deaf = true;
	shutdown(w.user.fd, SHUT_RD);
	w.far.limit = 5000; /* EPIPE */
	world_quiet(&w);
	ck_assert(!w.done);
	w.user.limit = BULK;
	UNTIL(&w, w.far.got == BULK);
	ck_assert(!w.done && !end_over(&w.far));
	w.user.fin = true;
	ck_was_reset(&w, ENDING_CHANNEL);
	ck_done(&w, REASON_RESET, ENDING_OUTSIDE);
	ck_assert_uint_eq(w.counters.to_outside, 0);
	world_close(&w);
}
END_TEST

/* It sends, does not read, and is gone: TCP answers with a RST. */
START_TEST(last_words_before_a_reset)
{
	begin(_i);
	w.user.deaf = true;
	w.far.limit = 1000;
	UNTIL(&w, end_unread(&w.user) > 0);
	w.user.limit = 20000;
	UNTIL(&w, w.user.sent == w.user.limit);
	end_close(&w.user); /* unread bytes make it a reset */
	ck_was_reset(&w, ENDING_CHANNEL);
	ck_assert_uint_eq(w.far.got, 20000);
	ck_done(&w, REASON_RESET, ENDING_OUTSIDE);
	world_close(&w);
}
END_TEST

static void
back_pressure(int i, enum ending_side from)
{
	/* Four socket buffers (Linux doubles them), the relay's own, and
	 * what TLS holds. */
	const uint64_t most = 4 * 4 * 65536 + PIPE_SIZE + 2 * 65536;
	struct end *a, *b;

	begin(i);
	a = world_end(&w, from);
	b = world_end(&w, (enum ending_side) !from);
	b->deaf = true;
	a->limit = UINT64_C(100) * 1024 * 1024;
	world_quiet(&w);
	ck_assert_msg(a->sent < most, "%llu bytes went nowhere",
	    (unsigned long long)a->sent);
	/* The other way is not held up. */
	b->limit = BULK;
	UNTIL(&w, a->got == BULK);
	ck_assert(!w.done);
	/* It goes on where it was. */
	b->deaf = false;
	a->limit = a->sent + BULK;
	UNTIL(&w, b->got == a->limit);
	world_finish(&w);
}

START_TEST(far_does_not_read)
{
	back_pressure(_i, ENDING_OUTSIDE);
}
END_TEST

START_TEST(user_does_not_read)
{
	back_pressure(_i, ENDING_CHANNEL);
}
END_TEST

/* EOF behind what waits comes last. */
START_TEST(eof_behind_a_full_sink)
{
	begin(_i);
	w.far.deaf = true;
	w.user.limit = BULK;
	w.user.fin = true;
	world_quiet(&w);
	ck_assert(!w.far.eof && !w.done);
	w.far.deaf = false;
	UNTIL(&w, w.far.eof);
	ck_assert_uint_eq(w.far.got, BULK);
	world_finish(&w);
}
END_TEST

/* A session that is reset while bytes wait in a pipe or a buffer. */
START_TEST(reset_behind_a_full_sink)
{
	begin(_i);
	w.far.deaf = true;
	w.user.limit = BULK;
	world_quiet(&w);
	w.far.limit = 100;
	UNTIL(&w, w.user.got == 100);
	end_reset(&w.far);
	ck_was_reset(&w, ENDING_OUTSIDE);
	ck_done(&w, REASON_RESET, ENDING_CHANNEL);
	world_close(&w);
}
END_TEST

/* The reset comes with the last bytes, of which the sink does not take all: both
 * are told at once, and never again. */
START_TEST(reset_with_more_than_the_sink_takes)
{
	enum kind kind;
	uint8_t *data;

	begin(_i);
	kind = world_kind(&w, ENDING_CHANNEL);
	if ((kind != KIND_LANE && kind != KIND_LANE_TLS) ||
	    world_kind(&w, ENDING_OUTSIDE) != KIND_TCP) {
		world_close(&w);
		return; /* nobody knows how much it takes, or no reset to see */
	}
	w.far.deaf = true;
	w.user.limit = MUX_WINDOW - 1000;
	UNTIL(&w, w.user.sent == w.user.limit);
	world_quiet(&w);
	data = end_early(&w.user, 5000);
	ck_assert_int_eq(send(w.user.fd, data, 5000, MSG_NOSIGNAL), 5000);
	free(data);
	end_reset(&w.user);
	ck_done(&w, REASON_RESET, ENDING_OUTSIDE);
	world_close(&w);
}
END_TEST

START_TEST(idle_timeout)
{
	double last;

	world_open(&w, &settings[_i]);
	/* Longer than a busy machine stalls us between two bytes. */
	w.params.idle_timeout = 1;
	world_begin(&w);
	while (w.far.limit < 4) { /* each byte begins it anew */
		double next = world_now() + 0.3;

		w.far.limit++;
		UNTIL(&w, w.user.got == w.far.limit);
		last = world_now();
		UNTIL(&w, world_now() >= next || w.done);
	}
	UNTIL(&w, w.done);
	ck_assert_double_ge(world_now() - last, 0.9);
	ck_assert_str_eq(reason_name(w.reason), "idle_timeout");
	ck_was_reset(&w, ENDING_OUTSIDE);
	ck_was_reset(&w, ENDING_CHANNEL);
	world_close(&w);
}
END_TEST

static unsigned woken;

static void
count_woken(void *arg)
{
	ck_assert_ptr_nonnull(arg);
	woken++;
}

/* Nobody need walk over those that do nothing: the next byte says so, once. */
START_TEST(rests)
{
	world_open(&w, &settings[_i]);
	w.params.woke = count_woken;
	world_begin(&w);
	woken = 0;
	w.user.limit = w.far.limit = 1000;
	UNTIL(&w, w.user.got == 1000 && w.far.got == 1000);
	ck_assert_uint_eq(woken, 0);
	relay_rest(w.relay);
	world_quiet(&w);
	ck_assert_uint_eq(woken, 0);
	w.user.limit = 2000;
	UNTIL(&w, w.far.got == 2000);
	ck_assert_uint_eq(woken, 1);
	w.far.limit = 500000;
	UNTIL(&w, w.user.got == 500000);
	ck_assert_uint_eq(woken, 1);
	relay_rest(w.relay);
	w.far.limit = 500001;
	UNTIL(&w, w.user.got == 500001);
	ck_assert_uint_eq(woken, 2);
	world_finish(&w);
}
END_TEST

START_TEST(freed_later)
{
	world_open(&w, &settings[_i]);
	w.params.idle_timeout = 0.02;
	w.keep = true;
	world_begin(&w);
	w.user.limit = w.far.limit = 1000;
	w.user.fin = w.far.fin = true;
	UNTIL(&w, w.done);
	ck_assert_str_eq(reason_name(w.reason), "closed");
	/* Its timer is silent, too. */
	double until = world_now() + 0.05;
	UNTIL(&w, world_now() > until);
	world_close(&w);
}
END_TEST

START_TEST(aborted)
{
	begin(_i);
	w.user.limit = w.far.limit = BULK;
	w.far.deaf = true;
	world_quiet(&w);
	relay_abort(w.relay, 0);
	relay_free(w.relay);
	w.relay = NULL;
	w.far.deaf = false;
	ck_was_reset(&w, ENDING_OUTSIDE);
	ck_was_reset(&w, ENDING_CHANNEL);
	world_close(&w);
	ck_assert(!w.done);
	relay_free(NULL);
}
END_TEST

START_TEST(channel_taken_back)
{
	struct stream *channel;
	size_t put;

	begin(_i);
	w.user.limit = w.far.limit = 1000;
	UNTIL(&w, w.user.got == 1000 && w.far.got == 1000);
	channel = relay_take_channel(w.relay);
	relay_abort(w.relay, 0);
	relay_free(w.relay);
	w.relay = NULL;
	ck_was_reset(&w, ENDING_OUTSIDE);
	world_quiet(&w);
	ck_assert(!end_over(&w.far));
	/* The next bytes of the sequence are a stranger's. */
	w.far.deaf = true;
	ck_assert_int_eq(stream_write(channel, "bye", 3, &put), STREAM_OK);
	ck_assert_uint_eq(put, 3);
	stream_free(channel);
	world_close(&w);
	ck_assert(!w.done);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("relay");
	SRunner *runner = srunner_create(suite);
	TCase *tc = tcase_create("relay");
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, bulk_both_ways, 0, SETTINGS);
	tcase_add_loop_test(tc, small_requests, 0, SETTINGS);
	tcase_add_loop_test(tc, sizes_change, 0, SETTINGS);
	tcase_add_loop_test(tc, half_close_by_user, 0, SETTINGS);
	tcase_add_loop_test(tc, half_close_by_far, 0, SETTINGS);
	tcase_add_loop_test(tc, eof_without_a_byte, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_by_user, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_by_far, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_by_user_after_eof, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_by_far_after_eof, 0, SETTINGS);
	tcase_add_loop_test(tc, broken_but_still_sending, 0, SETTINGS);
	tcase_add_loop_test(tc, last_words_before_a_reset, 0, SETTINGS);
	tcase_add_loop_test(tc, far_does_not_read, 0, SETTINGS);
	tcase_add_loop_test(tc, user_does_not_read, 0, SETTINGS);
	tcase_add_loop_test(tc, eof_behind_a_full_sink, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_behind_a_full_sink, 0, SETTINGS);
	tcase_add_loop_test(tc, reset_with_more_than_the_sink_takes, 0,
	    SETTINGS);
	tcase_add_loop_test(tc, idle_timeout, 0, SETTINGS);
	tcase_add_loop_test(tc, freed_later, 0, SETTINGS);
	tcase_add_loop_test(tc, rests, 0, SETTINGS);
	tcase_add_loop_test(tc, aborted, 0, SETTINGS);
	tcase_add_loop_test(tc, channel_taken_back, 0, SETTINGS);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, check_relay_early());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
