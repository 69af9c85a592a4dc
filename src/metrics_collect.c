/* SPDX-License-Identifier: ISC */
#include "metrics_collect.h"

#include <sys/resource.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "descriptor.h"
#include "metrics_text.h"

/* --- peers ------------------------------------------------------------------ */

static void
metrics_peer_sample(struct metrics_text *text, const struct peer *peer,
    double value)
{
	const struct metrics_label labels[] = {
		{ "peer", peer_name(peer) },
		{ NULL, NULL },
	};

	metrics_text_sample(text, labels, value);
}

static void
metrics_channels_sample(struct metrics_text *text, const struct peer *peer,
    const char *state, double value)
{
	const struct metrics_label labels[] = {
		{ "peer", peer_name(peer) },
		{ "state", state },
		{ NULL, NULL },
	};

	metrics_text_sample(text, labels, value);
}

enum metrics_peer_family {
	METRICS_PEER_UP,
	METRICS_PEER_DISABLED,
	METRICS_PEER_RTT,
	METRICS_PEER_CONNECTS,
	METRICS_PEER_CHANNELS,
	METRICS_PEER_WAITING,
	METRICS_PEER_FAMILIES
};

static const struct {
	const char *name;
	enum metrics_kind kind;
	const char *help;
} metrics_peer_families[METRICS_PEER_FAMILIES] = {
	[METRICS_PEER_UP] = { "tunneld_peer_up", METRICS_GAUGE,
	    "Whether the link to the peer is up." },
	[METRICS_PEER_DISABLED] = { "tunneld_peer_disabled", METRICS_GAUGE,
	    "Whether an administrator has switched the peer off." },
	[METRICS_PEER_RTT] = { "tunneld_peer_rtt_seconds", METRICS_GAUGE,
	    "Round trip on the link, smoothed; only where it is known." },
	[METRICS_PEER_CONNECTS] = { "tunneld_peer_connects_total",
	    METRICS_COUNTER, "Times that the link came up." },
	[METRICS_PEER_CHANNELS] = { "tunneld_peer_channels", METRICS_GAUGE,
	    "Channels: idle ones kept by this end, and those in use." },
	[METRICS_PEER_WAITING] = { "tunneld_peer_sessions_waiting",
	    METRICS_GAUGE, "Sessions that wait for a channel." },
};

static void
metrics_peer(struct metrics_text *text, const struct peer *peer,
    enum metrics_peer_family family)
{
	struct peer_status status;

	peer_get_status(peer, &status);
	switch (family) {
	case METRICS_PEER_UP:
		metrics_peer_sample(text, peer, peer_is_up(peer));
		break;
	case METRICS_PEER_DISABLED:
		metrics_peer_sample(text, peer, peer_is_disabled(peer));
		break;
	case METRICS_PEER_RTT:
		if (status.rtt_ms >= 0)
			metrics_peer_sample(text, peer, status.rtt_ms / 1e3);
		break;
	case METRICS_PEER_CONNECTS:
		metrics_peer_sample(text, peer, (double)status.ups);
		break;
	case METRICS_PEER_CHANNELS:
		metrics_channels_sample(text, peer, "idle", status.idle);
		metrics_channels_sample(text, peer, "used", status.in_use);
		break;
	default:
		metrics_peer_sample(text, peer, status.waiting);
	}
}

static void
metrics_peers(struct metrics_text *text, const struct peers *peers)
{
	int family;
	size_t i;

	/* The format wants all samples of a family in one place. */
	for (family = 0; family < METRICS_PEER_FAMILIES; family++) {
		metrics_text_family(text, metrics_peer_families[family].name,
		    metrics_peer_families[family].kind,
		    metrics_peer_families[family].help);
		for (i = 0; i < peers_count(peers); i++)
			metrics_peer(text, peers_at(peers, i),
			    (enum metrics_peer_family)family);
	}
}

/* --- tunnels ---------------------------------------------------------------- */

/* key, with value, is a third label unless it is NULL. */
static void
metrics_tunnel_sample(struct metrics_text *text, const struct tunnel *tunnel,
    const char *key, const char *label, double value)
{
	const struct metrics_label labels[] = {
		{ "tunnel", tunnel->conf->name },
		{ "peer",
		    tunnel->conf->peer != NULL ? tunnel->conf->peer : "" },
		{ key, label },
		{ NULL, NULL },
	};

	metrics_text_sample(text, labels, value);
}

static double
metrics_tunnel_disabled(const struct tunnel *tunnel)
{
	return tunnel->disabled;
}

static double
metrics_tunnel_open(const struct tunnel *tunnel)
{
	return tunnel_count_sessions(tunnel);
}

static double
metrics_tunnel_held(const struct tunnel *tunnel)
{
	const struct tunnel *older;
	unsigned n = tunnel->n_waiting;

	if (tunnel->peer == NULL || peer_is_up(tunnel->peer))
		return 0;
	TAILQ_FOREACH(older, &tunnel->tunnels->draining, entry)
		if (strcmp(older->label, tunnel->label) == 0)
			n += older->n_waiting;
	return n;
}

static double
metrics_tunnel_total(const struct tunnel *tunnel)
{
	struct tunnel_counts counts;

	tunnel_get_counts(tunnel, &counts);
	return (double)counts.total;
}

static const struct {
	const char *name;
	enum metrics_kind kind;
	const char *help;
	double (*value)(const struct tunnel *tunnel);
} metrics_tunnel_families[] = {
	{ "tunneld_tunnel_disabled", METRICS_GAUGE,
	    "Whether an administrator has switched the tunnel off.",
	    metrics_tunnel_disabled },
	{ "tunneld_sessions_open", METRICS_GAUGE,
	    "Sessions at this moment, those not served yet too.",
	    metrics_tunnel_open },
	{ "tunneld_sessions_held", METRICS_GAUGE,
	    "Of them, those that wait for the link to come back.",
	    metrics_tunnel_held },
	{ "tunneld_sessions_total", METRICS_COUNTER,
	    "Sessions since the start.", metrics_tunnel_total },
};

static void
metrics_bytes(struct metrics_text *text, const struct tunnels *tunnels)
{
	const struct tunnel *tunnel;
	struct tunnel_counts counts;

	metrics_text_family(text, "tunneld_bytes_total", METRICS_COUNTER,
	    "Bytes carried: up from the user to the service, and down.");
	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		tunnel_get_counts(tunnel, &counts);
		metrics_tunnel_sample(text, tunnel, "direction", "up",
		    (double)counts.up_bytes);
		metrics_tunnel_sample(text, tunnel, "direction", "down",
		    (double)counts.down_bytes);
	}
}

/*
 * Why a user was not served, and at which ends that happens: those stand in
 * the text from the start, with 0, since rate() and increase() do not see the
 * first one of a series that was not there before.
 */
#define ENTRY (1u << LEDGER_END_ENTRY)
#define EXIT (1u << LEDGER_END_EXIT)
#define LOCAL (1u << LEDGER_END_LOCAL)
static const unsigned metrics_reasons[REASON_COUNT] = {
	[REASON_REFUSED] = ENTRY | EXIT | LOCAL,
	[REASON_UNREACHABLE] = ENTRY | EXIT | LOCAL,
	[REASON_CONNECT_TIMEOUT] = ENTRY | EXIT | LOCAL,
	[REASON_RESOLVE_FAILED] = ENTRY | EXIT | LOCAL,
	[REASON_DENIED] = ENTRY | EXIT | LOCAL,
	[REASON_DISABLED] = ENTRY | EXIT | LOCAL,
	[REASON_LIMIT] = ENTRY | EXIT | LOCAL,
	[REASON_LINK_DOWN] = ENTRY,
	[REASON_NO_CHANNEL] = ENTRY,
	[REASON_CHANNEL_LOST] = ENTRY | EXIT,
	[REASON_INTERNAL] = ENTRY | EXIT | LOCAL,
};
#undef ENTRY
#undef EXIT
#undef LOCAL

static void
metrics_refused(struct metrics_text *text, const struct tunnels *tunnels)
{
	const struct tunnel *tunnel;
	struct tunnel_counts counts;
	int reason;

	metrics_text_family(text, "tunneld_refused_total", METRICS_COUNTER,
	    "Users, or sessions of a peer, that were not served, and why.");
	TAILQ_FOREACH(tunnel, &tunnels->all, entry) {
		tunnel_get_counts(tunnel, &counts);
		for (reason = 0; reason < REASON_COUNT; reason++)
			if ((metrics_reasons[reason] >> tunnel->end & 1) != 0 ||
			    counts.refused[reason] > 0)
				metrics_tunnel_sample(text, tunnel, "reason",
				    reason_name((enum reason)reason),
				    (double)counts.refused[reason]);
	}
}

static void
metrics_tunnels(struct metrics_text *text, const struct tunnels *tunnels)
{
	size_t n = sizeof metrics_tunnel_families /
	    sizeof metrics_tunnel_families[0];
	const struct tunnel *tunnel;
	size_t family;

	for (family = 0; family < n; family++) {
		metrics_text_family(text, metrics_tunnel_families[family].name,
		    metrics_tunnel_families[family].kind,
		    metrics_tunnel_families[family].help);
		TAILQ_FOREACH(tunnel, &tunnels->all, entry)
			metrics_tunnel_sample(text, tunnel, NULL, NULL,
			    metrics_tunnel_families[family].value(tunnel));
	}
	metrics_bytes(text, tunnels);
	metrics_refused(text, tunnels);
}

/* --- the daemon itself -------------------------------------------------------- */

static void
metrics_ledger(struct metrics_text *text, struct ledger *ledger)
{
	static const char *const states[] = { "ok", "starting", "retrying",
		"failed" };
	struct metrics_label labels[] = { { "state", NULL }, { NULL, NULL } };
	struct ledger_status status;
	size_t i;

	ledger_get_status(ledger, &status);
	metrics_text_family(text, "tunneld_ledger_state", METRICS_GAUGE,
	    "1 for the state that the ledger is in, 0 for the others.");
	for (i = 0; i < sizeof states / sizeof states[0]; i++) {
		labels[0].value = states[i];
		metrics_text_sample(text, labels,
		    strcmp(status.state, states[i]) == 0);
	}
	metrics_text_single(text, "tunneld_ledger_queued_rows", METRICS_GAUGE,
	    "Rows that wait to be written.", (double)status.queued);
	metrics_text_single(text, "tunneld_ledger_written_rows_total",
	    METRICS_COUNTER, "Rows written since the start.",
	    (double)status.written);
	metrics_text_single(text, "tunneld_ledger_lost_rows_total",
	    METRICS_COUNTER, "Rows given up since the start.",
	    (double)status.lost);
}

/* What they have said last: nobody is waited for. */
static void
metrics_workers(struct metrics_text *text, struct admin_workers *workers)
{
	metrics_text_single(text, "tunneld_draining_workers", METRICS_GAUGE,
	    "Workers that an upgrade replaced and that still serve sessions.",
	    (double)admin_workers_count(workers));
	metrics_text_single(text, "tunneld_draining_sessions", METRICS_GAUGE,
	    "Sessions of these workers, as they said at most 5 s before the "
	    "last time that this was read.",
	    (double)admin_workers_sessions(workers));
}

/* Bytes; < 0: not known. */
static double
metrics_resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages;
	int n;

	if (file == NULL)
		return -1;
	n = fscanf(file, "%*s %lu", &pages);
	fclose(file);
	return n == 1 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : -1;
}

static double
metrics_seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

/* By the names that all of Prometheus' own clients use. */
static void
metrics_process(struct metrics_text *text, const struct admin_context *context)
{
	double resident = metrics_resident();
	size_t limit = descriptor_limit();
	struct rusage usage;

	metrics_text_single(text, "process_start_time_seconds", METRICS_GAUGE,
	    "When the daemon was started, since the epoch.",
	    (double)context->started_us / 1e6);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		metrics_text_single(text, "process_cpu_seconds_total",
		    METRICS_COUNTER, "Processor time, user and system.",
		    metrics_seconds(&usage.ru_utime) +
			metrics_seconds(&usage.ru_stime));
	if (resident >= 0)
		metrics_text_single(text, "process_resident_memory_bytes",
		    METRICS_GAUGE, "Memory that is resident.", resident);
	metrics_text_single(text, "process_open_fds", METRICS_GAUGE,
	    "File descriptors that are open.", (double)descriptor_count());
	if (limit > 0)
		metrics_text_single(text, "process_max_fds", METRICS_GAUGE,
		    "File descriptors that may be open.", (double)limit);
}

int
metrics_collect(const struct admin_context *context, struct evbuffer *out)
{
	struct metrics_text text = { .out = out };
	const struct metrics_label version[] = {
		{ "version", context->version },
		{ NULL, NULL },
	};

	metrics_text_family(&text, "tunneld_build_info", METRICS_GAUGE,
	    "Always 1; its label tells the version.");
	metrics_text_sample(&text, version, 1);
	metrics_peers(&text, context->peers);
	metrics_tunnels(&text, context->tunnels);
	metrics_text_single(&text, "tunneld_gateway_handshakes", METRICS_GAUGE,
	    "Connections at the gateway that have not proven who they are.",
	    (double)gateway_handshakes(context->gateway));
	metrics_workers(&text, context->workers);
	metrics_ledger(&text, context->ledger);
	metrics_process(&text, context);
	return text.failed ? -1 : 0;
}

int
metrics_collect_health(const struct admin_context *context,
    struct evbuffer *out)
{
	struct ledger_status status;
	size_t i, peers = 0, down = 0;
	const struct peer *peer;

	for (i = 0; i < peers_count(context->peers); i++) {
		peer = peers_at(context->peers, i);
		if (peer_is_disabled(peer))
			continue;
		peers++;
		down += !peer_is_up(peer);
	}
	ledger_get_status(context->ledger, &status);
	if (evbuffer_add(out, "ok\n", 3) != 0 ||
	    (strcmp(status.state, "ok") != 0 &&
		evbuffer_add_printf(out, "ledger: %s\n", status.state) < 0) ||
	    (down > 0 &&
		evbuffer_add_printf(out, "peers: %zu of %zu are not up\n", down,
		    peers) < 0))
		return -1;
	return 0;
}
