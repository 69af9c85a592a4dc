/* SPDX-License-Identifier: ISC */
#include <curses.h>
#include <stdio.h>
#include <string.h>

#include "watch_internal.h"
#include "watch_layout.h"

#define CONTROL(c) ((c)&0x1f)
#define ESCAPE 27
#define DELETE 127

static struct watch_list *
list_in_focus(struct watch *watch)
{
	return &watch->model.lists[watch->focus];
}

/* --- Filter ------------------------------------------------------------------ */

static void
begin_filter(struct watch *watch)
{
	snprintf(watch->filter_before, sizeof watch->filter_before, "%s",
	    list_in_focus(watch)->filter);
	watch->mode = WATCH_FILTERING;
}

/* The list follows each letter. */
static void
take_filter_key(struct watch *watch, int key)
{
	struct watch_list *list = list_in_focus(watch);
	char text[WATCH_FILTER_SIZE];
	size_t len;

	snprintf(text, sizeof text, "%s", list->filter);
	len = strlen(text);
	switch (key) {
	case '\r':
	case '\n':
	case KEY_ENTER:
		watch->mode = WATCH_LOOKING;
		return;
	case ESCAPE:
		watch->mode = WATCH_LOOKING;
		watch_list_filter(list, watch->filter_before);
		return;
	case KEY_BACKSPACE:
	case CONTROL('h'):
	case DELETE:
		if (len > 0)
			text[len - 1] = '\0';
		break;
	case CONTROL('u'):
		text[0] = '\0';
		break;
	default:
		if (key < ' ' || key > '~' || len + 1 >= sizeof text)
			return;
		text[len] = (char)key;
		text[len + 1] = '\0';
	}
	watch_list_filter(list, text);
}

/* Of a tunnel: its sessions. */
static void
filter_by_tunnel(struct watch *watch)
{
	const struct watch_row *row = watch_list_selected(list_in_focus(watch));

	if (watch->focus != WATCH_TUNNELS || row == NULL)
		return;
	watch->focus = WATCH_SESSIONS;
	watch_list_filter(&watch->model.lists[WATCH_SESSIONS],
	    row->cells[WATCH_TUNNEL_LABEL].text);
}

/* --- Order and pace ------------------------------------------------------------- */

/* The next column that can be seen. */
static void
sort_by_next(struct watch *watch, int step)
{
	struct watch_list *list = list_in_focus(watch);
	int column = list->sort;

	do
		column = (column + WATCH_COLUMNS + step) % WATCH_COLUMNS;
	while (column != list->sort &&
	    !watch_layout_has(list, column, COLS, watch->context->bytes));
	watch_list_sort(list, column);
}

static void
change_interval(struct watch *watch, bool longer)
{
	static const double steps[] = { 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300,
		3600 };
	const int n = sizeof steps / sizeof *steps;
	double old = watch->interval;

	for (int i = 0; i < n && longer && watch->interval <= old; i++)
		if (steps[i] > old)
			watch->interval = steps[i];
	for (int i = n; i-- > 0 && !longer && watch->interval >= old;)
		if (steps[i] < old)
			watch->interval = steps[i];
	watch->next_reading += watch->interval - old;
}

/* --- Keys ---------------------------------------------------------------------- */

static void
take_help_key(struct watch *watch, int key)
{
	int rest = watch_screen_help_rest();

	if ((key == KEY_DOWN || key == 'j' || key == KEY_NPAGE) && rest > 0) {
		if (watch->help_line < rest)
			watch->help_line++;
	} else if ((key == KEY_UP || key == 'k' || key == KEY_PPAGE) &&
	    rest > 0) {
		if (watch->help_line > 0)
			watch->help_line--;
	} else if (key != KEY_RESIZE) {
		watch->mode = WATCH_LOOKING;
	}
}

/* Those that move. */
static bool
take_cursor_key(struct watch *watch, int key)
{
	struct watch_list *list = list_in_focus(watch);
	long page = list->height > 1 ? (long)list->height - 1 : 1;

	switch (key) {
	case KEY_UP:
	case 'k':
		watch_list_move(list, -1);
		return true;
	case KEY_DOWN:
	case 'j':
		watch_list_move(list, 1);
		return true;
	case KEY_PPAGE:
	case CONTROL('b'):
		watch_list_move(list, -page);
		return true;
	case KEY_NPAGE:
	case CONTROL('f'):
		watch_list_move(list, page);
		return true;
	case KEY_HOME:
	case 'g':
		watch_list_home(list);
		return true;
	case KEY_END:
	case 'G':
		watch_list_end(list);
		return true;
	}
	return false;
}

/* Those that change how it looks. */
static bool
take_view_key(struct watch *watch, int key)
{
	switch (key) {
	case '\t':
	case KEY_BTAB:
		watch->focus = watch->focus == WATCH_TUNNELS ? WATCH_SESSIONS :
							       WATCH_TUNNELS;
		return true;
	case 's':
	case '>':
		sort_by_next(watch, 1);
		return true;
	case 'S':
	case '<':
		sort_by_next(watch, -1);
		return true;
	case 'r':
		watch_list_reverse(list_in_focus(watch));
		return true;
	case '/':
		begin_filter(watch);
		return true;
	case ESCAPE:
		watch_list_filter(list_in_focus(watch), "");
		return true;
	case '\r':
	case '\n':
	case KEY_ENTER:
		filter_by_tunnel(watch);
		return true;
	case 'h':
	case '?':
	case KEY_F(1):
		watch->mode = WATCH_HELPING;
		watch->help_line = 0;
		return true;
	case CONTROL('l'):
		clearok(curscr, TRUE);
		return true;
	}
	return false;
}

static void
take_other_key(struct watch *watch, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		watch->done = true;
		break;
	case 'K':
	case 'x':
		watch_orders_ask(watch,
		    watch->focus == WATCH_TUNNELS ? WATCH_KILL_TUNNEL :
						    WATCH_KILL_SESSION);
		break;
	case 'd':
		watch_orders_ask(watch, WATCH_DISABLE);
		break;
	case 'e':
		watch_orders_ask(watch, WATCH_ENABLE);
		break;
	case 'p':
		watch->paused = !watch->paused;
		break;
	case '+':
		change_interval(watch, true);
		break;
	case '-':
		change_interval(watch, false);
		break;
	case ' ':
		watch->read_now = true;
		break;
	}
}

void
watch_take_key(struct watch *watch, int key)
{
	watch->dirty = true;
	if (key == KEY_RESIZE)
		return;
	switch (watch->mode) {
	case WATCH_FILTERING:
		take_filter_key(watch, key);
		return;
	case WATCH_ASKING:
		watch_orders_answer(watch, key == 'y' || key == 'Y');
		return;
	case WATCH_HELPING:
		take_help_key(watch, key);
		return;
	case WATCH_LOOKING:
		break;
	}
	watch->note[0] = '\0';
	if (!take_cursor_key(watch, key) && !take_view_key(watch, key))
		take_other_key(watch, key);
}
