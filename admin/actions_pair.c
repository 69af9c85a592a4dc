/* SPDX-License-Identifier: ISC */
#include "actions.h"
#include "ask.h"
#include "pair.h"

int
action_secret(struct context *context)
{
	char error[ASK_ERROR_SIZE];

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
	char error[ASK_ERROR_SIZE];

	if (pair_print(context->out, &names, error, sizeof error) == 0)
		return EXIT_DONE;
	commands_error(context, "%s", error);
	return EXIT_USAGE;
}
