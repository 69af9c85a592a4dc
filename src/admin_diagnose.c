/* SPDX-License-Identifier: ISC */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_list.h"
#include "config_json.h"
#include "history_json.h"
#include "probe.h"

#define PING_SECONDS 10.0

/* The string that must be there; NULL after answering that it is not. */
static const char *
diagnose_name(struct admin_request *request, json_t *args, const char *key)
{
	const char *name;

	if (!admin_arg_string(request, args, key, &name))
		return NULL;
	if (name == NULL)
		admin_fail(request, "bad_request", "%s is missing", key);
	return name;
}

/* --- test ------------------------------------------------------------------ */

struct diagnose_test {
	struct admin_request *request;
	struct tunnel *tunnel; /* counted */
	struct probe *probe;
};

static void
test_free(struct diagnose_test *test)
{
	tunnel_unref(test->tunnel);
	free(test);
}

static json_t *
test_step(const struct probe_step *step)
{
	return json_pack("{s:s, s:b, s:o, s:o, s:o}", "step", step->name, "ok",
	    step->ok, "ms",
	    step->ms < 0 ? json_null() : history_json_real(step->ms), "detail",
	    history_json_text(step->detail), "by", history_json_text(step->by));
}

static void
test_done(const struct probe_result *result, void *arg)
{
	struct diagnose_test *test = arg;
	const struct tunnel *tunnel = test->tunnel;
	struct admin_request *request = test->request;
	json_t *steps = json_array(), *answer;
	size_t i;

	for (i = 0; i < result->n; i++)
		json_array_append_new(steps, test_step(&result->steps[i]));
	answer = json_pack("{s:s, s:s, s:b, s:o}", "tunnel", tunnel->label,
	    "end", ledger_end_name(tunnel->end), "ok", result->ok, "steps",
	    steps);
	test_free(test);
	admin_answer(request, answer);
}

static void
test_cancelled(void *arg)
{
	struct diagnose_test *test = arg;

	probe_cancel(test->probe);
	test_free(test);
}

void
admin_test(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_change change = { .command = "test", .detail = "" };
	const char *name = diagnose_name(request, args, "tunnel");
	struct diagnose_test *test;
	struct tunnel *tunnel;

	if (name == NULL || admin_refuse_draining(request, context))
		return;
	tunnel = admin_find_tunnel(request, context->tunnels, name);
	if (tunnel == NULL)
		return;
	test = calloc(1, sizeof *test);
	if (test != NULL)
		test->probe = probe_start(tunnel, test_done, test);
	if (test == NULL || test->probe == NULL) {
		free(test);
		admin_answer(request, NULL);
		return;
	}
	test->request = request;
	test->tunnel = tunnel_ref(tunnel);
	admin_request_on_cancel(request, test_cancelled, test);
	/* Now, not at its end: it is done even if nobody waits for that. */
	change.tunnel = tunnel;
	admin_record(request, context, &change);
}

/* --- ping ------------------------------------------------------------------ */

struct diagnose_ping {
	struct admin_request *request;
	struct peer *peer;
	struct peer_ping ping;
	struct loop_timer *timer;
};

static void
ping_free(struct diagnose_ping *asked)
{
	peer_ping_cancel(asked->peer, &asked->ping);
	peer_unref(asked->peer);
	loop_timer_free(asked->timer);
	free(asked);
}

static void
ping_cancelled(void *arg)
{
	ping_free(arg);
}

static void
ping_timed_out(void *arg)
{
	struct diagnose_ping *asked = arg;
	struct admin_request *request = asked->request;
	const char *name = peer_name(asked->peer);

	ping_free(asked);
	admin_fail(request, "timeout", "%s did not answer within %d s", name,
	    (int)PING_SECONDS);
}

static void
ping_fail_down(struct admin_request *request, const struct peer *peer)
{
	struct peer_status status;

	peer_get_status(peer, &status);
	admin_fail(request, "unavailable", "%s: the link is %s%s%.200s",
	    peer_name(peer), status.state, status.error[0] != '\0' ? ": " : "",
	    status.error);
}

static void
ping_answered(double ms, void *arg)
{
	struct diagnose_ping *asked = arg;
	struct admin_request *request = asked->request;
	struct peer *peer = asked->peer;
	struct peer_status status;

	ping_free(asked);
	if (ms < 0) {
		ping_fail_down(request, peer);
		return;
	}
	peer_get_status(peer, &status);
	admin_answer(request,
	    json_pack("{s:s, s:o, s:o}", "peer", peer_name(peer), "address",
		history_json_text(status.address), "rtt_ms",
		history_json_real(ms)));
}

void
admin_ping(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct loop *loop = context->tunnels->params.loop;
	const char *name = diagnose_name(request, args, "peer");
	struct diagnose_ping *asked;
	struct peer *peer;

	if (name == NULL)
		return;
	peer = admin_find_peer(request, context->peers, name);
	if (peer == NULL)
		return;
	if (!peer_is_up(peer)) {
		ping_fail_down(request, peer);
		return;
	}
	asked = calloc(1, sizeof *asked);
	if (asked != NULL)
		asked->timer = loop_timer_new(loop, ping_timed_out, asked);
	if (asked == NULL || asked->timer == NULL) {
		free(asked);
		admin_answer(request, NULL);
		return;
	}
	asked->request = request;
	asked->peer = peer_ref(peer);
	asked->ping.fn = ping_answered;
	asked->ping.arg = asked;
	if (peer_ping(peer, &asked->ping) != 0) {
		ping_free(asked);
		admin_fail(request, "unavailable",
		    "too many pings are under way");
		return;
	}
	loop_timer_set(asked->timer, PING_SECONDS);
	admin_request_on_cancel(request, ping_cancelled, asked);
}

/* --- log-level -------------------------------------------------------------- */

void
admin_log_level(struct admin_request *request, json_t *args, void *arg)
{
	const char *name = diagnose_name(request, args, "level");
	enum log_level was = log_get_level(), level;
	struct admin_change change = { .command = "log-level" };
	char detail[64];

	if (name == NULL)
		return;
	if (log_level_parse(name, &level) != 0) {
		admin_fail(request, "bad_request",
		    "a level is one of error, warning, notice, info, debug");
		return;
	}
	snprintf(detail, sizeof detail, "%s, was %s", log_level_name(level),
	    log_level_name(was));
	change.detail = detail;
	/* At the level that says more, so that the log tells of it. */
	if (level > was)
		log_set_level(level);
	admin_record(request, arg, &change);
	log_set_level(level);
	admin_answer(request,
	    json_pack("{s:s, s:s}", "level", log_level_name(level), "was",
		log_level_name(was)));
}

/* --- config ------------------------------------------------------------------ */

void
admin_config(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	json_t *config = config_json(context->config);

	(void)args;
	/* What is in effect: log-level may have said otherwise since. */
	json_object_set_new(json_object_get(config, "daemon"), "log_level",
	    json_string(log_level_name(log_get_level())));
	admin_answer(request, config);
}
