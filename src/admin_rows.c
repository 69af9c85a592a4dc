/* SPDX-License-Identifier: ISC */
#include "admin_rows.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "session.h"

json_t *
admin_row_time(int64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	char text[64], date[32];
	struct tm tm;

	if (us == 0 || gmtime_r(&seconds, &tm) == NULL)
		return json_null();
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof text, "%s.%03dZ", date,
	    (int)(us % 1000000 / 1000));
	return json_string(text);
}

json_t *
admin_row_text(const char *text)
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

static unsigned
admin_rows_peer_sessions(const struct peer *peer, const struct tunnels *tunnels)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < tunnels->n; i++)
		if (tunnels->all[i].peer == peer)
			n += tunnels->all[i].n_sessions;
	return n;
}

json_t *
admin_row_peer(const struct peer *peer, const struct tunnels *tunnels)
{
	const struct config_peer *conf = peer_conf(peer);
	char connect[ADDR_TEXT_SIZE] = "";
	struct peer_status status;

	peer_get_status(peer, &status);
	if (conf->dials)
		addr_format(&conf->connect, connect, sizeof connect);
	/* clang-format off */
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, "
	    "s:o, s:o, s:o, s:I, s:i, s:i, s:i}",
	    "name", conf->name,
	    "role", conf->dials ? "dials" : "accepts",
	    "security", conf->security == CONFIG_SECURITY_TLS ? "tls" : "plain",
	    "state", status.state,
	    "since", admin_row_time(status.since_us),
	    "address", admin_row_text(status.address),
	    "connect", admin_row_text(connect),
	    "rtt_ms", status.rtt_ms < 0 ? json_null() :
		json_real(status.rtt_ms),
	    "last_error", admin_row_text(status.error),
	    "last_error_at", admin_row_time(status.error_us),
	    "last_refusal", admin_row_text(status.refusal),
	    "last_refusal_at", admin_row_time(status.refusal_us),
	    "next_try_at", admin_row_time(status.next_try_us),
	    "reconnects", (json_int_t)(status.ups > 0 ? status.ups - 1 : 0),
	    "sessions", (int)admin_rows_peer_sessions(peer, tunnels),
	    "channels_idle", (int)status.idle,
	    "channels_used", (int)status.in_use);
	/* clang-format on */
}

json_t *
admin_row_tunnel(const struct tunnel *tunnel)
{
	const struct config_tunnel *conf = tunnel->conf;
	char listen[ADDR_TEXT_SIZE] = "", connect[ADDR_TEXT_SIZE] = "";
	bool up = tunnel->peer == NULL || peer_is_up(tunnel->peer);
	uint64_t up_bytes, down_bytes, refused = 0;
	struct addr_sock bound;
	int i;

	if (tunnel->listener != NULL) {
		net_listener_address(tunnel->listener, &bound);
		addr_sock_format(&bound, listen, sizeof listen);
	}
	if (conf->has_connect)
		addr_format(&conf->connect, connect, sizeof connect);
	for (i = 0; i < REASON_COUNT; i++)
		refused += tunnel->refused[i];
	tunnel_get_bytes(tunnel, &up_bytes, &down_bytes);
	/* clang-format off */
	return json_pack("{s:s, s:o, s:s, s:s, s:s, s:o, s:o, s:s, s:i, s:I, "
	    "s:i, s:I, s:I, s:I, s:o, s:o}",
	    "name", conf->name,
	    "peer", admin_row_text(conf->peer),
	    "type", "tcp",
	    "mode", "direct",
	    "end", ledger_end_name(tunnel->end),
	    "listen", admin_row_text(listen),
	    "connect", admin_row_text(connect),
	    "state", up ? "up" : "down",
	    "sessions", (int)tunnel->n_sessions,
	    "sessions_total", (json_int_t)tunnel->total,
	    "held", up ? 0 : (int)tunnel->n_waiting,
	    "refused", (json_int_t)refused,
	    "up_bytes", (json_int_t)up_bytes,
	    "down_bytes", (json_int_t)down_bytes,
	    "last_error", admin_row_text(tunnel->error),
	    "last_error_at", admin_row_time(tunnel->error_us));
	/* clang-format on */
}

static json_t *
admin_row_uid(const uint8_t uid[WIRE_UID_SIZE])
{
	char hex[WIRE_UID_SIZE * 2 + 1];
	size_t i;

	for (i = 0; i < WIRE_UID_SIZE; i++)
		snprintf(hex + i * 2, 3, "%02x", uid[i]);
	return json_string(hex);
}

json_t *
admin_row_ledger_session(const struct ledger_session *row)
{
	/* clang-format off */
	return json_pack("{s:I, s:o, s:s, s:o, s:s, s:s, s:o, s:o, s:s, s:o, "
	    "s:o, s:I, s:I, s:o, s:o}",
	    "id", (json_int_t)row->id,
	    "uid", admin_row_uid(row->uid),
	    "tunnel", row->tunnel,
	    "peer", admin_row_text(row->peer),
	    "type", row->type,
	    "end", ledger_end_name(row->end),
	    "source", admin_row_text(row->source),
	    "target", admin_row_text(row->target),
	    "state", row->closed_us == 0 ? "open" : "closed",
	    "opened_at", admin_row_time(row->opened_us),
	    "closed_at", admin_row_time(row->closed_us),
	    "up_bytes", (json_int_t)row->up_bytes,
	    "down_bytes", (json_int_t)row->down_bytes,
	    "close_reason", admin_row_text(reason_name(row->reason)),
	    "closed_by", admin_row_text(row->closed_by));
	/* clang-format on */
}

json_t *
admin_row_session(const struct session *session)
{
	struct ledger_session row;
	json_t *json;

	session_describe(session, &row);
	json = admin_row_ledger_session(&row);
	if (json == NULL ||
	    json_object_set_new(json, "state",
		json_string(session_state_name(session))) != 0 ||
	    json_object_set_new(json, "idle",
		json_real(session_idle(session))) != 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}

json_t *
admin_row_ledger(struct ledger *ledger)
{
	struct ledger_status status;

	ledger_get_status(ledger, &status);
	return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:o}", "state",
	    status.state, "path", admin_row_text(status.path), "error",
	    admin_row_text(status.error), "queued", (json_int_t)status.queued,
	    "written", (json_int_t)status.written, "lost",
	    (json_int_t)status.lost, "set_aside_at",
	    admin_row_time(status.set_aside_us));
}

json_t *
admin_row_gateway(const struct gateway *gateway)
{
	json_t *listen = json_array();
	char text[ADDR_TEXT_SIZE];
	struct addr_sock address;
	size_t i;

	for (i = 0; i < gateway_listeners(gateway); i++) {
		gateway_address(gateway, i, &address);
		json_array_append_new(listen,
		    admin_row_text(addr_sock_format(&address, text,
			sizeof text)));
	}
	return json_pack("{s:o, s:I}", "listen", listen, "handshakes",
	    (json_int_t)gateway_handshakes(gateway));
}
