/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "history_json.h"
#include "offline.h"
#include "show.h"
#include "show_history.h"
#include "when.h"

#define STATS_SINCE 86400 /* seconds, unless --since is given */

/* --- Asking, the daemon or a file ------------------------------------------ */

/* The daemon's command for each kind of row. */
static const char *const daemon_commands[] = {
	[HISTORY_SESSIONS] = "history",
	[HISTORY_LINKS] = "links",
	[HISTORY_STATS] = "stats",
	[HISTORY_UPTIME] = "uptime",
	[HISTORY_CHANGES] = "changes",
};

/* Takes args, which may be NULL: then it was said already what is wrong. */
static int
ask_rows(struct context *context, enum history_what what, json_t *args,
    client_data_fn *fn, void *arg)
{
	struct history_json_query asked;
	int status = EXIT_USAGE;

	if (args == NULL)
		return EXIT_USAGE;
	if (history_json_query(args, what, &asked) != 0) {
		commands_error(context, "%s", asked.error);
	} else if (context->database != NULL) {
		status = offline_rows(context, &asked.query, fn, arg);
	} else {
		return ask_pieces(context, daemon_commands[what], args, fn,
		    arg);
	}
	json_decref(args);
	return status;
}

struct shown {
	struct output *out;
	const struct output_view *view;
	bool started; /* nothing is written before the first piece came */
};

static int
take_rows(json_t *data, void *arg)
{
	struct shown *shown = arg;

	if (!shown->started)
		output_start(shown->out, shown->view);
	shown->started = true;
	for (size_t i = 0; i < json_array_size(data); i++)
		output_row(shown->out, json_array_get(data, i));
	return output_broken(shown->out) ? -1 : 0;
}

/* Asks and shows. Takes args as ask_rows does. */
static int
show_rows(struct context *context, enum history_what what, json_t *args,
    const struct output_view *view)
{
	struct shown shown = { .out = context->out, .view = view };
	int status;

	if (ask_check_columns(context, view) != 0) {
		json_decref(args);
		return EXIT_USAGE;
	}
	status = ask_rows(context, what, args, take_rows, &shown);
	/* Also after an error in the middle: JSON stays whole. */
	if (shown.started)
		output_end(shown.out);
	return status;
}

static int
keep_rows(json_t *data, void *arg)
{
	return json_array_extend(arg, data);
}

/* --- Arguments -------------------------------------------------------------- */

static int
put_time(const struct context *context, json_t *args, const char *key,
    const char *text)
{
	struct when_clock clock = {
		.now = (double)time(NULL),
		.utc = context->utc,
		/* Of an hour that there is twice, all of it. */
		.last = strcmp(key, "until") == 0,
	};
	const char *why;
	double seconds;

	if (text == NULL)
		return 0;
	if (when_parse_time(text, &clock, &seconds, &why) == 0)
		return json_object_set_new(args, key, json_real(seconds));
	commands_error(context, "--%s: '%s' %s", key, text, why);
	return -1;
}

static int
put_size(const struct context *context, json_t *args, const char *key,
    const char *text)
{
	const char *why;
	uint64_t bytes;

	if (text == NULL)
		return 0;
	if (when_parse_size(text, &bytes, &why) == 0)
		return json_object_set_new(args, key,
		    json_integer((json_int_t)bytes));
	commands_error(context, "--min-bytes: '%s' %s", text, why);
	return -1;
}

/* 0: no --limit. */
static int
put_limit(const struct context *context, json_t *args, json_int_t otherwise)
{
	json_int_t limit = otherwise;

	if (context->limit != NULL &&
	    ask_number(context, context->limit, HISTORY_JSON_LIMIT_MAX,
		&limit) != 0)
		return -1;
	return limit == 0 ?
	    0 :
	    json_object_set_new(args, "limit", json_integer(limit));
}

/* All that are given, whatever they are for; NULL after saying what is wrong
 * with one. */
static json_t *
make_args(const struct context *context, json_int_t limit)
{
	json_t *args = json_object();

	if (ask_put_text(context, args, "tunnel", context->tunnel) == 0 &&
	    ask_put_text(context, args, "peer", context->peer) == 0 &&
	    ask_put_text(context, args, "source", context->source) == 0 &&
	    ask_put_text(context, args, "reason", context->reason) == 0 &&
	    ask_put_text(context, args, "per", context->per) == 0 &&
	    put_time(context, args, "since", context->since) == 0 &&
	    put_time(context, args, "until", context->until) == 0 &&
	    put_size(context, args, "min_bytes", context->min_bytes) == 0 &&
	    put_limit(context, args, limit) == 0)
		return args;
	json_decref(args);
	return NULL;
}

/* Options that the command takes, but not in this form of it. 0, or -1 and
 * says so. */
static int
check_options(const struct context *context, const char *form, int foreign)
{
	const struct {
		int bit;
		const char *name, *value;
	} given[] = {
		{ OPTION_TUNNEL, "tunnel", context->tunnel },
		{ OPTION_PEER, "peer", context->peer },
		{ OPTION_SOURCE, "source", context->source },
		{ OPTION_REASON, "reason", context->reason },
		{ OPTION_MIN_BYTES, "min-bytes", context->min_bytes },
	};

	for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
		if (given[i].value != NULL && (given[i].bit & foreign) != 0) {
			commands_error(context, "%s takes no --%s", form,
			    given[i].name);
			return -1;
		}
	return 0;
}

/* --- history ---------------------------------------------------------------- */

static const struct form {
	const char *name; /* NULL: that of no name */
	enum history_what what;
	const struct output_view *view;
	const char *none; /* instead of a table, if something was asked for */
	int foreign;	  /* options of the other forms */
} forms[] = {
	{ "links", HISTORY_LINKS, &show_links, "no links that fit",
	    OPTION_TUNNEL | OPTION_SOURCE | OPTION_MIN_BYTES },
	{ "changes", HISTORY_CHANGES, &show_changes, "no changes that fit",
	    OPTION_TUNNEL | OPTION_PEER | OPTION_SOURCE | OPTION_REASON |
		OPTION_MIN_BYTES },
	{ NULL, HISTORY_SESSIONS, &show_history, "no closed sessions that fit",
	    0 },
};

/* Names may be shortened, as those of commands. NULL: says so. */
static const struct form *
find_form(const struct context *context)
{
	const struct form *form = forms;
	const char *name = context->n_args > 0 ? context->args[0] : NULL;

	while (form->name != NULL &&
	    (name == NULL || name[0] == '\0' ||
		strncmp(form->name, name, strlen(name)) != 0))
		form++;
	if (form->name != NULL || name == NULL)
		return form;
	commands_error(context,
	    "there is no history of '%s', but of links and of changes, or "
	    "without a word of sessions",
	    name);
	return NULL;
}

static bool
has_filter(const json_t *args)
{
	return json_object_size(args) >
	    (json_object_get(args, "limit") != NULL ? 1 : 0);
}

int
action_history(struct context *context)
{
	const struct form *form = find_form(context);
	struct output_view view;
	json_t *args;

	if (form == NULL ||
	    check_options(context, form->name, form->foreign) != 0)
		return EXIT_USAGE;
	args = make_args(context, 0);
	view = *form->view;
	if (has_filter(args))
		view.empty = form->none;
	return show_rows(context, form->what, args, &view);
}

/* --- stats ------------------------------------------------------------------ */

#define BY_LINK (HISTORY_BY_SOURCE + 1)

/* What --by and --per say. 0, or -1 and says so. */
static int
read_by(const struct context *context, int *by, enum history_per *per)
{
	static const char *const words[] = {
		[HISTORY_BY_TUNNEL] = "tunnel",
		[HISTORY_BY_PEER] = "peer",
		[HISTORY_BY_SOURCE] = "source",
		[BY_LINK] = "link",
	};
	const char *word = context->by != NULL ? context->by : words[0];

	for (*by = 0; *by <= BY_LINK && strcmp(word, words[*by]) != 0;)
		++*by;
	if (*by > BY_LINK) {
		commands_error(context,
		    "--by: '%s' is none of tunnel, peer, source and link",
		    word);
		return -1;
	}
	*per = HISTORY_PER_ALL;
	if (context->per != NULL && strcmp(context->per, "hour") == 0)
		*per = HISTORY_PER_HOUR;
	else if (context->per != NULL && strcmp(context->per, "day") == 0)
		*per = HISTORY_PER_DAY;
	else if (context->per != NULL) {
		commands_error(context, "--per: '%s' is neither hour nor day",
		    context->per);
		return -1;
	}
	return 0;
}

/* The day before the end of the time that is asked for. */
static void
put_default_since(json_t *args)
{
	const json_t *until = json_object_get(args, "until");
	double end = until != NULL ? json_number_value(until) :
				     (double)time(NULL);

	if (json_object_get(args, "since") == NULL)
		json_object_set_new(args, "since",
		    json_real(end > STATS_SINCE ? end - STATS_SINCE : 0));
}

/* Likewise NULL. Nobody counts tunnels and peers first: they are shown all,
 * but sources may be without number. */
static json_t *
stats_args(const struct context *context, int by)
{
	json_t *args = make_args(context,
	    by == HISTORY_BY_SOURCE ? 0 : HISTORY_JSON_LIMIT_MAX);

	if (args == NULL)
		return NULL;
	put_default_since(args);
	if (by == HISTORY_BY_PEER || by == HISTORY_BY_SOURCE)
		json_object_set_new(args, "by",
		    json_string(by == HISTORY_BY_PEER ? "peer" : "source"));
	return args;
}

/* Of the peer that --tunnel names, too. */
static json_t *
uptime_args(const struct context *context)
{
	json_t *args = stats_args(context, BY_LINK);
	const char *slash;

	slash = context->tunnel == NULL ? NULL : strchr(context->tunnel, '/');
	if (args != NULL && context->peer == NULL && slash != NULL)
		json_object_set_new(args, "peer",
		    json_stringn(context->tunnel,
			(size_t)(slash - context->tunnel)));
	return args;
}

static void
show_kept(struct output *out, const struct output_view *view,
    const json_t *rows)
{
	output_start(out, view);
	for (size_t i = 0; i < json_array_size(rows); i++)
		output_row(out, json_array_get(rows, i));
	output_end(out);
}

/* Sessions by tunnel, and how long each link was up. */
static int
stats_of_both(struct context *context, enum history_per per)
{
	json_t *stats = json_array(), *links = json_array();
	json_t *both = json_pack("{s:O, s:O}", "stats", stats, "links", links);
	struct show_stats view;
	int status;

	status = ask_rows(context, HISTORY_STATS,
	    stats_args(context, HISTORY_BY_TUNNEL), keep_rows, stats);
	if (status == EXIT_DONE)
		status = ask_rows(context, HISTORY_UPTIME, uptime_args(context),
		    keep_rows, links);
	if (status == EXIT_DONE && !output_whole(context->out, both)) {
		output_text(context->out, "Sessions%s",
		    context->since == NULL && context->until == NULL ?
			" of the last 24 hours:" :
			":");
		show_stats_begin(&view, HISTORY_BY_TUNNEL, per);
		show_kept(context->out, &view.view, stats);
		output_text(context->out, "%s", "");
		output_text(context->out, "Links:");
		show_uptime_begin(&view, per);
		show_kept(context->out, &view.view, links);
	}
	json_decref(both);
	json_decref(stats);
	json_decref(links);
	return status;
}

int
action_stats(struct context *context)
{
	bool one_table = context->csv ||
	    (context->columns != NULL && !context->json);
	struct show_stats view;
	enum history_per per;
	int by;

	if (read_by(context, &by, &per) != 0)
		return EXIT_USAGE;
	if (context->by == NULL && !one_table)
		return stats_of_both(context, per);
	if (by != BY_LINK) {
		show_stats_begin(&view, (enum history_by)by, per);
		return show_rows(context, HISTORY_STATS,
		    stats_args(context, by), &view.view);
	}
	if (check_options(context, "--by link",
		OPTION_TUNNEL | OPTION_SOURCE) != 0)
		return EXIT_USAGE;
	show_uptime_begin(&view, per);
	return show_rows(context, HISTORY_UPTIME, uptime_args(context),
	    &view.view);
}
