/* SPDX-License-Identifier: ISC */
/*
 * watch_layout: which columns of a list find room in how many columns of the
 * screen, how wide they are, and numbers as text. Pure.
 */
#ifndef TUNNELCTL_WATCH_LAYOUT_H
#define TUNNELCTL_WATCH_LAYOUT_H

#include "format.h"
#include "watch_list.h"

struct watch_layout {
	int widths[WATCH_COLUMNS]; /* 0: left out */
	int gap;		   /* between two; before the first is one */
	bool exact;		   /* bytes as numbers */
};

/* The first column and the one that the list is sorted by always stay. */
void watch_layout_make(struct watch_layout *layout,
    const struct watch_list *list, int width, bool exact);

/* Would that column find room, sorted by it or not? */
bool watch_layout_has(const struct watch_list *list, int column, int width,
    bool exact);

/* buf has FORMAT_SIZE; returns it. NAN is "-". */
char *watch_layout_number(enum watch_kind kind, double n, bool exact,
    char *buf);

#endif
