/* SPDX-License-Identifier: ISC */
#include <stdio.h>

#include "admin_list.h"

void
admin_author_set(struct admin_author *author,
    const struct admin_request *request)
{
	author->uid = admin_request_uid(request);
	author->relayed = admin_request_is_relayed(request);
	admin_request_who(request, author->who, sizeof author->who);
}

void
admin_record(struct admin_request *request, struct admin_context *context,
    const struct admin_change *change)
{
	struct admin_author author;

	admin_author_set(&author, request);
	admin_record_by(&author, context, change);
}

void
admin_record_by(const struct admin_author *author,
    struct admin_context *context, const struct admin_change *change)
{
	struct ledger_change row = { .at_us = loop_wall_us() };
	char what[NAME_SIZE * 2 + 16] = "", text[sizeof row.detail + 128];
	struct event event = { .kind = EVENT_CHANGE, .text = text };

	if (author->relayed)
		return;
	if (change->tunnel != NULL) {
		snprintf(what, sizeof what, "tunnel %s", change->tunnel->label);
		event.tunnel = change->tunnel->conf->name;
		event.peer = change->tunnel->conf->peer;
	} else if (change->peer != NULL) {
		snprintf(what, sizeof what, "peer %s", peer_name(change->peer));
		event.peer = peer_name(change->peer);
	}
	row.uid = author->uid;
	snprintf(row.by, sizeof row.by, "%s", author->who);
	snprintf(row.command, sizeof row.command, "%s", change->command);
	snprintf(row.detail, sizeof row.detail, "%s%s%s", what,
	    what[0] != '\0' && change->detail[0] != '\0' ? ": " : "",
	    change->detail);
	ledger_put_change(context->ledger, &row);
	snprintf(text, sizeof text, "%s%s%s, by %s", row.command,
	    row.detail[0] != '\0' ? ": " : "", row.detail, author->who);
	log_notice("admin: %s", text);
	events_publish(context->events, &event);
}
