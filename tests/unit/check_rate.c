/* SPDX-License-Identifier: ISC */
/* Bytes per second from samples. */
#include <check.h>
#include <stdlib.h>

#include "rate.h"

static void
expect(const struct rate *rate, double now, uint64_t up, uint64_t down,
    double up_rate, double down_rate)
{
	double got_up = -1, got_down = -1;

	rate_get(rate, now, up, down, &got_up, &got_down);
	ck_assert_double_eq_tol(got_up, up_rate, 1e-9);
	ck_assert_double_eq_tol(got_down, down_rate, 1e-9);
}

START_TEST(new_one_is_still)
{
	struct rate rate;

	rate_init(&rate, 100);
	expect(&rate, 100, 0, 0, 0, 0);
	/* Too early to tell. */
	expect(&rate, 100.5, 1000, 0, 0, 0);
	expect(&rate, 102, 1000, 3000, 500, 1500);
}
END_TEST

START_TEST(between_samples)
{
	struct rate rate;

	rate_init(&rate, 0);
	rate_sample(&rate, 5, 5000, 0);
	/* Right after a sample, that of the last two. */
	expect(&rate, 5.1, 5000, 0, 1000, 0);
	/* Later, since the sample. */
	expect(&rate, 7, 5000, 400, 0, 200);
	rate_sample(&rate, 10, 5000, 400);
	expect(&rate, 10, 5000, 400, 0, 80);
}
END_TEST

START_TEST(sample_too_soon_is_ignored)
{
	struct rate rate;

	rate_init(&rate, 0);
	rate_sample(&rate, 2, 200, 0);
	rate_sample(&rate, 2.5, 1000000, 0);
	expect(&rate, 4, 400, 0, 100, 0);
}
END_TEST

START_TEST(counter_that_falls_counts_as_still)
{
	struct rate rate;

	rate_init(&rate, 0);
	rate_sample(&rate, 5, 5000, 5000);
	expect(&rate, 10, 10, 10, 0, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("rate");
	TCase *tc = tcase_create("rate");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, new_one_is_still);
	tcase_add_test(tc, between_samples);
	tcase_add_test(tc, sample_too_soon_is_ignored);
	tcase_add_test(tc, counter_that_falls_counts_as_still);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
