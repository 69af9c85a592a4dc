/* SPDX-License-Identifier: ISC */
#include "show_history.h"

#include <stdio.h>
#include <string.h>

#include "format.h"

static bool
has(const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	return value != NULL && !json_is_null(value);
}

/* Many sessions and outages are short: tenths up to ten seconds. */
static void
text_lasting(const json_t *value, char *buf, size_t size)
{
	double seconds = json_number_value(value);

	if (!json_is_number(value) || seconds >= 9.95)
		format_duration(value, buf, size);
	else if (seconds < 0.05)
		snprintf(buf, size, "<0.1s");
	else
		snprintf(buf, size, "%.1fs", seconds);
}

/* --- Lives of links ------------------------------------------------------- */

static void
text_down_at(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	const json_t *at = json_object_get(row, "down_at");

	if (!has(row, "down_at"))
		snprintf(buf, size, "still up");
	else if (settings->utc)
		format_value(at, buf, size);
	else
		format_time(at, buf, size);
}

static void
text_away(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	char away[FORMAT_SIZE];

	(void)settings;
	text_lasting(json_object_get(row, "away"), away, sizeof away);
	snprintf(buf, size, "%s%s",
	    has(row, "down_at") && !has(row, "back_at") ? "still, " : "", away);
}

/* When was the peer away, for how long, why? */
static const struct output_column link_columns[] = {
	{ "PEER", "peer", OUTPUT_SHRINK, NULL, NULL },
	{ "DOWN AT", "down_at", OUTPUT_TIME, text_down_at, NULL },
	{ "AWAY", "away", OUTPUT_DURATION, text_away, NULL },
	{ "BACK AT", "back_at", OUTPUT_TIME | OUTPUT_EXTRA, NULL, NULL },
	{ "REASON", "reason", OUTPUT_SHRINK, NULL, NULL },
	{ "UP AT", "up_at", OUTPUT_TIME | OUTPUT_DROP(2), NULL, NULL },
	{ "WAS UP", "up", OUTPUT_DURATION | OUTPUT_DROP(3), NULL, NULL },
	{ "ADDRESS", "address", OUTPUT_ADDRESS | OUTPUT_DROP(1), NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL },
};
const struct output_view show_links = { link_columns, "no links", NULL };

/* --- Changes -------------------------------------------------------------- */

/* The number has a column of its own. */
static void
text_by(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	(void)settings;
	format_who(json_object_get(row, "by"), buf, size);
}

static const struct output_column change_columns[] = {
	{ "AT", "at", OUTPUT_TIME, NULL, NULL },
	{ "BY", "by", OUTPUT_SHRINK, text_by, NULL },
	{ "UID", "uid", OUTPUT_RIGHT | OUTPUT_DROP(1), NULL, NULL },
	{ "COMMAND", "command", 0, NULL, NULL },
	{ "DETAIL", "detail", OUTPUT_SHRINK, NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL },
};
const struct output_view show_changes = { change_columns, "no changes", NULL };

/* --- Statistics ----------------------------------------------------------- */

static void
text_tunnel(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	char peer[80], name[80];

	(void)settings;
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
text_peer(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	(void)settings;
	/* Sessions of local tunnels, all together. */
	if (has(row, "peer"))
		format_value(json_object_get(row, "peer"), buf, size);
	else
		snprintf(buf, size, "(local)");
}

static void
text_median(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	(void)settings;
	text_lasting(json_object_get(row, "median"), buf, size);
}

static void
text_p95(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	(void)settings;
	text_lasting(json_object_get(row, "p95"), buf, size);
}

/* Days are days in UTC, whatever the local clock says. */
static void
text_day(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	format_value(json_object_get(row, "from"), buf, size);
	if (!settings->utc && strlen(buf) > 10 && buf[10] == 'T')
		buf[10] = '\0';
}

/* All in the same way: most are of another day, and some of another year. */
static void
text_hour(const struct output_settings *settings, const json_t *row, char *buf,
    size_t size)
{
	const json_t *from = json_object_get(row, "from");

	if (settings->utc)
		format_value(from, buf, size);
	else if (strlen(format_time_whole(from, buf, size)) > 16)
		buf[16] = '\0';
}

/* The column that is the first where there are spans of time. */
static struct output_column
span_column(enum history_per per)
{
	switch (per) {
	case HISTORY_PER_HOUR:
		return (struct output_column){ "HOUR FROM", "from", OUTPUT_TIME,
			text_hour, NULL };
	case HISTORY_PER_DAY:
		return (struct output_column){ "DAY (UTC)", "from", OUTPUT_TIME,
			text_day, NULL };
	default:
		return (struct output_column){ "FROM", "from",
			OUTPUT_TIME | OUTPUT_EXTRA, NULL, NULL };
	}
}

void
show_stats_begin(struct show_stats *stats, enum history_by by,
    enum history_per per)
{
	static const struct output_column names[] = {
		[HISTORY_BY_TUNNEL] = { "TUNNEL", "tunnel", OUTPUT_SHRINK,
		    text_tunnel, NULL },
		[HISTORY_BY_PEER] = { "PEER", "peer", OUTPUT_SHRINK, text_peer,
		    NULL },
		[HISTORY_BY_SOURCE] = { "SOURCE", "source", OUTPUT_SHRINK, NULL,
		    NULL },
	};
	/* That of the tunnel, which its label shows already. */
	static const struct output_column peer = { "PEER", "peer",
		OUTPUT_SHRINK | OUTPUT_EXTRA, NULL, NULL };
	static const struct output_column rest[] = {
		{ "SESSIONS", "sessions", OUTPUT_RIGHT, NULL, NULL },
		{ "FAILED", "failed", OUTPUT_RIGHT, NULL, NULL },
		{ "UP", "up_bytes", OUTPUT_BYTES, NULL, NULL },
		{ "DOWN", "down_bytes", OUTPUT_BYTES, NULL, NULL },
		{ "MEDIAN", "median", OUTPUT_DURATION | OUTPUT_DROP(2),
		    text_median, NULL },
		{ "P95", "p95", OUTPUT_DURATION | OUTPUT_DROP(1), text_p95,
		    NULL },
	};
	size_t n = 0;

	memset(stats, 0, sizeof *stats);
	stats->columns[n++] = span_column(per);
	stats->columns[n++] = names[by];
	if (by == HISTORY_BY_TUNNEL)
		stats->columns[n++] = peer;
	memcpy(stats->columns + n, rest, sizeof rest);
	stats->view = (struct output_view){ stats->columns,
		"no sessions in that time", NULL };
}

static void
text_percent(const struct output_settings *settings, const json_t *row,
    char *buf, size_t size)
{
	(void)settings;
	if (has(row, "percent"))
		format_percent(json_object_get(row, "percent"), buf, size);
	else
		snprintf(buf, size, "not known");
}

/* Seconds without a link of those in which we were there to see. */
static json_t *
value_away(const json_t *row)
{
	double away = json_number_value(json_object_get(row, "known")) -
	    json_number_value(json_object_get(row, "up"));

	return json_real(away > 0 ? away : 0);
}

void
show_uptime_begin(struct show_stats *stats, enum history_per per)
{
	static const struct output_column rest[] = {
		{ "LINK TO", "peer", OUTPUT_SHRINK, NULL, NULL },
		{ "UPTIME", "percent", OUTPUT_PERCENT, text_percent, NULL },
		{ "UP", "up", OUTPUT_DURATION, NULL, NULL },
		{ "AWAY", "away", OUTPUT_DURATION, NULL, value_away },
		{ "DOWNS", "downs", OUTPUT_RIGHT, NULL, NULL },
		{ "WATCHED", "known", OUTPUT_DURATION | OUTPUT_DROP(1), NULL,
		    NULL },
	};

	memset(stats, 0, sizeof *stats);
	stats->columns[0] = span_column(per);
	memcpy(stats->columns + 1, rest, sizeof rest);
	stats->view = (struct output_view){ stats->columns,
		"no links in that time", NULL };
}
