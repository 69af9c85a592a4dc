/* SPDX-License-Identifier: ISC */
#include "watch_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format.h"
#include "when.h"

#define LABEL_SIZE 160 /* two names, or the start of what are none */
#define TEXT_SIZE 300

/* clang-format off */
static const struct watch_column tunnel_columns[WATCH_COLUMNS] = {
	{ "TUNNEL", WATCH_TEXT, 8, 0, true, false },
	{ "STATE", WATCH_TEXT, 4, 1, false, false },
	{ "SESS", WATCH_COUNT, 0, 2, false, true },
	{ "HELD", WATCH_COUNT, 0, 5, false, true },
	{ "REFUSED", WATCH_COUNT, 0, 9, false, true },
	{ "END", WATCH_TEXT, 4, 10, false, false },
	{ "UP/s", WATCH_RATE, 0, 4, false, true },
	{ "DOWN/s", WATCH_RATE, 0, 3, false, true },
	{ "UP", WATCH_BYTES, 0, 7, false, true },
	{ "DOWN", WATCH_BYTES, 0, 6, false, true },
	{ "ADDRESS", WATCH_TEXT, 11, 8, false, false },
};
static const struct watch_column session_columns[WATCH_COLUMNS] = {
	{ "ID", WATCH_COUNT, 0, 0, false, false },
	{ "TUNNEL", WATCH_TEXT, 8, 1, true, false },
	{ "SOURCE", WATCH_TEXT, 11, 4, true, false },
	{ "STATE", WATCH_TEXT, 4, 6, false, false },
	{ "AGE", WATCH_SECONDS, 0, 5, false, true },
	{ "IDLE", WATCH_SECONDS, 0, 7, false, true },
	{ "UP/s", WATCH_RATE, 0, 3, false, true },
	{ "DOWN/s", WATCH_RATE, 0, 2, false, true },
	{ "UP", WATCH_BYTES, 0, 9, false, true },
	{ "DOWN", WATCH_BYTES, 0, 8, false, true },
	{ "TARGET", WATCH_TEXT, 11, 10, false, false },
};
/* clang-format on */

void
watch_model_init(struct watch_model *model, const char *tunnel,
    const char *peer)
{
	memset(model, 0, sizeof *model);
	model->tunnel = tunnel;
	model->peer = peer;
	model->facts.up_rate = model->facts.down_rate = NAN;
	watch_list_init(&model->lists[WATCH_TUNNELS], tunnel_columns,
	    WATCH_TUNNEL_LABEL);
	watch_list_init(&model->lists[WATCH_SESSIONS], session_columns,
	    WATCH_DOWN_RATE);
}

void
watch_model_clear(struct watch_model *model)
{
	for (int i = 0; i < WATCH_PANES; i++)
		watch_list_clear(&model->lists[i]);
}

void
watch_model_forget(struct watch_model *model)
{
	for (int i = 0; i < WATCH_PANES; i++)
		watch_list_forget(&model->lists[i]);
	model->facts.up_rate = model->facts.down_rate = NAN;
}

/* --- Members of an answer, which may be missing or anything -------------- */

static double
get_number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool
has_text(const json_t *object, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL && strcmp(value, text) == 0;
}

static void
set_text(struct watch_row *row, int column, const json_t *value)
{
	char buf[TEXT_SIZE];

	watch_row_set(row, column, format_value(value, buf, sizeof buf));
}

/* PEER/NAME, or NAME without a peer. */
static char *
make_label(const json_t *peer, const json_t *name, char *buf, size_t size)
{
	char a[LABEL_SIZE / 2], b[LABEL_SIZE / 2];

	format_value(name, b, sizeof b);
	if (json_is_string(peer))
		snprintf(buf, size, "%s/%s", format_value(peer, a, sizeof a),
		    b);
	else
		snprintf(buf, size, "%s", b);
	return buf;
}

static double
get_age(const json_t *object, const char *key, double now)
{
	const char *text = json_string_value(json_object_get(object, key));
	struct when_clock clock = { .now = now, .utc = true };
	const char *why;
	double then;

	if (text == NULL || when_parse_time(text, &clock, &then, &why) != 0)
		return NAN;
	return fmax(now - then, 0);
}

/* --- Tunnels and facts ------------------------------------------------------ */

static bool
is_wanted(const struct watch_model *model, const json_t *tunnel,
    const char *label)
{
	if (model->peer != NULL && !has_text(tunnel, "peer", model->peer))
		return false;
	return model->tunnel == NULL || strcmp(model->tunnel, label) == 0 ||
	    has_text(tunnel, "name", model->tunnel);
}

/* There may be an older one of that label, which drains, and others in workers
 * that do. No name holds a # or an @. */
static char *
make_key(const json_t *tunnel, const char *label, char *buf, size_t size)
{
	const char
	    *since = json_string_value(json_object_get(json_object_get(tunnel,
							   "draining"),
		"since"));
	const json_t *worker = json_object_get(tunnel, "worker");
	char pid[32] = "";

	if (json_is_integer(worker))
		snprintf(pid, sizeof pid, "@%" JSON_INTEGER_FORMAT,
		    json_integer_value(worker));
	snprintf(buf, size, "%s%s%s%s", label, pid, since == NULL ? "" : "#",
	    since == NULL ? "" : since);
	return buf;
}

static void
take_tunnel(struct watch_list *list, const char *label, const json_t *tunnel,
    double now)
{
	char key[LABEL_SIZE + 80];
	struct watch_row *row = watch_list_take(list,
	    make_key(tunnel, label, key, sizeof key));
	const json_t *address = json_object_get(tunnel, "listen");

	if (row == NULL)
		return;
	if (!json_is_string(address))
		address = json_object_get(tunnel, "connect");
	watch_row_set(row, WATCH_TUNNEL_LABEL, label);
	set_text(row, WATCH_TUNNEL_STATE, json_object_get(tunnel, "state"));
	set_text(row, WATCH_TUNNEL_END, json_object_get(tunnel, "end"));
	set_text(row, WATCH_TUNNEL_ADDRESS, address);
	row->cells[WATCH_TUNNEL_SESSIONS].number = get_number(tunnel,
	    "sessions");
	row->cells[WATCH_TUNNEL_HELD].number = get_number(tunnel, "held");
	row->cells[WATCH_TUNNEL_REFUSED].number = get_number(tunnel, "refused");
	watch_row_count(row, get_number(tunnel, "up_bytes"),
	    get_number(tunnel, "down_bytes"), now);
}

/* The one of that label that does not drain has the bytes of those that do. */
static bool
is_counted_elsewhere(const struct watch_list *list, const struct watch_row *row)
{
	size_t len = strcspn(row->key, "#");
	struct watch_row *current;

	HASH_FIND(hh, list->rows, row->key, len, current);
	return current != NULL && current != row;
}

/* The sum of those that are known. */
static double
sum_cells(const struct watch_list *list, int column)
{
	const struct watch_row *row, *next;
	double sum = NAN, n;

	HASH_ITER(hh, list->rows, row, next) {
		n = row->cells[column].number;
		if (!isnan(n) && !is_counted_elsewhere(list, row))
			sum = isnan(sum) ? n : sum + n;
	}
	return sum;
}

static void
take_tunnels(struct watch_model *model, const json_t *tunnels, double now)
{
	struct watch_list *list = &model->lists[WATCH_TUNNELS];
	const json_t *tunnel;
	char label[LABEL_SIZE];
	size_t i;

	watch_list_begin(list);
	for (i = 0; i < json_array_size(tunnels); i++) {
		tunnel = json_array_get(tunnels, i);
		make_label(json_object_get(tunnel, "peer"),
		    json_object_get(tunnel, "name"), label, sizeof label);
		if (is_wanted(model, tunnel, label))
			take_tunnel(list, label, tunnel, now);
	}
	watch_list_finish(list);
	model->facts.up_rate = sum_cells(list, WATCH_UP_RATE);
	model->facts.down_rate = sum_cells(list, WATCH_DOWN_RATE);
}

static void
take_facts(struct watch_facts *facts, const json_t *data)
{
	const json_t *daemon = json_object_get(data, "daemon"), *peer;
	const json_t *ledger = json_object_get(data, "ledger");
	const json_t *peers = json_object_get(data, "peers");
	size_t i;

	facts->known = true;
	format_value(json_object_get(daemon, "name"), facts->name,
	    sizeof facts->name);
	format_value(json_object_get(daemon, "version"), facts->version,
	    sizeof facts->version);
	format_value(json_object_get(ledger, "state"), facts->ledger,
	    sizeof facts->ledger);
	facts->uptime = get_number(daemon, "uptime");
	facts->sessions = get_number(daemon, "sessions");
	facts->held = get_number(daemon, "held");
	facts->lost = get_number(ledger, "lost");
	facts->peers = json_array_size(peers);
	facts->peers_up = 0;
	for (i = 0; i < facts->peers; i++) {
		peer = json_array_get(peers, i);
		facts->peers_up += has_text(peer, "state", "up");
	}
}

void
watch_model_take_status(struct watch_model *model, const json_t *data,
    const struct watch_moment *now)
{
	take_facts(&model->facts, data);
	take_tunnels(model, json_object_get(data, "tunnels"), now->steady);
}

/* --- Sessions -------------------------------------------------------------- */

static void
take_session(struct watch_list *list, const json_t *session,
    const struct watch_moment *now)
{
	const json_t *id = json_object_get(session, "id");
	struct watch_row *row;
	char text[LABEL_SIZE];

	if (!json_is_integer(id))
		return;
	row = watch_list_take(list, format_value(id, text, sizeof text));
	if (row == NULL)
		return;
	row->cells[WATCH_SESSION_ID].number = json_number_value(id);
	watch_row_set(row, WATCH_SESSION_TUNNEL,
	    make_label(json_object_get(session, "peer"),
		json_object_get(session, "tunnel"), text, sizeof text));
	set_text(row, WATCH_SESSION_SOURCE, json_object_get(session, "source"));
	set_text(row, WATCH_SESSION_STATE, json_object_get(session, "state"));
	set_text(row, WATCH_SESSION_TARGET, json_object_get(session, "target"));
	row->cells[WATCH_SESSION_AGE].number = get_age(session, "opened_at",
	    now->wall);
	row->cells[WATCH_SESSION_IDLE].number = get_number(session, "idle");
	watch_row_count(row, get_number(session, "up_bytes"),
	    get_number(session, "down_bytes"), now->steady);
}

void
watch_model_take_sessions(struct watch_model *model, const json_t *data,
    const struct watch_moment *now)
{
	const json_t *session;
	size_t i;

	for (i = 0; i < json_array_size(data); i++) {
		session = json_array_get(data, i);
		take_session(&model->lists[WATCH_SESSIONS], session, now);
	}
}
