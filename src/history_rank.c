/* SPDX-License-Identifier: ISC */
#include "history_internal.h"

static void
swap(int64_t *a, int64_t *b)
{
	int64_t kept = *a;

	*a = *b;
	*b = kept;
}

/*
 * Hoare's selection. The numbers are what strangers made them, so the pivot is
 * one that they cannot foresee well, and equal ones are set apart.
 */
static int64_t
rank_select(int64_t *values, size_t n, size_t k)
{
	size_t first = 0, end = n, below, above, i;
	uint64_t random = 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)values;
	int64_t pivot;

	for (;;) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		pivot = values[first + (size_t)(random >> 33) % (end - first)];
		/* [first, below) is less, [above, end) is more. */
		below = i = first;
		above = end;
		while (i < above) {
			if (values[i] < pivot)
				swap(&values[i++], &values[below++]);
			else if (values[i] > pivot)
				swap(&values[i], &values[--above]);
			else
				i++;
		}
		if (k < below)
			end = below;
		else if (k >= above)
			first = above;
		else
			return pivot;
	}
}

int64_t
history_rank(int64_t *values, size_t n, unsigned percent)
{
	size_t place = (n * percent + 99) / 100;

	return rank_select(values, n, place > 0 ? place - 1 : 0);
}
