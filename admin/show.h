/* SPDX-License-Identifier: ISC */
/*
 * show: what tunnelctl shows of which object: the views that output takes,
 * and the one glance of status. Knows the members of the admin protocol;
 * asks nobody.
 */
#ifndef TUNNELCTL_SHOW_H
#define TUNNELCTL_SHOW_H

#include <jansson.h>

#include "output.h"

extern const struct output_view show_peers;
extern const struct output_view show_tunnels;
extern const struct output_view show_sessions;
extern const struct output_view show_history;
extern const struct output_view show_session; /* one, whole */
extern const struct output_view show_version;
extern const struct output_view show_status_peers; /* of status alone */
extern const struct output_view show_status_tunnels;

void show_status(struct output *out, json_t *status);

#endif
