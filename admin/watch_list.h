/* SPDX-License-Identifier: ISC */
/*
 * watch_list: rows of cells that are read again and again, and how somebody
 * looks at them: rates from two readings, order, filter, selection and the
 * part that is on the screen. Pure: draws nothing, asks nobody, reads no
 * clock.
 *
 * A reading is begin, take for each row, finish. Rows that were not taken go
 * at finish and not before, so that what is on the screen is always there.
 */
#ifndef TUNNELCTL_WATCH_LIST_H
#define TUNNELCTL_WATCH_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include <uthash.h>

#define WATCH_COLUMNS 11
#define WATCH_FILTER_SIZE 64

enum { /* the same in each list */
	WATCH_UP_RATE = 6,
	WATCH_DOWN_RATE,
	WATCH_UP,
	WATCH_DOWN
};

enum watch_kind { /* all but texts are numbers, NAN if unknown */
	WATCH_TEXT,
	WATCH_COUNT,
	WATCH_BYTES,
	WATCH_RATE, /* bytes per second */
	WATCH_SECONDS
};

struct watch_column {
	const char *title;
	enum watch_kind kind;
	int min;       /* a text is cut to that where room is short */
	int rank;      /* the higher, the sooner it is left out */
	bool searched; /* by the filter */
	bool descends; /* the largest first, unless reversed */
};

union watch_cell {
	char *text; /* never NULL once the row is in a list */
	double number;
};

struct watch_row {
	char *key; /* what makes it the same row in the next reading */
	union watch_cell cells[WATCH_COLUMNS];
	double counted_at; /* when its counters were read; NAN: never */
	unsigned reading;  /* the last it was in */
	UT_hash_handle hh;
};

struct watch_list {
	const struct watch_column *columns; /* WATCH_COLUMNS of them */
	struct watch_row *rows;		    /* uthash */
	unsigned reading;
	int sort; /* index of a column */
	bool reversed;
	char filter[WATCH_FILTER_SIZE]; /* "": all */
	/* What the filter lets through, in order. */
	struct watch_row **view;
	size_t n, size;
	size_t cursor; /* the selected row's place in view */
	/* The cursor stays with this row wherever it goes. NULL: it stays at
	 * the top, whatever comes there. */
	const struct watch_row *held;
	size_t top, height; /* the part on the screen */
};

void watch_list_init(struct watch_list *list,
    const struct watch_column *columns, int sort);
void watch_list_clear(struct watch_list *list);

void watch_list_begin(struct watch_list *list);
/* The row with that key, an old one or a new one with nothing in it. NULL if
 * it was in this reading already, or out of memory. */
struct watch_row *watch_list_take(struct watch_list *list, const char *key);
void watch_list_finish(struct watch_list *list);

/* Copies text; one that cannot be copied is "". */
void watch_row_set(struct watch_row *row, int column, const char *text);
/* Sets the four columns of bytes. now is in seconds, of any clock that only
 * goes forward. */
void watch_row_count(struct watch_row *row, double up, double down, double now);
/* The next counters are the first: they may be those of another daemon. */
void watch_list_forget(struct watch_list *list);

void watch_list_sort(struct watch_list *list, int column);
void watch_list_reverse(struct watch_list *list);
void watch_list_filter(struct watch_list *list, const char *text);

/* NULL if there is none. */
const struct watch_row *watch_list_selected(const struct watch_list *list);
void watch_list_move(struct watch_list *list, long by);
void watch_list_home(struct watch_list *list);
void watch_list_end(struct watch_list *list);
/* So many rows are on the screen: moves top so that the cursor is there. */
void watch_list_show(struct watch_list *list, size_t height);

#endif
