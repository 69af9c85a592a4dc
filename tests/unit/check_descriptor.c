/* SPDX-License-Identifier: ISC */
#include <sys/resource.h>

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "descriptor.h"

START_TEST(test_count)
{
	size_t before = descriptor_count();
	int fds[100], i;

	ck_assert_uint_ge(before, 1);
	for (i = 0; i < 100; i++)
		ck_assert_int_ne(fds[i] = dup(0), -1);
	ck_assert_uint_eq(descriptor_count(), before + 100);
	/* Holes are not counted. */
	for (i = 0; i < 100; i += 2)
		close(fds[i]);
	ck_assert_uint_eq(descriptor_count(), before + 50);
	for (i = 1; i < 100; i += 2)
		close(fds[i]);
	ck_assert_uint_eq(descriptor_count(), before);
}
END_TEST

START_TEST(test_limit)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 77;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(descriptor_limit(), 77);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("descriptor");
	TCase *tc = tcase_create("descriptor");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_count);
	tcase_add_test(tc, test_limit);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
