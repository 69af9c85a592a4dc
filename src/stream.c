/* SPDX-License-Identifier: ISC */
#include "stream_ops.h"

void
stream_free(struct stream *stream)
{
	if (stream != NULL)
		stream->ops->free(stream);
}

enum stream_status
stream_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	return stream->ops->read(stream, data, len, got);
}

enum stream_status
stream_write(struct stream *stream, const void *data, size_t len, size_t *put)
{
	return stream->ops->write(stream, data, len, put);
}

enum stream_status
stream_shutdown(struct stream *stream)
{
	return stream->ops->shutdown(stream);
}

void
stream_abort(struct stream *stream)
{
	stream->aborted = true;
}

void
stream_set_reason(struct stream *stream, uint8_t reason)
{
	stream->reason = reason;
}

uint8_t
stream_reason(const struct stream *stream)
{
	return stream->ops->reason == NULL ? 0 : stream->ops->reason(stream);
}

enum stream_status
stream_state(const struct stream *stream)
{
	return stream->ops->state(stream);
}

int
stream_watch(struct stream *stream, struct loop *loop, stream_fn *fn, void *arg)
{
	stream->fn = fn;
	stream->arg = arg;
	return stream->ops->watch(stream, loop);
}

void
stream_unwatch(struct stream *stream)
{
	stream->ops->unwatch(stream);
}

size_t
stream_turn(const struct stream *stream)
{
	return stream->ops->turn;
}

/* --- without a copy --------------------------------------------------------- */

bool
stream_can_splice(const struct stream *stream)
{
	return stream->ops->can_splice;
}

int
stream_fd(const struct stream *stream)
{
	return stream->ops->fd == NULL ? -1 : stream->ops->fd(stream);
}

bool
stream_lends(const struct stream *stream)
{
	return stream->ops->peek != NULL;
}

enum stream_status
stream_peek(struct stream *stream, const uint8_t **data, size_t *len)
{
	return stream->ops->peek(stream, data, len);
}

void
stream_consume(struct stream *stream, size_t len)
{
	stream->ops->consume(stream, len);
}

bool
stream_has_place(const struct stream *stream)
{
	return stream->ops->reserve != NULL;
}

enum stream_status
stream_reserve(struct stream *stream, uint8_t **place, size_t *len)
{
	return stream->ops->reserve(stream, place, len);
}

void
stream_commit(struct stream *stream, size_t len)
{
	stream->ops->commit(stream, len);
}

bool
stream_splices(const struct stream *stream)
{
	return stream->ops->splice_in != NULL;
}

void
stream_splice_in(struct stream *stream, int fd, struct stream_move *move)
{
	stream->ops->splice_in(stream, fd, move);
}

void
stream_splice_out(struct stream *stream, int fd, struct stream_move *move)
{
	stream->ops->splice_out(stream, fd, move);
}
