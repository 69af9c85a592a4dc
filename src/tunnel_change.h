/* SPDX-License-Identifier: ISC */
/*
 * tunnel_change: the tunnels of another configuration take the place of those
 * there are, as one step.
 *
 * A tunnel whose struct config_tunnel is the very same one (config_share) is
 * not touched. For one that changed or is new an object is made; the old one
 * drains (tunnel_drain). All in one turn of the loop.  Floor 4.
 */
#ifndef TUNNELD_TUNNEL_CHANGE_H
#define TUNNELD_TUNNEL_CHANGE_H

#include "net_plan.h"
#include "tunnel.h"

struct tunnels_change;

/*
 * Makes what is new, and tells the plan which listeners are given up and
 * wanted; net_plan_bind and net_plan_swap say what is wrong with those. NULL
 * out of memory, and the plan must be abandoned. Nothing changes yet; config
 * is borrowed until the end of the change.
 */
struct tunnels_change *tunnels_prepare(struct tunnels *tunnels,
    const struct config *config, struct net_plan *plan);

/*
 * After net_plan_swap, and after the peers' commit: peers are looked up now.
 * Cannot fail. Those that are new are disabled if the ledger says so.
 */
void tunnels_commit(struct tunnels_change *change);
void tunnels_abandon(struct tunnels_change *change); /* NULL is ignored */

#endif
