/* SPDX-License-Identifier: ISC */
#include "watch_terminal.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE_DELAY 25 /* ms until a lone Escape is a key */

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP,
	SIGCONT, SIGWINCH };
#define N_CAUGHT (sizeof caught / sizeof *caught)

static struct {
	SCREEN *screen;
	struct termios modes; /* as they were found */
	struct sigaction actions[N_CAUGHT];
	int wake[2]; /* a byte for each signal */
	volatile sig_atomic_t ending, stop, resume, resize;
} terminal = { .wake = { -1, -1 } };

static void
note_signal(int number)
{
	int saved = errno;
	ssize_t n;

	switch (number) {
	case SIGTSTP:
		terminal.stop = 1;
		break;
	case SIGCONT:
		terminal.resume = 1;
		break;
	case SIGWINCH:
		terminal.resize = 1;
		break;
	default:
		/* For the second time: we hang, probably in a write to a
		 * terminal that takes nothing. */
		if (terminal.ending != 0) {
			tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
			_exit(128 + number);
		}
		terminal.ending = number;
	}
	n = write(terminal.wake[1], "", 1);
	(void)n; /* full: it will wake us all the same */
	errno = saved;
}

/* Before curses begins, which leaves alone what is caught. */
static void
catch_signals(void)
{
	struct sigaction action = { .sa_handler = note_signal };
	size_t i;

	for (i = 0; i < N_CAUGHT; i++)
		sigaddset(&action.sa_mask, caught[i]);
	for (i = 0; i < N_CAUGHT; i++) {
		sigaction(caught[i], NULL, &terminal.actions[i]);
		/* nohup and the like */
		if (terminal.actions[i].sa_handler != SIG_IGN)
			sigaction(caught[i], &action, NULL);
	}
}

static void
release_signals(void)
{
	for (size_t i = 0; i < N_CAUGHT; i++)
		sigaction(caught[i], &terminal.actions[i], NULL);
}

/* Is the cursor to be moved in what TERM says? NULL if so, or why not. */
static const char *
judge_type(void)
{
	const char *move;
	bool fine;
	int result;

	if (setupterm(NULL, STDOUT_FILENO, &result) != OK)
		return "no such type of terminal is known";
	move = tigetstr("cup");
	fine = move != NULL && move != (char *)-1;
	del_curterm(cur_term);
	return fine ? NULL : "such a terminal cannot show a screen";
}

static int
check_type(char *error, size_t error_size)
{
	const char *name = getenv("TERM"), *why;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		snprintf(error, error_size,
		    "needs a terminal; for programs there are sessions "
		    "--json and events --json");
		return -1;
	}
	if (name == NULL || name[0] == '\0') {
		snprintf(error, error_size,
		    "TERM is not set: what type of terminal is this?");
		return -1;
	}
	why = judge_type();
	if (why == NULL)
		return 0;
	snprintf(error, error_size, "TERM is %.40s: %s", name, why);
	return -1;
}

static void
set_modes(void)
{
	const char *no_color = getenv("NO_COLOR");
	struct termios modes;

	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	set_escdelay(ESCAPE_DELAY);
	curs_set(0);
	/* ^S would stop our output, and us with it. */
	if (tcgetattr(STDIN_FILENO, &modes) == 0) {
		modes.c_iflag &= ~(tcflag_t)IXON;
		tcsetattr(STDIN_FILENO, TCSANOW, &modes);
		def_prog_mode();
	}
	if ((no_color == NULL || no_color[0] == '\0') && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(WATCH_GOOD, COLOR_GREEN, -1);
		init_pair(WATCH_BAD, COLOR_RED, -1);
		init_pair(WATCH_WAITING, COLOR_YELLOW, -1);
	}
}

int
watch_terminal_open(char *error, size_t error_size)
{
	if (check_type(error, error_size) != 0)
		return -1;
	if (tcgetattr(STDIN_FILENO, &terminal.modes) != 0 ||
	    pipe2(terminal.wake, O_CLOEXEC | O_NONBLOCK) != 0) {
		snprintf(error, error_size, "%s", strerror(errno));
		return -1;
	}
	catch_signals();
	/* The size is what the terminal says, not LINES and COLUMNS, which
	 * do not change with it. */
	use_env(FALSE);
	use_tioctl(TRUE);
	terminal.screen = newterm(NULL, stdout, stdin);
	if (terminal.screen == NULL) {
		snprintf(error, error_size, "the terminal cannot be used");
		watch_terminal_close();
		return -1;
	}
	set_modes();
	return 0;
}

void
watch_terminal_close(void)
{
	if (terminal.screen != NULL) {
		endwin();
		delscreen(terminal.screen);
		terminal.screen = NULL;
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
	}
	release_signals();
	close(terminal.wake[0]);
	close(terminal.wake[1]);
	terminal.wake[0] = terminal.wake[1] = -1;
}

int
watch_terminal_fd(void)
{
	return terminal.wake[0];
}

/* Gives the terminal back and stops; returns when continued. */
static void
stop(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL }, ours;

	endwin();
	sigaction(SIGTSTP, &action, &ours);
	raise(SIGTSTP);
	sigaction(SIGTSTP, &ours, NULL);
	terminal.resume = 1;
}

static void
follow_size(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 &&
	    size.ws_col > 0)
		resizeterm(size.ws_row, size.ws_col);
}

int
watch_terminal_take_signals(void)
{
	char bytes[64];

	while (read(terminal.wake[0], bytes, sizeof bytes) > 0)
		continue;
	if (terminal.ending != 0)
		return terminal.ending;
	if (terminal.stop) {
		terminal.stop = 0;
		stop();
	}
	if (terminal.resume) {
		terminal.resume = 0;
		/* Also after a stop that could not be caught, in which
		 * somebody else had the terminal: all of it anew. */
		if (!isendwin())
			endwin();
		terminal.resize = 1;
	}
	if (terminal.resize) {
		terminal.resize = 0;
		follow_size();
		clearok(curscr, TRUE);
	}
	return terminal.ending;
}

void
watch_terminal_die(int signal_number)
{
	if (signal_number == SIGINT)
		return;
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}
