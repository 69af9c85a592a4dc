/* SPDX-License-Identifier: ISC */
/*
 * client: a connection to the daemon's admin socket: a request out, its
 * answer in, piece by piece as it comes.
 *
 * Owns the socket. Waits, but never longer than CLIENT_TIMEOUT for a byte;
 * no answer is believed to be well-formed. Prints nothing.
 */
#ifndef TUNNELCTL_CLIENT_H
#define TUNNELCTL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CLIENT_TIMEOUT 30 /* seconds without a byte */
#define CLIENT_LINE_MAX ((size_t)64 << 20)

enum client_status {
	CLIENT_OK,
	CLIENT_STOPPED, /* by the function that took the data */
	CLIENT_REFUSED, /* the daemon said no; the error says why */
	CLIENT_LOST	/* no daemon, or no sensible answer */
};

struct client;

/* Takes one piece of a list, or all of another answer; borrowed. Returns 0,
 * or -1 to hear no more. */
typedef int client_data_fn(json_t *data, void *arg);

/* NULL with the reason in error: it names the path and what may help. */
struct client *client_open(const char *path, char *error, size_t error_size);
void client_close(struct client *client); /* NULL is ignored */

struct client_request {
	const char *command;
	json_t *args;	/* borrowed; NULL: none */
	json_type type; /* that the answer must have */
	client_data_fn *fn;
	void *arg;
	int patience; /* seconds without a byte; 0: CLIENT_TIMEOUT */
	/* Takes what a refusal has for programs, if it has that; borrowed.
	 * NULL: not wanted. */
	void (*refused)(json_t *details, void *arg);
};

/* The code of the last refusal, "not_found"; "" if there was none. */
const char *client_code(const struct client *client);
/* Whether the last request was given data, before it was refused or not. */
bool client_had_data(const struct client *client);
/* Whether request.refused was called for it. */
bool client_told_details(const struct client *client);

/*
 * Sends the request and gives its answer to fn. error is set unless the
 * status is CLIENT_OK or CLIENT_STOPPED. After CLIENT_STOPPED and CLIENT_LOST
 * the connection is of no further use.
 */
enum client_status client_ask(struct client *client,
    const struct client_request *request, char *error, size_t error_size);

#endif
