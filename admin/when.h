/* SPDX-License-Identifier: ISC */
/*
 * when: what people write for lengths of time, points in time and sizes, as
 * numbers. Strict: what is not wholly understood is refused, never guessed.
 * Reads no clock; the time zone is the process's (TZ).
 *
 * All return 0, or -1 with the reason in *why, a static phrase that goes
 * behind what was written: "3x": "is not a duration such as ...".
 */
#ifndef TUNNELCTL_WHEN_H
#define TUNNELCTL_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/* 90, 90s, 15m, 2h, 3d, 1w: whole seconds, up to a hundred years. */
int when_parse_duration(const char *text, int64_t *seconds, const char **why);

struct when_clock {
	double now; /* seconds since the epoch */
	bool utc;   /* points in time are UTC, not local */
	bool last;  /* of a time that the clock showed twice, the second */
};

/*
 * A duration, which is that long ago, or 2026-11-20, 2026-11-20 14:00,
 * 2026-11-20 14:00:05, also with T between and a Z (UTC) behind, and with a
 * fraction of the second, as JSON has it. Out come seconds since the epoch,
 * more than 0.
 *
 * A date alone is the first moment of that day. A time that the clock jumped
 * over is refused.
 */
int when_parse_time(const char *text, const struct when_clock *clock,
    double *out, const char **why);

/* 4096, 10K, 1M, 2.5G, 1T, 1P: powers of 1,024; parts of a byte count as
 * one. */
int when_parse_size(const char *text, uint64_t *bytes, const char **why);

#endif
