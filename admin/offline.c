/* SPDX-License-Identifier: ISC */
#include "offline.h"

#include <sys/stat.h>

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "history_json.h"

#define DEADLINE 30
#define PIECE 100 /* rows */

/* --- The deadline --------------------------------------------------------- */

static time_t
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static const char *
why_stop(void *arg)
{
	return clock_now() >= *(time_t *)arg ? "timed out" : NULL;
}

/* --- The file ------------------------------------------------------------- */

/* What SQLite calls "unable to open database file", in more words. NULL:
 * nothing is wrong with it at first sight. */
static const char *
why_not(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "is not a file";
	return access(path, R_OK) == 0 ? NULL : strerror(errno);
}

static int
give_rows(const struct context *context, const struct history_rows *rows,
    client_data_fn *fn, void *arg)
{
	json_t *piece = json_array();
	int stop = 0;

	for (size_t i = 0; i < rows->n && stop == 0; i++) {
		if (json_array_append_new(piece, history_json_row(rows, i)) !=
		    0) {
			commands_error(context, "out of memory");
			json_decref(piece);
			return EXIT_REFUSED;
		}
		if (json_array_size(piece) < PIECE)
			continue;
		stop = fn(piece, arg);
		json_array_clear(piece);
	}
	if (stop == 0)
		fn(piece, arg);
	json_decref(piece);
	return EXIT_DONE;
}

int
offline_rows(const struct context *context, const struct history_query *query,
    client_data_fn *fn, void *arg)
{
	const char *path = context->database, *why = why_not(path);
	time_t deadline = clock_now() + DEADLINE;
	char error[HISTORY_ERROR_SIZE] = "";
	struct history *history = NULL;
	struct history_rows rows;
	int rc, status;

	if (why == NULL) {
		history = history_open(path, why_stop, &deadline, error,
		    sizeof error);
		why = error;
	}
	if (history == NULL) {
		commands_error(context, "%s: %s", path, why);
		return EXIT_UNREACHABLE;
	}
	rc = history_ask(history, query, &rows, error, sizeof error);
	history_close(history);
	status = rc == 0 || rows.n > 0 ? give_rows(context, &rows, fn, arg) :
					 EXIT_DONE;
	history_rows_clear(&rows);
	if (rc == 0)
		return status;
	commands_error(context, "%s: %s", path, error);
	return why_stop(&deadline) != NULL ? EXIT_REFUSED : EXIT_UNREACHABLE;
}
