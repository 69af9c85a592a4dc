/* SPDX-License-Identifier: ISC */
#include "admin_select.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

/* --- selectors ------------------------------------------------------------- */

bool
admin_arg_keys(struct admin_request *request, json_t *args,
    const char *const *keys)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(args, key, value)
	{
		for (i = 0; keys[i] != NULL; i++)
			if (strcmp(keys[i], key) == 0)
				break;
		if (keys[i] != NULL)
			continue;
		admin_fail(request, "bad_request", "unknown argument: %.64s",
		    key);
		return false;
	}
	return true;
}

static bool
arg_ids(struct admin_request *request, json_t *args, const json_t **out)
{
	json_t *list = json_object_get(args, "ids"), *value;
	size_t i;

	if (list == NULL || json_is_null(list))
		return true;
	if (!json_is_array(list)) {
		admin_fail(request, "bad_request", "ids must be an array");
		return false;
	}
	json_array_foreach(list, i, value)
	{
		if (json_is_integer(value))
			continue;
		admin_fail(request, "bad_request", "ids must be integers");
		return false;
	}
	*out = list;
	return true;
}

/* Whether one of the names means nothing here. */
static bool
names_are_absent(const struct admin_context *context, const char *tunnel,
    const char *peer)
{
	if (peer != NULL && !admin_find_knows_peer(context, peer))
		return true;
	if (tunnel == NULL ||
	    (peer != NULL && strlen(tunnel) < NAME_SIZE &&
		tunnels_find_peer(context->tunnels, peer, tunnel) != NULL))
		return false;
	return !admin_find_knows_tunnel(context->tunnels, tunnel);
}

/* A tunnel's short name is enough where its peer is named as well. */
static bool
arg_names(struct admin_request *request, json_t *args,
    const struct admin_context *context, struct admin_selectors *out)
{
	const char *tunnel, *peer;

	if (!admin_arg_string(request, args, "tunnel", &tunnel) ||
	    !admin_arg_string(request, args, "peer", &peer))
		return false;
	if (out->absent) {
		out->absent = names_are_absent(context, tunnel, peer);
		if (out->absent)
			return true;
	}
	if (peer != NULL) {
		out->peer = admin_find_any_peer(request, context, peer);
		if (out->peer == NULL)
			return false;
	}
	if (tunnel == NULL)
		return true;
	if (peer != NULL && strlen(tunnel) < NAME_SIZE)
		out->tunnel = tunnels_find_peer(context->tunnels, peer, tunnel);
	if (out->tunnel == NULL)
		out->tunnel = admin_find_any_tunnel(request, context->tunnels,
		    tunnel);
	return out->tunnel != NULL;
}

static bool
arg_source(struct admin_request *request, json_t *args,
    struct admin_selectors *out)
{
	char text[64];
	const char *source, *why = "not an address";
	size_t len;

	if (!admin_arg_string(request, args, "source", &source))
		return false;
	if (source == NULL)
		return true;
	out->by_source = true;
	out->unix_source = strcmp(source, "unix:") == 0;
	if (out->unix_source)
		return true;
	len = strlen(source);
	/* As addresses with ports are written: [::1]. */
	if (len > 2 && source[0] == '[' && source[len - 1] == ']') {
		source++;
		len -= 2;
	}
	if (len > 0 && len < sizeof text) {
		memcpy(text, source, len);
		text[len] = '\0';
		if (addr_cidr_parse(text, &out->source, &why) == 0)
			return true;
	}
	admin_fail(request, "bad_request", "source %.64s: %s", source, why);
	return false;
}

static bool
arg_seconds(struct admin_request *request, json_t *args, const char *key,
    double *out)
{
	json_t *value = json_object_get(args, key);

	if (value == NULL || json_is_null(value))
		return true;
	*out = json_number_value(value);
	if (json_is_number(value) && isfinite(*out) && *out >= 0)
		return true;
	admin_fail(request, "bad_request",
	    "%s must be a number of seconds, 0 or more", key);
	return false;
}

bool
admin_arg_selectors(struct admin_request *request, json_t *args,
    const struct admin_context *context, struct admin_selectors *out)
{
	static const char *const keys[] = { "ids", "tunnel", "peer", "source",
		"older", "idle", NULL };
	size_t i;

	memset(out, 0, sizeof *out);
	/* If so, that is not the last word. */
	out->absent = admin_has_workers(context);
	for (i = 0; keys[i] != NULL; i++) {
		json_t *value = json_object_get(args, keys[i]);

		out->any |= value != NULL && !json_is_null(value);
	}
	return admin_arg_keys(request, args, keys) &&
	    arg_ids(request, args, &out->ids) &&
	    arg_names(request, args, context, out) &&
	    arg_source(request, args, out) &&
	    arg_seconds(request, args, "older", &out->older) &&
	    arg_seconds(request, args, "idle", &out->idle);
}

/* --- sessions -------------------------------------------------------------- */

static bool
select_source(const struct admin_selectors *selectors,
    const struct addr_sock *source)
{
	if (selectors->unix_source)
		return source->sa.sa_family == AF_UNIX;
	return addr_cidr_match(&selectors->source, source);
}

static bool
select_fits(const struct admin_selectors *selectors,
    const struct session *session, int64_t now_us)
{
	const struct tunnel *tunnel = session->tunnel;
	double age = (double)(now_us - session->opened_us) / 1e6;

	if (selectors->absent)
		return false;
	/* By name: sessions of what changed belong to it, too. */
	if (selectors->tunnel != NULL &&
	    strcmp(selectors->tunnel->label, tunnel->label) != 0)
		return false;
	if (selectors->peer != NULL &&
	    (tunnel->peer == NULL ||
		strcmp(peer_name(selectors->peer), peer_name(tunnel->peer)) !=
		    0))
		return false;
	if (selectors->open_only && session->state != SESSION_OPEN)
		return false;
	if (selectors->by_source && !select_source(selectors, &session->source))
		return false;
	/* A clock that was set back makes nobody younger than 0. */
	if (selectors->older > 0 && age < selectors->older)
		return false;
	return selectors->idle <= 0 || session_idle(session) >= selectors->idle;
}

static int
compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

int64_t *
admin_select_copy_ids(const json_t *list, size_t *n)
{
	size_t have = json_array_size(list), i;
	int64_t *ids = malloc((have + 1) * sizeof *ids);

	*n = 0;
	if (ids == NULL)
		return NULL;
	for (i = 0; i < have; i++)
		ids[i] = json_integer_value(json_array_get(list, i));
	qsort(ids, have, sizeof *ids, compare_ids);
	for (i = 0; i < have; i++)
		if (*n == 0 || ids[*n - 1] != ids[i])
			ids[(*n)++] = ids[i];
	return ids;
}

bool
admin_select_has_id(const int64_t *ids, size_t n, int64_t id)
{
	return bsearch(&id, ids, n, sizeof *ids, compare_ids) != NULL;
}

static int64_t *
select_ids(const struct admin_context *context,
    const struct admin_selectors *selectors, json_t *missing, size_t *n)
{
	int64_t *ids = admin_select_copy_ids(selectors->ids, n);
	int64_t now = loop_wall_us();
	const struct session *session;
	size_t i, had = *n;

	*n = 0;
	for (i = 0; ids != NULL && i < had; i++) {
		session = tunnels_find_id(context->tunnels, ids[i]);
		if (session == NULL && missing != NULL)
			json_array_append_new(missing, json_integer(ids[i]));
		if (session != NULL && select_fits(selectors, session, now))
			ids[(*n)++] = ids[i];
	}
	return ids;
}

int64_t *
admin_select(const struct admin_context *context,
    const struct admin_selectors *selectors, json_t *missing, size_t *n)
{
	const struct tunnels *tunnels = context->tunnels;
	const struct session *session;
	int64_t *ids, now = loop_wall_us();

	if (selectors->ids != NULL)
		return select_ids(context, selectors, missing, n);
	*n = 0;
	ids = malloc((tunnels->n_sessions + 1) * sizeof *ids);
	if (ids == NULL)
		return NULL;
	TAILQ_FOREACH(session, &tunnels->refresh, in_refresh)
		if (select_fits(selectors, session, now))
			ids[(*n)++] = session->id;
	return ids;
}

/* --- in words -------------------------------------------------------------- */

static void __attribute__((format(printf, 3, 4)))
append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

static void
describe_ids(const json_t *list, char *buf, size_t size)
{
	size_t i, n = json_array_size(list);

	append(buf, size, n == 1 ? "id" : "ids");
	for (i = 0; i < n && i < 8; i++)
		append(buf, size, " %lld",
		    (long long)json_integer_value(json_array_get(list, i)));
	if (i < n)
		append(buf, size, " and %zu more", n - i);
}

char *
admin_select_describe(const struct admin_selectors *selectors, char *buf,
    size_t size)
{
	char source[64] = "unix:";

	buf[0] = '\0';
	if (selectors->ids != NULL)
		describe_ids(selectors->ids, buf, size);
	if (selectors->by_source && !selectors->unix_source)
		addr_cidr_format(&selectors->source, source, sizeof source);
	if (selectors->by_source)
		append(buf, size, "%ssource %s", buf[0] == '\0' ? "" : ", ",
		    source);
	if (selectors->older > 0)
		append(buf, size, "%solder than %.10g s",
		    buf[0] == '\0' ? "" : ", ", selectors->older);
	if (selectors->idle > 0)
		append(buf, size, "%sidle for %.10g s",
		    buf[0] == '\0' ? "" : ", ", selectors->idle);
	return buf;
}

/* --- other workers ----------------------------------------------------------- */

json_t *
admin_select_relay(const struct admin_selectors *selectors, json_t *args)
{
	const struct tunnel *tunnel = selectors->tunnel;
	json_t *copy = json_deep_copy(args);

	if (tunnel != NULL)
		json_object_set_new(copy, "tunnel",
		    json_sprintf("%s%s", tunnel->conf->peer == NULL ? "/" : "",
			tunnel->label));
	return copy;
}

bool
admin_select_is_nowhere(struct admin_request *request, json_t *args,
    const struct admin_context *context, const struct admin_ask *ask)
{
	const struct admin_reply *reply, *refusal = NULL;
	struct admin_selectors ignored = { .any = false };
	size_t i;

	for (i = 0; (reply = admin_ask_reply(ask, i)) != NULL; i++) {
		if (reply->end == ADMIN_REPLY_REFUSED &&
		    !admin_reply_is_not_found(reply))
			refusal = reply;
		else if (!admin_reply_is_not_found(reply) &&
		    reply->end != ADMIN_REPLY_GONE)
			return false;
	}
	if (refusal != NULL)
		admin_fail(request,
		    strcmp(refusal->code, "bad_request") == 0 ? "bad_request" :
								"unavailable",
		    "%s", refusal->error);
	else if (arg_names(request, args, context, &ignored))
		admin_fail(request, "unavailable",
		    "the configuration changed meanwhile: ask again");
	return true;
}
