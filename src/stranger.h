/* SPDX-License-Identifier: ISC */
/*
 * stranger: a connection to the gateway until it has proven who it is: the
 * accepting side of the handshake, in both security modes.
 *
 * A reload meanwhile: who is known is decided at the end, and proof of what a
 * peer was before its configuration changed is no proof (it may try again).
 *
 * Owns one connection, one small fixed buffer and one deadline; what OpenSSL
 * may hold for it is bounded too (tls.c). Places and eviction are the
 * gateway's.
 * Floor 3.
 */
#ifndef TUNNELD_STRANGER_H
#define TUNNELD_STRANGER_H

#include "peers.h"

#define STRANGER_SECONDS 10.0

struct stranger;

/* So many of them may be warned of in a minute, then they are only counted:
 * strangers must not fill the disk. Zeroed memory to begin with. */
#define STRANGER_WARNINGS 30
struct stranger_noise {
	double since;
	unsigned n;
};

struct stranger_context {
	struct loop *loop;
	struct tls *tls;
	const struct peers *peers;
	const char *name;	  /* daemon.name */
	struct auth_secret dummy; /* random: in the place of unknown names' */
	struct stranger_noise *noise;
	/* It is done, one way or the other, and its place is free. */
	void (*gone)(void *place, void *arg);
	void *arg;
};

/* Takes fd. gone() is never called before this returns. NULL: memory. */
struct stranger *stranger_new(const struct stranger_context *context, int fd,
    const struct addr_sock *from, void *place);
/* Closes; gone() is not called. */
void stranger_free(struct stranger *stranger);

/* Has not sent a byte yet. */
bool stranger_is_silent(const struct stranger *stranger);

/* The secret of an accepted peer in tls mode: for tls_new. */
bool stranger_tls_secret(const struct peers *peers, const char *name,
    struct auth_secret *secret);

#endif
