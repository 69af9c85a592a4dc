/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../admin/when.h"

#define NOW 1800000000.0 /* 2027-01-15T08:00:00Z */

static void
set_zone(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

/* --- Durations and sizes -------------------------------------------------- */

START_TEST(durations)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1: refused */
	} cases[] = {
		{ "0", 0 },
		{ "90", 90 },
		{ "90s", 90 },
		{ "15m", 900 },
		{ "2h", 7200 },
		{ "3d", 259200 },
		{ "1w", 604800 },
		{ "007m", 420 },
		{ "36525d", 3155760000 },
		{ "36526d", -1 },
		{ "5218w", -1 },
		{ "3155760001", -1 },
		{ "99999999999999999999999999999999", -1 },
		{ "", -1 },
		{ "s", -1 },
		{ "-1", -1 },
		{ "+1", -1 },
		{ " 1", -1 },
		{ "1 ", -1 },
		{ "1 h", -1 },
		{ "1H", -1 },
		{ "1hh", -1 },
		{ "1h30m", -1 },
		{ "1.5h", -1 },
		{ "1y", -1 },
		{ "0x10", -1 },
		{ "2 hours", -1 },
	};
	const char *why;
	int64_t seconds;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int rc = when_parse_duration(cases[i].text, &seconds, &why);

		ck_assert_msg((rc == 0) == (cases[i].seconds >= 0), "%s",
		    cases[i].text);
		if (rc == 0)
			ck_assert_int_eq(seconds, cases[i].seconds);
		else
			ck_assert_str_ne(why, "");
	}
}
END_TEST

START_TEST(sizes)
{
	static const struct {
		const char *text;
		int64_t bytes; /* -1: refused */
	} cases[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "999999999999999999", 999999999999999999 },
		{ "10K", 10240 },
		{ "10k", 10240 },
		{ "1M", 1048576 },
		{ "2.5G", 2684354560 },
		{ "0.1K", 103 },
		{ "1T", 1099511627776 },
		{ "8191P", 9222246136947933184 },
		{ "8192P", -1 },
		{ "999999999999999999P", -1 },
		{ "9999999999999999999", -1 },
		{ "", -1 },
		{ "K", -1 },
		{ ".5K", -1 },
		{ "1.K", -1 },
		{ "1.5", -1 },
		{ "1KB", -1 },
		{ "1KiB", -1 },
		{ "1 K", -1 },
		{ "1 ", -1 },
		{ "-1", -1 },
		{ "1e3", -1 },
		{ "1,5K", -1 },
		{ "1B", -1 },
		{ "1.2.3K", -1 },
	};
	const char *why;
	uint64_t bytes;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int rc = when_parse_size(cases[i].text, &bytes, &why);

		ck_assert_msg((rc == 0) == (cases[i].bytes >= 0), "%s",
		    cases[i].text);
		if (rc == 0)
			ck_assert_int_eq(bytes, cases[i].bytes);
		else
			ck_assert_str_ne(why, "");
	}
}
END_TEST

/* --- Points in time ------------------------------------------------------- */

static void
check_time(const char *text, bool last, double want)
{
	struct when_clock clock = { .now = NOW, .last = last };
	const char *why = "";
	double got = -1;

	ck_assert_msg(when_parse_time(text, &clock, &got, &why) == 0, "%s %s",
	    text, why);
	ck_assert_msg(got == want, "%s: %f, not %f", text, got, want);
}

static const char *
check_refused(const char *text)
{
	struct when_clock clock = { .now = NOW };
	const char *why = "";
	double got;

	ck_assert_msg(when_parse_time(text, &clock, &got, &why) == -1, "%s",
	    text);
	ck_assert_str_ne(why, "");
	return why;
}

START_TEST(times_ago)
{
	set_zone("UTC0");
	check_time("90", false, NOW - 90);
	check_time("0", false, NOW);
	check_time("2h", false, NOW - 7200);
	check_time("1w", false, NOW - 604800);
	/* A year alone is so many seconds. */
	check_time("2026", false, NOW - 2026);
	ck_assert_str_eq(check_refused("60y"),
	    "is neither a duration such as 2h nor a time such as 2026-11-20, "
	    "\"2026-11-20 14:00\" or 2026-11-20T14:00:05Z");
	ck_assert_str_eq(check_refused("36525d"), "is before 1970");
	ck_assert_str_eq(check_refused("36526d"),
	    "is more than a hundred years");
}
END_TEST

START_TEST(times_written)
{
	set_zone("UTC0");
	check_time("2026-11-20", false, 1795132800);
	check_time("2026-11-20 14:00", false, 1795183200);
	check_time("2026-11-20T14:00", false, 1795183200);
	check_time("2026-11-20 14:00:05", false, 1795183205);
	check_time("2026-11-20T14:00:05Z", false, 1795183205);
	check_time("2026-11-20T14:00:05.125Z", false, 1795183205.125);
	check_time("2026-11-20 23:59:59", false, 1795219199);
	check_time("2024-02-29", false, 1709164800);
	check_time("1970-01-01 00:00:01", false, 1);
	check_time("9999-12-31 23:59:59", false, 253402300799);
}
END_TEST

START_TEST(times_refused)
{
	static const char *const texts[] = {
		"",
		"now",
		"yesterday",
		"2026-11",
		"2026-11-2",
		"2026-11-20 ",
		"2026-11-20 14",
		"2026-11-20 14:0",
		"2026-11-20  14:00",
		"2026-11-20t14:00",
		"2026-11-20 14:00:",
		"2026-11-20 14:00:5",
		"2026-11-20 14:00:05.",
		"2026-11-20 14:00:05.1234567890",
		"2026-11-20 14:00:05 Z",
		"2026-11-20 14:00:05+01:00",
		"2026-11-20 14:00:05z",
		"2026/11/20",
		"20-11-2026",
		"26-11-20",
		" 2026-11-20",
		"2026-11-20x",
		"+2026-11-20",
		"02026-11-20",
		"14:00",
	};
	static const char *const never[] = {
		"2026-00-20",
		"2026-13-20",
		"2026-11-00",
		"2026-11-31",
		"2026-02-29",
		"2100-02-29",
		"2026-11-20 24:00",
		"2026-11-20 14:60",
		"2026-11-20 14:00:60",
	};

	set_zone("UTC0");
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		ck_assert_ptr_nonnull(strstr(check_refused(texts[i]),
		    "such as"));
	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
		ck_assert_str_eq(check_refused(never[i]),
		    "is not in the calendar or not on the clock");
	ck_assert_str_eq(check_refused("1970-01-01"), "is before 1970");
	ck_assert_str_eq(check_refused("0001-01-01"), "is before 1970");
}
END_TEST

START_TEST(times_utc)
{
	struct when_clock clock = { .now = NOW, .utc = true };
	const char *why;
	double got;

	set_zone("EST5");
	check_time("2026-11-20", false, 1795132800 + 5 * 3600);
	check_time("2026-11-20 00:00Z", false, 1795132800);
	check_time("2026-11-20Z", false, 1795132800);
	ck_assert_int_eq(when_parse_time("2026-11-20", &clock, &got, &why), 0);
	ck_assert(got == 1795132800);
}
END_TEST

/* Central Europe, whose rules are written out: no zone files are needed. */
START_TEST(times_when_clocks_change)
{
	set_zone("CET-1CEST,M3.5.0,M10.5.0/3");
	/* 2026-03-29: from 02:00 to 03:00. */
	check_time("2026-03-29 01:59:59", false, 1774745999);
	check_time("2026-03-29 03:00", false, 1774746000);
	check_time("2026-03-29", false, 1774738800);
	ck_assert_ptr_nonnull(strstr(check_refused("2026-03-29 02:00"),
	    "skipped"));
	ck_assert_ptr_nonnull(strstr(check_refused("2026-03-29 02:59:59"),
	    "skipped"));
	check_time("2026-03-29T02:30:00Z", false, 1774751400);
	/* 2026-10-25: from 03:00 back to 02:00. */
	check_time("2026-10-25 01:59:59", true, 1792886399);
	check_time("2026-10-25 02:00", false, 1792886400);
	check_time("2026-10-25 02:00", true, 1792890000);
	check_time("2026-10-25 02:59:59", false, 1792889999);
	check_time("2026-10-25 02:59:59", true, 1792893599);
	check_time("2026-10-25 03:00", false, 1792893600);
	check_time("2026-10-25 03:00", true, 1792893600);
}
END_TEST

/* Where the clock jumps from midnight, the day begins at one. */
START_TEST(times_without_midnight)
{
	set_zone("<-03>3<-02>,M10.3.0/0,M2.3.0/0");
	check_time("2026-10-18", false, 1792292400);
	ck_assert_ptr_nonnull(strstr(check_refused("2026-10-18 00:30"),
	    "skipped"));
	check_time("2026-10-18 01:00", false, 1792292400);
	check_time("2026-10-17", false, 1792206000);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("when");
	TCase *tc = tcase_create("when");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, durations);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, times_ago);
	tcase_add_test(tc, times_written);
	tcase_add_test(tc, times_refused);
	tcase_add_test(tc, times_utc);
	tcase_add_test(tc, times_when_clocks_change);
	tcase_add_test(tc, times_without_midnight);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
