/* SPDX-License-Identifier: ISC */
/* What tunnelctl writes: columns chosen, CSV, tables that fit, colour. */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../admin/format.h"
#include "../../admin/output_writer.h"
#include "../../admin/words.h"

static json_t *
twice(const json_t *row)
{
	return json_integer(2 * json_integer_value(json_object_get(row, "id")));
}

static const struct output_column columns[] = {
	{ "ID", "id", .flags = OUTPUT_RIGHT },
	{ "NAME", "name", .flags = OUTPUT_SHRINK },
	{ "STATE", "state", .flags = OUTPUT_STATE | OUTPUT_DROP(2) },
	{ "UP", "up_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(1) },
	{ "SINCE", "since", .flags = OUTPUT_AGE | OUTPUT_EXTRA },
	{ "TWICE", "twice", OUTPUT_RIGHT | OUTPUT_EXTRA, NULL, twice },
	{ .head = NULL },
};
static const struct output_view view = { columns, "nothing", NULL };

/* --- Columns ------------------------------------------------------------ */

/* The names that are chosen, with commas between. */
static const char *
choose(const char *names, enum output_format format, int result)
{
	static char text[200];
	struct output_settings settings = { .format = format,
		.columns = names };
	struct output_choice choice;
	char error[400] = "";

	ck_assert_int_eq(output_columns_choose(&choice, &settings, &view, error,
			     sizeof error),
	    result);
	ck_assert_int_eq(error[0] != '\0', result != 0);
	if (result != 0)
		return strcpy(text, error);
	text[0] = '\0';
	for (size_t i = 0; choice.columns[i] != NULL; i++)
		sprintf(text + strlen(text), "%s%s", i == 0 ? "" : ",",
		    choice.columns[i]->key);
	return text;
}

START_TEST(chosen_columns)
{
	ck_assert_str_eq(choose(NULL, OUTPUT_TABLE, 0),
	    "id,name,state,up_bytes");
	ck_assert_str_eq(choose(NULL, OUTPUT_CSV, 0),
	    "id,name,state,up_bytes,since,twice");
	ck_assert_str_eq(choose("twice,id", OUTPUT_TABLE, 0), "twice,id");
	ck_assert_str_eq(choose("twice,id", OUTPUT_CSV, 0), "twice,id");
	ck_assert_str_eq(choose("id,id", OUTPUT_JSON, 0), "id,id");
}
END_TEST

START_TEST(unknown_columns)
{
	static const char *const wrong[] = { "", ",", "id,", ",id", "id,,name",
		"id name", "Id", "i", "idx", "no_such,id" };

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		ck_assert_msg(strstr(choose(wrong[i], OUTPUT_TABLE, -1),
				  "id,name,state,up_bytes,since,twice") != NULL,
		    "%s", wrong[i]);
	ck_assert_ptr_nonnull(strstr(choose("id,no_such", OUTPUT_CSV, -1),
	    "'no_such'"));
}
END_TEST

START_TEST(too_many_columns)
{
	char names[3 * (OUTPUT_COLUMNS_MAX + 1) + 1] = "";

	for (int i = 0; i < OUTPUT_COLUMNS_MAX; i++)
		strcat(names, i == 0 ? "id" : ",id");
	choose(names, OUTPUT_TABLE, 0);
	strcat(names, ",id");
	choose(names, OUTPUT_TABLE, -1);
}
END_TEST

/* --- Cells -------------------------------------------------------------- */

static const char *
cell(size_t i, struct output_settings settings, json_t *row)
{
	static char text[OUTPUT_CELL_SIZE];

	output_columns_text(&columns[i], &settings, row, text);
	json_decref(row);
	return text;
}

START_TEST(cells)
{
	static const char then[] = "2020-01-02T03:04:05.678Z";
	struct output_settings plain = { 0 };
	struct output_settings exact = { .bytes = true, .utc = true };
	char head[40];

	ck_assert_str_eq(cell(3, plain, json_pack("{s:i}", "up_bytes", 2048)),
	    "2.0K");
	ck_assert_str_eq(cell(3, exact, json_pack("{s:i}", "up_bytes", 2048)),
	    "2048");
	ck_assert_str_eq(cell(4, exact, json_pack("{s:s}", "since", then)),
	    then);
	ck_assert_str_ne(cell(4, plain, json_pack("{s:s}", "since", then)),
	    then);
	ck_assert_str_eq(cell(5, plain, json_pack("{s:i}", "id", 21)), "42");
	for (size_t i = 0; i < 5; i++)
		ck_assert_str_eq(cell(i, plain, json_object()), "-");
	ck_assert_str_eq(cell(1, plain, json_pack("{s:s}", "name", "\033[2J")),
	    "\\x1b[2J");
	output_columns_head(&columns[4], &plain, head, sizeof head);
	ck_assert_str_eq(head, "SINCE");
}
END_TEST

START_TEST(who_did_it)
{
	static const char *const cases[][2] = {
		{ "root (uid 0)", "root" },
		{ "? (uid 4711)", "uid 4711" },
		{ "? (uid 4711", "uid 4711" },
		{ "? (uid ", "uid " },
		{ " (uid 1)", " (uid 1)" },
		{ "user", "user" },
		{ "?", "?" },
		{ "", "-" },
	};
	char text[64];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_t *by = json_string(cases[i][0]);

		ck_assert_str_eq(format_who(by, text, sizeof text),
		    cases[i][1]);
		json_decref(by);
	}
	ck_assert_str_eq(format_who(NULL, text, sizeof text), "-");
}
END_TEST

START_TEST(colours)
{
	static const char *const coloured[] = { "up", "down", "disabled",
		"waiting", "held", "open", "ok", "FAILED" };

	for (size_t i = 0; i < sizeof coloured / sizeof *coloured; i++)
		ck_assert_int_eq(output_columns_colour(coloured[i])[0], '\033');
	ck_assert_str_eq(output_columns_colour("upward"), "");
	ck_assert_str_eq(output_columns_colour("-"), "");
	ck_assert_str_eq(output_columns_colour("up"),
	    output_columns_colour("open"));
	ck_assert_str_eq(output_columns_colour("down"),
	    output_columns_colour("disabled"));
}
END_TEST

/* --- CSV ---------------------------------------------------------------- */

static const char *
field(json_t *value)
{
	static char copy[200];
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	output_csv_field(file, value);
	fclose(file);
	snprintf(copy, sizeof copy, "%s", text);
	free(text);
	json_decref(value);
	return copy;
}

START_TEST(csv_fields)
{
	ck_assert_str_eq(field(json_null()), "");
	ck_assert_str_eq(field(NULL), "");
	ck_assert_str_eq(field(json_string("")), "");
	ck_assert_str_eq(field(json_string("plain text")), "plain text");
	ck_assert_str_eq(field(json_string("a,b")), "\"a,b\"");
	ck_assert_str_eq(field(json_string("a\"b")), "\"a\"\"b\"");
	ck_assert_str_eq(field(json_string("\"")), "\"\"\"\"");
	ck_assert_str_eq(field(json_string("a\r\nb\033")), "a\\x0d\\x0ab\\x1b");
	ck_assert_str_eq(field(json_string("\xc3\xa4")), "\xc3\xa4");
	ck_assert_str_eq(field(json_integer(9007199254740993)),
	    "9007199254740993");
	ck_assert_str_eq(field(json_real(1.5)), "1.5");
	ck_assert_str_eq(field(json_true()), "true");
	ck_assert_str_eq(field(json_pack("{s:i}", "a", 1)),
	    "\"{\"\"a\"\":1}\"");
}
END_TEST

/* --- Whole tables ------------------------------------------------------- */

/* What a list of these rows is; takes them. width 0: no terminal. */
static const char *
list(struct output_settings settings, size_t width, json_t *rows)
{
	static char text[8192];
	FILE *file = tmpfile();
	int saved = dup(STDOUT_FILENO);
	struct output *out;
	ssize_t n;

	ck_assert(file != NULL && saved >= 0);
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	out = output_new(&settings);
	out->width = width == 0 ? SIZE_MAX : width;
	output_start(out, &view);
	for (size_t i = 0; i < json_array_size(rows); i++)
		output_row(out, json_array_get(rows, i));
	output_end(out);
	ck_assert_int_eq(output_finish(out), 0);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	n = pread(fileno(file), text, sizeof text - 1, 0);
	ck_assert(n >= 0);
	text[n] = '\0';
	fclose(file);
	json_decref(rows);
	return text;
}

static json_t *
two(const char *name, const char *state)
{
	return json_pack("[{s:i, s:s, s:s, s:i}, {s:i, s:s, s:s, s:i}]", "id",
	    7, "name", "a", "state", "up", "up_bytes", 5, "id", 12, "name",
	    name, "state", state, "up_bytes", 4096);
}

START_TEST(tables)
{
	struct output_settings settings = { 0 };

	ck_assert_str_eq(list(settings, 0, two("bee", "down")),
	    "ID  NAME  STATE    UP\n"
	    " 7  a     up        5\n"
	    "12  bee   down   4.0K\n");
	ck_assert_str_eq(list(settings, 0, json_array()), "nothing\n");
	/* The rank decides, and a state goes only if it says nothing. */
	ck_assert_str_eq(list(settings, 17, two("bee", "down")),
	    "ID  NAME  STATE\n"
	    " 7  a     up\n"
	    "12  bee   down\n");
	ck_assert_str_eq(list(settings, 12, two("bee", "up")),
	    "ID  NAME\n"
	    " 7  a\n"
	    "12  bee\n");
	/* What was asked for by name stays. */
	settings.columns = "id,state,up_bytes";
	ck_assert_str_eq(list(settings, 12, two("bee", "up")),
	    "ID  STATE    UP\n"
	    " 7  up        5\n"
	    "12  up     4.0K\n");
}
END_TEST

/* Without escape sequences a line is the same, coloured or not. */
START_TEST(colour_takes_no_room)
{
	struct output_settings settings = { .colour = true };
	const char *text = list(settings, 17,
	    two("a-name-that-is-too-long", "down"));
	char stripped[400], *to = stripped;

	ck_assert_ptr_nonnull(strstr(text, "\033[31mdown\033[0m"));
	ck_assert_ptr_nonnull(strstr(text, "\033[1mNAME\033[0m"));
	while (*text != '\0') {
		if (*text == '\033')
			text += strcspn(text, "m") + 1;
		else
			*to++ = *text++;
	}
	*to = '\0';
	settings.colour = false;
	ck_assert_str_eq(stripped,
	    list(settings, 17, two("a-name-that-is-too-long", "down")));
}
END_TEST

START_TEST(programs)
{
	struct output_settings settings = { .format = OUTPUT_CSV,
		.colour = true };

	ck_assert_str_eq(list(settings, 10, two("b,e", "down")),
	    "id,name,state,up_bytes,since,twice\r\n"
	    "7,a,up,5,,14\r\n"
	    "12,\"b,e\",down,4096,,24\r\n");
	settings.columns = "twice,up_bytes";
	ck_assert_str_eq(list(settings, 10, json_array()),
	    "twice,up_bytes\r\n");
	settings.format = OUTPUT_JSON;
	ck_assert_str_eq(list(settings, 10, two("b,e", "down")),
	    "[\n  {\n    \"twice\": 14,\n    \"up_bytes\": 5\n  },\n"
	    "  {\n    \"twice\": 24,\n    \"up_bytes\": 4096\n  }\n]\n");
	ck_assert_str_eq(list(settings, 10, json_array()), "[]\n");
}
END_TEST

/* --- Words -------------------------------------------------------------- */

static const char *
nearest(const char *word)
{
	static const char *const words[] = { "sessions", "session", "kill",
		"own", "homelab/ssh", "k" };
	struct words_search search = { .word = word };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		words_offer(&search, words[i]);
	return search.nearest == NULL ? "" : search.nearest;
}

START_TEST(near_words)
{
	char longest[200];

	ck_assert_uint_eq(words_distance("", ""), 0);
	ck_assert_uint_eq(words_distance("", "abc"), 3);
	ck_assert_uint_eq(words_distance("abc", ""), 3);
	ck_assert_uint_eq(words_distance("kill", "kill"), 0);
	ck_assert_uint_eq(words_distance("kil", "kill"), 1);
	ck_assert_uint_eq(words_distance("klil", "kill"), 1);
	ck_assert_uint_eq(words_distance("skill", "kill"), 1);
	ck_assert_uint_eq(words_distance("abcdef", "badcfe"), 3);
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	ck_assert_uint_ge(words_distance(longest, "x"), 64);
	ck_assert_str_eq(nearest(longest), "");
	ck_assert_str_eq(nearest("sesions"), "sessions");
	ck_assert_str_eq(nearest("klil"), "kill");
	ck_assert_str_eq(nearest("onw"), "own");
	ck_assert_str_eq(nearest("hoemlab/ssh"), "homelab/ssh");
	/* Of two letters wrong in three nothing is left. */
	ck_assert_str_eq(nearest("oxx"), "");
	ck_assert_str_eq(nearest("x"), "");
	ck_assert_str_eq(nearest(""), "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("output");
	TCase *tc = tcase_create("output");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, chosen_columns);
	tcase_add_test(tc, unknown_columns);
	tcase_add_test(tc, too_many_columns);
	tcase_add_test(tc, cells);
	tcase_add_test(tc, who_did_it);
	tcase_add_test(tc, colours);
	tcase_add_test(tc, csv_fields);
	tcase_add_test(tc, tables);
	tcase_add_test(tc, colour_takes_no_room);
	tcase_add_test(tc, programs);
	tcase_add_test(tc, near_words);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
