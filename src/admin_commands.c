/* SPDX-License-Identifier: ISC */
#include "admin_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_list.h"
#include "admin_rows.h"
#include "descriptor.h"
#include "history_json.h"
#include "log.h"

/* --- looking --------------------------------------------------------------- */

static void
admin_version(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;

	(void)args;
	admin_answer(request,
	    json_pack("{s:s, s:s, s:i}", "name", context->config->daemon.name,
		"version", context->version, "pid", (int)getpid()));
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

	TAILQ_FOREACH(tunnel, &context->tunnels->all, entry)
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
admin_row_daemon(const struct admin_context *context, const json_t *all_tunnels)
{
	const struct tunnels *tunnels = context->tunnels;
	size_t limit = descriptor_limit();
	double uptime = (double)(loop_wall_us() - context->started_us) / 1e6;

	/* clang-format off */
	return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:s, s:i, s:I, s:i, "
	    "s:f, s:f, s:{s:I, s:o}}",
	    "name", context->config->daemon.name,
	    "version", context->version,
	    "pid", (int)getpid(),
	    "uptime", history_json_real(uptime),
	    "started_at", admin_row_time(context->started_us),
	    "config", admin_row_text(context->config->path),
	    "log_level", log_level_name(log_get_level()),
	    "sessions", (int)tunnels->n_sessions,
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

static void
admin_status(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *tunnels = admin_all_tunnels(context);

	(void)args;
	admin_answer(request,
	    json_pack("{s:o, s:o, s:o, s:o, s:o}", "daemon",
		admin_row_daemon(context, tunnels), "gateway",
		admin_row_gateway(context->gateway), "peers",
		admin_all_peers(context), "tunnels", tunnels, "ledger",
		admin_row_ledger(context->ledger)));
}

static void
admin_peers(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	admin_list_array(request, admin_all_peers(arg));
}

static void
admin_tunnels(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	admin_list_array(request, admin_all_tunnels(arg));
}

static const struct admin_command admin_command_table[] = {
	{ "version", false, admin_version },
	{ "status", false, admin_status },
	{ "peers", false, admin_peers },
	{ "tunnels", false, admin_tunnels },
	{ "sessions", false, admin_sessions },
	{ "session", false, admin_session },
	{ "kill", true, admin_kill },
	{ "disconnect", true, admin_disconnect },
	{ "disable", true, admin_disable },
	{ "enable", true, admin_enable },
	{ "history", false, admin_history },
	{ "links", false, admin_links },
	{ "stats", false, admin_stats },
	{ "uptime", false, admin_uptime },
	{ "changes", false, admin_changes },
	{ "events", false, admin_events },
	{ "test", true, admin_test },
	{ "ping", false, admin_ping },
	{ "reload", true, admin_reload },
	{ "log-level", true, admin_log_level },
	{ "config", false, admin_config },
	{ NULL, false, NULL },
};

const struct admin_command *
admin_commands_table(void)
{
	return admin_command_table;
}
