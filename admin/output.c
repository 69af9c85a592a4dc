/* SPDX-License-Identifier: ISC */
#include "output.h"
#include "output_writer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void
check_stdout(struct output *out)
{
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && out->error == 0)
		out->error = errno != 0 ? errno : EIO;
}

/* As many as make a duration exact to the millisecond for thirty years. */
#define REAL_DIGITS 12

/* --- JSON --------------------------------------------------------------- */

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
	print_json(row, 2);
}

static void
json_end(struct output *out)
{
	printf(out->n_rows == 0 ? "]\n" : "\n]\n");
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
json_object_whole(struct output *out, const struct output_view *view,
    json_t *object)
{
	(void)view;
	json_whole(out, object);
}

static void
json_no_text(struct output *out, const char *text)
{
	(void)out;
	(void)text;
}

static const struct output_writer json_writer = {
	.start = json_start,
	.row = json_row,
	.end = json_end,
	.object = json_object_whole,
	.whole = json_whole,
	.text = json_no_text,
};

/* --- The interface ------------------------------------------------------ */

static size_t
terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long n;

	if (!isatty(STDOUT_FILENO))
		return SIZE_MAX;
	n = columns == NULL ? 0 : strtol(columns, NULL, 10);
	if (n > 0)
		return (size_t)n;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 80;
}

struct output *
output_new(enum output_format format)
{
	struct output *out = calloc(1, sizeof *out);

	if (out == NULL)
		return NULL;
	out->writer = format == OUTPUT_JSON ? &json_writer :
					      &output_table_writer;
	out->width = terminal_width();
	out->ahead = json_array();
	if (out->ahead == NULL) {
		free(out);
		return NULL;
	}
	return out;
}

int
output_finish(struct output *out)
{
	int error;

	check_stdout(out);
	error = out->error;
	json_decref(out->ahead);
	free(out);
	errno = error;
	return error == 0 || error == EPIPE ? 0 : -1;
}

bool
output_broken(const struct output *out)
{
	return out->error != 0;
}

void
output_start(struct output *out, const struct output_view *view)
{
	out->view = view;
	out->n_rows = 0;
	out->writer->start(out);
}

void
output_row(struct output *out, json_t *row)
{
	if (out->error != 0)
		return;
	out->writer->row(out, row);
	out->n_rows++;
	if (ferror(stdout))
		check_stdout(out);
}

void
output_end(struct output *out)
{
	out->writer->end(out);
	check_stdout(out);
}

void
output_object(struct output *out, const struct output_view *view,
    json_t *object)
{
	out->writer->object(out, view, object);
	check_stdout(out);
}

bool
output_whole(struct output *out, json_t *value)
{
	return out->writer->whole(out, value);
}

void
output_text(struct output *out, const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	out->writer->text(out, text);
}
