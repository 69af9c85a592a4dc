/* SPDX-License-Identifier: ISC */
/*
 * rate: bytes per second of two counters that only grow, from a sample taken
 * now and then: pure.  Floor 0.
 */
#ifndef TUNNELD_RATE_H
#define TUNNELD_RATE_H

#include <stdint.h>

struct rate {
	double at; /* seconds: when the sample was taken */
	uint64_t up, down;
	double up_rate, down_rate; /* between the last two samples */
};

/* All counters are 0 then. */
void rate_init(struct rate *rate, double now);
/* Takes a sample; for a timer of some seconds. */
void rate_sample(struct rate *rate, double now, uint64_t up, uint64_t down);
/* The rate since the last sample, or that of the last two where that was less
 * than a second ago. */
void rate_get(const struct rate *rate, double now, uint64_t up, uint64_t down,
    double *up_rate, double *down_rate);

#endif
