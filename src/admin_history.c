/* SPDX-License-Identifier: ISC */
#include "admin_list.h"

#include <stdlib.h>
#include <string.h>

#include "admin_rows.h"
#include "history_json.h"
#include "session.h"

#define DEADLINE_LIST 10.0 /* seconds; a client waits for 30 */
#define DEADLINE_SUMS 20.0 /* of what must read much */

/* --- Rows of the ledger, in pieces ----------------------------------------- */

struct admin_found {
	struct history_rows rows; /* ours */
	size_t next;
};

static void
admin_found_free(void *state)
{
	struct admin_found *found = state;

	history_rows_clear(&found->rows);
	free(found);
}

static json_t *
admin_found_next(void *state, bool *more)
{
	struct admin_found *found = state;
	json_t *piece = json_array();

	while (found->next < found->rows.n &&
	    json_array_size(piece) < ADMIN_ROWS_MAX)
		if (json_array_append_new(piece,
			history_json_row(&found->rows, found->next++)) != 0) {
			json_decref(piece);
			return NULL;
		}
	*more = found->next < found->rows.n;
	return piece;
}

static void *
copy_array(const void *rows, size_t n, size_t size)
{
	void *copy = calloc(n + 1, size);

	if (copy != NULL && n > 0)
		memcpy(copy, rows, n * size);
	return copy;
}

#define COPY(member)                                     \
	((to->member = copy_array(from->member, from->n, \
	      sizeof *from->member)) != NULL)

/* The ledger's rows go when its callback returns. */
static bool
copy_rows(struct history_rows *to, const struct history_rows *from)
{
	to->what = from->what;
	to->n = from->n;
	switch (from->what) {
	case HISTORY_SESSIONS:
		return COPY(sessions);
	case HISTORY_LINKS:
		return COPY(links);
	case HISTORY_STATS:
		return COPY(stats);
	case HISTORY_UPTIME:
		return COPY(uptimes);
	case HISTORY_CHANGES:
		return COPY(changes);
	}
	return false;
}

static void
admin_answer_rows(struct admin_request *request,
    const struct history_rows *rows)
{
	struct admin_found *found = calloc(1, sizeof *found);

	if (found == NULL || !copy_rows(&found->rows, rows)) {
		free(found);
		admin_answer(request, NULL);
		return;
	}
	admin_answer_list(request, admin_found_next, found, admin_found_free);
}

/* --- Asking the ledger ------------------------------------------------------ */

/* A request that waits for the ledger; the one of them that ends first takes
 * the other away. */
struct admin_query {
	struct admin_request *request;
	struct ledger_request *ledger;
	int64_t id; /* `session ID`: an object, not a list; else 0 */
};

static void
admin_query_cancel(void *arg)
{
	struct admin_query *query = arg;

	ledger_query_cancel(query->ledger);
	free(query);
}

static void
admin_query_done(const struct history_rows *rows, const char *error, void *arg)
{
	struct admin_query *query = arg;
	struct admin_request *request = query->request;
	int64_t id = query->id;

	free(query);
	admin_request_on_cancel(request, NULL, NULL);
	if (error != NULL)
		admin_fail(request,
		    strcmp(error, "timed out") == 0 ? "timeout" : "unavailable",
		    "ledger: %s", error);
	else if (id == 0)
		admin_answer_rows(request, rows);
	else if (rows->n == 0)
		admin_fail(request, "not_found", "no session has the id %lld",
		    (long long)id);
	else
		admin_answer(request, history_json_session(&rows->sessions[0]));
}

static void
admin_query_start(struct admin_request *request,
    const struct admin_context *context, const struct history_query *what)
{
	struct admin_query *query = calloc(1, sizeof *query);
	bool sums = what->what == HISTORY_STATS || what->what == HISTORY_UPTIME;

	if (query == NULL) {
		admin_answer(request, NULL);
		return;
	}
	query->request = request;
	query->id = what->id;
	query->ledger = ledger_query(context->ledger, what,
	    sums ? DEADLINE_SUMS : DEADLINE_LIST, admin_query_done, query);
	if (query->ledger == NULL) {
		free(query);
		admin_fail(request, "unavailable",
		    "too many ledger queries wait already");
		return;
	}
	admin_request_on_cancel(request, admin_query_cancel, query);
}

static void
admin_query_args(struct admin_request *request, const json_t *args,
    const struct admin_context *context, enum history_what what)
{
	struct history_json_query asked;

	if (history_json_query(args, what, &asked) != 0)
		admin_fail(request, "bad_request", "%s", asked.error);
	else
		admin_query_start(request, context, &asked.query);
}

/* --- The commands ----------------------------------------------------------- */

void
admin_session(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *id = json_object_get(args, "id");
	struct history_query query = { .what = HISTORY_SESSIONS };
	const struct session *session;

	if (!json_is_integer(id) || json_integer_value(id) <= 0) {
		admin_fail(request, "bad_request",
		    "id must be a positive integer");
		return;
	}
	query.id = json_integer_value(id);
	session = tunnels_find_id(context->tunnels, query.id);
	if (session != NULL)
		admin_answer(request, admin_row_session(session));
	else
		admin_query_start(request, context, &query);
}

void
admin_history(struct admin_request *request, json_t *args, void *arg)
{
	admin_query_args(request, args, arg, HISTORY_SESSIONS);
}

void
admin_links(struct admin_request *request, json_t *args, void *arg)
{
	admin_query_args(request, args, arg, HISTORY_LINKS);
}

void
admin_stats(struct admin_request *request, json_t *args, void *arg)
{
	admin_query_args(request, args, arg, HISTORY_STATS);
}

void
admin_uptime(struct admin_request *request, json_t *args, void *arg)
{
	admin_query_args(request, args, arg, HISTORY_UPTIME);
}

void
admin_changes(struct admin_request *request, json_t *args, void *arg)
{
	admin_query_args(request, args, arg, HISTORY_CHANGES);
}
