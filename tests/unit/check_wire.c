/* SPDX-License-Identifier: ISC */
/* Frames: all that holds for each type. */
#include "wire_sample.h"

#include <stdlib.h>

START_TEST(bytes_are_as_written_down)
{
	struct wire_message msg, out;
	struct sample frame;
	uint8_t buf[WIRE_FRAME_MAX];

	sample_make(sample_types[_i], &msg, &frame);
	ck_assert_uint_eq(wire_encode(&msg, buf, sizeof buf), frame.len);
	ck_assert_mem_eq(buf, frame.bytes, frame.len);
	ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
	ck_assert_uint_eq(out.type, msg.type);
	ck_assert_uint_eq(out.channel, msg.channel);
	/* Unused members are zero in both. */
	sample_assert_same(&out, &msg);
}
END_TEST

START_TEST(truncation_needs_more)
{
	struct wire_message msg, out;
	struct sample frame;
	size_t used = 4711;

	sample_make(sample_types[_i], &msg, &frame);
	for (size_t len = 0; len < frame.len; len++)
		ck_assert_int_eq(sample_decode(frame.bytes, len, &out, &used),
		    WIRE_NEED_MORE);
	ck_assert_uint_eq(used, 4711);
	/* What follows is left for later. */
	memset(frame.bytes + frame.len, 0xff, 100);
	ck_assert_int_eq(sample_decode(frame.bytes, frame.len + 100, &out,
			     &used),
	    WIRE_OK);
	ck_assert_uint_eq(used, frame.len);
}
END_TEST

START_TEST(flags_are_ignored)
{
	struct wire_message msg, out;
	struct sample frame;

	sample_make(sample_types[_i], &msg, &frame);
	frame.bytes[1] = 0xff;
	ck_assert_int_eq(sample_decode_frame(&frame, &out), WIRE_OK);
}
END_TEST

START_TEST(every_field_once)
{
	struct wire_message msg, out;
	struct sample frame, other;
	size_t at[SAMPLE_FIELDS], n;

	sample_make(sample_types[_i], &msg, &frame);
	sample_fields(&frame, at, &n);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *data = frame.bytes + at[i] + SAMPLE_FIELD_HEADER;
		size_t len = at[i + 1] - at[i] - SAMPLE_FIELD_HEADER;

		other = sample_without(&frame, i);
		if (!sample_is_hint(sample_types[_i], frame.bytes[at[i]]))
			sample_assert_bad(&other);
		/* The order does not matter. */
		sample_add(&other, frame.bytes[at[i]], data, len);
		ck_assert_int_eq(sample_decode_frame(&other, &out), WIRE_OK);
		sample_assert_same(&out, &msg);
		/* Twice is once too often, even if it says the same. */
		sample_add(&other, frame.bytes[at[i]], data, len);
		sample_assert_bad(&other);
	}
}
END_TEST

START_TEST(lengths_are_exact)
{
	struct wire_message msg;
	struct sample frame, other;
	size_t at[SAMPLE_FIELDS], n;
	uint8_t data[512];

	sample_make(sample_types[_i], &msg, &frame);
	sample_fields(&frame, at, &n);
	for (size_t i = 0; i < n; i++) {
		size_t len = at[i + 1] - at[i] - SAMPLE_FIELD_HEADER;
		uint8_t tag = frame.bytes[at[i]];
		/* Names and texts may have other lengths; see below. */
		bool is_text = (sample_types[_i] == WIRE_OPEN && tag >= 2 &&
				   tag <= 4) ||
		    ((sample_types[_i] == WIRE_REJECT ||
			 sample_types[_i] == WIRE_FAILED) &&
			tag == 2) ||
		    (sample_types[_i] == WIRE_HELLO && tag == 5) ||
		    ((sample_types[_i] == WIRE_WELCOME ||
			 sample_types[_i] == WIRE_CHALLENGE) &&
			tag == 3);

		memset(data, 'x', sizeof data);
		memcpy(data, frame.bytes + at[i] + SAMPLE_FIELD_HEADER, len);
		for (size_t wrong = 0; wrong <= 64 && !is_text; wrong++) {
			if (wrong == len)
				continue;
			other = sample_without(&frame, i);
			sample_add(&other, tag, data, wrong);
			sample_assert_bad(&other);
		}
		other = sample_without(&frame, i);
		sample_add(&other, tag, data, 300);
		sample_assert_bad(&other);
	}
}
END_TEST

START_TEST(unknown_tags_are_skipped)
{
	static const uint8_t tags[] = { 0, 9, 31, 32, 33, 64, 127, 128, 255 };
	struct wire_message msg, out;
	struct sample frame, other;
	size_t at[SAMPLE_FIELDS], n;

	sample_make(sample_types[_i], &msg, &frame);
	sample_fields(&frame, at, &n);
	sample_begin(&other, sample_types[_i], 0x00010203);
	for (size_t i = 0; i < sizeof tags; i++)
		sample_add(&other, tags[i], "unknown", i % 8);
	for (size_t i = 0; i < n; i++) {
		sample_add(&other, frame.bytes[at[i]],
		    frame.bytes + at[i] + SAMPLE_FIELD_HEADER,
		    at[i + 1] - at[i] - SAMPLE_FIELD_HEADER);
		sample_add(&other, 200, "", 0); /* twice is nobody's business */
	}
	ck_assert_int_eq(sample_decode_frame(&other, &out), WIRE_OK);
	ck_assert_uint_eq(out.type, msg.type);
	sample_assert_same(&out, &msg);
}
END_TEST

START_TEST(broken_runs_of_fields)
{
	struct wire_message msg;
	struct sample frame, other;

	sample_make(sample_types[_i], &msg, &frame);
	for (size_t tail = 1; tail < SAMPLE_FIELD_HEADER; tail++) {
		other = frame;
		other.bytes[other.len] = 99; /* a tag with half a length */
		other.len += tail;
		sample_finish(&other);
		sample_assert_bad(&other);
	}
	for (unsigned length = 1; length <= 0xffff; length += 0xff) {
		other = frame; /* an unknown field that reaches too far */
		sample_add(&other, 99, "", 0);
		other.bytes[other.len - 2] = (uint8_t)(length >> 8);
		other.bytes[other.len - 1] = (uint8_t)length;
		sample_assert_bad(&other);
	}
}
END_TEST

/* Whether a hint begins there. */
static bool
at_hint(const struct sample *frame, size_t len)
{
	size_t at[SAMPLE_FIELDS], n;

	sample_fields(frame, at, &n);
	for (size_t i = 0; i < n; i++)
		if (at[i] == len)
			return sample_is_hint(frame->bytes[0],
			    frame->bytes[len]);
	return false;
}

/* The payload cut short while its header tells the truth. */
START_TEST(short_payloads_are_bad)
{
	struct wire_message msg;
	struct sample frame, whole;

	sample_make(sample_types[_i], &msg, &frame);
	whole = frame;
	while (frame.len > WIRE_HEADER_SIZE) {
		frame.len--;
		sample_finish(&frame);
		if (at_hint(&whole, frame.len))
			continue; /* nothing is missing but that */
		sample_assert_bad(&frame);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire");
	TCase *each = tcase_create("each type");
	SRunner *runner = srunner_create(suite);
	int n = (int)SAMPLE_TYPES, failed;

	tcase_add_loop_test(each, bytes_are_as_written_down, 0, n);
	tcase_add_loop_test(each, truncation_needs_more, 0, n);
	tcase_add_loop_test(each, flags_are_ignored, 0, n);
	tcase_add_loop_test(each, every_field_once, 0, n);
	tcase_add_loop_test(each, lengths_are_exact, 0, n);
	tcase_add_loop_test(each, unknown_tags_are_skipped, 0, n);
	tcase_add_loop_test(each, broken_runs_of_fields, 0, n);
	tcase_add_loop_test(each, short_payloads_are_bad, 0, n);
	suite_add_tcase(suite, each);
	sample_add_values(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
