/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_list.h"
#include "admin_rows.h"
#include "descriptor.h"
#include "history_json.h"
#include "log.h"

/* --- this worker ------------------------------------------------------------- */

static json_t *
admin_row_master(const struct admin_context *context)
{
	return context->master == 0 ? json_null() :
				      json_integer(context->master);
}

static bool
admin_is_replaced(const struct admin_context *context)
{
	return context->replaced != NULL &&
	    context->replaced(context->upgrade_arg);
}

/* What it is, as status has it of all workers, and version of this one. */
static json_t *
admin_row_worker(const struct admin_context *context)
{
	/* clang-format off */
	return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:i, s:n}",
	    "pid", (json_int_t)getpid(),
	    "state", context->draining_us != 0 ? "draining" : "current",
	    "version", context->version,
	    "started_at", admin_row_time(context->started_us),
	    "draining_since", admin_row_time(context->draining_us),
	    "until", admin_row_time(context->drain_until_us),
	    "sessions", (int)context->tunnels->n_sessions,
	    "error");
	/* clang-format on */
}

void
admin_version(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *row = admin_row_worker(context);

	(void)args;
	json_object_del(row, "error");
	json_object_set_new(row, "name",
	    json_string(context->config->daemon.name));
	json_object_set_new(row, "master", admin_row_master(context));
	json_object_set_new(row, "replaced",
	    json_boolean(admin_is_replaced(context)));
	admin_answer(request, row);
}

static json_t *
admin_all_peers(struct admin_context *context)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < peers_count(context->peers); i++)
		json_array_append_new(list,
		    admin_row_peer(peers_at(context->peers, i),
			context->tunnels));
	return list;
}

static json_t *
admin_all_tunnels(struct admin_context *context)
{
	json_t *list = json_array();
	const struct tunnel *tunnel;

	/* Of one that drains, those that keep it from being done. */
	TAILQ_FOREACH(tunnel, &context->tunnels->all, entry)
		if (context->draining_us == 0 || tunnel->n_sessions > 0)
			json_array_append_new(list, admin_row_tunnel(tunnel));
	TAILQ_FOREACH(tunnel, &context->tunnels->draining, entry)
		json_array_append_new(list, admin_row_tunnel(tunnel));
	return list;
}

static int
admin_count_held(const struct tunnels *tunnels)
{
	const struct tunnel *tunnel;
	unsigned n = 0;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		if (tunnel->peer != NULL && !peer_is_up(tunnel->peer))
			n += tunnel->n_waiting;
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		if (tunnel->peer != NULL && !peer_is_up(tunnel->peer))
			n += tunnel->n_waiting;
	return (int)n;
}

static double
admin_sum(const json_t *rows, const char *key)
{
	double sum = 0;
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	    sum += json_number_value(json_object_get(row, key));
	return sum;
}

static json_t *
admin_row_daemon(const struct admin_context *context, const json_t *all_tunnels,
    const json_t *workers)
{
	const struct tunnels *tunnels = context->tunnels;
	size_t limit = descriptor_limit();
	double uptime = (double)(loop_wall_us() - context->started_us) / 1e6;

	/* clang-format off */
	return json_pack("{s:s, s:s, s:i, s:o, s:b, s:o, s:o, s:o, s:s, s:I, "
	    "s:I, s:i, s:f, s:f, s:{s:I, s:o}}",
	    "name", context->config->daemon.name,
	    "version", context->version,
	    "pid", (int)getpid(),
	    "master", admin_row_master(context),
	    "replaced", admin_is_replaced(context),
	    "uptime", history_json_real(uptime),
	    "started_at", admin_row_time(context->started_us),
	    "config", admin_row_text(context->config->path),
	    "log_level", log_level_name(log_get_level()),
	    "sessions", (json_int_t)admin_sum(workers, "sessions"),
	    "sessions_total", (json_int_t)tunnels->total,
	    "held", admin_count_held(tunnels),
	    "up_rate", admin_sum(all_tunnels, "up_rate"),
	    "down_rate", admin_sum(all_tunnels, "down_rate"),
	    "descriptors",
	    "used", (json_int_t)descriptor_count(),
	    "limit", limit == 0 ? json_null() :
		json_integer((json_int_t)limit));
	/* clang-format on */
}

/* --- with other workers ------------------------------------------------------ */

/* Two questions to all of them. */
struct admin_show {
	struct admin_request *request;
	struct admin_context *context;
	struct admin_ask *versions; /* NULL: not of interest */
	struct admin_ask *tunnels;
	unsigned open; /* of the two */
	json_t *own;   /* tunnels: rows of this worker, which come first */
	size_t next;   /* of them */
	void (*done)(struct admin_show *show);
};

static void
show_free(void *state)
{
	struct admin_show *show = state;

	admin_ask_free(show->versions);
	admin_ask_free(show->tunnels);
	json_decref(show->own);
	free(show);
}

static void
show_asked(void *arg)
{
	struct admin_show *show = arg;

	if (--show->open > 0)
		return;
	admin_request_on_cancel(show->request, NULL, NULL);
	show->done(show);
}

static struct admin_ask *
show_question(struct admin_show *show, const char *command)
{
	struct admin_question question = { .command = command };

	show->open++;
	return admin_workers_ask(show->context->workers, &question, show_asked,
	    show);
}

static void
show_ask(struct admin_request *request, struct admin_context *context,
    bool versions, void (*done)(struct admin_show *show))
{
	struct admin_show *show = calloc(1, sizeof *show);

	if (show == NULL) {
		admin_answer(request, NULL);
		return;
	}
	show->request = request;
	show->context = context;
	show->done = done;
	show->tunnels = show_question(show, "tunnels");
	if (versions)
		show->versions = show_question(show, "version");
	if (show->tunnels == NULL || (versions && show->versions == NULL)) {
		show_free(show);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, show_free, show);
}

/* The next rows of tunnels that other workers still carry. */
static json_t *
show_next_tunnels(struct admin_ask *ask, bool *more)
{
	json_t *rows = admin_ask_next(ask, more), *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		json_object_set_new(row, "state", json_string("draining"));
	}
	return rows;
}

/* --- status ------------------------------------------------------------------ */

/* Takes tunnels and workers. */
static void
status_answer(struct admin_request *request, struct admin_context *context,
    json_t *tunnels, json_t *workers)
{
	admin_answer(request,
	    json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "daemon",
		admin_row_daemon(context, tunnels, workers), "gateway",
		admin_row_gateway(context->gateway), "peers",
		admin_all_peers(context), "tunnels", tunnels, "ledger",
		admin_row_ledger(context->ledger), "workers", workers));
}

static void
status_merge(struct admin_show *show)
{
	struct admin_request *request = show->request;
	struct admin_context *context = show->context;
	json_t *tunnels = admin_all_tunnels(context), *rows;
	json_t *workers = json_array();
	bool more = true;

	while (more) {
		rows = show_next_tunnels(show->tunnels, &more);
		json_array_extend(tunnels, rows);
		json_decref(rows);
	}
	json_array_append_new(workers, admin_row_worker(context));
	rows = admin_workers_rows(context->workers, show->versions);
	json_array_extend(workers, rows);
	json_decref(rows);
	show_free(show);
	status_answer(request, context, tunnels, workers);
}

void
admin_status(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;

	(void)args;
	if (admin_has_workers(context))
		show_ask(request, context, true, status_merge);
	else
		status_answer(request, context, admin_all_tunnels(context),
		    json_pack("[o]", admin_row_worker(context)));
}

/* --- peers, tunnels ---------------------------------------------------------- */

void
admin_peers(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	admin_list_array(request, admin_all_peers(arg));
}

static json_t *
tunnels_next(void *state, bool *more)
{
	struct admin_show *show = state;

	*more = true;
	if (show->next < json_array_size(show->own))
		return admin_list_piece(show->own, &show->next);
	return show_next_tunnels(show->tunnels, more);
}

static void
tunnels_merge(struct admin_show *show)
{
	struct admin_request *request = show->request;

	show->own = admin_all_tunnels(show->context);
	admin_answer_list(request, tunnels_next, show, show_free);
	admin_list_end_ask(request, show->tunnels);
}

void
admin_tunnels(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;

	(void)args;
	if (admin_has_workers(context))
		show_ask(request, context, false, tunnels_merge);
	else
		admin_list_array(request, admin_all_tunnels(arg));
}
