/* SPDX-License-Identifier: ISC */
/*
 * framing: frames (wire.h) over a stream: what strangers, handshakes, links
 * and idle channels have in common.
 *
 * Owns the stream, one small fixed buffer for what comes in and one bounded
 * buffer for what does not go out at once. Knows no frame's meaning, and
 * watches nothing: its owner does, with stream_watch.  Floor 2.
 */
#ifndef TUNNELD_FRAMING_H
#define TUNNELD_FRAMING_H

#include "relay.h"
#include "stream.h"
#include "wire.h"

#define FRAMING_OUT_MAX 65536 /* bytes kept, unless set otherwise */

enum framing_status {
	FRAMING_OK,
	FRAMING_AGAIN,
	FRAMING_EOF,   /* at the end of a frame */
	FRAMING_RESET, /* anything else that ends a stream */
	FRAMING_BAD    /* bytes that are no frame */
};

struct framing;

/* Takes the stream over, on failure (NULL) too. */
struct framing *framing_new(struct stream *stream);
void framing_free(struct framing *framing);
struct stream *framing_stream(const struct framing *framing);

/* The next message. After EOF, RESET or BAD only free it. */
enum framing_status framing_read(struct framing *framing,
    struct wire_message *out);

/* A link may have thousands of kills to tell in one turn. */
void framing_set_out_max(struct framing *framing, size_t max);

/*
 * Sends, or keeps what the socket does not take; -1 if the stream is dead or
 * more than the bound would be kept: drop it then.
 */
int framing_send(struct framing *framing, const struct wire_message *msg);
/* When the watch says writable: 0, or -1 as above. */
int framing_flush(struct framing *framing);
/* Nothing is kept any more. */
bool framing_is_flushed(const struct framing *framing);
/* More than half of what may be kept is. */
bool framing_is_clogged(const struct framing *framing);

/*
 * Gives the stream back and frees the rest. Bytes read past the last frame go
 * to early (data from malloc, or NULL); -1 if there is no memory for them,
 * the stream is then freed and *stream NULL.
 */
int framing_release(struct framing *framing, struct stream **stream,
    struct relay_early *early);

#endif
