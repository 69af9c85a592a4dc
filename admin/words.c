/* SPDX-License-Identifier: ISC */
#include "words.h"

#include <string.h>

#define LENGTH_MAX 64
#define DISTANCE_MAX 2 /* farther is another word */

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment; only three rows of its table are needed. */
size_t
words_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), best;
	size_t rows[3][LENGTH_MAX + 1];
	size_t *row = rows[0], *above = rows[1], *above2 = rows[2], *spare;

	if (la > LENGTH_MAX || lb > LENGTH_MAX)
		return LENGTH_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		spare = above2;
		above2 = above;
		above = row;
		row = spare;
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			best = above[j - 1] + (a[i - 1] != b[j - 1]);
			best = least(best, above[j] + 1);
			best = least(best, row[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				best = least(best, above2[j - 2] + 1);
			row[j] = best;
		}
	}
	return row[lb];
}

void
words_offer(struct words_search *search, const char *candidate)
{
	size_t distance = words_distance(search->word, candidate);

	/* Of a short word too little would be left. */
	if (distance > DISTANCE_MAX || distance + 1 >= strlen(candidate))
		return;
	if (search->nearest != NULL && distance >= search->distance)
		return;
	search->nearest = candidate;
	search->distance = distance;
}
