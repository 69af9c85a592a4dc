/* SPDX-License-Identifier: ISC */
/*
 * handshake: the dialling daemon's side: from a peer's address to an
 * authenticated link (HELLO) or to an attached channel (ATTACH), in both
 * security modes, within one deadline.
 *
 * The accepting side is stranger.  Floor 3.
 */
#ifndef TUNNELD_HANDSHAKE_H
#define TUNNELD_HANDSHAKE_H

#include "auth.h"
#include "config.h"
#include "dial.h"
#include "framing.h"
#include "tls.h"

#define HANDSHAKE_SECONDS 10.0 /* for all of it */

enum handshake_status {
	HANDSHAKE_OK,
	HANDSHAKE_FAILED, /* worth trying again soon */
	HANDSHAKE_REFUSED /* name or secret, or disabled there: not worth it */
};

struct handshake_outcome {
	enum handshake_status status;
	char error[512];	  /* unless OK; strangers' text is escaped */
	struct framing *framing;  /* OK: the callee's */
	struct addr_sock address; /* of the gateway, once connected */
	char name[NAME_SIZE];	  /* a link: what the gateway calls itself */
	uint32_t features;	  /* a link: those agreed */
	uint8_t link_id[WIRE_LINK_ID_SIZE]; /* a link */
	struct auth_key key;		    /* a link */
};

/* Called once, never before handshake_start_* returns; the handshake is gone.
 * The key in outcome is wiped after the call. */
typedef void handshake_fn(const struct handshake_outcome *outcome, void *arg);

struct handshake_params {
	struct loop *loop;
	struct resolve_pool *resolver;
	struct tls *tls;
	const struct config_peer *peer; /* the handshake refers to it */
	handshake_fn *fn;
	void *arg;
};

struct handshake;

/* A link: `instance` and `epoch` as in design of take-over. NULL: memory. */
struct handshake *handshake_start_link(const struct handshake_params *params,
    const uint8_t instance[WIRE_INSTANCE_SIZE], uint64_t epoch);

/* A channel of the link with this id and key, to the address of the link. */
struct handshake_attach {
	const struct addr_sock *to;
	const uint8_t *link_id;
	const struct auth_key *key;
	uint64_t serial;
	enum wire_opener opener;
};
struct handshake *handshake_start_attach(const struct handshake_params *params,
    const struct handshake_attach *attach);

/* The callback will not be called. NULL is ignored. */
void handshake_cancel(struct handshake *handshake);

#endif
