/* SPDX-License-Identifier: ISC */
/* relay: what happened before it began: early bytes, EOF, death. */
#include <sys/socket.h>

#include "relay_fixture.h"

#define EARLY_USER 50000
#define EARLY_FAR 30000
#define BULK (1024 * 1024)
#define SOCKET (4 * 65536) /* the most that a socket holds */

static struct world w;

static struct relay_early *
early_of(enum ending_side side)
{
	return side == ENDING_OUTSIDE ? &w.params.from_outside :
					&w.params.from_channel;
}

static void
give_early(enum ending_side side, size_t len, bool eof, bool sent)
{
	struct end *end = world_end(&w, side);

	if (len > 0)
		early_of(side)->data = end_early(end, len);
	early_of(side)->len = len;
	early_of(side)->eof = eof;
	early_of(side)->sent = sent;
	end->fin = end->fin_sent = eof;
	if (!eof)
		return;
	if (end->stream != NULL)
		stream_shutdown(end->stream);
	else if (end->ssl != NULL)
		SSL_shutdown(end->ssl);
	else
		shutdown(end->fd, SHUT_WR);
}

START_TEST(bytes)
{
	world_open(&w, &settings[_i]);
	give_early(ENDING_OUTSIDE, EARLY_USER, false, false);
	give_early(ENDING_CHANNEL, EARLY_FAR, false, false);
	world_begin(&w);
	UNTIL(&w, w.far.got == EARLY_USER && w.user.got == EARLY_FAR);
	w.user.limit += BULK; /* behind them comes what follows */
	w.far.limit += BULK;
	UNTIL(&w,
	    w.far.got == EARLY_USER + BULK && w.user.got == EARLY_FAR + BULK);
	world_finish(&w);
	ck_assert_uint_eq(w.counters.from_outside, BULK);
	ck_assert_uint_eq(w.counters.to_outside, EARLY_FAR + BULK);
}
END_TEST

static void
bytes_and_eof(int i, enum ending_side side, size_t len)
{
	struct end *a, *b;

	world_open(&w, &settings[i]);
	give_early(side, len, true, false);
	world_begin(&w);
	a = world_end(&w, side);
	b = world_end(&w, (enum ending_side) !side);
	UNTIL(&w, b->eof);
	ck_assert_uint_eq(b->got, len);
	ck_assert(!w.done);
	b->limit = BULK;
	UNTIL(&w, a->got == BULK);
	ck_assert(!w.done);
	b->fin = true;
	ck_done(&w, REASON_CLOSED, side);
	world_finish(&w);
}

START_TEST(bytes_and_eof_of_user)
{
	bytes_and_eof(_i, ENDING_OUTSIDE, EARLY_USER);
	bytes_and_eof(_i, ENDING_OUTSIDE, 0);
}
END_TEST

START_TEST(bytes_and_eof_of_far)
{
	bytes_and_eof(_i, ENDING_CHANNEL, EARLY_FAR);
	bytes_and_eof(_i, ENDING_CHANNEL, 0);
}
END_TEST

/* More than the sockets hold, and EOF behind it. */
START_TEST(many_bytes_and_eof)
{
	world_open(&w, &settings[_i]);
	give_early(ENDING_OUTSIDE, 2 * BULK, true, false);
	w.far.deaf = true;
	world_begin(&w);
	world_quiet(&w);
	ck_assert(!w.done);
	w.far.deaf = false;
	UNTIL(&w, w.far.eof);
	ck_assert_uint_eq(w.far.got, 2 * BULK);
	world_finish(&w);
}
END_TEST

/* The far end was told of the user's EOF before: not again, and no bytes. */
START_TEST(eof_already_told)
{
	world_open(&w, &settings[_i]);
	give_early(ENDING_OUTSIDE, 0, true, true);
	ck_assert_int_eq(stream_shutdown(w.params.channel), STREAM_OK);
	world_begin(&w);
	w.far.limit = BULK;
	UNTIL(&w, w.user.got == BULK && w.far.eof);
	ck_assert(!w.done);
	w.far.fin = true;
	ck_done(&w, REASON_CLOSED, ENDING_OUTSIDE);
	world_finish(&w);
}
END_TEST

START_TEST(both_told)
{
	world_open(&w, &settings[_i]);
	give_early(ENDING_OUTSIDE, 0, true, true);
	give_early(ENDING_CHANNEL, 0, true, true);
	stream_shutdown(w.params.channel);
	stream_shutdown(w.params.outside);
	world_quiet(&w); /* a lane says later what it has heard */
	world_begin(&w);
	UNTIL(&w, w.done);
	world_finish(&w);
}
END_TEST

/* The user takes no more: its last bytes still arrive, then the reset. */
START_TEST(broken_behind_a_full_sink)
{
	world_open(&w, &settings[_i]);
	if (w.setting.outside == KIND_UNIX) {
		give_early(ENDING_OUTSIDE, 2 * BULK, true, false);
		w.far.deaf = true;
	}
	world_begin(&w);
	if (w.setting.outside == KIND_UNIX) {
		world_quiet(&w);
		w.user.deaf = true;
		shutdown(w.user.fd, SHUT_RD);
		w.far.limit = 1000; /* EPIPE */
		world_quiet(&w);
		ck_assert(!w.done);
		w.far.deaf = false;
		UNTIL(&w, end_over(&w.far));
		/* A RST overtakes what the kernel has not sent yet. */
		ck_assert_uint_ge(w.far.got,
		    2 * BULK - (w.setting.channel == KIND_UNIX ? 0 : SOCKET));
		ck_done(&w, REASON_RESET, ENDING_OUTSIDE);
	}
	world_close(&w);
}
END_TEST

START_TEST(dead_before)
{
	world_open(&w, &settings[_i]);
	end_reset(&w.user);
	world_begin(&w);
	if (w.setting.outside == KIND_UNIX) { /* EOF, and nobody to read */
		w.far.limit = 10;
		UNTIL(&w, end_over(&w.far));
	} else {
		ck_was_reset(&w, ENDING_CHANNEL);
	}
	ck_done(&w, REASON_RESET, ENDING_OUTSIDE);
	world_close(&w);
}
END_TEST

/* RFC 8446, 6.1: a FIN without close_notify may be an attacker's. */
START_TEST(cut_off_tls)
{
	world_open(&w, &settings[_i]);
	world_begin(&w);
	if (kind_is_tls(w.setting.channel)) {
		w.far.limit = w.user.limit = 1000;
		UNTIL(&w, w.user.got == 1000 && w.far.got == 1000);
		shutdown(w.far.fd, SHUT_WR);
		ck_was_reset(&w, ENDING_OUTSIDE);
		ck_was_reset(&w, ENDING_CHANNEL);
		ck_done(&w, REASON_RESET, ENDING_CHANNEL);
	}
	world_close(&w);
}
END_TEST

START_TEST(garbage_for_tls)
{
	world_open(&w, &settings[_i]);
	world_begin(&w);
	if (kind_is_tls(w.setting.channel)) {
		ck_assert_int_eq(send(w.far.fd, "GET / HTTP/1.0\r\n", 16, 0),
		    16);
		ck_was_reset(&w, ENDING_OUTSIDE);
		ck_assert_uint_eq(w.user.got, 0);
		ck_done(&w, REASON_RESET, ENDING_CHANNEL);
	}
	world_close(&w);
}
END_TEST

TCase *
check_relay_early(void)
{
	TCase *tc = tcase_create("early");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, bytes, 0, SETTINGS);
	tcase_add_loop_test(tc, bytes_and_eof_of_user, 0, SETTINGS);
	tcase_add_loop_test(tc, bytes_and_eof_of_far, 0, SETTINGS);
	tcase_add_loop_test(tc, many_bytes_and_eof, 0, SETTINGS);
	tcase_add_loop_test(tc, eof_already_told, 0, SETTINGS);
	tcase_add_loop_test(tc, both_told, 0, SETTINGS);
	tcase_add_loop_test(tc, broken_behind_a_full_sink, 0, SETTINGS);
	tcase_add_loop_test(tc, dead_before, 0, SETTINGS);
	tcase_add_loop_test(tc, cut_off_tls, 0, SETTINGS);
	tcase_add_loop_test(tc, garbage_for_tls, 0, SETTINGS);
	return tc;
}
