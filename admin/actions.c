/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "client.h"
#include "pair.h"
#include "show.h"

#define ERROR_SIZE 600
#define ID_MAX ((json_int_t)1 << 53)
#define LIMIT_MAX 10000
#define KILL_BATCH 1000	 /* ids in a request, which has a longest line */
#define KILLED_SHOWN 20	 /* ids that are named to people, ... */
#define MISSING_ASKED 20 /* ... and that are asked for, if not found */

/* --- Asking ------------------------------------------------------------- */

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

/* On a connection of its own. */
static enum client_status
ask_quietly(const struct context *context, const struct client_request *request,
    char *error, size_t error_size)
{
	enum client_status status = CLIENT_LOST;
	struct client *client = client_open(context->socket, error, error_size);

	if (client != NULL)
		status = client_ask(client, request, error, error_size);
	client_close(client);
	return status;
}

/*
 * Asks once, says what went wrong, returns the exit status. Takes args. The
 * answer is an object, or for take_rows an array.
 */
static int
ask(struct context *context, json_t *args, client_data_fn *fn, void *arg)
{
	struct client_request request = {
		.command = context->command->name,
		.args = args,
		.type = fn == take_rows ? JSON_ARRAY : JSON_OBJECT,
		.fn = fn,
		.arg = arg,
	};
	char error[ERROR_SIZE];
	enum client_status status = ask_quietly(context, &request, error,
	    sizeof error);

	json_decref(args);
	switch (status) {
	case CLIENT_OK:
	case CLIENT_STOPPED:
		return EXIT_DONE;
	case CLIENT_REFUSED:
		commands_error(context, "%s", error);
		return EXIT_REFUSED;
	default:
		commands_error(context, "%s", error);
		return EXIT_UNREACHABLE;
	}
}

/* --tunnel and --peer as arguments for the daemon. */
static json_t *
filter_args(const struct context *context)
{
	json_t *args = json_object();

	/* What is no UTF-8 makes no JSON; a filter must not get lost. */
	if ((context->tunnel == NULL ||
		json_object_set_new(args, "tunnel",
		    json_string(context->tunnel)) == 0) &&
	    (context->peer == NULL ||
		json_object_set_new(args, "peer", json_string(context->peer)) ==
		    0))
		return args;
	commands_error(context, "that is not a name of a tunnel or peer");
	json_decref(args);
	return NULL;
}

/* A number from 1 to max. 0, or -1 and says so. */
static int
parse_number(const struct context *context, const char *text, json_int_t max,
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

/* --- Lists and objects -------------------------------------------------- */

static int
ask_list(struct context *context, json_t *args, const struct output_view *view)
{
	struct list list = { .out = context->out, .view = view };
	int status = ask(context, args, take_rows, &list);

	/* Also after an error in the middle: JSON stays whole. */
	if (list.started)
		output_end(list.out);
	return status;
}

int
action_peers(struct context *context)
{
	return ask_list(context, NULL, &show_peers);
}

int
action_tunnels(struct context *context)
{
	return ask_list(context, NULL, &show_tunnels);
}

int
action_sessions(struct context *context)
{
	json_t *args = filter_args(context);

	if (args == NULL)
		return EXIT_USAGE;
	return ask_list(context, args, &show_sessions);
}

int
action_history(struct context *context)
{
	json_t *args;
	json_int_t limit;

	if (context->limit != NULL &&
	    parse_number(context, context->limit, LIMIT_MAX, &limit) != 0)
		return EXIT_USAGE;
	args = filter_args(context);
	if (args == NULL)
		return EXIT_USAGE;
	if (context->limit != NULL)
		json_object_set_new(args, "limit", json_integer(limit));
	return ask_list(context, args, &show_history);
}

static int
take_status(json_t *data, void *arg)
{
	show_status(arg, data);
	return 0;
}

int
action_status(struct context *context)
{
	return ask(context, NULL, take_status, context->out);
}

static int
take_session(json_t *data, void *arg)
{
	output_object(arg, &show_session, data);
	return 0;
}

int
action_session(struct context *context)
{
	json_int_t id;

	if (parse_number(context, context->args[0], ID_MAX, &id) != 0)
		return EXIT_USAGE;
	return ask(context, json_pack("{s:I}", "id", id), take_session,
	    context->out);
}

static const struct output_column version_columns[] = {
	{ "tunneld", "version", NULL, 0 },
	{ "tunnelctl", "tunnelctl", NULL, 0 },
	{ "name", "name", NULL, 0 },
	{ "pid", "pid", NULL, 0 },
	{ NULL, NULL, NULL, 0 },
};
static const struct output_view version_view = { version_columns, NULL, NULL };

static int
take_version(json_t *data, void *arg)
{
	json_object_set_new(data, "tunnelctl", json_string(VERSION));
	output_object(arg, &version_view, data);
	return 0;
}

int
action_version(struct context *context)
{
	return ask(context, NULL, take_version, context->out);
}

/* --- kill --------------------------------------------------------------- */

/* What all requests together did. */
struct killing {
	json_t *killed;
	json_t *not_found;
};

static int
take_killed(json_t *data, void *arg)
{
	struct killing *killing = arg;

	json_array_extend(killing->killed, json_object_get(data, "killed"));
	json_array_extend(killing->not_found,
	    json_object_get(data, "not_found"));
	return 0;
}

/* In as many requests as it takes. */
static int
kill_ids(struct context *context, struct killing *killing)
{
	json_t *ids = json_array();
	int status = EXIT_DONE;
	json_int_t id;

	/* Nothing is killed by a line that is wrong somewhere. */
	for (int i = 0; i < context->n_args && status == EXIT_DONE; i++)
		if (parse_number(context, context->args[i], ID_MAX, &id) != 0)
			status = EXIT_USAGE;
	for (int i = 0; i < context->n_args && status == EXIT_DONE; i++) {
		json_array_append_new(ids,
		    json_integer(strtoll(context->args[i], NULL, 10)));
		if (json_array_size(ids) < KILL_BATCH &&
		    i + 1 < context->n_args)
			continue;
		status = ask(context, json_pack("{s:O}", "ids", ids),
		    take_killed, killing);
		json_array_clear(ids);
	}
	json_decref(ids);
	return status;
}

static int
take_state(json_t *data, void *arg)
{
	const char *state = json_string_value(json_object_get(data, "state"));

	*(bool *)arg = state != NULL && strcmp(state, "closed") == 0;
	return 0;
}

/* Why this session cannot be killed: has it ended, or was it never there? */
static enum client_status
say_missing(const struct context *context, json_t *id)
{
	bool closed = false;
	struct client_request request = {
		.command = "session",
		.args = json_pack("{s:O}", "id", id),
		.type = JSON_OBJECT,
		.fn = take_state,
		.arg = &closed,
	};
	char error[ERROR_SIZE];
	enum client_status status = ask_quietly(context, &request, error,
	    sizeof error);

	json_decref(request.args);
	if (status == CLIENT_REFUSED)
		commands_error(context, "%s", error);
	else
		commands_error(context,
		    "session %" JSON_INTEGER_FORMAT " is %s",
		    json_integer_value(id), closed ? "closed already" : "gone");
	return status;
}

static void
say_not_found(const struct context *context, const json_t *ids)
{
	enum client_status status = CLIENT_OK;
	size_t n = json_array_size(ids), i;

	for (i = 0; i < n && i < MISSING_ASKED && status != CLIENT_LOST; i++)
		status = say_missing(context, json_array_get(ids, i));
	if (i < n)
		commands_error(context, "%zu more are not open", n - i);
}

static void
show_killed(struct output *out, const struct killing *killing)
{
	size_t n = json_array_size(killing->killed), len = 0;
	char ids[KILLED_SHOWN * 24 + 8] = "";

	if (n == 0 && json_array_size(killing->not_found) > 0)
		return;
	if (n == 0) {
		output_text(out, "no sessions");
		return;
	}
	for (size_t i = 0; i < n && i < KILLED_SHOWN; i++)
		len += (size_t)snprintf(ids + len, sizeof ids - len,
		    "%s%" JSON_INTEGER_FORMAT, i == 0 ? "" : ", ",
		    json_integer_value(json_array_get(killing->killed, i)));
	output_text(out, "killed %zu session%s: %s%s", n, n == 1 ? "" : "s",
	    ids, n > KILLED_SHOWN ? ", ..." : "");
}

int
action_kill(struct context *context)
{
	struct killing killing = { json_array(), json_array() };
	json_t *result;
	int status;

	if ((context->n_args > 0) + (context->tunnel != NULL) +
		(context->peer != NULL) !=
	    1) {
		commands_error(context, "give either IDs, --tunnel or --peer");
		json_decref(killing.killed);
		json_decref(killing.not_found);
		return EXIT_USAGE;
	}
	if (context->n_args > 0)
		status = kill_ids(context, &killing);
	else
		status = ask(context, filter_args(context), take_killed,
		    &killing);
	result = json_pack("{s:o, s:o}", "killed", killing.killed, "not_found",
	    killing.not_found);
	say_not_found(context, killing.not_found);
	if (status == EXIT_DONE || json_array_size(killing.killed) > 0)
		if (!output_whole(context->out, result))
			show_killed(context->out, &killing);
	if (status == EXIT_DONE && json_array_size(killing.not_found) > 0)
		status = EXIT_REFUSED;
	json_decref(result);
	return status;
}

/* --- Without a daemon --------------------------------------------------- */

int
action_secret(struct context *context)
{
	char error[ERROR_SIZE];

	if (pair_secret(context->out,
		context->n_args > 0 ? context->args[0] : NULL, error,
		sizeof error) == 0)
		return EXIT_DONE;
	commands_error(context, "%s", error);
	return EXIT_REFUSED;
}

int
action_pair(struct context *context)
{
	struct pair_names names = {
		.client = context->args[0],
		.address = context->args[1],
		.server = context->name,
	};
	char error[ERROR_SIZE];

	if (pair_print(context->out, &names, error, sizeof error) == 0)
		return EXIT_DONE;
	commands_error(context, "%s", error);
	return EXIT_USAGE;
}
