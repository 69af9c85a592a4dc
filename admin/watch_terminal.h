/* SPDX-License-Identifier: ISC */
/*
 * watch_terminal: the terminal and the signals that have to do with it, and
 * that it is left as it was found: at the end, while stopped, and when a
 * signal ends us.
 *
 * Owns curses and, as there is one terminal only, static state. Draws nothing.
 */
#ifndef TUNNELCTL_WATCH_TERMINAL_H
#define TUNNELCTL_WATCH_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

enum { /* colour pairs; they show where there is colour */
	WATCH_GOOD = 1,
	WATCH_BAD,
	WATCH_WAITING
};

/* -1 with the reason in error if there is no terminal that can do it. */
int watch_terminal_open(char *error, size_t error_size);
void watch_terminal_close(void);

/* Readable when signals wait for watch_terminal_take_signals. */
int watch_terminal_fd(void);

/*
 * Does what the signals ask for: a new size, a stop (returns when that is
 * over). The screen is to be drawn anew after it. Returns the signal that
 * ends us, or 0.
 */
int watch_terminal_take_signals(void);

/* After the close: ends as that signal would have ended us. SIGINT is what
 * one ends us with, so that returns. */
void watch_terminal_die(int signal_number);

#endif
