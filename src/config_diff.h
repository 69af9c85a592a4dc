/* SPDX-License-Identifier: ISC */
/*
 * config_diff: what differs between two configurations, option by option, and
 * what of it a running daemon cannot take over. Works on the table of options,
 * so that none can be forgotten; says that a secret changed, never to what.
 * Floor 1.
 */
#ifndef TUNNELD_CONFIG_DIFF_H
#define TUNNELD_CONFIG_DIFF_H

#include <jansson.h>

#include "config.h"

/*
 * An array with an object for each section, peer and tunnel that differs: the
 * sections, the peers and the tunnels, these two in the order of the new file
 * and what was removed behind them:
 *
 *   {"what": "added" | "removed" | "changed",
 *    "section": "daemon" | "gateway" | "metrics" | "peer" | "tunnel",
 *    "name": "homelab/ssh" (null for the first three),
 *    "keys": [{"key": "heartbeat.interval", "before": V, "after": V,
 *              "restart": bool}, ...]}		only where "changed"
 *
 * V is the value as config_json has it; null for none. A secret whose file
 * holds another one than before is the key "secret" with both null. A tunnel
 * is known by its peer and its name: with another peer it is another one. Not
 * a difference: the order of peers and tunnels. Both configs come from
 * config_load. NULL out of memory.
 */
json_t *config_diff(const struct config *before, const struct config *after);

/* Whether it holds a key that needs a restart. */
bool config_diff_needs_restart(const json_t *diff);

/*
 * Peers and tunnels that are the same in both become the very same objects:
 * those of `before` (which know their old line). Cannot fail. Afterwards equal means the same pointer, and who holds
 * one of them need not be told of the new configuration.
 */
void config_share(struct config *after, struct config *before);

#endif
