/* SPDX-License-Identifier: ISC */
#include "commands.h"

#include <stdarg.h>
#include <string.h>

#include "actions.h"
#include "watch.h"
#include "words.h"

#define USAGE_WIDTH 80

void
commands_error(const struct context *context, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "tunnelctl: ");
	if (context->command != NULL)
		fprintf(stderr, "%s: ", context->command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* --- The table ---------------------------------------------------------- */

static int
run_help(struct context *context)
{
	const struct command *command;

	if (context->n_args == 0) {
		commands_usage(stdout);
		return EXIT_DONE;
	}
	command = commands_find(context->args[0]);
	if (command == NULL)
		return EXIT_USAGE;
	commands_help(command);
	return EXIT_DONE;
}

#define SELECTORS                                                   \
	"[-t TUNNEL] [-p PEER] [-S ADDRESS[/BITS]] [--older TIME] " \
	"[--idle TIME]"
#define SPAN "[--since WHEN] [--until WHEN]"
#define TIMES                                                              \
	"TIME is 90, 90s, 15m, 2h, 3d or 1w. Of several options all must " \
	"hold."
#define WHENS                                                           \
	"WHEN is that long ago (2h, 3d), a day (2026-11-20) or a time " \
	"(\"2026-11-20 14:00\"), local unless --utc is given or a Z "   \
	"stands behind it."

const struct command commands_table[] = {
	{ "status", "", "all at one glance", NULL, 0, 0, 0, NULL,
	    action_status },
	{ "peers", "", "the peers and the state of their links", NULL,
	    OPTION_TABLE, 0, 0, NULL, action_peers },
	{ "tunnels", "", "the tunnels and what they carry", NULL, OPTION_TABLE,
	    0, 0, NULL, action_tunnels },
	{ "sessions", SELECTORS, "the open sessions, oldest first", TIMES,
	    OPTION_TABLE | OPTION_SELECT, 0, 0, NULL, action_sessions },
	{ "session", "ID", "one session in full, also a closed one", NULL,
	    OPTION_TABLE, 1, 1, "sessions", action_session },
	{ "kill", "[-d] ID...\n[-d] " SELECTORS, "close sessions at once",
	    "An ID that is not there does not save the others; the exit "
	    "status is 1 then.\n" TIMES,
	    OPTION_TABLE | OPTION_SELECT | OPTION_DRY_RUN, 0, -1, "sessions",
	    action_kill },
	{ "disconnect", "PEER", "end the link to a peer; it comes back", NULL,
	    0, 1, 1, "peers", action_disconnect },
	{ "disable", "[-k] NAME\n[-k] -t TUNNEL\n[-k] -p PEER",
	    "switch a tunnel or a peer off, until enabled",
	    "NAME is a tunnel or a peer. It stays so when the daemon is "
	    "started again. Its open sessions go on unless -k is given.",
	    OPTION_TUNNEL | OPTION_PEER | OPTION_KILL, 0, 1, "names",
	    action_disable },
	{ "enable", "NAME\n-t TUNNEL\n-p PEER",
	    "switch a tunnel or a peer on again", NULL,
	    OPTION_TUNNEL | OPTION_PEER, 0, 1, "names", action_enable },
	{ "history",
	    "[-n N] [-t TUNNEL] [-p PEER] [-S ADDRESS] [-r REASON] " SPAN
	    " [--min-bytes SIZE] [--database FILE]\n"
	    "links [-n N] [-p PEER] [-r REASON] " SPAN " [--database FILE]\n"
	    "changes [-n N] " SPAN " [--database FILE]",
	    "closed sessions, lives of links, changes",
	    "Newest first, 100 unless -n is given. It is when a session was "
	    "opened that counts, for --since and --until, too.\n"
	    "From the ledger, which remembers peers and tunnels "
	    "that are configured no more: a name that it does not know is no "
	    "error, the list is empty.\n" WHENS
	    "\nSIZE is 4096, 10K, 1M or 2.5G.",
	    OPTION_TABLE | OPTION_LIMIT | OPTION_TUNNEL | OPTION_PEER |
		OPTION_SOURCE | OPTION_REASON | OPTION_SINCE | OPTION_UNTIL |
		OPTION_MIN_BYTES | OPTION_DATABASE,
	    0, 1, "past", action_history },
	{ "stats",
	    "[--by WHAT] [--per SPAN] " SPAN
	    " [-t TUNNEL] [-p PEER] [-S ADDRESS] [-n N] [--database FILE]",
	    "how much each was used, and for how long",
	    "WHAT is tunnel, peer, source or link; without it: the tunnels, "
	    "then how long each link was up. SPAN is hour or day. Of the last "
	    "24 hours unless --since is given. All of them unless -n is given, "
	    "but of sources 100.\n" WHENS,
	    OPTION_TABLE | OPTION_LIMIT | OPTION_TUNNEL | OPTION_PEER |
		OPTION_SOURCE | OPTION_SINCE | OPTION_UNTIL | OPTION_BY |
		OPTION_PER | OPTION_DATABASE,
	    0, 0, NULL, action_stats },
	{ "events", "[-t TUNNEL] [-p PEER] [--kind KINDS]",
	    "what happens, as it happens, until ^C",
	    "KINDS has commas between: link, session, error, change, reload.",
	    OPTION_TUNNEL | OPTION_PEER | OPTION_KIND, 0, 0, NULL,
	    action_events },
	{ "watch", "[-i SECONDS] [-t TUNNEL] [-p PEER]",
	    "a screen of rates, kept up to date", NULL,
	    OPTION_INTERVAL | OPTION_TUNNEL | OPTION_PEER, 0, 0, NULL,
	    action_watch },
	{ "test", "TUNNEL", "try a tunnel up to its service",
	    "Opens a session through it, without a user, and closes it again. "
	    "The exit status is 1 if a step fails.",
	    0, 1, 1, "tunnels", action_test },
	{ "ping", "[-c N] [-i SECONDS] PEER",
	    "measure the round trip to a peer",
	    "The exit status is 1 if an answer was missing.",
	    OPTION_COUNT | OPTION_INTERVAL, 1, 1, "peers", action_ping },
	{ "reload", "[-d]", "take over what changed in the configuration",
	    "All of it or, if something is wrong, nothing: then all errors "
	    "are told, and the exit status is 1. With -d it shows what would "
	    "change and what that does to open sessions.",
	    OPTION_DRY_RUN, 0, 0, NULL, action_reload },
	{ "upgrade", "[--if-new]",
	    "have the program that is installed take over",
	    "Its worker begins with all addresses that this one listens on; "
	    "open sessions run on in the old one. If the new one cannot begin, "
	    "nothing changes, it says why, and the exit status is 1.",
	    OPTION_IF_NEW, 0, 0, NULL, action_upgrade },
	{ "log-level", "LEVEL", "how much the daemon logs from now on",
	    "LEVEL is error, warning, notice, info or debug.", 0, 1, 1,
	    "levels", action_log_level },
	{ "config", "", "the configuration in effect, without secrets", NULL, 0,
	    0, 0, NULL, action_config },
	{ "version", "", "the versions of daemon and tunnelctl", NULL,
	    OPTION_TABLE, 0, 0, NULL, action_version },
	{ "secret", "[FILE]", "make a new secret",
	    "Prints it, or writes it to FILE (mode 0600), which must not "
	    "exist yet.\nNeeds no daemon.",
	    0, 0, 1, "files", action_secret },
	{ "pair", "[-N NAME] CLIENT HOST:PORT",
	    "the config of a new pair of machines",
	    "This machine is the server: its gateway listens on PORT, and "
	    "the machine CLIENT reaches it at HOST:PORT. Prints a script for "
	    "each of the two, to be pasted there, which writes config and "
	    "secret.\nNeeds no daemon.",
	    OPTION_NAME, 2, 2, NULL, action_pair },
	{ "completion", "bash|zsh", "the script that completes tunnelctl",
	    "For bash, for example: source <(tunnelctl completion bash). "
	    "Packages install it.\nNeeds no daemon.",
	    0, 1, 1, "shells", action_completion },
	{ "help", "[COMMAND]", "this, or what a command takes", NULL, 0, 0, 1,
	    "commands", run_help },
	{ "complete-words", "KIND [COMMAND [ARGUMENT]]\nline -- WORD...", NULL,
	    "The words that may stand there, one a line, for the completion "
	    "of shells. KIND is commands, options, tunnels, peers, names, "
	    "sessions, reasons, kinds, levels, by, per, past, shells or columns; "
	    "line: what may stand for the last WORD of a line.",
	    0, 1, -1, NULL, action_complete_words },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL },
};

/* --- Finding ------------------------------------------------------------ */

static void
say_unknown(const char *name)
{
	struct words_search search = { .word = name };

	for (const struct command *c = commands_table; c->name != NULL; c++)
		if (c->help != NULL)
			words_offer(&search, c->name);
	fprintf(stderr, "tunnelctl: there is no command '%s'", name);
	if (search.nearest != NULL)
		fprintf(stderr, ": did you mean '%s'?\n", search.nearest);
	else
		fprintf(stderr, "; 'tunnelctl help' names them all\n");
}

/* A hidden command must be written out. */
static bool
is_short_for(const char *name, const struct command *command)
{
	return name[0] != '\0' && command->help != NULL &&
	    strncmp(command->name, name, strlen(name)) == 0;
}

/* That name, or what it is short for; n: of how many commands. */
static const struct command *
find(const char *name, size_t *n)
{
	const struct command *found = NULL;

	*n = 0;
	for (const struct command *c = commands_table; c->name != NULL; c++) {
		if (strcmp(c->name, name) == 0) {
			*n = 1;
			return c;
		}
		if (is_short_for(name, c)) {
			found = c;
			++*n;
		}
	}
	return *n == 1 ? found : NULL;
}

const struct command *
commands_lookup(const char *name)
{
	size_t n;

	return find(name, &n);
}

const struct command *
commands_find(const char *name)
{
	size_t n;
	const struct command *found = find(name, &n);

	if (n == 1)
		return found;
	if (n == 0) {
		say_unknown(name);
		return NULL;
	}
	fprintf(stderr,
	    "tunnelctl: '%s' is short for more than one command:", name);
	for (const struct command *c = commands_table; c->name != NULL; c++)
		if (is_short_for(name, c))
			fprintf(stderr, " %s", c->name);
	fputc('\n', stderr);
	return NULL;
}

/* --- Help --------------------------------------------------------------- */

static void
print_options(FILE *file, int bits)
{
	char text[40];
	int len;

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++) {
		if ((o->bit & bits) == 0)
			continue;
		if (o->letter > 255)
			len = snprintf(text, sizeof text, "    ");
		else
			len = snprintf(text, sizeof text, "-%c, ", o->letter);
		snprintf(text + len, sizeof text - (size_t)len, "--%s%s%s",
		    o->name, o->arg == NULL ? "" : " ",
		    o->arg == NULL ? "" : o->arg);
		fprintf(file, "  %-24s  %s\n", text, o->help);
	}
}

/* The length of the next word: "[-t TUNNEL]" is one. */
static int
usage_word(const char *text)
{
	int len = 0, depth = 0;

	for (; text[len] != '\0' && text[len] != '\n'; len++) {
		if (text[len] == ' ' && depth == 0)
			break;
		depth += (text[len] == '[') - (text[len] == ']');
	}
	return len;
}

/* One form of a command. Returns where the next one begins, NULL: none. */
static const char *
print_form(FILE *file, const char *lead, const struct command *command,
    const char *args)
{
	int indent = fprintf(file, "%s tunnelctl %s", lead, command->name);
	int column = indent, len;

	while (*args != '\0' && *args != '\n') {
		len = usage_word(args);
		if (column + 1 + len > USAGE_WIDTH) {
			fprintf(file, "\n%*s", indent, "");
			column = indent;
		}
		column += fprintf(file, " %.*s", len, args);
		args += len;
		args += *args == ' ';
	}
	fputc('\n', file);
	return *args == '\n' ? args + 1 : NULL;
}

/* Broken between words where a line is full; a newline in it is one. */
static void
print_text(const char *text)
{
	size_t column = 0, len;

	while (*text != '\0') {
		len = strcspn(text, " \n");
		if (column > 0 && column + 1 + len > USAGE_WIDTH) {
			putchar('\n');
			column = 0;
		}
		column += (size_t)printf("%s%.*s", column == 0 ? "" : " ",
		    (int)len, text);
		text += len;
		if (*text == '\n') {
			putchar('\n');
			column = 0;
		}
		text += *text != '\0';
	}
	putchar('\n');
}

void
commands_synopsis(FILE *file, const struct command *command)
{
	const char *args = command->args, *lead = "usage:";

	for (; args != NULL; lead = "      ")
		args = print_form(file, lead, command, args);
}

void
commands_usage(FILE *file)
{
	fprintf(file,
	    "usage: tunnelctl [-s PATH] [-j] COMMAND [ARGUMENTS]\n\n"
	    "Commands, which may be shortened:\n");
	for (const struct command *c = commands_table; c->name != NULL; c++)
		if (c->help != NULL)
			fprintf(file, "  %-12s  %s\n", c->name, c->help);
	fprintf(file, "\nOptions, before or after the command:\n");
	print_options(file, OPTION_EVERYWHERE | OPTION_TABLE);
	fprintf(file,
	    "\n'tunnelctl help COMMAND' tells what a command takes. "
	    "The manual: tunnelctl(8).\n");
}

void
commands_help(const struct command *command)
{
	commands_synopsis(stdout, command);
	putchar('\n');
	if (command->help != NULL)
		printf("%s\n", command->help);
	if (command->more != NULL)
		print_text(command->more);
	printf("\nOptions:\n");
	print_options(stdout, command->options | OPTION_EVERYWHERE);
}
