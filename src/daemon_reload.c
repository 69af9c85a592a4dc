/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_diff.h"
#include "history_json.h"
#include "session.h"
#include "tunnel_change.h"

/* Between one SIGHUP's reload and the next one's, in seconds. */
#define RELOAD_PAUSE 0.25
/* Changes and errors that are logged one by one. */
#define RELOAD_LINES 100

/* One reload, while it is made. All but the JSON is NULL until prepared. */
struct reload {
	struct daemon *daemon;
	struct config *after;
	struct admin_reload *out;
	struct peers_change *peers;
	struct net_plan *plan;
	struct tunnels_change *tunnels;
	struct gateway_change *gateway;
	struct metrics_change *metrics;
	bool regroups; /* the groups of the admin socket change */
};

/* --- errors -------------------------------------------------------------- */

static void
reload_add_error(struct reload *reload, const char *file, int line,
    const char *message)
{
	/* Whether there is memory to say why, or not. */
	reload->out->refused = true;
	json_array_append_new(reload->out->errors,
	    json_pack("{s:o, s:o, s:o}", "file", history_json_text(file),
		"line", line > 0 ? json_integer(line) : json_null(), "message",
		history_json_text(message)));
}

/* As net_plan calls it. */
static void
reload_say_error(const char *text, void *arg)
{
	reload_add_error(arg, NULL, 0, text);
}

static bool
reload_failed(const struct reload *reload)
{
	return reload->out->refused;
}

/* --- load and compare ------------------------------------------------------ */

static int
reload_load(struct reload *reload)
{
	struct config_errors errors;
	size_t i;

	reload->after = config_load(reload->daemon->path, &errors);
	for (i = 0; i < errors.n; i++)
		reload_add_error(reload, errors.list[i].file,
		    errors.list[i].line, errors.list[i].message);
	config_errors_clear(&errors);
	if (reload->after != NULL)
		return 0;
	if (!reload_failed(reload))
		reload_say_error("out of memory", reload);
	return -1;
}

/* Each key that only a restart can change is an error of its own. */
static void
reload_refuse_keys(struct reload *reload, const json_t *change)
{
	const json_t *keys = json_object_get(change, "keys");
	char text[200];
	size_t i;

	for (i = 0; i < json_array_size(keys); i++) {
		const json_t *key = json_array_get(keys, i);

		if (!json_is_true(json_object_get(key, "restart")))
			continue;
		snprintf(text, sizeof text, "%s.%s: a change needs a restart",
		    json_string_value(json_object_get(change, "section")),
		    json_string_value(json_object_get(key, "key")));
		reload_add_error(reload, reload->daemon->path, 0, text);
	}
}

static bool
reload_same(const char *x, const char *y)
{
	return x == NULL || y == NULL ? x == y : strcmp(x, y) == 0;
}

static void
reload_check_groups(struct reload *reload)
{
	const struct config_daemon *before = &reload->daemon->config->daemon;
	const struct config_daemon *after = &reload->after->daemon;
	char text[300];

	reload->regroups = !reload_same(before->admin_group,
			       after->admin_group) ||
	    !reload_same(before->admin_read_group, after->admin_read_group);
	if (reload->regroups &&
	    admin_check_groups(reload->daemon->admin, after->admin_group,
		after->admin_read_group, text, sizeof text) != 0)
		reload_add_error(reload, reload->daemon->path, 0, text);
}

static int
reload_compare(struct reload *reload)
{
	struct daemon *daemon = reload->daemon;
	json_t *changes = config_diff(daemon->config, reload->after);
	size_t i;

	if (changes == NULL) {
		reload_say_error("out of memory", reload);
		return -1;
	}
	json_decref(reload->out->changes);
	reload->out->changes = changes;
	for (i = 0; i < json_array_size(changes); i++) {
		json_t *change = json_array_get(changes, i);

		if (daemon_change_describe(daemon, reload->after, change) != 0)
			reload_say_error("out of memory", reload);
		reload_refuse_keys(reload, change);
	}
	reload_check_groups(reload);
	return reload_failed(reload) ? -1 : 0;
}

/* --- prepare, and undo ------------------------------------------------------ */

static int
reload_prepare(struct reload *reload)
{
	struct daemon *daemon = reload->daemon;
	const struct config *after = reload->after;

	config_share(reload->after, daemon->config);
	reload->plan = net_plan_new(daemon->loop);
	if (reload->plan == NULL ||
	    (reload->peers = peers_prepare(daemon->peers, after)) == NULL ||
	    (reload->gateway = gateway_prepare(daemon->gateway, after,
		 reload->plan)) == NULL ||
	    (reload->metrics = metrics_prepare(daemon->metrics, daemon->loop,
		 &after->metrics, reload->plan)) == NULL ||
	    (reload->tunnels = tunnels_prepare(daemon->tunnels, after,
		 reload->plan)) == NULL) {
		reload_say_error("out of memory", reload);
		return -1;
	}
	/* What an earlier one gave up may be wanted again. */
	daemon_await_kept(daemon);
	net_plan_on_release(reload->plan, daemon_release, daemon);
	if (net_plan_bind(reload->plan, reload_say_error, reload) != 0)
		return -1;
	return net_plan_swap(reload->plan, reload_say_error, reload);
}

static void
reload_abandon(struct reload *reload)
{
	tunnels_abandon(reload->tunnels);
	metrics_abandon(reload->metrics);
	gateway_abandon(reload->gateway);
	peers_abandon(reload->peers);
	net_plan_abandon(reload->plan);
	config_unref(reload->after);
	/* What was let go for a swap that failed. */
	daemon_keep(reload->daemon, false);
}

/* --- commit ----------------------------------------------------------------- */

/* Who waits for a channel of a peer that is gone gets none. */
static void
reload_end_waiting(struct daemon *daemon)
{
	struct session *session, *next;

	for (session = TAILQ_FIRST(&daemon->tunnels->refresh); session != NULL;
	     session = next) {
		next = TAILQ_NEXT(session, in_refresh);
		if (session->state == SESSION_WAITING &&
		    session->tunnel->peer != NULL &&
		    peer_is_retired(session->tunnel->peer))
			session_close(session, REASON_RELOAD, "daemon");
	}
}

static void
reload_set_log(const struct daemon *daemon, const struct config_daemon *before,
    const struct config_daemon *after)
{
	enum log_level level = log_get_level();

	if (before->log == after->log && before->log_level == after->log_level)
		return;
	/* What tunnelctl log-level set stays, unless the file changed it. */
	if (before->log_level != after->log_level && !daemon->verbose)
		level = after->log_level;
	log_open(daemon->foreground ? LOG_TARGET_STDERR : after->log, level);
}

static void
reload_commit(struct reload *reload)
{
	struct daemon *daemon = reload->daemon;
	struct config *before = daemon->config, *after = reload->after;
	size_t i;

	daemon->config = after;
	daemon->admin_context.config = after;
	daemon->peer_context.name = after->daemon.name;
	peers_commit(reload->peers);
	tunnels_commit(reload->tunnels);
	gateway_commit(reload->gateway);
	daemon->metrics = metrics_commit(reload->metrics,
	    &daemon->admin_context);
	net_plan_commit(reload->plan);
	reload_end_waiting(daemon);
	daemon_apply_disabled(daemon);
	for (i = 0; i < peers_count(daemon->peers); i++)
		peer_start(peers_at(daemon->peers, i));
	ledger_set_limits(daemon->ledger, after->daemon.retention_days,
	    after->daemon.max_rows);
	if (reload->regroups)
		admin_set_groups(daemon->admin, after->daemon.admin_group,
		    after->daemon.admin_read_group);
	reload_set_log(daemon, &before->daemon, &after->daemon);
	config_unref(before);
	/* A port that is given up is closed when the answer says so. */
	daemon_keep(daemon, true);
}

/* --- say ---------------------------------------------------------------------- */

static size_t
reload_count(const json_t *changes, const char *what)
{
	size_t i, n = 0;

	for (i = 0; i < json_array_size(changes); i++) {
		const char *word = json_string_value(
		    json_object_get(json_array_get(changes, i), "what"));

		n += word != NULL && strcmp(word, what) == 0;
	}
	return n;
}

static void
reload_sum_up(struct admin_reload *out)
{
	static const char *const words[] = { "added", "removed", "changed" };
	const size_t size = sizeof out->sum;
	size_t i, n, len = 0;

	snprintf(out->sum, size, "nothing to change");
	for (i = 0; i < 3; i++) {
		n = reload_count(out->changes, words[i]);
		if (n > 0 && len < size)
			len += (size_t)snprintf(out->sum + len, size - len,
			    "%s%zu %s", len > 0 ? ", " : "", n, words[i]);
	}
}

static void
reload_log_changes(const json_t *changes)
{
	size_t i, n = json_array_size(changes);
	char text[1000];

	for (i = 0; i < n && i < RELOAD_LINES; i++)
		log_notice("reload: %s",
		    daemon_change_text(json_array_get(changes, i), text,
			sizeof text));
	if (n > RELOAD_LINES)
		log_notice("reload: and %zu more", n - RELOAD_LINES);
}

static void
reload_log_errors(const json_t *errors)
{
	size_t i, n = json_array_size(errors);

	for (i = 0; i < n && i < RELOAD_LINES; i++) {
		const json_t *error = json_array_get(errors, i);
		const json_t *file = json_object_get(error, "file");
		json_int_t line = json_integer_value(json_object_get(error,
		    "line"));
		char number[32] = "";

		if (line > 0)
			snprintf(number, sizeof number, ":%d", (int)line);
		log_error("reload: %s%s%s%s",
		    json_is_null(file) ? "" : json_string_value(file), number,
		    json_is_null(file) ? "" : ": ",
		    json_string_value(json_object_get(error, "message")));
	}
	if (n > RELOAD_LINES)
		log_error("reload: and %zu more", n - RELOAD_LINES);
}

static void
reload_say(struct daemon *daemon, const struct admin_reload *out)
{
	struct event event = { .kind = EVENT_RELOAD };
	const char *first = json_string_value(
	    json_object_get(json_array_get(out->errors, 0), "message"));
	char text[600];

	if (out->refused) {
		reload_log_errors(out->errors);
		snprintf(text, sizeof text,
		    "refused, nothing was changed: %.400s",
		    first == NULL ? "out of memory" : first);
		log_error("reload by %s refused, nothing was changed", out->by);
	} else {
		snprintf(text, sizeof text, "%s, by %s", out->sum, out->by);
	}
	event.text = text;
	events_publish(&daemon->events, &event);
}

/* --- all of it ------------------------------------------------------------------ */

static void
reload_run(struct reload *reload)
{
	/* The successor has read the file already, perhaps. */
	if (reload->daemon->upgrading && !reload->out->dry_run)
		reload_say_error("an upgrade is under way, which reads the "
				 "configuration anew",
		    reload);
	if (reload_failed(reload) || reload_load(reload) != 0 ||
	    reload_compare(reload) != 0 ||
	    (!reload->out->dry_run && reload_prepare(reload) != 0) ||
	    reload->out->dry_run) {
		reload_abandon(reload);
		return;
	}
	/* Before what follows from them is. */
	reload_log_changes(reload->out->changes);
	reload_commit(reload);
	reload->out->applied = true;
}

void
daemon_reload(struct admin_reload *out, void *arg)
{
	struct daemon *daemon = arg;
	struct reload reload = { .daemon = daemon, .out = out };

	out->applied = out->refused = false;
	out->changes = json_array();
	out->errors = json_array();
	if (out->changes == NULL || out->errors == NULL) {
		log_error("reload: out of memory");
		out->refused = true;
		return;
	}
	if (!out->dry_run)
		notify_reloading(daemon->notify);
	reload_run(&reload);
	reload_sum_up(out);
	if (out->dry_run)
		return;
	reload_say(daemon, out);
	notify_ready(daemon->notify);
}

void
daemon_reload_now(void *arg)
{
	struct daemon *daemon = arg;
	struct admin_reload out = { .by = "SIGHUP" };
	struct ledger_change row = { .at_us = loop_wall_us() };

	daemon_reload(&out, daemon);
	daemon->reloaded_at = loop_now(daemon->loop);
	if (out.applied) {
		log_notice("reload: %s, by SIGHUP", out.sum);
		snprintf(row.by, sizeof row.by, "SIGHUP");
		snprintf(row.command, sizeof row.command, "reload");
		snprintf(row.detail, sizeof row.detail, "%s", out.sum);
		ledger_put_change(daemon->ledger, &row);
	}
	json_decref(out.changes);
	json_decref(out.errors);
}

void
daemon_hangup(void *arg)
{
	struct daemon *daemon = arg;
	double since = loop_now(daemon->loop) - daemon->reloaded_at;

	if (daemon->upgrading || daemon->draining || !daemon->serving) {
		daemon->hung_up = true;
		return;
	}
	/* One that is due will read what this one was sent for. */
	if (!loop_timer_is_set(daemon->reload))
		loop_timer_set(daemon->reload, RELOAD_PAUSE - since);
}
