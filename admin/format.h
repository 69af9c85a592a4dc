/* SPDX-License-Identifier: ISC */
/*
 * format: what the daemon says in JSON as text for people. Any value may be
 * missing or of the wrong type: it is "-" then, as null is. Text comes out as
 * printable ASCII (log_escape).
 *
 * All return buf and take its size, at least FORMAT_SIZE but for
 * format_value and format_who, which cut.
 */
#ifndef TUNNELCTL_FORMAT_H
#define TUNNELCTL_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define FORMAT_SIZE 32

char *format_value(const json_t *value, char *buf, size_t size);

/* Who did it: "root" of "root (uid 0)", "uid 1001" of who has no name. */
char *format_who(const json_t *value, char *buf, size_t size);

/* 999, 1.2K, 34M: powers of 1,024. */
char *format_bytes(const json_t *value, char *buf, size_t size);

/* Bytes a second: 0/s, 1.2K/s; and any number as a whole one. */
char *format_rate(const json_t *value, char *buf, size_t size);
char *format_whole(const json_t *value, char *buf, size_t size);

/* 100%, 99.98%, 0%: 100 only if it is that. */
char *format_percent(const json_t *value, char *buf, size_t size);

/* Seconds, as 12s, 3m12s, 3h12m, 12d3h. */
char *format_seconds(double seconds, char *buf, size_t size);
char *format_duration(const json_t *value, char *buf, size_t size);

/* A time: how long ago it was or, in the future, how far off it is; and on
 * the local clock: short (09:00:12 of today, 11-20 09:00 of this year) and
 * whole. */
char *format_age(const json_t *value, char *buf, size_t size);
char *format_time(const json_t *value, char *buf, size_t size);
char *format_time_whole(const json_t *value, char *buf, size_t size);

/* Whether a time is no longer ago than that. */
bool format_is_recent(const json_t *value, double seconds);

/* From one time to the other. */
char *format_between(const json_t *from, const json_t *to, char *buf,
    size_t size);

/* The same as a number of seconds, a new reference; to NULL: until now. JSON
 * null if one is no time. */
json_t *format_seconds_between(const json_t *from, const json_t *to);

/* Milliseconds: 0.3ms, 12ms, 1.2s. */
char *format_rtt(const json_t *value, char *buf, size_t size);

#endif
