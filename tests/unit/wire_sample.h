/* SPDX-License-Identifier: ISC */
/*
 * wire_sample: for the tests of wire: a message of each type as a struct and
 * as bytes, and frames to be built and taken apart by hand. What fails here
 * fails the test.
 */
#ifndef TUNNELD_WIRE_SAMPLE_H
#define TUNNELD_WIRE_SAMPLE_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

#define SAMPLE_TYPES 20 /* all that have fields, or might */
#define SAMPLE_OPAQUE 4 /* those whose payload is not looked at */
#define SAMPLE_FIELDS 16
#define SAMPLE_FIELD_HEADER 3

/* A frame, longer than allowed if it has to be. */
struct sample {
	uint8_t bytes[4 * WIRE_FRAME_MAX];
	size_t len;
};

extern const uint8_t sample_types[SAMPLE_TYPES];
extern const uint8_t sample_opaque[SAMPLE_OPAQUE];

/* A field of that type that may be missing. */
bool sample_is_hint(uint8_t type, uint8_t tag);

/* The same message twice; members that it does not have are zero. */
void sample_make(uint8_t type, struct wire_message *msg, struct sample *frame);

/* A frame by hand: finish puts its length into the header, add does so too. */
void sample_begin(struct sample *frame, uint8_t type, uint32_t channel);
void sample_add(struct sample *frame, uint8_t tag, const void *data,
    size_t len);
void sample_finish(struct sample *frame);

/* Where the n fields of a good frame begin; at[n] is its end. */
void sample_fields(const struct sample *frame, size_t at[SAMPLE_FIELDS],
    size_t *n);

/* The frame without its field number `without`, on channel 0. */
struct sample sample_without(const struct sample *frame, size_t without);

/* Decodes a copy that ends where it ends, so that a sanitizer sees more. */
enum wire_result sample_decode(const uint8_t *data, size_t len,
    struct wire_message *out, size_t *used);

/* The whole frame; what is refused must leave *out alone. */
enum wire_result sample_decode_frame(const struct sample *frame,
    struct wire_message *out);
void sample_assert_bad(const struct sample *frame);

/* All members but the channel. */
void sample_assert_same(const struct wire_message *a,
    const struct wire_message *b);

/* The tests of check_wire_values.c. */
void sample_add_values(Suite *suite);

#endif
