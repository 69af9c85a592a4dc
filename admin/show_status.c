/* SPDX-License-Identifier: ISC */
#include "show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "format.h"

static void
status_head(struct output *out, const json_t *status)
{
	const json_t *daemon = json_object_get(status, "daemon");
	const json_t *ledger = json_object_get(status, "ledger");
	bool utc = output_get_settings(out)->utc;
	char name[80], version[40], pid[FORMAT_SIZE], up[64], now[FORMAT_SIZE],
	    total[FORMAT_SIZE], state[40], held[64] = "";

	if (json_integer_value(json_object_get(daemon, "held")) > 0)
		snprintf(held, sizeof held, " (%" JSON_INTEGER_FORMAT " held)",
		    json_integer_value(json_object_get(daemon, "held")));
	if (utc)
		format_value(json_object_get(daemon, "started_at"), up,
		    sizeof up);
	else
		format_duration(json_object_get(daemon, "uptime"), up,
		    sizeof up);
	output_text(out,
	    "%s: tunneld %s, pid %s, up %s%s, sessions %s/%s%s, "
	    "ledger %s",
	    format_value(json_object_get(daemon, "name"), name, sizeof name),
	    format_value(json_object_get(daemon, "version"), version,
		sizeof version),
	    format_value(json_object_get(daemon, "pid"), pid, sizeof pid),
	    utc ? "since " : "", up,
	    format_value(json_object_get(daemon, "sessions"), now, sizeof now),
	    format_value(json_object_get(daemon, "sessions_total"), total,
		sizeof total),
	    held,
	    format_value(json_object_get(ledger, "state"), state,
		sizeof state));
}

/* No head of a column says here what the number is. */
static void
rate_text(const struct output *out, const json_t *rate, char *buf, size_t size)
{
	size_t len;

	if (!output_get_settings(out)->bytes || !json_is_number(rate)) {
		format_rate(rate, buf, size);
		return;
	}
	len = strlen(format_whole(rate, buf, size));
	snprintf(buf + len, size - len, "/s");
}

static void
status_now(struct output *out, const json_t *daemon)
{
	const json_t *descriptors = json_object_get(daemon, "descriptors");
	char up[FORMAT_SIZE], down[FORMAT_SIZE], used[FORMAT_SIZE],
	    limit[FORMAT_SIZE], level[FORMAT_SIZE];

	rate_text(out, json_object_get(daemon, "up_rate"), up, sizeof up);
	rate_text(out, json_object_get(daemon, "down_rate"), down, sizeof down);
	output_text(out,
	    "now: %s up, %s down; descriptors %s of %s; log level %s", up, down,
	    format_value(json_object_get(descriptors, "used"), used,
		sizeof used),
	    format_value(json_object_get(descriptors, "limit"), limit,
		sizeof limit),
	    format_value(json_object_get(daemon, "log_level"), level,
		sizeof level));
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
	if (json_is_string(json_object_get(ledger, "set_aside_at")))
		output_text(out, "ledger: a damaged %s was set aside %s ago",
		    path,
		    format_age(json_object_get(ledger, "set_aside_at"), age,
			sizeof age));
}

/* One that an upgrade replaced. */
static void
status_worker(struct output *out, const json_t *worker)
{
	bool utc = output_get_settings(out)->utc;
	const json_t *until = json_object_get(worker, "until");
	const json_t *error = json_object_get(worker, "error");
	json_int_t n = json_integer_value(json_object_get(worker, "sessions"));
	char pid[FORMAT_SIZE], version[40], since[64], end[64] = "",
						       why[200] = "";

	if (json_is_string(until) && utc)
		snprintf(end, sizeof end, ", until %.40s",
		    json_string_value(until));
	else if (json_is_string(until))
		format_age(until, end, sizeof end);
	if (json_is_string(error))
		format_value(error, why, sizeof why);
	output_text(out,
	    "draining: pid %s, tunneld %s, %" JSON_INTEGER_FORMAT
	    " session%s, %s %s%s%s%s%s",
	    format_value(json_object_get(worker, "pid"), pid, sizeof pid),
	    format_value(json_object_get(worker, "version"), version,
		sizeof version),
	    n, n == 1 ? "" : "s", utc ? "since" : "for",
	    utc ? format_value(json_object_get(worker, "draining_since"), since,
		      sizeof since) :
		  format_age(json_object_get(worker, "draining_since"), since,
		      sizeof since),
	    end[0] != '\0' && !utc ? ", ends in " : "", end,
	    why[0] != '\0' ? "; " : "", why);
}

static void
status_workers(struct output *out, const json_t *workers)
{
	const json_t *worker;
	const char *state;

	for (size_t i = 0; i < json_array_size(workers); i++) {
		worker = json_array_get(workers, i);
		state = json_string_value(json_object_get(worker, "state"));
		if (state != NULL && strcmp(state, "draining") == 0)
			status_worker(out, worker);
	}
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
	status_now(out, json_object_get(status, "daemon"));
	status_gateway(out, json_object_get(status, "gateway"));
	status_ledger(out, json_object_get(status, "ledger"));
	status_workers(out, json_object_get(status, "workers"));
	if (json_is_true(json_object_get(json_object_get(status, "daemon"),
		"replaced")))
		output_text(out,
		    "the program was replaced: 'tunnelctl upgrade' takes it "
		    "over");
	output_text(out, "%s", "");
	show_list(out, &show_status_peers, json_object_get(status, "peers"));
	output_text(out, "%s", "");
	show_list(out, &show_status_tunnels,
	    json_object_get(status, "tunnels"));
}

static const struct output_column version_columns[] = {
	{ "tunneld", "version", .flags = 0 },
	{ "tunnelctl", "tunnelctl", .flags = 0 },
	{ "name", "name", .flags = 0 },
	{ "pid", "pid", .flags = 0 },
	{ "master", "master", .flags = OUTPUT_RARE },
	{ "replaced", "replaced", .flags = OUTPUT_EXTRA },
	{ .head = NULL },
};
const struct output_view show_version = { version_columns, NULL, NULL };
