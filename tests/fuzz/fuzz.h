/* SPDX-License-Identifier: ISC */
/*
 * fuzz: what a fuzz target has. libFuzzer calls the first function with
 * inputs of its own; fuzz_main.c stands in for it where there is none.
 */
#ifndef TUNNELD_FUZZ_H
#define TUNNELD_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_INPUT_MAX 4096

/* Returns 0, or does not return: what is wrong aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Good inputs to start from: writes number `index` to data, which has
 * FUZZ_INPUT_MAX bytes, and returns its length; 0 past the last one.
 */
size_t fuzz_seed(unsigned index, uint8_t *data);

/* Like assert(), and never compiled out. */
#define fuzz_assert(what)                                                \
	do {                                                             \
		if (!(what)) {                                           \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, \
			    __LINE__, #what);                            \
			abort();                                         \
		}                                                        \
	} while (0)

#endif
