/* SPDX-License-Identifier: ISC */
#include "wire.h"

#include <string.h>

/*
 * One table of fields for each type of message drives both directions, so
 * that what is written is what is read.
 */
enum wire_kind {
	WIRE_U8,
	WIRE_HINT, /* an u8 up to `max`; 0 if missing or beyond it */
	WIRE_U32,
	WIRE_HINT_U32, /* 0 if missing */
	WIRE_U64,
	WIRE_BYTES, /* exactly `size` */
	WIRE_NAME,  /* a valid name, unterminated on the wire */
	WIRE_TEXT   /* without NUL, at most size - 1, unterminated */
};

struct wire_field {
	uint8_t tag; /* 0 ends a table */
	uint8_t kind;
	uint16_t offset;  /* in struct wire_message */
	uint16_t size;	  /* of the member */
	uint8_t min, max; /* of an u8; max 0: any value */
};

#define WIRE_FIELD(tag, kind, member)                                 \
	{                                                             \
		(tag), (kind), offsetof(struct wire_message, member), \
		    sizeof(((struct wire_message *)0)->member), 0, 0  \
	}
#define WIRE_RANGE(tag, member, min, max)                                    \
	{                                                                    \
		(tag), WIRE_U8, offsetof(struct wire_message, member),       \
		    sizeof(((struct wire_message *)0)->member), (min), (max) \
	}
#define WIRE_HINTED(tag, member, max)                                    \
	{                                                                \
		(tag), WIRE_HINT, offsetof(struct wire_message, member), \
		    sizeof(((struct wire_message *)0)->member), 0, (max) \
	}
#define WIRE_END                 \
	{                        \
		0, 0, 0, 0, 0, 0 \
	}

static const struct wire_field wire_hello_fields[] = {
	WIRE_FIELD(1, WIRE_U8, hello.version_min),
	WIRE_FIELD(2, WIRE_U8, hello.version_max),
	WIRE_FIELD(3, WIRE_U32, hello.features),
	WIRE_RANGE(4, hello.security, WIRE_SECURITY_PLAIN, WIRE_SECURITY_TLS),
	WIRE_FIELD(5, WIRE_NAME, hello.name),
	WIRE_FIELD(6, WIRE_BYTES, hello.nonce),
	WIRE_FIELD(7, WIRE_BYTES, hello.instance),
	WIRE_FIELD(8, WIRE_U64, hello.epoch),
	WIRE_END,
};
static const struct wire_field wire_challenge_fields[] = {
	WIRE_FIELD(1, WIRE_U8, challenge.version),
	WIRE_FIELD(2, WIRE_U32, challenge.features),
	WIRE_FIELD(3, WIRE_NAME, challenge.name),
	WIRE_FIELD(4, WIRE_BYTES, challenge.nonce),
	WIRE_FIELD(5, WIRE_BYTES, challenge.mac),
	WIRE_END,
};
static const struct wire_field wire_proof_fields[] = {
	WIRE_FIELD(1, WIRE_BYTES, proof.mac),
	WIRE_END,
};
static const struct wire_field wire_welcome_fields[] = {
	WIRE_FIELD(1, WIRE_U8, welcome.version),
	WIRE_FIELD(2, WIRE_U32, welcome.features),
	WIRE_FIELD(3, WIRE_NAME, welcome.name),
	WIRE_FIELD(4, WIRE_BYTES, welcome.link_id),
	WIRE_END,
};
static const struct wire_field wire_refusal_fields[] = {
	WIRE_FIELD(1, WIRE_U8, refusal.code),
	WIRE_FIELD(2, WIRE_TEXT, refusal.text),
	WIRE_END,
};
static const struct wire_field wire_attach_fields[] = {
	WIRE_FIELD(1, WIRE_BYTES, attach.link_id),
	WIRE_FIELD(2, WIRE_U64, attach.serial),
	WIRE_RANGE(3, attach.opener, WIRE_OPENER_DIALLER, WIRE_OPENER_LANE),
	WIRE_FIELD(4, WIRE_BYTES, attach.mac),
	WIRE_END,
};
static const struct wire_field wire_attached_fields[] = {
	WIRE_FIELD(1, WIRE_BYTES, attached.mac),
	WIRE_END,
};
static const struct wire_field wire_ping_fields[] = {
	WIRE_FIELD(1, WIRE_U64, ping.token),
	WIRE_END,
};
static const struct wire_field wire_want_fields[] = {
	WIRE_FIELD(1, WIRE_U64, want.total),
	WIRE_END,
};
static const struct wire_field wire_close_fields[] = {
	WIRE_FIELD(1, WIRE_BYTES, close.uid),
	WIRE_FIELD(2, WIRE_U8, close.reason),
	WIRE_END,
};
static const struct wire_field wire_goaway_fields[] = {
	WIRE_HINTED(1, goaway.reason, WIRE_GOAWAY_ADMIN),
	WIRE_END,
};
static const struct wire_field wire_open_fields[] = {
	WIRE_FIELD(1, WIRE_BYTES, open.uid),
	WIRE_FIELD(2, WIRE_NAME, open.tunnel),
	WIRE_FIELD(3, WIRE_TEXT, open.source),
	WIRE_FIELD(4, WIRE_TEXT, open.target),
	WIRE_FIELD(5, WIRE_HINT_U32, open.window),
	WIRE_END,
};
static const struct wire_field wire_opened_fields[] = {
	WIRE_FIELD(1, WIRE_HINT_U32, opened.window),
	WIRE_END,
};
static const struct wire_field wire_lanes_fields[] = {
	WIRE_RANGE(1, lanes.count, 0, WIRE_LANES_MAX),
	WIRE_END,
};
static const struct wire_field wire_fin_fields[] = {
	WIRE_HINTED(1, fin.last, 1),
	WIRE_END,
};
static const struct wire_field wire_reset_fields[] = {
	WIRE_HINTED(1, reset.reason, WIRE_CLOSE_RELOAD),
	WIRE_END,
};
static const struct wire_field wire_window_fields[] = {
	WIRE_FIELD(1, WIRE_U32, window.credit),
	WIRE_END,
};
static const struct wire_field wire_no_fields[] = { WIRE_END };

static const struct wire_type_row {
	const char *name;
	const struct wire_field *fields;
} wire_types[] = {
	[WIRE_HELLO] = { "HELLO", wire_hello_fields },
	[WIRE_CHALLENGE] = { "CHALLENGE", wire_challenge_fields },
	[WIRE_PROOF] = { "PROOF", wire_proof_fields },
	[WIRE_WELCOME] = { "WELCOME", wire_welcome_fields },
	[WIRE_REJECT] = { "REJECT", wire_refusal_fields },
	[WIRE_ATTACH] = { "ATTACH", wire_attach_fields },
	[WIRE_ATTACHED] = { "ATTACHED", wire_attached_fields },
	[WIRE_PING] = { "PING", wire_ping_fields },
	[WIRE_PONG] = { "PONG", wire_ping_fields },
	[WIRE_WANT] = { "WANT", wire_want_fields },
	[WIRE_RETIRE] = { "RETIRE", wire_no_fields },
	[WIRE_CLOSE] = { "CLOSE", wire_close_fields },
	[WIRE_GOAWAY] = { "GOAWAY", wire_goaway_fields },
	[WIRE_OPEN] = { "OPEN", wire_open_fields },
	[WIRE_LANES] = { "LANES", wire_lanes_fields },
	[WIRE_OPENED] = { "OPENED", wire_opened_fields },
	[WIRE_FAILED] = { "FAILED", wire_refusal_fields },
	[WIRE_DATA] = { "DATA", NULL },
	[WIRE_FIN] = { "FIN", wire_fin_fields },
	[WIRE_RESET] = { "RESET", wire_reset_fields },
	[WIRE_WINDOW] = { "WINDOW", wire_window_fields },
	[WIRE_ACK] = { "ACK", NULL },
	[WIRE_RESUME] = { "RESUME", NULL },
	[WIRE_RESUMED] = { "RESUMED", NULL },
};

static const struct wire_type_row *
wire_row(uint8_t type)
{
	if (type >= sizeof wire_types / sizeof *wire_types ||
	    wire_types[type].name == NULL)
		return NULL;
	return &wire_types[type];
}

const char *
wire_type_name(uint8_t type)
{
	const struct wire_type_row *row = wire_row(type);

	return row == NULL ? "unknown frame" : row->name;
}

static uint64_t
wire_get(const uint8_t *data, size_t len)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < len; i++)
		value = value << 8 | data[i];
	return value;
}

static void
wire_put(uint8_t *data, size_t len, uint64_t value)
{
	while (len-- > 0) {
		data[len] = (uint8_t)value;
		value >>= 8;
	}
}

/* How many bytes a field has on the wire; for strings, at most. */
static size_t
wire_width(const struct wire_field *field)
{
	return field->kind == WIRE_NAME || field->kind == WIRE_TEXT ?
	    (size_t)field->size - 1 :
	    field->size;
}

/* --- decoding ------------------------------------------------------------ */

static bool
wire_decode_field(const struct wire_field *field, const uint8_t *data,
    size_t len, struct wire_message *out)
{
	uint8_t *member = (uint8_t *)out + field->offset;
	uint32_t u32;
	uint64_t u64;

	switch (field->kind) {
	case WIRE_NAME:
		if (!name_is_valid((const char *)data, len))
			return false;
		break;
	case WIRE_TEXT:
		if (len > wire_width(field) || memchr(data, 0, len) != NULL)
			return false;
		break;
	default:
		if (len != field->size)
			return false;
	}
	switch (field->kind) {
	case WIRE_U8:
		if (field->max != 0 &&
		    (data[0] < field->min || data[0] > field->max))
			return false;
		*member = data[0];
		break;
	case WIRE_HINT:
		*member = data[0] <= field->max ? data[0] : 0;
		break;
	case WIRE_U32:
	case WIRE_HINT_U32:
		u32 = (uint32_t)wire_get(data, len);
		memcpy(member, &u32, sizeof u32);
		break;
	case WIRE_U64:
		u64 = wire_get(data, len);
		memcpy(member, &u64, sizeof u64);
		break;
	default: /* strings end with the zeros that were there before */
		memcpy(member, data, len);
	}
	return true;
}

/* Every known tag once, hints at most once, unknown ones skipped. */
static bool
wire_decode_payload(const struct wire_field *fields, const uint8_t *data,
    size_t len, struct wire_message *out)
{
	const struct wire_field *field;
	uint32_t seen = 0, all = 0;
	size_t size;

	for (field = fields; field->tag != 0; field++)
		if (field->kind != WIRE_HINT && field->kind != WIRE_HINT_U32)
			all |= (uint32_t)1 << field->tag;
	while (len > 0) {
		if (len < 3)
			return false;
		size = (size_t)wire_get(data + 1, 2);
		if (size > len - 3)
			return false;
		for (field = fields; field->tag != 0; field++)
			if (field->tag == data[0])
				break;
		if (field->tag != 0) {
			if ((seen & (uint32_t)1 << field->tag) != 0 ||
			    !wire_decode_field(field, data + 3, size, out))
				return false;
			seen |= (uint32_t)1 << field->tag;
		}
		data += 3 + size;
		len -= 3 + size;
	}
	return (seen & all) == all;
}

enum wire_result
wire_decode(const uint8_t *data, size_t len, struct wire_message *out,
    size_t *used)
{
	const struct wire_type_row *row;
	struct wire_message msg;
	size_t length;

	if (len < WIRE_HEADER_SIZE)
		return WIRE_NEED_MORE;
	length = (size_t)wire_get(data + 2, 2);
	if (length > WIRE_CONTROL_MAX)
		return WIRE_BAD;
	if (len < WIRE_HEADER_SIZE + length)
		return WIRE_NEED_MORE;
	memset(&msg, 0, sizeof msg);
	msg.type = data[0];
	msg.channel = (uint32_t)wire_get(data + 4, 4);
	row = wire_row(msg.type);
	if (row != NULL && row->fields != NULL &&
	    !wire_decode_payload(row->fields, data + WIRE_HEADER_SIZE, length,
		&msg))
		return WIRE_BAD;
	*out = msg;
	*used = WIRE_HEADER_SIZE + length;
	return WIRE_OK;
}

void
wire_decode_header(const uint8_t *data, struct wire_header *out)
{
	out->type = data[0];
	out->length = (uint32_t)wire_get(data + 2, 2);
	if (out->type == WIRE_DATA)
		out->length |= (uint32_t)data[1] << 16;
	out->channel = (uint32_t)wire_get(data + 4, 4);
}

/* --- encoding ------------------------------------------------------------ */

static size_t
wire_encode_field(const struct wire_field *field,
    const struct wire_message *msg, uint8_t *out)
{
	const uint8_t *member = (const uint8_t *)msg + field->offset;
	size_t len = wire_width(field);
	uint32_t u32;
	uint64_t u64;

	switch (field->kind) {
	case WIRE_HINT:
		if (*member == 0)
			return 0;
		out[3] = *member;
		break;
	case WIRE_U32:
	case WIRE_HINT_U32:
		memcpy(&u32, member, sizeof u32);
		if (u32 == 0 && field->kind == WIRE_HINT_U32)
			return 0;
		wire_put(out + 3, len, u32);
		break;
	case WIRE_U64:
		memcpy(&u64, member, sizeof u64);
		wire_put(out + 3, len, u64);
		break;
	case WIRE_NAME:
	case WIRE_TEXT:
		len = strnlen((const char *)member, len);
		/* fall through */
	default:
		memcpy(out + 3, member, len);
	}
	out[0] = field->tag;
	wire_put(out + 1, 2, len);
	return 3 + len;
}

size_t
wire_encode(const struct wire_message *msg, uint8_t *buf, size_t size)
{
	const struct wire_type_row *row = wire_row(msg->type);
	const struct wire_field *field;
	size_t len = WIRE_HEADER_SIZE;

	if (size < WIRE_FRAME_MAX)
		return 0;
	for (field = row == NULL || row->fields == NULL ? wire_no_fields :
							  row->fields;
	     field->tag != 0; field++)
		len += wire_encode_field(field, msg, buf + len);
	buf[0] = msg->type;
	buf[1] = 0;
	wire_put(buf + 2, 2, len - WIRE_HEADER_SIZE);
	wire_put(buf + 4, 4, msg->channel);
	return len;
}

void
wire_encode_data(uint8_t *data, uint32_t channel, size_t length)
{
	data[0] = WIRE_DATA;
	wire_put(data + 1, 3, length);
	wire_put(data + 4, 4, channel);
}
