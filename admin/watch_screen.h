/* SPDX-License-Identifier: ISC */
/*
 * watch_screen: how watch looks. Draws the whole picture each time; curses
 * sends what has changed. Decides how many lines each list gets and which
 * columns find room, and tells the lists.
 */
#ifndef TUNNELCTL_WATCH_SCREEN_H
#define TUNNELCTL_WATCH_SCREEN_H

#include "watch_model.h"

enum watch_tone { WATCH_PLAIN, WATCH_ERROR, WATCH_QUESTION };

struct watch_picture {
	struct watch_model *model;
	enum watch_pane focus;
	const char *trouble; /* with the daemon, or "" */
	const char *pace;    /* "every 2s" */
	const char *clock;
	const char *bottom; /* "": the most important keys */
	enum watch_tone tone;
	bool exact;    /* bytes as numbers */
	bool filtered; /* the bottom line is being typed into */
	bool help;
	int help_line; /* the first shown */
};

void watch_screen_draw(const struct watch_picture *picture);

/* So many lines of help do not fit the screen. */
int watch_screen_help_rest(void);

#endif
