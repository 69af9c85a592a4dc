/* SPDX-License-Identifier: ISC */
#include "probe.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dial.h"
#include "exit.h"
#include "log.h"

/* The exit's own connect_timeout should speak first; and a link whose round
 * trip is long is no reason to fail. */
#define PROBE_SLACK 2.0
/* How often it is looked whether the link is still up, in seconds. */
#define PROBE_TICK 0.2

struct probe {
	struct tunnel *tunnel;
	probe_fn *fn;
	void *arg;
	struct probe_result result; /* its last step may be under way */
	double since;		    /* of the step under way */
	double until;		    /* its end, or that of two steps */
	struct loop_timer *timer;
	struct loop_task begin;
	struct peer_ping ping;
	struct peer_waiter waiter;
	struct channel *channel;
	struct dial *dial;
	uint8_t uid[WIRE_UID_SIZE];
	bool open_sent, retried;
};

static void probe_got_channel(struct channel *channel, void *arg);

static struct loop *
probe_loop(const struct probe *probe)
{
	return probe->tunnel->tunnels->params.loop;
}

static void
probe_drop_channel(struct probe *probe)
{
	if (probe->channel == NULL)
		return;
	channel_abort(probe->channel);
	probe->channel = NULL;
	peer_channel_done(probe->tunnel->peer);
}

static void
probe_free(struct probe *probe)
{
	struct peer *peer = probe->tunnel->peer;

	loop_task_cancel(probe_loop(probe), &probe->begin);
	loop_timer_free(probe->timer);
	if (peer != NULL) {
		peer_ping_cancel(peer, &probe->ping);
		peer_wait_cancel(peer, &probe->waiter);
	}
	probe_drop_channel(probe);
	dial_cancel(probe->dial);
	tunnel_unref(probe->tunnel);
	free(probe);
}

void
probe_cancel(struct probe *probe)
{
	if (probe != NULL)
		probe_free(probe);
}

/* --- steps ----------------------------------------------------------------- */

static struct probe_step *
probe_step(struct probe *probe)
{
	return &probe->result.steps[probe->result.n - 1];
}

static void
probe_begin_step(struct probe *probe, const char *name)
{
	probe->result.n++;
	probe_step(probe)->name = name;
	probe_step(probe)->ms = -1;
	probe->since = loop_now(probe_loop(probe));
}

static void
probe_set_until(struct probe *probe, double seconds)
{
	probe->until = loop_now(probe_loop(probe)) + seconds;
	loop_timer_set(probe->timer, 0);
}

static void
probe_end_step(struct probe *probe, bool ok, double ms)
{
	probe_step(probe)->ok = ok;
	probe_step(probe)->ms = ms;
}

static double
probe_elapsed_ms(const struct probe *probe)
{
	return (loop_now(probe_loop(probe)) - probe->since) * 1000;
}

/* Tells how it went; the probe is gone. */
static void
probe_finish(struct probe *probe)
{
	struct probe_result result = probe->result;
	probe_fn *fn = probe->fn;
	void *arg = probe->arg;

	result.ok = result.steps[result.n - 1].ok;
	probe_free(probe);
	fn(&result, arg);
}

/* The step under way failed, and with it all; the probe is gone. ms < 0: it
 * did not even begin. */
static void __attribute__((format(printf, 4, 5)))
probe_fail(struct probe *probe, double ms, const char *by, const char *fmt, ...)
{
	struct probe_step *step = probe_step(probe);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(step->detail, sizeof step->detail, fmt, ap);
	va_end(ap);
	step->by = by;
	probe_end_step(probe, false, ms);
	probe_finish(probe);
}

/* --- link ------------------------------------------------------------------ */

static void
probe_fail_link(struct probe *probe, double ms, const char *what)
{
	struct peer_status status;

	peer_get_status(probe->tunnel->peer, &status);
	if (status.disabled_us != 0)
		probe_fail(probe, ms, "daemon", "%speer %s was disabled by %s",
		    what, peer_name(probe->tunnel->peer), status.disabled_by);
	else if (status.error[0] != '\0')
		probe_fail(probe, ms, "daemon", "%sthe link is %s: %.200s",
		    what, status.state, status.error);
	else
		probe_fail(probe, ms, "daemon", "%sthe link is %s", what,
		    status.state);
}

static void probe_dial(struct probe *probe);
static void probe_wait(struct probe *probe);

static void
probe_on_pong(double ms, void *arg)
{
	struct probe *probe = arg;

	if (ms < 0) {
		probe_fail_link(probe, probe_elapsed_ms(probe), "");
		return;
	}
	probe_end_step(probe, true, ms);
	if (probe->tunnel->end == LEDGER_END_ENTRY)
		probe_wait(probe);
	else
		probe_dial(probe);
}

static void
probe_link(struct probe *probe)
{
	struct peer *peer = probe->tunnel->peer;
	struct peer_status status;

	probe_begin_step(probe, "link");
	if (!peer_is_up(peer)) {
		probe_fail_link(probe, -1, "");
		return;
	}
	probe->ping.fn = probe_on_pong;
	probe->ping.arg = probe;
	if (peer_ping(peer, &probe->ping) != 0) {
		probe_fail(probe, -1, "daemon", "too many pings are under way");
		return;
	}
	peer_get_status(peer, &status);
	snprintf(probe_step(probe)->detail, sizeof probe_step(probe)->detail,
	    "%s", status.address);
	probe_set_until(probe,
	    probe->tunnel->conf->connect_timeout + PROBE_SLACK);
}

/* --- channel --------------------------------------------------------------- */

/* Until what the link had left of its time is over. */
static void
probe_wait(struct probe *probe)
{
	probe_begin_step(probe, "channel");
	probe->waiter.got = probe_got_channel;
	probe->waiter.arg = probe;
	probe->waiter.mux = probe->tunnel->conf->mode == CONFIG_MODE_MUX;
	peer_wait(probe->tunnel->peer, &probe->waiter);
}

/* As a user's session: once more on a fresh channel, since an idle one may be
 * dead without anybody knowing. */
static void
probe_channel_lost(struct channel *channel, void *arg)
{
	struct probe *probe = arg;

	(void)channel;
	probe_drop_channel(probe);
	if (probe->open_sent && probe->retried) {
		probe_fail(probe, probe_elapsed_ms(probe), "peer",
		    "two channels were lost before the peer answered");
		return;
	}
	if (probe->open_sent)
		snprintf(probe_step(probe)->detail,
		    sizeof probe_step(probe)->detail,
		    "on a second channel, the first one was lost");
	probe->retried |= probe->open_sent;
	probe->open_sent = false;
	peer_wait(probe->tunnel->peer, &probe->waiter);
}

/* --- service: of the peer's exit ------------------------------------------- */

static void
probe_refused(struct probe *probe, const struct wire_refusal *refusal)
{
	bool by_service = refusal->code == WIRE_FAILED_REFUSED ||
	    refusal->code == WIRE_FAILED_RESET;
	char text[WIRE_TEXT_SIZE];

	log_escape(text, sizeof text, refusal->text, strlen(refusal->text));
	probe_fail(probe, probe_elapsed_ms(probe),
	    by_service ? "service" : "peer", "the peer says: %.200s%s", text,
	    refusal->code == WIRE_FAILED_DENIED ?
		" (a test comes from unix:, which is in no network)" :
		"");
}

static void
probe_answered(struct channel *channel, const struct wire_refusal *refusal,
    void *arg)
{
	struct probe *probe = arg;
	struct relay_early early = { 0 };
	struct stream *stream;

	if (refusal != NULL) {
		probe_refused(probe, refusal);
		return;
	}
	/* Hang up as a user does who has nothing to say: the service sees an
	 * end, not a reset. */
	probe->channel = NULL;
	stream = channel_take_stream(channel, &early);
	free(early.data);
	if (stream != NULL)
		linger_add(probe->tunnel->tunnels->linger, stream, true);
	peer_channel_done(probe->tunnel->peer);
	probe_end_step(probe, true, probe_elapsed_ms(probe));
	probe_finish(probe);
}

static void
probe_channel_ready(struct channel *channel, void *arg)
{
	(void)channel;
	(void)arg;
}

static const struct channel_handler probe_channel_handler = {
	.answered = probe_answered,
	.ready = probe_channel_ready,
	.lost = probe_channel_lost,
};

static void
probe_got_channel(struct channel *channel, void *arg)
{
	struct probe *probe = arg;
	const struct config_tunnel *conf = probe->tunnel->conf;
	struct wire_open open = { 0 };

	memcpy(open.uid, probe->uid, sizeof open.uid);
	snprintf(open.tunnel, sizeof open.tunnel, "%s", conf->name);
	snprintf(open.source, sizeof open.source, "unix:");
	probe->channel = channel;
	channel_set_handler(channel, &probe_channel_handler, probe);
	if (strcmp(probe_step(probe)->name, "channel") == 0) {
		probe_end_step(probe, true, probe_elapsed_ms(probe));
		probe_begin_step(probe, "service");
		probe_set_until(probe, conf->connect_timeout + PROBE_SLACK);
	}
	if (channel_send_open(channel, &open) == 0) {
		probe->open_sent = true;
	} else if (errno == EPIPE) {
		probe_channel_lost(channel, probe);
	} else {
		probe_drop_channel(probe);
		probe_fail(probe, probe_elapsed_ms(probe), "daemon",
		    "out of memory");
	}
}

/* --- service: from here ----------------------------------------------------- */

static void
probe_dialled(const struct dial_outcome *outcome, void *arg)
{
	struct probe *probe = arg;
	struct probe_step *step = probe_step(probe);
	char address[ADDR_TEXT_SIZE];

	probe->dial = NULL;
	if (outcome->status != DIAL_OK) {
		addr_format(&probe->tunnel->conf->connect, address,
		    sizeof address);
		probe_fail(probe, probe_elapsed_ms(probe),
		    exit_dial_by(outcome->status), "connect %.160s: %s",
		    address, outcome->error);
		return;
	}
	addr_sock_format(&outcome->to, step->detail, sizeof step->detail);
	linger_add(probe->tunnel->tunnels->linger, outcome->stream, true);
	probe_end_step(probe, true, probe_elapsed_ms(probe));
	probe_finish(probe);
}

static void
probe_dial(struct probe *probe)
{
	const struct tunnels_params *params = &probe->tunnel->tunnels->params;
	const struct config_tunnel *conf = probe->tunnel->conf;

	probe_begin_step(probe, "service");
	loop_timer_cancel(probe->timer); /* the dial has its own deadline */
	probe->dial = dial_start(params->loop, params->resolver, &conf->connect,
	    conf->connect_timeout, probe_dialled, probe);
	if (probe->dial == NULL)
		probe_fail(probe, -1, "daemon", "out of memory");
}

/* --- begin and end ---------------------------------------------------------- */

static void
probe_time_out(struct probe *probe)
{
	double ms = probe_elapsed_ms(probe);
	struct peer_status status;

	if (probe->ping.sent) {
		probe_fail(probe, ms, "peer", "no answer to a ping");
	} else if (probe->waiter.waiting) {
		peer_get_status(probe->tunnel->peer, &status);
		probe_fail(probe, ms, "daemon",
		    "no channel came; %u of max_channels %d are in use",
		    status.in_use,
		    peer_conf(probe->tunnel->peer)->max_channels);
	} else {
		probe_fail(probe, ms, "peer", "no answer");
	}
}

/* A link that goes down answers its pings, yet says nothing to who waits for a
 * channel: users are held then, a test is not. */
static void
probe_tick(void *arg)
{
	struct probe *probe = arg;
	double left = probe->until - loop_now(probe_loop(probe));

	if (probe->waiter.waiting && !peer_is_up(probe->tunnel->peer))
		probe_fail_link(probe, probe_elapsed_ms(probe),
		    probe->retried ? "the channel was lost, and " : "");
	else if (left <= 0)
		probe_time_out(probe);
	else
		loop_timer_set(probe->timer,
		    left < PROBE_TICK ? left : PROBE_TICK);
}

static void
probe_begin(void *arg)
{
	struct probe *probe = arg;
	struct tunnel *tunnel = probe->tunnel;

	if (tunnel->disabled) {
		probe_begin_step(probe, "tunnel");
		probe_fail(probe, -1, "daemon", "it was disabled by %s",
		    tunnel->disabled_by);
	} else if (tunnel->peer != NULL) {
		probe_link(probe);
	} else {
		probe_dial(probe);
	}
}

struct probe *
probe_start(struct tunnel *tunnel, probe_fn *fn, void *arg)
{
	struct probe *probe = calloc(1, sizeof *probe);

	if (probe == NULL)
		return NULL;
	probe->tunnel = tunnel_ref(tunnel);
	probe->fn = fn;
	probe->arg = arg;
	auth_random(probe->uid, sizeof probe->uid);
	loop_task_init(&probe->begin, probe_begin, probe);
	probe->timer = loop_timer_new(probe_loop(probe), probe_tick, probe);
	if (probe->timer == NULL) {
		probe_free(probe);
		return NULL;
	}
	loop_task_queue(probe_loop(probe), &probe->begin);
	return probe;
}
