/* SPDX-License-Identifier: ISC */
#include "complete.h"

#include <string.h>

/* How far the line has been read. */
struct line {
	struct complete_spot *spot;
	const struct option_entry *pending; /* an option that wants a value */
	bool is_long;			    /* it: so "=" may follow */
	bool words_only;		    /* after "--" */
	int n_args;
};

/* By its name, or what it is short for. */
static const struct option_entry *
find_long(const char *name, size_t len)
{
	const struct option_entry *found = NULL;

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++) {
		if (strncmp(o->name, name, len) != 0)
			continue;
		if (o->name[len] == '\0')
			return o;
		if (found != NULL)
			return NULL;
		found = o;
	}
	return found;
}

static const struct option_entry *
find_short(char letter)
{
	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

static void
take_value(struct line *line, const struct option_entry *option,
    const char *value)
{
	if (option->bit == OPTION_SOCKET)
		line->spot->socket = value;
}

static void
read_long(struct line *line, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct option_entry *option = find_long(word, len);

	if (option == NULL || option->arg == NULL)
		return;
	if (word[len] == '=') {
		take_value(line, option, word + len + 1);
	} else {
		line->pending = option;
		line->is_long = true;
	}
}

static void
read_short(struct line *line, const char *letters)
{
	const struct option_entry *option;

	for (; *letters != '\0'; letters++) {
		option = find_short(*letters);
		if (option == NULL || option->arg == NULL)
			continue;
		if (letters[1] != '\0') {
			take_value(line, option, letters + 1);
		} else {
			line->pending = option;
			line->is_long = false;
		}
		return;
	}
}

/* A word that is finished. */
static void
read_word(struct line *line, const char *word)
{
	if (line->pending != NULL) {
		if (line->is_long && strcmp(word, "=") == 0) {
			line->is_long = false;
			return;
		}
		take_value(line, line->pending, word);
		line->pending = NULL;
	} else if (!line->words_only && strcmp(word, "--") == 0) {
		line->words_only = true;
	} else if (!line->words_only && strncmp(word, "--", 2) == 0) {
		read_long(line, word + 2);
	} else if (!line->words_only && word[0] == '-' && word[1] != '\0') {
		read_short(line, word + 1);
	} else if (line->spot->command == NULL) {
		line->spot->command = commands_lookup(word);
		/* Of a command that is not there nothing is known. */
		if (line->spot->command == NULL)
			line->words_only = true;
	} else if (line->n_args++ == 0) {
		line->spot->first = word;
	}
}

/* A value that is a list: what stands before its last comma is kept. */
static void
skip_list(struct complete_spot *spot)
{
	const char *comma = strrchr(spot->word, ',');

	if (comma == NULL || spot->kind == NULL ||
	    (strcmp(spot->kind, "columns") != 0 &&
		strcmp(spot->kind, "kinds") != 0))
		return;
	spot->prefix_len += (size_t)(comma + 1 - spot->word);
	spot->word = comma + 1;
}

static void
judge_last(struct line *line, const char *word)
{
	struct complete_spot *spot = line->spot;
	const struct command *command = spot->command;
	const struct option_entry *option;
	size_t len = strcspn(word, "=");

	spot->word = spot->prefix = word;
	if (line->pending != NULL) {
		if (line->is_long && strcmp(word, "=") == 0)
			spot->word = spot->prefix = "";
		spot->kind = line->pending->words;
	} else if (!line->words_only && strncmp(word, "--", 2) == 0 &&
	    word[len] == '=') {
		option = find_long(word + 2, len - 2);
		spot->kind = option == NULL ? NULL : option->words;
		spot->word += len + 1;
		spot->prefix_len = len + 1;
	} else if (!line->words_only && word[0] == '-') {
		spot->kind = "options";
	} else if (command != NULL) {
		if (command->max_args < 0 || line->n_args < command->max_args)
			spot->kind = command->words;
	} else if (!line->words_only) {
		spot->kind = "commands";
	}
	skip_list(spot);
}

void
complete_find(struct complete_spot *spot, char **words, int n)
{
	struct line line = { .spot = spot };

	*spot = (struct complete_spot){ .word = "", .prefix = "" };
	for (int i = 0; i + 1 < n; i++)
		read_word(&line, words[i]);
	judge_last(&line, n > 0 ? words[n - 1] : "");
}
