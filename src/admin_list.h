/* SPDX-License-Identifier: ISC */
/*
 * admin_list: answers of many rows, sent in pieces, and what else the files
 * of the commands share.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_LIST_H
#define TUNNELD_ADMIN_LIST_H

#include "admin_commands.h"

/* Live sessions by id (from malloc, taken over), those that are still there
 * when their turn comes. */
void admin_list_sessions(struct admin_request *request,
    struct admin_context *context, int64_t *ids, size_t n);
/* Rows of the ledger, copied. */
void admin_list_rows(struct admin_request *request,
    struct admin_context *context, const struct ledger_rows *rows);
/* An array that is at hand, taken over; NULL: out of memory. */
void admin_list_array(struct admin_request *request, json_t *rows);

/* An optional string of args; false after answering that it is none. */
bool admin_arg_string(struct admin_request *request, json_t *args,
    const char *key, const char **out);

/* admin_history.c: what the ledger is asked for. */
void admin_session(struct admin_request *request, json_t *args, void *arg);
void admin_history(struct admin_request *request, json_t *args, void *arg);

#endif
