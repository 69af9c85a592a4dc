/* SPDX-License-Identifier: ISC */
#include "watch_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Readings that follow each other sooner say nothing about a rate. */
#define RATE_AFTER 0.1

void
watch_list_init(struct watch_list *list, const struct watch_column *columns,
    int sort)
{
	memset(list, 0, sizeof *list);
	list->columns = columns;
	list->sort = sort;
}

static void
row_free(const struct watch_list *list, struct watch_row *row)
{
	for (int i = 0; i < WATCH_COLUMNS; i++)
		if (list->columns[i].kind == WATCH_TEXT)
			free(row->cells[i].text);
	free(row->key);
	free(row);
}

void
watch_list_clear(struct watch_list *list)
{
	struct watch_row *row, *next;

	HASH_ITER(hh, list->rows, row, next) {
		HASH_DEL(list->rows, row);
		row_free(list, row);
	}
	free(list->view);
	list->view = NULL;
	list->n = list->size = 0;
	list->held = NULL;
}

/* --- Readings ------------------------------------------------------------ */

static struct watch_row *
row_new(const struct watch_list *list, const char *key)
{
	struct watch_row *row = calloc(1, sizeof *row);
	bool whole = row != NULL;

	if (row == NULL)
		return NULL;
	row->counted_at = NAN;
	row->key = strdup(key);
	if (row->key == NULL)
		whole = false;
	for (int i = 0; i < WATCH_COLUMNS; i++) {
		if (list->columns[i].kind != WATCH_TEXT) {
			row->cells[i].number = NAN;
			continue;
		}
		row->cells[i].text = strdup("");
		if (row->cells[i].text == NULL)
			whole = false;
	}
	if (whole)
		return row;
	row_free(list, row);
	return NULL;
}

void
watch_list_begin(struct watch_list *list)
{
	list->reading++;
}

struct watch_row *
watch_list_take(struct watch_list *list, const char *key)
{
	struct watch_row *row;

	HASH_FIND_STR(list->rows, key, row);
	if (row != NULL && row->reading == list->reading)
		return NULL;
	if (row == NULL) {
		row = row_new(list, key);
		if (row == NULL)
			return NULL;
		HASH_ADD_KEYPTR(hh, list->rows, row->key, strlen(row->key),
		    row);
		if (row->hh.tbl == NULL) {
			row_free(list, row);
			return NULL;
		}
	}
	row->reading = list->reading;
	return row;
}

void
watch_row_set(struct watch_row *row, int column, const char *text)
{
	char **cell = &row->cells[column].text;
	char *copy;

	if (strcmp(*cell, text) == 0)
		return;
	copy = strdup(text);
	if (copy == NULL) {
		(*cell)[0] = '\0';
		return;
	}
	free(*cell);
	*cell = copy;
}

void
watch_row_count(struct watch_row *row, double up, double down, double now)
{
	union watch_cell *c = row->cells;
	double past = now - row->counted_at;

	/* No comparison with NAN is true. */
	if (past < RATE_AFTER)
		return;
	c[WATCH_UP_RATE].number = up >= c[WATCH_UP].number ?
	    (up - c[WATCH_UP].number) / past :
	    NAN;
	c[WATCH_DOWN_RATE].number = down >= c[WATCH_DOWN].number ?
	    (down - c[WATCH_DOWN].number) / past :
	    NAN;
	c[WATCH_UP].number = up;
	c[WATCH_DOWN].number = down;
	row->counted_at = now;
}

void
watch_list_forget(struct watch_list *list)
{
	struct watch_row *row, *next;

	HASH_ITER(hh, list->rows, row, next) {
		row->cells[WATCH_UP_RATE].number = NAN;
		row->cells[WATCH_DOWN_RATE].number = NAN;
		row->counted_at = NAN;
	}
}

/* --- Order and filter ------------------------------------------------------ */

static bool
passes(const struct watch_list *list, const struct watch_row *row)
{
	if (list->filter[0] == '\0')
		return true;
	for (int i = 0; i < WATCH_COLUMNS; i++)
		if (list->columns[i].searched &&
		    strcasestr(row->cells[i].text, list->filter) != NULL)
			return true;
	return false;
}

/* Unknown numbers come last, whichever way round. */
static int
compare_cells(const struct watch_list *list, int column, bool descends,
    const struct watch_row *const rows[2])
{
	const union watch_cell *a = &rows[0]->cells[column];
	const union watch_cell *b = &rows[1]->cells[column];
	int result;

	if (list->columns[column].kind == WATCH_TEXT) {
		result = strcmp(a->text, b->text);
	} else if (isnan(a->number) || isnan(b->number)) {
		return isnan(a->number) - isnan(b->number);
	} else {
		result = (a->number > b->number) - (a->number < b->number);
	}
	return descends ? -result : result;
}

static int
compare_rows(const void *a, const void *b, void *arg)
{
	const struct watch_row *const rows[2] = {
		*(struct watch_row *const *)a,
		*(struct watch_row *const *)b,
	};
	const struct watch_list *list = arg;
	bool descends = list->columns[list->sort].descends != list->reversed;
	int result = compare_cells(list, list->sort, descends, rows);

	/* Equal rows do not change places from one reading to the next. */
	return result != 0 ? result : compare_cells(list, 0, false, rows);
}

static int
make_room(struct watch_list *list)
{
	size_t size = HASH_COUNT(list->rows);
	struct watch_row **view;

	if (size <= list->size)
		return 0;
	size += size / 4;
	view = realloc(list->view, size * sizeof(*view));
	if (view == NULL)
		return -1;
	list->view = view;
	list->size = size;
	return 0;
}

/* The cursor's row is not there any more: the next one is held instead. */
static void
stay(struct watch_list *list, size_t cursor)
{
	size_t last = list->n == 0 ? 0 : list->n - 1;

	list->cursor = cursor < last ? cursor : last;
	list->held = watch_list_selected(list);
}

/* The cursor is where the held row is now, if it can be seen. */
static void
follow(struct watch_list *list)
{
	size_t i = 0;

	if (list->held == NULL) {
		list->cursor = 0;
		return;
	}
	while (i < list->n && list->view[i] != list->held)
		i++;
	if (i < list->n)
		list->cursor = i;
	else
		stay(list, list->cursor);
}

static void
arrange(struct watch_list *list)
{
	struct watch_row *row, *next;

	list->n = 0;
	if (make_room(list) != 0) {
		list->held = NULL;
		list->cursor = 0;
		list->top = 0;
		return;
	}
	HASH_ITER(hh, list->rows, row, next)
		if (passes(list, row))
			list->view[list->n++] = row;
	if (list->n > 1)
		qsort_r(list->view, list->n, sizeof(*list->view), compare_rows,
		    list);
	follow(list);
	watch_list_show(list, list->height);
}

void
watch_list_finish(struct watch_list *list)
{
	struct watch_row *row, *next;
	size_t cursor = list->cursor;
	bool lost = false;

	HASH_ITER(hh, list->rows, row, next) {
		if (row->reading == list->reading)
			continue;
		if (row == list->held) {
			list->held = NULL;
			lost = true;
		}
		HASH_DEL(list->rows, row);
		row_free(list, row);
	}
	arrange(list);
	if (lost) {
		stay(list, cursor);
		watch_list_show(list, list->height);
	}
}

void
watch_list_sort(struct watch_list *list, int column)
{
	list->sort = column;
	list->reversed = false;
	arrange(list);
}

void
watch_list_reverse(struct watch_list *list)
{
	list->reversed = !list->reversed;
	arrange(list);
}

void
watch_list_filter(struct watch_list *list, const char *text)
{
	strncpy(list->filter, text, sizeof list->filter - 1);
	list->filter[sizeof list->filter - 1] = '\0';
	arrange(list);
}

/* --- The cursor -------------------------------------------------------------- */

const struct watch_row *
watch_list_selected(const struct watch_list *list)
{
	return list->cursor < list->n ? list->view[list->cursor] : NULL;
}

void
watch_list_move(struct watch_list *list, long by)
{
	size_t last = list->n == 0 ? 0 : list->n - 1;

	if (by < 0)
		list->cursor -= (size_t)-by < list->cursor ? (size_t)-by :
							     list->cursor;
	else
		list->cursor += (size_t)by < last - list->cursor ?
		    (size_t)by :
		    last - list->cursor;
	list->held = watch_list_selected(list);
	watch_list_show(list, list->height);
}

void
watch_list_home(struct watch_list *list)
{
	list->cursor = 0;
	list->held = NULL;
	watch_list_show(list, list->height);
}

void
watch_list_end(struct watch_list *list)
{
	list->cursor = list->n == 0 ? 0 : list->n - 1;
	list->held = watch_list_selected(list);
	watch_list_show(list, list->height);
}

void
watch_list_show(struct watch_list *list, size_t height)
{
	list->height = height;
	if (list->cursor < list->top)
		list->top = list->cursor;
	if (height > 0 && list->cursor - list->top >= height)
		list->top = list->cursor - height + 1;
	/* No empty lines while there are rows for them. */
	if (list->top > 0 && list->n - list->top < height)
		list->top = list->n > height ? list->n - height : 0;
}
