/* SPDX-License-Identifier: ISC */
/*
 * output: what a command shows, in the format that was asked for: a table for
 * people, or JSON or CSV for programs, behind one interface. A command says
 * what it has, never how it looks.
 *
 * Lists: start, a row at a time, end. Single objects: object. Words for
 * people alone: text. A view names the columns: members of an object, and
 * what is made of them. Without --columns a table shows those that are not
 * OUTPUT_EXTRA, CSV all of them, and JSON the whole object.
 *
 * Never fails before output_finish: after an error of stdout everything is
 * dropped quietly, and output_broken says so.
 */
#ifndef TUNNELCTL_OUTPUT_H
#define TUNNELCTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define OUTPUT_CELL_SIZE 600

enum output_format { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_CSV };

struct output_settings {
	enum output_format format;
	const char *columns; /* names with commas between; NULL: as the view */
	bool bytes;	     /* exact numbers instead of 1.2M */
	bool utc;	     /* exact times in UTC instead of ages */
	bool colour;	     /* of a table */
};

enum {			       /* of a column */
	OUTPUT_RIGHT = 1,      /* numbers */
	OUTPUT_SHRINK = 2,     /* may lose its middle where room is short */
	OUTPUT_ADDRESS = 4,    /* loses of its host then, never of its port */
	OUTPUT_EXTRA = 8,      /* in a table only if --columns names it */
	OUTPUT_RARE = 1 << 12, /* in a table only if a row has it */
	OUTPUT_DROP_SHIFT = 4,
	/* What its value is, for people; the default is any text or number. */
	OUTPUT_KIND_SHIFT = 8,
	OUTPUT_BYTES = 1 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT,
	OUTPUT_RATE = 2 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT, /* bytes/s */
	OUTPUT_AGE = 3 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT,  /* of a time */
	OUTPUT_TIME = 4 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT, /* local clock */
	OUTPUT_DURATION = 5 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT,
	OUTPUT_MS = 6 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT,
	OUTPUT_PERCENT = 7 << OUTPUT_KIND_SHIFT | OUTPUT_RIGHT,
	OUTPUT_STATE = 8 << OUTPUT_KIND_SHIFT, /* coloured */
	OUTPUT_KIND_MASK = 15 << OUTPUT_KIND_SHIFT
};

/* Left out where room is short, lower ranks (1 to 15) first. */
#define OUTPUT_DROP(rank) ((rank) << OUTPUT_DROP_SHIFT)

/* Writes what a row has to say to people to buf, of OUTPUT_CELL_SIZE. */
typedef void output_text_fn(const struct output_settings *settings,
    const json_t *row, char *buf, size_t size);

/* What a made-up column has to say to programs, a new reference. */
typedef json_t *output_value_fn(const json_t *row);

struct output_column {
	const char *head; /* for people */
	const char *key;  /* its stable name: the member, or made up */
	int flags;
	output_text_fn *text;	/* for people; NULL: by its kind */
	output_value_fn *value; /* NULL: the member */
};

struct output_view {
	const struct output_column *columns; /* ends at head NULL */
	const char *empty;    /* instead of a table without rows */
	output_text_fn *note; /* goes below the row unless it is ""; or NULL */
};

struct output;

/* Writes to stdout. The settings are copied, but not the names of columns.
 * NULL out of memory. */
struct output *output_new(const struct output_settings *settings);

/* Writes out what is left. -1 if stdout failed and it is worth saying, with
 * errno set: not for a pipe that its reader closed. Frees. */
int output_finish(struct output *out);

/* Writes out what there is so far. 0, or -1 as output_broken. */
int output_flush(struct output *out);

bool output_broken(const struct output *out);
const struct output_settings *output_get_settings(const struct output *out);

/* Has the view all columns that were asked for? 0, or -1 and in error which
 * one it has not, and those it has. To be asked before anything is done. */
int output_check(const struct output *out, const struct output_view *view,
    char *error, size_t error_size);

void output_start(struct output *out, const struct output_view *view);
void output_row(struct output *out, json_t *row);
void output_end(struct output *out);

/* A line for each column: head and text. JSON: the object. CSV: one row. */
void output_object(struct output *out, const struct output_view *view,
    json_t *object);

/* JSON: the whole value, and true. Otherwise false: show it in parts. */
bool output_whole(struct output *out, json_t *value);

/* One line, broken between words where the terminal ends. JSON and CSV:
 * nothing. */
void output_text(struct output *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
