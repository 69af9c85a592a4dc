/* SPDX-License-Identifier: ISC */
#include "format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"

static char *
format_none(char *buf, size_t size)
{
	snprintf(buf, size, "-");
	return buf;
}

char *
format_value(const json_t *value, char *buf, size_t size)
{
	switch (value == NULL ? JSON_NULL : json_typeof(value)) {
	case JSON_STRING:
		log_escape(buf, size, json_string_value(value),
		    json_string_length(value));
		break;
	case JSON_INTEGER:
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT,
		    json_integer_value(value));
		break;
	case JSON_REAL:
		snprintf(buf, size, "%.1f", json_real_value(value));
		break;
	case JSON_TRUE:
		snprintf(buf, size, "yes");
		break;
	case JSON_FALSE:
		snprintf(buf, size, "no");
		break;
	default:
		return format_none(buf, size);
	}
	return buf[0] == '\0' ? format_none(buf, size) : buf;
}

char *
format_who(const json_t *value, char *buf, size_t size)
{
	char *uid;

	format_value(value, buf, size);
	uid = strstr(buf, " (uid ");
	if (uid == NULL || uid == buf)
		return buf;
	if (uid == buf + 1 && buf[0] == '?') {
		/* There is no login name: "? (uid 1001)". */
		uid[strcspn(uid, ")")] = '\0';
		memmove(buf, uid + 2, strlen(uid + 2) + 1);
	} else {
		*uid = '\0';
	}
	return buf;
}

char *
format_bytes(const json_t *value, char *buf, size_t size)
{
	static const char units[] = "BKMGTPE";
	double n = json_number_value(value);
	int unit = 0;

	if (!json_is_number(value))
		return format_none(buf, size);
	/* 999.5 would print as 1000: four digits never appear. */
	while (n >= 999.5 && units[unit + 1] != '\0') {
		n /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, size, "%.0f", n);
	else
		snprintf(buf, size, n < 9.95 ? "%.1f%c" : "%.0f%c", n,
		    units[unit]);
	return buf;
}

char *
format_rate(const json_t *value, char *buf, size_t size)
{
	size_t len;

	if (!json_is_number(value))
		return format_none(buf, size);
	len = strlen(format_bytes(value, buf, size));
	snprintf(buf + len, size - len, "/s");
	return buf;
}

char *
format_whole(const json_t *value, char *buf, size_t size)
{
	if (!json_is_number(value))
		return format_none(buf, size);
	snprintf(buf, size, "%.0f", json_number_value(value));
	return buf;
}

char *
format_percent(const json_t *value, char *buf, size_t size)
{
	double percent = json_number_value(value);

	if (!json_is_number(value))
		return format_none(buf, size);
	if (percent >= 100 || percent <= 0) {
		snprintf(buf, size, percent > 0 ? "100%%" : "0%%");
		return buf;
	}
	/* A second of outage in a month is one. */
	if (percent > 99.99)
		percent = 99.99;
	if (percent < 0.01)
		percent = 0.01;
	snprintf(buf, size, "%.2f%%", percent);
	return buf;
}

char *
format_seconds(double seconds, char *buf, size_t size)
{
	long s;

	if (!(seconds > 0))
		seconds = 0;
	if (seconds > 1e9)
		seconds = 1e9;
	s = (long)seconds;
	if (s < 60)
		snprintf(buf, size, "%lds", s);
	else if (s < 3600)
		snprintf(buf, size, "%ldm%lds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, size, "%ldh%ldm", s / 3600, s / 60 % 60);
	else
		snprintf(buf, size, "%ldd%ldh", s / 86400, s / 3600 % 24);
	return buf;
}

char *
format_duration(const json_t *value, char *buf, size_t size)
{
	if (!json_is_number(value))
		return format_none(buf, size);
	return format_seconds(json_number_value(value), buf, size);
}

/* RFC 3339 in UTC to seconds since the epoch, NAN if it is not. */
static double
read_time(const json_t *value)
{
	const char *text = json_string_value(value), *rest;
	struct tm tm = { 0 };
	double fraction = 0, digit = 0.1;

	if (text == NULL)
		return NAN;
	rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest == NULL)
		return NAN;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++) {
			fraction += (*rest - '0') * digit;
			digit /= 10;
		}
	if (strcmp(rest, "Z") != 0)
		return NAN;
	return (double)timegm(&tm) + fraction;
}

static double
read_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

char *
format_age(const json_t *value, char *buf, size_t size)
{
	double then = read_time(value);

	if (isnan(then))
		return format_none(buf, size);
	return format_seconds(fabs(read_clock() - then), buf, size);
}

bool
format_is_recent(const json_t *value, double seconds)
{
	/* Of no time at all it is false. */
	return read_clock() - read_time(value) <= seconds;
}

char *
format_between(const json_t *from, const json_t *to, char *buf, size_t size)
{
	double a = read_time(from), b = read_time(to);

	if (isnan(a) || isnan(b))
		return format_none(buf, size);
	return format_seconds(b - a, buf, size);
}

json_t *
format_seconds_between(const json_t *from, const json_t *to)
{
	double a = read_time(from),
	       b = to != NULL ? read_time(to) : read_clock();

	/* The times are exact to the millisecond, and so is what is between. */
	return isnan(a) || isnan(b) ? json_null() :
				      json_real(round((b - a) * 1e3) / 1e3);
}

char *
format_time(const json_t *value, char *buf, size_t size)
{
	double seconds = read_time(value);
	time_t now = time(NULL), then = (time_t)seconds;
	struct tm a, b;
	const char *how = "%Y-%m-%d";

	if (isnan(seconds) || localtime_r(&now, &a) == NULL ||
	    localtime_r(&then, &b) == NULL)
		return format_none(buf, size);
	if (a.tm_year == b.tm_year)
		how = a.tm_yday == b.tm_yday ? "%H:%M:%S" : "%m-%d %H:%M";
	if (strftime(buf, size, how, &b) == 0)
		return format_none(buf, size);
	return buf;
}

char *
format_time_whole(const json_t *value, char *buf, size_t size)
{
	double seconds = read_time(value);
	time_t then = (time_t)seconds;
	struct tm tm;

	if (isnan(seconds) || localtime_r(&then, &tm) == NULL ||
	    strftime(buf, size, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
		return format_none(buf, size);
	return buf;
}

char *
format_rtt(const json_t *value, char *buf, size_t size)
{
	double ms = json_number_value(value);

	if (!json_is_number(value))
		return format_none(buf, size);
	if (ms < 0.05)
		snprintf(buf, size, "<0.1ms");
	else if (ms < 9.95)
		snprintf(buf, size, "%.1fms", ms);
	else if (ms < 999.5)
		snprintf(buf, size, "%.0fms", ms);
	else
		snprintf(buf, size, "%.1fs", ms / 1000);
	return buf;
}
