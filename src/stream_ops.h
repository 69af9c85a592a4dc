/* SPDX-License-Identifier: ISC */
/*
 * stream_ops: what a kind of stream has to offer. For those who make one
 * (stream_socket; lane_stream), and stream.c, which hands every call to it.
 * Floor 2.
 */
#ifndef TUNNELD_STREAM_OPS_H
#define TUNNELD_STREAM_OPS_H

#include "stream.h"

struct stream_ops {
	void (*free)(struct stream *stream);
	enum stream_status (*read)(struct stream *stream, void *data,
	    size_t len, size_t *got);
	enum stream_status (*write)(struct stream *stream, const void *data,
	    size_t len, size_t *put);
	enum stream_status (*shutdown)(struct stream *stream);
	enum stream_status (*state)(const struct stream *stream);
	/* fn and arg are set; 0 or -1. */
	int (*watch)(struct stream *stream, struct loop *loop);
	void (*unwatch)(struct stream *stream);
	int (*fd)(const struct stream *stream); /* NULL: there is none */
	bool can_splice;			/* with that */
	size_t turn;				/* stream_turn */
	/* What follows may be NULL, pair by pair. */
	uint8_t (*reason)(const struct stream *stream); /* the other end's */
	enum stream_status (*peek)(struct stream *stream, const uint8_t **data,
	    size_t *len);
	void (*consume)(struct stream *stream, size_t len);
	enum stream_status (*reserve)(struct stream *stream, uint8_t **place,
	    size_t *len);
	void (*commit)(struct stream *stream, size_t len);
	void (*splice_in)(struct stream *stream, int fd,
	    struct stream_move *move);
	void (*splice_out)(struct stream *stream, int fd,
	    struct stream_move *move);
};

struct stream { /* the first member of every kind */
	const struct stream_ops *ops;
	stream_fn *fn;
	void *arg;
	bool aborted;
	uint8_t reason; /* ours */
};

#endif
