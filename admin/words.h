/* SPDX-License-Identifier: ISC */
/* words: how near a mistyped word is to those there are. Pure. */
#ifndef TUNNELCTL_WORDS_H
#define TUNNELCTL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Typing errors between two words: letters missing, too many, wrong, or two
 * neighbours swapped. Words longer than 64 bytes are far from all others. */
size_t words_distance(const char *a, const char *b);

/* The nearest so far; begin with { .word = what was typed }. */
struct words_search {
	const char *word;
	const char *nearest; /* NULL: none is near enough */
	size_t distance;
};
void words_offer(struct words_search *search, const char *candidate);

#endif
