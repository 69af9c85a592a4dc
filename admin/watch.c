/* SPDX-License-Identifier: ISC */
#include "watch.h"

#include <curses.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "watch_internal.h"
#include "watch_terminal.h"

#define INTERVAL_DEFAULT 2.0
#define RETRY 1.0   /* seconds between attempts to reach the daemon */
#define SILENCE 1.0 /* seconds after which it is told */

enum { POLL_KEYS, POLL_SIGNALS, POLL_FEED, POLL_COUNT };

static double
read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
watch_say(struct watch *watch, enum watch_tone tone, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(watch->note, sizeof watch->note, fmt, ap);
	va_end(ap);
	watch->tone = tone;
	watch->dirty = true;
}

/* --- Readings ------------------------------------------------------------- */

static json_t *
selectors(const struct context *context)
{
	json_t *args = json_object();

	/* What is no UTF-8 makes no JSON; it must not get lost. */
	if ((context->tunnel == NULL ||
		json_object_set_new(args, "tunnel",
		    json_string(context->tunnel)) == 0) &&
	    (context->peer == NULL ||
		json_object_set_new(args, "peer", json_string(context->peer)) ==
		    0))
		return args;
	json_decref(args);
	return NULL;
}

static void
begin_reading(struct watch *watch, double now)
{
	json_t *args = selectors(watch->context);

	watch->read_now = false;
	watch->next_reading = now + watch->interval;
	if (args == NULL ||
	    watch_feed_ask(watch->feed, WATCH_TAG_STATUS, "status", NULL) !=
		0) {
		json_decref(args);
		return;
	}
	watch_list_begin(&watch->model.lists[WATCH_SESSIONS]);
	watch_feed_ask(watch->feed, WATCH_TAG_SESSIONS, "sessions", args);
}

static void
finish_reading(struct watch *watch, double now)
{
	watch_list_finish(&watch->model.lists[WATCH_SESSIONS]);
	watch->answered = true;
	watch->fresh = false;
	watch->refused = false;
	watch->trouble[0] = '\0';
	watch->dirty = true;
	/* A daemon with so much to say gets time for other things. */
	watch->next_reading = fmax(watch->next_reading,
	    now + watch->interval / 4);
}

static void
take_refusal(struct watch *watch, const char *error)
{
	snprintf(watch->trouble, sizeof watch->trouble, "%s", error);
	watch->refused = true;
	watch->dirty = true;
	/* What was wrong from the start stays wrong: -t, permissions. */
	if (watch->answered)
		return;
	snprintf(watch->last_words, sizeof watch->last_words, "%s", error);
	watch->status = EXIT_REFUSED;
	watch->done = true;
}

static void
take_loss(struct watch *watch, const char *error, double now)
{
	/* It may have said why before it hung up. */
	if (!watch->refused)
		snprintf(watch->trouble, sizeof watch->trouble,
		    "trying again: %s", error);
	/* It hung up on us, having answered: a successor may be there. */
	watch->next_connect = watch->fresh ? now + RETRY : now;
	watch->fresh = true;
	watch_model_forget(&watch->model);
	watch->dirty = true;
	if (watch->orders_open > 0)
		watch_say(watch, WATCH_ERROR,
		    "the daemon was gone before it had answered");
	watch->orders_open = 0;
}

static void
take_answer(const struct watch_answer *answer, void *arg)
{
	struct watch *watch = arg;
	struct watch_moment now = {
		.steady = read_clock(CLOCK_MONOTONIC),
		.wall = read_clock(CLOCK_REALTIME),
	};

	watch->elsewhere = watch->elsewhere || answer->upgraded;
	if (answer->status == WATCH_LOST) {
		take_loss(watch, answer->error, now.steady);
	} else if (answer->tag >= WATCH_TAG_ORDERS) {
		watch->orders_open--;
		watch_orders_result(watch, answer);
	} else if (answer->upgraded) {
		watch->read_now = true;
	} else if (answer->status == WATCH_REFUSED) {
		take_refusal(watch, answer->error);
	} else if (answer->tag == WATCH_TAG_STATUS) {
		watch_model_take_status(&watch->model, answer->data, &now);
	} else if (answer->tag == WATCH_TAG_SESSIONS) {
		watch_model_take_sessions(&watch->model, answer->data, &now);
		if (answer->status == WATCH_COMPLETE)
			finish_reading(watch, now.steady);
	}
}

static void
connect_again(struct watch *watch, double now)
{
	char error[WATCH_FEED_ERROR_SIZE];

	if (watch_feed_connect(watch->feed, now, error, sizeof error) == 0) {
		watch->refused = false;
		watch->trouble[0] = '\0';
		watch->read_now = true;
	} else {
		snprintf(watch->trouble, sizeof watch->trouble,
		    "trying again: %s", error);
		watch->next_connect = now + RETRY;
	}
	watch->dirty = true;
}

static bool
wants_reading(const struct watch *watch)
{
	return watch_feed_is_connected(watch->feed) &&
	    watch_feed_pending(watch->feed) == 0;
}

/* The feed tells nobody when it is closed by us. */
static void
leave(struct watch *watch, double now)
{
	watch_feed_disconnect(watch->feed);
	watch->elsewhere = false;
	watch->orders_open = 0;
	watch->next_connect = now;
}

/* Does what is due. */
static void
advance(struct watch *watch, double now)
{
	if (watch->elsewhere)
		leave(watch, now);
	if (!watch_feed_is_connected(watch->feed) && now >= watch->next_connect)
		connect_again(watch, now);
	if (wants_reading(watch) &&
	    (watch->read_now || (!watch->paused && now >= watch->next_reading)))
		begin_reading(watch, now);
}

/* --- The screen -------------------------------------------------------------- */

static void
draw(struct watch *watch, time_t wall, double now)
{
	const struct watch_list *list = &watch->model.lists[watch->focus];
	double silence = watch_feed_silence(watch->feed, now);
	char clock[16] = "", pace[48], trouble[WATCH_TEXT_SIZE + 64];
	char bottom[WATCH_FILTER_SIZE + 16];
	struct watch_picture picture = {
		.model = &watch->model,
		.focus = watch->focus,
		.trouble = trouble,
		.pace = pace,
		.clock = clock,
		.bottom = bottom,
		.tone = watch->mode == WATCH_ASKING ? WATCH_QUESTION :
						      watch->tone,
		.exact = watch->context->bytes,
		.filtered = watch->mode == WATCH_FILTERING,
		.help = watch->mode == WATCH_HELPING,
		.help_line = watch->help_line,
	};
	struct tm tm;

	if (watch->context->utc ? gmtime_r(&wall, &tm) != NULL :
				  localtime_r(&wall, &tm) != NULL)
		strftime(clock, sizeof clock,
		    watch->context->utc ? "%TZ" : "%T", &tm);
	snprintf(pace, sizeof pace, watch->paused ? "paused" : "every %gs",
	    watch->interval);
	snprintf(trouble, sizeof trouble, "%s", watch->trouble);
	if (silence >= SILENCE)
		snprintf(trouble, sizeof trouble, "no answer for %.0f s",
		    floor(silence));
	if (picture.filtered)
		snprintf(bottom, sizeof bottom, "filter: %s", list->filter);
	else if (watch->mode == WATCH_ASKING)
		picture.bottom = watch->question;
	else
		picture.bottom = watch->note;
	watch_screen_draw(&picture);
	watch->dirty = false;
}

/* --- The loop ---------------------------------------------------------------- */

/* Milliseconds until something is due; the clock shows each second. */
static int
until_due(const struct watch *watch, double now)
{
	double wall = read_clock(CLOCK_REALTIME);
	double wait = 1 - (wall - floor(wall)), due = now + wait;

	if (!watch_feed_is_connected(watch->feed))
		due = fmin(due, watch->next_connect);
	else if (wants_reading(watch) && !watch->paused)
		due = fmin(due, watch->next_reading);
	wait = fmax(due - now, 0);
	return (int)(wait * 1000) + 1;
}

static void
take_events(struct watch *watch, struct pollfd *fds)
{
	int key;

	if ((fds[POLL_KEYS].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
		watch->signal = SIGHUP;
		watch->done = true;
		return;
	}
	if (fds[POLL_SIGNALS].revents != 0) {
		watch->signal = watch_terminal_take_signals();
		watch->done = watch->signal != 0;
		watch->dirty = true;
	}
	/* Also without an event: curses may have read ahead. */
	while (!watch->done && (key = getch()) != ERR)
		watch_take_key(watch, key);
	if (!watch->done)
		watch_feed_turn(watch->feed, fds[POLL_FEED].revents,
		    read_clock(CLOCK_MONOTONIC));
}

static void
run(struct watch *watch)
{
	struct pollfd fds[POLL_COUNT] = {
		[POLL_KEYS] = { .fd = STDIN_FILENO, .events = POLLIN },
		[POLL_SIGNALS] = { .fd = watch_terminal_fd(),
		    .events = POLLIN },
	};
	time_t shown = 0, wall;
	double now;

	while (!watch->done) {
		now = read_clock(CLOCK_MONOTONIC);
		wall = time(NULL);
		advance(watch, now);
		if (watch->dirty || wall != shown)
			draw(watch, wall, now);
		shown = wall;
		watch_feed_prepare(watch->feed, &fds[POLL_FEED]);
		if (poll(fds, POLL_COUNT, until_due(watch, now)) < 0) {
			if (errno != EINTR)
				break;
			for (int i = 0; i < POLL_COUNT; i++)
				fds[i].revents = 0;
		}
		take_events(watch, fds);
	}
}

static int
parse_interval(const struct context *context, double *out)
{
	const char *text = context->interval;
	char *end;

	*out = INTERVAL_DEFAULT;
	if (text == NULL)
		return 0;
	*out = strtod(text, &end);
	if (end != text && strspn(text, "0123456789.") == strlen(text) &&
	    *end == '\0' && *out >= WATCH_INTERVAL_MIN &&
	    *out <= WATCH_INTERVAL_MAX)
		return 0;
	commands_error(context, "%s is not a number of seconds from %g to %g",
	    text, WATCH_INTERVAL_MIN, WATCH_INTERVAL_MAX);
	return -1;
}

/* What can be said before there is a screen. 0, or -1 with the status. */
static int
prepare(struct watch *watch)
{
	struct context *context = watch->context;
	char error[WATCH_TEXT_SIZE];
	json_t *args;

	watch->status = EXIT_USAGE;
	if (context->json) {
		commands_error(context,
		    "shows a screen; for programs there "
		    "are sessions --json and events --json");
		return -1;
	}
	if (parse_interval(context, &watch->interval) != 0)
		return -1;
	args = selectors(context);
	json_decref(args);
	if (args == NULL) {
		commands_error(context, "that is no name of a tunnel or peer");
		return -1;
	}
	watch->status = EXIT_UNREACHABLE;
	watch->feed = watch_feed_new(context->socket, take_answer, watch);
	if (watch->feed == NULL) {
		commands_error(context, "out of memory");
		return -1;
	}
	if (watch_feed_connect(watch->feed, read_clock(CLOCK_MONOTONIC), error,
		sizeof error) != 0) {
		commands_error(context, "%s", error);
		return -1;
	}
	watch->status = EXIT_USAGE;
	if (watch_terminal_open(error, sizeof error) != 0) {
		commands_error(context, "%s", error);
		return -1;
	}
	watch->status = EXIT_DONE;
	return 0;
}

int
action_watch(struct context *context)
{
	struct watch watch = {
		.context = context,
		.focus = WATCH_SESSIONS,
		.read_now = true,
	};

	watch_model_init(&watch.model, context->tunnel, context->peer);
	if (prepare(&watch) == 0) {
		run(&watch);
		watch_terminal_close();
		if (watch.last_words[0] != '\0')
			commands_error(context, "%s", watch.last_words);
	}
	watch_feed_free(watch.feed);
	watch_model_clear(&watch.model);
	if (watch.signal != 0)
		watch_terminal_die(watch.signal);
	return watch.status;
}
