/* SPDX-License-Identifier: ISC */
/* The lists of `tunnelctl watch`: rates, order, filter, the cursor, columns,
 * and answers that are not what they should be. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../admin/watch_layout.h"
#include "../../admin/watch_model.h"

static struct watch_model model;

static void
set_up(void)
{
	watch_model_init(&model, NULL, NULL);
}

static void
tear_down(void)
{
	watch_model_clear(&model);
}

static json_t *
parse(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);

	ck_assert_msg(json != NULL, "%s", text);
	return json;
}

/* A whole reading at that second. */
static void
read_sessions(const char *text, double at)
{
	struct watch_moment now = { .steady = at, .wall = 1763716000 + at };
	struct watch_list *list = &model.lists[WATCH_SESSIONS];
	json_t *data = parse(text);

	watch_list_begin(list);
	watch_model_take_sessions(&model, data, &now);
	watch_list_finish(list);
	json_decref(data);
}

static void
read_status(const char *text, double at)
{
	struct watch_moment now = { .steady = at, .wall = 1763716000 + at };
	json_t *data = parse(text);

	watch_model_take_status(&model, data, &now);
	json_decref(data);
}

/* n sessions; number i moved i * each bytes down. */
static void
read_many(int n, int each, double at)
{
	struct watch_moment now = { .steady = at, .wall = at };
	struct watch_list *list = &model.lists[WATCH_SESSIONS];
	json_t *data = json_array();
	char source[32];

	for (int i = 1; i <= n; i++) {
		snprintf(source, sizeof source, "192.0.2.%d:%d", i % 250, i);
		json_array_append_new(data,
		    json_pack("{s:i, s:s, s:s, s:s, s:i, s:i}", "id", i,
			"tunnel", i % 2 == 0 ? "ssh" : "web", "peer", "home",
			"source", source, "up_bytes", 0, "down_bytes",
			i * each));
	}
	watch_list_begin(list);
	watch_model_take_sessions(&model, data, &now);
	watch_list_finish(list);
	json_decref(data);
}

/* The ids in the order in which they are shown. */
static const char *
ids(void)
{
	static char text[256];
	const struct watch_list *list = &model.lists[WATCH_SESSIONS];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < list->n && len < sizeof text - 24; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%s",
		    i == 0 ? "" : " ", list->view[i]->key);
	return text;
}

static double
cell(enum watch_pane pane, size_t row, int column)
{
	ck_assert_uint_lt(row, model.lists[pane].n);
	return model.lists[pane].view[row]->cells[column].number;
}

static const char *
text_cell(enum watch_pane pane, size_t row, int column)
{
	ck_assert_uint_lt(row, model.lists[pane].n);
	return model.lists[pane].view[row]->cells[column].text;
}

static const char *
selected(void)
{
	const struct watch_row
	    *row = watch_list_selected(&model.lists[WATCH_SESSIONS]);

	return row == NULL ? "none" : row->key;
}

/* --- Rates ------------------------------------------------------------------- */

START_TEST(rates)
{
	const enum watch_pane s = WATCH_SESSIONS;

	read_sessions("[{\"id\":1,\"up_bytes\":100,\"down_bytes\":5000}]", 10);
	ck_assert(isnan(cell(s, 0, WATCH_UP_RATE)));
	ck_assert(isnan(cell(s, 0, WATCH_DOWN_RATE)));
	ck_assert_double_eq(cell(s, 0, WATCH_DOWN), 5000);
	read_sessions("[{\"id\":1,\"up_bytes\":100,\"down_bytes\":9000},"
		      "{\"id\":2,\"up_bytes\":7,\"down_bytes\":7}]",
	    12);
	ck_assert_double_eq(cell(s, 0, WATCH_UP_RATE), 0);
	ck_assert_double_eq(cell(s, 0, WATCH_DOWN_RATE), 2000);
	ck_assert(isnan(cell(s, 1, WATCH_DOWN_RATE)));
	/* Too soon to tell: what was known stays. */
	read_sessions("[{\"id\":1,\"up_bytes\":100,\"down_bytes\":9500}]",
	    12.01);
	ck_assert_double_eq(cell(s, 0, WATCH_DOWN_RATE), 2000);
	read_sessions("[{\"id\":1,\"up_bytes\":200,\"down_bytes\":9100}]", 13);
	ck_assert_double_eq(cell(s, 0, WATCH_DOWN_RATE), 100);
	ck_assert_double_eq(cell(s, 0, WATCH_UP_RATE), 100);
	/* Counters do not go back: this is another session. */
	read_sessions("[{\"id\":1,\"up_bytes\":0,\"down_bytes\":0}]", 14);
	ck_assert(isnan(cell(s, 0, WATCH_DOWN_RATE)));
	read_sessions("[{\"id\":1,\"up_bytes\":0,\"down_bytes\":10}]", 15);
	ck_assert_double_eq(cell(s, 0, WATCH_DOWN_RATE), 10);
	watch_model_forget(&model);
	ck_assert(isnan(cell(s, 0, WATCH_DOWN_RATE)));
	read_sessions("[{\"id\":1,\"up_bytes\":0,\"down_bytes\":30}]", 16);
	ck_assert(isnan(cell(s, 0, WATCH_DOWN_RATE)));
}
END_TEST

START_TEST(status)
{
	const struct watch_facts *facts = &model.facts;
	const char *text =
	    "{\"daemon\":{\"name\":\"edge\",\"version\":\"1\",\"uptime\":7.5,"
	    "\"sessions\":3,\"held\":1},\"ledger\":{\"state\":\"ok\","
	    "\"lost\":0},\"peers\":[{\"state\":\"up\"},{\"state\":\"down\"}],"
	    "\"tunnels\":[{\"name\":\"b\",\"peer\":\"home\",\"up_bytes\":%d,"
	    "\"down_bytes\":0,\"listen\":null,\"connect\":\"x:1\"},"
	    "{\"name\":\"a\",\"peer\":null,\"up_bytes\":%d,"
	    "\"down_bytes\":0}]}";
	char said[1024];

	ck_assert(!facts->known);
	snprintf(said, sizeof said, text, 0, 0);
	read_status(said, 1);
	ck_assert(facts->known);
	ck_assert_str_eq(facts->name, "edge");
	ck_assert_uint_eq(facts->peers, 2);
	ck_assert_uint_eq(facts->peers_up, 1);
	ck_assert_double_eq(facts->sessions, 3);
	ck_assert(isnan(facts->up_rate));
	snprintf(said, sizeof said, text, 100, 50);
	read_status(said, 2);
	ck_assert_double_eq(facts->up_rate, 150);
	ck_assert_double_eq(facts->down_rate, 0);
	ck_assert_str_eq(text_cell(WATCH_TUNNELS, 0, WATCH_TUNNEL_LABEL), "a");
	ck_assert_str_eq(text_cell(WATCH_TUNNELS, 1, WATCH_TUNNEL_LABEL),
	    "home/b");
	ck_assert_str_eq(text_cell(WATCH_TUNNELS, 1, WATCH_TUNNEL_ADDRESS),
	    "x:1");
	/* One that was there and is not any more. */
	read_status("{\"tunnels\":[{\"name\":\"a\"}]}", 3);
	ck_assert_uint_eq(model.lists[WATCH_TUNNELS].n, 1);
	ck_assert(isnan(facts->sessions));
}
END_TEST

START_TEST(only_one_tunnel)
{
	const char *said = "{\"tunnels\":[{\"name\":\"a\",\"peer\":\"x\"},"
			   "{\"name\":\"a\",\"peer\":\"y\"},"
			   "{\"name\":\"b\",\"peer\":null}]}";
	static const struct {
		const char *tunnel, *peer;
		size_t n;
	} cases[] = { { "a", NULL, 2 }, { "x/a", NULL, 1 }, { "b", NULL, 1 },
		{ NULL, "y", 1 }, { "a", "y", 1 }, { "b", "y", 0 },
		{ "x/b", NULL, 0 } };

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		model.tunnel = cases[i].tunnel;
		model.peer = cases[i].peer;
		read_status(said, (double)i);
		ck_assert_uint_eq(model.lists[WATCH_TUNNELS].n, cases[i].n);
	}
}
END_TEST

/* --- Order and filter ------------------------------------------------------- */

START_TEST(order)
{
	struct watch_list *list = &model.lists[WATCH_SESSIONS];

	/* No rates yet: by id, as numbers. */
	read_many(12, 1, 1);
	ck_assert_str_eq(ids(), "1 2 3 4 5 6 7 8 9 10 11 12");
	read_many(12, 10, 2);
	ck_assert_str_eq(ids(), "12 11 10 9 8 7 6 5 4 3 2 1");
	watch_list_reverse(list);
	ck_assert_str_eq(ids(), "1 2 3 4 5 6 7 8 9 10 11 12");
	watch_list_sort(list, WATCH_SESSION_TUNNEL);
	ck_assert_str_eq(ids(), "2 4 6 8 10 12 1 3 5 7 9 11");
	/* What is not known comes last, both ways round. */
	watch_list_sort(list, WATCH_DOWN_RATE);
	read_many(13, 20, 3);
	ck_assert_str_eq(ids(), "12 11 10 9 8 7 6 5 4 3 2 1 13");
	watch_list_reverse(list);
	ck_assert_str_eq(ids(), "1 2 3 4 5 6 7 8 9 10 11 12 13");
}
END_TEST

START_TEST(filter)
{
	struct watch_list *list = &model.lists[WATCH_SESSIONS];

	read_many(12, 1, 1);
	watch_list_filter(list, "SSH");
	ck_assert_str_eq(ids(), "2 4 6 8 10 12");
	watch_list_filter(list, "home/w");
	ck_assert_str_eq(ids(), "1 3 5 7 9 11");
	watch_list_filter(list, "192.0.2.3:");
	ck_assert_str_eq(ids(), "3");
	/* It stays over readings. */
	read_many(300, 1, 2);
	ck_assert_str_eq(ids(), "3 253");
	watch_list_filter(list, "nobody");
	ck_assert_str_eq(ids(), "");
	ck_assert_str_eq(selected(), "none");
	watch_list_move(list, 5);
	watch_list_end(list);
	ck_assert_str_eq(selected(), "none");
	watch_list_filter(list, "");
	ck_assert_uint_eq(list->n, 300);
}
END_TEST

/* --- The cursor ------------------------------------------------------------- */

START_TEST(cursor_stays_with_its_row)
{
	struct watch_list *list = &model.lists[WATCH_SESSIONS];

	ck_assert_str_eq(selected(), "none");
	read_many(10, 1, 1);
	watch_list_show(list, 4);
	ck_assert_str_eq(selected(), "1");
	/* Nobody chose a row: the top stays the top. */
	read_many(10, 10, 2);
	ck_assert_str_eq(selected(), "10");
	watch_list_move(list, 2);
	ck_assert_str_eq(selected(), "8");
	ck_assert_uint_eq(list->top, 0);
	watch_list_reverse(list);
	ck_assert_str_eq(selected(), "8");
	ck_assert_uint_eq(list->cursor, 7);
	ck_assert_uint_eq(list->top, 4);
	/* It ends: the next one in its place. */
	read_sessions("[{\"id\":6},{\"id\":7},{\"id\":9},{\"id\":10}]", 3);
	ck_assert_uint_eq(list->n, 4);
	ck_assert_str_eq(selected(), "10");
	ck_assert_uint_eq(list->top, 0);
	read_sessions("[]", 4);
	ck_assert_str_eq(selected(), "none");
	ck_assert_uint_eq(list->top, 0);
	read_many(3, 1, 5);
	ck_assert_str_eq(selected(), "1");
}
END_TEST

START_TEST(cursor_moves)
{
	struct watch_list *list = &model.lists[WATCH_SESSIONS];

	read_many(100, 1, 1);
	watch_list_show(list, 10);
	watch_list_move(list, -5);
	ck_assert_str_eq(selected(), "1");
	watch_list_move(list, 9);
	ck_assert_uint_eq(list->top, 0);
	watch_list_move(list, 1);
	ck_assert_uint_eq(list->top, 1);
	watch_list_move(list, 1000);
	ck_assert_str_eq(selected(), "100");
	ck_assert_uint_eq(list->top, 90);
	watch_list_move(list, -9);
	ck_assert_uint_eq(list->top, 90);
	/* More room: no empty lines at the end. */
	watch_list_show(list, 30);
	ck_assert_uint_eq(list->top, 70);
	watch_list_show(list, 1);
	ck_assert_uint_eq(list->top, list->cursor);
	watch_list_show(list, 0);
	watch_list_move(list, -3);
	watch_list_home(list);
	ck_assert_uint_eq(list->top, 0);
	watch_list_end(list);
	ck_assert_str_eq(selected(), "100");
	/* Filtered out: another one, and it can be seen. */
	watch_list_show(list, 10);
	watch_list_filter(list, "web");
	ck_assert_str_eq(selected(), "99");
	ck_assert_uint_eq(list->top, 40);
}
END_TEST

/* --- Answers that are none ---------------------------------------------------- */

START_TEST(odd_answers)
{
	static const char *const texts[] = { "[]", "{}", "[null]", "[1,\"x\"]",
		"[{}]", "[{\"id\":null}]", "[{\"id\":\"1\"}]", "[{\"id\":1.5}]",
		"[[[]]]", "{\"tunnels\":7,\"peers\":{}}",
		"{\"tunnels\":[null,[],{\"name\":5},{\"name\":{}}]}",
		"{\"daemon\":[],\"ledger\":\"x\",\"peers\":[1,null]}",
		"[{\"id\":1,\"tunnel\":5,\"peer\":6,\"source\":[],"
		"\"opened_at\":\"yesterday\",\"up_bytes\":\"9\","
		"\"down_bytes\":-4,\"idle\":\"no\"}]" };
	struct watch_layout layout;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		read_sessions(texts[i], (double)i);
		read_status(texts[i], (double)i);
		for (int pane = 0; pane < WATCH_PANES; pane++)
			watch_layout_make(&layout, &model.lists[pane], 80,
			    false);
	}
	ck_assert_str_eq(ids(), "1");
	ck_assert(isnan(cell(WATCH_SESSIONS, 0, WATCH_UP)));
	ck_assert(isnan(cell(WATCH_SESSIONS, 0, WATCH_SESSION_AGE)));
	/* The same twice in one answer is one row. */
	read_sessions("[{\"id\":4},{\"id\":4},{\"id\":5}]", 100);
	ck_assert_str_eq(ids(), "4 5");
}
END_TEST

START_TEST(text_is_harmless)
{
	const char *text;

	read_sessions("[{\"id\":1,\"tunnel\":\"a\\u001b[2Jb\",\"peer\":null,"
		      "\"source\":\"\\u0007\\u009b\\u00e9\\ud83d\\ude00\"}]",
	    1);
	text = text_cell(WATCH_SESSIONS, 0, WATCH_SESSION_TUNNEL);
	ck_assert_str_eq(text, "a\\x1b[2Jb");
	text = text_cell(WATCH_SESSIONS, 0, WATCH_SESSION_SOURCE);
	for (size_t i = 0; i < strlen(text); i++)
		ck_assert(text[i] >= ' ' && text[i] <= '~');
}
END_TEST

/* --- Columns ------------------------------------------------------------------ */

static int
width_of(const struct watch_layout *layout)
{
	int width = 1 - layout->gap;

	for (int i = 0; i < WATCH_COLUMNS; i++)
		if (layout->widths[i] > 0)
			width += layout->gap + layout->widths[i];
	return width;
}

START_TEST(columns)
{
	struct watch_list *list = &model.lists[WATCH_SESSIONS];
	struct watch_layout layout;
	int n, before = 0;

	read_many(300, 1, 1);
	for (int width = 20; width < 200; width++) {
		watch_layout_make(&layout, list, width, false);
		ck_assert_int_le(width_of(&layout), width > 30 ? width : 30);
		ck_assert_int_gt(layout.widths[WATCH_SESSION_ID], 0);
		ck_assert_int_gt(layout.widths[list->sort], 0);
		n = 0;
		for (int i = 0; i < WATCH_COLUMNS; i++)
			n += layout.widths[i] > 0;
		ck_assert_int_ge(n, before);
		before = n;
	}
	ck_assert_int_eq(n, WATCH_COLUMNS);
	watch_layout_make(&layout, list, 40, false);
	ck_assert_int_gt(layout.widths[WATCH_UP_RATE], 0);
	ck_assert_int_gt(layout.widths[WATCH_SESSION_SOURCE], 0);
	ck_assert(!watch_layout_has(list, WATCH_UP, 40, false));
	watch_list_sort(list, WATCH_UP);
	watch_layout_make(&layout, list, 40, false);
	ck_assert_int_gt(layout.widths[WATCH_UP], 0);
	ck_assert(!watch_layout_has(list, WATCH_UP, 40, false));
	watch_layout_make(&layout, list, 80, false);
	ck_assert_int_gt(layout.widths[WATCH_SESSION_AGE], 0);
	ck_assert_int_ge(layout.widths[WATCH_SESSION_SOURCE], 15);
}
END_TEST

START_TEST(numbers)
{
	char buf[FORMAT_SIZE];

#define IS(kind, n, exact, text) \
	ck_assert_str_eq(watch_layout_number(kind, n, exact, buf), text)
	IS(WATCH_COUNT, NAN, false, "-");
	IS(WATCH_RATE, NAN, true, "-");
	IS(WATCH_COUNT, 12345, false, "12345");
	IS(WATCH_BYTES, 12345, false, "12K");
	IS(WATCH_RATE, 12345.6, true, "12346");
	IS(WATCH_SECONDS, 3725, true, "1h2m");
	IS(WATCH_BYTES, 0, false, "0");
	IS(WATCH_COUNT, 1e300, false, "10000000000000000000");
	IS(WATCH_SECONDS, 1e300, false, "11574d1h");
#undef IS
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("watch");
	TCase *tc = tcase_create("lists");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, rates);
	tcase_add_test(tc, status);
	tcase_add_test(tc, only_one_tunnel);
	tcase_add_test(tc, order);
	tcase_add_test(tc, filter);
	tcase_add_test(tc, cursor_stays_with_its_row);
	tcase_add_test(tc, cursor_moves);
	tcase_add_test(tc, odd_answers);
	tcase_add_test(tc, text_is_harmless);
	tcase_add_test(tc, columns);
	tcase_add_test(tc, numbers);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
