/* SPDX-License-Identifier: ISC */
/* The input is what a peer sends on a lane: frames of channels. */
#include "fuzz.h"

#include <string.h>

#include "mux.h"

static struct mux_memory memory;
static size_t arrived; /* bytes that were credited, since the start */

/* What a holder of the channel does, one way or another. */
static void
hold(struct mux_channel *channel, enum mux_news news, uint8_t choice)
{
	struct wire_refusal refusal = { .code = choice };
	const uint8_t *bytes;
	size_t len;

	if (news == MUX_NEWS_OPENED && choice % 4 == 0) {
		mux_refuse(channel, &refusal);
	} else if (news == MUX_NEWS_OPENED && choice % 4 == 1) {
		mux_accept(channel);
	} else if (choice % 16 == 6) {
		mux_evict(channel);
	} else if (news == MUX_NEWS_REFUSED || choice % 8 == 2) {
		mux_close(channel, choice % 2 == 0, choice);
	} else if (mux_peek(channel, &bytes, &len) == MUX_BYTES) {
		mux_consume(channel, len, choice, 1);
	} else if (choice % 8 == 3) {
		mux_finish(channel);
	}
}

static size_t
take_data(struct mux *mux, const uint8_t *data, size_t size, const char **why)
{
	struct mux_channel *channel = NULL;
	struct wire_header header;
	size_t len;

	wire_decode_header(data, &header);
	*why = mux_on_data(mux, header.channel, header.length, &channel);
	if (*why != NULL)
		return 0;
	arrived += header.length;
	len = size - WIRE_HEADER_SIZE;
	if (len > header.length)
		len = header.length;
	if (channel != NULL && len > 0)
		fuzz_assert(mux_keep(channel, data + WIRE_HEADER_SIZE, len) ==
		    0);
	return WIRE_HEADER_SIZE + len;
}

static size_t
take_message(struct mux *mux, const uint8_t *data, size_t size,
    const char **why)
{
	struct mux_channel *channel = NULL;
	struct wire_message msg;
	enum mux_news news;
	size_t used = 0;

	*why = "not a frame";
	if (wire_decode(data, size, &msg, &used) != WIRE_OK)
		return 0;
	*why = mux_on_message(mux, &msg, &news, &channel);
	if (*why == NULL && channel != NULL)
		hold(channel, news, (uint8_t)(msg.channel ^ data[1] >> 1));
	return used;
}

/* What is sent is frames, each of which can be read. */
static void
send_all(struct mux *mux)
{
	uint8_t frame[WIRE_FRAME_MAX];
	struct wire_message msg;
	size_t len, used;
	int i = 0;

	while ((len = mux_emit(mux, frame)) > 0) {
		fuzz_assert(wire_decode(frame, len, &msg, &used) == WIRE_OK);
		fuzz_assert(used == len && msg.channel != 0);
		fuzz_assert(++i < 100000);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mux_params params = { .dialler = false,
		.window_max = 1 << 20,
		.memory = &memory };
	struct wire_open open = { .tunnel = "t", .source = "unix:" };
	struct mux *mux;
	const char *why = NULL;
	size_t used;

	memory = (struct mux_memory){ .bound = 1 << 20 };
	arrived = 0;
	mux = mux_new(&params);
	fuzz_assert(mux != NULL);
	mux_open(mux, &open, NULL);
	mux_open(mux, &open, NULL);
	send_all(mux);
	while (size >= WIRE_HEADER_SIZE) {
		used = data[0] == WIRE_DATA ?
		    take_data(mux, data, size, &why) :
		    take_message(mux, data, size, &why);
		if (why != NULL)
			break;
		if (data[1] % 2 == 0)
			send_all(mux);
		data += used;
		size -= used;
	}
	mux_lose(mux);
	mux_free(mux);
	fuzz_assert(memory.kept == 0 && memory.grown == 0);
	return 0;
}

/* What an opener says, and an answering end, in some order. */
static const uint8_t types[] = { WIRE_OPEN, WIRE_OPENED, WIRE_FAILED, WIRE_DATA,
	WIRE_FIN, WIRE_RESET, WIRE_WINDOW };

/* Whole lives of channels, and what is done about it here: see hold(). */
#define LAST 0x91 /* FIN with `last` */
static const struct talk {
	uint8_t type, channel, choice;
} talks[][9] = {
	{ { WIRE_OPENED, 2, 8 }, { WIRE_DATA, 2, 0 }, { WIRE_WINDOW, 2, 8 },
	    { WIRE_DATA, 2, 0 }, { WIRE_FIN, 2, 8 }, { WIRE_WINDOW, 2, 3 },
	    { LAST, 2, 8 } },
	{ { WIRE_OPEN, 1, 1 }, { WIRE_DATA, 1, 0 }, { WIRE_FIN, 1, 8 },
	    { WIRE_WINDOW, 1, 3 }, { LAST, 1, 8 }, { WIRE_OPEN, 1, 1 },
	    { WIRE_DATA, 1, 0 }, { WIRE_RESET, 1, 8 } },
	{ { WIRE_FAILED, 2, 0 }, { WIRE_OPENED, 4, 8 }, { WIRE_RESET, 4, 8 },
	    { WIRE_OPEN, 1, 1 }, { WIRE_OPEN, 3, 0 }, { WIRE_RESET, 1, 8 },
	    { WIRE_OPEN, 1, 1 }, { WIRE_RESET, 3, 8 }, { WIRE_DATA, 1, 0 } },
	{ { WIRE_OPEN, 1, 1 }, { WIRE_DATA, 1, 0 }, { WIRE_WINDOW, 1, 6 },
	    { WIRE_DATA, 1, 0 }, { WIRE_FIN, 1, 8 }, { WIRE_RESET, 1, 8 },
	    { WIRE_OPEN, 1, 1 } },
};

static size_t
put_frame(uint8_t type, uint32_t channel, uint8_t *data)
{
	struct wire_message msg = { .type = type, .channel = channel };

	if (type == LAST) {
		msg.type = WIRE_FIN;
		msg.fin.last = 1;
	} else if (type == WIRE_OPEN) {
		strcpy(msg.open.tunnel, "ssh");
		strcpy(msg.open.source, "192.0.2.1:50000");
	} else if (type == WIRE_WINDOW || type == WIRE_OPENED) {
		msg.window.credit = 262144;
	} else if (type == WIRE_DATA) {
		wire_encode_data(data, channel, 8);
		memcpy(data + WIRE_HEADER_SIZE, "12345678", 8);
		return WIRE_HEADER_SIZE + 8;
	}
	return wire_encode(&msg, data, WIRE_FRAME_MAX);
}

size_t
fuzz_seed(unsigned index, uint8_t *data)
{
	unsigned n = (unsigned)sizeof types;
	const struct talk *talk;
	size_t len = 0, i;

	if (index < 4 * n)
		return put_frame(types[index % n], 1 + index / n, data);
	index -= 4 * n;
	if (index >= sizeof talks / sizeof *talks)
		return 0;
	for (i = 0; i < sizeof *talks / sizeof **talks; i++) {
		talk = &talks[index][i];
		if (talk->type == 0)
			break;
		n = (unsigned)put_frame(talk->type, talk->channel, data + len);
		data[len + 1] = (uint8_t)((talk->choice ^ talk->channel) << 1);
		len += n;
	}
	return len;
}
