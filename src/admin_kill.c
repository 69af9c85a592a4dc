/* SPDX-License-Identifier: ISC */
#include "admin_kill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

/* So many are worth a line each in the log at its usual level. */
#define KILL_NOTICES 16

/* --- the killer ------------------------------------------------------------ */

static void
killer_end(struct admin_killer *killer, struct session *session)
{
	static const char text[] = "%s: session %lld: killed by %s";
	const char *label = session->tunnel->label;
	long long id = session->id;

	json_array_append_new(killer->killed, json_integer(id));
	if (killer->n <= KILL_NOTICES)
		log_notice(text, label, id, killer->who);
	else
		log_info(text, label, id, killer->who);
	session_close(session, REASON_KILLED, killer->who);
}

/* The task. */
static void
killer_step(void *arg)
{
	struct admin_killer *killer = arg;
	struct tunnels *tunnels = killer->context->tunnels;
	struct session *session;
	int i;

	for (i = 0; i < ADMIN_KILL_STEP && killer->next < killer->n; i++) {
		session = tunnels_find_id(tunnels, killer->ids[killer->next++]);
		if (session != NULL)
			killer_end(killer, session);
	}
	if (killer->next < killer->n)
		loop_task_queue(tunnels->params.loop, &killer->task);
	else
		killer->done(killer->arg);
}

int
admin_killer_init(struct admin_killer *killer, struct admin_request *request,
    struct admin_context *context)
{
	memset(killer, 0, sizeof *killer);
	killer->context = context;
	loop_task_init(&killer->task, killer_step, killer);
	admin_request_who(request, killer->who, sizeof killer->who);
	killer->killed = json_array();
	return killer->killed == NULL ? -1 : 0;
}

void
admin_killer_clear(struct admin_killer *killer)
{
	loop_task_cancel(killer->context->tunnels->params.loop, &killer->task);
	json_decref(killer->killed);
	free(killer->ids);
}

void
admin_killer_run(struct admin_killer *killer, int64_t *ids, size_t n,
    loop_fn *done, void *arg)
{
	free(killer->ids);
	killer->ids = ids;
	killer->n = n;
	killer->next = 0;
	killer->done = done;
	killer->arg = arg;
	killer_step(killer);
}

char *
admin_killer_count(const struct admin_killer *killer, char *buf, size_t size)
{
	size_t n = json_array_size(killer->killed);

	snprintf(buf, size, "%zu session%s", n, n == 1 ? "" : "s");
	return buf;
}

/* --- with other workers ------------------------------------------------------ */

void
admin_killer_merge(struct admin_killer *killer, const struct admin_ask *ask)
{
	const struct admin_reply *reply;
	json_t *ids;
	size_t i;

	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++) {
		ids = json_object_get(reply->data, "killed");
		if (json_is_array(ids))
			json_array_extend(killer->killed, ids);
	}
}

json_t *
admin_ask_unreachable(const struct admin_ask *ask)
{
	json_t *pids = admin_ask_missing(ask);

	if (json_array_size(pids) > 0)
		return pids;
	json_decref(pids);
	return NULL;
}

/* --- the command ----------------------------------------------------------- */

/*
 * Other workers first: a session may move from them to this one, never the
 * other way. Whoever asked may be gone by the time they answer; it is recorded
 * then as well.
 */
struct admin_kill_job {
	struct admin_request *request; /* NULL: gone */
	struct admin_context *context;
	struct admin_author author;
	json_t *args; /* the request's */
	struct admin_selectors selectors;
	struct tunnel *tunnel; /* counted; NULL: any */
	struct peer *peer;     /* likewise */
	char what[160];	       /* the other selectors, in words */
	json_t *missing;
	struct admin_ask *ask; /* NULL: there are no other workers */
	struct admin_killer killer;
};

static void
kill_free(struct admin_kill_job *job)
{
	admin_ask_free(job->ask);
	admin_killer_clear(&job->killer);
	tunnel_unref(job->tunnel);
	peer_unref(job->peer);
	json_decref(job->missing);
	free(job);
}

/* Nothing killed is nothing changed. */
static void
kill_record(struct admin_kill_job *job, const char *end)
{
	char count[32], detail[256];
	struct admin_change change = {
		.command = "kill",
		.tunnel = job->tunnel,
		.peer = job->peer,
		.detail = detail,
	};

	if (json_array_size(job->killer.killed) == 0)
		return;
	snprintf(detail, sizeof detail, "%s%s%s%s", job->what,
	    job->what[0] != '\0' ? ": " : "",
	    admin_killer_count(&job->killer, count, sizeof count), end);
	admin_record_by(&job->author, job->context, &change);
}

static void
kill_cancel(void *arg)
{
	struct admin_kill_job *job = arg;

	kill_record(job, ", then whoever asked was gone");
	kill_free(job);
}

/* Leaves of the ids that are missing here those that are so there, too. */
static void
kill_still_missing(struct admin_kill_job *job, const json_t *there)
{
	json_t *both = json_array(), *id;
	int64_t *ids, wanted;
	size_t i, n;

	ids = admin_select_copy_ids(there, &n);
	json_array_foreach(job->missing, i, id)
	{
		wanted = json_integer_value(id);
		if (ids != NULL && admin_select_has_id(ids, n, wanted))
			json_array_append(both, id);
	}
	free(ids);
	json_decref(job->missing);
	job->missing = both;
}

static void
kill_merge_missing(struct admin_kill_job *job)
{
	const struct admin_reply *reply;
	size_t i;

	for (i = 0; (reply = admin_ask_reply(job->ask, i)) != NULL; i++)
		if (reply->end == ADMIN_REPLY_ANSWERED)
			kill_still_missing(job,
			    json_object_get(reply->data, "not_found"));
}

static void
kill_done(void *arg)
{
	struct admin_kill_job *job = arg;
	struct admin_request *request = job->request;
	json_t *result, *unreachable = NULL;

	if (job->ask != NULL) {
		kill_merge_missing(job);
		unreachable = admin_ask_unreachable(job->ask);
	}
	/* Who did not answer may have them. */
	if (unreachable != NULL)
		json_array_clear(job->missing);
	kill_record(job,
	    unreachable != NULL ? ", and a worker did not answer" : "");
	result = json_pack("{s:O, s:O}", "killed", job->killer.killed,
	    "not_found", job->missing);
	if (unreachable != NULL)
		json_object_set_new(result, "unreachable", unreachable);
	admin_request_on_cancel(request, NULL, NULL);
	kill_free(job);
	admin_answer(request, result);
}

static void
kill_own(struct admin_kill_job *job)
{
	struct admin_request *request = job->request;
	int64_t *ids;
	size_t n;

	ids = admin_select(job->context, &job->selectors, job->missing, &n);
	if (ids == NULL) {
		kill_record(job, ", then memory ran out");
		admin_request_on_cancel(request, NULL, NULL);
		kill_free(job);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, kill_cancel, job);
	admin_killer_run(&job->killer, ids, n, kill_done, job);
}

static void
kill_gone(void *arg)
{
	struct admin_kill_job *job = arg;

	job->request = NULL;
}

static void
kill_asked(void *arg)
{
	struct admin_kill_job *job = arg;

	admin_killer_merge(&job->killer, job->ask);
	if (job->request == NULL) {
		kill_cancel(job);
		return;
	}
	admin_request_on_cancel(job->request, NULL, NULL);
	if (job->selectors.absent &&
	    admin_select_is_nowhere(job->request, job->args, job->context,
		job->ask))
		kill_free(job);
	else
		kill_own(job);
}

static void
kill_ask(struct admin_kill_job *job)
{
	struct admin_request *request = job->request;
	json_t *args = admin_select_relay(&job->selectors, job->args);
	struct admin_question question = {
		.command = "kill",
		.args = args,
		.whom = request,
	};

	job->ask = admin_workers_ask(job->context->workers, &question,
	    kill_asked, job);
	json_decref(args);
	if (args == NULL || job->ask == NULL) {
		kill_free(job);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, kill_gone, job);
}

static struct admin_kill_job *
kill_new(struct admin_request *request, json_t *args,
    struct admin_context *context, const struct admin_selectors *selectors)
{
	struct admin_kill_job *job = calloc(1, sizeof *job);

	if (job == NULL)
		return NULL;
	job->request = request;
	job->context = context;
	admin_author_set(&job->author, request);
	job->args = args;
	job->selectors = *selectors;
	job->tunnel = tunnel_ref(selectors->tunnel);
	job->peer = peer_ref(selectors->peer);
	admin_select_describe(selectors, job->what, sizeof job->what);
	job->missing = json_array();
	if (admin_killer_init(&job->killer, request, context) == 0 &&
	    job->missing != NULL)
		return job;
	kill_free(job);
	return NULL;
}

void
admin_kill(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_selectors selectors;
	struct admin_kill_job *job;

	if (!admin_arg_selectors(request, args, context, &selectors))
		return;
	if (!selectors.any) {
		admin_fail(request, "bad_request",
		    "say which sessions: ids, tunnel, peer, source, older or "
		    "idle");
		return;
	}
	job = kill_new(request, args, context, &selectors);
	if (job == NULL)
		admin_answer(request, NULL);
	else if (admin_has_workers(context))
		kill_ask(job);
	else
		kill_own(job);
}
