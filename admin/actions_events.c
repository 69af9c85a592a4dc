/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "format.h"

#define REAL_DIGITS 12
#define WORDS_SIZE 700

/* How people see each kind. */
static const struct {
	const char *kind, *label, *colour;
} kinds[] = {
	{ "link_up", "link up", "\033[32m" },
	{ "link_down", "link down", "\033[31m" },
	{ "session_open", "session open", "" },
	{ "session_close", "session close", "" },
	{ "error", "error", "\033[31m" },
	{ "change", "change", "\033[33m" },
	{ "reload", "reload", "\033[33m" },
};

/* PEER/TUNNEL, whichever there are. */
static void
where_text(const json_t *event, char *buf, size_t size)
{
	const json_t *peer = json_object_get(event, "peer");
	const json_t *tunnel = json_object_get(event, "tunnel");
	char a[80], b[80];

	format_value(peer, a, sizeof a);
	format_value(tunnel, b, sizeof b);
	if (json_is_string(peer) && json_is_string(tunnel))
		snprintf(buf, size, "%s/%s", a, b);
	else
		snprintf(buf, size, "%s", json_is_string(peer) ? a : b);
}

/* To a buffer of FORMAT_SIZE. */
static void
bytes_text(const struct output_settings *settings, const json_t *session,
    const char *key, char *buf)
{
	if (settings->bytes)
		format_value(json_object_get(session, key), buf, FORMAT_SIZE);
	else
		format_bytes(json_object_get(session, key), buf, FORMAT_SIZE);
}

/* "4711 from 192.0.2.7:40123 to 127.0.0.1:22", and how it ended. */
static void
session_text(const struct output_settings *settings, const json_t *session,
    char *buf, size_t size)
{
	const json_t *target = json_object_get(session, "target");
	const json_t *closed = json_object_get(session, "closed_at");
	char id[FORMAT_SIZE], from[300], to[300], reason[40], by[80],
	    lasted[FORMAT_SIZE], up[FORMAT_SIZE], down[FORMAT_SIZE];
	size_t len;

	/* The entry does not know the service. */
	len = (size_t)snprintf(buf, size, "%s from %s%s%s",
	    format_value(json_object_get(session, "id"), id, sizeof id),
	    format_value(json_object_get(session, "source"), from, sizeof from),
	    json_is_string(target) ? " to " : "",
	    json_is_string(target) ? format_value(target, to, sizeof to) : "");
	if (!json_is_string(closed) || len >= size)
		return;
	bytes_text(settings, session, "up_bytes", up);
	bytes_text(settings, session, "down_bytes", down);
	snprintf(buf + len, size - len, ": %s by %s after %s, up %s, down %s",
	    format_value(json_object_get(session, "close_reason"), reason,
		sizeof reason),
	    format_value(json_object_get(session, "closed_by"), by, sizeof by),
	    format_between(json_object_get(session, "opened_at"), closed,
		lasted, sizeof lasted),
	    up, down);
}

static void
words_text(const struct output_settings *settings, const json_t *event,
    char *buf, size_t size)
{
	const json_t *session = json_object_get(event, "session");
	const json_t *text = json_object_get(event, "text");

	if (json_is_object(session))
		session_text(settings, session, buf, size);
	else if (json_is_string(text))
		format_value(text, buf, size);
	else
		format_value(json_object_get(event, "address"), buf, size);
}

/* One line; columns as wide as they usually are. */
static void
print_event(const struct output_settings *settings, const json_t *event)
{
	const char *kind = json_string_value(json_object_get(event, "kind"));
	const char *colour = "", *label = kind != NULL ? kind : "?";
	const json_t *at = json_object_get(event, "at");
	char time[64], where[160], words[WORDS_SIZE], other[40];

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(label, kinds[i].kind) == 0) {
			label = kinds[i].label;
			colour = settings->colour ? kinds[i].colour : "";
			break;
		}
	if (label == kind)
		label = format_value(json_object_get(event, "kind"), other,
		    sizeof other);
	if (settings->utc)
		format_value(at, time, sizeof time);
	else
		format_time(at, time, sizeof time);
	where_text(event, where, sizeof where);
	words_text(settings, event, words, sizeof words);
	printf("%s  %s%-13s%s  %-12s  %s\n", time, colour, label,
	    colour[0] != '\0' ? "\033[0m" : "", where, words);
}

/* Each line goes out at once: somebody, or a program, waits for it. */
static int
take_events(json_t *data, void *arg)
{
	struct output *out = arg;
	const struct output_settings *settings = output_get_settings(out);
	char *text;

	for (size_t i = 0; i < json_array_size(data); i++) {
		const json_t *event = json_array_get(data, i);

		if (settings->format != OUTPUT_JSON) {
			print_event(settings, event);
		} else {
			text = json_dumps(event,
			    JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS));
			if (text != NULL)
				puts(text);
			free(text);
		}
		if (output_flush(out) != 0)
			return -1;
	}
	return 0;
}

/* Everything is written already; a reader that stopped must not keep us. */
static void
end_at_once(int signo)
{
	(void)signo;
	_exit(EXIT_DONE);
}

/* Except one that was ignored from the start, as nohup(1) does. */
static void
end_on(int signo)
{
	struct sigaction action = { .sa_handler = end_at_once }, old;

	if (sigaction(signo, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(signo, &action, NULL);
}

/* What --kind may name. */
static bool
is_group(const char *word, size_t len)
{
	static const char *const groups[] = { "link", "session", "error",
		"change", "reload" };

	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		if (strlen(groups[i]) == len &&
		    memcmp(groups[i], word, len) == 0)
			return true;
	return false;
}

/* "link,session" as an array; NULL if a part is none, and says so. */
static json_t *
kinds_array(const struct context *context)
{
	const char *list = context->kind;
	json_t *array = json_array();

	for (size_t len; list != NULL;
	     list = list[len] == ',' ? list + len + 1 : NULL) {
		len = strcspn(list, ",");
		if (!is_group(list, len)) {
			commands_error(context,
			    "there is no kind '%.*s'; there are: link, "
			    "session, error, change, reload",
			    (int)len, list);
			json_decref(array);
			return NULL;
		}
		json_array_append_new(array, json_stringn(list, len));
	}
	return array;
}

int
action_events(struct context *context)
{
	json_t *args = ask_selectors(context), *list;

	if (args == NULL)
		return EXIT_USAGE;
	if (context->kind != NULL) {
		list = kinds_array(context);
		if (list == NULL) {
			json_decref(args);
			return EXIT_USAGE;
		}
		json_object_set_new(args, "kinds", list);
	}
	end_on(SIGINT);
	end_on(SIGTERM);
	return ask_pieces(context, NULL, args, take_events, context->out);
}
