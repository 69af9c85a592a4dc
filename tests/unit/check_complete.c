/* SPDX-License-Identifier: ISC */
/* What may stand at the end of an unfinished line. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../admin/complete.h"

/* --- Tables of our own -------------------------------------------------- */

const struct option_entry commands_options[] = {
	{ OPTION_TUNNEL, 't', "tunnel", "TUNNEL", "", "tunnels" },
	{ OPTION_COLUMNS, 300, "columns", "LIST", "", "columns" },
	{ OPTION_OLDER, 301, "older", "TIME", "", NULL },
	{ OPTION_JSON, 'j', "json", NULL, "", NULL },
	{ OPTION_SOCKET, 's', "socket", "PATH", "", "files" },
	{ 0, 0, NULL, NULL, NULL, NULL },
};

const struct command commands_table[] = {
	{ "kill", "", "", NULL, 0, 0, -1, "sessions", NULL },
	{ "ping", "", "", NULL, 0, 1, 1, "peers", NULL },
	{ "list", "", "", NULL, 0, 0, 0, NULL, NULL },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL },
};

const struct command *
commands_lookup(const char *name)
{
	for (const struct command *c = commands_table; c->name != NULL; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

/* --- Lines -------------------------------------------------------------- */

#define MAX_WORDS 12

static struct complete_spot spot;
static char line[200];

/* Words with one space between; a space at the end begins an empty one. */
static const char *
kind_of(const char *text)
{
	char *words[MAX_WORDS], *rest = line;
	int n = 0;

	snprintf(line, sizeof line, "%s", text);
	while (rest != NULL && n < MAX_WORDS)
		words[n++] = strsep(&rest, " ");
	complete_find(&spot, words, n);
	return spot.kind == NULL ? "" : spot.kind;
}

START_TEST(kinds)
{
	static const char *const lines[][2] = {
		{ "", "commands" },
		{ "ki", "commands" },
		{ "-j ki", "commands" },
		{ "-s /path ki", "commands" },
		{ "-", "options" },
		{ "kill --", "options" },
		{ "kill ", "sessions" },
		{ "kill 1 2 ", "sessions" },
		{ "kill -t ", "tunnels" },
		{ "kill -jt ", "tunnels" },
		{ "kill -tssh ", "sessions" },
		{ "kill --tunnel ss", "tunnels" },
		{ "kill --tun ss", "tunnels" },
		{ "kill --tunnel=ss", "tunnels" },
		{ "kill --tunnel=ssh ", "sessions" },
		{ "kill --tunnel = ss", "tunnels" },
		{ "kill --tunnel =", "tunnels" },
		{ "kill --tunnel = ssh ", "sessions" },
		{ "kill --older ", "" },
		{ "kill --older 3 ", "sessions" },
		{ "kill -- -t", "sessions" },
		{ "-s ", "files" },
		{ "--socket=/ru", "files" },
		{ "ping ", "peers" },
		{ "ping home ", "" },
		{ "list ", "" },
		{ "nothing ", "" },
		{ "nothing at all", "" },
		{ "--nothing ki", "commands" },
		{ "--nothing=x", "" },
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strcmp(kind_of(lines[i][0]), lines[i][1]) == 0,
		    "'%s': %s", lines[i][0], kind_of(lines[i][0]));
}
END_TEST

START_TEST(parts)
{
	kind_of("-s /a kill --tunnel=ss");
	ck_assert_str_eq(spot.socket, "/a");
	ck_assert_str_eq(spot.command->name, "kill");
	ck_assert_str_eq(spot.word, "ss");
	ck_assert_int_eq(strncmp(spot.prefix, "--tunnel=", spot.prefix_len), 0);
	ck_assert_uint_eq(spot.prefix_len, 9);

	kind_of("kill --columns=id,na");
	ck_assert_str_eq(spot.word, "na");
	ck_assert_uint_eq(spot.prefix_len, 13);
	kind_of("kill --columns id,name,");
	ck_assert_str_eq(spot.word, "");
	ck_assert_uint_eq(spot.prefix_len, 8);
	kind_of("kill --tunnel =");
	ck_assert_str_eq(spot.word, "");
	ck_assert_uint_eq(spot.prefix_len, 0);
	/* Only a list has parts. */
	kind_of("kill -t a,b");
	ck_assert_str_eq(spot.word, "a,b");

	kind_of("--socket=/b --sock /c -j");
	ck_assert_str_eq(spot.socket, "/c");
	ck_assert_ptr_null(spot.command);
	kind_of("-js/d kill 7 8");
	ck_assert_str_eq(spot.socket, "/d");
	ck_assert_str_eq(spot.first, "7");

	complete_find(&spot, NULL, 0);
	ck_assert_str_eq(spot.kind, "commands");
	ck_assert_str_eq(spot.word, "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("complete");
	TCase *tc = tcase_create("lines");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, kinds);
	tcase_add_test(tc, parts);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
