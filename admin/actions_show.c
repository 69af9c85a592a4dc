/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include "ask.h"
#include "build.h"
#include "show.h"

int
action_peers(struct context *context)
{
	return ask_list(context, NULL, NULL, &show_peers);
}

int
action_tunnels(struct context *context)
{
	return ask_list(context, NULL, NULL, &show_tunnels);
}

int
action_sessions(struct context *context)
{
	json_t *args = ask_selectors(context);

	if (args == NULL)
		return EXIT_USAGE;
	return ask_list(context, NULL, args, &show_sessions);
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
	return ask_object(context, NULL, NULL, take_status, context->out);
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

	if (ask_check_columns(context, &show_session) != 0 ||
	    ask_number(context, context->args[0], ASK_ID_MAX, &id) != 0)
		return EXIT_USAGE;
	return ask_object(context, NULL, json_pack("{s:I}", "id", id),
	    take_session, context->out);
}

static int
take_version(json_t *data, void *arg)
{
	json_object_set_new(data, "tunnelctl", json_string(VERSION));
	output_object(arg, &show_version, data);
	return 0;
}

int
action_version(struct context *context)
{
	if (ask_check_columns(context, &show_version) != 0)
		return EXIT_USAGE;
	return ask_object(context, NULL, NULL, take_version, context->out);
}
