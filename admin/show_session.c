/* SPDX-License-Identifier: ISC */
#include "show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "format.h"

/* As people name it: PEER/NAME. With --columns, each is its own column. */
static void
text_tunnel_label(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *peer = json_object_get(row, "peer");
	char text[80], name[80];

	format_value(json_object_get(row, "tunnel"), name, sizeof name);
	if (json_is_string(peer) && settings->columns == NULL)
		snprintf(buf, size, "%s/%s",
		    format_value(peer, text, sizeof text), name);
	else
		snprintf(buf, size, "%s", name);
}

/* Without the number of the user, if there is a name. */
static void
text_by(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	const json_t *by = json_object_get(row, "closed_by");

	if (settings->columns != NULL)
		format_value(by, buf, size);
	else
		format_who(by, buf, size);
}

/* Seconds since it was opened. */
static json_t *
value_age(const json_t *row)
{
	return format_seconds_between(json_object_get(row, "opened_at"), NULL);
}

/* From opened to closed; NULL while it is open. */
static json_t *
value_duration(const json_t *row)
{
	const json_t *closed = json_object_get(row, "closed_at");

	return json_is_string(closed) ?
	    format_seconds_between(json_object_get(row, "opened_at"), closed) :
	    NULL;
}

static const struct output_column session_columns[] = {
	{ "ID", "id", .flags = OUTPUT_RIGHT },
	{ "TUNNEL", "tunnel", OUTPUT_SHRINK, text_tunnel_label, NULL },
	{ "PEER", "peer", .flags = OUTPUT_SHRINK | OUTPUT_EXTRA },
	{ "SOURCE", "source", .flags = OUTPUT_ADDRESS },
	{ "TARGET", "target", .flags = OUTPUT_ADDRESS | OUTPUT_DROP(1) },
	{ "STATE", "state", .flags = OUTPUT_STATE | OUTPUT_DROP(3) },
	{ "AGE", "opened_at", .flags = OUTPUT_AGE },
	{ "AGE", "age", OUTPUT_DURATION | OUTPUT_EXTRA, NULL, value_age },
	{ "IDLE", "idle", .flags = OUTPUT_DURATION | OUTPUT_DROP(2) },
	{ "UP", "up_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(4) },
	{ "DOWN", "down_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(5) },
	{ "UP/S", "up_rate", .flags = OUTPUT_RATE },
	{ "DOWN/S", "down_rate", .flags = OUTPUT_RATE },
	{ "TYPE", "type", .flags = OUTPUT_EXTRA },
	{ "MODE", "mode", .flags = OUTPUT_EXTRA },
	{ "END", "end", .flags = OUTPUT_EXTRA },
	{ "CLOSED", "closed_at", .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "REASON", "close_reason", .flags = OUTPUT_EXTRA },
	{ "BY", "closed_by", .flags = OUTPUT_EXTRA },
	{ "UID", "uid", .flags = OUTPUT_EXTRA },
	{ "WORKER", "worker", .flags = OUTPUT_RIGHT | OUTPUT_RARE },
	{ .head = NULL },
};
const struct output_view show_sessions = { session_columns, "no sessions",
	NULL };

static const struct output_column history_columns[] = {
	{ "ID", "id", .flags = OUTPUT_RIGHT },
	{ "TUNNEL", "tunnel", OUTPUT_SHRINK, text_tunnel_label, NULL },
	{ "PEER", "peer", .flags = OUTPUT_SHRINK | OUTPUT_EXTRA },
	{ "SOURCE", "source", .flags = OUTPUT_ADDRESS },
	{ "OPENED", "opened_at", .flags = OUTPUT_TIME },
	{ "AGE", "age", OUTPUT_DURATION | OUTPUT_EXTRA, NULL, value_age },
	{ "CLOSED", "closed_at", .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "LASTED", "duration", OUTPUT_DURATION | OUTPUT_DROP(2), NULL,
	    value_duration },
	{ "UP", "up_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(4) },
	{ "DOWN", "down_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(5) },
	{ "REASON", "close_reason", .flags = 0 },
	{ "BY", "closed_by", OUTPUT_SHRINK | OUTPUT_DROP(3), text_by, NULL },
	{ "TARGET", "target", .flags = OUTPUT_ADDRESS | OUTPUT_DROP(1) },
	{ "STATE", "state", .flags = OUTPUT_EXTRA },
	{ "TYPE", "type", .flags = OUTPUT_EXTRA },
	{ "END", "end", .flags = OUTPUT_EXTRA },
	{ "UID", "uid", .flags = OUTPUT_EXTRA },
	{ .head = NULL },
};
const struct output_view show_history = { history_columns, "no closed sessions",
	NULL };

/* --- One session -------------------------------------------------------- */

static void
text_opened(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *at = json_object_get(row, "opened_at");
	char when[64], age[FORMAT_SIZE];

	if (settings->utc)
		format_value(at, buf, size);
	else
		snprintf(buf, size, "%s (%s ago)",
		    format_time_whole(at, when, sizeof when),
		    format_age(at, age, sizeof age));
}

static void
text_closed(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *at = json_object_get(row, "closed_at");
	char when[64], lasted[FORMAT_SIZE];

	if (settings->utc || !json_is_string(at))
		format_value(at, buf, size);
	else
		snprintf(buf, size, "%s (lasted %s)",
		    format_time_whole(at, when, sizeof when),
		    format_between(json_object_get(row, "opened_at"), at,
			lasted, sizeof lasted));
}

static void
bytes_whole(const struct output_settings *settings, const json_t *value,
    char *buf, size_t size)
{
	char human[FORMAT_SIZE], exact[FORMAT_SIZE];

	format_bytes(value, human, sizeof human);
	format_value(value, exact, sizeof exact);
	if (settings->bytes || strcmp(human, exact) == 0)
		snprintf(buf, size, "%s", exact);
	else
		snprintf(buf, size, "%s (%s bytes)", human, exact);
}

static void
text_up_whole(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	bytes_whole(settings, json_object_get(row, "up_bytes"), buf, size);
}

static void
text_down_whole(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	bytes_whole(settings, json_object_get(row, "down_bytes"), buf, size);
}

static const struct output_column whole_session[] = {
	{ "session", "id", .flags = 0 },
	{ "uid", "uid", .flags = 0 },
	{ "state", "state", .flags = OUTPUT_STATE },
	{ "tunnel", "tunnel", 0, text_tunnel_label, NULL },
	{ "peer", "peer", .flags = OUTPUT_EXTRA },
	{ "type", "type", .flags = 0 },
	{ "end", "end", .flags = 0 },
	{ "source", "source", .flags = 0 },
	{ "target", "target", .flags = 0 },
	{ "opened", "opened_at", 0, text_opened, NULL },
	{ "closed", "closed_at", 0, text_closed, NULL },
	{ "duration", "duration", OUTPUT_DURATION | OUTPUT_EXTRA, NULL,
	    value_duration },
	{ "reason", "close_reason", .flags = 0 },
	{ "closed by", "closed_by", .flags = 0 },
	{ "idle", "idle", .flags = OUTPUT_DURATION },
	{ "up", "up_bytes", 0, text_up_whole, NULL },
	{ "down", "down_bytes", 0, text_down_whole, NULL },
	{ "up/s", "up_rate", .flags = OUTPUT_RATE },
	{ "down/s", "down_rate", .flags = OUTPUT_RATE },
	{ "worker", "worker", .flags = OUTPUT_RARE },
	{ .head = NULL },
};
const struct output_view show_session = { whole_session, NULL, NULL };
