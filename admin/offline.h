/* SPDX-License-Identifier: ISC */
/*
 * offline: rows of a database file instead of a daemon's answer (--database).
 * The same JSON in the same pieces. Reads only.
 */
#ifndef TUNNELCTL_OFFLINE_H
#define TUNNELCTL_OFFLINE_H

#include "client.h"
#include "commands.h"
#include "history.h"

/*
 * Asks the file that --database names, and gives the rows to fn, piece by
 * piece, the last of which may be empty. Returns the exit status, and has
 * said on stderr what went wrong unless that is EXIT_DONE. Rows found before
 * that are given out as well. Takes no longer than 30 s.
 */
int offline_rows(const struct context *context,
    const struct history_query *query, client_data_fn *fn, void *arg);

#endif
