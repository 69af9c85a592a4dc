/* SPDX-License-Identifier: ISC */
#include "watch_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 64 /* columns of a text, however long */
#define COMFORT 21  /* an IPv4 address and its port */
#define SPARE 8	    /* columns of this rank give way to that comfort */
#define DAY 86400.0

char *
watch_layout_number(enum watch_kind kind, double n, bool exact, char *buf)
{
	json_t *value;

	if (isnan(n)) {
		snprintf(buf, FORMAT_SIZE, "-");
	} else if (kind == WATCH_COUNT || (exact && kind != WATCH_SECONDS)) {
		/* No counter is longer; what somebody makes up is. */
		snprintf(buf, FORMAT_SIZE, "%.0f", fmin(fmax(n, -1e19), 1e19));
	} else if (kind == WATCH_SECONDS) {
		format_seconds(n, buf, FORMAT_SIZE);
	} else {
		value = json_real(n);
		format_bytes(value, buf, FORMAT_SIZE);
		json_decref(value);
	}
	return buf;
}

static int
text_width(const struct watch_list *list, int column)
{
	size_t width = 0, len;

	for (size_t i = 0; i < list->n; i++) {
		len = strlen(list->view[i]->cells[column].text);
		if (len > width)
			width = len;
	}
	return width < TEXT_MAX ? (int)width : TEXT_MAX;
}

static int
number_width(const struct watch_list *list, int column, bool exact)
{
	enum watch_kind kind = list->columns[column].kind;
	char text[FORMAT_SIZE];
	double largest = 0, n;

	for (size_t i = 0; i < list->n; i++) {
		n = list->view[i]->cells[column].number;
		if (n > largest)
			largest = n;
	}
	if (kind == WATCH_SECONDS) /* 59m59s, 99d23h; 36500d23h */
		return largest < 100 * DAY ? 6 : 9;
	if (kind != WATCH_COUNT && !exact) /* 1.2K, 999M */
		return 4;
	return (int)strlen(watch_layout_number(kind, largest, exact, text));
}

/* What a column takes if nothing is cut, over all rows: scrolling must not
 * move it. */
static int
natural_width(const struct watch_list *list, int column, bool exact)
{
	int title = (int)strlen(list->columns[column].title);
	int width = list->columns[column].kind == WATCH_TEXT ?
	    text_width(list, column) :
	    number_width(list, column, exact);

	return width > title ? width : title;
}

static int
total_width(const struct watch_layout *layout)
{
	int width = 1 - layout->gap;

	for (int i = 0; i < WATCH_COLUMNS; i++)
		if (layout->widths[i] > 0)
			width += layout->widths[i] + layout->gap;
	return width;
}

/* Leaves out columns, but none below that rank, until the rest fits. */
static void
drop_columns(struct watch_layout *layout, const struct watch_list *list,
    int width, int rank)
{
	const struct watch_column *columns = list->columns;
	int least;

	while (total_width(layout) > width) {
		least = 0;
		for (int i = 1; i < WATCH_COLUMNS; i++)
			if (layout->widths[i] > 0 && i != list->sort &&
			    (least == 0 ||
				columns[i].rank > columns[least].rank))
				least = i;
		if (least == 0 || columns[least].rank < rank)
			return;
		layout->widths[least] = 0;
	}
}

/* The room that is left goes to the texts, to the narrowest first. */
static void
widen_texts(struct watch_layout *layout, const struct watch_list *list,
    const int *natural, int room)
{
	int best;

	while (room-- > 0) {
		best = -1;
		for (int i = 0; i < WATCH_COLUMNS; i++)
			if (list->columns[i].kind == WATCH_TEXT &&
			    layout->widths[i] > 0 &&
			    layout->widths[i] < natural[i] &&
			    (best == -1 ||
				layout->widths[i] < layout->widths[best]))
				best = i;
		if (best == -1)
			return;
		layout->widths[best]++;
	}
}

static void
cut_texts(struct watch_layout *layout, const struct watch_list *list, int max)
{
	const struct watch_column *columns = list->columns;
	int width;

	for (int i = 0; i < WATCH_COLUMNS; i++) {
		width = max > columns[i].min ? max : columns[i].min;
		if (columns[i].kind == WATCH_TEXT && layout->widths[i] > width)
			layout->widths[i] = width;
	}
}

void
watch_layout_make(struct watch_layout *layout, const struct watch_list *list,
    int width, bool exact)
{
	int natural[WATCH_COLUMNS];

	layout->exact = exact;
	layout->gap = 2;
	for (int i = 0; i < WATCH_COLUMNS; i++)
		natural[i] = natural_width(list, i, exact);
	memcpy(layout->widths, natural, sizeof natural);
	if (total_width(layout) <= width)
		return;
	layout->gap = 1;
	cut_texts(layout, list, COMFORT);
	drop_columns(layout, list, width, SPARE);
	if (total_width(layout) > width)
		cut_texts(layout, list, 0);
	drop_columns(layout, list, width, 0);
	widen_texts(layout, list, natural, width - total_width(layout));
}

bool
watch_layout_has(const struct watch_list *list, int column, int width,
    bool exact)
{
	struct watch_list as_if = *list;
	struct watch_layout layout;

	as_if.sort = 0;
	watch_layout_make(&layout, &as_if, width, exact);
	return layout.widths[column] > 0;
}
