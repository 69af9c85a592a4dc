/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "show.h"

#define BATCH 1000	 /* ids in a request, which has a longest line */
#define KILLED_SHOWN 20	 /* ids that are named to people, ... */
#define MISSING_ASKED 20 /* ... and that are asked for, if not found */

static bool
has_selectors(const struct context *context)
{
	return (context->given & OPTION_SELECT) != 0;
}

/* --- The ids that are not there ----------------------------------------- */

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
	char error[ASK_ERROR_SIZE];
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

/* --- Asking ------------------------------------------------------------- */

/* Asks with these arguments, which it takes. */
typedef int ask_fn(struct context *context, json_t *args, void *arg);

/* For all ids of the command line, in as many requests as it takes. */
static int
ask_by_ids(struct context *context, ask_fn *fn, void *arg)
{
	json_t *ids = json_array();
	int status = EXIT_DONE;
	json_int_t id;

	/* Nothing is killed by a line that is wrong somewhere. */
	for (int i = 0; i < context->n_args && status == EXIT_DONE; i++)
		if (ask_number(context, context->args[i], ASK_ID_MAX, &id) != 0)
			status = EXIT_USAGE;
	for (int i = 0; i < context->n_args && status == EXIT_DONE; i++) {
		json_array_append_new(ids,
		    json_integer(strtoll(context->args[i], NULL, 10)));
		if (json_array_size(ids) < BATCH && i + 1 < context->n_args)
			continue;
		status = fn(context, json_pack("{s:O}", "ids", ids), arg);
		json_array_clear(ids);
	}
	json_decref(ids);
	return status;
}

static int
ask_either(struct context *context, ask_fn *fn, void *arg)
{
	json_t *args;

	if (!has_selectors(context))
		return ask_by_ids(context, fn, arg);
	args = ask_selectors(context);
	return args != NULL ? fn(context, args, arg) : EXIT_USAGE;
}

/* --- --dry-run ---------------------------------------------------------- */

struct trial {
	struct output *out;
	bool started;
	size_t n;
	json_t *left; /* {"ID": null}: ids not seen yet */
};

static int
take_sessions(json_t *data, void *arg)
{
	struct trial *trial = arg;
	json_t *row;
	char id[32];

	if (!trial->started)
		output_start(trial->out, &show_sessions);
	trial->started = true;
	for (size_t i = 0; i < json_array_size(data); i++) {
		row = json_array_get(data, i);
		output_row(trial->out, row);
		snprintf(id, sizeof id, "%" JSON_INTEGER_FORMAT,
		    json_integer_value(json_object_get(row, "id")));
		json_object_del(trial->left, id);
		trial->n++;
	}
	return output_broken(trial->out) ? -1 : 0;
}

static int
ask_sessions(struct context *context, json_t *args, void *arg)
{
	return ask_pieces(context, "sessions", args, take_sessions, arg);
}

/* The ids that were asked for and did not come. */
static json_t *
missing_ids(const struct context *context, const struct trial *trial)
{
	json_t *ids = json_array();
	json_int_t id;
	char text[32];

	for (int i = 0; i < context->n_args; i++) {
		id = strtoll(context->args[i], NULL, 10);
		snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, id);
		if (json_object_get(trial->left, text) != NULL) {
			json_array_append_new(ids, json_integer(id));
			json_object_del(trial->left, text);
		}
	}
	return ids;
}

static int
try_kill(struct context *context)
{
	struct trial trial = { .out = context->out, .left = json_object() };
	json_t *missing;
	char text[32];
	int status;

	for (int i = 0; i < context->n_args; i++) {
		snprintf(text, sizeof text, "%lld",
		    strtoll(context->args[i], NULL, 10));
		json_object_set_new(trial.left, text, json_null());
	}
	status = ask_either(context, ask_sessions, &trial);
	if (trial.started)
		output_end(trial.out);
	if (status == EXIT_DONE) {
		missing = missing_ids(context, &trial);
		say_not_found(context, missing);
		if (json_array_size(missing) > 0)
			status = EXIT_REFUSED;
		if (trial.n > 0)
			output_text(trial.out, "would kill %zu session%s",
			    trial.n, trial.n == 1 ? "" : "s");
		json_decref(missing);
	}
	json_decref(trial.left);
	return status;
}

/* --- For good ----------------------------------------------------------- */

/* What all requests together did. */
struct killing {
	json_t *killed;
	json_t *not_found;
	json_t *unreachable; /* pids of workers */
};

/* Each request may name the same. */
static void
add_once(json_t *list, json_t *value)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), value))
			return;
	json_array_append(list, value);
}

static int
take_killed(json_t *data, void *arg)
{
	const json_t *unreachable = json_object_get(data, "unreachable");
	struct killing *killing = arg;

	json_array_extend(killing->killed, json_object_get(data, "killed"));
	json_array_extend(killing->not_found,
	    json_object_get(data, "not_found"));
	for (size_t i = 0; i < json_array_size(unreachable); i++)
		add_once(killing->unreachable, json_array_get(unreachable, i));
	return 0;
}

static int
ask_kill(struct context *context, json_t *args, void *arg)
{
	return ask_object(context, NULL, args, take_killed, arg);
}

static void
show_killed(struct output *out, const struct killing *killing)
{
	size_t n = json_array_size(killing->killed), len = 0;
	char ids[KILLED_SHOWN * 24 + 8] = "";

	if (n == 0 &&
	    json_array_size(killing->not_found) +
		    json_array_size(killing->unreachable) >
		0)
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

static int
do_kill(struct context *context)
{
	struct killing killing = { json_array(), json_array(), json_array() };
	int status = ask_either(context, ask_kill, &killing);
	json_t *result = json_pack("{s:o, s:o}", "killed", killing.killed,
	    "not_found", killing.not_found);

	if (json_array_size(killing.unreachable) > 0)
		json_object_set(result, "unreachable", killing.unreachable);
	say_not_found(context, killing.not_found);
	ask_say_unreachable(context, killing.unreachable);
	if (status == EXIT_DONE || json_array_size(killing.killed) > 0)
		if (!output_whole(context->out, result))
			show_killed(context->out, &killing);
	if (status == EXIT_DONE &&
	    json_array_size(killing.not_found) +
		    json_array_size(killing.unreachable) >
		0)
		status = EXIT_REFUSED;
	json_decref(killing.unreachable);
	json_decref(result);
	return status;
}

int
action_kill(struct context *context)
{
	if ((context->n_args > 0) == has_selectors(context)) {
		commands_error(context,
		    "give either IDs or at least one of --tunnel, --peer, "
		    "--source, --older and --idle");
		return EXIT_USAGE;
	}
	if (context->dry_run)
		return ask_check_columns(context, &show_sessions) == 0 ?
		    try_kill(context) :
		    EXIT_USAGE;
	if ((context->given & OPTION_TABLE) != 0) {
		commands_error(context,
		    "--csv and --columns are for --dry-run");
		return EXIT_USAGE;
	}
	return do_kill(context);
}
