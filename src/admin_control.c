/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_kill.h"
#include "session.h"

/* The ledger gets so many seconds to make it last. */
#define SWITCH_SYNC 10.0

/* --- disconnect ------------------------------------------------------------ */

void
admin_disconnect(struct admin_request *request, json_t *args, void *arg)
{
	static const char *const keys[] = { "peer", NULL };
	struct admin_context *context = arg;
	struct admin_change change = { .command = "disconnect", .detail = "" };
	char who[ADMIN_WHO_SIZE], why[ADMIN_WHO_SIZE + 24];
	struct peer_status status;
	const char *name;
	struct peer *peer;

	if (admin_refuse_draining(request, context) ||
	    !admin_arg_keys(request, args, keys) ||
	    !admin_arg_string(request, args, "peer", &name))
		return;
	if (name == NULL) {
		admin_fail(request, "bad_request", "say which peer");
		return;
	}
	peer = admin_find_peer(request, context->peers, name);
	if (peer == NULL)
		return;
	peer_get_status(peer, &status);
	if (!peer_is_up(peer)) {
		admin_fail(request, "unavailable", "peer %s is %s%s%s", name,
		    status.state, status.error[0] != '\0' ? ": " : "",
		    status.error);
		return;
	}
	snprintf(why, sizeof why, "disconnected by %s",
	    admin_request_who(request, who, sizeof who));
	change.peer = peer;
	admin_record(request, context, &change);
	peer_disconnect(peer, why);
	/* The state that it was in. */
	admin_answer(request,
	    json_pack("{s:s, s:s}", "peer", peer_name(peer), "state", "up"));
}

/* --- disable, enable ------------------------------------------------------- */

/* A tunnel or a peer being switched. */
struct admin_switch {
	struct admin_request *request;
	struct admin_context *context;
	struct tunnel *tunnel; /* counted; or: */
	struct peer *peer;     /* likewise */
	bool disable, kill;
	bool applied;  /* it is switched by now */
	bool changed;  /* it was the other way before */
	bool recorded; /* in the table of changes */
	bool refused;  /* the ledger does not take it */
	struct admin_killer killer;
	struct ledger_sync *sync;
	struct admin_ask *ask; /* other workers: to kill, too */
};

static void switch_kill_rest(void *arg);

static void
switch_free(struct admin_switch *job)
{
	tunnel_unref(job->tunnel);
	peer_unref(job->peer);
	admin_killer_clear(&job->killer);
	ledger_sync_cancel(job->sync);
	admin_ask_free(job->ask);
	free(job);
}

static bool
switch_is_disabled(const struct admin_switch *job)
{
	return job->tunnel != NULL ? job->tunnel->disabled :
				     peer_is_disabled(job->peer);
}

/* As it stands now; also what stood so before is told to the ledger, which
 * may have failed to write it then. */
static void
switch_tell_ledger(struct admin_switch *job)
{
	struct ledger_disabled row = { .at_us = 0 };
	const struct config_tunnel *conf;
	struct peer_status status;
	const char *by;

	if (job->tunnel != NULL) {
		conf = job->tunnel->conf;
		snprintf(row.tunnel, sizeof row.tunnel, "%s", conf->name);
		snprintf(row.peer, sizeof row.peer, "%s",
		    conf->peer != NULL ? conf->peer : "");
		row.at_us = job->tunnel->disabled_us;
		by = job->tunnel->disabled_by;
	} else {
		peer_get_status(job->peer, &status);
		snprintf(row.peer, sizeof row.peer, "%s", peer_name(job->peer));
		row.at_us = status.disabled_us;
		by = status.disabled_by;
	}
	snprintf(row.by, sizeof row.by, "%s", by);
	job->refused = ledger_set_disabled(job->context->ledger, &row,
			   job->disable) != 0;
}

/* A reload may have put another one in its place while sessions were killed. */
static void
switch_find_again(struct admin_switch *job)
{
	struct admin_context *context = job->context;
	struct tunnel *tunnel = NULL;
	struct peer *peer = NULL;

	if (job->tunnel != NULL)
		tunnel = tunnels_find(context->tunnels, job->tunnel->label);
	else
		peer = peers_find(context->peers, peer_name(job->peer));
	if (tunnel != NULL) {
		tunnel_ref(tunnel);
		tunnel_unref(job->tunnel);
		job->tunnel = tunnel;
	} else if (peer != NULL) {
		peer_ref(peer);
		peer_unref(job->peer);
		job->peer = peer;
	}
}

static void
switch_apply(struct admin_switch *job)
{
	struct tunnels *tunnels = job->context->tunnels;
	int64_t now = loop_wall_us();
	const char *who = job->killer.who;

	switch_find_again(job);
	job->applied = true;
	job->changed = switch_is_disabled(job) != job->disable;
	if (job->changed && job->tunnel != NULL)
		tunnel_set_disabled(job->tunnel, job->disable, now, who);
	if (job->changed && job->peer != NULL) {
		peer_set_disabled(job->peer, job->disable, now, who);
		if (job->disable)
			tunnels_peer_disabled(tunnels, job->peer);
	}
	switch_tell_ledger(job);
}

static void
switch_record(struct admin_switch *job)
{
	bool killed = json_array_size(job->killer.killed) > 0;
	char count[32], detail[64] = "";
	struct admin_change change = {
		.command = job->disable ? "disable" : "enable",
		.tunnel = job->tunnel,
		.peer = job->peer,
		.detail = detail,
	};

	if (job->recorded || (!job->changed && !killed))
		return;
	job->recorded = true;
	if (killed)
		snprintf(detail, sizeof detail, "%s killed",
		    admin_killer_count(&job->killer, count, sizeof count));
	admin_record(job->request, job->context, &change);
}

/* What was asked for is done all the same, but no further session killed. */
static void
switch_cancel(void *arg)
{
	struct admin_switch *job = arg;

	if (!job->applied)
		switch_apply(job);
	switch_record(job);
	switch_free(job);
}

static void
switch_answer(struct admin_switch *job, const char *error)
{
	struct admin_request *request = job->request;
	const char *name, *word = job->disable ? "disabled" : "enabled";
	json_t *result, *unreachable = NULL;

	admin_request_on_cancel(request, NULL, NULL);
	name = job->tunnel != NULL ? job->tunnel->label : peer_name(job->peer);
	result = json_pack("{s:s, s:s, s:b, s:b, s:O}", "kind",
	    job->tunnel != NULL ? "tunnel" : "peer", "name", name, "disabled",
	    job->disable, "changed", job->changed, "killed",
	    job->killer.killed);
	if (job->ask != NULL)
		unreachable = admin_ask_unreachable(job->ask);
	if (unreachable != NULL)
		json_object_set_new(result, "unreachable", unreachable);
	switch_free(job);
	if (error == NULL) {
		admin_answer(request, result);
		return;
	}
	json_decref(result);
	admin_fail(request, "unavailable",
	    "%s now, but not recorded, a restart would forget it: %s", word,
	    error);
}

static void
switch_synced(const char *error, void *arg)
{
	struct admin_switch *job = arg;

	job->sync = NULL;
	switch_answer(job, error);
}

static void
switch_sync(void *arg)
{
	struct admin_switch *job = arg;

	switch_record(job);
	if (job->refused) {
		switch_answer(job, "too many are disabled already");
		return;
	}
	job->sync = ledger_sync(job->context->ledger, SWITCH_SYNC,
	    switch_synced, job);
	if (job->sync == NULL)
		switch_answer(job, "too many wait for the ledger already");
}

/* Those that are served; the others go with the switch. */
static void
switch_kill(struct admin_switch *job, loop_fn *done)
{
	struct admin_selectors selectors = {
		.tunnel = job->tunnel,
		.peer = job->peer,
		.open_only = true,
	};
	int64_t *ids;
	size_t n;

	ids = admin_select(job->context, &selectors, NULL, &n);
	admin_killer_run(&job->killer, ids, ids == NULL ? 0 : n, done, job);
}

static void
switch_workers_asked(void *arg)
{
	struct admin_switch *job = arg;

	admin_killer_merge(&job->killer, job->ask);
	switch_sync(job);
}

/* Its sessions that other workers still carry. */
static void
switch_kill_elsewhere(void *arg)
{
	struct admin_switch *job = arg;
	struct admin_selectors selectors = { .tunnel = job->tunnel };
	struct admin_question question = {
		.command = "kill",
		.whom = job->request,
	};
	json_t *none = json_object();

	if (!admin_has_workers(job->context)) {
		json_decref(none);
		switch_sync(job);
		return;
	}
	if (job->tunnel != NULL)
		question.args = admin_select_relay(&selectors, none);
	else
		question.args = json_pack("{s:s}", "peer",
		    peer_name(job->peer));
	json_decref(none);
	if (question.args != NULL)
		job->ask = admin_workers_ask(job->context->workers, &question,
		    switch_workers_asked, job);
	json_decref(question.args);
	if (job->ask == NULL)
		switch_answer(job, "out of memory");
}

static void
switch_kill_rest(void *arg)
{
	struct admin_switch *job = arg;

	switch_apply(job);
	if (job->kill)
		switch_kill(job, switch_kill_elsewhere);
	else
		switch_sync(job);
}

static void
switch_start(struct admin_switch *job)
{
	admin_request_on_cancel(job->request, switch_cancel, job);
	/* A peer's sessions first, so that the far end hears by the link that
	 * they were killed; then those that came meanwhile. */
	if (job->kill && job->peer != NULL)
		switch_kill(job, switch_kill_rest);
	else
		switch_kill_rest(job);
}

/* Exactly one of name, tunnel and peer. */
static bool
switch_find(struct admin_request *request, json_t *args,
    struct admin_switch *job)
{
	struct admin_context *context = job->context;
	const char *name, *tunnel, *peer;

	if (!admin_arg_string(request, args, "name", &name) ||
	    !admin_arg_string(request, args, "tunnel", &tunnel) ||
	    !admin_arg_string(request, args, "peer", &peer))
		return false;
	if ((name != NULL) + (tunnel != NULL) + (peer != NULL) != 1) {
		admin_fail(request, "bad_request",
		    "say one name, one tunnel or one peer");
		return false;
	}
	if (name != NULL) {
		if (!admin_find_any(request, context, name, &job->tunnel,
			&job->peer)) {
			job->tunnel = NULL;
			job->peer = NULL;
		}
	} else if (tunnel != NULL) {
		job->tunnel = admin_find_tunnel(request, context->tunnels,
		    tunnel);
	} else {
		job->peer = admin_find_peer(request, context->peers, peer);
	}
	tunnel_ref(job->tunnel);
	peer_ref(job->peer);
	return job->tunnel != NULL || job->peer != NULL;
}

static bool
switch_read(struct admin_request *request, json_t *args,
    struct admin_switch *job)
{
	static const char *const keys[] = { "name", "tunnel", "peer", "kill",
		NULL };
	json_t *value = json_object_get(args, "kill");

	if (!admin_arg_keys(request, args, keys))
		return false;
	if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
		admin_fail(request, "bad_request", "kill must be a boolean");
		return false;
	}
	job->kill = json_is_true(value);
	if (job->kill && !job->disable) {
		admin_fail(request, "bad_request", "only disable may kill");
		return false;
	}
	return switch_find(request, args, job);
}

static void
switch_run(struct admin_request *request, json_t *args,
    struct admin_context *context, bool disable)
{
	struct admin_switch *job;

	if (admin_refuse_draining(request, context))
		return;
	job = calloc(1, sizeof *job);
	if (job == NULL) {
		admin_answer(request, NULL);
		return;
	}
	job->request = request;
	job->context = context;
	job->disable = disable;
	if (admin_killer_init(&job->killer, request, context) != 0) {
		switch_free(job);
		admin_answer(request, NULL);
	} else if (!switch_read(request, args, job)) {
		switch_free(job);
	} else {
		switch_start(job);
	}
}

void
admin_disable(struct admin_request *request, json_t *args, void *arg)
{
	switch_run(request, args, arg, true);
}

void
admin_enable(struct admin_request *request, json_t *args, void *arg)
{
	switch_run(request, args, arg, false);
}
