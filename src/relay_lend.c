/* SPDX-License-Identifier: ISC */
#include "relay_internal.h"

/* Spliced, as far as the source has it in one piece. */
static enum relay_step
relay_splice_out(struct relay_half *half)
{
	struct stream_move move = { 0 };

	if (!stream_splices(half->source) || !stream_can_splice(half->sink))
		return relay_source_status(half, STREAM_AGAIN);
	stream_splice_out(half->source, stream_fd(half->sink), &move);
	half->in += move.moved;
	half->out += move.moved;
	if (move.sink != STREAM_OK)
		return relay_sink_status(half, move.sink);
	if (move.source != STREAM_OK)
		return relay_source_status(half, move.source);
	return move.moved > 0 ? RELAY_MOVED :
				relay_source_status(half, STREAM_AGAIN);
}

/* Out of the source's own buffer: what the sink does not take stays there. */
enum relay_step
relay_move_lent(struct relay_half *half)
{
	const uint8_t *data;
	enum stream_status status;
	size_t len, put;

	if (!half->writable)
		return RELAY_WAIT;
	status = stream_peek(half->source, &data, &len);
	if (status == STREAM_AGAIN)
		return relay_splice_out(half);
	if (status != STREAM_OK)
		return relay_source_status(half, status);
	status = stream_write(half->sink, data, len, &put);
	if (status != STREAM_OK)
		return relay_sink_status(half, status);
	stream_consume(half->source, put);
	half->in += put;
	half->out += put;
	return RELAY_MOVED;
}

static bool
relay_splice_in(struct relay_half *half, struct stream_move *move)
{
	if (half->full_reads < RELAY_FULL_READS ||
	    !stream_splices(half->sink) || !stream_can_splice(half->source))
		return false;
	stream_splice_in(half->sink, stream_fd(half->source), move);
	half->in += move->moved;
	half->out += move->moved;
	if (move->moved > 0 && move->moved < RELAY_SMALL)
		half->full_reads = 0;
	return move->moved > 0 || move->source != STREAM_OK ||
	    move->sink != STREAM_OK;
}

/* Straight to where the sink sends from: nothing is held in between. */
enum relay_step
relay_move_placed(struct relay_half *half)
{
	struct stream_move move = { 0 };
	enum stream_status status;
	uint8_t *place;
	size_t len, got;

	if (!half->writable)
		return RELAY_WAIT;
	if (relay_splice_in(half, &move)) {
		if (move.source != STREAM_OK)
			return relay_source_status(half, move.source);
		if (move.sink != STREAM_OK)
			return relay_sink_status(half, move.sink);
		return RELAY_MOVED;
	}
	status = stream_reserve(half->sink, &place, &len);
	if (status != STREAM_OK)
		return relay_sink_status(half, status);
	if (len > RELAY_SMALL && stream_splices(half->sink))
		len = RELAY_SMALL;
	status = stream_read(half->source, place, len, &got);
	if (status != STREAM_OK)
		return relay_source_status(half, status);
	stream_commit(half->sink, got);
	half->full_reads = got == len ? half->full_reads + 1 : 0;
	half->in += got;
	half->out += got;
	return RELAY_MOVED;
}
