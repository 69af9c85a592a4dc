/* SPDX-License-Identifier: ISC */
#include "handshake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net.h"

enum handshake_state {
	HANDSHAKE_DIALLING,
	HANDSHAKE_TLS,	    /* TLS handshake under way */
	HANDSHAKE_HELLO,    /* HELLO sent */
	HANDSHAKE_PROOF,    /* plain: PROOF sent */
	HANDSHAKE_ATTACHING /* ATTACH sent */
};

struct handshake {
	struct handshake_params params;
	enum handshake_state state;
	bool attach; /* a channel; else a link */
	struct dial *dial;
	struct loop_timer *deadline;
	struct loop_task finish;
	struct framing *framing;
	SSL *ssl; /* owned by the stream in framing; NULL: plain */
	bool ended;
	struct wire_hello hello;
	struct wire_attach attach_msg;
	struct handshake_outcome outcome;
};

static void
handshake_free(struct handshake *hs)
{
	dial_cancel(hs->dial);
	loop_timer_free(hs->deadline);
	loop_task_cancel(hs->params.loop, &hs->finish);
	framing_free(hs->framing);
	config_peer_unref(hs->params.peer);
	auth_wipe(&hs->outcome.key, sizeof hs->outcome.key);
	free(hs);
}

void
handshake_cancel(struct handshake *hs)
{
	if (hs == NULL)
		return;
	framing_free(hs->outcome.framing);
	handshake_free(hs);
}

static void
handshake_finish(void *arg)
{
	struct handshake *hs = arg;
	struct handshake_outcome outcome = hs->outcome;
	handshake_fn *fn = hs->params.fn;

	arg = hs->params.arg;
	handshake_free(hs);
	fn(&outcome, arg);
	auth_wipe(&outcome.key, sizeof outcome.key);
}

static void
handshake_end(struct handshake *hs, enum handshake_status status,
    const char *error)
{
	if (hs->ended)
		return;
	hs->ended = true;
	dial_cancel(hs->dial);
	hs->dial = NULL;
	hs->outcome.status = status;
	snprintf(hs->outcome.error, sizeof hs->outcome.error, "%s", error);
	if (status == HANDSHAKE_OK) {
		stream_unwatch(framing_stream(hs->framing));
		hs->outcome.framing = hs->framing;
	} else {
		framing_free(hs->framing);
	}
	hs->framing = NULL;
	hs->ssl = NULL;
	loop_timer_cancel(hs->deadline);
	loop_task_queue(hs->params.loop, &hs->finish);
}

static void
handshake_fail(struct handshake *hs, const char *error)
{
	handshake_end(hs, HANDSHAKE_FAILED, error);
}

static void
handshake_refused(struct handshake *hs)
{
	handshake_end(hs, HANDSHAKE_REFUSED,
	    "name or secret refused "
	    "(the gateway's log says why)");
}

static void
handshake_send(struct handshake *hs, const struct wire_message *msg,
    enum handshake_state next)
{
	hs->state = next;
	if (framing_send(hs->framing, msg) != 0)
		handshake_fail(hs, "connection lost during the handshake");
}

/* Authenticated or plain: the first frame. */
static void
handshake_begin(struct handshake *hs)
{
	struct wire_message msg = { .type = WIRE_HELLO };

	if (hs->attach) {
		msg.type = WIRE_ATTACH;
		msg.attach = hs->attach_msg;
		handshake_send(hs, &msg, HANDSHAKE_ATTACHING);
	} else {
		msg.hello = hs->hello;
		handshake_send(hs, &msg, HANDSHAKE_HELLO);
	}
}

static void
handshake_on_challenge(struct handshake *hs, const struct wire_challenge *ch)
{
	const struct auth_secret *secret = &hs->params.peer->secret;
	struct wire_message msg = { .type = WIRE_PROOF };
	uint8_t mac[WIRE_MAC_SIZE];

	if (ch->version != WIRE_VERSION) {
		handshake_fail(hs, "the gateway chose an unknown version");
		return;
	}
	hs->outcome.features = ch->features;
	/* A gateway that knows the secret knows its MAC; one that does not
	 * know our name sends a random one. Both look the same from here. */
	if (auth_gateway_mac(secret, &hs->hello, ch, mac) != 0 ||
	    !auth_equal(mac, ch->mac, sizeof mac)) {
		handshake_refused(hs);
		return;
	}
	if (auth_dialler_mac(secret, &hs->hello, ch, msg.proof.mac) != 0 ||
	    auth_plain_link_key(secret, &hs->hello, ch, &hs->outcome.key) != 0)
		handshake_fail(hs, "OpenSSL failed");
	else
		handshake_send(hs, &msg, HANDSHAKE_PROOF);
}

static void
handshake_on_welcome(struct handshake *hs, const struct wire_welcome *welcome)
{
	if (welcome->version != WIRE_VERSION) {
		handshake_fail(hs, "the gateway chose an unknown version");
		return;
	}
	if (hs->ssl != NULL && tls_link_key(hs->ssl, &hs->outcome.key) != 0) {
		handshake_fail(hs, "OpenSSL failed");
		return;
	}
	/* plain: CHALLENGE has said so under the MACs. */
	if (hs->ssl != NULL)
		hs->outcome.features = welcome->features;
	if (welcome->features != hs->outcome.features ||
	    (welcome->features & ~hs->hello.features) != 0) {
		handshake_fail(hs, "the gateway chose unknown features");
		return;
	}
	memcpy(hs->outcome.link_id, welcome->link_id, WIRE_LINK_ID_SIZE);
	strcpy(hs->outcome.name, welcome->name);
	handshake_end(hs, HANDSHAKE_OK, "");
}

static void
handshake_on_attached(struct handshake *hs, const struct wire_attached *msg,
    const struct auth_key *key)
{
	uint8_t mac[WIRE_MAC_SIZE];

	if (auth_attached_mac(key, &hs->attach_msg, mac) != 0 ||
	    !auth_equal(mac, msg->mac, sizeof mac))
		handshake_fail(hs, "whoever answered is not the gateway");
	else
		handshake_end(hs, HANDSHAKE_OK, "");
}

static void
handshake_on_reject(struct handshake *hs, const struct wire_refusal *refusal)
{
	char text[160], error[200];

	if (refusal->code == WIRE_REJECT_REFUSED) {
		handshake_refused(hs);
		return;
	}
	if (refusal->code == WIRE_REJECT_DISABLED) {
		handshake_end(hs, HANDSHAKE_REFUSED,
		    "disabled by the administrator there");
		return;
	}
	log_escape(text, sizeof text, refusal->text, strlen(refusal->text));
	snprintf(error, sizeof error, "rejected: %s", text);
	handshake_fail(hs, error);
}

static void
handshake_on_message(struct handshake *hs, const struct wire_message *msg)
{
	bool tls = hs->ssl != NULL;

	if (msg->type == WIRE_REJECT)
		handshake_on_reject(hs, &msg->refusal);
	else if (hs->state == HANDSHAKE_HELLO && !tls &&
	    msg->type == WIRE_CHALLENGE)
		handshake_on_challenge(hs, &msg->challenge);
	else if (msg->type == WIRE_WELCOME &&
	    hs->state == (tls ? HANDSHAKE_HELLO : HANDSHAKE_PROOF))
		handshake_on_welcome(hs, &msg->welcome);
	else if (hs->state == HANDSHAKE_ATTACHING && msg->type == WIRE_ATTACHED)
		handshake_on_attached(hs, &msg->attached, &hs->outcome.key);
	else
		handshake_fail(hs, "the gateway does not keep to the protocol");
}

static void
handshake_read(struct handshake *hs)
{
	struct wire_message msg;
	enum framing_status status = FRAMING_OK;

	while (!hs->ended) {
		status = framing_read(hs->framing, &msg);
		if (status != FRAMING_OK)
			break;
		handshake_on_message(hs, &msg);
	}
	if (hs->ended || status == FRAMING_AGAIN)
		return;
	if (status == FRAMING_BAD)
		handshake_fail(hs, "the gateway does not keep to the protocol");
	else if (hs->state == HANDSHAKE_HELLO && hs->ssl != NULL)
		/* In TLS 1.3 the client is done before the gateway has judged
		 * it, so that a refusal may look like a connection lost. */
		handshake_fail(hs,
		    "the gateway closed the connection after "
		    "the TLS handshake");
	else
		handshake_fail(hs, "the gateway closed the connection");
}

static void
handshake_tls(struct handshake *hs)
{
	const char *why;

	switch (tls_handshake(hs->ssl, &why)) {
	case TLS_AGAIN:
		return;
	case TLS_DONE:
		handshake_begin(hs);
		return;
	case TLS_REFUSED:
		handshake_refused(hs);
		return;
	case TLS_CLOSED:
	case TLS_FAILED:
		handshake_fail(hs, why);
		return;
	}
}

static void
handshake_ready(bool readable, bool writable, void *arg)
{
	struct handshake *hs = arg;

	(void)readable;
	(void)writable;
	if (hs->ended)
		return;
	if (hs->state == HANDSHAKE_TLS)
		handshake_tls(hs);
	if (hs->ended || hs->state == HANDSHAKE_TLS)
		return;
	if (framing_flush(hs->framing) != 0)
		handshake_fail(hs, "connection lost during the handshake");
	else
		handshake_read(hs);
}

static void
handshake_dialled(const struct dial_outcome *dialled, void *arg)
{
	struct handshake *hs = arg;
	const struct config_peer *peer = hs->params.peer;
	char address[ADDR_TEXT_SIZE], error[sizeof hs->outcome.error];
	struct stream *stream;
	int fd;

	hs->dial = NULL;
	if (dialled->status != DIAL_OK) {
		snprintf(error, sizeof error, "connect %s: %s",
		    addr_format(&peer->connect, address, sizeof address),
		    dialled->error);
		handshake_fail(hs, error);
		return;
	}
	hs->outcome.address = dialled->to;
	fd = stream_release(dialled->stream);
	if (peer->security == CONFIG_SECURITY_TLS) {
		hs->ssl = tls_connect(hs->params.tls, fd, peer->as,
		    &peer->secret);
		if (hs->ssl == NULL) {
			close(fd);
			handshake_fail(hs, "OpenSSL failed");
			return;
		}
	}
	stream = stream_new_tls(fd, hs->ssl);
	hs->framing = framing_new(stream);
	if (hs->framing == NULL ||
	    stream_watch(stream, hs->params.loop, handshake_ready, hs) != 0) {
		hs->ssl = NULL;
		handshake_fail(hs, "out of memory");
		return;
	}
	hs->state = HANDSHAKE_TLS;
	if (hs->ssl == NULL)
		handshake_begin(hs);
}

static void
handshake_timed_out(void *arg)
{
	handshake_fail(arg, "the gateway did not finish the handshake in time");
}

static struct handshake *
handshake_new(const struct handshake_params *params)
{
	struct handshake *hs = calloc(1, sizeof *hs);

	if (hs == NULL)
		return NULL;
	hs->params = *params;
	loop_task_init(&hs->finish, handshake_finish, hs);
	hs->deadline = loop_timer_new(params->loop, handshake_timed_out, hs);
	if (hs->deadline == NULL) {
		free(hs);
		return NULL;
	}
	config_peer_ref(hs->params.peer);
	loop_timer_set(hs->deadline, HANDSHAKE_SECONDS);
	return hs;
}

struct handshake *
handshake_start_link(const struct handshake_params *params,
    const uint8_t instance[WIRE_INSTANCE_SIZE], uint64_t epoch)
{
	struct handshake *hs = handshake_new(params);
	const struct config_peer *peer = params->peer;

	if (hs == NULL)
		return NULL;
	hs->hello.version_min = hs->hello.version_max = WIRE_VERSION;
	hs->hello.features = WIRE_FEATURES;
	hs->hello.security = peer->security == CONFIG_SECURITY_TLS ?
	    WIRE_SECURITY_TLS :
	    WIRE_SECURITY_PLAIN;
	snprintf(hs->hello.name, sizeof hs->hello.name, "%s", peer->as);
	auth_random(hs->hello.nonce, sizeof hs->hello.nonce);
	memcpy(hs->hello.instance, instance, sizeof hs->hello.instance);
	hs->hello.epoch = epoch;
	hs->dial = dial_start(params->loop, params->resolver, &peer->connect,
	    HANDSHAKE_SECONDS, handshake_dialled, hs);
	if (hs->dial == NULL) {
		handshake_free(hs);
		return NULL;
	}
	return hs;
}

struct handshake *
handshake_start_attach(const struct handshake_params *params,
    const struct handshake_attach *attach)
{
	struct handshake *hs = handshake_new(params);
	struct wire_attach *msg;

	if (hs == NULL)
		return NULL;
	hs->attach = true;
	hs->outcome.key = *attach->key;
	msg = &hs->attach_msg;
	memcpy(msg->link_id, attach->link_id, sizeof msg->link_id);
	msg->serial = attach->serial;
	msg->opener = (uint8_t)attach->opener;
	if (auth_attach_mac(attach->key, msg, msg->mac) == 0)
		hs->dial = dial_start_sock(params->loop, attach->to,
		    HANDSHAKE_SECONDS, handshake_dialled, hs);
	if (hs->dial == NULL) {
		handshake_free(hs);
		return NULL;
	}
	return hs;
}
