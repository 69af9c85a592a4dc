/* SPDX-License-Identifier: ISC */
/* The words for why a session ended; programs rely on them. */
#include <check.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "reason.h"

static const char *const words[REASON_COUNT] = { "", "closed", "reset",
	"refused", "unreachable", "connect_timeout", "resolve_failed", "denied",
	"disabled", "limit", "link_down", "no_channel", "channel_lost",
	"link_lost", "idle_timeout", "killed", "killed_by_peer", "reload",
	"shutdown", "daemon_lost", "internal" };

START_TEST(words_stay_as_they_are)
{
	for (int i = 0; i < REASON_COUNT; i++)
		ck_assert_str_eq(reason_name((enum reason)i), words[i]);
}
END_TEST

START_TEST(words_differ)
{
	for (int i = 0; i < REASON_COUNT; i++)
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(reason_name((enum reason)i),
			    reason_name((enum reason)j));
}
END_TEST

START_TEST(never_null)
{
	static const int odd[] = { REASON_COUNT, REASON_COUNT + 1, -1, INT_MAX,
		INT_MIN };

	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		ck_assert_str_eq(reason_name((enum reason)odd[i]), "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("reason");
	TCase *tc = tcase_create("words");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, words_stay_as_they_are);
	tcase_add_test(tc, words_differ);
	tcase_add_test(tc, never_null);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
