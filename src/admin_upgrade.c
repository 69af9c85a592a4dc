/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>

#include "admin_select.h"

/* The ledger gets so many seconds to write it down. */
#define UPGRADE_SYNC 5.0

/* It goes on, and is recorded, whether somebody waits for its end or not. */
struct admin_upgrade_job {
	struct admin_request *request; /* NULL: gone */
	struct admin_context *context;
	struct admin_author author;
	struct ledger_sync *sync; /* it is done, and about to be answered: */
	json_t *answer;
};

static void
upgrade_gone(void *arg)
{
	struct admin_upgrade_job *job = arg;

	job->request = NULL;
	if (job->sync == NULL)
		return;
	ledger_sync_cancel(job->sync);
	json_decref(job->answer);
	free(job);
}

static void
upgrade_record(struct admin_upgrade_job *job,
    const struct admin_upgraded *outcome)
{
	char detail[200];
	struct admin_change change = { .command = "upgrade", .detail = detail };

	if (!outcome->ok)
		return;
	snprintf(detail, sizeof detail, "to %.100s: worker %ld after %ld",
	    outcome->version, (long)outcome->pid, (long)outcome->old_pid);
	admin_record_by(&job->author, job->context, &change);
}

static void
upgrade_answer(struct admin_upgrade_job *job)
{
	struct admin_request *request = job->request;
	json_t *answer = job->answer;

	admin_request_on_cancel(request, NULL, NULL);
	free(job);
	admin_answer(request, answer);
}

/* Recorded or not: it is done. */
static void
upgrade_synced(const char *error, void *arg)
{
	struct admin_upgrade_job *job = arg;

	(void)error;
	job->sync = NULL;
	upgrade_answer(job);
}

static void
upgrade_done(const struct admin_upgraded *outcome, void *arg)
{
	struct admin_upgrade_job *job = arg;
	struct admin_request *request = job->request;

	upgrade_record(job, outcome);
	if (request == NULL || !outcome->ok) {
		free(job);
		if (request == NULL)
			return;
		admin_request_on_cancel(request, NULL, NULL);
		admin_fail(request, "refused", "%s",
		    outcome->why != NULL ? outcome->why : "it failed");
		return;
	}
	job->answer = json_pack("{s:I, s:s, s:I, s:I}", "pid",
	    (json_int_t)outcome->pid, "version", outcome->version, "old_pid",
	    (json_int_t)outcome->old_pid, "sessions",
	    (json_int_t)outcome->sessions);
	/* Whoever asks for the changes next asks the other process. */
	job->sync = ledger_sync(job->context->ledger, UPGRADE_SYNC,
	    upgrade_synced, job);
	if (job->sync == NULL)
		upgrade_answer(job);
}

void
admin_upgrade(struct admin_request *request, json_t *args, void *arg)
{
	static const char *const keys[] = { NULL };
	struct admin_context *context = arg;
	struct admin_upgrade_job *job;

	if (!admin_arg_keys(request, args, keys) ||
	    admin_refuse_draining(request, context))
		return;
	if (context->master == 0 || context->upgrade == NULL) {
		admin_fail(request, "refused",
		    "there is no master: tunneld was started with --no-master");
		return;
	}
	job = calloc(1, sizeof *job);
	if (job == NULL) {
		admin_answer(request, NULL);
		return;
	}
	job->request = request;
	job->context = context;
	admin_author_set(&job->author, request);
	admin_request_on_cancel(request, upgrade_gone, job);
	context->upgrade(upgrade_done, job, context->upgrade_arg);
}
