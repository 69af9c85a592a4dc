/* SPDX-License-Identifier: ISC */
#include "watch_screen.h"

#include <curses.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "watch_layout.h"
#include "watch_terminal.h"

#define LINE_SIZE 512	 /* of what is put together */
#define HEAD 2		 /* lines above the lists */
#define TITLES 2	 /* lines above the rows of each list */
#define SESSIONS_MIN 3	 /* rows of sessions, also if there are none */
#define BOTH_FROM 16	 /* lines, from which on both lists are there */
#define SMALLEST_LINES 6 /* less makes no picture */
#define SMALLEST_WIDTH 20

/* --- Text ---------------------------------------------------------------- */

static void
put(int y, int x, int width, const char *text)
{
	if (y < LINES && x < COLS && width > 0)
		mvaddnstr(y, x, text, width < COLS - x ? width : COLS - x);
}

/* Pieces of a line; those that do not fit are left out. */
struct pieces {
	char text[LINE_SIZE];
	size_t len, room;
};

static void __attribute__((format(printf, 2, 3)))
add_piece(struct pieces *line, const char *fmt, ...)
{
	char piece[LINE_SIZE];
	size_t gap = line->len > 0 ? 2 : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(piece, sizeof piece, fmt, ap);
	va_end(ap);
	if (n <= 0 || line->len + gap + (size_t)n > line->room ||
	    line->len + gap + (size_t)n >= sizeof line->text)
		return;
	snprintf(line->text + line->len, sizeof line->text - line->len, "%*s%s",
	    (int)gap, "", piece);
	line->len += gap + (size_t)n;
}

/* --- Lists ------------------------------------------------------------------- */

static attr_t
state_colour(const struct watch_column *column, const char *text)
{
	if (strcmp(column->title, "STATE") != 0)
		return 0;
	if (strcmp(text, "up") == 0 || strcmp(text, "open") == 0)
		return COLOR_PAIR(WATCH_GOOD);
	if (strcmp(text, "down") == 0 || strcmp(text, "disabled") == 0)
		return COLOR_PAIR(WATCH_BAD);
	return COLOR_PAIR(WATCH_WAITING);
}

static void
draw_cell(int y, int x, int width, const char *text)
{
	put(y, x, width, text);
	if (strlen(text) > (size_t)width)
		put(y, x + width - 1, 1, "~");
}

static void
draw_row(int y, const struct watch_list *list,
    const struct watch_layout *layout, const struct watch_row *row)
{
	char number[FORMAT_SIZE];
	int x = 1, width, len;
	attr_t colour;

	for (int i = 0; i < WATCH_COLUMNS; i++) {
		const struct watch_column *column = &list->columns[i];

		width = layout->widths[i];
		if (width == 0)
			continue;
		if (column->kind == WATCH_TEXT) {
			colour = state_colour(column, row->cells[i].text);
			attron(colour);
			draw_cell(y, x, width, row->cells[i].text);
			attroff(colour);
		} else {
			watch_layout_number(column->kind, row->cells[i].number,
			    layout->exact, number);
			len = (int)strlen(number);
			draw_cell(y, len < width ? x + width - len : x,
			    len < width ? len : width, number);
		}
		x += width + layout->gap;
	}
}

static void
draw_heads(int y, const struct watch_list *list,
    const struct watch_layout *layout)
{
	int x = 1, width, len;

	for (int i = 0; i < WATCH_COLUMNS; i++) {
		const char *title = list->columns[i].title;

		width = layout->widths[i];
		if (width == 0)
			continue;
		len = (int)strlen(title);
		if (list->columns[i].kind == WATCH_TEXT || len > width)
			len = width;
		attrset(i == list->sort ? A_BOLD | A_UNDERLINE : A_BOLD);
		put(y, x + width - len, len, title);
		x += width + layout->gap;
	}
	attrset(A_NORMAL);
}

static void
draw_title(int y, const struct watch_picture *picture, enum watch_pane pane)
{
	const struct watch_list *list = &picture->model->lists[pane];
	struct pieces line = { .room = COLS > 1 ? (size_t)COLS - 1 : 0 };
	size_t last = list->top + list->height;

	add_piece(&line, "%s %zu",
	    pane == WATCH_TUNNELS ? "Tunnels" : "Sessions", list->n);
	if (list->filter[0] != '\0') {
		add_piece(&line, "of %u", HASH_COUNT(list->rows));
		add_piece(&line, "filter: %s", list->filter);
	}
	add_piece(&line, "by %s%s", list->columns[list->sort].title,
	    list->reversed ? " reversed" : "");
	if (list->height < list->n)
		add_piece(&line, "%zu-%zu", list->top + 1,
		    last < list->n ? last : list->n);
	attrset(pane == picture->focus ? A_REVERSE | A_BOLD : A_REVERSE);
	mvhline(y, 0, ' ', COLS);
	put(y, 1, COLS - 1, line.text);
	attrset(A_NORMAL);
}

static void
draw_list(int y, const struct watch_picture *picture, enum watch_pane pane,
    int height)
{
	struct watch_list *list = &picture->model->lists[pane];
	bool focused = pane == picture->focus, selected;
	struct watch_layout layout;

	watch_list_show(list, (size_t)height);
	draw_title(y, picture, pane);
	watch_layout_make(&layout, list, COLS, picture->exact);
	draw_heads(y + 1, list, &layout);
	y += TITLES;
	for (size_t i = list->top; i < list->n && height-- > 0; i++, y++) {
		selected = focused && i == list->cursor;
		/* The mark is for those who see no attributes. */
		if (selected)
			put(y, 0, 1, ">");
		draw_row(y, list, &layout, list->view[i]);
		if (selected)
			mvchgat(y, 0, -1, A_REVERSE, 0, NULL);
	}
}

/* Rows for the tunnels out of those for both: a third, or half while they
 * have the focus, and what the sessions do not need. */
static int
share(const struct watch_picture *picture, int rows)
{
	size_t n = picture->model->lists[WATCH_TUNNELS].n;
	size_t others = picture->model->lists[WATCH_SESSIONS].n;
	size_t tunnels = (size_t)rows /
	    (picture->focus == WATCH_TUNNELS ? 2 : 3);

	if (others < SESSIONS_MIN)
		others = SESSIONS_MIN;
	if (others < (size_t)rows && (size_t)rows - others > tunnels)
		tunnels = (size_t)rows - others;
	if (n < tunnels)
		tunnels = n;
	return tunnels > 1 ? (int)tunnels : 1;
}

static void
draw_lists(const struct watch_picture *picture)
{
	int rows = LINES - HEAD - 1, tunnels;

	if (LINES < BOTH_FROM) {
		draw_list(HEAD, picture, picture->focus, rows - TITLES);
		return;
	}
	rows -= 2 * TITLES;
	tunnels = share(picture, rows);
	draw_list(HEAD, picture, WATCH_TUNNELS, tunnels);
	draw_list(HEAD + TITLES + tunnels, picture, WATCH_SESSIONS,
	    rows - tunnels);
}

/* --- Above and below --------------------------------------------------------- */

static void
draw_head(const struct watch_picture *picture)
{
	const struct watch_facts *facts = &picture->model->facts;
	struct pieces line = { .room = (size_t)COLS - 10 };
	char text[FORMAT_SIZE];

	put(0, COLS - (int)strlen(picture->clock), COLS, picture->clock);
	if (!facts->known) {
		put(0, 0, COLS - 10, "tunneld");
		return;
	}
	add_piece(&line, COLS < 70 ? "%s %s" : "tunneld %s %s", facts->name,
	    facts->version);
	add_piece(&line, "peers up %zu/%zu", facts->peers_up, facts->peers);
	add_piece(&line, "sessions %s",
	    watch_layout_number(WATCH_COUNT, facts->sessions, false, text));
	if (facts->held > 0)
		add_piece(&line, "held %.0f", facts->held);
	if (!isnan(facts->uptime))
		add_piece(&line, "up for %s",
		    format_seconds(facts->uptime, text, sizeof text));
	attrset(A_BOLD);
	put(0, 0, COLS, line.text);
	attrset(A_NORMAL);
}

static void
draw_second(const struct watch_picture *picture)
{
	const struct watch_facts *facts = &picture->model->facts;
	struct pieces line = { .room = (size_t)COLS };
	char text[FORMAT_SIZE];

	if (picture->trouble[0] != '\0') {
		attrset(A_BOLD | COLOR_PAIR(WATCH_BAD));
		draw_cell(1, 0, COLS, picture->trouble);
		attrset(A_NORMAL);
		return;
	}
	if (!facts->known) {
		put(1, 0, COLS, "waiting for the first answer");
		return;
	}
	add_piece(&line, "up %s/s",
	    watch_layout_number(WATCH_RATE, facts->up_rate, picture->exact,
		text));
	add_piece(&line, "down %s/s",
	    watch_layout_number(WATCH_RATE, facts->down_rate, picture->exact,
		text));
	add_piece(&line, "ledger %s", facts->ledger);
	if (facts->lost > 0)
		add_piece(&line, "lost %.0f", facts->lost);
	add_piece(&line, "%s", picture->pace);
	put(1, 0, COLS, line.text);
}

/* What a question ends with can be seen, and of what is typed the end. */
static void
draw_bottom(const struct watch_picture *picture)
{
	const char *text = picture->bottom;
	int len = (int)strlen(text), y = LINES - 1, tail = 7;
	struct pieces line = { .room = (size_t)COLS };

	if (len == 0) {
		add_piece(&line, "q quit");
		add_piece(&line, "h help");
		add_piece(&line, "Tab %s",
		    picture->focus == WATCH_TUNNELS ? "sessions" : "tunnels");
		add_piece(&line, "K kill");
		if (picture->focus == WATCH_TUNNELS)
			add_piece(&line, "d disable  e enable");
		add_piece(&line, "s sort");
		add_piece(&line, "r reverse");
		add_piece(&line, "/ filter");
		add_piece(&line, "p pause");
		put(y, 0, COLS, line.text);
		return;
	}
	if (picture->tone == WATCH_ERROR)
		attrset(A_BOLD | COLOR_PAIR(WATCH_BAD));
	else if (picture->tone == WATCH_QUESTION)
		attrset(A_BOLD);
	if (picture->filtered && len > COLS - 1)
		put(y, 0, COLS, text + len - (COLS - 1));
	else
		draw_cell(y, 0, COLS, text);
	if (picture->tone == WATCH_QUESTION && !picture->filtered && len > COLS)
		put(y, COLS - tail, tail, text + len - tail);
	attrset(A_NORMAL);
}

static const char *const help[] = {
	"Tab          the other list",
	"up down k j  the row above or below",
	"PgUp PgDn    a page",
	"Home End     the top, which stays the top; the last row",
	"s S  < >     sort by the next or previous column",
	"r            the other way round",
	"/ Escape     only rows with this text: tunnel, peer, source; all rows",
	"Enter        of a tunnel: its sessions",
	"K x          kill the session, or all sessions of the tunnel",
	"d e          disable, enable the tunnel",
	"Space        read now",
	"p            pause, go on",
	"+ -          read less or more often",
	"Ctrl-L       draw the screen anew",
	"q            quit",
	"",
	"Rates are bytes per second between the last two readings.",
	"A row chosen by hand stays chosen wherever it goes.",
};
#define HELP_LINES ((int)(sizeof help / sizeof *help))

int
watch_screen_help_rest(void)
{
	int rest = HELP_LINES - (LINES - 2);

	return rest > 0 ? rest : 0;
}

static void
draw_help(const struct watch_picture *picture)
{
	attrset(A_REVERSE | A_BOLD);
	mvhline(0, 0, ' ', COLS);
	put(0, 1, COLS - 1, "tunnelctl watch: keys");
	attrset(A_NORMAL);
	for (int i = 0; i < LINES - 2 && i + picture->help_line < HELP_LINES;
	     i++)
		draw_cell(1 + i, 0, COLS, help[i + picture->help_line]);
	put(LINES - 1, 0, COLS,
	    watch_screen_help_rest() > 0 ?
		"up and down scroll, another key: back" :
		"any key: back");
}

void
watch_screen_draw(const struct watch_picture *picture)
{
	erase();
	attrset(A_NORMAL);
	if (LINES < SMALLEST_LINES || COLS < SMALLEST_WIDTH) {
		put(0, 0, COLS, "too small");
		/* What a key would answer must be seen. */
		if (LINES > 1)
			draw_bottom(picture);
	} else if (picture->help) {
		draw_help(picture);
	} else {
		draw_head(picture);
		draw_second(picture);
		draw_lists(picture);
		draw_bottom(picture);
	}
	if (picture->filtered) {
		int len = (int)strlen(picture->bottom);

		move(LINES - 1, len < COLS - 1 ? len : COLS - 1);
	}
	curs_set(picture->filtered);
	refresh();
}
