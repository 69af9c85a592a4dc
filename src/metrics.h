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
#include "net_inherit.h"
#include "net_plan.h"

#define METRICS_CLIENTS_MAX 32

struct metrics;

/* Whose its listener is, to net_inherit. */
#define METRICS_WHO "metrics"

/*
 * Binds the address of config.metrics (before privileges are dropped); serves
 * from metrics_start on. inherited may be NULL. NULL with the reason in error. Not to be called
 * without such an address.
 */
struct metrics *metrics_new(struct loop *loop, struct net_inherited *inherited,
    const struct addr *listen, char *error, size_t error_size);
/* The context is that of the admin commands, and must outlive it. */
void metrics_start(struct metrics *metrics,
    const struct admin_context *context);
void metrics_free(struct metrics *metrics); /* NULL is ignored */
/* Borrowed. */
struct net_listener *metrics_listener(const struct metrics *metrics);

/*
 * Another configuration: the address as in tunnels_prepare. `metrics` is NULL
 * where none are served. The commit returns what stands for it from now on, or
 * NULL, and begins to serve; it cannot fail, and nothing happens if the
 * address is the same. NULL out of memory.
 */
struct metrics_change;
struct metrics_change *metrics_prepare(struct metrics *metrics,
    struct loop *loop, const struct config_metrics *conf,
    struct net_plan *plan);
struct metrics *metrics_commit(struct metrics_change *change,
    const struct admin_context *context);
void metrics_abandon(struct metrics_change *change); /* NULL is ignored */

#endif
