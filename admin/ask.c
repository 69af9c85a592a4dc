/* SPDX-License-Identifier: ISC */
#include "ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "when.h"
#include "words.h"

/* Of a daemon that is being upgraded: so often, so far apart. */
#define RETRIES 50
#define RETRY_NS 100000000

/* --- The near name ------------------------------------------------------ */

/* The names there are, beside the one that is not. */
struct names {
	const char *member; /* of the arguments that held it */
	struct words_search search;
	char nearest[160];
};

static void
offer_name(struct names *names, const char *name)
{
	const char *before = names->search.nearest;

	words_offer(&names->search, name);
	if (names->search.nearest == before)
		return;
	/* The row that it points into will be gone. */
	snprintf(names->nearest, sizeof names->nearest, "%s", name);
	names->search.nearest = names->nearest;
}

static int
take_names(json_t *data, void *arg)
{
	struct names *names = arg;
	char full[160];

	for (size_t i = 0; i < json_array_size(data); i++) {
		const json_t *row = json_array_get(data, i);
		const char *name = json_string_value(json_object_get(row,
			       "name")),
			   *peer = json_string_value(json_object_get(row,
			       "peer"));

		if (name == NULL)
			continue;
		offer_name(names, name);
		if (peer == NULL)
			continue;
		snprintf(full, sizeof full, "%s/%s", peer, name);
		offer_name(names, full);
	}
	return 0;
}

/* Adds the near name of a tunnel or a peer to an error, where there is one. */
static void
suggest_name(const struct context *context, const json_t *args, char *error,
    size_t error_size)
{
	static const char *const asked[][2] = {
		{ "tunnel", "tunnels" },
		{ "peer", "peers" },
		{ "name", "tunnels" },
		{ "name", "peers" },
	};
	char ignored[ASK_ERROR_SIZE];
	struct names names = { 0 };
	size_t len = strlen(error);

	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		struct client_request request = {
			.command = asked[i][1],
			.type = JSON_ARRAY,
			.fn = take_names,
			.arg = &names,
		};

		names.search.word = json_string_value(json_object_get(args,
		    asked[i][0]));
		if (names.search.word != NULL &&
		    ask_quietly(context, &request, ignored, sizeof ignored) !=
			CLIENT_OK)
			return;
	}
	if (names.search.nearest != NULL)
		snprintf(error + len, error_size - len, ": did you mean '%s'?",
		    names.nearest);
}

/* --- Asking ------------------------------------------------------------- */

/*
 * A daemon that is being upgraded has done nothing of what it was asked, and
 * its successor has the same socket. An endless list begins anew, however
 * often. Takes the place of *client, which may be closed by then.
 */
static enum client_status
ask_until_answered(const char *path, struct client **client,
    const struct client_request *request, char *error, size_t error_size)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	enum client_status status;
	int tries = 0;

	for (;;) {
		*client = client_open(path, error, error_size);
		if (*client == NULL)
			return CLIENT_LOST;
		status = client_ask(*client, request, error, error_size);
		if (status != CLIENT_REFUSED ||
		    strcmp(client_code(*client), "upgraded") != 0)
			return status;
		if (client_had_data(*client))
			tries = 0;
		if (++tries > RETRIES)
			return status;
		client_close(*client);
		nanosleep(&pause, NULL);
	}
}

enum client_status
ask_quietly(const struct context *context, const struct client_request *request,
    char *error, size_t error_size)
{
	enum client_status status;
	struct client *client;

	status = ask_until_answered(context->socket, &client, request, error,
	    error_size);
	client_close(client);
	return status;
}

int
ask_request(struct context *context, const struct client_request *request)
{
	char error[ASK_ERROR_SIZE];
	enum client_status status;
	struct client *client;
	bool told;

	status = ask_until_answered(context->socket, &client, request, error,
	    sizeof error);
	told = status == CLIENT_REFUSED && client_told_details(client);
	if (status == CLIENT_REFUSED &&
	    strcmp(client_code(client), "not_found") == 0)
		suggest_name(context, request->args, error, sizeof error);
	client_close(client);
	json_decref(request->args);
	if (status == CLIENT_OK || status == CLIENT_STOPPED)
		return EXIT_DONE;
	if (!told)
		commands_error(context, "%s", error);
	if (status == CLIENT_LOST &&
	    (context->command->options & OPTION_DATABASE) != 0)
		fprintf(stderr,
		    "With --database FILE it reads the ledger's file itself.\n");
	return status == CLIENT_REFUSED ? EXIT_REFUSED : EXIT_UNREACHABLE;
}

int
ask_object(struct context *context, const char *command, json_t *args,
    client_data_fn *fn, void *arg)
{
	struct client_request request = {
		.command = command != NULL ? command : context->command->name,
		.args = args,
		.type = JSON_OBJECT,
		.fn = fn,
		.arg = arg,
	};

	return ask_request(context, &request);
}

int
ask_pieces(struct context *context, const char *command, json_t *args,
    client_data_fn *fn, void *arg)
{
	struct client_request request = {
		.command = command != NULL ? command : context->command->name,
		.args = args,
		.type = JSON_ARRAY,
		.fn = fn,
		.arg = arg,
	};

	return ask_request(context, &request);
}

struct list {
	struct output *out;
	const struct output_view *view;
	bool started; /* nothing is written before the first piece came */
};

static int
take_rows(json_t *data, void *arg)
{
	struct list *list = arg;

	if (!list->started)
		output_start(list->out, list->view);
	list->started = true;
	for (size_t i = 0; i < json_array_size(data); i++)
		output_row(list->out, json_array_get(data, i));
	return output_broken(list->out) ? -1 : 0;
}

int
ask_list(struct context *context, const char *command, json_t *args,
    const struct output_view *view)
{
	struct list list = { .out = context->out, .view = view };
	int status;

	if (ask_check_columns(context, view) != 0) {
		json_decref(args);
		return EXIT_USAGE;
	}
	status = ask_pieces(context, command, args, take_rows, &list);
	/* Also after an error in the middle: JSON stays whole. */
	if (list.started)
		output_end(list.out);
	return status;
}

void
ask_say_unreachable(const struct context *context, const json_t *pids)
{
	for (size_t i = 0; i < json_array_size(pids); i++)
		commands_error(context,
		    "worker %" JSON_INTEGER_FORMAT
		    " did not answer: its sessions may be open still",
		    json_integer_value(json_array_get(pids, i)));
}

/* --- The command line --------------------------------------------------- */

int
ask_check_columns(const struct context *context, const struct output_view *view)
{
	char error[ASK_ERROR_SIZE];

	if (output_check(context->out, view, error, sizeof error) == 0)
		return 0;
	commands_error(context, "%s", error);
	return -1;
}

int
ask_put_text(const struct context *context, json_t *args, const char *key,
    const char *text)
{
	/* What is no UTF-8 makes no JSON; a filter must not get lost. */
	if (text == NULL ||
	    json_object_set_new(args, key, json_string(text)) == 0)
		return 0;
	commands_error(context, "the %s is no text in UTF-8", key);
	return -1;
}

static int
put_duration(const struct context *context, json_t *args, const char *key,
    const char *text)
{
	const char *why;
	int64_t seconds;

	if (text == NULL)
		return 0;
	if (when_parse_duration(text, &seconds, &why) == 0) {
		json_object_set_new(args, key, json_integer(seconds));
		return 0;
	}
	commands_error(context, "--%s: '%s' %s", key, text, why);
	return -1;
}

json_t *
ask_selectors(const struct context *context)
{
	json_t *args = json_object();

	if (ask_put_text(context, args, "tunnel", context->tunnel) == 0 &&
	    ask_put_text(context, args, "peer", context->peer) == 0 &&
	    ask_put_text(context, args, "source", context->source) == 0 &&
	    put_duration(context, args, "older", context->older) == 0 &&
	    put_duration(context, args, "idle", context->idle) == 0)
		return args;
	json_decref(args);
	return NULL;
}

int
ask_number(const struct context *context, const char *text, json_int_t max,
    json_int_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && *out >= 1 &&
	    *out <= max && strspn(text, "0123456789") == strlen(text))
		return 0;
	commands_error(context,
	    "%s is not a number from 1 to %" JSON_INTEGER_FORMAT, text, max);
	return -1;
}
