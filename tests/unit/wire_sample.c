/* SPDX-License-Identifier: ISC */
/*
 * What a message looks like as bytes is written down here a second time, by
 * hand, from wire.h: the tables of wire.c are not trusted.
 */
#include "wire_sample.h"

#include <stdlib.h>

const uint8_t sample_types[SAMPLE_TYPES] = { WIRE_HELLO, WIRE_CHALLENGE,
	WIRE_PROOF, WIRE_WELCOME, WIRE_REJECT, WIRE_ATTACH, WIRE_ATTACHED,
	WIRE_PING, WIRE_PONG, WIRE_WANT, WIRE_RETIRE, WIRE_CLOSE, WIRE_GOAWAY,
	WIRE_OPEN, WIRE_OPENED, WIRE_FAILED, WIRE_LANES, WIRE_FIN, WIRE_RESET,
	WIRE_WINDOW };
const uint8_t sample_opaque[SAMPLE_OPAQUE] = { WIRE_DATA, WIRE_ACK, WIRE_RESUME,
	WIRE_RESUMED };

bool
sample_is_hint(uint8_t type, uint8_t tag)
{
	return type == WIRE_GOAWAY || type == WIRE_FIN || type == WIRE_RESET ||
	    type == WIRE_OPENED || (type == WIRE_OPEN && tag == 5);
}

/* --- Frames by hand ------------------------------------------------------ */

void
sample_begin(struct sample *frame, uint8_t type, uint32_t channel)
{
	memset(frame, 0, sizeof *frame);
	frame->bytes[0] = type;
	for (int i = 0; i < 4; i++)
		frame->bytes[4 + i] = (uint8_t)(channel >> (24 - 8 * i));
	frame->len = WIRE_HEADER_SIZE;
}

/* Puts the length into the header, however long it is. */
void
sample_finish(struct sample *frame)
{
	size_t length = frame->len - WIRE_HEADER_SIZE;

	frame->bytes[2] = (uint8_t)(length >> 8);
	frame->bytes[3] = (uint8_t)length;
}

void
sample_add(struct sample *frame, uint8_t tag, const void *data, size_t len)
{
	uint8_t *p = frame->bytes + frame->len;

	ck_assert_uint_le(frame->len + SAMPLE_FIELD_HEADER + len,
	    sizeof frame->bytes);
	p[0] = tag;
	p[1] = (uint8_t)(len >> 8);
	p[2] = (uint8_t)len;
	memcpy(p + SAMPLE_FIELD_HEADER, data, len);
	frame->len += SAMPLE_FIELD_HEADER + len;
	sample_finish(frame);
}

static void
add_number(struct sample *frame, uint8_t tag, size_t width, uint64_t value)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> 8 * (width - 1 - i));
	sample_add(frame, tag, bytes, width);
}

static void
add_text(struct sample *frame, uint8_t tag, const char *text)
{
	sample_add(frame, tag, text, strlen(text));
}

/* --- A message of each type, as a struct and as bytes -------------------- */

static void
sample_fill(uint8_t *bytes, size_t len, uint8_t from)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(from + i);
}

static void
sample_handshake(uint8_t type, struct wire_message *msg, struct sample *frame)
{
	struct wire_hello *hello = &msg->hello;
	struct wire_challenge *challenge = &msg->challenge;

	if (type == WIRE_HELLO) {
		hello->version_min = 1;
		hello->version_max = 200;
		hello->features = 0xa1b2c3d4;
		hello->security = WIRE_SECURITY_TLS;
		strcpy(hello->name, "homelab");
		sample_fill(hello->nonce, WIRE_NONCE_SIZE, 0);
		sample_fill(hello->instance, WIRE_INSTANCE_SIZE, 0xf0);
		hello->epoch = UINT64_C(0x0102030405060708);
		add_number(frame, 1, 1, 1);
		add_number(frame, 2, 1, 200);
		add_number(frame, 3, 4, 0xa1b2c3d4);
		add_number(frame, 4, 1, 2);
		add_text(frame, 5, "homelab");
		sample_add(frame, 6, hello->nonce, 32);
		sample_add(frame, 7, hello->instance, 16);
		add_number(frame, 8, 8, UINT64_C(0x0102030405060708));
	} else {
		challenge->version = 7;
		challenge->features = 1;
		strcpy(challenge->name, "edge1");
		sample_fill(challenge->nonce, WIRE_NONCE_SIZE, 1);
		sample_fill(challenge->mac, WIRE_MAC_SIZE, 2);
		add_number(frame, 1, 1, 7);
		add_number(frame, 2, 4, 1);
		add_text(frame, 3, "edge1");
		sample_add(frame, 4, challenge->nonce, 32);
		sample_add(frame, 5, challenge->mac, 32);
	}
}

static void
sample_channel(uint8_t type, struct wire_message *msg, struct sample *frame)
{
	struct wire_attach *attach = &msg->attach;
	struct wire_open *open = &msg->open;

	if (type == WIRE_ATTACH) {
		sample_fill(attach->link_id, WIRE_LINK_ID_SIZE, 3);
		attach->serial = UINT64_MAX - 1;
		attach->opener = WIRE_OPENER_GATEWAY;
		sample_fill(attach->mac, WIRE_MAC_SIZE, 4);
		sample_add(frame, 1, attach->link_id, 16);
		add_number(frame, 2, 8, UINT64_MAX - 1);
		add_number(frame, 3, 1, 2);
		sample_add(frame, 4, attach->mac, 32);
	} else {
		sample_fill(open->uid, WIRE_UID_SIZE, 5);
		strcpy(open->tunnel, "ssh");
		strcpy(open->source, "[2001:db8::1]:50000");
		strcpy(open->target, "");
		sample_add(frame, 1, open->uid, 16);
		add_text(frame, 2, "ssh");
		add_text(frame, 3, "[2001:db8::1]:50000");
		add_text(frame, 4, "");
		open->window = 0x00040000;
		add_number(frame, 5, 4, 0x00040000);
	}
}

static void
sample_mux(uint8_t type, struct wire_message *msg, struct sample *frame)
{
	switch (type) {
	case WIRE_LANES:
		msg->lanes.count = 16;
		add_number(frame, 1, 1, 16);
		break;
	case WIRE_FIN:
		msg->fin.last = 1;
		add_number(frame, 1, 1, 1);
		break;
	case WIRE_RESET:
		msg->reset.reason = WIRE_CLOSE_RELOAD;
		add_number(frame, 1, 1, 2);
		break;
	case WIRE_OPENED:
		msg->opened.window = 0xfffefdfc;
		add_number(frame, 1, 4, 0xfffefdfc);
		break;
	default:
		msg->window.credit = 0x01020304;
		add_number(frame, 1, 4, 0x01020304);
	}
}

static void
sample_welcome(struct wire_message *msg, struct sample *frame)
{
	struct wire_welcome *welcome = &msg->welcome;

	welcome->version = 1;
	welcome->features = 0x80000000;
	strcpy(welcome->name, "a.b-c_D");
	sample_fill(welcome->link_id, WIRE_LINK_ID_SIZE, 6);
	add_number(frame, 1, 1, 1);
	add_number(frame, 2, 4, 0x80000000);
	add_text(frame, 3, "a.b-c_D");
	sample_add(frame, 4, welcome->link_id, 16);
}

void
sample_make(uint8_t type, struct wire_message *msg, struct sample *frame)
{
	memset(msg, 0, sizeof *msg);
	msg->type = type;
	msg->channel = 0x00010203;
	sample_begin(frame, type, msg->channel);
	switch (type) {
	case WIRE_HELLO:
	case WIRE_CHALLENGE:
		sample_handshake(type, msg, frame);
		break;
	case WIRE_ATTACH:
	case WIRE_OPEN:
		sample_channel(type, msg, frame);
		break;
	case WIRE_LANES:
	case WIRE_FIN:
	case WIRE_RESET:
	case WIRE_OPENED:
	case WIRE_WINDOW:
		sample_mux(type, msg, frame);
		break;
	case WIRE_WELCOME:
		sample_welcome(msg, frame);
		break;
	case WIRE_PROOF:
	case WIRE_ATTACHED: /* the same bytes in the same place */
		sample_fill(type == WIRE_PROOF ? msg->proof.mac :
						 msg->attached.mac,
		    WIRE_MAC_SIZE, 7);
		sample_add(frame, 1, msg->proof.mac, 32);
		break;
	case WIRE_REJECT:
	case WIRE_FAILED:
		msg->refusal.code = 250;
		strcpy(msg->refusal.text, "name or secret refused\n\xff");
		add_number(frame, 1, 1, 250);
		add_text(frame, 2, "name or secret refused\n\xff");
		break;
	case WIRE_PING:
	case WIRE_PONG:
		msg->ping.token = UINT64_C(0xfedcba9876543210);
		add_number(frame, 1, 8, UINT64_C(0xfedcba9876543210));
		break;
	case WIRE_WANT:
		msg->want.total = 77;
		add_number(frame, 1, 8, 77);
		break;
	case WIRE_CLOSE:
		sample_fill(msg->close.uid, WIRE_UID_SIZE, 8);
		msg->close.reason = WIRE_CLOSE_KILLED;
		sample_add(frame, 1, msg->close.uid, 16);
		add_number(frame, 2, 1, 1);
		break;
	case WIRE_GOAWAY:
		msg->goaway.reason = WIRE_GOAWAY_UPGRADE;
		add_number(frame, 1, 1, 2);
		break;
	default: /* nothing in it */
		break;
	}
}

/* Decodes a copy that ends where it ends, so that a sanitizer sees more. */
enum wire_result
sample_decode(const uint8_t *data, size_t len, struct wire_message *out,
    size_t *used)
{
	uint8_t *copy = malloc(len == 0 ? 1 : len);
	enum wire_result result;

	memcpy(copy, data, len);
	result = wire_decode(copy, len, out, used);
	free(copy);
	return result;
}

/* The result; what is refused leaves *out and *used alone. */
enum wire_result
sample_decode_frame(const struct sample *frame, struct wire_message *out)
{
	struct wire_message before;
	size_t used = 4711;
	enum wire_result result;

	memset(out, 0xa5, sizeof *out);
	memset(&before, 0xa5, sizeof before);
	result = sample_decode(frame->bytes, frame->len, out, &used);
	if (result == WIRE_OK) {
		ck_assert_uint_eq(used, frame->len);
	} else {
		ck_assert_uint_eq(used, 4711);
		ck_assert_mem_eq(out, &before, sizeof before);
	}
	return result;
}

void
sample_assert_bad(const struct sample *frame)
{
	struct wire_message msg;

	ck_assert_int_eq(sample_decode_frame(frame, &msg), WIRE_BAD);
}

/* Where the fields of a frame begin; *n is their number. */
void
sample_fields(const struct sample *frame, size_t at[SAMPLE_FIELDS], size_t *n)
{
	size_t i = WIRE_HEADER_SIZE;

	*n = 0;
	while (i < frame->len) {
		at[(*n)++] = i;
		i += SAMPLE_FIELD_HEADER +
		    ((size_t)frame->bytes[i + 1] << 8 | frame->bytes[i + 2]);
	}
	at[*n] = frame->len;
}

/* The frame without its field number `without`. */
struct sample
sample_without(const struct sample *frame, size_t without)
{
	struct sample result;
	size_t at[SAMPLE_FIELDS], n;

	sample_fields(frame, at, &n);
	sample_begin(&result, frame->bytes[0], 0);
	for (size_t i = 0; i < n; i++)
		if (i != without)
			sample_add(&result, frame->bytes[at[i]],
			    frame->bytes + at[i] + SAMPLE_FIELD_HEADER,
			    at[i + 1] - at[i] - SAMPLE_FIELD_HEADER);
	sample_finish(&result);
	return result;
}

void
sample_assert_same(const struct wire_message *a, const struct wire_message *b)
{
	ck_assert_uint_eq(a->type, b->type);
	ck_assert_mem_eq(&a->hello, &b->hello,
	    sizeof *a - offsetof(struct wire_message, hello));
}
