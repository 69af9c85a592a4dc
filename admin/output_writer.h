/* SPDX-License-Identifier: ISC */
/*
 * output_writer: the inside of output: what a format brings, and what it is
 * given; and what formats share: choice of columns, and a column's text. For
 * output*.c and their tests alone.
 */
#ifndef TUNNELCTL_OUTPUT_WRITER_H
#define TUNNELCTL_OUTPUT_WRITER_H

#include <stdio.h>

#include "output.h"

#define OUTPUT_COLUMNS_MAX 48

/* How a format does what output.h promises. */
struct output_writer {
	void (*start)(struct output *out);
	void (*row)(struct output *out, json_t *row);
	void (*end)(struct output *out);
	void (*object)(struct output *out, json_t *object);
	bool (*whole)(struct output *out, json_t *value);
	void (*text)(struct output *out, const char *text);
};

/* Columns in the order they are shown; ends at NULL. */
struct output_choice {
	const struct output_column *columns[OUTPUT_COLUMNS_MAX + 1];
};

struct output {
	const struct output_writer *writer;
	struct output_settings settings;
	int error;    /* errno of stdout's first failure */
	size_t width; /* of the terminal; SIZE_MAX: not one */
	/* Of the list or object being written. */
	const struct output_view *view;
	struct output_choice choice;
	size_t n_rows;
	/* Table: the first rows wait here until the widths are known. */
	json_t *ahead;
	bool flowing;			   /* they are */
	size_t widths[OUTPUT_COLUMNS_MAX]; /* 0: left out */
	bool varies[OUTPUT_COLUMNS_MAX];   /* states that are not all one */
};

extern const struct output_writer output_table_writer;
extern const struct output_writer output_json_writer;
extern const struct output_writer output_csv_writer;

/* --- output_columns.c ---------------------------------------------------- */

/* The columns that settings ask for of a view. 0, or -1 with the reason in
 * error; choice is as if none were named then. */
int output_columns_choose(struct output_choice *choice,
    const struct output_settings *settings, const struct output_view *view,
    char *error, size_t error_size);

/* What a column has to say: to programs, a new reference, never NULL unless
 * out of memory; and to people, into a buffer of OUTPUT_CELL_SIZE. */
json_t *output_columns_value(const struct output_column *column,
    const json_t *row);
void output_columns_text(const struct output_column *column,
    const struct output_settings *settings, const json_t *row, char *buf);

/* The head as people see it, which --utc may change. */
void output_columns_head(const struct output_column *column,
    const struct output_settings *settings, char *buf, size_t size);

/* The escape sequence that begins the colour of a state, "" if it has none. */
const char *output_columns_colour(const char *state);
#define OUTPUT_BOLD "\033[1m"
#define OUTPUT_PLAIN "\033[0m"

/* --- output_csv.c -------------------------------------------------------- */

/* A field as RFC 4180 wants it, quoted where it must be. */
void output_csv_field(FILE *file, const json_t *value);

#endif
