/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdlib.h>

#include "loop_turns.h"
#include "rush.h"

#define MANY 1000

struct runner {
	struct rush_turn turn;
	unsigned told;
};

static struct loop *loop;
static struct rush *rush;
static struct runner links[MANY], warms[MANY];

static void
told(void *arg)
{
	((struct runner *)arg)->told++;
}

static void
setup(void)
{
	loop = loop_new();
	rush = rush_new(loop);
	ck_assert(loop != NULL && rush != NULL);
	for (int i = 0; i < MANY; i++) {
		links[i].told = warms[i].told = 0;
		rush_turn_init(&links[i].turn, RUSH_LINK, told, &links[i]);
		rush_turn_init(&warms[i].turn, RUSH_WARM, told, &warms[i]);
	}
}

static void
teardown(void)
{
	for (int i = 0; i < MANY; i++) {
		rush_done(rush, &links[i].turn);
		rush_done(rush, &warms[i].turn);
	}
	rush_free(rush);
	loop_free(loop);
}

static unsigned
count_told(const struct runner *runners)
{
	unsigned n = 0;

	for (int i = 0; i < MANY; i++)
		n += runners[i].told;
	return n;
}

static unsigned
count_going(const struct runner *runners)
{
	unsigned n = 0;

	for (int i = 0; i < MANY; i++)
		n += runners[i].turn.state == RUSH_GOING;
	return n;
}

/* Who is alone does not wait, whatever it is. */
START_TEST(alone)
{
	ck_assert(rush_ask(rush, &warms[0].turn));
	ck_assert(rush_ask(rush, &links[0].turn));
	ck_assert(rush_ask(rush, &links[0].turn)); /* it has its turn */
	rush_done(rush, &links[0].turn);
	rush_done(rush, &links[0].turn);
	rush_done(rush, &warms[0].turn);
	ck_assert(rush_ask(NULL, &warms[1].turn));
	rush_expect(NULL, &links[1].turn);
	rush_done(NULL, &links[1].turn);
	loop_run_for(loop, 0);
	ck_assert_uint_eq(count_told(links) + count_told(warms), 0);
}
END_TEST

/* A thousand links, never more than so many at a time, in their order; then
 * what warms them, likewise. */
START_TEST(links_first)
{
	unsigned done = 0;

	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(rush_ask(rush, &links[i].turn),
		    i < RUSH_LINKS);
	for (int i = 0; i < MANY; i++)
		ck_assert(!rush_ask(rush, &warms[i].turn));
	while (done < MANY) {
		ck_assert_int_eq(links[done].turn.state, RUSH_GOING);
		rush_done(rush, &links[done++].turn);
		loop_run_for(loop, 0);
		if (MANY - done >= RUSH_FEW)
			ck_assert_uint_eq(count_told(warms), 0);
		ck_assert_uint_le(count_going(links), RUSH_LINKS);
		ck_assert_uint_eq(count_going(links),
		    MANY - done < RUSH_LINKS ? MANY - done : RUSH_LINKS);
	}
	ck_assert_uint_eq(count_told(links), MANY - RUSH_LINKS);
	for (done = 0; done < MANY; done++) {
		ck_assert_int_eq(warms[done].turn.state, RUSH_GOING);
		ck_assert_uint_eq(warms[done].told, 1);
		ck_assert_uint_le(count_going(warms), RUSH_WARMS);
		rush_done(rush, &warms[done].turn);
		loop_run_for(loop, 0);
	}
	ck_assert_uint_eq(count_told(warms), MANY);
}
END_TEST

/* With one more there is a rush. */
static void
expect_few(void)
{
	for (int i = 1; i < RUSH_FEW; i++)
		rush_expect(rush, &links[i].turn);
}

/* A link or two that are dialled again and again keep nobody waiting. */
START_TEST(no_rush)
{
	expect_few();
	ck_assert(rush_ask(rush, &warms[0].turn));
	rush_expect(rush, &links[0].turn);
	ck_assert(!rush_ask(rush, &warms[1].turn));
}
END_TEST

/* Those that will be dialled in a moment come first, too. */
START_TEST(soon)
{
	expect_few();
	rush_expect(rush, &links[0].turn);
	rush_expect(rush, &links[0].turn);
	ck_assert(!rush_ask(rush, &warms[0].turn));
	ck_assert(rush_ask(rush, &links[0].turn));
	loop_run_for(loop, 0);
	ck_assert_uint_eq(warms[0].told, 0);
	rush_expect(rush, &links[0].turn); /* it failed */
	loop_run_for(loop, 0);
	ck_assert_uint_eq(warms[0].told, 0);
	rush_done(rush, &links[0].turn);
	loop_run_for(loop, 0);
	ck_assert_uint_eq(warms[0].told, 1);
}
END_TEST

/* Who waits no more is not told. */
START_TEST(given_up)
{
	expect_few();
	rush_expect(rush, &links[0].turn);
	ck_assert(!rush_ask(rush, &warms[0].turn));
	ck_assert(!rush_ask(rush, &warms[1].turn));
	rush_done(rush, &links[0].turn);
	rush_done(rush, &warms[0].turn); /* before the task ran */
	loop_run_for(loop, 0);
	ck_assert_uint_eq(warms[0].told, 0);
	ck_assert_uint_eq(warms[1].told, 1);
}
END_TEST

/* Dials that lead nowhere keep nobody waiting. */
START_TEST(slow)
{
	double began = loop_now(loop);

	for (int i = 0; i < RUSH_LINKS; i++)
		ck_assert(rush_ask(rush, &links[i].turn));
	ck_assert(!rush_ask(rush, &links[MANY - 1].turn));
	ck_assert(!rush_ask(rush, &warms[0].turn));
	loop_run_for(loop, RUSH_SLOW / 2);
	if (loop_now(loop) < began + RUSH_SLOW)
		ck_assert_uint_eq(count_told(links) + count_told(warms), 0);
	loop_run_for(loop, RUSH_SLOW * 2);
	ck_assert_uint_eq(links[MANY - 1].told, 1);
	loop_run_for(loop, RUSH_SLOW * 2);
	ck_assert_uint_eq(warms[0].told, 1);
	for (int i = 0; i < RUSH_LINKS; i++)
		rush_done(rush, &links[i].turn);
}
END_TEST

/* A peer that is never reached does not keep others cold. */
START_TEST(patience)
{
	expect_few();
	rush_expect(rush, &links[0].turn);
	ck_assert(!rush_ask(rush, &warms[0].turn));
	loop_run_for(loop, RUSH_PATIENCE / 2);
	ck_assert_uint_eq(warms[0].told, 0);
	loop_run_for(loop, RUSH_PATIENCE / 2 + 0.3);
	ck_assert_uint_eq(warms[0].told, 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rush");
	TCase *tc = tcase_create("rush");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, alone);
	tcase_add_test(tc, links_first);
	tcase_add_test(tc, no_rush);
	tcase_add_test(tc, soon);
	tcase_add_test(tc, given_up);
	tcase_add_test(tc, slow);
	tcase_add_test(tc, patience);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
