/* SPDX-License-Identifier: ISC */
/*
 * admin_rows: what the daemon holds, as the JSON that programs rely on. Times
 * are RFC 3339 in UTC with milliseconds, or null; ids and bytes are integers;
 * names and addresses are strings, or null where there is none.
 *
 * All functions return a new object, or NULL out of memory.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_ROWS_H
#define TUNNELD_ADMIN_ROWS_H

#include <jansson.h>

#include "gateway.h"
#include "ledger.h"
#include "tunnel.h"

/* A string that may hold bytes which are no UTF-8; null for "" and NULL. */
json_t *admin_row_text(const char *text);
/* Microseconds since the epoch; 0 gives null. */
json_t *admin_row_time(int64_t us);

json_t *admin_row_peer(const struct peer *peer, const struct tunnels *tunnels);
json_t *admin_row_tunnel(const struct tunnel *tunnel);
/* A live session. */
json_t *admin_row_session(const struct session *session);
json_t *admin_row_ledger(struct ledger *ledger);
json_t *admin_row_gateway(const struct gateway *gateway);

#endif
