/* SPDX-License-Identifier: ISC */
/* Frames: what their members may be, and nonsense. */
#include "wire_sample.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

START_TEST(long_frames_are_bad_at_once)
{
	struct wire_message msg;
	struct sample frame;
	size_t used;

	for (int type = 0; type < 256; type++) {
		sample_begin(&frame, (uint8_t)type, 0);
		frame.bytes[2] = WIRE_CONTROL_MAX >> 8;
		frame.bytes[3] = WIRE_CONTROL_MAX & 0xff;
		for (size_t len = 0; len < WIRE_FRAME_MAX; len += 8)
			ck_assert_int_eq(sample_decode(frame.bytes, len, &msg,
					     &used),
			    WIRE_NEED_MORE);
		frame.bytes[3]++;
		ck_assert_int_eq(sample_decode(frame.bytes, 7, &msg, &used),
		    WIRE_NEED_MORE);
		sample_assert_bad(&frame);
		frame.bytes[2] = frame.bytes[3] = 0xff;
		sample_assert_bad(&frame);
	}
}
END_TEST

START_TEST(unknown_types_are_left_to_the_caller)
{
	struct wire_message msg, zero;
	struct sample frame;
	int unknown = 0;

	memset(&zero, 0, sizeof zero);
	for (int type = 0; type < 256; type++) {
		if (memchr(sample_types, type, SAMPLE_TYPES) != NULL)
			continue;
		if (memchr(sample_opaque, type, SAMPLE_OPAQUE) == NULL)
			ck_assert_str_eq(wire_type_name((uint8_t)type),
			    "unknown frame");
		unknown++;
		zero.type = (uint8_t)type;
		sample_begin(&frame, (uint8_t)type, 0xfffffffe);
		memset(frame.bytes + WIRE_HEADER_SIZE, 0xff, WIRE_CONTROL_MAX);
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(sample_decode_frame(&frame, &msg),
			    WIRE_OK);
			ck_assert_uint_eq(msg.channel, 0xfffffffe);
			sample_assert_same(&msg, &zero);
			frame.len = WIRE_FRAME_MAX;
			sample_finish(&frame);
		}
	}
	ck_assert_int_eq(unknown, 256 - (int)SAMPLE_TYPES);
}
END_TEST

START_TEST(type_names)
{
	static const char *const names[] = { "HELLO", "CHALLENGE", "PROOF",
		"WELCOME", "REJECT", "ATTACH", "ATTACHED", "PING", "PONG",
		"WANT", "RETIRE", "CLOSE", "GOAWAY", "OPEN", "OPENED", "FAILED",
		"LANES", "FIN", "RESET", "WINDOW" };
	static const char *const opaque[] = { "DATA", "ACK", "RESUME",
		"RESUMED" };

	for (size_t i = 0; i < SAMPLE_OPAQUE; i++)
		ck_assert_str_eq(wire_type_name(sample_opaque[i]), opaque[i]);
	for (size_t i = 0; i < SAMPLE_TYPES; i++) {
		ck_assert_str_eq(wire_type_name(sample_types[i]), names[i]);
		/* Told apart from TLS and HTTP by the first byte. */
		ck_assert_uint_ne(sample_types[i], 0x16);
		ck_assert(sample_types[i] < 'A' || sample_types[i] > 'Z');
	}
}
END_TEST

/* The sample of a type with one field replaced. */
static enum wire_result
replaced(uint8_t type, uint8_t tag, const void *data, size_t len)
{
	struct wire_message msg;
	struct sample frame, other;
	size_t at[SAMPLE_FIELDS], n;

	sample_make(type, &msg, &frame);
	sample_fields(&frame, at, &n);
	for (size_t i = 0; i < n; i++) {
		if (frame.bytes[at[i]] != tag)
			continue;
		other = sample_without(&frame, i);
		sample_add(&other, tag, data, len);
		return sample_decode_frame(&other, &msg);
	}
	ck_abort_msg("no such field");
}

START_TEST(names)
{
	static const struct {
		uint8_t type, tag;
	} rows[] = { { WIRE_HELLO, 5 }, { WIRE_CHALLENGE, 3 },
		{ WIRE_WELCOME, 3 }, { WIRE_OPEN, 2 } };
	char name[NAME_SIZE + 1];

	memset(name, 'n', sizeof name);
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t type = rows[i].type, tag = rows[i].tag;

		for (size_t len = 1; len <= NAME_MAX_LENGTH; len++)
			ck_assert_int_eq(replaced(type, tag, name, len),
			    WIRE_OK);
		ck_assert_int_eq(replaced(type, tag, "", 0), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, name, NAME_SIZE),
		    WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "a b", 3), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "a/b", 3), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "a\0b", 3), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "ab\0", 3), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "\0", 1), WIRE_BAD);
		ck_assert_int_eq(replaced(type, tag, "\303\244", 2), WIRE_BAD);
	}
}
END_TEST

START_TEST(texts)
{
	static const struct {
		uint8_t type, tag;
		size_t max;
	} rows[] = { { WIRE_REJECT, 2, WIRE_TEXT_SIZE - 1 },
		{ WIRE_FAILED, 2, WIRE_TEXT_SIZE - 1 },
		{ WIRE_OPEN, 3, ADDR_TEXT_SIZE - 1 },
		{ WIRE_OPEN, 4, ADDR_TEXT_SIZE - 1 } };
	char text[ADDR_TEXT_SIZE + 1];

	for (size_t i = 0; i < COUNT(rows); i++) {
		uint8_t type = rows[i].type, tag = rows[i].tag;
		size_t max = rows[i].max;

		memset(text, 0xff, sizeof text);
		for (size_t len = 0; len <= max; len++)
			ck_assert_int_eq(replaced(type, tag, text, len),
			    WIRE_OK);
		ck_assert_int_eq(replaced(type, tag, text, max + 1), WIRE_BAD);
		for (size_t at = 0; at < max; at++) {
			text[at] = '\0';
			ck_assert_int_eq(replaced(type, tag, text, max),
			    WIRE_BAD);
			text[at] = 'x';
		}
	}
}
END_TEST

/* Of a later version, or of one that did not say why yet. */
START_TEST(hints)
{
	struct wire_message out;
	struct sample frame;
	uint8_t reason;

	sample_begin(&frame, WIRE_GOAWAY, 0);
	ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
	ck_assert_uint_eq(out.goaway.reason, WIRE_GOAWAY_UNKNOWN);
	for (int i = 0; i < 256; i++) {
		reason = (uint8_t)i;
		sample_begin(&frame, WIRE_GOAWAY, 0);
		sample_add(&frame, 1, &reason, 1);
		ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
		ck_assert_uint_eq(out.goaway.reason,
		    i <= WIRE_GOAWAY_ADMIN ? i : WIRE_GOAWAY_UNKNOWN);
	}
	sample_begin(&frame, WIRE_FIN, 1);
	ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
	ck_assert_uint_eq(out.fin.last, 0);
	sample_begin(&frame, WIRE_OPENED, 1);
	ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
	ck_assert_uint_eq(out.opened.window, 0);
	/* As every version before said it. */
	out = (struct wire_message){ .type = WIRE_GOAWAY };
	ck_assert_uint_eq(wire_encode(&out, frame.bytes, sizeof frame.bytes),
	    WIRE_HEADER_SIZE);
}
END_TEST

START_TEST(small_numbers)
{
	for (int i = 0; i < 256; i++) {
		uint8_t value = (uint8_t)i;

		ck_assert_int_eq(replaced(WIRE_HELLO, 4, &value, 1),
		    i == 1 || i == 2 ? WIRE_OK : WIRE_BAD);
		ck_assert_int_eq(replaced(WIRE_ATTACH, 3, &value, 1),
		    i >= 1 && i <= 3 ? WIRE_OK : WIRE_BAD);
		ck_assert_int_eq(replaced(WIRE_LANES, 1, &value, 1),
		    i <= WIRE_LANES_MAX ? WIRE_OK : WIRE_BAD);
		/* Codes that later versions bring are kept. */
		ck_assert_int_eq(replaced(WIRE_REJECT, 1, &value, 1), WIRE_OK);
		ck_assert_int_eq(replaced(WIRE_FAILED, 1, &value, 1), WIRE_OK);
		ck_assert_int_eq(replaced(WIRE_CLOSE, 2, &value, 1), WIRE_OK);
		ck_assert_int_eq(replaced(WIRE_HELLO, 1, &value, 1), WIRE_OK);
	}
}
END_TEST

START_TEST(longest_messages_fit)
{
	struct wire_message msg, out;
	uint8_t buf[WIRE_FRAME_MAX + 1];
	size_t len, used;

	for (size_t i = 0; i < SAMPLE_TYPES; i++) {
		struct sample frame;

		sample_make(sample_types[i], &msg, &frame);
		switch (sample_types[i]) {
		case WIRE_HELLO:
			memset(msg.hello.name, 'h', NAME_MAX_LENGTH);
			break;
		case WIRE_CHALLENGE:
			memset(msg.challenge.name, 'c', NAME_MAX_LENGTH);
			break;
		case WIRE_WELCOME:
			memset(msg.welcome.name, 'w', NAME_MAX_LENGTH);
			break;
		case WIRE_REJECT:
		case WIRE_FAILED:
			memset(msg.refusal.text, 't', WIRE_TEXT_SIZE - 1);
			break;
		case WIRE_OPEN:
			memset(msg.open.tunnel, 't', NAME_MAX_LENGTH);
			memset(msg.open.source, 's', ADDR_TEXT_SIZE - 1);
			memset(msg.open.target, 'd', ADDR_TEXT_SIZE - 1);
			break;
		default:
			break;
		}
		buf[WIRE_FRAME_MAX] = 0x5a;
		len = wire_encode(&msg, buf, WIRE_FRAME_MAX);
		ck_assert_uint_le(len, WIRE_FRAME_MAX);
		ck_assert_uint_eq(buf[WIRE_FRAME_MAX], 0x5a);
		ck_assert_int_eq(sample_decode(buf, len, &out, &used), WIRE_OK);
		sample_assert_same(&out, &msg);
	}
}
END_TEST

/* Cut, not read past: the caller forgot to terminate. */
START_TEST(unterminated_texts_are_cut)
{
	struct wire_message msg, out;
	struct sample frame;
	uint8_t buf[WIRE_FRAME_MAX];
	size_t len, used;

	sample_make(WIRE_OPEN, &msg, &frame);
	memset(msg.open.tunnel, 't', sizeof msg.open.tunnel);
	memset(msg.open.source, 's', sizeof msg.open.source);
	memset(msg.open.target, 'd', sizeof msg.open.target);
	len = wire_encode(&msg, buf, sizeof buf);
	ck_assert_int_eq(sample_decode(buf, len, &out, &used), WIRE_OK);
	ck_assert_uint_eq(strlen(out.open.tunnel), NAME_MAX_LENGTH);
	ck_assert_uint_eq(strlen(out.open.source), ADDR_TEXT_SIZE - 1);
	ck_assert_uint_eq(strlen(out.open.target), ADDR_TEXT_SIZE - 1);
}
END_TEST

START_TEST(frames_one_behind_the_other)
{
	struct sample all = { .len = 0 }, frame;
	struct wire_message msg;
	size_t at = 0, used;

	for (size_t i = 0; i < SAMPLE_TYPES; i++) {
		sample_make(sample_types[i], &msg, &frame);
		ck_assert_uint_le(all.len + frame.len, sizeof all.bytes);
		memcpy(all.bytes + all.len, frame.bytes, frame.len);
		all.len += frame.len;
	}
	for (size_t i = 0; i < SAMPLE_TYPES; i++) {
		ck_assert_int_eq(sample_decode(all.bytes + at, all.len - at,
				     &msg, &used),
		    WIRE_OK);
		ck_assert_uint_eq(msg.type, sample_types[i]);
		at += used;
	}
	ck_assert_uint_eq(at, all.len);
}
END_TEST

/* The one frame that is not read as a whole. */
START_TEST(data_headers)
{
	static const uint8_t bytes[] = { 0x20, 0xff, 0xff, 0xff, 0xfe, 0xdc,
		0xba, 0x98 };
	struct wire_header header;
	uint8_t buf[WIRE_HEADER_SIZE];

	wire_encode_data(buf, 0xfedcba98, WIRE_DATA_MAX);
	ck_assert_mem_eq(buf, bytes, sizeof bytes);
	wire_decode_header(buf, &header);
	ck_assert_uint_eq(header.type, WIRE_DATA);
	ck_assert_uint_eq(header.length, WIRE_DATA_MAX);
	ck_assert_uint_eq(header.channel, 0xfedcba98);
	wire_encode_data(buf, 1, 1);
	wire_decode_header(buf, &header);
	ck_assert_uint_eq(header.length, 1);
	ck_assert_uint_eq(header.channel, 1);
}
END_TEST

/* --- Nonsense ------------------------------------------------------------ */

static uint64_t random_state;

static uint32_t
random_number(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) +
	    UINT64_C(1442695040888963407);
	return (uint32_t)(random_state >> 33);
}

/* What is decoded can be written and read again, and is the same. */
static void
ck_assert_sound(const struct wire_message *msg, size_t used, size_t len)
{
	struct wire_message again;
	uint8_t buf[WIRE_FRAME_MAX];
	size_t n;

	ck_assert_uint_ge(used, WIRE_HEADER_SIZE);
	ck_assert_uint_le(used, len);
	n = wire_encode(msg, buf, sizeof buf);
	ck_assert_uint_le(n, used);
	ck_assert_int_eq(sample_decode(buf, n, &again, &used), WIRE_OK);
	ck_assert_uint_eq(again.type, msg->type);
	sample_assert_same(&again, msg);
}

START_TEST(mutations)
{
	struct wire_message msg;
	struct sample frame;
	size_t used;

	random_state = (uint64_t)_i;
	for (int round = 0; round < 3000; round++) {
		sample_make(sample_types[random_number() % SAMPLE_TYPES], &msg,
		    &frame);
		frame.len += random_number() % 4;
		for (uint32_t n = random_number() % 6; n > 0; n--) {
			size_t at = random_number() % frame.len;

			frame.bytes[at] = random_number() % 2 == 0 ?
			    (uint8_t)random_number() :
			    frame.bytes[at] ^
				(uint8_t)(1 << random_number() % 8);
		}
		if (sample_decode(frame.bytes, frame.len, &msg, &used) ==
		    WIRE_OK)
			ck_assert_sound(&msg, used, frame.len);
	}
}
END_TEST

START_TEST(noise)
{
	struct wire_message msg;
	uint8_t bytes[64];
	size_t used;

	random_state = 1000 + (uint64_t)_i;
	for (int round = 0; round < 3000; round++) {
		size_t len = random_number() % sizeof bytes;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)random_number();
		/* Mostly known types of a likely length and likely tags. */
		if (len > 16 && round % 2 == 0) {
			bytes[0] = sample_types[bytes[0] % SAMPLE_TYPES];
			bytes[2] = 0;
			bytes[3] = (uint8_t)(len - WIRE_HEADER_SIZE);
			bytes[8] = 1;
			bytes[9] = 0;
			bytes[10] %= 34;
		}
		if (sample_decode(bytes, len, &msg, &used) == WIRE_OK)
			ck_assert_sound(&msg, used, len);
	}
}
END_TEST

void
sample_add_values(Suite *suite)
{
	TCase *tc = tcase_create("values"), *odd = tcase_create("nonsense");

	tcase_add_test(tc, long_frames_are_bad_at_once);
	tcase_add_test(tc, unknown_types_are_left_to_the_caller);
	tcase_add_test(tc, type_names);
	tcase_add_test(tc, names);
	tcase_add_test(tc, texts);
	tcase_add_test(tc, small_numbers);
	tcase_add_test(tc, hints);
	tcase_add_test(tc, data_headers);
	tcase_add_test(tc, longest_messages_fit);
	tcase_add_test(tc, unterminated_texts_are_cut);
	tcase_add_test(tc, frames_one_behind_the_other);
	suite_add_tcase(suite, tc);
	tcase_add_loop_test(odd, mutations, 0, 8);
	tcase_add_loop_test(odd, noise, 0, 8);
	suite_add_tcase(suite, odd);
}
