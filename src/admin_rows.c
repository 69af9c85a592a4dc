/* SPDX-License-Identifier: ISC */
#include "admin_rows.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "history_json.h"
#include "session.h"

json_t *
admin_row_time(int64_t us)
{
	return history_json_time(us);
}

json_t *
admin_row_text(const char *text)
{
	return history_json_text(text);
}

static unsigned
admin_rows_peer_sessions(const struct peer *peer, const struct tunnels *tunnels)
{
	const struct tunnel *tunnel;
	unsigned n = 0;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		if (tunnel->peer == peer)
			n += tunnel->n_sessions;
	/* Also of another peer of that name, which was removed meanwhile. */
	TAILQ_FOREACH(tunnel, &tunnels->draining, entry)
		if (tunnel->peer != NULL &&
		    strcmp(peer_name(tunnel->peer), peer_name(peer)) == 0)
			n += tunnel->n_sessions;
	return n;
}

/* Who switched it off, and when; null where nobody did. */
static json_t *
admin_row_disabled(bool disabled, int64_t at_us, const char *by)
{
	if (!disabled)
		return json_null();
	return json_pack("{s:o, s:o}", "at", admin_row_time(at_us), "by",
	    admin_row_text(by));
}

/* The connections that sessions of mode mux share. */
static json_t *
admin_row_lanes(const struct peer *peer)
{
	json_t *lanes = json_array();
	struct lane_status lane;
	unsigned i;

	for (i = 0; lanes_get_status(peer_lanes(peer), i, &lane); i++)
		json_array_append_new(lanes,
		    json_pack("{s:s, s:i, s:o, s:I, s:I, s:I}", "state",
			lane.retired ? "draining" : "up", "sessions",
			(int)lane.channels, "rtt_ms",
			lane.rtt_ms < 0 ? json_null() :
					  history_json_real(lane.rtt_ms),
			"backlog", (json_int_t)lane.backlog, "in_bytes",
			(json_int_t)lane.in, "out_bytes",
			(json_int_t)lane.out));
	return lanes;
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
	    "s:o, s:o, s:o, s:I, s:i, s:i, s:i, s:o, s:s, s:o}",
	    "name", conf->name,
	    "role", conf->dials ? "dials" : "accepts",
	    "security", conf->security == CONFIG_SECURITY_TLS ? "tls" : "plain",
	    "state", status.state,
	    "since", admin_row_time(status.since_us),
	    "address", admin_row_text(status.address),
	    "connect", admin_row_text(connect),
	    "rtt_ms", status.rtt_ms < 0 ? json_null() :
		history_json_real(status.rtt_ms),
	    "last_error", admin_row_text(status.error),
	    "last_error_at", admin_row_time(status.error_us),
	    "last_refusal", admin_row_text(status.refusal),
	    "last_refusal_at", admin_row_time(status.refusal_us),
	    "next_try_at", admin_row_time(status.next_try_us),
	    "reconnects", (json_int_t)(status.ups > 0 ? status.ups - 1 : 0),
	    "sessions", (int)admin_rows_peer_sessions(peer, tunnels),
	    "channels_idle", (int)status.idle,
	    "channels_used", (int)status.in_use,
	    "disabled", admin_row_disabled(peer_is_disabled(peer),
		status.disabled_us, status.disabled_by),
	    "mode", conf->mode == CONFIG_MODE_MUX ? "mux" : "direct",
	    "lanes", admin_row_lanes(peer));
	/* clang-format on */
}

/* Until when, and whether another one has its place; null: it is in force. */
static json_t *
admin_row_draining(const struct tunnel_drain *drain)
{
	if (!drain->on)
		return json_null();
	return json_pack("{s:o, s:o, s:b}", "since",
	    admin_row_time(drain->since_us), "until",
	    admin_row_time(drain->until_us), "changed", drain->changed);
}

static const char *
admin_tunnel_state(const struct tunnel *tunnel, bool up)
{
	if (tunnel->drain.on)
		return "draining";
	if (tunnel->disabled)
		return "disabled";
	return up ? "up" : "down";
}

json_t *
admin_row_tunnel(const struct tunnel *tunnel)
{
	const struct config_tunnel *conf = tunnel->conf;
	char listen[ADDR_TEXT_SIZE] = "", connect[ADDR_TEXT_SIZE] = "";
	bool up = tunnel->peer == NULL || peer_is_up(tunnel->peer);
	struct tunnel_counts counts;
	uint64_t refused = 0;
	double up_rate, down_rate;
	struct addr_sock bound;
	int i;

	if (tunnel->listener != NULL) {
		net_listener_address(tunnel->listener, &bound);
		addr_sock_format(&bound, listen, sizeof listen);
	}
	if (conf->has_connect)
		addr_format(&conf->connect, connect, sizeof connect);
	tunnel_get_counts(tunnel, &counts);
	for (i = 0; i < REASON_COUNT; i++)
		refused += counts.refused[i];
	tunnel_get_rates(tunnel, &up_rate, &down_rate);
	/* clang-format off */
	return json_pack("{s:s, s:o, s:s, s:s, s:s, s:o, s:o, s:s, s:i, s:I, "
	    "s:i, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:n}",
	    "name", conf->name,
	    "peer", admin_row_text(conf->peer),
	    "type", "tcp",
	    "mode", conf->mode == CONFIG_MODE_MUX ? "mux" : "direct",
	    "end", ledger_end_name(tunnel->end),
	    "listen", admin_row_text(listen),
	    "connect", admin_row_text(connect),
	    "state", admin_tunnel_state(tunnel, up),
	    "sessions", (int)tunnel->n_sessions,
	    "sessions_total", (json_int_t)counts.total,
	    "held", up ? 0 : (int)tunnel->n_waiting,
	    "refused", (json_int_t)refused,
	    "up_bytes", (json_int_t)counts.up_bytes,
	    "down_bytes", (json_int_t)counts.down_bytes,
	    "up_rate", up_rate,
	    "down_rate", down_rate,
	    "last_error", admin_row_text(tunnel->error),
	    "last_error_at", admin_row_time(tunnel->error_us),
	    "disabled", admin_row_disabled(tunnel->disabled,
		tunnel->disabled_us, tunnel->disabled_by),
	    "draining", admin_row_draining(&tunnel->drain),
	    "worker");
	/* clang-format on */
}

json_t *
admin_row_session(const struct session *session)
{
	struct ledger_session row;
	double up_rate, down_rate;
	json_t *json;

	session_describe(session, &row);
	session_get_rates(session, &up_rate, &down_rate);
	json = history_json_session(&row);
	if (json == NULL ||
	    json_object_set_new(json, "state",
		json_string(session_state_name(session))) != 0 ||
	    json_object_set_new(json, "idle",
		history_json_real(session_idle(session))) != 0 ||
	    json_object_set_new(json, "mode",
		session->mode == NULL ? json_null() :
					json_string(session->mode)) != 0 ||
	    json_object_set_new(json, "up_rate", history_json_real(up_rate)) !=
		0 ||
	    json_object_set_new(json, "down_rate",
		history_json_real(down_rate)) != 0 ||
	    json_object_set_new(json, "worker", json_null()) != 0) {
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
