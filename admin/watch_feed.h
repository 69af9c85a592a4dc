/* SPDX-License-Identifier: ISC */
/*
 * watch_feed: the admin protocol for a program that must never wait: requests
 * go out and answers come in piece by piece, as far as the socket allows.
 *
 * Owns the socket. Asks one request after the other. Prints nothing. A feed
 * that lost its daemon keeps nothing of it; connecting again is the caller's
 * decision.
 */
#ifndef TUNNELCTL_WATCH_FEED_H
#define TUNNELCTL_WATCH_FEED_H

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define WATCH_FEED_QUEUE 8
#define WATCH_FEED_ERROR_SIZE 400

enum watch_answer_status {
	WATCH_PIECE,	/* of a list; there is more to come */
	WATCH_COMPLETE, /* the last piece, or all */
	WATCH_REFUSED,	/* the daemon said no; error says why */
	WATCH_LOST	/* the connection was lost; tag is that of no request */
};

struct watch_answer {
	int tag;
	enum watch_answer_status status;
	json_t *data;	   /* borrowed; of pieces and complete answers */
	const char *error; /* printable ASCII; of the other two */
	bool upgraded;	   /* refused since another process is to be asked */
};

/* May ask, must not free the feed, connect or disconnect. */
typedef void watch_feed_fn(const struct watch_answer *answer, void *arg);

struct watch_feed;

/* path is borrowed. NULL out of memory. */
struct watch_feed *watch_feed_new(const char *path, watch_feed_fn *fn,
    void *arg);
void watch_feed_free(struct watch_feed *feed); /* NULL is ignored */

/* 0, or -1 with the reason in error. now: seconds, of a clock that only goes
 * forward; the same below. */
int watch_feed_connect(struct watch_feed *feed, double now, char *error,
    size_t error_size);
void watch_feed_disconnect(struct watch_feed *feed);
bool watch_feed_is_connected(const struct watch_feed *feed);

/* Takes args, which may be NULL. -1 if it cannot: not connected, too many
 * wait, out of memory. fn will be called for it, or once with WATCH_LOST for
 * all there are. */
int watch_feed_ask(struct watch_feed *feed, int tag, const char *command,
    json_t *args);
/* So many are not answered yet. */
size_t watch_feed_pending(const struct watch_feed *feed);
/* For so long not a byte of a due answer has come; 0: nothing is due. */
double watch_feed_silence(const struct watch_feed *feed, double now);

/* What to poll(2) for, and what to do then: a bounded piece of work. */
void watch_feed_prepare(const struct watch_feed *feed, struct pollfd *out);
void watch_feed_turn(struct watch_feed *feed, short revents, double now);

#endif
