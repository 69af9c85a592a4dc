/* SPDX-License-Identifier: ISC */
#include "metrics_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <event2/buffer.h>

/* Enough for every finite number as printed below. */
#define METRICS_NUMBER_SIZE 32
/* Below 2^53 a double holds every whole number. */
#define METRICS_WHOLE_MAX 9007199254740992.0

static void
metrics_text_add(struct metrics_text *text, const char *bytes, size_t len)
{
	if (!text->failed && evbuffer_add(text->out, bytes, len) != 0)
		text->failed = true;
}

static void
metrics_text_puts(struct metrics_text *text, const char *string)
{
	metrics_text_add(text, string, strlen(string));
}

/* A backslash and a line feed, and within quotes a quote, are escaped. */
static void
metrics_text_escape(struct metrics_text *text, const char *value, bool quoted)
{
	const char *special = quoted ? "\\\n\"" : "\\\n";
	size_t len;

	for (;;) {
		len = strcspn(value, special);
		metrics_text_add(text, value, len);
		value += len;
		if (*value == '\0')
			return;
		metrics_text_puts(text,
		    *value == '\n'     ? "\\n" :
			*value == '\\' ? "\\\\" :
					 "\\\"");
		value++;
	}
}

static const char *
metrics_text_number(char *buf, size_t size, double value)
{
	if (isnan(value))
		return "NaN";
	if (isinf(value))
		return value > 0 ? "+Inf" : "-Inf";
	if (value > -METRICS_WHOLE_MAX && value < METRICS_WHOLE_MAX &&
	    (double)(int64_t)value == value)
		snprintf(buf, size, "%" PRId64, (int64_t)value);
	else
		snprintf(buf, size, "%.15g", value);
	return buf;
}

void
metrics_text_family(struct metrics_text *text, const char *name,
    enum metrics_kind kind, const char *help)
{
	text->family = name;
	metrics_text_puts(text, "# HELP ");
	metrics_text_puts(text, name);
	metrics_text_puts(text, " ");
	metrics_text_escape(text, help, false);
	metrics_text_puts(text, "\n# TYPE ");
	metrics_text_puts(text, name);
	metrics_text_puts(text,
	    kind == METRICS_COUNTER ? " counter\n" : " gauge\n");
}

void
metrics_text_sample(struct metrics_text *text,
    const struct metrics_label *labels, double value)
{
	char number[METRICS_NUMBER_SIZE];
	const char *before = "{";

	metrics_text_puts(text, text->family);
	for (; labels != NULL && labels->name != NULL; labels++) {
		metrics_text_puts(text, before);
		metrics_text_puts(text, labels->name);
		metrics_text_puts(text, "=\"");
		metrics_text_escape(text, labels->value, true);
		metrics_text_puts(text, "\"");
		before = ",";
	}
	metrics_text_puts(text, *before == ',' ? "} " : " ");
	metrics_text_puts(text,
	    metrics_text_number(number, sizeof number, value));
	metrics_text_puts(text, "\n");
}

void
metrics_text_single(struct metrics_text *text, const char *name,
    enum metrics_kind kind, const char *help, double value)
{
	metrics_text_family(text, name, kind, help);
	metrics_text_sample(text, NULL, value);
}
