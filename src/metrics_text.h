/* SPDX-License-Identifier: ISC */
/*
 * metrics_text: writes the text that Prometheus reads, exposition format
 * 0.0.4: families of samples, each with help, type, labels and a value.
 *
 * Knows nothing of what is measured. Appends to a buffer that is the
 * caller's; a failure (memory) is remembered, and told once, at the end.
 * Floor 5.
 */
#ifndef TUNNELD_METRICS_TEXT_H
#define TUNNELD_METRICS_TEXT_H

#include <stdbool.h>

struct evbuffer;

#define METRICS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metrics_kind { METRICS_GAUGE, METRICS_COUNTER };

struct metrics_text {
	struct evbuffer *out;
	const char *family; /* being written */
	bool failed;	    /* what is in out is not whole */
};

struct metrics_label {
	const char *name;
	const char *value; /* any bytes; escaped as the format says */
};

/* Begins a family; its samples follow, all of them before the next one. */
void metrics_text_family(struct metrics_text *text, const char *name,
    enum metrics_kind kind, const char *help);

/* A sample with labels up to the first without a name; NULL: no labels. */
void metrics_text_sample(struct metrics_text *text,
    const struct metrics_label *labels, double value);

/* A family of one sample, without labels. */
void metrics_text_single(struct metrics_text *text, const char *name,
    enum metrics_kind kind, const char *help, double value);

#endif
