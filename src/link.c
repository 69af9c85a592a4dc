/* SPDX-License-Identifier: ISC */
#include "link.h"

#include <stdio.h>
#include <stdlib.h>

#define LINK_OUT_MAX (1024 * 1024)
/* Frames handled in one turn before others have theirs. */
#define LINK_BUDGET 256
/* Tokens from here on are link_ping's, those below the heartbeat's. */
#define LINK_PING_TOKENS ((uint64_t)1 << 63)

struct link {
	struct loop *loop;
	struct framing *framing;
	const struct link_handler *handler;
	void *arg;
	double interval, timeout;
	struct loop_timer *beat; /* the next ping, or the end of patience */
	struct loop_task again;	 /* frames are left, or the link died */
	const char *dead;	 /* why, once it is */
	double last_heard;
	double last_ping;
	uint64_t token;	     /* of the last ping */
	uint64_t ping_token; /* of the last link_ping */
	double rtt_ms;	     /* < 0: not known */
	bool finishing;	     /* nothing is sent any more ... */
	bool finished;	     /* ... and the other end knows */
	bool *freed;	     /* set by link_free during a callback */
};

static void
link_die(struct link *link, const char *why)
{
	if (link->dead != NULL)
		return;
	link->dead = why;
	loop_timer_cancel(link->beat);
	loop_task_queue(link->loop, &link->again);
}

void
link_send(struct link *link, const struct wire_message *msg)
{
	if (link->dead == NULL && !link->finishing &&
	    framing_send(link->framing, msg) != 0)
		link_die(link, "connection lost");
}

bool
link_is_clogged(const struct link *link)
{
	return link->dead != NULL || framing_is_clogged(link->framing);
}

int
link_set_times(struct link *link, double interval, double timeout)
{
	link->interval = interval;
	link->timeout = timeout;
	/* It was not expected to speak more often until now. */
	link->last_heard = loop_now(link->loop);
	if (link->dead == NULL && !link->finishing)
		loop_timer_set(link->beat, 0);
	return stream_fd(framing_stream(link->framing));
}

void
link_finish(struct link *link, double seconds,
    const struct link_handler *handler, void *arg)
{
	link->handler = handler;
	link->arg = arg;
	link->finishing = true;
	if (link->dead == NULL)
		loop_timer_set(link->beat, seconds);
	loop_task_queue(link->loop, &link->again);
}

/* Says that our side is over, once all is out. */
static void
link_shut_down(struct link *link)
{
	enum stream_status status;

	if (!link->finishing || link->finished || link->dead != NULL ||
	    !framing_is_flushed(link->framing))
		return;
	status = stream_shutdown(framing_stream(link->framing));
	link->finished = status == STREAM_OK;
	if (status == STREAM_RESET)
		link_die(link, "connection lost");
}

void
link_probe(struct link *link)
{
	struct wire_message msg = { .type = WIRE_PING };

	msg.ping.token = ++link->token;
	link->last_ping = loop_now(link->loop);
	link_send(link, &msg);
}

uint64_t
link_ping(struct link *link)
{
	struct wire_message msg = { .type = WIRE_PING };

	msg.ping.token = LINK_PING_TOKENS + link->ping_token++;
	link_send(link, &msg);
	return msg.ping.token;
}

static void
link_beat(void *arg)
{
	struct link *link = arg;
	double now = loop_now(link->loop);
	double dies = link->last_heard + link->timeout;
	double next;

	if (link->finishing) {
		link_die(link, "it did not close in time");
		return;
	}
	if (now >= dies) {
		link_die(link, "heartbeat timed out");
		return;
	}
	if (now - link->last_ping >= link->interval * 0.999)
		link_probe(link);
	next = link->last_ping + link->interval;
	loop_timer_set(link->beat, (next < dies ? next : dies) - now);
}

static void
link_on_pong(struct link *link, const struct wire_ping *pong)
{
	const bool *freed = link->freed;
	double sample;

	/* An answer to an older ping says that it lives, not how fast. */
	if (pong->token == link->token) {
		sample = (loop_now(link->loop) - link->last_ping) * 1000;
		link->rtt_ms = link->rtt_ms < 0 ?
		    sample :
		    link->rtt_ms * 0.875 + sample * 0.125;
	}
	if (link->handler->alive != NULL)
		link->handler->alive(link->arg);
	if (!*freed && pong->token >= LINK_PING_TOKENS &&
	    link->handler->pong != NULL)
		link->handler->pong(pong->token, link->arg);
}

static void
link_on_message(struct link *link, const struct wire_message *msg)
{
	struct wire_message pong;

	switch (msg->type) {
	case WIRE_PING:
		pong = *msg;
		pong.type = WIRE_PONG;
		link_send(link, &pong);
		return;
	case WIRE_PONG:
		link_on_pong(link, &msg->ping);
		return;
	default:
		link->handler->frame(msg, link->arg);
	}
}

static const char *
link_status_text(enum framing_status status)
{
	if (status == FRAMING_EOF)
		return "closed by the peer";
	if (status == FRAMING_BAD)
		return "protocol error";
	return "connection lost";
}

static void
link_run(struct link *link)
{
	struct wire_message msg;
	enum framing_status status;
	bool freed = false;
	int i;

	if (link->dead == NULL && framing_flush(link->framing) != 0)
		link_die(link, "connection lost");
	link_shut_down(link);
	link->freed = &freed;
	for (i = 0; i < LINK_BUDGET && link->dead == NULL; i++) {
		status = framing_read(link->framing, &msg);
		if (status == FRAMING_AGAIN)
			break;
		if (status != FRAMING_OK) {
			link_die(link, link_status_text(status));
			break;
		}
		link->last_heard = loop_now(link->loop);
		link_on_message(link, &msg);
		if (freed)
			return;
	}
	link->freed = NULL;
	if (i == LINK_BUDGET)
		loop_task_queue(link->loop, &link->again);
}

static void
link_again(void *arg)
{
	struct link *link = arg;

	if (link->dead != NULL)
		link->handler->down(link->dead, link->arg);
	else
		link_run(link);
}

static void
link_ready(bool readable, bool writable, void *arg)
{
	struct link *link = arg;

	(void)readable;
	(void)writable;
	if (link->dead == NULL)
		link_run(link);
}

struct link *
link_new(const struct link_params *params)
{
	struct link *link = calloc(1, sizeof *link);

	if (link == NULL) {
		framing_free(params->framing);
		return NULL;
	}
	link->loop = params->loop;
	link->framing = params->framing;
	link->handler = params->handler;
	link->arg = params->arg;
	link->interval = params->interval;
	link->timeout = params->timeout;
	link->last_heard = loop_now(link->loop);
	link->rtt_ms = -1;
	framing_set_out_max(link->framing, LINK_OUT_MAX);
	loop_task_init(&link->again, link_again, link);
	link->beat = loop_timer_new(link->loop, link_beat, link);
	if (link->beat == NULL ||
	    stream_watch(framing_stream(link->framing), link->loop, link_ready,
		link) != 0) {
		link_free(link);
		return NULL;
	}
	/* The first ping at once, so that the round trip is soon known. */
	loop_timer_set(link->beat, 0);
	link->last_ping = -1e9;
	return link;
}

/* A close with bytes that were not read is a reset, and may take with it what
 * the other end has not read. */
static void
link_read_away(struct link *link)
{
	enum stream_status status = STREAM_OK;
	size_t got;
	int i;

	for (i = 0; i < LINK_BUDGET && status == STREAM_OK; i++)
		status = stream_read(framing_stream(link->framing),
		    loop_scratch(link->loop), LOOP_SCRATCH_SIZE, &got);
}

void
link_free(struct link *link)
{
	if (link == NULL)
		return;
	if (link->freed != NULL)
		*link->freed = true;
	if (link->finishing && link->dead == NULL) {
		link_shut_down(link);
		link_read_away(link);
	}
	loop_task_cancel(link->loop, &link->again);
	loop_timer_free(link->beat);
	framing_free(link->framing);
	free(link);
}

double
link_rtt_ms(const struct link *link)
{
	return link->rtt_ms;
}
