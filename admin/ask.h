/* SPDX-License-Identifier: ISC */
/*
 * ask: what all commands have in common that ask the daemon: arguments from
 * the command line, a question, its answer shown or taken, errors said.
 *
 * Each int function returns the exit status, and has said on stderr what went
 * wrong unless that is EXIT_DONE.
 */
#ifndef TUNNELCTL_ASK_H
#define TUNNELCTL_ASK_H

#include <jansson.h>

#include "client.h"
#include "commands.h"

#define ASK_ERROR_SIZE 600
#define ASK_ID_MAX ((json_int_t)1 << 53)

/* Asks for an object, which fn takes. command NULL: that of the context.
 * Takes args, which may be NULL. */
int ask_object(struct context *context, const char *command, json_t *args,
    client_data_fn *fn, void *arg);

/* Asks for a list and shows it. Likewise. */
int ask_list(struct context *context, const char *command, json_t *args,
    const struct output_view *view);

/* Asks for a list, of which fn takes piece by piece. Likewise. */
int ask_pieces(struct context *context, const char *command, json_t *args,
    client_data_fn *fn, void *arg);

/* Asks as it is told. Takes the arguments of the request. Of a refusal whose
 * details were taken nothing is said. */
int ask_request(struct context *context, const struct client_request *request);

/* Asks on a connection of its own and says nothing. Borrows all. */
enum client_status ask_quietly(const struct context *context,
    const struct client_request *request, char *error, size_t error_size);

/* Of these workers, pids, it is not known what they did. */
void ask_say_unreachable(const struct context *context, const json_t *pids);

/* Has the view all that --columns names? 0, or -1 and says so (then it is
 * EXIT_USAGE). ask_list does so by itself. */
int ask_check_columns(const struct context *context,
    const struct output_view *view);

/*
 * --tunnel, --peer, --source, --older and --idle, those that are given, as
 * arguments for the daemon. NULL if one is wrong: says so.
 */
json_t *ask_selectors(const struct context *context);

/* One more string. 0, or -1 if it is no text (says so). NULL is left out. */
int ask_put_text(const struct context *context, json_t *args, const char *key,
    const char *text);

/* A whole number from 1 to max. 0, or -1 and says so. */
int ask_number(const struct context *context, const char *text, json_int_t max,
    json_int_t *out);

#endif
