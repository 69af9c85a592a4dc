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
output_new(const struct output_settings *settings)
{
	static const struct output_writer *const writers[] = {
		[OUTPUT_TABLE] = &output_table_writer,
		[OUTPUT_JSON] = &output_json_writer,
		[OUTPUT_CSV] = &output_csv_writer,
	};
	struct output *out = calloc(1, sizeof *out);

	if (out == NULL)
		return NULL;
	out->settings = *settings;
	out->writer = writers[settings->format];
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

int
output_flush(struct output *out)
{
	check_stdout(out);
	return out->error == 0 ? 0 : -1;
}

bool
output_broken(const struct output *out)
{
	return out->error != 0;
}

const struct output_settings *
output_get_settings(const struct output *out)
{
	return &out->settings;
}

int
output_check(const struct output *out, const struct output_view *view,
    char *error, size_t error_size)
{
	struct output_choice choice;

	return output_columns_choose(&choice, &out->settings, view, error,
	    error_size);
}

static void
take_view(struct output *out, const struct output_view *view)
{
	char error[8]; /* output_check has said it */

	out->view = view;
	out->n_rows = 0;
	output_columns_choose(&out->choice, &out->settings, view, error,
	    sizeof error);
}

void
output_start(struct output *out, const struct output_view *view)
{
	take_view(out, view);
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
	take_view(out, view);
	out->writer->object(out, object);
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
