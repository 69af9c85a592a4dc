/* SPDX-License-Identifier: ISC */
#include "output_writer.h"

#include <stdlib.h>

/* As many as make a duration exact to the millisecond for thirty years. */
#define REAL_DIGITS 12

/* Pretty, each line but the first indented; strings hold no raw newline. */
static void
print_json(const json_t *value, int indent)
{
	char *text = json_dumps(value,
	    JSON_INDENT(2) | JSON_ENCODE_ANY |
		JSON_REAL_PRECISION(REAL_DIGITS));

	for (const char *c = text; c != NULL && *c != '\0'; c++) {
		putchar(*c);
		if (*c == '\n')
			printf("%*s", indent, "");
	}
	free(text);
}

/* With --columns only those; a member is always as the daemon said it. */
static void
print_row(const struct output *out, const json_t *row, int indent)
{
	const struct output_column *column;
	json_t *part, *member;

	if (out->settings.columns == NULL) {
		print_json(row, indent);
		return;
	}
	part = json_object();
	for (size_t i = 0; (column = out->choice.columns[i]) != NULL; i++) {
		member = json_object_get(row, column->key);
		json_object_set_new(part, column->key,
		    member != NULL ? json_incref(member) :
				     output_columns_value(column, row));
	}
	print_json(part, indent);
	json_decref(part);
}

static void
json_start(struct output *out)
{
	(void)out;
	putchar('[');
}

static void
json_row(struct output *out, json_t *row)
{
	printf(out->n_rows == 0 ? "\n  " : ",\n  ");
	print_row(out, row, 2);
}

static void
json_end(struct output *out)
{
	printf(out->n_rows == 0 ? "]\n" : "\n]\n");
}

static void
json_one(struct output *out, json_t *object)
{
	print_row(out, object, 0);
	putchar('\n');
}

static bool
json_whole(struct output *out, json_t *value)
{
	(void)out;
	print_json(value, 0);
	putchar('\n');
	return true;
}

static void
json_no_text(struct output *out, const char *text)
{
	(void)out;
	(void)text;
}

const struct output_writer output_json_writer = {
	.start = json_start,
	.row = json_row,
	.end = json_end,
	.object = json_one,
	.whole = json_whole,
	.text = json_no_text,
};
