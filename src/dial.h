/* SPDX-License-Identifier: ISC */
/*
 * dial: from a written address to a connected socket: resolve without
 * blocking, then try every address, the next one starting 250 ms after the
 * one before or as soon as that failed, the first to connect wins (RFC 8305).
 * Floor 2.
 */
#ifndef TUNNELD_DIAL_H
#define TUNNELD_DIAL_H

#include "addr.h"
#include "loop.h"
#include "resolve.h"
#include "stream.h"

enum dial_status {
	DIAL_OK,
	DIAL_REFUSED,	  /* somebody there said no */
	DIAL_RESET,	  /* somebody there took it, and reset it at once */
	DIAL_UNREACHABLE, /* no route, no such socket, not permitted */
	DIAL_TIMEOUT,	  /* nobody said anything */
	DIAL_RESOLVE,	  /* the name has no address */
	DIAL_INTERNAL	  /* out of memory or descriptors */
};

struct dial_outcome {
	enum dial_status status;
	/* DIAL_OK: connected, and the callee's, to be watched, released or
	 * freed within the call; else NULL. */
	struct stream *stream;
	struct addr_sock to; /* DIAL_OK: what it is connected to */
	char error[120];     /* otherwise why, without the address */
};

struct dial;

/* Called once, never before dial_start returns; the dial is gone. */
typedef void dial_fn(const struct dial_outcome *outcome, void *arg);

/* All of it, the name included, takes at most `timeout` seconds. NULL only if
 * memory is short. */
struct dial *dial_start(struct loop *loop, struct resolve_pool *resolver,
    const struct addr *addr, double timeout, dial_fn *fn, void *arg);
/* The same to an address already known. */
struct dial *dial_start_sock(struct loop *loop, const struct addr_sock *sock,
    double timeout, dial_fn *fn, void *arg);
/* The callback will not be called. NULL is ignored. */
void dial_cancel(struct dial *dial);

#endif
