/* SPDX-License-Identifier: ISC */
/*
 * show_history: how rows of the past are shown that no other command has:
 * lives of links, changes, statistics. Of sessions see show.h. Asks nobody.
 */
#ifndef TUNNELCTL_SHOW_HISTORY_H
#define TUNNELCTL_SHOW_HISTORY_H

#include "history.h"
#include "output.h"

extern const struct output_view show_links;
extern const struct output_view show_changes;

#define SHOW_STATS_COLUMNS 12

/* A view of rows by something, which stands beside its columns: not to be
 * copied. */
struct show_stats {
	struct output_view view;
	struct output_column columns[SHOW_STATS_COLUMNS];
};

void show_stats_begin(struct show_stats *stats, enum history_by by,
    enum history_per per);
void show_uptime_begin(struct show_stats *stats, enum history_per per);

#endif
