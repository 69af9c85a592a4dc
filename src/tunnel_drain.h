/* SPDX-License-Identifier: ISC */
/*
 * tunnel_drain: the life of a tunnel object, from its making to its end. When
 * the configuration that it stands for changes or goes, its sessions run on
 * under the old one, end at once, or after a time (on_change): it drains.
 *
 * Shared by the files of tunnel and by session.  Floor 4.
 */
#ifndef TUNNELD_TUNNEL_DRAIN_H
#define TUNNELD_TUNNEL_DRAIN_H

#include "tunnel.h"

/* Nobody finds it yet; NULL out of memory. */
struct tunnel *tunnel_new(struct tunnels *tunnels,
    const struct config_tunnel *conf);
/* Without a word; it has no session, and stands in no list. NULL is ignored. */
void tunnel_free(struct tunnel *tunnel);

/* Becomes the last of tunnels->all. Its peer must be there. */
void tunnel_install(struct tunnel *tunnel);
/* Inherits what was counted, said, and switched off. */
void tunnel_inherit(struct tunnel *tunnel, const struct tunnel *before);
/* Its listener, if it has one, accepts; `quiet`: the log says nothing. */
void tunnel_start(struct tunnel *tunnel, bool quiet);

/* It drains from now on, under on_change of `rule`: its own configuration, or
 * (changed) the one that takes its place. Its listener is somebody else's. */
void tunnel_detach(struct tunnel *tunnel, const struct config_tunnel *rule,
    bool changed);
/* One that drains has a session less. */
void tunnel_session_gone(struct tunnel *tunnel);
/* The task: frees those that are done. */
void tunnels_reap(void *arg);

/* tunnel_leave.c */
/* Gives the session of an entry away, if the tunnels were left: it is gone, and
 * true. */
bool tunnels_give(struct session *session);
/* There is a new session; and one is gone. */
void tunnels_check_end(struct tunnels *tunnels);
void tunnels_check_idle(struct tunnels *tunnels);
void tunnels_leave_init(struct tunnels *tunnels);
void tunnels_leave_cancel(struct tunnels *tunnels); /* its tasks */

/* tunnel_counts.c */
void tunnel_sample(struct tunnel *tunnel); /* its rate */
void tunnel_add_counts(struct tunnel_counts *to,
    const struct tunnel_counts *from);

#endif
