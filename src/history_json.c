/* SPDX-License-Identifier: ISC */
#include "history_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"

#define TIME_MAX 253402300799.0 /* the last second of the year 9999 */

/* --- Rows ----------------------------------------------------------------- */

json_t *
history_json_text(const char *text)
{
	char escaped[1024];
	json_t *json;

	if (text == NULL || text[0] == '\0')
		return json_null();
	json = json_string(text);
	if (json == NULL)
		json = json_string(log_escape(escaped, sizeof escaped, text,
		    strlen(text)));
	return json;
}

json_t *
history_json_time(int64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	char text[64], date[32];
	struct tm tm;

	if (us <= 0 || gmtime_r(&seconds, &tm) == NULL)
		return json_null();
	if (strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return json_null();
	snprintf(text, sizeof text, "%s.%03dZ", date,
	    (int)(us % 1000000 / 1000));
	return json_string(text);
}

json_t *
history_json_real(double value)
{
	return json_real(round(value * 1e6) / 1e6);
}

/* null for what is negative, which stands for "none". */
static json_t *
json_seconds(double seconds)
{
	return seconds >= 0 && isfinite(seconds) ? history_json_real(seconds) :
						   json_null();
}

static json_t *
json_uid(const uint8_t uid[WIRE_UID_SIZE])
{
	char hex[WIRE_UID_SIZE * 2 + 1];
	size_t i;

	for (i = 0; i < WIRE_UID_SIZE; i++)
		snprintf(hex + i * 2, 3, "%02x", uid[i]);
	return json_string(hex);
}

json_t *
history_json_session(const struct ledger_session *row)
{
	/* clang-format off */
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:s, s:o, "
	    "s:o, s:I, s:I, s:o, s:o}",
	    "id", (json_int_t)row->id,
	    "uid", json_uid(row->uid),
	    "tunnel", history_json_text(row->tunnel),
	    "peer", history_json_text(row->peer),
	    "type", history_json_text(row->type),
	    "end", ledger_end_name(row->end),
	    "source", history_json_text(row->source),
	    "target", history_json_text(row->target),
	    "state", row->closed_us == 0 ? "open" : "closed",
	    "opened_at", history_json_time(row->opened_us),
	    "closed_at", history_json_time(row->closed_us),
	    "up_bytes", (json_int_t)row->up_bytes,
	    "down_bytes", (json_int_t)row->down_bytes,
	    "close_reason", history_json_text(reason_name(row->reason)),
	    "closed_by", history_json_text(row->closed_by));
	/* clang-format on */
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Until now if to is 0. A clock that was put back makes no negative times. */
static json_t *
json_between(int64_t from_us, int64_t to_us)
{
	int64_t us = (to_us != 0 ? to_us : now_us()) - from_us;

	return history_json_real(us > 0 ? (double)us / 1e6 : 0);
}

json_t *
history_json_link(const struct ledger_link *row)
{
	bool up = row->down_us == 0;

	/* clang-format off */
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "peer", history_json_text(row->peer),
	    "address", history_json_text(row->address),
	    "up_at", history_json_time(row->up_us),
	    "down_at", history_json_time(row->down_us),
	    "up", json_between(row->up_us, row->down_us),
	    "reason", history_json_text(row->reason),
	    "back_at", history_json_time(row->back_us),
	    "away", up ? json_null() :
		json_between(row->down_us, row->back_us));
	/* clang-format on */
}

json_t *
history_json_stat(const struct history_stat *row)
{
	/* clang-format off */
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}",
	    "tunnel", history_json_text(row->tunnel),
	    "peer", history_json_text(row->peer),
	    "source", history_json_text(row->source),
	    "from", history_json_time(row->from_us),
	    "sessions", (json_int_t)row->sessions,
	    "failed", (json_int_t)row->failed,
	    "up_bytes", (json_int_t)row->up_bytes,
	    "down_bytes", (json_int_t)row->down_bytes,
	    "median", json_seconds(row->median),
	    "p95", json_seconds(row->p95));
	/* clang-format on */
}

json_t *
history_json_uptime(const struct history_uptime *row)
{
	/* clang-format off */
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}",
	    "peer", history_json_text(row->peer),
	    "from", history_json_time(row->from_us),
	    "up", json_seconds(row->up),
	    "known", json_seconds(row->known),
	    "percent", json_seconds(row->percent),
	    "downs", (json_int_t)row->downs);
	/* clang-format on */
}

json_t *
history_json_change(const struct ledger_change *row)
{
	/* clang-format off */
	return json_pack("{s:o, s:I, s:o, s:o, s:o}",
	    "at", history_json_time(row->at_us),
	    "uid", (json_int_t)row->uid,
	    "by", history_json_text(row->by),
	    "command", history_json_text(row->command),
	    "detail", history_json_text(row->detail));
	/* clang-format on */
}

json_t *
history_json_row(const struct history_rows *rows, size_t i)
{
	switch (rows->what) {
	case HISTORY_SESSIONS:
		return history_json_session(&rows->sessions[i]);
	case HISTORY_LINKS:
		return history_json_link(&rows->links[i]);
	case HISTORY_STATS:
		return history_json_stat(&rows->stats[i]);
	case HISTORY_UPTIME:
		return history_json_uptime(&rows->uptimes[i]);
	case HISTORY_CHANGES:
		return history_json_change(&rows->changes[i]);
	}
	return NULL;
}

/* --- Arguments ------------------------------------------------------------ */

static int __attribute__((format(printf, 2, 3)))
fail(struct history_json_query *out, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out->error, sizeof out->error, fmt, ap);
	va_end(ap);
	return -1;
}

/* NULL if it is absent. */
static const json_t *
get(const json_t *args, const char *key)
{
	const json_t *value = json_object_get(args, key);

	return json_is_null(value) ? NULL : value;
}

static int
get_text(struct history_json_query *out, const json_t *args, const char *key,
    const char **text)
{
	const json_t *value = get(args, key);

	*text = json_string_value(value);
	if (value != NULL && *text == NULL)
		return fail(out, "%s must be a string", key);
	if (*text != NULL && **text == '\0')
		return fail(out, "%s must not be empty", key);
	return 0;
}

/* 0 if it is absent. */
static int
get_integer(struct history_json_query *out, const json_t *args, const char *key,
    json_int_t *number)
{
	const json_t *value = get(args, key);

	*number = json_integer_value(value);
	if (value != NULL && (!json_is_integer(value) || *number < 0))
		return fail(out, "%s must be an integer that is not negative",
		    key);
	return 0;
}

static int
get_time(struct history_json_query *out, const json_t *args, const char *key,
    int64_t *us)
{
	const json_t *value = get(args, key);
	double seconds = json_number_value(value);

	if (value == NULL)
		return 0;
	if (!json_is_number(value) || !(seconds >= 0 && seconds <= TIME_MAX))
		return fail(out, "%s must be a time in seconds since the epoch",
		    key);
	*us = (int64_t)(seconds * 1e6);
	return 0;
}

/* The place of a word in a list that ends with NULL; 0 if it is absent. */
static int
get_word(struct history_json_query *out, const json_t *args, const char *key,
    const char *const *words, int *place)
{
	const char *text;
	char all[80] = "";
	size_t len = 0;

	*place = 0;
	if (get_text(out, args, key, &text) != 0)
		return -1;
	if (text == NULL)
		return 0;
	for (; words[*place] != NULL; ++*place) {
		if (strcmp(text, words[*place]) == 0)
			return 0;
		if (len < sizeof all)
			len += (size_t)snprintf(all + len, sizeof all - len,
			    "%s%s", *place == 0 ? "" : " or ", words[*place]);
	}
	return fail(out, "%s must be %s", key, all);
}

/* "PEER/NAME", or "/NAME" of a local tunnel, whose peer is "". */
static int
read_tunnel(struct history_json_query *out)
{
	struct history_query *query = &out->query;
	const char *slash;
	size_t len;

	slash = query->tunnel == NULL ? NULL : strchr(query->tunnel, '/');
	if (slash == NULL)
		return 0;
	len = (size_t)(slash - query->tunnel);
	if (len > 0 && !name_is_valid(query->tunnel, len))
		return fail(out, "tunnel must be NAME or PEER/NAME");
	snprintf(out->peer, sizeof out->peer, "%.*s", (int)len, query->tunnel);
	if (query->peer != NULL && strcmp(query->peer, out->peer) != 0)
		return fail(out, "tunnel %.130s is not one of peer %.64s",
		    query->tunnel, query->peer);
	query->peer = out->peer;
	query->tunnel = slash + 1;
	return 0;
}

/* An address in any of its forms as sessions have it. */
static int
read_source(struct history_json_query *out)
{
	const char *text = out->query.source, *why;
	size_t len = text == NULL ? 0 : strlen(text);
	struct addr_cidr block;
	struct addr_sock sock;
	bool bare;

	if (text == NULL || strncmp(text, "unix:", 5) == 0)
		return 0;
	if (len >= sizeof out->source)
		return fail(out, "source is not an address");
	bare = text[0] == '[' && text[len - 1] == ']';
	snprintf(out->source, sizeof out->source, "%.*s",
	    (int)(bare ? len - 2 : len), text + bare);
	if (strchr(text, '/') != NULL)
		return fail(out,
		    "source %.64s: history is searched by one address, not "
		    "by a block of them",
		    text);
	if (addr_cidr_parse(out->source, &block, &why) != 0) {
		if (addr_sock_parse(text, &sock) == 0)
			return fail(out,
			    "source %.64s: say the address without the port",
			    text);
		return fail(out, "source %.64s is not an address", text);
	}
	addr_cidr_format(&block, out->source, sizeof out->source);
	*strchr(out->source, '/') = '\0';
	out->query.source = out->source;
	return 0;
}

/* A link ends for reasons in words of any kind, a session does not. */
static int
check_reason(struct history_json_query *out)
{
	char all[300] = "";
	size_t len = 0;

	if (out->query.reason == NULL || out->query.what != HISTORY_SESSIONS)
		return 0;
	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *word = reason_name((enum reason)i);

		if (strcmp(word, out->query.reason) == 0)
			return 0;
		if (len < sizeof all)
			len += (size_t)snprintf(all + len, sizeof all - len,
			    "%s%s", len == 0 ? "" : ", ", word);
	}
	return fail(out, "reason must be one of %s", all);
}

static int
get_limits(struct history_json_query *out, const json_t *args)
{
	struct history_query *query = &out->query;
	json_int_t min_bytes, limit;

	if (get_integer(out, args, "min_bytes", &min_bytes) != 0 ||
	    get_integer(out, args, "limit", &limit) != 0 ||
	    get_time(out, args, "since", &query->since_us) != 0 ||
	    get_time(out, args, "until", &query->until_us) != 0)
		return -1;
	if (get(args, "limit") != NULL &&
	    (limit < 1 || limit > HISTORY_JSON_LIMIT_MAX))
		return fail(out, "limit must be an integer from 1 to %d",
		    HISTORY_JSON_LIMIT_MAX);
	if (get(args, "until") != NULL && query->until_us <= query->since_us)
		return fail(out, "until must be later than since");
	query->min_bytes = (uint64_t)min_bytes;
	query->limit = (unsigned)limit;
	return 0;
}

int
history_json_query(const json_t *args, enum history_what what,
    struct history_json_query *out)
{
	static const char *const by[] = {
		[HISTORY_BY_TUNNEL] = "tunnel",
		[HISTORY_BY_PEER] = "peer",
		[HISTORY_BY_SOURCE] = "source",
		NULL,
	};
	/* All of the time has no word. */
	static const char *const per[] = { "hour", "day", NULL };
	struct history_query *query = &out->query;
	int place;

	memset(out, 0, sizeof *out);
	query->what = what;
	query->closed_only = what == HISTORY_SESSIONS;
	if (get_text(out, args, "tunnel", &query->tunnel) != 0 ||
	    get_text(out, args, "peer", &query->peer) != 0 ||
	    get_text(out, args, "source", &query->source) != 0 ||
	    get_text(out, args, "reason", &query->reason) != 0 ||
	    read_tunnel(out) != 0 || read_source(out) != 0 ||
	    check_reason(out) != 0 || get_limits(out, args) != 0 ||
	    get_word(out, args, "by", by, &place) != 0)
		return -1;
	query->by = (enum history_by)place;
	if (get_word(out, args, "per", per, &place) != 0)
		return -1;
	if (get(args, "per") != NULL)
		query->per = place == 0 ? HISTORY_PER_HOUR : HISTORY_PER_DAY;
	return 0;
}
