/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <string.h>

#include "ask.h"
#include "complete.h"
#include "reason.h"
#include "show.h"
#include "show_history.h"

/*
 * What the completion of shells asks. Says no error, and waits no longer than
 * somebody does after a tab.
 */
#define PATIENCE 2
#define ROWS_MAX 1000 /* more help nobody */

/* The words that are wanted, as they are written. */
struct wanted {
	struct context *context;
	const char *word; /* they begin with this, ... */
	const char *prefix;
	size_t prefix_len;	       /* ... and this stands before each */
	const struct command *command; /* that they are for, or NULL */
	const char *first;	       /* its first argument, or "" */
	bool in_line; /* for a line, where "-t" and "--tunnel" are the same */
};

static void
offer(const struct wanted *wanted, const char *word)
{
	if (strncmp(word, wanted->word, strlen(wanted->word)) == 0)
		printf("%.*s%s\n", (int)wanted->prefix_len, wanted->prefix,
		    word);
}

/* --- Words that live ---------------------------------------------------- */

static int
take_all(json_t *data, void *arg)
{
	json_t *all = arg;

	json_array_extend(all, data);
	return json_array_size(all) < ROWS_MAX ? 0 : -1;
}

/* The rows of a list, a new reference; empty if the daemon is not there. */
static json_t *
fetch(const struct context *context, const char *command)
{
	json_t *rows = json_array();
	struct client_request request = {
		.command = command,
		.type = JSON_ARRAY,
		.fn = take_all,
		.arg = rows,
		.patience = PATIENCE,
	};
	char error[ASK_ERROR_SIZE];

	ask_quietly(context, &request, error, sizeof error);
	return rows;
}

static const char *
text_of(const json_t *rows, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(rows, i), key));
}

/* Only what can be enabled. */
static bool
is_of_use(const struct wanted *wanted, const json_t *row)
{
	return wanted->command == NULL ||
	    strcmp(wanted->command->name, "enable") != 0 ||
	    json_is_object(json_object_get(row, "disabled"));
}

static void
offer_peers(const struct wanted *wanted)
{
	json_t *rows = fetch(wanted->context, "peers");
	const char *name;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		name = text_of(rows, i, "name");
		if (name != NULL && is_of_use(wanted, json_array_get(rows, i)))
			offer(wanted, name);
	}
	json_decref(rows);
}

/* One that is going; another of its name may be there. */
static bool
is_draining(const json_t *rows, size_t i)
{
	const json_t *row = json_array_get(rows, i);

	return json_is_object(json_object_get(row, "draining")) ||
	    json_is_integer(json_object_get(row, "worker"));
}

static bool
is_alone(const json_t *rows, const char *name)
{
	size_t n = 0;
	const char *other;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		other = text_of(rows, i, "name");
		n += other != NULL && strcmp(other, name) == 0 &&
		    !is_draining(rows, i);
	}
	return n == 1;
}

/* NAME unless it is ambiguous, and PEER/NAME; /NAME of a local tunnel. */
static void
offer_tunnels(const struct wanted *wanted)
{
	json_t *rows = fetch(wanted->context, "tunnels");
	const char *name, *peer;
	char full[160];
	bool alone;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		name = text_of(rows, i, "name");
		peer = text_of(rows, i, "peer");
		if (name == NULL || is_draining(rows, i) ||
		    !is_of_use(wanted, json_array_get(rows, i)))
			continue;
		alone = is_alone(rows, name);
		if (alone)
			offer(wanted, name);
		if (peer == NULL && alone)
			continue;
		snprintf(full, sizeof full, "%s/%s", peer != NULL ? peer : "",
		    name);
		offer(wanted, full);
	}
	json_decref(rows);
}

static void
offer_names(const struct wanted *wanted)
{
	offer_tunnels(wanted);
	offer_peers(wanted);
}

static void
offer_sessions(const struct wanted *wanted)
{
	json_t *rows = fetch(wanted->context, "sessions");
	char id[32];

	for (size_t i = 0; i < json_array_size(rows); i++) {
		snprintf(id, sizeof id, "%" JSON_INTEGER_FORMAT,
		    json_integer_value(json_object_get(json_array_get(rows, i),
			"id")));
		offer(wanted, id);
	}
	json_decref(rows);
}

/* --- Words of the tables ------------------------------------------------ */

static void
offer_commands(const struct wanted *wanted)
{
	for (const struct command *c = commands_table; c->name != NULL; c++)
		if (c->help != NULL)
			offer(wanted, c->name);
}

static void
offer_options(const struct wanted *wanted)
{
	int bits = OPTION_EVERYWHERE |
	    (wanted->command != NULL ? wanted->command->options : OPTION_TABLE);
	char text[40];

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++) {
		if ((o->bit & bits) == 0)
			continue;
		snprintf(text, sizeof text, "-%c", (char)o->letter);
		/* In a line, only if just that was typed. */
		if (o->letter < 256 &&
		    (!wanted->in_line || strcmp(text, wanted->word) == 0))
			offer(wanted, text);
		snprintf(text, sizeof text, "--%s", o->name);
		offer(wanted, text);
	}
}

static void
offer_reasons(const struct wanted *wanted)
{
	for (enum reason r = REASON_NONE + 1; r < REASON_COUNT; r++)
		offer(wanted, reason_name(r));
}

static void
offer_view(const struct wanted *wanted, const struct output_view *view)
{
	for (const struct output_column *c = view->columns; c->head != NULL;
	     c++)
		offer(wanted, c->key);
}

/* Those of its tables; only the first columns differ, and the links. */
static void
offer_stats(const struct wanted *wanted)
{
	struct show_stats stats;

	show_stats_begin(&stats, HISTORY_BY_TUNNEL, HISTORY_PER_DAY);
	offer_view(wanted, &stats.view);
	offer(wanted, "source");
	show_uptime_begin(&stats, HISTORY_PER_DAY);
	for (const struct output_column *c = stats.columns; c->head != NULL;
	     c++)
		if (strcmp(c->key, "from") != 0 && strcmp(c->key, "peer") != 0)
			offer(wanted, c->key);
}

/* The columns of the list of a command. */
static void
offer_columns(const struct wanted *wanted)
{
	static const struct {
		const char *command, *first;
		const struct output_view *view;
	} views[] = {
		{ "peers", "", &show_peers },
		{ "tunnels", "", &show_tunnels },
		{ "sessions", "", &show_sessions },
		{ "session", "", &show_session },
		{ "kill", "", &show_sessions },
		{ "history", "links", &show_links },
		{ "history", "changes", &show_changes },
		{ "history", "", &show_history },
		{ "version", "", &show_version },
	};
	const char *name = wanted->command == NULL ? "" : wanted->command->name;

	if (strcmp(name, "stats") == 0)
		offer_stats(wanted);
	for (size_t i = 0; i < sizeof views / sizeof *views; i++)
		if (strcmp(views[i].command, name) == 0 &&
		    (views[i].first[0] == '\0' ||
			strcmp(views[i].first, wanted->first) == 0)) {
			offer_view(wanted, views[i].view);
			return;
		}
}

/* The shell knows them better: a mark for the scripts. */
static void
offer_files(const struct wanted *wanted)
{
	if (wanted->in_line)
		puts(":files");
}

/* --- Kinds -------------------------------------------------------------- */

static const struct {
	const char *kind;
	void (*offer)(const struct wanted *wanted); /* or */
	const char *words;
} kinds[] = {
	{ "commands", offer_commands, NULL },
	{ "options", offer_options, NULL },
	{ "tunnels", offer_tunnels, NULL },
	{ "peers", offer_peers, NULL },
	{ "names", offer_names, NULL },
	{ "sessions", offer_sessions, NULL },
	{ "reasons", offer_reasons, NULL },
	{ "columns", offer_columns, NULL },
	{ "files", offer_files, NULL },
	{ "kinds", NULL, "link session error change reload" },
	{ "levels", NULL, "error warning notice info debug" },
	{ "by", NULL, "tunnel peer source link" },
	{ "per", NULL, "hour day" },
	{ "past", NULL, "links changes" },
	{ "shells", NULL, "bash zsh" },
};

static void
offer_fixed(const struct wanted *wanted, const char *words)
{
	char word[40];

	while (*words != '\0') {
		size_t len = strcspn(words, " ");

		snprintf(word, sizeof word, "%.*s", (int)len, words);
		offer(wanted, word);
		words += len;
		words += *words == ' ';
	}
}

static int
offer_kind(const struct wanted *wanted, const char *kind)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kinds[i].kind, kind) != 0)
			continue;
		if (kinds[i].offer != NULL)
			kinds[i].offer(wanted);
		else
			offer_fixed(wanted, kinds[i].words);
		return EXIT_DONE;
	}
	return EXIT_USAGE;
}

int
action_complete_words(struct context *context)
{
	struct wanted wanted = {
		.context = context,
		.word = "",
		.prefix = "",
		.first = "",
	};
	struct complete_spot spot;

	if (strcmp(context->args[0], "line") != 0) {
		if (context->n_args > 1)
			wanted.command = commands_lookup(context->args[1]);
		if (context->n_args > 2)
			wanted.first = context->args[2];
		return offer_kind(&wanted, context->args[0]);
	}
	complete_find(&spot, context->args + 1, context->n_args - 1);
	if (spot.kind == NULL)
		return EXIT_DONE;
	if (spot.socket != NULL)
		context->socket = spot.socket;
	wanted.word = spot.word;
	wanted.prefix = spot.prefix;
	wanted.prefix_len = spot.prefix_len;
	wanted.command = spot.command;
	wanted.first = spot.first != NULL ? spot.first : "";
	wanted.in_line = true;
	return offer_kind(&wanted, spot.kind);
}
