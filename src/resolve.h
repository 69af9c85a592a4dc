/* SPDX-License-Identifier: ISC */
/*
 * resolve: names to addresses, by getaddrinfo(3) on a small bounded pool of
 * threads, so that the loop never waits for DNS and NSS is honoured.
 *
 * A job is a copy; a request can be abandoned at any time, while the thread
 * goes on to its end. At most RESOLVE_QUEUE_MAX jobs wait.  Floor 2.
 */
#ifndef TUNNELD_RESOLVE_H
#define TUNNELD_RESOLVE_H

#include "addr.h"
#include "loop.h"

#define RESOLVE_MAX_ADDRESSES 16
#define RESOLVE_QUEUE_MAX 1024

struct resolve_pool;
struct resolve_request;

/* error is NULL, or says why there are no addresses. They are in the order
 * to be tried (RFC 6724). Called once, on the loop's thread, never before
 * resolve_start returns; the request is gone. */
typedef void resolve_fn(const struct addr_sock *addresses, size_t n,
    const char *error, void *arg);

/* Threads are started when first needed. NULL out of memory. */
struct resolve_pool *resolve_pool_new(struct loop *loop);
/* Once the loop runs no more. Pending requests are forgotten. A thread that hangs in the resolver is left
 * behind; it holds nothing of the pool's but what it frees itself. */
void resolve_pool_free(struct resolve_pool *pool);

/* NULL if the queue is full or memory short. */
struct resolve_request *resolve_start(struct resolve_pool *pool,
    const struct addr *addr, resolve_fn *fn, void *arg);
/* The callback will not be called. */
void resolve_cancel(struct resolve_request *request);

#endif
