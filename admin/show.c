/* SPDX-License-Identifier: ISC */
#include "show.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "format.h"

#define ERROR_FRESH 600.0 /* seconds for which status shows a tunnel's error */
#define ERROR_SIZE 400

static bool
has(const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	return value != NULL && !json_is_null(value) &&
	    (!json_is_string(value) || json_string_length(value) > 0);
}

static bool
is_text(const json_t *row, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(row, key));

	return value != NULL && strcmp(value, text) == 0;
}

/* "3m ago" or, with --utc, "at 2026-11-21T09:00:00.123Z". */
static const char *
ago(const struct output_settings *settings, const json_t *value, char *buf,
    size_t size)
{
	char text[64];

	if (settings->utc)
		snprintf(buf, size, "at %s",
		    format_value(value, text, sizeof text));
	else
		snprintf(buf, size, "%s ago",
		    format_age(value, text, sizeof text));
	return buf;
}

/* One more part of a note. */
static void __attribute__((format(printf, 3, 4)))
add(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	if (len > 0)
		snprintf(buf + len, size - len, "; ");
	len = strlen(buf);
	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

/* Of what was switched off: since when, and by whom. */
static void
add_disabled(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *disabled = json_object_get(row, "disabled");
	char when[80], by[80];

	if (json_is_object(disabled))
		add(buf, size, "disabled %s by %s",
		    ago(settings, json_object_get(disabled, "at"), when,
			sizeof when),
		    format_value(json_object_get(disabled, "by"), by,
			sizeof by));
}

/* A member of a member, which may be null. */
static json_t *
member_of(const json_t *row, const char *object, const char *key)
{
	return json_incref(json_object_get(json_object_get(row, object), key));
}

static json_t *
value_disabled(const json_t *row)
{
	return member_of(row, "disabled", "at");
}

static json_t *
value_disabled_by(const json_t *row)
{
	return member_of(row, "disabled", "by");
}

/* --- Peers -------------------------------------------------------------- */

/* While there is no link: where it is dialled. Not if just the address was
 * asked for. */
static void
text_address(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	bool is_there = has(row, "address") || settings->columns != NULL;

	format_value(json_object_get(row, is_there ? "address" : "connect"),
	    buf, size);
}

/* Whether it was refused after it was last seen. Times compare as text. */
static bool
is_refused(const json_t *row)
{
	const char *at = json_string_value(json_object_get(row,
		       "last_refusal_at")),
		   *since = json_string_value(json_object_get(row, "since"));

	return has(row, "last_refusal") && at != NULL && since != NULL &&
	    strcmp(at, since) >= 0;
}

/* When it is tried again, and what went wrong last. */
static void
note_peer(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	bool waits = is_text(row, "role", "accepts") &&
	    is_text(row, "state", "down");
	const json_t *next = json_object_get(row, "next_try_at");
	char when[80], text[ERROR_SIZE];

	buf[0] = '\0';
	add_disabled(settings, row, buf, size);
	if (waits)
		add(buf, size, "waits to be dialled%s",
		    has(row, "last_error") ? "" : ", not seen since the start");
	if (has(row, "next_try_at") && settings->utc)
		add(buf, size, "next try at %s",
		    format_value(next, when, sizeof when));
	else if (has(row, "next_try_at"))
		add(buf, size, "next try in %s",
		    format_age(next, when, sizeof when));
	if (has(row, "last_error"))
		add(buf, size, "last error %s: %s",
		    ago(settings, json_object_get(row, "last_error_at"), when,
			sizeof when),
		    format_value(json_object_get(row, "last_error"), text,
			sizeof text));
	if (is_refused(row))
		add(buf, size, "last attempt %s from %s",
		    ago(settings, json_object_get(row, "last_refusal_at"), when,
			sizeof when),
		    format_value(json_object_get(row, "last_refusal"), text,
			sizeof text));
}

/* What is over is of no interest at one glance. */
static void
note_status_peer(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	if (is_text(row, "state", "up"))
		buf[0] = '\0';
	else
		note_peer(settings, row, buf, size);
}

/* How many lanes take sessions. */
static json_t *
value_lanes(const json_t *row)
{
	const json_t *lanes = json_object_get(row, "lanes"), *lane;
	json_int_t n = 0;
	size_t i;

	json_array_foreach(lanes, i, lane) n += is_text(lane, "state", "up");
	return json_integer(n);
}

static const struct output_column peer_columns[] = {
	{ "PEER", "name", .flags = OUTPUT_SHRINK },
	{ "STATE", "state", .flags = OUTPUT_STATE },
	{ "SINCE", "since", .flags = OUTPUT_AGE | OUTPUT_DROP(6) },
	{ "RTT", "rtt_ms", .flags = OUTPUT_MS | OUTPUT_DROP(5) },
	{ "ADDRESS", "address", OUTPUT_ADDRESS, text_address, NULL },
	{ "SESSIONS", "sessions", .flags = OUTPUT_RIGHT },
	{ "RECONNECTS", "reconnects", .flags = OUTPUT_RIGHT | OUTPUT_DROP(4) },
	{ "ROLE", "role", .flags = OUTPUT_DROP(3) },
	{ "SECURITY", "security", .flags = OUTPUT_DROP(2) },
	{ "LANES", "lanes", OUTPUT_RIGHT | OUTPUT_DROP(2), NULL, value_lanes },
	{ "MODE", "mode", .flags = OUTPUT_EXTRA },
	{ "IDLE CHANNELS", "channels_idle",
	    .flags = OUTPUT_RIGHT | OUTPUT_DROP(1) },
	{ "USED CHANNELS", "channels_used",
	    .flags = OUTPUT_RIGHT | OUTPUT_EXTRA },
	{ "CONNECT", "connect", .flags = OUTPUT_ADDRESS | OUTPUT_EXTRA },
	{ "LAST ERROR", "last_error", .flags = OUTPUT_EXTRA },
	{ "LAST ERROR AT", "last_error_at",
	    .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "LAST REFUSAL", "last_refusal", .flags = OUTPUT_EXTRA },
	{ "LAST REFUSAL AT", "last_refusal_at",
	    .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "NEXT TRY AT", "next_try_at", .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "DISABLED", "disabled", OUTPUT_TIME | OUTPUT_EXTRA, NULL,
	    value_disabled },
	{ "DISABLED BY", "disabled_by", OUTPUT_EXTRA, NULL, value_disabled_by },
	{ .head = NULL },
};
const struct output_view show_peers = { peer_columns, "no peers", note_peer };

static const struct output_column status_peer_columns[] = {
	{ "PEER", "name", .flags = OUTPUT_SHRINK },
	{ "STATE", "state", .flags = OUTPUT_STATE },
	{ "SINCE", "since", .flags = OUTPUT_AGE },
	{ "RTT", "rtt_ms", .flags = OUTPUT_MS | OUTPUT_DROP(1) },
	{ "LANES", "lanes", OUTPUT_RIGHT | OUTPUT_DROP(2), NULL, value_lanes },
	{ "ADDRESS", "address", OUTPUT_ADDRESS, text_address, NULL },
	{ .head = NULL },
};
const struct output_view show_status_peers = { status_peer_columns, "no peers",
	note_status_peer };

/* --- Tunnels ------------------------------------------------------------ */

/* As people name it: PEER/NAME. With --columns, each is its own column. */
static void
text_label(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	char peer[80], name[80];

	format_value(json_object_get(row, "name"), name, sizeof name);
	if (has(row, "peer") && settings->columns == NULL)
		snprintf(buf, size, "%s/%s",
		    format_value(json_object_get(row, "peer"), peer,
			sizeof peer),
		    name);
	else
		snprintf(buf, size, "%s", name);
}

/* "now/in all" */
static void
text_sessions(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	char now[FORMAT_SIZE], total[FORMAT_SIZE];

	if (settings->columns != NULL) {
		format_value(json_object_get(row, "sessions"), buf, size);
		return;
	}
	snprintf(buf, size, "%s/%s",
	    format_value(json_object_get(row, "sessions"), now, sizeof now),
	    format_value(json_object_get(row, "sessions_total"), total,
		sizeof total));
}

/* Of one that another took the place of, or none: until when its sessions
 * go on. */
static void
add_draining(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *draining = json_object_get(row, "draining");
	const json_t *until = json_object_get(draining, "until");
	bool changed = json_is_true(json_object_get(draining, "changed"));
	const json_t *worker = json_object_get(row, "worker");
	char when[80];

	if (json_is_integer(worker))
		add(buf, size,
		    "in worker %" JSON_INTEGER_FORMAT
		    ", which an upgrade replaced",
		    json_integer_value(worker));
	if (!json_is_object(draining))
		return;
	add(buf, size, "%s %s", changed ? "changed" : "removed",
	    ago(settings, json_object_get(draining, "since"), when,
		sizeof when));
	if (!json_is_string(until))
		add(buf, size, "its sessions run on until they end");
	else if (settings->utc)
		add(buf, size, "its sessions are closed at %s",
		    format_value(until, when, sizeof when));
	else
		add(buf, size, "its sessions are closed in %s",
		    format_age(until, when, sizeof when));
}

static json_t *
value_draining(const json_t *row)
{
	return member_of(row, "draining", "since");
}

static json_t *
value_draining_until(const json_t *row)
{
	return member_of(row, "draining", "until");
}

/* Whom it did not serve, and why the last one was not. */
static void
note_tunnel(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	json_int_t refused = json_integer_value(json_object_get(row,
	    "refused"));
	const json_t *at = json_object_get(row, "last_error_at");
	char when[80], text[ERROR_SIZE];

	buf[0] = '\0';
	add_draining(settings, row, buf, size);
	add_disabled(settings, row, buf, size);
	if (refused > 0)
		add(buf, size, "%" JSON_INTEGER_FORMAT " refused%s", refused,
		    has(row, "last_error") ? ", " : "");
	else if (has(row, "last_error"))
		add(buf, size, "%s", "");
	if (has(row, "last_error"))
		snprintf(buf + strlen(buf), size - strlen(buf), "last %s%s: %s",
		    refused > 0 ? "" : "error ",
		    ago(settings, at, when, sizeof when),
		    format_value(json_object_get(row, "last_error"), text,
			sizeof text));
}

static void
note_status_tunnel(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	if (json_integer_value(json_object_get(row, "refused")) > 0 ||
	    json_is_object(json_object_get(row, "disabled")) ||
	    json_is_object(json_object_get(row, "draining")) ||
	    json_is_integer(json_object_get(row, "worker")) ||
	    format_is_recent(json_object_get(row, "last_error_at"),
		ERROR_FRESH))
		note_tunnel(settings, row, buf, size);
	else
		buf[0] = '\0';
}

static const struct output_column tunnel_columns[] = {
	{ "TUNNEL", "name", OUTPUT_SHRINK, text_label, NULL },
	{ "TYPE", "type", .flags = OUTPUT_DROP(1) },
	{ "LISTEN", "listen", .flags = OUTPUT_ADDRESS },
	{ "CONNECT", "connect", .flags = OUTPUT_ADDRESS },
	{ "PEER", "peer", .flags = OUTPUT_SHRINK | OUTPUT_EXTRA },
	{ "STATE", "state", .flags = OUTPUT_STATE | OUTPUT_DROP(8) },
	{ "SESSIONS", "sessions", OUTPUT_RIGHT, text_sessions, NULL },
	{ "UP", "up_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(6) },
	{ "DOWN", "down_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(7) },
	{ "UP/S", "up_rate", .flags = OUTPUT_RATE | OUTPUT_DROP(9) },
	{ "DOWN/S", "down_rate", .flags = OUTPUT_RATE | OUTPUT_DROP(10) },
	{ "HELD", "held", .flags = OUTPUT_RIGHT | OUTPUT_DROP(4) },
	{ "REFUSED", "refused", .flags = OUTPUT_RIGHT | OUTPUT_DROP(5) },
	{ "MODE", "mode", .flags = OUTPUT_DROP(2) },
	{ "END", "end", .flags = OUTPUT_DROP(3) },
	{ "SESSIONS TOTAL", "sessions_total",
	    .flags = OUTPUT_RIGHT | OUTPUT_EXTRA },
	{ "LAST ERROR", "last_error", .flags = OUTPUT_EXTRA },
	{ "LAST ERROR AT", "last_error_at",
	    .flags = OUTPUT_TIME | OUTPUT_EXTRA },
	{ "DISABLED", "disabled", OUTPUT_TIME | OUTPUT_EXTRA, NULL,
	    value_disabled },
	{ "DISABLED BY", "disabled_by", OUTPUT_EXTRA, NULL, value_disabled_by },
	{ "DRAINING", "draining", OUTPUT_TIME | OUTPUT_EXTRA, NULL,
	    value_draining },
	{ "DRAINING UNTIL", "draining_until", OUTPUT_TIME | OUTPUT_EXTRA, NULL,
	    value_draining_until },
	{ "WORKER", "worker", .flags = OUTPUT_RIGHT | OUTPUT_RARE },
	{ .head = NULL },
};
const struct output_view show_tunnels = { tunnel_columns, "no tunnels",
	note_tunnel };

static const struct output_column status_tunnel_columns[] = {
	{ "TUNNEL", "name", OUTPUT_SHRINK, text_label, NULL },
	{ "TYPE", "type", .flags = OUTPUT_DROP(1) },
	{ "LISTEN", "listen", .flags = OUTPUT_ADDRESS },
	{ "CONNECT", "connect", .flags = OUTPUT_ADDRESS },
	{ "STATE", "state", .flags = OUTPUT_STATE },
	{ "SESSIONS", "sessions", OUTPUT_RIGHT, text_sessions, NULL },
	{ "UP", "up_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(2) },
	{ "DOWN", "down_bytes", .flags = OUTPUT_BYTES | OUTPUT_DROP(3) },
	{ "UP/S", "up_rate", .flags = OUTPUT_RATE | OUTPUT_DROP(4) },
	{ "DOWN/S", "down_rate", .flags = OUTPUT_RATE | OUTPUT_DROP(5) },
	{ .head = NULL },
};
const struct output_view show_status_tunnels = { status_tunnel_columns,
	"no tunnels", note_status_tunnel };
