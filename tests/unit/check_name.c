/* SPDX-License-Identifier: ISC */
/* Which names are valid. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"

START_TEST(valid_names)
{
	static const char *const names[] = { "a", "Z", "0", ".", "_", "-", "..",
		"homelab", "edge-1.example_org", "A.b-C_9" };
	char longest[NAME_SIZE];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		ck_assert_msg(name_is_valid(names[i], strlen(names[i])), "%s",
		    names[i]);
	memset(longest, 'x', sizeof longest);
	ck_assert(name_is_valid(longest, NAME_MAX_LENGTH));
	ck_assert(!name_is_valid(longest, NAME_MAX_LENGTH + 1));
	/* Only len bytes count: no terminator is looked for or needed. */
	ck_assert(name_is_valid("good/bad", 4));
	ck_assert(!name_is_valid("good/bad", 8));
}
END_TEST

START_TEST(every_byte)
{
	char name[3] = { 'a', 'b', 'c' };

	for (int c = 0; c < 256; c++) {
		bool fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';

		for (int at = 0; at < 3; at++) {
			memcpy(name, "abc", 3);
			name[at] = (char)c;
			ck_assert_int_eq(name_is_valid(name, 3), fine);
		}
	}
	ck_assert(!name_is_valid("", 0));
	ck_assert(!name_is_valid("x", 0));
	ck_assert(!name_is_valid("x", (size_t)-1));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("name");
	TCase *tc = tcase_create("names");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, valid_names);
	tcase_add_test(tc, every_byte);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
