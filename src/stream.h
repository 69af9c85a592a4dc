/* SPDX-License-Identifier: ISC */
/*
 * stream: a byte endpoint, whatever carries it: a plain socket or TLS today,
 * a share of a link (mux) later. What a session needs of a channel stands
 * here and nowhere else: send, receive, half-close, abort, "may I splice?".
 *
 * A stream owns its descriptor and its SSL. It has no buffers of its own and
 * never calls back but through stream_watch.  Floor 2.
 *
 * TLS endings (RFC 8446, 6.1): close_notify is EOF; a FIN without it,
 * ECONNRESET and every TLS error are resets.
 */
#ifndef TUNNELD_STREAM_H
#define TUNNELD_STREAM_H

#include <openssl/ssl.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

struct stream;

enum stream_status {
	STREAM_OK,
	STREAM_AGAIN, /* nothing now; the watch will tell */
	STREAM_EOF,   /* read only: the other side sent all it had to send */
	STREAM_RESET  /* the stream is dead, and can only be freed */
};

/* Both take over the descriptor (and the session), on failure too. */
struct stream *stream_new(int fd);
struct stream *stream_new_tls(int fd, SSL *ssl);

/* Closes: with a reset after stream_abort, else as the kernel does (a reset
 * too if unread bytes wait). Unwatches. NULL is ignored. */
void stream_free(struct stream *stream);

/* Gives the descriptor up, unwatched and as it is; the stream is gone. Not with
 * TLS, whose state is more than a descriptor: -1. */
int stream_release(struct stream *stream);

/* OK sets *got or *put to a number above 0 and at most len. */
enum stream_status stream_read(struct stream *stream, void *data, size_t len,
    size_t *got);
enum stream_status stream_write(struct stream *stream, const void *data,
    size_t len, size_t *put);

/*
 * Half-close, once all is written: FIN or close_notify. AGAIN: repeat when
 * the watch tells. Afterwards nothing may be written.
 */
enum stream_status stream_shutdown(struct stream *stream);

/* The stream will end with a reset (RST; a UNIX socket has none and just
 * closes). */
void stream_abort(struct stream *stream);

/* splice(2) may move bytes in and out of stream_fd directly. */
bool stream_can_splice(const struct stream *stream);
int stream_fd(const struct stream *stream);

/*
 * Calls fn whenever the stream may have become readable or writable: edge
 * triggered, so read until AGAIN or come back with a task of your own. Fires
 * for both at least once after being set. Setting it anew replaces fn and
 * arg. TLS always tells both, since either may wait for the other. 0 or -1.
 */
typedef void stream_fn(bool readable, bool writable, void *arg);
int stream_watch(struct stream *stream, struct loop *loop, stream_fn *fn,
    void *arg);
void stream_unwatch(struct stream *stream);

#endif
