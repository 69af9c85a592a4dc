/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "format.h"
#include "log.h"

#define VALUE_SIZE 400
#define KEY_WIDTH 20

/* --- What changes --------------------------------------------------------- */

static void
format_setting(const json_t *value, char *buf, size_t size)
{
	char *text = NULL;

	if (value != NULL && !json_is_null(value))
		text = json_dumps(value,
		    JSON_ENCODE_ANY | JSON_ENSURE_ASCII |
			JSON_REAL_PRECISION(12));
	snprintf(buf, size, "%s", text == NULL ? "not set" : text);
	free(text);
}

static void
show_key(struct output *out, const json_t *key)
{
	const json_t *before = json_object_get(key, "before");
	const json_t *after = json_object_get(key, "after");
	char name[80], old[VALUE_SIZE], new[VALUE_SIZE];

	format_value(json_object_get(key, "key"), name, sizeof name);
	format_setting(before, old, sizeof old);
	format_setting(after, new, sizeof new);
	if (json_is_null(before) && json_is_null(after))
		output_text(out, "    %-*s another one", KEY_WIDTH, name);
	else
		output_text(out, "    %-*s %s -> %s", KEY_WIDTH, name, old,
		    new);
}

static void
show_change(struct output *out, const json_t *change)
{
	const json_t *keys = json_object_get(change, "keys");
	const json_t *name = json_object_get(change, "name");
	char what[20], section[20], called[160], effect[300];

	output_text(out, "%s %s%s%s: %s",
	    format_value(json_object_get(change, "what"), what, sizeof what),
	    format_value(json_object_get(change, "section"), section,
		sizeof section),
	    json_is_string(name) ? " " : "",
	    json_is_string(name) ? format_value(name, called, sizeof called) :
				   "",
	    format_value(json_object_get(change, "effect"), effect,
		sizeof effect));
	for (size_t i = 0; i < json_array_size(keys); i++)
		show_key(out, json_array_get(keys, i));
}

/* Returns how many there are. */
static size_t
show_changes(struct output *out, const json_t *data)
{
	const json_t *changes = json_object_get(data, "changes");
	size_t n = json_array_size(changes);

	for (size_t i = 0; i < n; i++)
		show_change(out, json_array_get(changes, i));
	return n;
}

/* --- The answer ----------------------------------------------------------- */

static int
take_reloaded(json_t *data, void *arg)
{
	struct context *context = arg;
	size_t n;

	if (output_whole(context->out, data))
		return 0;
	n = show_changes(context->out, data);
	if (n == 0)
		output_text(context->out, "nothing to change");
	else if (json_is_true(json_object_get(data, "applied")))
		output_text(context->out, "reloaded: %zu change%s", n,
		    n == 1 ? "" : "s");
	else
		output_text(context->out,
		    "nothing was changed: %zu change%s would be made "
		    "(addresses were not tried)",
		    n, n == 1 ? "" : "s");
	return 0;
}

static void
say_error(const struct context *context, const json_t *error)
{
	const char *file = json_string_value(json_object_get(error, "file"));
	const char *message = json_string_value(json_object_get(error,
	    "message"));
	json_int_t line = json_integer_value(json_object_get(error, "line"));
	char where[400] = "", why[1200], number[32] = "";

	if (message == NULL)
		message = "an error without a word";
	log_escape(why, sizeof why, message, strlen(message));
	if (file != NULL)
		log_escape(where, sizeof where, file, strlen(file));
	if (file != NULL && line > 0)
		snprintf(number, sizeof number, ":%" JSON_INTEGER_FORMAT, line);
	commands_error(context, "%s%s%s%s", where, number,
	    file != NULL ? ": " : "", why);
}

/* Errors for people go to stderr also where JSON is asked for. */
static void
take_refused(json_t *details, void *arg)
{
	struct context *context = arg;
	const json_t *errors = json_object_get(details, "errors");

	json_object_set_new(details, "dry_run", json_boolean(context->dry_run));
	json_object_set_new(details, "applied", json_false());
	if (!output_whole(context->out, details) && context->dry_run)
		show_changes(context->out, details);
	output_flush(context->out);
	for (size_t i = 0; i < json_array_size(errors); i++)
		say_error(context, json_array_get(errors, i));
	commands_error(context,
	    context->dry_run ? "it would be refused" :
			       "refused, nothing was changed");
}

int
action_reload(struct context *context)
{
	struct client_request request = {
		.command = "reload",
		.type = JSON_OBJECT,
		.fn = take_reloaded,
		.arg = context,
		.refused = take_refused,
	};

	if (context->dry_run)
		request.args = json_pack("{s:b}", "dry_run", 1);
	return ask_request(context, &request);
}
