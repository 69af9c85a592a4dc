/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include "ask.h"
#include "format.h"
#include "log.h"

/* --- disconnect --------------------------------------------------------- */

static int
take_disconnected(json_t *data, void *arg)
{
	char name[80];

	if (!output_whole(arg, data))
		output_text(arg, "disconnected %s, which comes back by itself",
		    format_value(json_object_get(data, "peer"), name,
			sizeof name));
	return 0;
}

int
action_disconnect(struct context *context)
{
	json_t *args = json_object();

	if (ask_put_text(context, args, "peer", context->args[0]) != 0) {
		json_decref(args);
		return EXIT_USAGE;
	}
	return ask_object(context, NULL, args, take_disconnected, context->out);
}

/* --- disable, enable ---------------------------------------------------- */

struct switched {
	struct context *context;
	bool partly; /* some sessions may not be closed */
};

static int
take_switched(json_t *data, void *arg)
{
	struct switched *switched = arg;
	struct output *out = switched->context->out;
	json_t *pids = json_object_get(data, "unreachable");
	bool off = json_is_true(json_object_get(data, "disabled"));
	bool changed = json_is_true(json_object_get(data, "changed"));
	size_t n = json_array_size(json_object_get(data, "killed"));
	char kind[20], name[160], killed[64] = "";

	ask_say_unreachable(switched->context, pids);
	switched->partly = json_array_size(pids) > 0;
	if (output_whole(out, data))
		return 0;
	if (n > 0)
		snprintf(killed, sizeof killed, "; closed %zu session%s", n,
		    n == 1 ? "" : "s");
	output_text(out, "%s %s %s %s%s%s",
	    format_value(json_object_get(data, "kind"), kind, sizeof kind),
	    format_value(json_object_get(data, "name"), name, sizeof name),
	    changed ? "is" : "was", off ? "disabled" : "enabled",
	    changed ? "" : " already", killed);
	return 0;
}

static int
switch_it(struct context *context)
{
	struct switched switched = { .context = context };
	json_t *args;
	int status;

	if ((context->n_args > 0) + (context->tunnel != NULL) +
		(context->peer != NULL) !=
	    1) {
		commands_error(context,
		    "give either a NAME, --tunnel or --peer");
		return EXIT_USAGE;
	}
	args = ask_selectors(context);
	if (args == NULL)
		return EXIT_USAGE;
	if (context->n_args > 0 &&
	    ask_put_text(context, args, "name", context->args[0]) != 0) {
		json_decref(args);
		return EXIT_USAGE;
	}
	if (context->kill)
		json_object_set_new(args, "kill", json_true());
	status = ask_object(context, NULL, args, take_switched, &switched);
	return status == EXIT_DONE && switched.partly ? EXIT_REFUSED : status;
}

int
action_disable(struct context *context)
{
	return switch_it(context);
}

int
action_enable(struct context *context)
{
	return switch_it(context);
}

/* --- log-level ---------------------------------------------------------- */

static int
take_level(json_t *data, void *arg)
{
	char level[40], was[40];

	if (!output_whole(arg, data))
		output_text(arg, "log level is %s, was %s",
		    format_value(json_object_get(data, "level"), level,
			sizeof level),
		    format_value(json_object_get(data, "was"), was,
			sizeof was));
	return 0;
}

int
action_log_level(struct context *context)
{
	const char *level = context->args[0];
	enum log_level known;

	if (log_level_parse(level, &known) == 0)
		return ask_object(context, NULL,
		    json_pack("{s:s}", "level", level), take_level,
		    context->out);
	commands_error(context,
	    "there is no level '%s'; there are: error, warning, notice, info, "
	    "debug",
	    level);
	return EXIT_USAGE;
}
