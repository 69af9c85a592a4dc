/* SPDX-License-Identifier: ISC */
/*
 * The input is what a lane's connection brings: frames, which come in pieces
 * whose sizes follow from the first byte. Its readers are keen, slow, absent,
 * or leave at once; each gets the bytes that were meant for it, in order.
 */
#include "fuzz.h"

#include <string.h>

#include <event2/event.h>

#include "lane.h"
#include "stream_ops.h"

#define READERS 128 /* more than an input has room for */
#define IDS 512
#define MEMORY 3000 /* what readers may leave */

enum manner { KEEN, SLOW, ABSENT, LEAVING, REFUSING, WAITING, MANNERS };

struct reader {
	uint8_t bytes[FUZZ_INPUT_MAX]; /* meant for it: so many, read so far: */
	size_t len, got;
	enum manner manner;
	bool ended;
	struct channel *channel; /* until it is answered */
	struct stream *stream;
};

static struct reader readers[READERS];
static unsigned n_readers; /* of those that were opened */
static struct mux_memory memory;
static struct loop *loop;
static struct lane *lane;
static const uint8_t *input; /* what has not come yet: */
static size_t left, piece;   /* all; and of what may be read now */
static bool at_end;	     /* of the connection */
static bool sound;	     /* the frames are, one by one */

/* --- the connection --------------------------------------------------------- */

static enum stream_status
wire_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	(void)stream;
	if (piece == 0)
		return at_end ? STREAM_EOF : STREAM_AGAIN;
	*got = piece < len ? piece : len;
	memcpy(data, input, *got);
	input += *got;
	left -= *got;
	piece -= *got;
	return STREAM_OK;
}

static enum stream_status
wire_write(struct stream *stream, const void *data, size_t len, size_t *put)
{
	(void)stream;
	(void)data;
	*put = len > 100 ? len / 2 : len;
	return STREAM_OK;
}

static enum stream_status
wire_shutdown(struct stream *stream)
{
	(void)stream;
	return STREAM_OK;
}

static int
wire_watch(struct stream *stream, struct loop *on)
{
	(void)stream;
	(void)on;
	return 0;
}

static void
wire_free(struct stream *stream)
{
	stream->fn = NULL;
}

static const struct stream_ops wire_ops = {
	.free = wire_free,
	.read = wire_read,
	.write = wire_write,
	.shutdown = wire_shutdown,
	.watch = wire_watch,
	.turn = STREAM_TURN,
};

static struct stream wire = { .ops = &wire_ops };

/* --- readers ---------------------------------------------------------------- */

static void
leave(struct reader *reader)
{
	struct stream *stream = reader->stream;

	reader->stream = NULL;
	stream_free(stream);
}

static void
reader_read(struct reader *reader, size_t most)
{
	uint8_t bytes[FUZZ_INPUT_MAX];
	enum stream_status status;
	size_t got = 0;

	do {
		status = stream_read(reader->stream, bytes, most, &got);
		if (status == STREAM_OK) {
			fuzz_assert(!reader->ended && got > 0 && got <= most);
			fuzz_assert(got <= reader->len - reader->got);
			fuzz_assert(memcmp(bytes, reader->bytes + reader->got,
					got) == 0);
			reader->got += got;
		}
	} while (status == STREAM_OK && reader->manner == KEEN);
	if (status == STREAM_EOF) {
		reader->ended = true;
		(void)stream_shutdown(reader->stream);
	}
	if (status == STREAM_RESET || status == STREAM_LOST)
		leave(reader);
}

static void
ready(bool readable, bool writable, void *arg)
{
	struct reader *reader = arg;
	size_t put;

	if (writable && !reader->ended)
		(void)stream_write(reader->stream, "0123456789", 10, &put);
	if (reader->manner == LEAVING && readable)
		leave(reader);
	else if (reader->manner == KEEN)
		reader_read(reader, 1000);
	else if (reader->manner == SLOW)
		reader_read(reader, 1);
}

static void
take(struct reader *reader, struct channel *channel)
{
	struct relay_early early;

	reader->channel = NULL;
	reader->stream = channel_take_stream(channel, &early);
	fuzz_assert(reader->stream != NULL && early.len == 0);
	stream_watch(reader->stream, loop, ready, reader);
}

static void
answered(struct channel *channel, const struct wire_refusal *refusal, void *arg)
{
	struct reader *reader = arg;

	if (refusal == NULL) {
		take(reader, channel);
		return;
	}
	reader->channel = NULL;
	channel_free(channel);
}

static void
channel_ready(struct channel *channel, void *arg)
{
	(void)channel;
	(void)arg;
}

static void
lost(struct channel *channel, void *arg)
{
	((struct reader *)arg)->channel = NULL;
	channel_abort(channel);
}

static const struct channel_handler channel_handler = {
	.answered = answered,
	.ready = channel_ready,
	.lost = lost,
};

/* --- the lane --------------------------------------------------------------- */

static void
opened(struct channel *channel, const struct wire_open *open, void *arg)
{
	struct reader *reader = &readers[n_readers++];

	(void)arg;
	fuzz_assert(n_readers < READERS);
	reader->manner = (enum manner)(open->uid[0] % MANNERS);
	channel_set_handler(channel, &channel_handler, reader);
	if (reader->manner == REFUSING) {
		channel_send_failed(channel, NULL, WIRE_FAILED_LIMIT, "no");
	} else if (reader->manner == WAITING) {
		reader->channel = channel;
	} else {
		fuzz_assert(channel_send_opened(channel) == 0);
		take(reader, channel);
	}
}

static void
retired(struct lane *which, void *arg)
{
	(void)arg;
	lane_retire(which);
}

static void
nothing(struct lane *which, void *arg)
{
	(void)which;
	(void)arg;
}

static void
down(struct lane *which, const char *why, void *arg)
{
	(void)arg;
	fuzz_assert(which == lane);
	/* It is cut into pieces, and nothing else. */
	if (sound && why != NULL)
		fuzz_assert(strcmp(why, "bytes that are no frame") != 0);
	lane_free(lane);
	lane = NULL;
}

static void
full(void *arg)
{
	(void)arg;
	fuzz_assert(memory.kept > memory.bound);
}

static const struct lane_handler lane_handler = {
	.opened = opened,
	.retired = retired,
	.closed = nothing,
	.down = down,
	.full = full,
};

/* --- one input -------------------------------------------------------------- */

/* Whose bytes they are, as long as frames make sense at all. */
static void
read_ahead(const uint8_t *data, size_t size)
{
	static struct reader *by_id[IDS];
	struct reader *next = readers + 1; /* the first one is ours */
	struct wire_header header;
	struct wire_message msg;
	enum wire_result result;
	size_t used;

	sound = false;
	memset(by_id, 0, sizeof by_id);
	by_id[2] = readers;
	for (; size >= WIRE_HEADER_SIZE; data += used, size -= used) {
		wire_decode_header(data, &header);
		if (header.channel >= IDS &&
		    (header.type == WIRE_DATA || header.type == WIRE_OPEN))
			return;
		used = WIRE_HEADER_SIZE;
		if (header.type == WIRE_DATA) {
			struct reader *reader = by_id[header.channel];
			size_t len = size - used;

			if (reader == NULL)
				return;
			if (len > header.length)
				len = header.length;
			memcpy(reader->bytes + reader->len, data + used, len);
			reader->len += len;
			used += len;
		} else if ((result = wire_decode(data, size, &msg, &used)) !=
		    WIRE_OK) {
			sound = result == WIRE_NEED_MORE;
			return;
		} else if (msg.type == WIRE_OPEN) {
			by_id[msg.channel] = next++;
		}
	}
	sound = true;
}

static void
open_ours(void)
{
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	struct channel *channel = lane_open(lane);

	fuzz_assert(channel != NULL);
	readers[0].channel = channel;
	readers[0].manner = SLOW;
	channel_set_handler(channel, &channel_handler, &readers[0]);
	fuzz_assert(channel_send_open(channel, &open) == 0);
}

static void
begin(void)
{
	static struct pipe_pool *pipes;
	struct lane_params params = { .interval = 1000,
		.timeout = 10000,
		.window_max = MUX_WINDOW,
		.memory = &memory,
		.handler = &lane_handler };

	if (loop == NULL)
		loop = loop_new();
	if (pipes == NULL)
		pipes = pipe_pool_new();
	params.loop = loop;
	params.pipes = pipes;
	memory = (struct mux_memory){ .bound = MEMORY };
	for (unsigned i = 0; i < READERS; i++) {
		readers[i].len = readers[i].got = 0;
		readers[i].ended = false;
		readers[i].channel = NULL;
		readers[i].stream = NULL;
	}
	n_readers = 1;
	piece = 0;
	at_end = false;
	params.framing = framing_new(&wire);
	lane = lane_new(&params);
	fuzz_assert(lane != NULL);
	open_ours();
}

/* A turn of the loop: what is due, and readers that come by. */
static void
turn(void)
{
	if (lane != NULL && wire.fn != NULL)
		wire.fn(true, true, wire.arg);
	event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
	for (unsigned i = 0; i < n_readers; i++)
		if (readers[i].stream != NULL && readers[i].manner == SLOW)
			reader_read(&readers[i], 1);
	while (memory.kept > memory.bound && lane != NULL &&
	    !lane_is_dead(lane))
		lane_evict(lane);
}

static void
end(void)
{
	int i;

	for (i = 0; i < READERS; i++)
		if (readers[i].stream != NULL) {
			readers[i].manner = KEEN;
			reader_read(&readers[i], 1000);
		}
	at_end = true;
	for (i = 0; lane != NULL; i++) {
		fuzz_assert(i < 100);
		turn();
	}
	for (unsigned r = 0; r < n_readers; r++) {
		if (readers[r].channel != NULL)
			channel_abort(readers[r].channel);
		if (readers[r].stream != NULL)
			leave(&readers[r]);
	}
	event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
	fuzz_assert(memory.kept == 0 && memory.grown == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t choice;

	if (size == 0)
		return 0;
	choice = data[0];
	input = data + 1;
	left = size - 1;
	begin();
	read_ahead(input, left);
	while (left > 0 && lane != NULL) {
		choice = choice * 1103515245 + 12345;
		piece = 1 + (choice >> 20) % (2u << (choice >> 12) % 10);
		if (piece > left)
			piece = left;
		turn();
	}
	end();
	return 0;
}

/* --- seeds ------------------------------------------------------------------ */

static const struct {
	uint8_t type, channel; /* of the channels 1 and 3 theirs, 2 ours */
} talks[][10] = {
	{ { WIRE_OPEN, 1 }, { WIRE_DATA, 1 }, { WIRE_OPEN, 3 },
	    { WIRE_DATA, 3 }, { WIRE_WINDOW, 1 }, { WIRE_DATA, 1 },
	    { WIRE_FIN, 1 }, { WIRE_RESET, 3 }, { WIRE_PING, 0 } },
	{ { WIRE_OPENED, 2 }, { WIRE_DATA, 2 }, { WIRE_OPEN, 1 },
	    { WIRE_DATA, 2 }, { WIRE_DATA, 1 }, { WIRE_FIN, 2 },
	    { WIRE_FIN, 1 }, { WIRE_GOAWAY, 0 } },
	{ { WIRE_FAILED, 2 }, { WIRE_OPEN, 1 }, { WIRE_FIN, 1 },
	    { WIRE_PONG, 0 }, { WIRE_OPEN, 3 }, { WIRE_DATA, 3 },
	    { WIRE_DATA, 3 }, { WIRE_DATA, 3 }, { WIRE_RESET, 1 } },
};

/* Each talk with each manner of its first reader; the next one has another. */
size_t
fuzz_seed(unsigned index, uint8_t *data)
{
	unsigned manner = index % MANNERS;
	struct wire_message msg;
	size_t len = 1;

	data[0] = (uint8_t)(index * 37);
	index /= MANNERS;
	if (index >= sizeof talks / sizeof *talks)
		return 0;
	for (size_t i = 0; i < sizeof *talks / sizeof **talks; i++) {
		memset(&msg, 0, sizeof msg);
		msg.type = talks[index][i].type;
		msg.channel = talks[index][i].channel;
		if (msg.type == WIRE_DATA) {
			wire_encode_data(data + len, msg.channel, 300);
			len += WIRE_HEADER_SIZE;
			for (unsigned n = 0; n < 300; n++)
				data[len++] = (uint8_t)(n + i);
			continue;
		}
		if (msg.type == WIRE_OPEN) {
			msg.open.uid[0] = (uint8_t)(manner++ % MANNERS);
			strcpy(msg.open.tunnel, "ssh");
			strcpy(msg.open.source, "unix:");
		} else if (msg.type == WIRE_WINDOW) {
			msg.window.credit = 1000;
		}
		if (msg.type != 0)
			len += wire_encode(&msg, data + len, WIRE_FRAME_MAX);
	}
	return len;
}
