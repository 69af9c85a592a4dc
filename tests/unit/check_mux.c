/* SPDX-License-Identifier: ISC */
/* mux: states, endings and numbers of one machine. */
#include "mux_fixture.h"

#include <stdlib.h>
#include <string.h>

/* --- every frame in every state ---------------------------------------------- */

static const uint8_t types[] = { WIRE_OPEN, WIRE_OPENED, WIRE_FAILED, WIRE_DATA,
	WIRE_FIN, LAST, WIRE_RESET, WIRE_WINDOW, WIRE_ACK, WIRE_RESUME,
	WIRE_RESUMED, WIRE_PING, WIRE_GOAWAY, 0x27, 0xff };

/* What is wrong with it, NULL: nothing. In the order of types. */
#define NOT_OPEN(name) name " of a channel that is not open"
#define AFTER_LAST                                                    \
	"OPENED after the last frame", "FAILED after the last frame", \
	    "DATA after the last frame", "FIN after the last frame",  \
	    "FIN after the last frame", "RESET after the last frame", \
	    "WINDOW after the last frame"
static const char *const wrong[STATES][8] = {
	[NONE] = { NULL, NOT_OPEN("OPENED"), NOT_OPEN("FAILED"),
	    NOT_OPEN("DATA"), NOT_OPEN("FIN"), NOT_OPEN("FIN"),
	    NOT_OPEN("RESET"), NOT_OPEN("WINDOW") },
	[OPENING] = { "OPEN with a number of ours", NULL, NULL,
	    "DATA before OPENED", "FIN before OPENED", "FIN before OPENED",
	    NULL, "WINDOW before OPENED" },
	[ANSWERING] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", NULL, NULL,
	    "the last FIN before ours", NULL, "WINDOW before OPENED" },
	[OURS] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", NULL, NULL, "the last FIN before ours", NULL,
	    NULL },
	[THEIRS] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", NULL, NULL,
	    "the last FIN before ours", NULL, NULL },
	[FINISHED] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", "DATA after FIN", "FIN twice",
	    "the last FIN before ours", NULL, NULL },
	[HALF] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", NULL, NULL, NULL, NULL, NULL },
	[BOTH] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", "DATA after FIN", "FIN twice", NULL, NULL,
	    NULL },
	[RESETTING] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", NULL, NULL, NULL, NULL, NULL },
	[REFUSED] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", NULL, NULL, NULL,
	    NULL, "WINDOW before OPENED" },
	[CLOSED] = { "OPEN with a number of ours", NOT_OPEN("OPENED"),
	    NOT_OPEN("FAILED"), NOT_OPEN("DATA"), NOT_OPEN("FIN"),
	    NOT_OPEN("FIN"), NOT_OPEN("RESET"), NOT_OPEN("WINDOW") },
	[DROPPED] = { "OPEN with a number of ours", NULL, NULL,
	    "DATA before OPENED", "FIN before OPENED", "FIN before OPENED",
	    NULL, "WINDOW before OPENED" },
	[WAITING] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", "DATA after FIN", "FIN twice", NULL, NULL,
	    NULL },
	[RESET] = { "OPEN with a number of ours", AFTER_LAST },
	[FAILED] = { "OPEN with a number of ours", AFTER_LAST },
	[EVICTED] = { "OPEN with a number of ours", "OPENED twice",
	    "FAILED after OPENED", NULL, NULL, "the last FIN before ours", NULL,
	    NULL },
	[EARLY] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", "DATA after FIN",
	    "FIN twice", "the last FIN before ours", NULL,
	    "WINDOW before OPENED" },
	[THEIR_HALF] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", NULL, NULL, NULL,
	    NULL, NULL },
	[THEIR_BOTH] = { "OPEN of a channel that is not closed",
	    "OPENED by who opened", "FAILED by who opened", "DATA after FIN",
	    "FIN twice", NULL, NULL, NULL },
	[THEIR_RESET] = { "OPEN of a channel that is not closed", AFTER_LAST },
	[THEIR_CLOSED] = { NULL, NOT_OPEN("OPENED"), NOT_OPEN("FAILED"),
	    NOT_OPEN("DATA"), NOT_OPEN("FIN"), NOT_OPEN("FIN"),
	    NOT_OPEN("RESET"), NOT_OPEN("WINDOW") },
};

START_TEST(every_frame_in_every_state)
{
	enum state state = (enum state)(_i / (int)COUNT(types));
	size_t type = (size_t)_i % COUNT(types);
	uint32_t id = reach(state);
	const char *why = receive(types[type], id);

	if (type >= 8)
		ck_assert_ptr_nonnull(why);
	else if (wrong[state][type] == NULL)
		ck_assert_msg(why == NULL, "state %d: %s", state, why);
	else
		ck_assert_msg(why != NULL &&
			strcmp(why, wrong[state][type]) == 0,
		    "state %d: %s instead of %s", state, why,
		    wrong[state][type]);
}
END_TEST

START_TEST(nonsense_in_frames)
{
	static const uint32_t far[] = { 6, 4, 1u << 31, 0xfffffffe };
	struct wire_message msg;
	struct mux_channel *out;
	uint32_t id = reach(OURS);
	size_t i;

	for (i = 0; i < COUNT(types); i++)
		ck_assert_ptr_nonnull(receive(types[i], 0));
	ck_assert_str_eq(mux_on_data(mux, id, 0, &out), "DATA without a byte");
	msg = message(WIRE_WINDOW, id);
	msg.window.credit = 0;
	ck_assert_str_eq(mux_on_message(mux, &msg, &news, &out),
	    "WINDOW of nothing");
	msg.window.credit = 0xffffffff;
	ck_assert_str_eq(mux_on_message(mux, &msg, &news, &out),
	    "WINDOW beyond all bounds");
	msg.window.credit = MUX_CREDIT_MAX;
	ck_assert_ptr_nonnull(mux_on_message(mux, &msg, &news, &out));
	for (i = 0; i < COUNT(far); i++)
		ck_assert_ptr_nonnull(receive(WIRE_OPEN, far[i]));
	msg = message(WIRE_OPEN, 2);
	msg.open.window = MUX_EARLY - 1;
	ck_assert_ptr_nonnull(mux_on_message(mux, &msg, &news, &out));
	msg.open.window = MUX_CREDIT_MAX + 1;
	ck_assert_ptr_nonnull(mux_on_message(mux, &msg, &news, &out));
	mux_close(channel, true, 0);
	open_ours();
	emit(WIRE_RESET);
	emit(WIRE_OPEN);
	msg = message(WIRE_OPENED, 3);
	msg.opened.window = 1;
	ck_assert_ptr_nonnull(mux_on_message(mux, &msg, &news, &out));
}
END_TEST

/* --- endings ------------------------------------------------------------------ */

START_TEST(whoever_ends_last_says_so)
{
	const uint8_t *data;
	size_t len;

	reach(FINISHED);
	ck_assert_int_eq(news, MUX_NEWS_READABLE);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_EOF);
	mux_finish(channel);
	mux_finish(channel);
	emit_fin(true);
	nothing_due();
	/* Theirs was not their last: they did not know of ours. */
	ck_assert_uint_eq(mux_id(channel), 1);
	take(LAST, 1);
	ck_assert_uint_eq(mux_id(channel), 0);
	mux_close(channel, false, 0);
	ck_assert_uint_eq(mux_count(mux), 0);
	nothing_due();
}
END_TEST

START_TEST(a_close_in_order_needs_no_reset)
{
	reach(HALF);
	take(LAST, 1);
	mux_close(channel, false, 0);
	emit_fin(true);
	nothing_due();
	ck_assert_uint_eq(mux_count(mux), 0);
}
END_TEST

START_TEST(a_close_before_the_end_resets)
{
	struct wire_message msg;

	reach(HALF);
	mux_close(channel, false, WIRE_CLOSE_KILLED);
	msg = emit(WIRE_RESET);
	ck_assert_uint_eq(msg.reset.reason, WIRE_CLOSE_KILLED);
	nothing_due();
	take(WIRE_DATA, 1);
	take(WIRE_WINDOW, 1);
	ck_assert_uint_eq(mux_count(mux), 1);
	take(WIRE_RESET, 1);
	ck_assert_uint_eq(mux_count(mux), 0);
	nothing_due();
}
END_TEST

START_TEST(a_reset_is_answered)
{
	const uint8_t *data;
	size_t len;

	reach(THEIRS);
	ck_assert_int_eq(mux_keep(channel, (const uint8_t *)"ab", 2), 0);
	take(WIRE_RESET, 2);
	ck_assert_int_eq(news, MUX_NEWS_READABLE);
	ck_assert(mux_is_dead(channel));
	ck_assert_uint_eq(mux_allowance(channel), 0);
	/* What was said before is still there. */
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_BYTES);
	ck_assert_uint_eq(len, 2);
	mux_consume(channel, 2, 1, 0);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_RESET);
	emit(WIRE_RESET);
	nothing_due();
	ck_assert_uint_eq(mux_id(channel), 0);
	mux_close(channel, true, 0);
	ck_assert_uint_eq(mux_count(mux), 0);
	nothing_due();
}
END_TEST

/* Bytes were dropped: no FIN may say now that all of them were sent, or taken,
 * and be the last frame before RESET is. */
START_TEST(whoever_is_evicted_is_reset_and_nothing_else)
{
	static const enum state states[] = { OURS, FINISHED };
	const uint8_t *data;
	size_t len;

	reach(states[_i]);
	ck_assert_int_eq(mux_keep(channel, (const uint8_t *)"ab", 2), 0);
	mux_finish(channel);
	mux_evict(channel);
	ck_assert_int_eq(mux_peek(channel, &data, &len), MUX_RESET);
	ck_assert_uint_eq(mux_held(channel), 0);
	emit(WIRE_RESET);
	nothing_due();
	take(WIRE_RESET, 1);
	mux_close(channel, true, 0);
	ck_assert_uint_eq(mux_count(mux), 0);
	nothing_due();
}
END_TEST

START_TEST(a_refusal_is_answered)
{
	reach(OPENING);
	take(WIRE_FAILED, 1);
	ck_assert_int_eq(news, MUX_NEWS_REFUSED);
	mux_close(channel, false, 0);
	emit(WIRE_RESET);
	nothing_due();
	ck_assert_uint_eq(mux_count(mux), 0);
}
END_TEST

START_TEST(nobody_hears_of_a_channel_that_was_let_go)
{
	struct mux_channel *out = channel;

	reach(OPENING);
	mux_close(channel, true, 0);
	emit(WIRE_RESET);
	take(WIRE_OPENED, 1);
	ck_assert_int_eq(news, MUX_NEWS_NONE);
	ck_assert_ptr_null(mux_on_data(mux, 1, 1000, &out));
	ck_assert_ptr_null(out);
	take(WIRE_FIN, 1);
	ck_assert_int_eq(news, MUX_NEWS_NONE);
	take(WIRE_RESET, 1);
	ck_assert_uint_eq(mux_count(mux), 0);
}
END_TEST

START_TEST(an_open_that_was_not_sent_never_was)
{
	open_ours();
	mux_close(channel, true, 0);
	nothing_due();
	ck_assert_uint_eq(mux_count(mux), 0);
	open_ours();
	ck_assert_uint_eq(emit(WIRE_OPEN).channel, 1);
}
END_TEST

START_TEST(a_lost_lane_is_told_once)
{
	struct mux_channel *a, *b;
	const uint8_t *data;
	size_t len;

	a = open_ours();
	b = open_ours();
	open_ours();
	mux_close(channel, true, 0);
	emit(WIRE_OPEN);
	emit(WIRE_OPEN);
	open_ours();
	emit(WIRE_OPEN);
	mux_close(channel, true, 0);
	mux_lose(mux);
	ck_assert_uint_eq(mux_count(mux), 2);
	ck_assert(mux_next_lost(mux) == a);
	mux_close(a, true, 0);
	ck_assert(mux_next_lost(mux) == b);
	ck_assert_ptr_null(mux_next_lost(mux));
	ck_assert_int_eq(mux_peek(b, &data, &len), MUX_LOST);
	ck_assert_uint_eq(mux_allowance(b), 0);
	ck_assert(!mux_has_room(mux));
	mux_close(b, true, 0);
	ck_assert_uint_eq(mux_count(mux), 0);
	nothing_due();
}
END_TEST

/* --- numbers ------------------------------------------------------------------ */

START_TEST(numbers_are_used_again)
{
	struct mux_channel *held[100];
	uint32_t ids[100], other;
	int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 100; i++) {
			held[i] = open_ours();
			ids[i] = emit(WIRE_OPEN).channel;
			ck_assert_uint_eq(ids[i] % 2, 1);
			ck_assert_uint_lt(ids[i], 203);
		}
		for (i = 0; i < 100; i++) {
			mux_close(held[i], true, 0);
			ck_assert_uint_eq(emit(WIRE_RESET).channel, ids[i]);
		}
		/* Not before they have closed it, too. */
		open_ours();
		other = emit(WIRE_OPEN).channel;
		for (i = 0; i < 100; i++) {
			ck_assert_uint_ne(other, ids[i]);
			take(WIRE_RESET, ids[i]);
		}
		mux_close(channel, true, 0);
		emit(WIRE_RESET);
		take(WIRE_RESET, other);
	}
	ck_assert_uint_eq(mux_count(mux), 0);
	take(WIRE_OPEN, 2);
	take(WIRE_OPEN, 4);
	ck_assert_ptr_nonnull(receive(WIRE_OPEN, 8));
	take(WIRE_RESET, 2);
	/* Our RESET has not passed yet. */
	ck_assert_str_eq(receive(WIRE_OPEN, 2),
	    "OPEN of a channel that is not closed");
	emit(WIRE_RESET);
	take(WIRE_OPEN, 2);
}
END_TEST

START_TEST(so_many_channels_and_no_more)
{
	uint32_t i;

	for (i = 0; i < MUX_CHANNELS_MAX; i++) {
		open_ours();
		emit(WIRE_OPEN);
	}
	ck_assert(!mux_has_room(mux));
	for (i = 0; i < MUX_CHANNELS_MAX; i++)
		take(WIRE_OPEN, 2 * i + 2);
	ck_assert_str_eq(receive(WIRE_OPEN, 2 * i + 2),
	    "OPEN of too many channels");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mux");
	TCase *tc = tcase_create("states"), *rest = tcase_create("rest");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, every_frame_in_every_state, 0,
	    STATES * (int)COUNT(types));
	tcase_add_test(tc, nonsense_in_frames);
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(rest, setup, teardown);
	tcase_add_test(rest, whoever_ends_last_says_so);
	tcase_add_test(rest, a_close_in_order_needs_no_reset);
	tcase_add_test(rest, a_close_before_the_end_resets);
	tcase_add_test(rest, a_reset_is_answered);
	tcase_add_loop_test(rest, whoever_is_evicted_is_reset_and_nothing_else,
	    0, 2);
	tcase_add_test(rest, a_refusal_is_answered);
	tcase_add_test(rest, nobody_hears_of_a_channel_that_was_let_go);
	tcase_add_test(rest, an_open_that_was_not_sent_never_was);
	tcase_add_test(rest, a_lost_lane_is_told_once);
	tcase_add_test(rest, numbers_are_used_again);
	tcase_add_test(rest, so_many_channels_and_no_more);
	suite_add_tcase(suite, rest);
	suite_add_tcase(suite, check_mux_credit());
	suite_add_tcase(suite, check_mux_model());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
