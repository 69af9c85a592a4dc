/* SPDX-License-Identifier: ISC */
#include "output.h"
#include "output_writer.h"

#include <langinfo.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ROWS_AHEAD 256 /* that widths are taken from */
#define GAP 2	       /* columns between columns */
#define WIDTH_MIN 8    /* of a column that shrinks, ... */
#define WIDTH_EASY 28  /* ... and before other columns go for it */
#define NOTE_INDENT 4

/* What stands for text that is left out. */
static const char *
dots(size_t *width)
{
	bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;

	*width = utf8 ? 1 : 2;
	return utf8 ? "\xe2\x80\xa6" : "..";
}

/* The end that an address keeps: ":22", "]:22". NULL: it is none. */
static const char *
address_tail(const char *text, size_t width)
{
	const char *port = strrchr(text, ':');

	if (port == NULL || strncmp(text, "unix:", 5) == 0)
		return NULL;
	if (port > text && port[-1] == ']' && strlen(port) + 4 < width)
		port--;
	return strlen(port) + 3 <= width ? port : NULL;
}

/*
 * Prints text, which is ASCII, in so many columns: a longer one without its
 * middle, since the end of a path tells as much as its beginning; an address
 * without the end of its host.
 */
static void
print_cell(const char *text, size_t width, bool address)
{
	size_t len = strlen(text), mark, tail;
	const char *dot = dots(&mark);
	const char *end = address ? address_tail(text, width) : NULL;

	if (len <= width || width <= mark) {
		printf("%.*s", (int)(len < width ? len : width), text);
		return;
	}
	tail = end != NULL ? strlen(end) : (width - mark) / 2;
	printf("%.*s%s%s", (int)(width - mark - tail), text, dot,
	    text + len - tail);
}

static bool
may_shrink(const struct output_column *column)
{
	return (column->flags & (OUTPUT_SHRINK | OUTPUT_ADDRESS)) != 0;
}

/* The text of a cell of column i; row NULL: its head. */
static void
cell_text(const struct output *out, size_t i, const json_t *row, char *buf)
{
	const struct output_column *column = out->choice.columns[i];

	if (row == NULL)
		output_columns_head(column, &out->settings, buf,
		    OUTPUT_CELL_SIZE);
	else
		output_columns_text(column, &out->settings, row, buf);
}

/* The sequence that begins a cell's colour; "": none. */
static const char *
cell_colour(const struct output *out, size_t i, const json_t *row,
    const char *text)
{
	if (!out->settings.colour)
		return "";
	if (row == NULL)
		return OUTPUT_BOLD;
	return (out->choice.columns[i]->flags & OUTPUT_KIND_MASK) ==
		OUTPUT_STATE ?
	    output_columns_colour(text) :
	    "";
}

/* One line of the table; row NULL prints the heads. */
static void
print_line(const struct output *out, const json_t *row)
{
	const struct output_column *column;
	char text[OUTPUT_CELL_SIZE];
	size_t owed = 0, len, width; /* spaces before the next cell */
	const char *colour;

	for (size_t i = 0; (column = out->choice.columns[i]) != NULL; i++) {
		width = out->widths[i];
		if (width == 0)
			continue;
		cell_text(out, i, row, text);
		len = strlen(text);
		/* What came after the widths were set may be wider; half an
		 * id would be the id of another session. */
		if (len > width &&
		    (out->width == SIZE_MAX || !may_shrink(column)))
			width = len;
		if (len > width)
			len = width;
		if ((column->flags & OUTPUT_RIGHT) != 0)
			owed += width - len;
		colour = cell_colour(out, i, row, text);
		printf("%*s%s", (int)owed, "", colour);
		print_cell(text, width, (column->flags & OUTPUT_ADDRESS) != 0);
		if (colour[0] != '\0')
			printf(OUTPUT_PLAIN);
		owed = GAP;
		if ((column->flags & OUTPUT_RIGHT) == 0)
			owed += width - len;
	}
	putchar('\n');
}

/* Words up to the end of the terminal, then the next line. */
static void
print_wrapped(const struct output *out, const char *text, int indent)
{
	size_t room = out->width, word, column = (size_t)indent;

	printf("%*s", indent, "");
	while (*text != '\0') {
		word = strcspn(text, " ");
		/* A name may be longer than a line. */
		if (word > room - NOTE_INDENT && room > 2 * NOTE_INDENT)
			word = room - NOTE_INDENT;
		if (column + word > room && column > (size_t)indent) {
			printf("\n%*s", NOTE_INDENT, "");
			column = NOTE_INDENT;
		}
		printf("%.*s", (int)word, text);
		column += word;
		text += word;
		if (*text == ' ') {
			text++;
			column++;
			/* Not at the end of a full line. */
			if (column + strcspn(text, " ") <= room)
				putchar(' ');
		}
	}
	putchar('\n');
}

static void
print_row(const struct output *out, const json_t *row)
{
	char note[OUTPUT_CELL_SIZE] = "";

	print_line(out, row);
	if (out->view->note != NULL && out->settings.columns == NULL)
		out->view->note(&out->settings, row, note, sizeof note);
	if (note[0] != '\0')
		print_wrapped(out, note, NOTE_INDENT);
}

static size_t
total_width(const struct output *out)
{
	size_t total = 0;

	for (size_t i = 0; out->choice.columns[i] != NULL; i++)
		if (out->widths[i] > 0)
			total += out->widths[i] + (total > 0 ? GAP : 0);
	return total;
}

/* The widest column that may shrink and has more than min; NULL: none. */
static size_t *
find_widest(struct output *out, size_t min)
{
	size_t *widest = NULL;

	for (size_t i = 0; out->choice.columns[i] != NULL; i++)
		if (may_shrink(out->choice.columns[i]) &&
		    out->widths[i] > min &&
		    (widest == NULL || out->widths[i] > *widest))
			widest = &out->widths[i];
	return widest;
}

/* The column that is missed least; NULL: none may go. A state may go only
 * where all are the same. */
static size_t *
find_least(struct output *out)
{
	int rank, lowest = 0;
	size_t *least = NULL;

	for (size_t i = 0; out->choice.columns[i] != NULL; i++) {
		rank = (out->choice.columns[i]->flags & OUTPUT_DROP(15)) >>
		    OUTPUT_DROP_SHIFT;
		if (rank == 0 || out->widths[i] == 0 || out->varies[i] ||
		    (least != NULL && rank >= lowest))
			continue;
		lowest = rank;
		least = &out->widths[i];
	}
	return least;
}

/* Where a column has gone, its room serves those that had become narrower. */
static void
give_back(struct output *out, const size_t *wanted)
{
	size_t total = total_width(out), spare;

	for (size_t i = 0; total < out->width && i < OUTPUT_COLUMNS_MAX; i++) {
		if (out->widths[i] == 0 || out->widths[i] >= wanted[i])
			continue;
		spare = out->width - total;
		if (spare > wanted[i] - out->widths[i])
			spare = wanted[i] - out->widths[i];
		out->widths[i] += spare;
		total += spare;
	}
}

/* Nobody named it: it is left out where nothing stands in it. */
static bool
is_rare(const struct output *out, size_t i)
{
	return out->settings.columns == NULL &&
	    (out->choice.columns[i]->flags & OUTPUT_RARE) != 0;
}

/* What column i needs, by the rows that wait. */
static void
measure(struct output *out, size_t i)
{
	bool is_state = (out->choice.columns[i]->flags & OUTPUT_KIND_MASK) ==
	    OUTPUT_STATE;
	char text[OUTPUT_CELL_SIZE], first[OUTPUT_CELL_SIZE];

	bool is_there = !is_rare(out, i);

	cell_text(out, i, NULL, text);
	out->widths[i] = strlen(text);
	for (size_t k = 0; k < json_array_size(out->ahead); k++) {
		cell_text(out, i, json_array_get(out->ahead, k), text);
		is_there = is_there || strcmp(text, "-") != 0;
		if (strlen(text) > out->widths[i])
			out->widths[i] = strlen(text);
		if (k == 0)
			snprintf(first, sizeof first, "%s", text);
		else if (is_state && strcmp(text, first) != 0)
			out->varies[i] = true;
	}
	if (!is_there)
		out->widths[i] = 0;
}

static void
set_widths(struct output *out)
{
	size_t *widest, wanted[OUTPUT_COLUMNS_MAX];

	memset(out->widths, 0, sizeof out->widths);
	memset(out->varies, 0, sizeof out->varies);
	for (size_t i = 0; out->choice.columns[i] != NULL; i++)
		measure(out, i);
	memcpy(wanted, out->widths, sizeof wanted);
	/* A little from the widest; then columns go, if nobody asked for
	 * them; then down to the least. */
	while (total_width(out) > out->width &&
	    (widest = find_widest(out, WIDTH_EASY)) != NULL)
		--*widest;
	while (out->settings.columns == NULL && total_width(out) > out->width &&
	    (widest = find_least(out)) != NULL)
		*widest = 0;
	give_back(out, wanted);
	while (total_width(out) > out->width &&
	    (widest = find_widest(out, WIDTH_MIN)) != NULL)
		--*widest;
}

static void
table_flow(struct output *out)
{
	set_widths(out);
	out->flowing = true;
	print_line(out, NULL);
	for (size_t i = 0; i < json_array_size(out->ahead); i++)
		print_row(out, json_array_get(out->ahead, i));
	json_array_clear(out->ahead);
}

static void
table_start(struct output *out)
{
	out->flowing = false;
	json_array_clear(out->ahead);
}

static void
table_row(struct output *out, json_t *row)
{
	if (out->flowing) {
		print_row(out, row);
		return;
	}
	json_array_append(out->ahead, row);
	if (json_array_size(out->ahead) >= ROWS_AHEAD)
		table_flow(out);
}

static void
table_end(struct output *out)
{
	if (out->n_rows == 0)
		printf("%s\n", out->view->empty);
	else if (!out->flowing)
		table_flow(out);
}

static void
table_object(struct output *out, json_t *object)
{
	char text[OUTPUT_CELL_SIZE];
	const char *colour;
	int width = 0, len;

	for (size_t i = 0; out->choice.columns[i] != NULL; i++) {
		cell_text(out, i, NULL, text);
		if ((int)strlen(text) > width && !is_rare(out, i))
			width = (int)strlen(text);
	}
	for (size_t i = 0; out->choice.columns[i] != NULL; i++) {
		cell_text(out, i, object, text);
		if (is_rare(out, i) && strcmp(text, "-") == 0)
			continue;
		cell_text(out, i, NULL, text);
		len = (int)strlen(text);
		colour = cell_colour(out, i, NULL, text);
		printf("%s%s%s%*s  ", colour, text,
		    colour[0] != '\0' ? OUTPUT_PLAIN : "", width - len, "");
		cell_text(out, i, object, text);
		colour = cell_colour(out, i, object, text);
		printf("%s%s%s\n", colour, text,
		    colour[0] != '\0' ? OUTPUT_PLAIN : "");
	}
}

static bool
table_whole(struct output *out, json_t *value)
{
	(void)out;
	(void)value;
	return false;
}

static void
table_text(struct output *out, const char *text)
{
	print_wrapped(out, text, 0);
}

const struct output_writer output_table_writer = {
	.start = table_start,
	.row = table_row,
	.end = table_end,
	.object = table_object,
	.whole = table_whole,
	.text = table_text,
};
