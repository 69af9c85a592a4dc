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

/* --- the command ----------------------------------------------------------- */

struct admin_kill_job {
	struct admin_request *request;
	struct admin_context *context;
	struct tunnel *tunnel; /* counted; NULL: any */
	struct peer *peer;     /* likewise */
	char what[160];	       /* the other selectors, in words */
	json_t *missing;
	struct admin_killer killer;
};

static void
kill_free(struct admin_kill_job *job)
{
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
	admin_record(job->request, job->context, &change);
}

static void
kill_cancel(void *arg)
{
	struct admin_kill_job *job = arg;

	kill_record(job, ", then whoever asked was gone");
	kill_free(job);
}

static void
kill_done(void *arg)
{
	struct admin_kill_job *job = arg;
	struct admin_request *request = job->request;
	json_t *result;

	kill_record(job, "");
	result = json_pack("{s:O, s:O}", "killed", job->killer.killed,
	    "not_found", job->missing);
	admin_request_on_cancel(request, NULL, NULL);
	kill_free(job);
	admin_answer(request, result);
}

static struct admin_kill_job *
kill_new(struct admin_request *request, struct admin_context *context,
    const struct admin_selectors *selectors)
{
	struct admin_kill_job *job = calloc(1, sizeof *job);

	if (job == NULL)
		return NULL;
	job->request = request;
	job->context = context;
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
	int64_t *ids;
	size_t n;

	if (!admin_arg_selectors(request, args, context, &selectors))
		return;
	if (!selectors.any) {
		admin_fail(request, "bad_request",
		    "say which sessions: ids, tunnel, peer, source, older or "
		    "idle");
		return;
	}
	job = kill_new(request, context, &selectors);
	if (job == NULL) {
		admin_answer(request, NULL);
		return;
	}
	ids = admin_select(context, &selectors, job->missing, &n);
	if (ids == NULL) {
		kill_free(job);
		admin_answer(request, NULL);
		return;
	}
	admin_request_on_cancel(request, kill_cancel, job);
	admin_killer_run(&job->killer, ids, n, kill_done, job);
}
