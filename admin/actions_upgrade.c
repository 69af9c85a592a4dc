/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include "ask.h"
#include "format.h"

/* The new worker has 30 s to get ready, and the old one to let go. */
#define PATIENCE 60

static int
take_upgraded(json_t *data, void *arg)
{
	struct context *context = arg;
	json_int_t n = json_integer_value(json_object_get(data, "sessions"));
	char version[40], pid[FORMAT_SIZE], old[FORMAT_SIZE];

	if (output_whole(context->out, data))
		return 0;
	output_text(context->out,
	    "upgraded to tunneld %s, pid %s; %" JSON_INTEGER_FORMAT
	    " session%s on in pid %s",
	    format_value(json_object_get(data, "version"), version,
		sizeof version),
	    format_value(json_object_get(data, "pid"), pid, sizeof pid), n,
	    n == 1 ? " runs" : "s run",
	    format_value(json_object_get(data, "old_pid"), old, sizeof old));
	return 0;
}

static int
take_replaced(json_t *data, void *arg)
{
	*(bool *)arg = json_is_true(json_object_get(data, "replaced"));
	return 0;
}

int
action_upgrade(struct context *context)
{
	struct client_request request = {
		.command = "upgrade",
		.type = JSON_OBJECT,
		.fn = take_upgraded,
		.arg = context,
		.patience = PATIENCE,
	};
	struct context reload = *context;
	bool replaced = true;
	int status;

	if (context->if_new) {
		status = ask_object(context, "version", NULL, take_replaced,
		    &replaced);
		if (status != EXIT_DONE)
			return status;
	}
	if (replaced)
		return ask_request(context, &request);
	reload.command = commands_lookup("reload");
	return action_reload(&reload);
}
