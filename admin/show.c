/* SPDX-License-Identifier: ISC */
#include "show.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "format.h"

#define ERROR_FRESH 600.0 /* seconds for which status shows a tunnel's error */
#define ERROR_SIZE 400

/* A function for a column from a formatter and a member. */
#define TEXT(name, formatter, member)                               \
	static void name(const json_t *row, char *buf, size_t size) \
	{                                                           \
		formatter(json_object_get(row, member), buf, size); \
	}

TEXT(text_up, format_bytes, "up_bytes")
TEXT(text_down, format_bytes, "down_bytes")
TEXT(text_since, format_age, "since")
TEXT(text_rtt, format_rtt, "rtt_ms")
TEXT(text_age, format_age, "opened_at")
TEXT(text_idle, format_duration, "idle")
TEXT(text_closed_at, format_time, "closed_at")

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

/* "now/in all" */
static void
text_sessions(const json_t *row, char *buf, size_t size)
{
	char now[FORMAT_SIZE], total[FORMAT_SIZE];

	snprintf(buf, size, "%s/%s",
	    format_value(json_object_get(row, "sessions"), now, sizeof now),
	    format_value(json_object_get(row, "sessions_total"), total,
		sizeof total));
}

static void
text_tunnel_label(const json_t *row, char *buf, size_t size)
{
	char peer[80], name[80];

	format_value(json_object_get(row, "tunnel"), name, sizeof name);
	if (has(row, "peer"))
		snprintf(buf, size, "%s/%s",
		    format_value(json_object_get(row, "peer"), peer,
			sizeof peer),
		    name);
	else
		snprintf(buf, size, "%s", name);
}

static void
text_lasted(const json_t *row, char *buf, size_t size)
{
	format_between(json_object_get(row, "opened_at"),
	    json_object_get(row, "closed_at"), buf, size);
}

/* Without the number of the user. */
static void
text_by(const json_t *row, char *buf, size_t size)
{
	char *uid;

	format_value(json_object_get(row, "closed_by"), buf, size);
	uid = strstr(buf, " (uid ");
	if (uid != NULL && uid != buf)
		*uid = '\0';
}

/* --- Peers -------------------------------------------------------------- */

/* While there is no link: where it is dialled. */
static void
text_address(const json_t *row, char *buf, size_t size)
{
	format_value(json_object_get(row,
			 has(row, "address") ? "address" : "connect"),
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
note_peer(const json_t *row, char *buf, size_t size)
{
	bool waits = is_text(row, "role", "accepts") &&
	    is_text(row, "state", "down");
	char age[FORMAT_SIZE], text[ERROR_SIZE];

	buf[0] = '\0';
	if (waits)
		add(buf, size, "waits to be dialled%s",
		    has(row, "last_error") ? "" : ", not seen since the start");
	if (has(row, "next_try_at"))
		add(buf, size, "next try in %s",
		    format_age(json_object_get(row, "next_try_at"), age,
			sizeof age));
	if (has(row, "last_error"))
		add(buf, size, "last error %s ago: %s",
		    format_age(json_object_get(row, "last_error_at"), age,
			sizeof age),
		    format_value(json_object_get(row, "last_error"), text,
			sizeof text));
	if (is_refused(row))
		add(buf, size, "last attempt %s ago from %s",
		    format_age(json_object_get(row, "last_refusal_at"), age,
			sizeof age),
		    format_value(json_object_get(row, "last_refusal"), text,
			sizeof text));
}

/* What is over is of no interest at one glance. */
static void
note_status_peer(const json_t *row, char *buf, size_t size)
{
	if (is_text(row, "state", "up"))
		buf[0] = '\0';
	else
		note_peer(row, buf, size);
}

/* What status shows as well goes first. */
static const struct output_column peer_columns[] = {
	{ "PEER", "name", NULL, OUTPUT_SHRINK },
	{ "STATE", "state", NULL, 0 },
	{ "SINCE", NULL, text_since, OUTPUT_DROP(3) | OUTPUT_RIGHT },
	{ "RTT", NULL, text_rtt, OUTPUT_DROP(2) | OUTPUT_RIGHT },
	{ "ADDRESS", NULL, text_address, OUTPUT_DROP(1) | OUTPUT_ADDRESS },
	{ "SESSIONS", "sessions", NULL, OUTPUT_RIGHT },
	{ "ROLE", "role", NULL, OUTPUT_DROP(5) },
	{ "SECURITY", "security", NULL, OUTPUT_DROP(4) },
	{ "RECONNECTS", "reconnects", NULL, OUTPUT_RIGHT },
	{ "IDLE CHANNELS", "channels_idle", NULL, OUTPUT_RIGHT },
	{ NULL, NULL, NULL, 0 },
};
const struct output_view show_peers = { peer_columns, "no peers", note_peer };

static const struct output_column status_peer_columns[] = {
	{ "PEER", "name", NULL, OUTPUT_SHRINK },
	{ "STATE", "state", NULL, 0 },
	{ "SINCE", NULL, text_since, OUTPUT_RIGHT },
	{ "RTT", NULL, text_rtt, OUTPUT_DROP(1) | OUTPUT_RIGHT },
	{ "ADDRESS", NULL, text_address, OUTPUT_ADDRESS },
	{ NULL, NULL, NULL, 0 },
};
static const struct output_view status_peers = { status_peer_columns,
	"no peers", note_status_peer };

/* --- Tunnels ------------------------------------------------------------ */

/* Whom it did not serve, and why the last one was not. */
static void
note_tunnel(const json_t *row, char *buf, size_t size)
{
	json_int_t refused = json_integer_value(json_object_get(row,
	    "refused"));
	const json_t *at = json_object_get(row, "last_error_at");
	char age[FORMAT_SIZE], text[ERROR_SIZE];

	buf[0] = '\0';
	if (refused > 0)
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT " refused%s",
		    refused, has(row, "last_error") ? ", " : "");
	if (has(row, "last_error"))
		snprintf(buf + strlen(buf), size - strlen(buf),
		    "last %s%s ago: %s", refused > 0 ? "" : "error ",
		    format_age(at, age, sizeof age),
		    format_value(json_object_get(row, "last_error"), text,
			sizeof text));
}

static void
note_status_tunnel(const json_t *row, char *buf, size_t size)
{
	if (json_integer_value(json_object_get(row, "refused")) > 0 ||
	    format_is_recent(json_object_get(row, "last_error_at"),
		ERROR_FRESH))
		note_tunnel(row, buf, size);
	else
		buf[0] = '\0';
}

/* What status shows as well goes first. */
static const struct output_column tunnel_columns[] = {
	{ "TUNNEL", "name", NULL, OUTPUT_SHRINK },
	{ "TYPE", "type", NULL, OUTPUT_DROP(1) },
	{ "LISTEN", "listen", NULL, OUTPUT_ADDRESS },
	{ "CONNECT", "connect", NULL, OUTPUT_ADDRESS },
	{ "PEER", "peer", NULL, OUTPUT_SHRINK },
	{ "STATE", "state", NULL, OUTPUT_DROP(6) },
	{ "SESSIONS", NULL, text_sessions, OUTPUT_RIGHT },
	{ "UP", NULL, text_up, OUTPUT_DROP(4) | OUTPUT_RIGHT },
	{ "DOWN", NULL, text_down, OUTPUT_DROP(5) | OUTPUT_RIGHT },
	{ "HELD", "held", NULL, OUTPUT_RIGHT },
	{ "REFUSED", "refused", NULL, OUTPUT_RIGHT },
	{ "MODE", "mode", NULL, OUTPUT_DROP(2) },
	{ "END", "end", NULL, OUTPUT_DROP(3) },
	{ NULL, NULL, NULL, 0 },
};
const struct output_view show_tunnels = { tunnel_columns, "no tunnels",
	note_tunnel };

static const struct output_column status_tunnel_columns[] = {
	{ "TUNNEL", "name", NULL, OUTPUT_SHRINK },
	{ "TYPE", "type", NULL, OUTPUT_DROP(1) },
	{ "LISTEN", "listen", NULL, OUTPUT_ADDRESS },
	{ "CONNECT", "connect", NULL, OUTPUT_ADDRESS },
	{ "PEER", "peer", NULL, OUTPUT_SHRINK },
	{ "STATE", "state", NULL, 0 },
	{ "SESSIONS", NULL, text_sessions, OUTPUT_RIGHT },
	{ "UP", NULL, text_up, OUTPUT_DROP(2) | OUTPUT_RIGHT },
	{ "DOWN", NULL, text_down, OUTPUT_DROP(3) | OUTPUT_RIGHT },
	{ NULL, NULL, NULL, 0 },
};
static const struct output_view status_tunnels = { status_tunnel_columns,
	"no tunnels", note_status_tunnel };

/* --- Sessions ----------------------------------------------------------- */

static const struct output_column session_columns[] = {
	{ "ID", "id", NULL, OUTPUT_RIGHT },
	{ "TUNNEL", NULL, text_tunnel_label, OUTPUT_SHRINK },
	{ "SOURCE", "source", NULL, OUTPUT_ADDRESS },
	{ "TARGET", "target", NULL, OUTPUT_ADDRESS | OUTPUT_DROP(2) },
	{ "STATE", "state", NULL, 0 },
	{ "AGE", NULL, text_age, OUTPUT_RIGHT },
	{ "IDLE", NULL, text_idle, OUTPUT_RIGHT | OUTPUT_DROP(1) },
	{ "UP", NULL, text_up, OUTPUT_RIGHT },
	{ "DOWN", NULL, text_down, OUTPUT_RIGHT },
	{ NULL, NULL, NULL, 0 },
};
const struct output_view show_sessions = { session_columns, "no sessions",
	NULL };

static const struct output_column history_columns[] = {
	{ "ID", "id", NULL, OUTPUT_RIGHT },
	{ "TUNNEL", NULL, text_tunnel_label, OUTPUT_SHRINK },
	{ "SOURCE", "source", NULL, OUTPUT_ADDRESS },
	{ "CLOSED", NULL, text_closed_at, OUTPUT_RIGHT },
	{ "LASTED", NULL, text_lasted, OUTPUT_RIGHT | OUTPUT_DROP(2) },
	{ "UP", NULL, text_up, OUTPUT_RIGHT },
	{ "DOWN", NULL, text_down, OUTPUT_RIGHT },
	{ "REASON", "close_reason", NULL, 0 },
	{ "BY", NULL, text_by, OUTPUT_SHRINK },
	{ "TARGET", "target", NULL, OUTPUT_ADDRESS | OUTPUT_DROP(1) },
	{ NULL, NULL, NULL, 0 },
};
const struct output_view show_history = { history_columns, "no closed sessions",
	NULL };

static void
text_opened(const json_t *row, char *buf, size_t size)
{
	const json_t *at = json_object_get(row, "opened_at");
	char when[64], age[FORMAT_SIZE];

	snprintf(buf, size, "%s (%s ago)",
	    format_time_whole(at, when, sizeof when),
	    format_age(at, age, sizeof age));
}

static void
text_closed(const json_t *row, char *buf, size_t size)
{
	const json_t *at = json_object_get(row, "closed_at");
	char when[64], lasted[FORMAT_SIZE];

	format_time_whole(at, when, sizeof when);
	if (has(row, "closed_at"))
		snprintf(buf, size, "%s (lasted %s)", when,
		    format_between(json_object_get(row, "opened_at"), at,
			lasted, sizeof lasted));
	else
		snprintf(buf, size, "%s", when);
}

static void
text_bytes_whole(const json_t *value, char *buf, size_t size)
{
	char human[FORMAT_SIZE], exact[FORMAT_SIZE];

	format_bytes(value, human, sizeof human);
	format_value(value, exact, sizeof exact);
	if (strcmp(human, exact) == 0)
		snprintf(buf, size, "%s", human);
	else
		snprintf(buf, size, "%s (%s bytes)", human, exact);
}
TEXT(text_up_whole, text_bytes_whole, "up_bytes")
TEXT(text_down_whole, text_bytes_whole, "down_bytes")

static const struct output_column whole_session[] = {
	{ "session", "id", NULL, 0 },
	{ "uid", "uid", NULL, 0 },
	{ "state", "state", NULL, 0 },
	{ "tunnel", NULL, text_tunnel_label, 0 },
	{ "type", "type", NULL, 0 },
	{ "end", "end", NULL, 0 },
	{ "source", "source", NULL, 0 },
	{ "target", "target", NULL, 0 },
	{ "opened", NULL, text_opened, 0 },
	{ "closed", NULL, text_closed, 0 },
	{ "reason", "close_reason", NULL, 0 },
	{ "closed by", "closed_by", NULL, 0 },
	{ "idle", NULL, text_idle, 0 },
	{ "up", NULL, text_up_whole, 0 },
	{ "down", NULL, text_down_whole, 0 },
	{ NULL, NULL, NULL, 0 },
};
const struct output_view show_session = { whole_session, NULL, NULL };

/* --- Status ------------------------------------------------------------- */

static void
status_head(struct output *out, const json_t *status)
{
	const json_t *daemon = json_object_get(status, "daemon");
	const json_t *ledger = json_object_get(status, "ledger");
	char name[80], version[40], pid[FORMAT_SIZE], up[FORMAT_SIZE],
	    now[FORMAT_SIZE], total[FORMAT_SIZE], state[40], held[64] = "";

	if (json_integer_value(json_object_get(daemon, "held")) > 0)
		snprintf(held, sizeof held, " (%" JSON_INTEGER_FORMAT " held)",
		    json_integer_value(json_object_get(daemon, "held")));
	output_text(out,
	    "%s: tunneld %s, pid %s, up %s, sessions %s/%s%s, "
	    "ledger %s",
	    format_value(json_object_get(daemon, "name"), name, sizeof name),
	    format_value(json_object_get(daemon, "version"), version,
		sizeof version),
	    format_value(json_object_get(daemon, "pid"), pid, sizeof pid),
	    format_duration(json_object_get(daemon, "uptime"), up, sizeof up),
	    format_value(json_object_get(daemon, "sessions"), now, sizeof now),
	    format_value(json_object_get(daemon, "sessions_total"), total,
		sizeof total),
	    held,
	    format_value(json_object_get(ledger, "state"), state,
		sizeof state));
}

static void
status_gateway(struct output *out, const json_t *gateway)
{
	const json_t *listen = json_object_get(gateway, "listen");
	json_int_t shaking = json_integer_value(json_object_get(gateway,
	    "handshakes"));
	char text[2048] = "", one[320];
	size_t len = 0;

	if (json_array_size(listen) == 0)
		return;
	for (size_t i = 0; i < json_array_size(listen); i++)
		if (len + sizeof one < sizeof text)
			len += (size_t)snprintf(text + len, sizeof text - len,
			    "%s%s", i == 0 ? "" : ", ",
			    format_value(json_array_get(listen, i), one,
				sizeof one));
	if (shaking > 0)
		output_text(out,
		    "gateway: %s; %" JSON_INTEGER_FORMAT
		    " handshake%s under way",
		    text, shaking, shaking == 1 ? "" : "s");
	else
		output_text(out, "gateway: %s", text);
}

/* Only what is not as it should be. */
static void
status_ledger(struct output *out, const json_t *ledger)
{
	const char *state = json_string_value(json_object_get(ledger, "state"));
	json_int_t lost = json_integer_value(json_object_get(ledger, "lost"));
	char text[40], error[400], path[320], queued[FORMAT_SIZE],
	    age[FORMAT_SIZE];

	format_value(json_object_get(ledger, "path"), path, sizeof path);
	if (state == NULL || strcmp(state, "ok") != 0)
		output_text(out, "ledger: %s: %s; rows that wait: %s; %s",
		    format_value(json_object_get(ledger, "state"), text,
			sizeof text),
		    format_value(json_object_get(ledger, "error"), error,
			sizeof error),
		    format_value(json_object_get(ledger, "queued"), queued,
			sizeof queued),
		    path);
	if (lost > 0)
		output_text(out,
		    "ledger: rows that were lost: %" JSON_INTEGER_FORMAT, lost);
	if (has(ledger, "set_aside_at"))
		output_text(out, "ledger: a damaged %s was set aside %s ago",
		    path,
		    format_age(json_object_get(ledger, "set_aside_at"), age,
			sizeof age));
}

static void
show_list(struct output *out, const struct output_view *view,
    const json_t *list)
{
	output_start(out, view);
	for (size_t i = 0; i < json_array_size(list); i++)
		output_row(out, json_array_get(list, i));
	output_end(out);
}

void
show_status(struct output *out, json_t *status)
{
	if (output_whole(out, status))
		return;
	status_head(out, status);
	status_gateway(out, json_object_get(status, "gateway"));
	status_ledger(out, json_object_get(status, "ledger"));
	output_text(out, "%s", "");
	show_list(out, &status_peers, json_object_get(status, "peers"));
	output_text(out, "%s", "");
	show_list(out, &status_tunnels, json_object_get(status, "tunnels"));
}
