/* SPDX-License-Identifier: ISC */
#include <stdio.h>

#include "admin_list.h"
#include "admin_select.h"

static bool
reload_read(struct admin_request *request, json_t *args, bool *dry_run)
{
	static const char *const keys[] = { "dry_run", NULL };
	const json_t *value = json_object_get(args, "dry_run");

	if (!admin_arg_keys(request, args, keys))
		return false;
	if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
		admin_fail(request, "bad_request", "dry_run must be a boolean");
		return false;
	}
	*dry_run = json_is_true(value);
	return true;
}

static void
reload_refuse(struct admin_request *request, const struct admin_reload *reload)
{
	size_t n = json_array_size(reload->errors);
	const char *first = json_string_value(
	    json_object_get(json_array_get(reload->errors, 0), "message"));
	char more[40] = "";

	if (n > 1)
		snprintf(more, sizeof more, " (and %zu more)", n - 1);
	admin_refuse(request,
	    json_pack("{s:O, s:O}", "changes", reload->changes, "errors",
		reload->errors),
	    "%.400s%s", first == NULL ? "out of memory" : first, more);
}

void
admin_reload(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_reload reload = { .dry_run = false };
	struct admin_change change = { .command = "reload" };
	char who[ADMIN_WHO_SIZE];

	if (admin_refuse_draining(request, context) ||
	    !reload_read(request, args, &reload.dry_run))
		return;
	reload.by = admin_request_who(request, who, sizeof who);
	context->reload(&reload, context->reload_arg);
	if (reload.applied) {
		change.detail = reload.sum;
		admin_record(request, context, &change);
	}
	if (reload.refused)
		reload_refuse(request, &reload);
	else
		admin_answer(request,
		    json_pack("{s:b, s:b, s:O, s:O}", "dry_run", reload.dry_run,
			"applied", reload.applied, "changes", reload.changes,
			"errors", reload.errors));
	json_decref(reload.changes);
	json_decref(reload.errors);
}
