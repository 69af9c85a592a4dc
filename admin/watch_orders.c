/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "watch_internal.h"

static const char *const words[] = {
	[WATCH_KILL_SESSION] = "kill",
	[WATCH_KILL_TUNNEL] = "kill",
	[WATCH_DISABLE] = "disable",
	[WATCH_ENABLE] = "enable",
};

/* "session 17", "homelab/ssh" */
static const char *
describe(const struct watch_order *order, char *buf, size_t size)
{
	if (order->deed == WATCH_KILL_SESSION)
		snprintf(buf, size, "session %" JSON_INTEGER_FORMAT, order->id);
	else
		snprintf(buf, size, "%s", order->label);
	return buf;
}

static void __attribute__((format(printf, 2, 3)))
set_question(struct watch *watch, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(watch->question, sizeof watch->question, fmt, ap);
	va_end(ap);
}

static void
ask_about_session(struct watch *watch, const struct watch_row *row)
{
	struct watch_order *order = &watch->order;

	order->deed = WATCH_KILL_SESSION;
	order->id = (json_int_t)row->cells[WATCH_SESSION_ID].number;
	set_question(watch,
	    "kill session %" JSON_INTEGER_FORMAT " (%s, %s)? y/N", order->id,
	    row->cells[WATCH_SESSION_TUNNEL].text,
	    row->cells[WATCH_SESSION_SOURCE].text);
}

static void
ask_about_tunnel(struct watch *watch, const struct watch_row *row)
{
	struct watch_order *order = &watch->order;
	double n = row->cells[WATCH_TUNNEL_SESSIONS].number;

	snprintf(order->label, sizeof order->label, "%s",
	    row->cells[WATCH_TUNNEL_LABEL].text);
	if (order->deed == WATCH_KILL_TUNNEL)
		set_question(watch, "kill all sessions of %s, %.0f now? y/N",
		    order->label, n > 0 ? n : 0);
	else if (order->deed == WATCH_DISABLE)
		set_question(watch, "disable %s (open sessions go on)? y/N",
		    order->label);
	else
		set_question(watch, "enable %s? y/N", order->label);
}

void
watch_orders_ask(struct watch *watch, enum watch_deed deed)
{
	const struct watch_row
	    *row = watch_list_selected(&watch->model.lists[watch->focus]);

	if (watch->focus == WATCH_SESSIONS && deed >= WATCH_DISABLE) {
		watch_say(watch, WATCH_ERROR,
		    "choose a tunnel first (Tab), then %s it", words[deed]);
		return;
	}
	if (row == NULL) {
		watch_say(watch, WATCH_ERROR, "there is nothing to %s",
		    words[deed]);
		return;
	}
	watch->order.deed = deed;
	watch->mode = WATCH_ASKING;
	if (watch->focus == WATCH_SESSIONS)
		ask_about_session(watch, row);
	else
		ask_about_tunnel(watch, row);
}

void
watch_orders_answer(struct watch *watch, bool yes)
{
	size_t place = watch->n_orders % WATCH_FEED_QUEUE;
	struct watch_order *order = &watch->order;
	char what[WATCH_TEXT_SIZE], name[sizeof order->label + 1];
	json_t *args;

	watch->mode = WATCH_LOOKING;
	describe(order, what, sizeof what);
	if (!yes) {
		watch_say(watch, WATCH_PLAIN, "%s: not done", what);
		return;
	}
	/* A name without a peer is that of a local tunnel, and of no other. */
	snprintf(name, sizeof name, "%s%s",
	    strchr(order->label, '/') == NULL ? "/" : "", order->label);
	if (order->deed == WATCH_KILL_SESSION)
		args = json_pack("{s:[I]}", "ids", order->id);
	else
		args = json_pack("{s:s}", "tunnel", name);
	/* Without args it would be another request. */
	if (args == NULL ||
	    watch_feed_ask(watch->feed, WATCH_TAG_ORDERS + (int)place,
		words[order->deed], args) != 0) {
		watch_say(watch, WATCH_ERROR,
		    "%s %s: not done, the daemon cannot be asked now",
		    words[order->deed], what);
		return;
	}
	watch->orders[place] = *order;
	watch->n_orders++;
	watch->orders_open++;
	watch_say(watch, WATCH_PLAIN, "%s %s ...", words[order->deed], what);
}

void
watch_orders_result(struct watch *watch, const struct watch_answer *answer)
{
	const struct watch_order
	    *order = &watch->orders[answer->tag - WATCH_TAG_ORDERS];
	const char *word = words[order->deed];
	const json_t *unreachable;
	char what[WATCH_TEXT_SIZE];
	size_t n;

	describe(order, what, sizeof what);
	/* What has changed is to be seen at once. */
	watch->read_now = true;
	if (answer->status == WATCH_REFUSED) {
		watch_say(watch, WATCH_ERROR, "%s %s: %s", word, what,
		    answer->error);
		return;
	}
	n = json_array_size(json_object_get(answer->data, "killed"));
	unreachable = json_object_get(answer->data, "unreachable");
	if (json_array_size(unreachable) > 0) {
		watch_say(watch, WATCH_ERROR,
		    "%s %s: killed %zu; worker %" JSON_INTEGER_FORMAT
		    " did not answer",
		    word, what, n,
		    json_integer_value(json_array_get(unreachable, 0)));
		return;
	}
	if (order->deed == WATCH_KILL_SESSION && n == 0)
		watch_say(watch, WATCH_PLAIN, "%s is not open any more", what);
	else if (order->deed == WATCH_KILL_SESSION)
		watch_say(watch, WATCH_PLAIN, "killed %s", what);
	else if (order->deed == WATCH_KILL_TUNNEL)
		watch_say(watch, WATCH_PLAIN, "killed %zu session%s of %s", n,
		    n == 1 ? "" : "s", what);
	else if (json_is_false(json_object_get(answer->data, "changed")))
		watch_say(watch, WATCH_PLAIN, "%s was %sd already", what, word);
	else
		watch_say(watch, WATCH_PLAIN, "%s is %sd", what, word);
}
