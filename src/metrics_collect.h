/* SPDX-License-Identifier: ISC */
/*
 * metrics_collect: what the daemon holds at this moment, as the text that
 * Prometheus reads. The families stand in tunneld(8), METRICS; nothing of a
 * single session, no secret, no address.  Floor 5.
 */
#ifndef TUNNELD_METRICS_COLLECT_H
#define TUNNELD_METRICS_COLLECT_H

#include "admin_commands.h"

struct evbuffer;

/* Both append to out; -1 if memory ran out on the way. */
int metrics_collect(const struct admin_context *context, struct evbuffer *out);

/* "ok", and a line for each thing that is not as it should be. */
int metrics_collect_health(const struct admin_context *context,
    struct evbuffer *out);

#endif
