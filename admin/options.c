/* SPDX-License-Identifier: ISC */
#include "options.h"

#include <getopt.h>
#include <string.h>

#include "words.h"

#define OPTIONS_MAX 40

enum { /* letters of those that have none */
	LETTER_CSV = 256,
	LETTER_COLUMNS,
	LETTER_BYTES,
	LETTER_UTC,
	LETTER_OLDER,
	LETTER_IDLE,
	LETTER_SINCE,
	LETTER_UNTIL,
	LETTER_MIN_BYTES,
	LETTER_BY,
	LETTER_PER,
	LETTER_DATABASE,
	LETTER_KIND,
	LETTER_IF_NEW
};

const struct option_entry commands_options[] = {
	{ OPTION_TUNNEL, 't', "tunnel", "TUNNEL",
	    "only this tunnel: NAME or PEER/NAME", "tunnels" },
	{ OPTION_PEER, 'p', "peer", "PEER", "only this peer", "peers" },
	{ OPTION_SOURCE, 'S', "source", "ADDRESS",
	    "only users who come from there", NULL },
	{ OPTION_OLDER, LETTER_OLDER, "older", "TIME",
	    "only those opened at least so long ago", NULL },
	{ OPTION_IDLE, LETTER_IDLE, "idle", "TIME",
	    "only those without a byte for so long", NULL },
	{ OPTION_DRY_RUN, 'd', "dry-run", NULL, "only show what would be done",
	    NULL },
	{ OPTION_IF_NEW, LETTER_IF_NEW, "if-new", NULL,
	    "reload unless the program was replaced", NULL },
	{ OPTION_KILL, 'k', "kill", NULL, "close its sessions, too", NULL },
	{ OPTION_REASON, 'r', "reason", "REASON",
	    "only those that ended with this reason", "reasons" },
	{ OPTION_SINCE, LETTER_SINCE, "since", "WHEN", "not before that",
	    NULL },
	{ OPTION_UNTIL, LETTER_UNTIL, "until", "WHEN", "only before that",
	    NULL },
	{ OPTION_MIN_BYTES, LETTER_MIN_BYTES, "min-bytes", "SIZE",
	    "only those that carried so much", NULL },
	{ OPTION_BY, LETTER_BY, "by", "WHAT",
	    "a row for each tunnel, peer, source or link", "by" },
	{ OPTION_PER, LETTER_PER, "per", "SPAN", "and each hour or day (UTC)",
	    "per" },
	{ OPTION_LIMIT, 'n', "limit", "N", "at most so many rows", NULL },
	{ OPTION_DATABASE, LETTER_DATABASE, "database", "FILE",
	    "ask this file, not the daemon", "files" },
	{ OPTION_KIND, LETTER_KIND, "kind", "KINDS",
	    "only link, session, error, change, reload", "kinds" },
	{ OPTION_COUNT, 'c', "count", "N", "so many times (default: 3)", NULL },
	{ OPTION_INTERVAL, 'i', "interval", "SECONDS",
	    "so far apart (default: 1, watch: 2)", NULL },
	{ OPTION_NAME, 'N', "name", "NAME",
	    "this machine's name (default: its host name)", NULL },
	{ OPTION_COLUMNS, LETTER_COLUMNS, "columns", "LIST",
	    "these columns, with commas between", "columns" },
	{ OPTION_CSV, LETTER_CSV, "csv", NULL, "comma-separated values", NULL },
	{ OPTION_JSON, 'j', "json", NULL, "JSON for programs", NULL },
	{ OPTION_BYTES, LETTER_BYTES, "bytes", NULL, "exact numbers, not 1.2M",
	    NULL },
	{ OPTION_UTC, LETTER_UTC, "utc", NULL, "exact times in UTC, not ages",
	    NULL },
	{ OPTION_SOCKET, 's', "socket", "PATH", "the daemon's admin socket",
	    "files" },
	{ OPTION_HELP, 'h', "help", NULL, "help, also of one command", NULL },
	{ OPTION_VERSION, 'V', "version", NULL, "the version of tunnelctl",
	    NULL },
	{ 0, 0, NULL, NULL, NULL, NULL },
};

/* --- Parsing ------------------------------------------------------------ */

/* The one table of options in the two forms that getopt_long(3) wants. */
static void
make_options(struct option *longs, char *letters)
{
	const struct option_entry *o = commands_options;

	*letters++ = ':'; /* a missing argument is told apart */
	for (size_t i = 0; i < OPTIONS_MAX && o->name != NULL; i++, o++) {
		*longs++ = (struct option){ o->name, o->arg != NULL, NULL,
			o->letter };
		if (o->letter > 255)
			continue;
		*letters++ = (char)o->letter;
		if (o->arg != NULL)
			*letters++ = ':';
	}
	*longs = (struct option){ 0 };
	*letters = '\0';
}

static const struct option_entry *
find_letter(int letter)
{
	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++)
		if (o->letter == letter)
			return o;
	return NULL;
}

/* Where the value of an option goes; NULL: it is a switch. */
static const char **
value_of(struct context *context, int bit)
{
	switch (bit) {
	case OPTION_SOCKET:
		return &context->socket;
	case OPTION_TUNNEL:
		return &context->tunnel;
	case OPTION_PEER:
		return &context->peer;
	case OPTION_LIMIT:
		return &context->limit;
	case OPTION_NAME:
		return &context->name;
	case OPTION_SOURCE:
		return &context->source;
	case OPTION_OLDER:
		return &context->older;
	case OPTION_IDLE:
		return &context->idle;
	case OPTION_REASON:
		return &context->reason;
	case OPTION_SINCE:
		return &context->since;
	case OPTION_UNTIL:
		return &context->until;
	case OPTION_MIN_BYTES:
		return &context->min_bytes;
	case OPTION_BY:
		return &context->by;
	case OPTION_PER:
		return &context->per;
	case OPTION_DATABASE:
		return &context->database;
	case OPTION_COLUMNS:
		return &context->columns;
	case OPTION_KIND:
		return &context->kind;
	case OPTION_COUNT:
		return &context->count;
	case OPTION_INTERVAL:
		return &context->interval;
	default:
		return NULL;
	}
}

/* A long option that is not there, or short for several. */
static void
say_unknown(const char *arg)
{
	size_t len = strcspn(arg + 2, "="), n = 0;
	char name[65] = "";
	struct words_search search = { .word = name };

	if (len < sizeof name)
		memcpy(name, arg + 2, len);
	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++) {
		n += strncmp(o->name, arg + 2, len) == 0;
		words_offer(&search, o->name);
	}
	fprintf(stderr, "tunnelctl: ");
	if (n > 1) {
		fprintf(stderr,
		    "'--%.*s' is short for more than one option:", (int)len,
		    arg + 2);
		for (const struct option_entry *o = commands_options;
		     o->name != NULL; o++)
			if (strncmp(o->name, arg + 2, len) == 0)
				fprintf(stderr, " --%s", o->name);
		fputc('\n', stderr);
	} else if (search.nearest != NULL) {
		fprintf(stderr,
		    "there is no option '--%.*s': did you mean '--%s'?\n",
		    (int)len, arg + 2, search.nearest);
	} else {
		fprintf(stderr,
		    "there is no option '--%.*s'; 'tunnelctl help' names "
		    "them all\n",
		    (int)len, arg + 2);
	}
}

/* What getopt did not like. */
static void
say_wrong(int result, const char *arg)
{
	const struct option_entry *o = find_letter(optopt);

	if (result == ':' && o != NULL)
		fprintf(stderr, "tunnelctl: --%s needs %s: %s\n", o->name,
		    o->arg, o->help);
	else if (optopt == 0)
		say_unknown(arg);
	else if (o != NULL)
		fprintf(stderr, "tunnelctl: --%s takes no value\n", o->name);
	else
		fprintf(stderr,
		    "tunnelctl: there is no option '-%c'; 'tunnelctl help' "
		    "names them all\n",
		    optopt);
}

int
options_parse(struct context *context, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX + 1];
	char letters[2 * OPTIONS_MAX + 2];
	const struct option_entry *o;
	const char **value;
	int letter;

	make_options(longs, letters);
	opterr = 0;
	while ((letter = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		o = letter == '?' || letter == ':' ? NULL : find_letter(letter);
		if (o == NULL) {
			say_wrong(letter, argv[optind - 1]);
			return -1;
		}
		context->given |= o->bit;
		value = value_of(context, o->bit);
		if (value != NULL)
			*value = optarg;
	}
	context->json = (context->given & OPTION_JSON) != 0;
	context->csv = (context->given & OPTION_CSV) != 0;
	context->bytes = (context->given & OPTION_BYTES) != 0;
	context->utc = (context->given & OPTION_UTC) != 0;
	context->dry_run = (context->given & OPTION_DRY_RUN) != 0;
	context->kill = (context->given & OPTION_KILL) != 0;
	context->if_new = (context->given & OPTION_IF_NEW) != 0;
	context->args = argv + optind;
	context->n_args = argc - optind;
	return 0;
}

/* --- Judging ------------------------------------------------------------ */

int
options_check(const struct context *context)
{
	const struct command *command = context->command;
	int foreign = context->given & ~(command->options | OPTION_EVERYWHERE);
	int n = context->n_args;

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++)
		if ((o->bit & foreign) != 0) {
			commands_error(context, "takes no --%s", o->name);
			commands_synopsis(stderr, command);
			return -1;
		}
	if (context->json && context->csv) {
		commands_error(context, "give either --json or --csv");
		return -1;
	}
	if (n >= command->min_args &&
	    (command->max_args < 0 || n <= command->max_args))
		return 0;
	commands_error(context,
	    n < command->min_args ? "an argument is missing" :
				    "too many arguments");
	commands_synopsis(stderr, command);
	return -1;
}
