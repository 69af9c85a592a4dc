/* SPDX-License-Identifier: ISC */
/*
 * metrics: Prometheus text on /metrics, and /healthz, over HTTP (libevent's
 * evhttp). Reads what the daemon holds, changes nothing. Source: Prometheus
 * exposition format 0.0.4.  Floor 5.
 *
 * A stranger may ask: only GET and HEAD of these two paths, small requests,
 * METRICS_CLIENTS_MAX connections, each of bounded life.
 */
#ifndef TUNNELD_METRICS_H
#define TUNNELD_METRICS_H

#include "admin_commands.h"

#define METRICS_CLIENTS_MAX 32

struct metrics;

/*
 * Binds the address of config.metrics (before privileges are dropped); serves
 * from metrics_start on. NULL with the reason in error. Not to be called
 * without such an address.
 */
struct metrics *metrics_new(struct loop *loop, const struct addr *listen,
    char *error, size_t error_size);
/* The context is that of the admin commands, and must outlive it. */
void metrics_start(struct metrics *metrics,
    const struct admin_context *context);
/* The address it is bound to. */
void metrics_address(const struct metrics *metrics, struct addr_sock *out);
void metrics_free(struct metrics *metrics); /* NULL is ignored */

#endif
