/* SPDX-License-Identifier: ISC */
#include "fuzz_mux.h"

#include <string.h>

/* What an opener says, and an answering end, in some order. */
static const uint8_t types[] = { WIRE_OPEN, WIRE_OPENED, WIRE_FAILED, WIRE_DATA,
	WIRE_FIN, WIRE_RESET, WIRE_WINDOW };

/* Whole lives of channels. 2 and 4 are ours, in the places 0 and 1; the others
 * have the next ones. MUCH: of the choice of a call, 256 KiB; MANY: 4 KiB. */
#define LAST 0x70 /* FIN with `last` */
#define BULK 0x71 /* DATA of 128 KiB */
#define C(name) (CALL + CALL_##name)
#define MUCH 0xc0
#define MANY 0x80
static const struct talk {
	uint8_t byte, with; /* a frame's type and channel; a call, its choice */
} talks[][24] = {
	{ { WIRE_OPENED, 2 }, { C(SEND), MUCH }, { WIRE_DATA, 2 },
	    { C(READ), 0 }, { WIRE_WINDOW, 2 }, { C(SEND), MUCH },
	    { WIRE_DATA, 2 }, { C(FINISH), 0 }, { C(EMIT), 0 }, { WIRE_FIN, 2 },
	    { C(SEND), 0 }, { C(EMIT), 0 }, { C(READ), MUCH },
	    { C(READ), MUCH }, { LAST, 2 }, { C(READ), 0 }, { C(CLOSE), 0 } },
	{ { WIRE_OPEN, 1 }, { WIRE_DATA, 1 }, { C(ANSWER), 2 }, { C(EMIT), 0 },
	    { C(SEND), MANY | 2 }, { C(WAIT), 2 }, { WIRE_OPENED, 2 },
	    { C(SEND), MUCH }, { C(WAIT), 0 }, { C(ROUND), MANY | 9 },
	    { WIRE_FIN, 1 }, { C(ROUND), 9 }, { C(READ), MUCH | 2 },
	    { C(FINISH), 2 }, { C(EMIT), 0 }, { LAST, 1 }, { WIRE_OPEN, 1 } },
	{ { WIRE_OPENED, 2 }, { BULK, 2 }, { C(READ), MUCH }, { C(READ), MUCH },
	    { BULK, 2 }, { C(READ), MUCH }, { C(READ), MUCH }, { C(EMIT), 0 },
	    { BULK, 2 }, { C(READ), MUCH }, { C(READ), MUCH }, { C(AGE), 11 },
	    { BULK, 2 }, { C(PIPE), 0 }, { C(WAIT), 0 }, { C(FINISH), 0 },
	    { C(EVICT), 0 }, { C(ROUND), 9 }, { WIRE_DATA, 2 }, { C(READ), 0 },
	    { WIRE_RESET, 2 } },
	{ { WIRE_OPENED, 2 }, { WIRE_OPENED, 4 }, { BULK, 4 }, { BULK, 2 },
	    { WIRE_OPEN, 1 }, { C(ANSWER), 2 }, { BULK, 1 }, { BULK, 1 },
	    { C(EVICT), 0 }, { BULK, 2 }, { C(READ), MUCH }, { C(READ), MUCH },
	    { C(EMIT), 0 }, { WIRE_OPEN, 3 }, { C(ANSWER), 3 }, { C(OPEN), 0 },
	    { C(EMIT), 0 } },
	{ { WIRE_OPENED, 2 }, { C(FINISH), 0 }, { C(EMIT), 0 }, { C(SEND), 0 },
	    { WIRE_FIN, 2 }, { C(READ), 0 }, { WIRE_DATA, 2 } },
	{ { WIRE_FAILED, 2 }, { WIRE_OPENED, 4 }, { WIRE_RESET, 4 },
	    { C(EMIT), 0 }, { WIRE_OPEN, 1 }, { WIRE_OPEN, 3 },
	    { C(ANSWER), 7 }, { WIRE_RESET, 1 }, { C(EMIT), 0 },
	    { WIRE_OPEN, 1 }, { C(OPEN), 0 }, { C(FINISH), 0 },
	    { WIRE_RESET, 3 }, { C(CLOSE), 1 }, { WIRE_DATA, 1 } },
};

static size_t
put_frame(uint8_t type, uint32_t channel, uint8_t *data)
{
	struct wire_message msg = { .type = type, .channel = channel };

	if (type >= CALL) {
		data[0] = type;
		data[1] = (uint8_t)channel;
		return 2;
	}
	if (type == WIRE_DATA || type == BULK) {
		wire_encode_data(data, channel, type == BULK ? 131072 : 8);
		return WIRE_HEADER_SIZE;
	}
	if (type == LAST) {
		msg.type = WIRE_FIN;
		msg.fin.last = 1;
	} else if (type == WIRE_OPEN) {
		strcpy(msg.open.tunnel, "ssh");
		strcpy(msg.open.source, "192.0.2.1:50000");
	} else if (type == WIRE_WINDOW || type == WIRE_OPENED) {
		msg.window.credit = 262144;
	}
	return wire_encode(&msg, data, WIRE_FRAME_MAX);
}

size_t
fuzz_seed(unsigned index, uint8_t *data)
{
	unsigned n = (unsigned)sizeof types;
	size_t len = 0;

	if (index < 4 * n)
		return put_frame(types[index % n], 1 + index / n, data);
	index -= 4 * n;
	if (index >= sizeof talks / sizeof *talks)
		return 0;
	for (size_t i = 0; i < sizeof *talks / sizeof **talks; i++)
		if (talks[index][i].byte != 0)
			len += put_frame(talks[index][i].byte,
			    talks[index][i].with, data + len);
	return len;
}
