/* SPDX-License-Identifier: ISC */
/*
 * linger: channels that are nobody's any more, read and thrown away until the
 * other end closes or a moment has passed.
 *
 * After FAILED, closing with unread bytes would turn the answer into a reset;
 * after CLOSE, a reset would overtake the reason. At most LINGER_MAX linger,
 * then the oldest is cut off.  Floor 2.
 */
#ifndef TUNNELD_LINGER_H
#define TUNNELD_LINGER_H

#include "loop.h"
#include "stream.h"

#define LINGER_MAX 16384
#define LINGER_SECONDS 2.0

struct linger;

struct linger *linger_new(struct loop *loop);
/* The task is queued whenever the last one is gone. */
void linger_on_empty(struct linger *linger, struct loop_task *task);
bool linger_is_empty(const struct linger *linger);
void linger_free(struct linger *linger); /* cuts all of them off */

/*
 * Takes the stream over. `finish`: the sending side is shut down first, so
 * that the other end finds an EOF behind the last frame; otherwise the stream
 * is reset at the end.
 */
void linger_add(struct linger *linger, struct stream *stream, bool finish);

#endif
