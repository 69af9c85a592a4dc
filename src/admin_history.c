/* SPDX-License-Identifier: ISC */
#include "admin_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_rows.h"
#include "session.h"

#define ADMIN_HISTORY_DEFAULT 100
#define ADMIN_HISTORY_MAX 10000

/* A request that waits for the ledger; the one of them that ends first takes
 * the other away. */
struct admin_query {
	struct admin_context *context;
	struct admin_request *request;
	struct ledger_request *ledger;
	bool one; /* `session ID`: an object, not a list */
	int64_t id;
};

static void
admin_query_cancel(void *arg)
{
	struct admin_query *query = arg;

	ledger_query_cancel(query->ledger);
	free(query);
}

static void
admin_query_done(const struct ledger_rows *rows, void *arg)
{
	struct admin_query *query = arg;

	admin_request_on_cancel(query->request, NULL, NULL);
	if (rows->error != NULL)
		admin_fail(query->request, "unavailable", "ledger: %s",
		    rows->error);
	else if (!query->one)
		admin_list_rows(query->request, query->context, rows);
	else if (rows->n_sessions == 0)
		admin_fail(query->request, "not_found",
		    "no session has the id %lld", (long long)query->id);
	else
		admin_answer(query->request,
		    admin_row_ledger_session(&rows->sessions[0]));
	free(query);
}

static void
admin_query_start(struct admin_request *request, struct admin_context *context,
    const struct ledger_query *what)
{
	struct admin_query *query = calloc(1, sizeof *query);

	if (query == NULL) {
		admin_answer(request, NULL);
		return;
	}
	query->context = context;
	query->request = request;
	query->one = what->id != 0;
	query->id = what->id;
	query->ledger = ledger_query(context->ledger, what, admin_query_done,
	    query);
	if (query->ledger == NULL) {
		free(query);
		admin_fail(request, "unavailable",
		    "too many ledger queries wait already");
		return;
	}
	admin_request_on_cancel(request, admin_query_cancel, query);
}

void
admin_session(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *id = json_object_get(args, "id");
	struct ledger_query query = { 0 };
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
	struct ledger_query query = { .closed_only = true,
		.limit = ADMIN_HISTORY_DEFAULT };
	json_t *limit = json_object_get(args, "limit");
	char peer[NAME_SIZE];
	const char *slash;

	if (!admin_arg_string(request, args, "tunnel", &query.tunnel) ||
	    !admin_arg_string(request, args, "peer", &query.peer))
		return;
	if (limit != NULL &&
	    (!json_is_integer(limit) || json_integer_value(limit) < 1 ||
		json_integer_value(limit) > ADMIN_HISTORY_MAX)) {
		admin_fail(request, "bad_request",
		    "limit must be an integer from 1 to %d", ADMIN_HISTORY_MAX);
		return;
	}
	if (limit != NULL)
		query.limit = (unsigned)json_integer_value(limit);
	/* "PEER/NAME" */
	slash = query.tunnel == NULL ? NULL : strchr(query.tunnel, '/');
	if (slash != NULL && query.peer == NULL) {
		snprintf(peer, sizeof peer, "%.*s", (int)(slash - query.tunnel),
		    query.tunnel);
		query.peer = peer;
		query.tunnel = slash + 1;
	}
	admin_query_start(request, arg, &query);
}
