/* SPDX-License-Identifier: ISC */
#include "admin_list.h"

#include <stdlib.h>
#include <string.h>

#include "admin_rows.h"
#include "session.h"

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

void
admin_list_sessions(struct admin_request *request,
    struct admin_context *context, int64_t *ids, size_t n)
{
	struct admin_list *list = calloc(1, sizeof *list);

	if (list == NULL) {
		free(ids);
		admin_answer(request, NULL);
		return;
	}
	list->context = context;
	list->ids = ids;
	list->n = n;
	admin_answer_list(request, admin_list_next, list, admin_list_free);
}

/* A list that is at hand already, as rows of one array. */
struct admin_array {
	json_t *rows;
	size_t next;
};

static json_t *
admin_array_next(void *state, bool *more)
{
	struct admin_array *array = state;
	json_t *piece = json_array();
	size_t n = json_array_size(array->rows);

	while (array->next < n && json_array_size(piece) < ADMIN_ROWS_MAX)
		json_array_append(piece,
		    json_array_get(array->rows, array->next++));
	*more = array->next < n;
	return piece;
}

static void
admin_array_free(void *state)
{
	struct admin_array *array = state;

	json_decref(array->rows);
	free(array);
}

void
admin_list_array(struct admin_request *request, json_t *rows)
{
	struct admin_array *array = calloc(1, sizeof *array);

	if (array == NULL || rows == NULL) {
		free(array);
		json_decref(rows);
		admin_answer(request, NULL);
		return;
	}
	array->rows = rows;
	admin_answer_list(request, admin_array_next, array, admin_array_free);
}

bool
admin_arg_string(struct admin_request *request, json_t *args, const char *key,
    const char **out)
{
	json_t *value = json_object_get(args, key);

	*out = NULL;
	if (value == NULL || json_is_null(value))
		return true;
	*out = json_string_value(value);
	if (*out != NULL)
		return true;
	admin_fail(request, "bad_request", "%s must be a string", key);
	return false;
}
