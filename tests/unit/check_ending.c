/* SPDX-License-Identifier: ISC */
/*
 * ending: each row of the table in ending.h, both ways round, and every order
 * of events that a relay can give.
 */
#include <check.h>
#include <string.h>

#include "ending.h"

#define OUT ENDING_OUTSIDE
#define CHAN ENDING_CHANNEL
#define STEPS_MAX 6

struct step {
	enum ending_side side;
	enum ending_event event;
	enum ending_action action;
};

/* A story as told of one side first; it is played both ways round. */
static const struct story {
	const char *name;
	struct step steps[STEPS_MAX];
	int n;
	enum reason reason;
	enum ending_side first;
} stories[] = {
	{ "EOF one way", { { OUT, ENDING_EOF, ENDING_FINISH } }, 1, REASON_NONE,
	    OUT },
	{ "EOF one way, told",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON } },
	    2, REASON_NONE, OUT },
	{ "EOF both ways",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ CHAN, ENDING_EOF, ENDING_FINISH },
		{ CHAN, ENDING_SENT, ENDING_CLOSE } },
	    4, REASON_CLOSED, OUT },
	{ "EOF both ways before either was told",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ CHAN, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ CHAN, ENDING_SENT, ENDING_CLOSE } },
	    4, REASON_CLOSED, OUT },
	{ "... and the second was told first",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ CHAN, ENDING_EOF, ENDING_FINISH },
		{ CHAN, ENDING_SENT, ENDING_GO_ON },
		{ OUT, ENDING_SENT, ENDING_CLOSE } },
	    4, REASON_CLOSED, OUT },
	{ "reset", { { OUT, ENDING_RESET, ENDING_ABORT } }, 1, REASON_RESET,
	    OUT },
	{ "EOF, then reset by the other",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ CHAN, ENDING_RESET, ENDING_ABORT } },
	    3, REASON_RESET, CHAN },
	{ "EOF not told yet, then reset by the other",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ CHAN, ENDING_RESET, ENDING_ABORT } },
	    2, REASON_RESET, CHAN },
	{ "its lane is lost", { { CHAN, ENDING_LOST, ENDING_ABORT } }, 1,
	    REASON_LINK_LOST, CHAN },
	{ "broken, then its lane is lost",
	    { { CHAN, ENDING_BROKEN, ENDING_DISCARD },
		{ CHAN, ENDING_LOST, ENDING_ABORT } },
	    2, REASON_LINK_LOST, CHAN },
	{ "EOF told, then reset by the same",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ OUT, ENDING_RESET, ENDING_ABORT } },
	    3, REASON_RESET, OUT },
	/* What it sent before it died is carried over, then the reset. */
	{ "broken, then its last byte",
	    { { OUT, ENDING_BROKEN, ENDING_DISCARD },
		{ OUT, ENDING_EOF, ENDING_ABORT } },
	    2, REASON_RESET, OUT },
	{ "broken, then reset",
	    { { OUT, ENDING_BROKEN, ENDING_DISCARD },
		{ OUT, ENDING_RESET, ENDING_ABORT } },
	    2, REASON_RESET, OUT },
	{ "broken, then reset by the other",
	    { { OUT, ENDING_BROKEN, ENDING_DISCARD },
		{ CHAN, ENDING_RESET, ENDING_ABORT } },
	    2, REASON_RESET, CHAN },
	{ "broken both ways: nothing can be delivered any more",
	    { { OUT, ENDING_BROKEN, ENDING_DISCARD },
		{ CHAN, ENDING_BROKEN, ENDING_ABORT } },
	    2, REASON_RESET, CHAN },
	{ "EOF told, then broken: nothing is left to carry over",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ OUT, ENDING_BROKEN, ENDING_ABORT } },
	    3, REASON_RESET, OUT },
	{ "EOF told, then the other is broken for good",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_SENT, ENDING_GO_ON },
		{ CHAN, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_BROKEN, ENDING_ABORT } },
	    4, REASON_RESET, OUT },
	/* The last bytes before an EOF that came early still wait. */
	{ "EOF not told yet, then broken",
	    { { OUT, ENDING_EOF, ENDING_FINISH },
		{ OUT, ENDING_BROKEN, ENDING_DISCARD },
		{ OUT, ENDING_SENT, ENDING_ABORT } },
	    3, REASON_RESET, OUT },
};
#define STORIES ((int)(sizeof stories / sizeof *stories))

static void
play(const struct story *story, bool mirrored)
{
	struct ending ending;
	const struct step *step;
	enum ending_action action;
	int i;

	memset(&ending, 0, sizeof ending);
	for (i = 0; i < story->n; i++) {
		step = &story->steps[i];
		ck_assert_int_eq(ending.reason, REASON_NONE);
		action = ending_step(&ending,
		    (enum ending_side)(step->side ^ mirrored), step->event);
		ck_assert_msg(action == step->action, "%s: step %d: %d",
		    story->name, i + 1, action);
	}
	ck_assert_msg(ending.reason == story->reason, "%s: %s", story->name,
	    reason_name(ending.reason));
	ck_assert(ending.has_first);
	ck_assert_int_eq(ending.first, story->first ^ mirrored);
}

START_TEST(both_ways_round)
{
	play(&stories[_i], false);
	play(&stories[_i], true);
}
END_TEST

START_TEST(zeroed_is_at_work)
{
	struct ending ending;

	memset(&ending, 0, sizeof ending);
	ck_assert_int_eq(ending.reason, REASON_NONE);
	ck_assert(!ending.has_first);
	ck_assert_int_eq(ending_step(&ending, OUT, ENDING_BROKEN),
	    ENDING_DISCARD);
	ck_assert(ending.side[OUT].broken);
	ck_assert(!ending.side[CHAN].broken);
	ck_assert_int_eq(ending.reason, REASON_NONE);
}
END_TEST

/* Whether a relay could tell this now: EOF once, SENT behind EOF, and so on. */
static bool
possible(const struct ending *ending, enum ending_side side,
    enum ending_event event)
{
	const struct ending_state *state = &ending->side[side];
	const struct ending_state *other = &ending->side[!side];

	switch (event) {
	case ENDING_EOF:
		return !state->eof;
	case ENDING_SENT:
		return state->eof && !state->sent && !other->broken;
	case ENDING_RESET:
	case ENDING_LOST:
		return true;
	case ENDING_BROKEN: /* nothing is written behind a FIN */
		return !state->broken && !other->sent;
	}
	return false;
}

static int orders;

static void
explore(struct ending before, bool broken, int depth)
{
	struct ending ending;
	enum ending_action action;
	int i;

	ck_assert_int_le(depth, 8); /* every story ends */
	for (i = 0; i < 10; i++) {
		enum ending_side side = (enum ending_side)(i % 2);
		enum ending_event event = (enum ending_event)(i / 2);

		if (!possible(&before, side, event))
			continue;
		ending = before;
		action = ending_step(&ending, side, event);
		orders++;
		if (event == ENDING_RESET || event == ENDING_LOST)
			ck_assert_int_eq(action, ENDING_ABORT);
		if (event == ENDING_BROKEN)
			ck_assert(action == ENDING_DISCARD ||
			    action == ENDING_ABORT);
		switch (action) {
		case ENDING_ABORT:
			ck_assert_int_eq(ending.reason,
			    event == ENDING_LOST ? REASON_LINK_LOST :
						   REASON_RESET);
			ck_assert_int_eq(ending.first, side);
			ck_assert(ending.has_first);
			break;
		case ENDING_CLOSE:
			/* In order: all was sent, and nothing was lost. */
			ck_assert_int_eq(event, ENDING_SENT);
			ck_assert_int_eq(ending.reason, REASON_CLOSED);
			ck_assert(ending.side[0].sent && ending.side[1].sent);
			ck_assert(ending.has_first);
			ck_assert_msg(!broken, "closed although broken");
			break;
		default:
			ck_assert_int_eq(ending.reason, REASON_NONE);
			explore(ending, broken || event == ENDING_BROKEN,
			    depth + 1);
		}
	}
}

START_TEST(every_order)
{
	struct ending ending;

	memset(&ending, 0, sizeof ending);
	explore(ending, false, 0);
	ck_assert_int_gt(orders, 50);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ending");
	TCase *tc = tcase_create("ending");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, both_ways_round, 0, STORIES);
	tcase_add_test(tc, zeroed_is_at_work);
	tcase_add_test(tc, every_order);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
