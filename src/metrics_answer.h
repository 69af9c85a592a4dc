/* SPDX-License-Identifier: ISC */
/*
 * metrics_answer: what is said to each HTTP request: /metrics, /healthz, and
 * errors. One answer a connection.  Floor 5.
 */
#ifndef TUNNELD_METRICS_ANSWER_H
#define TUNNELD_METRICS_ANSWER_H

#include <event2/http.h>

#include "admin_commands.h"

/* *context is looked at for each answer. -1 out of memory. */
int metrics_answer_install(struct evhttp *http,
    const struct admin_context **context);

#endif
