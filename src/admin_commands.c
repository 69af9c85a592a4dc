/* SPDX-License-Identifier: ISC */
#include "admin_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_list.h"
#include "admin_rows.h"
#include "session.h"

/* --- arguments ----------------------------------------------------------- */

/* Which sessions are meant: all, those of a tunnel, or of a peer. */
struct admin_selection {
	const struct tunnel *tunnel;
	const struct peer *peer;
};

/* "PEER/NAME" or "NAME"; NULL after answering why not. */
static const struct tunnel *
admin_find_tunnel(struct admin_request *request, const struct tunnels *tunnels,
    const char *name)
{
	const struct tunnel *found = NULL;
	char candidates[512] = "";
	size_t i, n = 0, len = 0;

	for (i = 0; i < tunnels->n; i++) {
		const struct tunnel *tunnel = &tunnels->all[i];

		if (strcmp(tunnel->label, name) == 0 &&
		    strchr(name, '/') != NULL)
			return tunnel;
		if (strcmp(tunnel->conf->name, name) != 0)
			continue;
		found = tunnel;
		n++;
		if (len < sizeof candidates)
			len += (size_t)snprintf(candidates + len,
			    sizeof candidates - len, "%s%s", n > 1 ? ", " : "",
			    tunnel->label);
	}
	if (n == 1)
		return found;
	if (n == 0)
		admin_fail(request, "not_found", "no tunnel is called %.128s",
		    name);
	else
		admin_fail(request, "bad_request",
		    "%s is ambiguous, say one "
		    "of %s",
		    name, candidates);
	return NULL;
}

static bool
admin_arg_selection(struct admin_request *request, json_t *args,
    const struct admin_context *context, struct admin_selection *out)
{
	const char *tunnel, *peer;

	memset(out, 0, sizeof *out);
	if (!admin_arg_string(request, args, "tunnel", &tunnel) ||
	    !admin_arg_string(request, args, "peer", &peer))
		return false;
	if (peer != NULL) {
		out->peer = peers_find(context->peers, peer);
		if (out->peer == NULL) {
			admin_fail(request, "not_found",
			    "no peer is called %.128s", peer);
			return false;
		}
	}
	if (tunnel != NULL) {
		out->tunnel = admin_find_tunnel(request, context->tunnels,
		    tunnel);
		return out->tunnel != NULL;
	}
	return true;
}

/* The ids of the selected sessions, oldest first; NULL out of memory. */
static int64_t *
admin_select(const struct tunnels *tunnels,
    const struct admin_selection *selection, size_t *n)
{
	int64_t *ids = malloc((tunnels->n_sessions + 1) * sizeof *ids);
	const struct session *session;

	*n = 0;
	if (ids == NULL)
		return NULL;
	TAILQ_FOREACH(session, &tunnels->refresh, in_refresh) {
		const struct tunnel *tunnel = session->tunnel;

		if ((selection->tunnel == NULL ||
			selection->tunnel == tunnel) &&
		    (selection->peer == NULL ||
			selection->peer == tunnel->peer))
			ids[(*n)++] = session->id;
	}
	return ids;
}

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
	size_t i;

	for (i = 0; i < context->tunnels->n; i++)
		json_array_append_new(list,
		    admin_row_tunnel(&context->tunnels->all[i]));
	return list;
}

static int
admin_count_held(const struct tunnels *tunnels)
{
	const struct tunnel *tunnel;
	unsigned n = 0;
	size_t i;

	for (i = 0; i < tunnels->n; i++) {
		tunnel = &tunnels->all[i];
		if (tunnel->peer != NULL && !peer_is_up(tunnel->peer))
			n += tunnel->n_waiting;
	}
	return (int)n;
}

static void
admin_status(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	const struct tunnels *tunnels = context->tunnels;
	int64_t uptime = loop_wall_us() - context->started_us;

	(void)args;
	admin_answer(request,
	    json_pack(
		"{s:{s:s, s:s, s:i, s:f, s:o, s:o, s:i, s:I, s:i}, s:o, s:o, s:o, "
		"s:o}",
		"daemon", "name", context->config->daemon.name, "version",
		context->version, "pid", (int)getpid(), "uptime",
		(double)uptime / 1e6, "started_at",
		admin_row_time(context->started_us), "config",
		admin_row_text(context->config->path), "sessions",
		(int)tunnels->n_sessions, "sessions_total",
		(json_int_t)tunnels->total, "held", admin_count_held(tunnels),
		"gateway", admin_row_gateway(context->gateway), "peers",
		admin_all_peers(context), "tunnels", admin_all_tunnels(context),
		"ledger", admin_row_ledger(context->ledger)));
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

static void
admin_sessions(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_selection selection;
	int64_t *ids;
	size_t n;

	if (!admin_arg_selection(request, args, context, &selection))
		return;
	ids = admin_select(context->tunnels, &selection, &n);
	if (ids == NULL)
		admin_answer(request, NULL);
	else
		admin_list_sessions(request, context, ids, n);
}

/* --- changing -------------------------------------------------------------- */

static void
admin_kill_ids(struct admin_context *context, json_t *result,
    const int64_t *ids, size_t n, const char *who)
{
	json_t *killed = json_object_get(result, "killed");
	json_t *missing = json_object_get(result, "not_found");
	struct session *session;
	size_t i;

	for (i = 0; i < n; i++) {
		session = tunnels_find_id(context->tunnels, ids[i]);
		json_array_append_new(session != NULL ? killed : missing,
		    json_integer(ids[i]));
		if (session == NULL)
			continue;
		log_notice("%s: session %lld: killed by %s",
		    session->tunnel->label, (long long)ids[i], who);
		session_close(session, REASON_KILLED, who);
	}
}

/* The ids a client named; NULL after answering what is wrong with them. */
static int64_t *
admin_arg_ids(struct admin_request *request, json_t *list, size_t *n)
{
	int64_t *ids;
	json_t *value;
	size_t i;

	if (!json_is_array(list)) {
		admin_fail(request, "bad_request", "ids must be an array");
		return NULL;
	}
	*n = json_array_size(list);
	ids = malloc((*n + 1) * sizeof *ids);
	if (ids == NULL) {
		admin_answer(request, NULL);
		return NULL;
	}
	json_array_foreach(list, i, value)
	{
		if (!json_is_integer(value)) {
			admin_fail(request, "bad_request",
			    "ids must be integers");
			free(ids);
			return NULL;
		}
		ids[i] = json_integer_value(value);
	}
	return ids;
}

static void
admin_kill(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *list = json_object_get(args, "ids");
	struct admin_selection selection;
	char who[ADMIN_WHO_SIZE];
	int64_t *ids;
	json_t *result;
	size_t n = 0;

	if (list != NULL) {
		ids = admin_arg_ids(request, list, &n);
	} else {
		if (!admin_arg_selection(request, args, context, &selection))
			return;
		if (selection.tunnel == NULL && selection.peer == NULL) {
			admin_fail(request, "bad_request",
			    "say ids, a tunnel or a peer");
			return;
		}
		ids = admin_select(context->tunnels, &selection, &n);
		if (ids == NULL)
			admin_answer(request, NULL);
	}
	if (ids == NULL)
		return;
	result = json_pack("{s:[], s:[]}", "killed", "not_found");
	if (result != NULL)
		admin_kill_ids(context, result, ids, n,
		    admin_request_who(request, who, sizeof who));
	free(ids);
	admin_answer(request, result);
}

static const struct admin_command admin_command_table[] = {
	{ "version", false, admin_version },
	{ "status", false, admin_status },
	{ "peers", false, admin_peers },
	{ "tunnels", false, admin_tunnels },
	{ "sessions", false, admin_sessions },
	{ "session", false, admin_session },
	{ "kill", true, admin_kill },
	{ "history", false, admin_history },
	{ NULL, false, NULL },
};

const struct admin_command *
admin_commands_table(void)
{
	return admin_command_table;
}
