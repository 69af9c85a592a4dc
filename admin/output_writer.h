/* SPDX-License-Identifier: ISC */
/*
 * output_writer: the inside of output: what a format brings, and what it is
 * given. For output.c and the output_*.c of the formats alone.
 */
#ifndef TUNNELCTL_OUTPUT_WRITER_H
#define TUNNELCTL_OUTPUT_WRITER_H

#include "output.h"

#define OUTPUT_COLUMNS_MAX 16

/* How a format does what output.h promises. */
struct output_writer {
	void (*start)(struct output *out);
	void (*row)(struct output *out, json_t *row);
	void (*end)(struct output *out);
	void (*object)(struct output *out, const struct output_view *view,
	    json_t *object);
	bool (*whole)(struct output *out, json_t *value);
	void (*text)(struct output *out, const char *text);
};

struct output {
	const struct output_writer *writer;
	int error;    /* errno of stdout's first failure */
	size_t width; /* of the terminal; SIZE_MAX: not one */
	/* Of the list being written. */
	const struct output_view *view;
	size_t n_rows;
	/* Table: the first rows wait here until the widths are known. */
	json_t *ahead;
	bool flowing;			   /* they are */
	size_t widths[OUTPUT_COLUMNS_MAX]; /* 0: left out */
};

extern const struct output_writer output_table_writer;

#endif
