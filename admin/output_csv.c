/* SPDX-License-Identifier: ISC */
#include "output_writer.h"

#include <stdlib.h>
#include <string.h>

#define REAL_DIGITS 12 /* as in JSON */

static void
field_text(FILE *file, const char *text, size_t len)
{
	bool quoted = memchr(text, '"', len) != NULL ||
	    memchr(text, ',', len) != NULL;

	if (quoted)
		putc('"', file);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		/* No control character reaches a terminal, and a row stays
		 * one line. */
		if (c < 0x20 || c == 0x7f) {
			fprintf(file, "\\x%02x", c);
			continue;
		}
		if (c == '"')
			putc('"', file);
		putc(c, file);
	}
	if (quoted)
		putc('"', file);
}

void
output_csv_field(FILE *file, const json_t *value)
{
	char *text;

	switch (value == NULL ? JSON_NULL : json_typeof(value)) {
	case JSON_NULL:
		return;
	case JSON_STRING:
		field_text(file, json_string_value(value),
		    json_string_length(value));
		return;
	default:
		text = json_dumps(value,
		    JSON_COMPACT | JSON_ENCODE_ANY |
			JSON_REAL_PRECISION(REAL_DIGITS));
		if (text != NULL)
			field_text(file, text, strlen(text));
		free(text);
	}
}

static void
csv_start(struct output *out)
{
	for (size_t i = 0; out->choice.columns[i] != NULL; i++)
		printf("%s%s", i == 0 ? "" : ",", out->choice.columns[i]->key);
	printf("\r\n");
}

static void
csv_row(struct output *out, json_t *row)
{
	json_t *value;

	for (size_t i = 0; out->choice.columns[i] != NULL; i++) {
		value = output_columns_value(out->choice.columns[i], row);
		if (i > 0)
			putchar(',');
		output_csv_field(stdout, value);
		json_decref(value);
	}
	printf("\r\n");
}

static void
csv_end(struct output *out)
{
	(void)out;
}

static void
csv_object(struct output *out, json_t *object)
{
	csv_start(out);
	csv_row(out, object);
}

static bool
csv_whole(struct output *out, json_t *value)
{
	(void)out;
	(void)value;
	return false;
}

static void
csv_no_text(struct output *out, const char *text)
{
	(void)out;
	(void)text;
}

const struct output_writer output_csv_writer = {
	.start = csv_start,
	.row = csv_row,
	.end = csv_end,
	.object = csv_object,
	.whole = csv_whole,
	.text = csv_no_text,
};
