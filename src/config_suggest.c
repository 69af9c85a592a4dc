/* SPDX-License-Identifier: ISC */
#include "config_options.h"

#include <string.h>

#define KEY_MAX 32 /* longer keys are not compared */

static unsigned
config_min(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/*
 * How many letters must be added, dropped, changed or swapped with their
 * neighbour to make b of a. Keys longer than KEY_MAX are far from all.
 */
static unsigned
config_key_distance(const char *a, const char *b)
{
	unsigned row[3][KEY_MAX + 1], *before = row[0], *last = row[1];
	unsigned *now = row[2], *spare;
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > KEY_MAX || b_len > KEY_MAX)
		return KEY_MAX;
	for (size_t j = 0; j <= b_len; j++)
		before[j] = last[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned cost = a[i - 1] != b[j - 1];

			now[j] = config_min(last[j - 1] + cost,
			    config_min(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				now[j] = config_min(now[j], before[j - 2] + 1);
		}
		spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[b_len];
}

const char *
config_option_suggest(enum config_section section, const char *key)
{
	const char *best = NULL;
	unsigned limit, distance;

	/* Of a short key two letters are too much of it. */
	limit = strlen(key) > 4 ? 3 : 2;
	for (size_t i = 0; i < config_options_count; i++) {
		if (config_options[i].section != section)
			continue;
		distance = config_key_distance(key, config_options[i].key);
		if (distance < limit) {
			limit = distance;
			best = config_options[i].key;
		}
	}
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++) {
		if (config_sections[i].parent != section)
			continue;
		distance = config_key_distance(key, config_sections[i].key);
		if (distance < limit) {
			limit = distance;
			best = config_sections[i].key;
		}
	}
	return best;
}
