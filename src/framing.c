/* SPDX-License-Identifier: ISC */
#include "framing.h"

#include <stdlib.h>
#include <string.h>

struct framing {
	struct stream *stream;
	size_t in_len;
	uint8_t *out; /* NULL while nothing is kept */
	size_t out_len, out_max;
	uint8_t in[2 * WIRE_FRAME_MAX];
};

struct framing *
framing_new(struct stream *stream)
{
	struct framing *framing;

	if (stream == NULL)
		return NULL;
	framing = malloc(sizeof *framing);
	if (framing == NULL) {
		stream_free(stream);
		return NULL;
	}
	memset(framing, 0, offsetof(struct framing, in));
	framing->stream = stream;
	framing->out_max = FRAMING_OUT_MAX;
	return framing;
}

void
framing_free(struct framing *framing)
{
	if (framing == NULL)
		return;
	stream_free(framing->stream);
	free(framing->out);
	free(framing);
}

void
framing_set_out_max(struct framing *framing, size_t max)
{
	framing->out_max = max;
}

struct stream *
framing_stream(const struct framing *framing)
{
	return framing->stream;
}

enum framing_status
framing_read(struct framing *framing, struct wire_message *out)
{
	enum stream_status status;
	size_t used, got;

	for (;;) {
		switch (wire_decode(framing->in, framing->in_len, out, &used)) {
		case WIRE_OK:
			framing->in_len -= used;
			memmove(framing->in, framing->in + used,
			    framing->in_len);
			return FRAMING_OK;
		case WIRE_BAD:
			return FRAMING_BAD;
		case WIRE_NEED_MORE:
			break;
		}
		/* A frame fits the buffer, so there is always room. */
		status = stream_read(framing->stream,
		    framing->in + framing->in_len,
		    sizeof framing->in - framing->in_len, &got);
		if (status == STREAM_AGAIN)
			return FRAMING_AGAIN;
		if (status == STREAM_EOF && framing->in_len == 0)
			return FRAMING_EOF;
		if (status != STREAM_OK)
			return FRAMING_RESET;
		framing->in_len += got;
	}
}

/* Sends from data, returns how much went out, or -1. */
static ssize_t
framing_put(struct framing *framing, const uint8_t *data, size_t len)
{
	enum stream_status status;
	size_t put, done = 0;

	while (done < len) {
		status = stream_write(framing->stream, data + done, len - done,
		    &put);
		if (status == STREAM_AGAIN)
			break;
		if (status != STREAM_OK)
			return -1;
		done += put;
	}
	return (ssize_t)done;
}

int
framing_send(struct framing *framing, const struct wire_message *msg)
{
	uint8_t frame[WIRE_FRAME_MAX];
	size_t len = wire_encode(msg, frame, sizeof frame);
	ssize_t done = 0;
	uint8_t *grown;

	if (framing->out_len == 0)
		done = framing_put(framing, frame, len);
	if (done < 0)
		return -1;
	len -= (size_t)done;
	if (len == 0)
		return 0;
	if (framing->out_len + len > framing->out_max)
		return -1;
	grown = realloc(framing->out, framing->out_len + len);
	if (grown == NULL)
		return -1;
	memcpy(grown + framing->out_len, frame + done, len);
	framing->out = grown;
	framing->out_len += len;
	return 0;
}

int
framing_flush(struct framing *framing)
{
	ssize_t done;

	if (framing->out_len == 0)
		return 0;
	done = framing_put(framing, framing->out, framing->out_len);
	if (done < 0)
		return -1;
	framing->out_len -= (size_t)done;
	memmove(framing->out, framing->out + done, framing->out_len);
	if (framing->out_len == 0) {
		free(framing->out);
		framing->out = NULL;
	}
	return 0;
}

bool
framing_is_flushed(const struct framing *framing)
{
	return framing->out_len == 0;
}

bool
framing_is_clogged(const struct framing *framing)
{
	return framing->out_len > framing->out_max / 2;
}

int
framing_release(struct framing *framing, struct stream **stream,
    struct relay_early *early)
{
	memset(early, 0, sizeof *early);
	if (framing->in_len > 0) {
		early->data = malloc(framing->in_len);
		if (early->data == NULL) {
			framing_free(framing);
			*stream = NULL;
			return -1;
		}
		memcpy(early->data, framing->in, framing->in_len);
		early->len = framing->in_len;
	}
	*stream = framing->stream;
	framing->stream = NULL;
	framing_free(framing);
	return 0;
}
