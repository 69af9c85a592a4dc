/* SPDX-License-Identifier: ISC */
/* mux: credit and turns of one machine. */
#include "mux_fixture.h"

/* --- credit ------------------------------------------------------------------- */

START_TEST(early_bytes_and_the_first_window)
{
	struct mux_channel *out;
	struct wire_message msg;

	reach(OPENING);
	ck_assert_uint_eq(mux_allowance(channel), MUX_EARLY);
	mux_sent(channel, 1000);
	take(WIRE_OPENED, 1);
	ck_assert_uint_eq(mux_allowance(channel), MUX_WINDOW - 1000);
	ck_assert_ptr_null(mux_on_data(mux, 1, MUX_WINDOW, &out));
	ck_assert_str_eq(mux_on_data(mux, 1, 1, &out),
	    "DATA beyond the credit");
	take(WIRE_OPEN, 2);
	ck_assert_uint_eq(mux_allowance(channel), 0);
	ck_assert_ptr_null(mux_on_data(mux, 2, MUX_EARLY, &out));
	ck_assert_str_eq(mux_on_data(mux, 2, 1, &out),
	    "DATA beyond the credit");
	mux_accept(channel);
	ck_assert_uint_eq(mux_allowance(channel), MUX_WINDOW);
	ck_assert_ptr_null(mux_on_data(mux, 2, MUX_WINDOW - MUX_EARLY, &out));
	ck_assert_ptr_nonnull(mux_on_data(mux, 2, 1, &out));
	msg = emit(WIRE_OPENED);
	ck_assert_uint_eq(msg.opened.window, 0);
}
END_TEST

/* All that is granted now. */
static uint32_t
granted(void)
{
	uint8_t frame[WIRE_FRAME_MAX];
	struct wire_message msg;
	uint32_t grant = 0;
	size_t used, size;

	while ((size = mux_emit(mux, frame)) > 0) {
		ck_assert_int_eq(wire_decode(frame, size, &msg, &used),
		    WIRE_OK);
		ck_assert_int_eq(msg.type, WIRE_WINDOW);
		grant += msg.window.credit;
	}
	return grant;
}

static void
pass(uint32_t len, double now, double rtt)
{
	struct mux_channel *out;
	uint32_t n;

	while (len > 0) {
		n = len < 10000 ? len : 10000;
		ck_assert_ptr_null(mux_on_data(mux, 1, n, &out));
		mux_passed(channel, n, now, rtt);
		len -= n;
	}
}

/* Passes on what came in pieces, all in that many seconds. */
static uint32_t
window_after(uint32_t len, double *now, double seconds)
{
	*now += seconds;
	pass(len, *now, 0.1);
	return granted();
}

START_TEST(windows_grow_and_fall_back)
{
	uint32_t grant, outstanding = MUX_WINDOW;
	double now = 100;
	int i;

	reach(OURS);
	ck_assert_uint_eq(window_after(MUX_WINDOW / 4, &now, 0.01), 0);
	outstanding -= MUX_WINDOW / 4;
	/* Half of it within two round trips, again and again. */
	for (i = 0; i < 20; i++) {
		grant = window_after(outstanding, &now, 0.01);
		ck_assert_uint_gt(grant, 0);
		outstanding = grant;
		ck_assert_uint_le(outstanding, 16 << 20);
	}
	ck_assert_uint_eq(memory.grown, (16 << 20) - MUX_WINDOW);
	for (i = 0; i < 20; i++)
		outstanding += window_after(outstanding / 2 + 1, &now, 60) -
		    (outstanding / 2 + 1);
	ck_assert_uint_eq(memory.grown, 0);
	ck_assert_uint_le(outstanding, MUX_WINDOW);
}
END_TEST

/* Without a byte: nobody else is kept small by who once was fast. */
START_TEST(windows_of_idle_ones_shrink)
{
	uint32_t outstanding = MUX_WINDOW;
	double now = 100;
	int i;

	reach(OURS);
	for (i = 0; i < 20; i++)
		outstanding = window_after(outstanding, &now, 0.01);
	ck_assert_uint_eq(memory.grown, (16 << 20) - MUX_WINDOW);
	mux_age(mux, now + 1);
	ck_assert_uint_eq(memory.grown, (16 << 20) - MUX_WINDOW);
	for (i = 0; i < 6; i++) {
		ck_assert_uint_gt(memory.grown, 0);
		mux_age(mux, now += 11);
		mux_age(mux, now);
	}
	ck_assert_uint_eq(memory.grown, 0);
	/* What was granted still is; more only once that is used up. */
	ck_assert_uint_eq(window_after(outstanding - MUX_WINDOW, &now, 1), 0);
	ck_assert_uint_gt(window_after(MUX_WINDOW, &now, 1), 0);
}
END_TEST

START_TEST(windows_shrink_when_memory_is_near)
{
	uint32_t outstanding = MUX_WINDOW;
	double now = 100;
	int i;

	memory.bound = 8 << 20;
	reach(OURS);
	for (i = 0; i < 20; i++)
		outstanding = window_after(outstanding, &now, 0.01);
	ck_assert_uint_le(memory.grown, 6 << 20);
	ck_assert_uint_ge(memory.grown, 2 << 20);
	memory.kept = 7 << 20; /* others */
	for (i = 0; i < 20; i++)
		outstanding += window_after(outstanding / 2, &now, 0.01) -
		    outstanding / 2;
	ck_assert_uint_eq(memory.grown, 0);
	/* New ones begin with less. */
	open_ours();
	ck_assert_uint_eq(emit(WIRE_OPEN).open.window, MUX_EARLY);
	take(WIRE_OPEN, 2);
	mux_accept(channel);
	ck_assert_uint_eq(emit(WIRE_OPENED).opened.window, MUX_EARLY);
	memory.kept -= 7 << 20;
}
END_TEST

/* --- nearby and far ----------------------------------------------------------- */

#define NEARBY 0.0001
#define FAR 0.1
#define AT_ONCE 0.0001
#define QUICK 0.005 /* many round trips nearby, and a turn of the loops */

static double at;
static uint32_t used; /* of the window: what may come, and what waits */

static uint32_t
window_now(void)
{
	return MUX_WINDOW + (uint32_t)memory.grown;
}

/* Half of the window has gone, after so many seconds: the one that follows. */
static uint32_t
half_goes(double seconds, double rtt)
{
	at += seconds;
	pass(used - window_now() / 2, at, rtt);
	ck_assert_uint_gt(granted(), 0);
	used = window_now();
	return used;
}

static void
keep(uint32_t len)
{
	static const uint8_t data[MUX_WINDOW];
	struct mux_channel *out;

	ck_assert_ptr_null(mux_on_data(mux, 1, len, &out));
	ck_assert_int_eq(mux_keep(channel, data, len), 0);
}

static void
read_kept(uint32_t len, double rtt)
{
	mux_consume(channel, len, at, rtt);
	used -= len;
	nothing_due();
}

/* Open, and nobody was in a hurry so far. */
static void
begin_slowly(double rtt)
{
	reach(OURS);
	at = 100;
	used = MUX_WINDOW;
	ck_assert_uint_eq(half_goes(1, rtt), MUX_WINDOW);
}

START_TEST(windows_nearby_grow_while_nothing_waits)
{
	uint32_t window;

	begin_slowly(NEARBY);
	ck_assert_uint_eq(half_goes(0.02, NEARBY), MUX_WINDOW);
	/* As far as a pipe holds it; even where no round trip is known. */
	ck_assert_uint_eq(half_goes(QUICK, NEARBY), 2 * MUX_WINDOW);
	ck_assert_uint_eq(half_goes(QUICK, -1), 4 * MUX_WINDOW);
	ck_assert_uint_eq(half_goes(QUICK, NEARBY), 4 * MUX_WINDOW);
	ck_assert_uint_eq(half_goes(QUICK, -1), 4 * MUX_WINDOW);
	/* Beyond that within two round trips alone. */
	for (window = 4 * MUX_WINDOW; window < 16 << 20; window *= 2)
		ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), 2 * window);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), 16 << 20);
}
END_TEST

START_TEST(windows_nearby_stay_while_something_waits)
{
	struct mux_channel *out;

	begin_slowly(NEARBY);
	ck_assert_ptr_null(mux_on_data(mux, 1, 1000, &out));
	mux_set_piped(channel, 1000);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), MUX_WINDOW);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), MUX_WINDOW);
	/* Once the pipe is empty he may have more. */
	mux_set_piped(channel, 0);
	mux_passed(channel, 1000, at, NEARBY);
	used -= 1000;
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), 2 * MUX_WINDOW);
}
END_TEST

/* What is kept is copied: less of it, and then slowly more. */
START_TEST(windows_nearby_shrink_by_what_was_kept)
{
	uint32_t window = 4 * MUX_WINDOW;

	begin_slowly(NEARBY);
	half_goes(QUICK, NEARBY);
	ck_assert_uint_eq(half_goes(QUICK, NEARBY), window);
	keep(1000);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), window -= 1000);
	read_kept(1000, NEARBY);
	window += window / 8;
	ck_assert_uint_eq(half_goes(QUICK, NEARBY), window);
	keep(MUX_WINDOW);
	keep(MUX_WINDOW / 4);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), window -= window / 4);
	read_kept(MUX_WINDOW / 4 * 5, NEARBY);
	while (window > MUX_WINDOW) {
		keep(60000);
		window -= window - MUX_WINDOW < 60000 ? window - MUX_WINDOW :
							60000;
		ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), window);
		read_kept(60000, NEARBY);
	}
	keep(60000);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), MUX_WINDOW);
	read_kept(60000, NEARBY);
	ck_assert_uint_eq(half_goes(AT_ONCE, NEARBY), MUX_WINDOW / 8 * 9);
}
END_TEST

/* From afar bytes come in bursts: that some wait says nothing. */
START_TEST(windows_from_afar_grow_whatever_waits)
{
	begin_slowly(FAR);
	keep(1000);
	ck_assert_uint_eq(half_goes(FAR, FAR), 2 * MUX_WINDOW);
	ck_assert_uint_eq(half_goes(FAR, FAR), 4 * MUX_WINDOW);
	ck_assert_uint_eq(half_goes(3 * FAR, FAR), 4 * MUX_WINDOW);
	read_kept(1000, FAR);
	ck_assert_uint_eq(half_goes(FAR, FAR), 8 * MUX_WINDOW);
}
END_TEST

START_TEST(who_reads_nothing_gets_no_credit)
{
	static uint8_t data[MUX_WINDOW];
	struct mux_channel *out;
	const uint8_t *peeked;
	size_t len, got = 0;
	uint32_t i;

	reach(OURS);
	for (i = 0; i < MUX_WINDOW; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (i = 0; i < MUX_WINDOW / 64; i++) {
		ck_assert_ptr_null(mux_on_data(mux, 1, 64, &out));
		ck_assert_int_eq(mux_keep(channel, data + 64 * i, 64), 0);
	}
	nothing_due();
	ck_assert_uint_eq(mux_kept(channel), MUX_WINDOW);
	ck_assert_uint_ge(memory.kept, MUX_WINDOW);
	ck_assert_uint_le(memory.kept, MUX_WINDOW * 2);
	ck_assert(mux_greediest(mux) == channel);
	ck_assert_ptr_nonnull(mux_on_data(mux, 1, 1, &out));
	while (mux_peek(channel, &peeked, &len) == MUX_BYTES) {
		len = len > 1000 ? 1000 : len;
		ck_assert_mem_eq(peeked, data + got, len);
		got += len;
		mux_consume(channel, len, 1, 0);
	}
	ck_assert_uint_eq(got, MUX_WINDOW);
	ck_assert_uint_eq(memory.kept, 0);
	ck_assert_uint_ge(emit(WIRE_WINDOW).window.credit, MUX_WINDOW / 2);
	nothing_due();
}
END_TEST

START_TEST(lent_bytes_come_behind_kept_ones)
{
	const uint8_t *data;
	size_t len;

	reach(OURS);
	mux_keep(channel, (const uint8_t *)"abc", 3);
	mux_lend(channel, (const uint8_t *)"defg", 4);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_BYTES);
	ck_assert_uint_eq(len, 3);
	mux_consume(channel, 2, 1, 0);
	mux_consume(channel, 1, 1, 0);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_BYTES);
	ck_assert_uint_eq(len, 4);
	mux_consume(channel, 1, 1, 0);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_BYTES);
	ck_assert_mem_eq(data, "efg", 3);
	ck_assert_uint_eq(mux_settle(channel), 3);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_NOTHING);
}
END_TEST

/* --- turns -------------------------------------------------------------------- */

static void
grant(uint32_t id, uint32_t credit)
{
	struct wire_message msg = message(WIRE_WINDOW, id);
	struct mux_channel *out;

	msg.window.credit = credit;
	ck_assert_ptr_null(mux_on_message(mux, &msg, &news, &out));
}

START_TEST(turns_go_round)
{
	struct mux_channel *bulk[8], *key;
	int i, turn;

	for (i = 0; i < 8; i++) {
		bulk[i] = open_ours();
		emit(WIRE_OPEN);
		take(WIRE_OPENED, (uint32_t)(2 * i + 1));
		grant((uint32_t)(2 * i + 1), 16 * MUX_WINDOW);
		/* Alone it may do as it likes. */
		ck_assert_uint_eq(mux_allowance(bulk[i]), 17 * MUX_WINDOW);
		mux_sent(bulk[i], MUX_QUANTUM);
	}
	key = open_ours();
	emit(WIRE_OPEN);
	take(WIRE_OPENED, 17);
	for (i = 0; i < 8; i++)
		mux_wait(bulk[i]);
	ck_assert_uint_eq(mux_allowance(bulk[0]), 0);
	ck_assert_uint_eq(mux_allowance(key), MUX_QUANTUM);
	for (turn = 0; turn < 3; turn++) {
		mux_begin_round(mux);
		for (i = 0; i < 8; i++) {
			if (i == 3) {
				/* Who needs little does not wait for them. */
				mux_wait(key);
				ck_assert(mux_next(mux) == key);
				mux_sent(key, 1);
			}
			ck_assert(mux_next(mux) == bulk[i]);
			ck_assert_uint_eq(mux_allowance(bulk[i]), MUX_QUANTUM);
			mux_sent(bulk[i], MUX_QUANTUM);
			ck_assert_uint_eq(mux_allowance(bulk[i]), 0);
			mux_wait(bulk[i]);
			take(WIRE_WINDOW, mux_id(bulk[i]));
			mux_wait(bulk[i]);
		}
	}
	mux_close(bulk[0], true, 0);
	ck_assert(mux_next(mux) == bulk[1]);
}
END_TEST

START_TEST(many_light_ones_do_not_starve_a_heavy_one)
{
	struct mux_channel *heavy, *light[100];
	int i, turns = 0;

	for (i = 0; i < 100; i++) {
		light[i] = open_ours();
		emit(WIRE_OPEN);
	}
	heavy = open_ours();
	emit(WIRE_OPEN);
	mux_sent(heavy, MUX_EARLY - 1);
	mux_sent(light[0], 0);
	mux_begin_round(mux);
	take(WIRE_OPENED, 201);
	mux_sent(heavy, MUX_QUANTUM);
	for (i = 0; i < 100; i++)
		mux_wait(light[i]);
	mux_wait(heavy);
	while (mux_next(mux) != heavy)
		turns++;
	ck_assert_int_le(turns, 20);
}
END_TEST

START_TEST(without_credit_nobody_waits)
{
	reach(OURS);
	mux_sent(channel, MUX_WINDOW);
	mux_wait(channel);
	ck_assert(!mux_is_waited_for(mux));
	ck_assert_uint_eq(mux_allowance(channel), 0);
	take(WIRE_WINDOW, 1);
	ck_assert_int_eq(news, MUX_NEWS_WRITABLE);
	ck_assert_uint_eq(mux_allowance(channel), 1);
	take(WIRE_WINDOW, 1);
	ck_assert_int_eq(news, MUX_NEWS_NONE);
}
END_TEST

/* No WINDOW after the RESET: it would meet another channel. */
START_TEST(who_is_evicted_gets_no_credit)
{
	static const uint8_t data[MUX_WINDOW / 2];
	struct mux_channel *out;

	reach(OURS);
	ck_assert_ptr_null(mux_on_data(mux, 1, sizeof data, &out));
	ck_assert_int_eq(mux_keep(channel, data, sizeof data), 0);
	ck_assert_ptr_null(mux_on_data(mux, 1, 20000, &out));
	mux_set_piped(channel, 20000);
	ck_assert_uint_eq(mux_held(channel), sizeof data + 20000);
	mux_evict(channel);
	ck_assert(mux_is_dead(channel));
	ck_assert_uint_eq(memory.kept, 0);
	emit(WIRE_RESET);
	mux_passed(channel, 20000, 1, 0);
	nothing_due();
	out = channel;
	ck_assert_ptr_null(mux_on_data(mux, 1, 1000, &out));
	ck_assert_ptr_null(out);
	take(WIRE_RESET, 1);
	ck_assert_uint_eq(mux_id(channel), 0);
	mux_close(channel, true, 0);
	nothing_due();
	ck_assert_uint_eq(mux_count(mux), 0);
}
END_TEST

TCase *
check_mux_credit(void)
{
	TCase *tc = tcase_create("credit");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, early_bytes_and_the_first_window);
	tcase_add_test(tc, windows_grow_and_fall_back);
	tcase_add_test(tc, windows_of_idle_ones_shrink);
	tcase_add_test(tc, windows_shrink_when_memory_is_near);
	tcase_add_test(tc, windows_nearby_grow_while_nothing_waits);
	tcase_add_test(tc, windows_nearby_stay_while_something_waits);
	tcase_add_test(tc, windows_nearby_shrink_by_what_was_kept);
	tcase_add_test(tc, windows_from_afar_grow_whatever_waits);
	tcase_add_test(tc, who_reads_nothing_gets_no_credit);
	tcase_add_test(tc, who_is_evicted_gets_no_credit);
	tcase_add_test(tc, lent_bytes_come_behind_kept_ones);
	tcase_add_test(tc, turns_go_round);
	tcase_add_test(tc, many_light_ones_do_not_starve_a_heavy_one);
	tcase_add_test(tc, without_credit_nobody_waits);
	return tc;
}
