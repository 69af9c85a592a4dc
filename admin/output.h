/* SPDX-License-Identifier: ISC */
/*
 * output: what a command shows, in the format that was asked for: a table for
 * people or JSON for programs, behind one interface. A command says what it
 * has, never how it looks.
 *
 * Lists: start, a row at a time, end. Single objects: object. Words for
 * people alone: text. A view names the members of an object, with their heads
 * and how each is written; JSON shows all of them and needs none.
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

enum output_format { OUTPUT_TABLE, OUTPUT_JSON };

/* Writes what a row has to say to buf, of OUTPUT_CELL_SIZE bytes. */
typedef void output_text_fn(const json_t *row, char *buf, size_t size);

enum {
	OUTPUT_RIGHT = 1,   /* numbers */
	OUTPUT_SHRINK = 2,  /* may lose its middle where room is short */
	OUTPUT_ADDRESS = 4, /* loses of its host then, never of its port */
	OUTPUT_DROP_SHIFT = 4
};

/* Left out where room is short, lower ranks (1 to 15) first. */
#define OUTPUT_DROP(rank) ((rank) << OUTPUT_DROP_SHIFT)

struct output_column {
	const char *head;
	const char *key;      /* the member, unless text is there */
	output_text_fn *text; /* or NULL: format_value */
	int flags;
};

struct output_view {
	const struct output_column *columns; /* ends at head NULL */
	const char *empty;    /* instead of a table without rows */
	output_text_fn *note; /* goes below the row unless it is ""; or NULL */
};

struct output;

/* Writes to stdout. NULL out of memory. */
struct output *output_new(enum output_format format);

/* Writes out what is left. -1 if stdout failed and it is worth saying, with
 * errno set: not for a pipe that its reader closed. Frees. */
int output_finish(struct output *out);

bool output_broken(const struct output *out);

void output_start(struct output *out, const struct output_view *view);
void output_row(struct output *out, json_t *row);
void output_end(struct output *out);

/* A line for each column: head and text. JSON: the whole object. */
void output_object(struct output *out, const struct output_view *view,
    json_t *object);

/* JSON: the whole value, and true. Otherwise false: show it in parts. */
bool output_whole(struct output *out, json_t *value);

/* One line, broken between words where the terminal ends. JSON: nothing. */
void output_text(struct output *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
