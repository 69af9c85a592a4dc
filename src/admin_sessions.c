/* SPDX-License-Identifier: ISC */
#include <stdlib.h>

#include "admin_rows.h"
#include "admin_select.h"
#include "session.h"

/* --- those of this worker ------------------------------------------------------ */

/* Live sessions that are sent in pieces: which, and how far it is. */
struct admin_list {
	struct admin_context *context;
	int64_t *ids;
	size_t n, next;
};

static void
admin_list_free(void *state)
{
	struct admin_list *list = state;

	if (list == NULL)
		return;
	free(list->ids);
	free(list);
}

/* One row; NULL without an error for a session that has ended meanwhile. */
static json_t *
admin_list_row(struct admin_list *list, size_t i, bool *failed)
{
	const struct session *session;
	json_t *json;

	session = tunnels_find_id(list->context->tunnels, list->ids[i]);
	if (session == NULL)
		return NULL;
	json = admin_row_session(session);
	*failed = json == NULL;
	return json;
}

static json_t *
admin_list_next(void *state, bool *more)
{
	struct admin_list *list = state;
	json_t *piece = json_array(), *row;
	bool failed = false;

	while (list->next < list->n &&
	    json_array_size(piece) < ADMIN_ROWS_MAX) {
		row = admin_list_row(list, list->next++, &failed);
		if (failed ||
		    (row != NULL && json_array_append_new(piece, row) != 0)) {
			json_decref(piece);
			return NULL;
		}
	}
	*more = list->next < list->n;
	return piece;
}

/* Takes ids; NULL: out of memory. */
static struct admin_list *
admin_list_new(struct admin_context *context, int64_t *ids, size_t n)
{
	struct admin_list *list = calloc(1, sizeof *list);

	if (list == NULL || ids == NULL) {
		free(list);
		free(ids);
		return NULL;
	}
	list->context = context;
	list->ids = ids;
	list->n = n;
	return list;
}

/* --- with those of other workers -------------------------------------------- */

/* Those of other workers, which are the older ones, then ours. */
struct admin_merged {
	struct admin_request *request;
	struct admin_context *context;
	json_t *args; /* of the request */
	struct admin_ask *ask;
	struct admin_list *own;
};

static void
merged_free(void *state)
{
	struct admin_merged *merged = state;

	admin_ask_free(merged->ask);
	admin_list_free(merged->own);
	free(merged);
}

static json_t *
merged_next(void *state, bool *more)
{
	struct admin_merged *merged = state;
	json_t *piece = admin_ask_next(merged->ask, more);

	if (piece == NULL || *more || json_array_size(piece) > 0) {
		*more = true;
		return piece;
	}
	json_decref(piece);
	return admin_list_next(merged->own, more);
}

static void
sessions_asked(void *arg)
{
	struct admin_merged *merged = arg;
	struct admin_request *request = merged->request;
	struct admin_selectors selectors;
	int64_t *ids;
	size_t n;

	admin_request_on_cancel(request, NULL, NULL);
	if (!admin_arg_selectors(request, merged->args, merged->context,
		&selectors) ||
	    (selectors.absent &&
		admin_select_is_nowhere(request, merged->args, merged->context,
		    merged->ask))) {
		merged_free(merged);
		return;
	}
	ids = admin_select(merged->context, &selectors, NULL, &n);
	merged->own = admin_list_new(merged->context, ids, n);
	if (merged->own == NULL) {
		merged_free(merged);
		admin_answer(request, NULL);
		return;
	}
	admin_answer_list(request, merged_next, merged, merged_free);
	admin_list_end_ask(request, merged->ask);
}

static void
sessions_ask(struct admin_request *request, json_t *args,
    struct admin_context *context, const struct admin_selectors *selectors)
{
	struct admin_merged *merged = calloc(1, sizeof *merged);
	struct admin_question question = {
		.command = "sessions",
		.args = admin_select_relay(selectors, args),
		.whom = request,
	};

	if (merged != NULL) {
		merged->request = request;
		merged->context = context;
		merged->args = args;
		merged->ask = admin_workers_ask(context->workers, &question,
		    sessions_asked, merged);
	}
	json_decref(question.args);
	if (merged == NULL || merged->ask == NULL) {
		free(merged);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, merged_free, merged);
}

/* --- the command ------------------------------------------------------------- */

void
admin_sessions(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_selectors selectors;
	struct admin_list *list;
	int64_t *ids;
	size_t n;

	if (!admin_arg_selectors(request, args, context, &selectors))
		return;
	if (admin_has_workers(context)) {
		sessions_ask(request, args, context, &selectors);
		return;
	}
	ids = admin_select(context, &selectors, NULL, &n);
	list = admin_list_new(context, ids, n);
	if (list == NULL)
		admin_answer(request, NULL);
	else
		admin_answer_list(request, admin_list_next, list,
		    admin_list_free);
}
