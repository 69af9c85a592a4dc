/* SPDX-License-Identifier: ISC */
#include "admin_list.h"

#include <stdlib.h>
#include <string.h>

/* A list that is at hand already, as rows of one array. */
struct admin_array {
	json_t *rows;
	size_t next;
};

json_t *
admin_list_piece(const json_t *rows, size_t *next)
{
	json_t *piece = json_array();
	size_t n = json_array_size(rows);

	while (*next < n && json_array_size(piece) < ADMIN_ROWS_MAX)
		json_array_append(piece, json_array_get(rows, (*next)++));
	return piece;
}

static json_t *
admin_array_next(void *state, bool *more)
{
	struct admin_array *array = state;
	json_t *piece = admin_list_piece(array->rows, &array->next);

	*more = array->next < json_array_size(array->rows);
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

/* --- with others ------------------------------------------------------------- */

bool
admin_reply_is_not_found(const struct admin_reply *reply)
{
	return reply->end == ADMIN_REPLY_REFUSED &&
	    strcmp(reply->code, "not_found") == 0;
}

void
admin_list_end_ask(struct admin_request *request, const struct admin_ask *ask)
{
	char text[400];

	if (admin_ask_describe(ask, text, sizeof text)[0] != '\0')
		admin_list_end(request, "timeout", "%s", text);
}
