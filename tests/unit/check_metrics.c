/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <event2/buffer.h>

#include "metrics_text.h"

static struct metrics_text text;

static void
setup(void)
{
	text = (struct metrics_text){ .out = evbuffer_new() };
	ck_assert_ptr_nonnull(text.out);
}

static void
teardown(void)
{
	evbuffer_free(text.out);
}

/* All that was written so far is this. */
static void
is(const char *wanted)
{
	size_t len = evbuffer_get_length(text.out);
	const char *got = (const char *)evbuffer_pullup(text.out, -1);

	ck_assert(!text.failed);
	ck_assert_msg(len == strlen(wanted) &&
		(len == 0 || memcmp(got, wanted, len) == 0),
	    "wanted:\n%s\ngot:\n%.*s", wanted, (int)len, got);
	evbuffer_drain(text.out, len);
}

START_TEST(families)
{
	const struct metrics_label labels[] = { { "peer", "a.B_c-1" },
		{ "state", "up" }, { NULL, NULL } };

	metrics_text_family(&text, "t_up", METRICS_GAUGE, "Whether.");
	is("# HELP t_up Whether.\n# TYPE t_up gauge\n");
	metrics_text_sample(&text, labels, 1);
	metrics_text_sample(&text, &labels[1], 0);
	metrics_text_sample(&text, &labels[2], 2);
	metrics_text_sample(&text, NULL, 3);
	is("t_up{peer=\"a.B_c-1\",state=\"up\"} 1\nt_up{state=\"up\"} 0\n"
	   "t_up 2\nt_up 3\n");
	metrics_text_single(&text, "t_total", METRICS_COUNTER, "All.", 4);
	is("# HELP t_total All.\n# TYPE t_total counter\nt_total 4\n");
}
END_TEST

START_TEST(escapes)
{
	static const struct {
		const char *value, *wanted;
	} rows[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\"", "\\\"" },
		{ "\\", "\\\\" },
		{ "\n", "\\n" },
		{ "a\"b\\c\nd", "a\\\"b\\\\c\\nd" },
		{ "\\n", "\\\\n" },
		{ "\"} 1\nx 2", "\\\"} 1\\nx 2" },
		{ "\xc3\xa4\t{}=,#", "\xc3\xa4\t{}=,#" },
	};
	struct metrics_label labels[] = { { "l", NULL }, { NULL, NULL } };
	char wanted[64];

	metrics_text_family(&text, "m", METRICS_GAUGE, "a\\b\n\"c\"");
	is("# HELP m a\\\\b\\n\"c\"\n# TYPE m gauge\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		labels[0].value = rows[i].value;
		metrics_text_sample(&text, labels, 0);
		snprintf(wanted, sizeof wanted, "m{l=\"%s\"} 0\n",
		    rows[i].wanted);
		is(wanted);
	}
}
END_TEST

START_TEST(numbers)
{
	static const struct {
		double value;
		const char *wanted;
	} rows[] = {
		{ 0, "0" },
		{ -1, "-1" },
		{ 0.5, "0.5" },
		{ 0.000123, "0.000123" },
		{ 1e-9, "1e-09" },
		{ 4294967296, "4294967296" },
		{ 9007199254740991, "9007199254740991" },
		{ 18446744073709551615.0, "1.84467440737096e+19" },
		{ 1795265951.210708, "1795265951.21071" },
		{ -1e300, "-1e+300" },
		{ (double)INFINITY, "+Inf" },
		{ (double)-INFINITY, "-Inf" },
		{ (double)NAN, "NaN" },
	};
	char wanted[64];

	metrics_text_family(&text, "n", METRICS_GAUGE, "");
	is("# HELP n \n# TYPE n gauge\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		metrics_text_sample(&text, NULL, rows[i].value);
		snprintf(wanted, sizeof wanted, "n %s\n", rows[i].wanted);
		is(wanted);
	}
}
END_TEST

START_TEST(failure_is_remembered)
{
	struct evbuffer *out = text.out;

	/* A frozen buffer takes nothing, as one without memory. */
	ck_assert_int_eq(evbuffer_freeze(out, 0), 0);
	metrics_text_single(&text, "a", METRICS_GAUGE, "b", 1);
	ck_assert(text.failed);
	ck_assert_int_eq(evbuffer_unfreeze(out, 0), 0);
	metrics_text_single(&text, "a", METRICS_GAUGE, "b", 1);
	ck_assert(text.failed);
	ck_assert_uint_eq(evbuffer_get_length(out), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tc = tcase_create("text");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, families);
	tcase_add_test(tc, escapes);
	tcase_add_test(tc, numbers);
	tcase_add_test(tc, failure_is_remembered);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
