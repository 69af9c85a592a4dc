/* SPDX-License-Identifier: ISC */
#include <stdlib.h>
#include <string.h>

#include "admin_list.h"
#include "history_json.h"
#include "log.h"

/* Seconds after which an idle stream says that it lives. */
#define FOLLOW_BEAT 10.0
/* Who has more than so many events before him, some 256 KiB of text, and
 * takes none for so many seconds does not keep up. */
#define FOLLOW_BEHIND 512
#define FOLLOW_PATIENCE 1.0

/* A client that follows. */
struct admin_follow {
	struct admin_context *context;
	struct admin_request *request;
	struct events_follower follower;
	struct loop_task task;	 /* something happened */
	struct loop_timer *beat; /* or nothing, for a while */
	double last_sent;	 /* when it took the last piece */
	/* What is followed: */
	bool kinds[EVENT_KINDS];
	bool of_tunnel, of_peer;
	char tunnel[NAME_SIZE];
	char peer[NAME_SIZE]; /* of_tunnel: the tunnel's, "" if local */
};

static struct loop *
follow_loop(const struct admin_follow *follow)
{
	return follow->context->tunnels->params.loop;
}

static void
follow_free(struct admin_follow *follow)
{
	events_unfollow(follow->context->events, &follow->follower);
	loop_task_cancel(follow_loop(follow), &follow->task);
	loop_timer_free(follow->beat);
	free(follow);
}

/* --- what is told ---------------------------------------------------------- */

static bool
follow_is_same(const char *name, const char *wanted)
{
	return strcmp(name == NULL ? "" : name, wanted) == 0;
}

/*
 * What is about no tunnel is still about the peer of the one that is
 * followed, or about the whole daemon.
 */
static bool
follow_wants(const struct admin_follow *follow, const struct event *event)
{
	if (!follow->kinds[event->kind])
		return false;
	if (event->tunnel == NULL && event->peer == NULL)
		return true;
	if (follow->of_tunnel && event->tunnel != NULL &&
	    !follow_is_same(event->tunnel, follow->tunnel))
		return false;
	return !follow->of_peer || follow_is_same(event->peer, follow->peer);
}

static json_t *
follow_row(const struct event *event)
{
	const struct ledger_session *row = event->session;

	/* clang-format off */
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}",
	    "at", history_json_time(event->at_us),
	    "kind", event_kind_name(event->kind),
	    "peer", history_json_text(event->peer),
	    "tunnel", history_json_text(event->tunnel),
	    "address", history_json_text(event->address),
	    "session", row == NULL ? json_null() : history_json_session(row),
	    "text", history_json_text(event->text));
	/* clang-format on */
}

/* The next piece, NULL out of memory; empty if nothing waits. */
static json_t *
follow_piece(struct admin_follow *follow)
{
	json_t *piece = json_array();
	const struct event *event;

	while (json_array_size(piece) < ADMIN_ROWS_MAX) {
		event = events_take(follow->context->events, &follow->follower);
		if (event == NULL)
			break;
		if (follow_wants(follow, event) &&
		    json_array_append_new(piece, follow_row(event)) != 0) {
			json_decref(piece);
			return NULL;
		}
	}
	return piece;
}

/* Sends one piece more, if there is any; false if that was the last. */
static bool
follow_send(struct admin_follow *follow)
{
	json_t *piece = follow_piece(follow);

	if (piece != NULL && json_array_size(piece) == 0) {
		json_decref(piece);
		return true;
	}
	loop_timer_set(follow->beat, FOLLOW_BEAT);
	follow->last_sent = loop_now(follow_loop(follow));
	return admin_stream_send(follow->request, piece);
}

/* --- when ------------------------------------------------------------------ */

static bool
follow_is_too_slow(struct admin_follow *follow)
{
	double left = follow->last_sent + FOLLOW_PATIENCE -
	    loop_now(follow_loop(follow));

	if (follow->follower.lost)
		return true;
	if (follow->follower.waiting <= FOLLOW_BEHIND)
		return false;
	loop_timer_set(follow->beat, left);
	return left <= 0;
}

static void
follow_give_up(struct admin_follow *follow)
{
	struct admin_request *request = follow->request;

	log_info("admin: who follows the events does not keep up, and is "
		 "dropped");
	follow_free(follow);
	admin_request_on_cancel(request, NULL, NULL);
	admin_stream_fail(request, "unavailable",
	    "too slow: events would be missed");
}

/* As much as the client takes now. */
static void
follow_run(void *arg)
{
	struct admin_follow *follow = arg;

	while (follow->follower.waiting > 0 &&
	    admin_stream_is_ready(follow->request))
		if (!follow_send(follow)) {
			follow_free(follow);
			return;
		}
	if (follow_is_too_slow(follow))
		follow_give_up(follow);
}

static void
follow_news(void *arg)
{
	struct admin_follow *follow = arg;

	loop_task_queue(follow_loop(follow), &follow->task);
}

/* Proof of life, for both ends. */
static void
follow_beat(void *arg)
{
	struct admin_follow *follow = arg;

	loop_timer_set(follow->beat, FOLLOW_BEAT);
	if (admin_stream_is_ready(follow->request) &&
	    !admin_stream_send(follow->request, json_array()))
		follow_free(follow);
	else
		follow_run(follow);
}

/* The client has gone, or the daemon ends: then what is left still goes. */
static void
follow_cancelled(void *arg)
{
	struct admin_follow *follow = arg;

	while (follow->follower.waiting > 0)
		if (!follow_send(follow))
			break;
	follow_free(follow);
}

/* --- the command ------------------------------------------------------------ */

static bool
follow_choose_kind(struct admin_follow *follow, const char *group)
{
	bool found = false;
	int i;

	for (i = 0; i < EVENT_KINDS; i++)
		if (group != NULL && strcmp(event_kind_group(i), group) == 0)
			found = follow->kinds[i] = true;
	return found;
}

/* False after answering that they are none. */
static bool
follow_choose_kinds(struct admin_request *request, json_t *list,
    struct admin_follow *follow)
{
	json_t *value;
	size_t i;

	if (list == NULL || json_is_null(list)) {
		memset(follow->kinds, true, sizeof follow->kinds);
		return true;
	}
	if (!json_is_array(list) || json_array_size(list) == 0) {
		admin_fail(request, "bad_request",
		    "kinds must be an array of at least one kind");
		return false;
	}
	json_array_foreach(list, i, value)
	{
		if (follow_choose_kind(follow, json_string_value(value)))
			continue;
		admin_fail(request, "bad_request",
		    "a kind is one of link, session, error, change, reload");
		return false;
	}
	return true;
}

/* False after answering what is wrong. */
static bool
follow_choose(struct admin_request *request, json_t *args,
    struct admin_follow *follow)
{
	struct admin_context *context = follow->context;
	const char *tunnel_name, *name;
	const struct tunnel *tunnel;
	const struct peer *peer;

	if (!admin_arg_string(request, args, "tunnel", &tunnel_name) ||
	    !admin_arg_string(request, args, "peer", &name) ||
	    !follow_choose_kinds(request, json_object_get(args, "kinds"),
		follow))
		return false;
	if (name != NULL) {
		peer = admin_find_peer(request, context->peers, name);
		if (peer == NULL)
			return false;
		follow->of_peer = true;
		strcpy(follow->peer, peer_name(peer));
	}
	if (tunnel_name == NULL)
		return true;
	tunnel = admin_find_tunnel(request, context->tunnels, tunnel_name);
	if (tunnel == NULL)
		return false;
	name = tunnel->conf->peer == NULL ? "" : tunnel->conf->peer;
	if (follow->of_peer && strcmp(follow->peer, name) != 0) {
		admin_fail(request, "bad_request",
		    "tunnel %s is none of peer %s", tunnel->label,
		    follow->peer);
		return false;
	}
	follow->of_tunnel = follow->of_peer = true;
	strcpy(follow->tunnel, tunnel->conf->name);
	strcpy(follow->peer, name);
	return true;
}

void
admin_events(struct admin_request *request, json_t *args, void *arg)
{
	struct admin_context *context = arg;
	struct admin_follow *follow = calloc(1, sizeof *follow);

	if (follow == NULL) {
		admin_answer(request, NULL);
		return;
	}
	follow->context = context;
	follow->request = request;
	if (!follow_choose(request, args, follow)) {
		free(follow);
		return;
	}
	follow->beat = loop_timer_new(follow_loop(follow), follow_beat, follow);
	if (follow->beat == NULL) {
		free(follow);
		admin_answer(request, NULL);
		return;
	}
	loop_task_init(&follow->task, follow_run, follow);
	loop_timer_set(follow->beat, FOLLOW_BEAT);
	follow->follower.news = follow_news;
	follow->follower.arg = follow;
	events_follow(context->events, &follow->follower);
	admin_request_on_cancel(request, follow_cancelled, follow);
	admin_stream_begin(request, follow_run);
}
