/* SPDX-License-Identifier: ISC */
#include "when.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIGITS "0123456789"
#define DAY 86400
#define DURATION_MAX ((int64_t)36525 * DAY)
#define SIZE_MAX_BYTES 9223372036854775807.0 /* as the database counts */

static const char
    not_duration[] = "is not a duration such as 90, 90s, 15m, 2h, 3d or 1w";
static const char not_time
    [] = "is neither a duration such as 2h nor a time such as 2026-11-20, "
	 "\"2026-11-20 14:00\" or 2026-11-20T14:00:05Z";
static const char not_size[] = "is not a size such as 4096, 10K, 1M or 2.5G";

/* --- Durations ------------------------------------------------------------ */

static int64_t
unit_seconds(const char *unit)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = {
		{ "", 1 },
		{ "s", 1 },
		{ "m", 60 },
		{ "h", 3600 },
		{ "d", DAY },
		{ "w", 7 * DAY },
	};

	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].seconds;
	return 0;
}

int
when_parse_duration(const char *text, int64_t *seconds, const char **why)
{
	size_t digits = strspn(text, DIGITS);
	int64_t unit = unit_seconds(text + digits), n = 0;

	*why = not_duration;
	if (digits == 0 || unit == 0)
		return -1;
	*why = "is more than a hundred years";
	for (size_t i = 0; i < digits; i++) {
		n = n * 10 + (text[i] - '0');
		if (n > DURATION_MAX / unit)
			return -1;
	}
	*seconds = n * unit;
	return 0;
}

/* --- Points in time ------------------------------------------------------- */

/* What was written, still in no time zone. */
struct when_written {
	struct tm tm;
	double fraction;
	bool has_time;
	bool utc; /* Z */
};

/* Exactly so many digits, then moves on. */
static int
take_number(const char **text, size_t digits, int *out)
{
	int n = 0;

	if (strspn(*text, DIGITS) != digits)
		return -1;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + ((*text)[i] - '0');
	*text += digits;
	*out = n;
	return 0;
}

static bool
take_byte(const char **text, char byte)
{
	if (**text != byte)
		return false;
	(*text)++;
	return true;
}

/* ":05", ":05.123", or nothing. */
static int
take_seconds(const char **text, struct when_written *out)
{
	size_t digits;

	if (!take_byte(text, ':'))
		return 0;
	if (take_number(text, 2, &out->tm.tm_sec) != 0)
		return -1;
	if (!take_byte(text, '.'))
		return 0;
	digits = strspn(*text, DIGITS);
	if (digits == 0 || digits > 9)
		return -1;
	for (size_t i = digits; i > 0; i--)
		out->fraction = (out->fraction + ((*text)[i - 1] - '0')) / 10;
	*text += digits;
	return 0;
}

static int
read_written(const char *text, struct when_written *out)
{
	*out = (struct when_written){ 0 };
	if (take_number(&text, 4, &out->tm.tm_year) != 0 ||
	    !take_byte(&text, '-') ||
	    take_number(&text, 2, &out->tm.tm_mon) != 0 ||
	    !take_byte(&text, '-') ||
	    take_number(&text, 2, &out->tm.tm_mday) != 0)
		return -1;
	out->tm.tm_year -= 1900;
	out->tm.tm_mon--;
	out->has_time = *text == ' ' || *text == 'T';
	if (out->has_time) {
		text++;
		if (take_number(&text, 2, &out->tm.tm_hour) != 0 ||
		    !take_byte(&text, ':') ||
		    take_number(&text, 2, &out->tm.tm_min) != 0 ||
		    take_seconds(&text, out) != 0)
			return -1;
	}
	out->utc = take_byte(&text, 'Z');
	return *text == '\0' ? 0 : -1;
}

static bool
same_fields(const struct tm *a, const struct tm *b)
{
	return a->tm_year == b->tm_year && a->tm_mon == b->tm_mon &&
	    a->tm_mday == b->tm_mday && a->tm_hour == b->tm_hour &&
	    a->tm_min == b->tm_min && a->tm_sec == b->tm_sec;
}

/* How far the local clock is ahead of UTC then. */
static time_t
offset_at(time_t when)
{
	struct tm tm;

	return localtime_r(&when, &tm) != NULL ? (time_t)tm.tm_gmtoff : 0;
}

/*
 * When the local clock shows these fields, of which as_utc is the time if they
 * were UTC. mktime(3) would take any of two times, and move one that never
 * was: so both offsets that may apply are tried. -1 if the clock never shows
 * them; *out is then what it would be had the clock not jumped.
 */
static int
find_local(const struct tm *fields, time_t as_utc, bool last, time_t *out)
{
	time_t before = as_utc - offset_at(as_utc - DAY);
	time_t after = as_utc - offset_at(as_utc + DAY);
	struct tm tm;
	bool is_before = localtime_r(&before, &tm) != NULL &&
	    same_fields(&tm, fields);
	bool is_after = localtime_r(&after, &tm) != NULL &&
	    same_fields(&tm, fields);

	*out = is_after && (last || !is_before) ? after : before;
	return is_before || is_after ? 0 : -1;
}

static int
written_time(const struct when_written *written, const struct when_clock *clock,
    double *out, const char **why)
{
	struct tm tm = written->tm;
	time_t when = timegm(&tm); /* which puts wrong fields right, in tm */

	if (!same_fields(&tm, &written->tm)) {
		*why = "is not in the calendar or not on the clock";
		return -1;
	}
	if (!written->utc && !clock->utc &&
	    find_local(&written->tm, when, clock->last, &when) != 0 &&
	    written->has_time) {
		*why = "was skipped here: the clock was put forward over it";
		return -1;
	}
	*out = (double)when + written->fraction;
	return 0;
}

int
when_parse_time(const char *text, const struct when_clock *clock, double *out,
    const char **why)
{
	struct when_written written;
	int64_t ago;

	if (read_written(text, &written) == 0) {
		if (written_time(&written, clock, out, why) != 0)
			return -1;
	} else {
		if (when_parse_duration(text, &ago, why) != 0) {
			if (*why == not_duration)
				*why = not_time;
			return -1;
		}
		*out = clock->now - (double)ago;
	}
	*why = "is before 1970";
	return *out > 0 ? 0 : -1;
}

/* --- Sizes ---------------------------------------------------------------- */

int
when_parse_size(const char *text, uint64_t *bytes, const char **why)
{
	static const char units[] = "KMGTP";
	size_t whole = strspn(text, DIGITS), len = whole, part = 0;
	const char *unit;
	double factor = 1, n;

	*why = not_size;
	if (text[len] == '.') {
		part = strspn(text + len + 1, DIGITS);
		len += 1 + part;
	}
	/* 18 digits are more than a double tells apart. */
	if (whole == 0 || whole > 18 || part > 18 || (len > whole && part == 0))
		return -1;
	if (text[len] != '\0') {
		unit = strchr(units, text[len] & ~0x20);
		if (unit == NULL || *unit == '\0' || text[len + 1] != '\0')
			return -1;
		factor = ldexp(1, 10 * (int)(unit - units + 1));
	} else if (part > 0) {
		*why = "has parts of a byte";
		return -1;
	} else {
		*bytes = strtoull(text, NULL, 10);
		return 0;
	}
	/* The C locale's point; LC_NUMERIC is never set. */
	n = ceil(strtod(text, NULL) * factor);
	*why = "is larger than any session";
	if (n >= SIZE_MAX_BYTES)
		return -1;
	*bytes = (uint64_t)n;
	return 0;
}
