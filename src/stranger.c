/* SPDX-License-Identifier: ISC */
#include "stranger.h"

#include <sys/socket.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRANGER_TLS 0x16 /* the first byte of a TLS record: handshake */

enum stranger_state {
	STRANGER_SILENT, /* the first byte tells what it speaks */
	STRANGER_TLS_HANDSHAKE,
	STRANGER_GREETING, /* HELLO or ATTACH is due */
	STRANGER_PROOF	   /* plain: CHALLENGE sent, PROOF is due */
};

struct stranger {
	const struct stranger_context *context;
	void *place;
	enum stranger_state state;
	int fd; /* -1 once the framing owns it */
	struct addr_sock from;
	struct loop_watch *watch; /* for the first byte */
	struct loop_timer *deadline;
	struct framing *framing;
	SSL *ssl; /* owned by the stream in framing; NULL: plain */
	double since;
	bool known; /* plain, after HELLO: it may arrive, as far as its name */
	struct wire_hello hello;
	struct wire_challenge challenge;
	bool greeted; /* what it spoke is worth a warning */
};

static bool
stranger_may_arrive(const struct peer *peer, enum config_security security)
{
	return peer != NULL && !peer_conf(peer)->dials &&
	    peer_conf(peer)->security == security;
}

bool
stranger_tls_secret(const struct peers *peers, const char *name,
    struct auth_secret *secret)
{
	struct peer *peer = peers_find(peers, name);

	if (!stranger_may_arrive(peer, CONFIG_SECURITY_TLS))
		return false;
	*secret = peer_conf(peer)->secret;
	return true;
}

void
stranger_free(struct stranger *stranger)
{
	if (stranger == NULL)
		return;
	loop_watch_free(stranger->watch);
	loop_timer_free(stranger->deadline);
	framing_free(stranger->framing);
	if (stranger->fd != -1)
		close(stranger->fd);
	auth_wipe(stranger, sizeof *stranger);
	free(stranger);
}

static void
stranger_end(struct stranger *stranger)
{
	const struct stranger_context *context = stranger->context;
	void *place = stranger->place;

	stranger_free(stranger);
	context->gone(place, context->arg);
}

static bool
stranger_may_warn(const struct stranger_context *context)
{
	struct stranger_noise *noise = context->noise;
	double now = loop_now(context->loop);

	if (now - noise->since >= 60) {
		if (noise->n > STRANGER_WARNINGS)
			log_warning("gateway: %u more strangers failed",
			    noise->n - STRANGER_WARNINGS);
		noise->since = now;
		noise->n = 0;
	}
	return ++noise->n <= STRANGER_WARNINGS;
}

/* Noise from the internet is logged low, a peer that fails high. */
static void
stranger_fail(struct stranger *stranger, const char *who, const char *why)
{
	struct peer *claimed = peers_find(stranger->context->peers, who);
	char from[ADDR_TEXT_SIZE];

	addr_sock_format(&stranger->from, from, sizeof from);
	if (claimed != NULL)
		peer_note_refusal(claimed, from, why);
	if (stranger->greeted && stranger_may_warn(stranger->context))
		log_warning("gateway: %s%s%s: %s", from,
		    who[0] == '\0' ? "" : " as ", who, why);
	else
		log_debug("gateway: %s: %s", from, why);
	stranger_end(stranger);
}

static void
stranger_reject(struct stranger *stranger, enum wire_reject_code code,
    const char *text)
{
	struct wire_message msg = { .type = WIRE_REJECT };

	msg.refusal.code = (uint8_t)code;
	snprintf(msg.refusal.text, sizeof msg.refusal.text, "%s", text);
	(void)framing_send(stranger->framing, &msg);
}

/* Name and secret fail alike for the dialler; only the log tells them apart. */
static void
stranger_refuse(struct stranger *stranger, const char *why)
{
	stranger_reject(stranger, WIRE_REJECT_REFUSED,
	    "name or secret refused");
	stranger_fail(stranger, stranger->hello.name, why);
}

static const char *
stranger_why_unknown(struct stranger *stranger, const char *name)
{
	const struct peer *peer = peers_find(stranger->context->peers, name);

	if (peer == NULL)
		return "unknown name";
	if (peer_conf(peer)->dials)
		return "that peer is dialled from here, never accepted";
	return "it arrives in another security mode than its peer entry says";
}

/* Gives the connection to its peer; the stranger's place becomes free. */
static void
stranger_become_link(struct stranger *stranger, struct peer *peer,
    const struct auth_key *key)
{
	struct peer_newcomer newcomer = {
		.framing = stranger->framing,
		.hello = stranger->hello,
		.key = *key,
		.from = stranger->from,
	};

	if (stranger->since <= peer_conf_since(peer)) {
		stranger_fail(stranger, stranger->hello.name,
		    "its configuration changed meanwhile");
		auth_wipe(&newcomer.key, sizeof newcomer.key);
		return;
	}
	stranger->framing = NULL;
	stranger_end(stranger);
	stream_unwatch(framing_stream(newcomer.framing));
	peer_accept_link(peer, &newcomer);
	auth_wipe(&newcomer.key, sizeof newcomer.key);
}

static bool
stranger_check_version(struct stranger *stranger,
    const struct wire_hello *hello)
{
	if (hello->version_min <= WIRE_VERSION &&
	    hello->version_max >= WIRE_VERSION)
		return true;
	stranger_reject(stranger, WIRE_REJECT_VERSION,
	    "no protocol version in common");
	stranger_fail(stranger, hello->name, "no protocol version in common");
	return false;
}

static void
stranger_on_hello_tls(struct stranger *stranger)
{
	const struct wire_hello *hello = &stranger->hello;
	struct peer *peer = peers_find(stranger->context->peers, hello->name);
	struct auth_key key;

	if (strcmp(hello->name, tls_identity(stranger->ssl)) != 0 ||
	    hello->security != WIRE_SECURITY_TLS)
		stranger_refuse(stranger,
		    "HELLO does not match the identity "
		    "proven by TLS");
	else if (!stranger_may_arrive(peer, CONFIG_SECURITY_TLS))
		stranger_refuse(stranger,
		    stranger_why_unknown(stranger, hello->name));
	else if (!stranger_check_version(stranger, hello))
		return;
	else if (tls_link_key(stranger->ssl, &key) != 0)
		stranger_fail(stranger, hello->name, "OpenSSL failed");
	else
		stranger_become_link(stranger, peer, &key);
	auth_wipe(&key, sizeof key);
}

/* The peer that a plain stranger said to be, NULL: nobody; and its secret. */
static struct peer *
stranger_claims(const struct stranger *stranger,
    const struct auth_secret **secret)
{
	struct peer *peer = peers_find(stranger->context->peers,
	    stranger->hello.name);

	*secret = &stranger->context->dummy;
	if (!stranger->known ||
	    !stranger_may_arrive(peer, CONFIG_SECURITY_PLAIN))
		return NULL;
	*secret = &peer_conf(peer)->secret;
	return peer;
}

static void
stranger_on_hello_plain(struct stranger *stranger)
{
	struct wire_message msg = { .type = WIRE_CHALLENGE };
	struct wire_challenge *challenge = &stranger->challenge;
	const struct wire_hello *hello = &stranger->hello;
	const struct auth_secret *secret;

	if (!stranger_check_version(stranger, hello))
		return;
	stranger->known = hello->security == WIRE_SECURITY_PLAIN;
	stranger->known = stranger_claims(stranger, &secret) != NULL;
	challenge->version = WIRE_VERSION;
	challenge->features = hello->features & WIRE_FEATURES;
	snprintf(challenge->name, sizeof challenge->name, "%s",
	    stranger->context->name);
	auth_random(challenge->nonce, sizeof challenge->nonce);
	/* An unknown name is answered as one with another secret is, which it
	 * is in fact: nobody can tell, not by the time it takes either. */
	if (auth_gateway_mac(secret, hello, challenge, challenge->mac) != 0) {
		stranger_fail(stranger, hello->name, "OpenSSL failed");
		return;
	}
	stranger->state = STRANGER_PROOF;
	msg.challenge = *challenge;
	if (framing_send(stranger->framing, &msg) != 0)
		stranger_fail(stranger, hello->name, "connection lost");
}

static void
stranger_on_proof(struct stranger *stranger, const struct wire_proof *proof)
{
	const struct wire_hello *hello = &stranger->hello;
	const struct auth_secret *secret;
	struct peer *peer = stranger_claims(stranger, &secret);
	uint8_t mac[WIRE_MAC_SIZE];
	struct auth_key key;
	bool proven;

	proven = auth_dialler_mac(secret, hello, &stranger->challenge, mac) ==
		0 &&
	    auth_equal(mac, proof->mac, sizeof mac);
	if (peer == NULL) {
		stranger_refuse(stranger,
		    stranger_why_unknown(stranger, hello->name));
	} else if (!proven) {
		stranger_refuse(stranger, "wrong secret");
	} else if (auth_plain_link_key(secret, hello, &stranger->challenge,
		       &key) != 0) {
		stranger_fail(stranger, hello->name, "OpenSSL failed");
	} else {
		stranger_become_link(stranger, peer, &key);
		auth_wipe(&key, sizeof key);
	}
}

static void
stranger_on_attach(struct stranger *stranger, const struct wire_attach *attach)
{
	struct peer *peer = peers_find_link(stranger->context->peers,
	    attach->link_id);
	bool tls = stranger->ssl != NULL;
	const char *why = "ATTACH to a link that is not up";
	const char *who = peer == NULL ? "" : peer_name(peer);

	if (peer != NULL &&
	    !stranger_may_arrive(peer,
		tls ? CONFIG_SECURITY_TLS : CONFIG_SECURITY_PLAIN)) {
		why = "ATTACH in another security mode than its link";
		peer = NULL;
	}
	if (peer != NULL && tls &&
	    strcmp(tls_identity(stranger->ssl), who) != 0) {
		why = "ATTACH to the link of another peer";
		peer = NULL;
	}
	if (peer != NULL &&
	    peer_accept_channel(peer, attach, stranger->framing, &why) == 0) {
		stranger->framing = NULL;
		stranger_end(stranger);
		return;
	}
	/* The link may be gone while the channel was on its way. */
	if (peers_find_link(stranger->context->peers, attach->link_id) == NULL)
		stranger->greeted = false;
	stranger_reject(stranger, WIRE_REJECT_REFUSED, "ATTACH refused");
	stranger_fail(stranger, who, why);
}

/* Whichever of these is called last ends the stranger or waits for more. */
static void
stranger_on_message(struct stranger *stranger, const struct wire_message *msg)
{
	if (stranger->state == STRANGER_PROOF) {
		if (msg->type == WIRE_PROOF)
			stranger_on_proof(stranger, &msg->proof);
		else
			stranger_fail(stranger, stranger->hello.name,
			    "not a PROOF");
	} else if (msg->type == WIRE_HELLO) {
		stranger->greeted = true;
		stranger->hello = msg->hello;
		if (stranger->ssl != NULL)
			stranger_on_hello_tls(stranger);
		else
			stranger_on_hello_plain(stranger);
	} else if (msg->type == WIRE_ATTACH) {
		stranger->greeted = true;
		stranger_on_attach(stranger, &msg->attach);
	} else {
		stranger_fail(stranger, "", "neither HELLO nor ATTACH");
	}
}

static void
stranger_read(struct stranger *stranger)
{
	struct wire_message msg;
	enum framing_status status;

	/* One frame at a time: after HELLO a decent dialler waits, so what is
	 * left comes with the next event, and CHALLENGE is never queued. */
	status = framing_read(stranger->framing, &msg);
	if (status == FRAMING_OK) {
		stranger_on_message(stranger, &msg);
	} else if (status == FRAMING_BAD) {
		stranger_fail(stranger, stranger->hello.name, "not a frame");
	} else if (status != FRAMING_AGAIN) {
		if (stranger->state == STRANGER_PROOF)
			stranger_fail(stranger, stranger->hello.name,
			    stranger->known ?
				"went away before its proof (a wrong secret?)" :
				stranger_why_unknown(stranger,
				    stranger->hello.name));
		else
			stranger_fail(stranger, "", "went away");
	}
}

static void
stranger_tls(struct stranger *stranger)
{
	const char *why, *name;

	switch (tls_handshake(stranger->ssl, &why)) {
	case TLS_AGAIN:
		return;
	case TLS_DONE:
		stranger->state = STRANGER_GREETING;
		stranger_read(stranger);
		return;
	case TLS_CLOSED:
		/* As every channel on its way when a link ends: it says
		 * nothing of the peer. */
		stranger_fail(stranger, "", why);
		return;
	case TLS_REFUSED:
	case TLS_FAILED:
		name = tls_identity(stranger->ssl);
		stranger->greeted = name[0] != '\0';
		if (stranger->greeted &&
		    !stranger_may_arrive(peers_find(stranger->context->peers,
					     name),
			CONFIG_SECURITY_TLS))
			why = stranger_why_unknown(stranger, name);
		stranger_fail(stranger, name, why);
		return;
	}
}

static void
stranger_ready(bool readable, bool writable, void *arg)
{
	struct stranger *stranger = arg;

	(void)readable;
	(void)writable;
	if (stranger->state == STRANGER_TLS_HANDSHAKE)
		stranger_tls(stranger);
	else if (framing_flush(stranger->framing) != 0)
		stranger_fail(stranger, stranger->hello.name,
		    "connection lost");
	else
		stranger_read(stranger);
}

/* The first byte is there: make what it needs. */
static void
stranger_first_byte(int fd, bool readable, bool writable, void *arg)
{
	struct stranger *stranger = arg;
	struct stream *stream;
	uint8_t first;
	ssize_t n = recv(fd, &first, 1, MSG_PEEK);

	(void)readable;
	(void)writable;
	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		stranger_fail(stranger, "", "went away without a word");
		return;
	}
	if (first != STRANGER_TLS && first != WIRE_HELLO &&
	    first != WIRE_ATTACH) {
		stranger_fail(stranger, "", "speaks neither TLS nor tunneld");
		return;
	}
	loop_watch_free(stranger->watch);
	stranger->watch = NULL;
	stranger->state = STRANGER_GREETING;
	if (first == STRANGER_TLS) {
		stranger->state = STRANGER_TLS_HANDSHAKE;
		stranger->ssl = tls_accept(stranger->context->tls, fd);
		if (stranger->ssl == NULL) {
			stranger_fail(stranger, "", "OpenSSL failed");
			return;
		}
	}
	stranger->fd = -1;
	stream = stream_new_tls(fd, stranger->ssl);
	stranger->framing = framing_new(stream);
	if (stranger->framing == NULL) {
		stranger->ssl = NULL;
		stranger_fail(stranger, "", "out of memory");
	} else if (stream_watch(stream, stranger->context->loop, stranger_ready,
		       stranger) != 0) {
		stranger_fail(stranger, "", "out of memory");
	}
}

static void
stranger_timed_out(void *arg)
{
	struct stranger *stranger = arg;

	stranger_fail(stranger, stranger->hello.name,
	    "did not finish the handshake in time");
}

struct stranger *
stranger_new(const struct stranger_context *context, int fd,
    const struct addr_sock *from, void *place)
{
	struct stranger *stranger = calloc(1, sizeof *stranger);

	if (stranger == NULL) {
		close(fd);
		return NULL;
	}
	stranger->context = context;
	stranger->place = place;
	stranger->fd = fd;
	stranger->since = loop_now(context->loop);
	stranger->from = *from;
	stranger->watch = loop_watch_new(context->loop, fd, true, false,
	    stranger_first_byte, stranger);
	stranger->deadline = loop_timer_new(context->loop, stranger_timed_out,
	    stranger);
	if (stranger->watch == NULL || stranger->deadline == NULL) {
		stranger_free(stranger);
		return NULL;
	}
	loop_timer_set(stranger->deadline, STRANGER_SECONDS);
	return stranger;
}

bool
stranger_is_silent(const struct stranger *stranger)
{
	return stranger->state == STRANGER_SILENT;
}
