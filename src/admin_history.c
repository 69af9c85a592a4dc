/* SPDX-License-Identifier: ISC */
#include "admin_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_rows.h"
#include "history_json.h"
#include "session.h"

#define DEADLINE_LIST 10.0 /* seconds; a client waits for 30 */
#define DEADLINE_SUMS 20.0 /* of what must read much */
/* Rows in memory for all clients that have yet to take them: some 80 MB. A
 * list of one piece needs no place: nobody's keeps it out. */
#define ROWS_KEPT_MAX 100000

/* --- Rows of the ledger, in pieces ----------------------------------------- */

struct admin_found {
	struct admin_context *context; /* counts the rows */
	struct history_rows rows;      /* ours */
	size_t next;
};

static void
admin_found_free(void *state)
{
	struct admin_found *found = state;

	found->context->rows_kept -= found->rows.n;
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
copy_array(const void *rows, size_t n, size_t more, size_t size)
{
	void *copy = calloc(n + more + 1, size);

	if (copy != NULL && n > 0)
		memcpy(copy, rows, n * size);
	return copy;
}

#define COPY(member)                                           \
	((to->member = copy_array(from->member, from->n, more, \
	      sizeof *from->member)) != NULL)

/* The ledger's rows go when its callback returns. Room for `more`. */
static bool
copy_rows(struct history_rows *to, const struct history_rows *from, size_t more)
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

static int
uptime_compare(const void *name, const void *row)
{
	return strcmp(name, ((const struct history_uptime *)row)->peer);
}

/*
 * Of a peer whose link never was up the ledger knows nothing, and it is the
 * one that an operator most needs to see. rows: by peer, with room for them.
 */
static void
add_never_up(struct history_rows *rows, const struct admin_context *context,
    size_t limit)
{
	double known = rows->n > 0 ?
	    rows->uptimes[0].known :
	    (double)(loop_wall_us() - context->started_us) / 1e6;
	size_t i, n = rows->n;

	for (i = 0; i < peers_count(context->peers) && rows->n < limit; i++) {
		const char *name = peer_name(peers_at(context->peers, i));
		struct history_uptime *row = &rows->uptimes[rows->n];

		if (bsearch(name, rows->uptimes, n, sizeof *row,
			uptime_compare) != NULL)
			continue;
		*row = (struct history_uptime){ .known = known };
		snprintf(row->peer, sizeof row->peer, "%s", name);
		rows->n++;
	}
}

static void
admin_answer_rows(struct admin_request *request, struct admin_context *context,
    const struct history_rows *rows, size_t never_up)
{
	size_t more = never_up > 0 ? peers_count(context->peers) : 0;
	struct admin_found *found;

	if (rows->n > ADMIN_ROWS_MAX &&
	    context->rows_kept + rows->n > ROWS_KEPT_MAX) {
		admin_fail(request, "unavailable",
		    "too many rows wait for clients to take them: ask for "
		    "fewer, or later");
		return;
	}
	found = calloc(1, sizeof *found);
	if (found == NULL || !copy_rows(&found->rows, rows, more)) {
		free(found);
		admin_answer(request, NULL);
		return;
	}
	if (never_up > 0)
		add_never_up(&found->rows, context, never_up);
	found->context = context;
	context->rows_kept += found->rows.n;
	admin_answer_list(request, admin_found_next, found, admin_found_free);
}

/* --- Asking the ledger ------------------------------------------------------ */

/* A request that waits for the ledger; the one of them that ends first takes
 * the other away. */
struct admin_query {
	struct admin_request *request;
	struct admin_context *context;
	struct ledger_request *ledger;
	int64_t id;	 /* `session ID`: an object, not a list; else 0 */
	size_t never_up; /* add peers that were, up to so many rows; 0: no */
};

static void
admin_query_cancel(void *arg)
{
	struct admin_query *query = arg;

	ledger_query_cancel(query->ledger);
	free(query);
}

/* No worker has it. */
static json_t *
session_of_ledger(const struct ledger_session *session)
{
	json_t *row = history_json_session(session);

	if (row != NULL)
		json_object_set_new(row, "worker", json_null());
	return row;
}

static void
admin_query_done(const struct history_rows *rows, const char *error, void *arg)
{
	struct admin_query *query = arg;
	struct admin_request *request = query->request;
	struct admin_context *context = query->context;
	size_t never_up = query->never_up;
	int64_t id = query->id;

	free(query);
	admin_request_on_cancel(request, NULL, NULL);
	if (error != NULL)
		admin_fail(request,
		    strcmp(error, "timed out") == 0 ? "timeout" : "unavailable",
		    "ledger: %s", error);
	else if (id == 0)
		admin_answer_rows(request, context, rows, never_up);
	else if (rows->n == 0)
		admin_fail(request, "not_found", "no session has the id %lld",
		    (long long)id);
	else
		admin_answer(request, session_of_ledger(&rows->sessions[0]));
}

static void
admin_query_start(struct admin_request *request, struct admin_context *context,
    const struct history_query *what)
{
	struct admin_query *query = calloc(1, sizeof *query);
	bool sums = what->what == HISTORY_STATS || what->what == HISTORY_UPTIME;

	if (query == NULL) {
		admin_answer(request, NULL);
		return;
	}
	query->request = request;
	query->context = context;
	query->id = what->id;
	if (what->what == HISTORY_UPTIME && what->per == HISTORY_PER_ALL &&
	    what->peer == NULL)
		query->never_up = what->limit > 0 ? what->limit : 100;
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
    struct admin_context *context, enum history_what what)
{
	struct history_json_query asked;

	if (history_json_query(args, what, &asked) != 0)
		admin_fail(request, "bad_request", "%s", asked.error);
	else
		admin_query_start(request, context, &asked.query);
}

/* --- One session, wherever it is ----------------------------------------------- */

/* One that is not found here: perhaps another worker has it. */
struct admin_elsewhere {
	struct admin_request *request;
	struct admin_context *context;
	struct admin_ask *ask;
	int64_t id;
};

static void
elsewhere_free(void *arg)
{
	struct admin_elsewhere *job = arg;

	admin_ask_free(job->ask);
	free(job);
}

static void
elsewhere_asked(void *arg)
{
	struct history_query query = { .what = HISTORY_SESSIONS };
	struct admin_elsewhere *job = arg;
	struct admin_request *request = job->request;
	struct admin_context *context = job->context;
	json_t *rows, *row;
	bool more;

	query.id = job->id;
	admin_request_on_cancel(request, NULL, NULL);
	rows = admin_ask_next(job->ask, &more);
	row = json_incref(json_array_get(rows, 0));
	json_decref(rows);
	elsewhere_free(job);
	if (row != NULL)
		admin_answer(request, row);
	else
		admin_query_start(request, context, &query);
}

static void
elsewhere_ask(struct admin_request *request, struct admin_context *context,
    int64_t id)
{
	struct admin_elsewhere *job = calloc(1, sizeof *job);
	struct admin_question question = { .command = "sessions" };

	question.args = json_pack("{s:[I]}", "ids", (json_int_t)id);
	if (job != NULL) {
		job->request = request;
		job->context = context;
		job->id = id;
		job->ask = admin_workers_ask(context->workers, &question,
		    elsewhere_asked, job);
	}
	json_decref(question.args);
	if (job == NULL || job->ask == NULL) {
		free(job);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, elsewhere_free, job);
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
	else if (admin_has_workers(context))
		elsewhere_ask(request, context, query.id);
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
