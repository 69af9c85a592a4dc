/* SPDX-License-Identifier: ISC */
#include "rate.h"

#include <string.h>

#define RATE_LEAST 1.0 /* seconds that tell something */

void
rate_init(struct rate *rate, double now)
{
	memset(rate, 0, sizeof *rate);
	rate->at = now;
}

/* A counter that fell (a closed session's bytes moved elsewhere) counts as
 * one that stood still. */
static double
rate_of(uint64_t before, uint64_t after, double seconds)
{
	return after > before ? (double)(after - before) / seconds : 0;
}

void
rate_get(const struct rate *rate, double now, uint64_t up, uint64_t down,
    double *up_rate, double *down_rate)
{
	double seconds = now - rate->at;

	if (seconds < RATE_LEAST) {
		*up_rate = rate->up_rate;
		*down_rate = rate->down_rate;
		return;
	}
	*up_rate = rate_of(rate->up, up, seconds);
	*down_rate = rate_of(rate->down, down, seconds);
}

void
rate_sample(struct rate *rate, double now, uint64_t up, uint64_t down)
{
	if (now - rate->at < RATE_LEAST)
		return;
	rate_get(rate, now, up, down, &rate->up_rate, &rate->down_rate);
	rate->at = now;
	rate->up = up;
	rate->down = down;
}
