/* SPDX-License-Identifier: ISC */
/*
 * stream: a byte endpoint, whatever carries it: a plain socket, TLS, or a
 * channel of a lane. What a session needs of a channel stands here and
 * nowhere else: send, receive, half-close, abort, and how bytes may go without
 * a copy. The kinds stand behind a table (stream_ops.h).
 *
 * A stream owns its descriptor and its SSL. It never calls back but through
 * stream_watch.  Floor 2.
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
	STREAM_RESET, /* the stream is dead, and can only be freed */
	STREAM_LOST   /* likewise, for what carried it is lost (a lane) */
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

/* Why it ends, for the other end: goes with the reset of a stream that can say
 * it (a channel of a lane), as in wire_reset. And what that end said, once the
 * stream is reset; 0: nothing. */
void stream_set_reason(struct stream *stream, uint8_t reason);
uint8_t stream_reason(const struct stream *stream);

/* The next read asks the kernel, though its watch has not told: what has come
 * in this turn may not have been looked at yet. */
void stream_look_again(struct stream *stream);

/* RESET or LOST if it died without having been read to its end, else OK. */
enum stream_status stream_state(const struct stream *stream);

/* splice(2) may move bytes in and out of stream_fd directly. */
bool stream_can_splice(const struct stream *stream);
int stream_fd(const struct stream *stream); /* of any socket; else -1 */

/*
 * How many bytes of it may go in a turn of the loop, before others have theirs:
 * what takes about as long, and so fewer where each is encrypted.
 */
#define STREAM_TURN (1024 * 1024)
#define STREAM_TURN_TLS (128 * 1024)
size_t stream_turn(const struct stream *stream);

/* Much will be read from it: larger buffers pay. */
void stream_expect_bulk(struct stream *stream);

/* A source that lends what it has: as stream_read, but where the bytes are,
 * until consumed or until anything else happens. */
bool stream_lends(const struct stream *stream);
enum stream_status stream_peek(struct stream *stream, const uint8_t **data,
    size_t *len);
void stream_consume(struct stream *stream, size_t len);

/* A sink that has a place for what is sent: as stream_write, but at most *len
 * bytes are put there, and committed at once. Reserving without committing is
 * allowed. */
bool stream_has_place(const struct stream *stream);
enum stream_status stream_reserve(struct stream *stream, uint8_t **place,
    size_t *len);
void stream_commit(struct stream *stream, size_t len);

/*
 * Bulk bytes between such a stream and a plain socket, spliced: in from fd, or
 * out to it. Nothing is moved and both are OK: not now, do it the other way.
 */
struct stream_move {
	enum stream_status source, sink;
	size_t moved;
};
bool stream_splices(const struct stream *stream);
void stream_splice_in(struct stream *stream, int fd, struct stream_move *move);
void stream_splice_out(struct stream *stream, int fd, struct stream_move *move);

/*
 * Calls fn whenever the stream may have become readable or writable: edge
 * triggered, so read until AGAIN or come back with a task of your own. Fires
 * at least once after being set (a socket: once it is connected). Setting it
 * anew replaces fn and arg, and tells both. With TLS, either may be needed for
 * the handshake. 0 or -1.
 */
typedef void stream_fn(bool readable, bool writable, void *arg);
int stream_watch(struct stream *stream, struct loop *loop, stream_fn *fn,
    void *arg);
void stream_unwatch(struct stream *stream);

#endif
