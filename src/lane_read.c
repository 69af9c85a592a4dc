/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <string.h>

/* So many small frames in a row, and bulk is over. */
#define LANE_SMALLS 4

/* --- DATA ------------------------------------------------------------------- */

static void
lane_keep(struct lane *lane, struct mux_channel *channel, const uint8_t *data,
    size_t len)
{
	struct mux_memory *memory = lane->params.memory;
	struct lane_stream *ls = mux_holder(channel);

	/* Their order: what is in the pipe came before these. */
	if (lane_keeps_first(ls))
		lane_empty_pipe(ls);
	else
		ls->kept_first = false;
	if (lane->dead == NULL && mux_keep(channel, data, len) != 0)
		lane_die(lane, "out of memory");
	if (memory->kept > memory->bound)
		lane->params.handler->full(lane->params.arg);
}

/* Some bytes of the channel, lent to whoever reads it at once. */
static void
lane_deliver(struct lane *lane, const uint8_t *data, size_t len)
{
	struct mux_channel *channel = lane->current;
	struct lane_stream *ls;
	size_t left = len;

	lane->in_bytes += len;
	if (channel == NULL)
		return;
	ls = mux_holder(channel);
	if (ls->gathered)
		lane_tell_gathered(lane);
	if (lane->current == NULL)
		return;
	if (mux_kept(channel) == 0 && ls->in_pipe == 0) {
		mux_lend(channel, data, len);
		lane_stream_tell(ls, true, false);
		if (lane->current == NULL) /* he let go of it */
			return;
		left = mux_settle(channel);
	}
	if (left > 0)
		lane_keep(lane, channel, data + len - left, left);
}

static void
lane_begin_data(struct lane *lane, const struct wire_header *header)
{
	const char *why;

	lane->current = NULL;
	why = mux_on_data(lane->mux, header->channel, header->length,
	    &lane->current);
	if (why != NULL) {
		lane_die(lane, why);
		return;
	}
	lane->rest = header->length;
	lane->large = header->length >= LANE_SPLICE_MIN;
	if (header->length < LANE_SPLICE_MIN && ++lane->small >= LANE_SMALLS)
		lane->bulk = false;
}

/* --- frames ----------------------------------------------------------------- */

static void
lane_on_opened(struct lane *lane, struct mux_channel *channel,
    const struct wire_message *msg)
{
	struct lane_channel *lc = NULL;

	if (!lane_is_closed(lane))
		lc = lane_channel_new(lane);
	if (lc == NULL) {
		mux_close(channel, true, 0);
		return;
	}
	lc->stream = lane_stream_new(lane);
	if (lc->stream == NULL) {
		mux_close(channel, true, 0);
		channel_free(&lc->base);
		return;
	}
	TAILQ_REMOVE(&lane->fresh, lc, entry);
	lc->stream->owner = lc;
	lc->stream->channel = channel;
	mux_set_holder(channel, lc->stream);
	lane->params.handler->opened(&lc->base, &msg->open, lane->params.arg);
}

static void
lane_on_news(struct lane *lane, enum mux_news news, struct mux_channel *channel,
    const struct wire_message *msg)
{
	struct lane_stream *ls;

	if (news == MUX_NEWS_OPENED) {
		lane_on_opened(lane, channel, msg);
		return;
	}
	if (news == MUX_NEWS_NONE)
		return;
	ls = mux_holder(channel);
	if (ls->owner != NULL)
		lane_channel_news(ls->owner, news, msg);
	else
		lane_stream_tell(ls, news == MUX_NEWS_READABLE,
		    news == MUX_NEWS_WRITABLE);
}

static void
lane_on_pong(struct lane *lane, uint64_t token)
{
	double sample = loop_now(lane->loop) - lane->last_ping;

	if (token != lane->token)
		return;
	/* The path's, not that of what waits on it. */
	lane->rtt = lane->rtt < 0 || sample < lane->rtt ?
	    sample :
	    lane->rtt + (sample - lane->rtt) / 16;
}

static void
lane_on_message(struct lane *lane, const struct wire_message *msg)
{
	struct mux_channel *channel;
	enum mux_news news;
	const char *why;

	lane_tell_gathered(lane); /* of what came before */
	switch (msg->type) {
	case WIRE_PING:
		lane->pong_due = true;
		lane->pong_token = msg->ping.token;
		break;
	case WIRE_PONG:
		lane_on_pong(lane, msg->ping.token);
		break;
	case WIRE_OPEN:
		if (lane->heard_goaway) {
			lane_die(lane, "OPEN after GOAWAY");
			return;
		}
		/* fallthrough */
	case WIRE_OPENED:
	case WIRE_FAILED:
	case WIRE_FIN:
	case WIRE_RESET:
	case WIRE_WINDOW:
		why = mux_on_message(lane->mux, msg, &news, &channel);
		if (why != NULL) {
			lane_die(lane, why);
			return;
		}
		lane_on_news(lane, news, channel, msg);
		break;
	case WIRE_GOAWAY:
		lane->heard_goaway = true;
		lane->params.handler->retired(lane, lane->params.arg);
		lane_check_closed(lane);
		break;
	case WIRE_ACK:
	case WIRE_RESUME:
	case WIRE_RESUMED:
		lane_die(lane, "a frame of resumption, which was not agreed");
		return;
	default:
		lane_die(lane, "a frame that does not belong on a lane");
		return;
	}
	lane_send_soon(lane);
}

/* One piece: bytes of DATA, or a whole other frame, or a header. Returns how
 * many bytes that were; 0: it is not complete. */
static size_t
lane_take(struct lane *lane, const uint8_t *data, size_t len)
{
	struct wire_header header;
	struct wire_message msg;
	size_t used;

	if (lane->rest > 0) {
		used = len < lane->rest ? len : lane->rest;
		lane->rest -= used;
		lane_deliver(lane, data, used);
		return used;
	}
	if (len < WIRE_HEADER_SIZE)
		return 0;
	wire_decode_header(data, &header);
	if (header.type == WIRE_DATA) {
		lane_begin_data(lane, &header);
		return WIRE_HEADER_SIZE;
	}
	switch (wire_decode(data, len, &msg, &used)) {
	case WIRE_NEED_MORE:
		return 0;
	case WIRE_BAD:
		lane_die(lane, "bytes that are no frame");
		return 0;
	case WIRE_OK:
		break;
	}
	lane_on_message(lane, &msg);
	return used;
}

static void
lane_parse(struct lane *lane, const uint8_t *data, size_t len)
{
	size_t used;

	while (len > 0 && lane->dead == NULL) {
		used = lane_take(lane, data, len);
		if (used == 0)
			break;
		data += used;
		len -= used;
	}
	if (lane->dead != NULL)
		return;
	/* Less than a frame that is no DATA: it fits. */
	memcpy(lane->partial, data, len);
	lane->partial_len = len;
}

/* Nothing more can be read. */
static void
lane_on_end(struct lane *lane, enum stream_status status)
{
	if (status != STREAM_EOF) {
		lane_die(lane, "connection lost");
		return;
	}
	if (mux_count_held(lane->mux) > 0 && mux_has_heard_all(lane->mux)) {
		lane_outlive(lane);
		return;
	}
	lane->done = mux_count(lane->mux) == 0;
	lane_die(lane, "closed by the peer");
}

/* Reads as much as there is, or the buffer holds; 0: nothing. */
static size_t
lane_fill(struct lane *lane, uint8_t *data)
{
	size_t len = lane->partial_len, want = LOOP_BULK_SIZE, got;
	enum stream_status status;

	memcpy(data, lane->partial, len);
	/* Of bulk no more than the next header, so that the rest can be
	 * spliced. */
	if (lane->bulk && lane->rest + WIRE_HEADER_SIZE < want &&
	    len < WIRE_HEADER_SIZE)
		want = lane->rest + WIRE_HEADER_SIZE;
	do {
		status = stream_read(lane->stream, data + len, want - len,
		    &got);
		if (status == STREAM_OK)
			len += got;
	} while (status == STREAM_OK && !lane->plain && len < want);
	if (status != STREAM_OK && status != STREAM_AGAIN &&
	    len == lane->partial_len)
		lane_on_end(lane, status);
	if (lane->fresh_partial) {
		lane->fresh_partial = false;
		return len;
	}
	return len > lane->partial_len ? len : 0;
}

static void
lane_read_turn(struct lane *lane)
{
	size_t most = stream_turn(lane->stream);
	uint64_t limit = lane->in_bytes + most;
	uint8_t *data = loop_bulk(lane->loop);
	size_t len, taken = 0; /* frames that are no DATA, too */
	int i;

	if (data == NULL) {
		lane_die(lane, "out of memory");
		return;
	}
	for (i = 0; i < 256 && taken < most && lane->in_bytes < limit; i++) {
		if (lane_splice_rest(lane))
			return;
		if (lane->dead != NULL)
			return;
		len = lane_fill(lane, data);
		if (len == 0)
			return;
		taken += len;
		lane->last_heard = loop_now(lane->loop);
		lane_parse(lane, data, len);
		if (lane->dead != NULL)
			return;
	}
	loop_task_queue(lane->loop, &lane->again);
}

void
lane_read(struct lane *lane)
{
	lane_read_turn(lane);
	lane_tell_gathered(lane);
}
