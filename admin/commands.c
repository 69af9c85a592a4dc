/* SPDX-License-Identifier: ISC */
#include "commands.h"

#include <stdarg.h>
#include <string.h>

#include "actions.h"

const struct option_entry commands_options[] = {
	{ OPTION_TUNNEL, 't', "tunnel", "TUNNEL",
	    "only this tunnel: NAME or PEER/NAME" },
	{ OPTION_PEER, 'p', "peer", "PEER", "only this peer" },
	{ OPTION_LIMIT, 'n', "limit", "N", "at most so many (default: 100)" },
	{ OPTION_NAME, 'N', "name", "NAME",
	    "this machine's name (default: its host name)" },
	{ OPTION_SOCKET, 's', "socket", "PATH", "the daemon's admin socket" },
	{ OPTION_JSON, 'j', "json", NULL, "JSON for programs" },
	{ OPTION_HELP, 'h', "help", NULL, "help, also of one command" },
	{ OPTION_VERSION, 'V', "version", NULL, "the version of tunnelctl" },
	{ 0, 0, NULL, NULL, NULL },
};

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

static const struct command commands[] = {
	{ "status", "", "all at one glance", NULL, 0, 0, 0, action_status },
	{ "peers", "", "the peers and the state of their links", NULL, 0, 0, 0,
	    action_peers },
	{ "tunnels", "", "the tunnels and what they carried", NULL, 0, 0, 0,
	    action_tunnels },
	{ "sessions", "[-t TUNNEL] [-p PEER]",
	    "the open sessions, oldest first", NULL,
	    OPTION_TUNNEL | OPTION_PEER, 0, 0, action_sessions },
	{ "session", "ID", "one session in full, also a closed one", NULL, 0, 1,
	    1, action_session },
	{ "kill", "ID... | -t TUNNEL | -p PEER", "close sessions at once",
	    "An ID that is not there does not save the others; the exit "
	    "status is 1 then.",
	    OPTION_TUNNEL | OPTION_PEER, 0, -1, action_kill },
	{ "history", "[-n N] [-t TUNNEL] [-p PEER]",
	    "closed sessions, newest first",
	    "From the ledger, which remembers peers and tunnels that are "
	    "configured no more:\na name that it does not know is no error, "
	    "the list is empty.",
	    OPTION_LIMIT | OPTION_TUNNEL | OPTION_PEER, 0, 0, action_history },
	{ "version", "", "the versions of daemon and tunnelctl", NULL, 0, 0, 0,
	    action_version },
	{ "secret", "[FILE]", "make a new secret",
	    "Prints it, or writes it to FILE (mode 0600), which must not "
	    "exist yet.\nNeeds no daemon.",
	    0, 0, 1, action_secret },
	{ "pair", "[-N NAME] CLIENT HOST:PORT",
	    "the config of a new pair of machines",
	    "This machine is the server: its gateway listens on PORT, and "
	    "the machine CLIENT\nreaches it at HOST:PORT. Prints config and "
	    "secret of both, ready to paste.\nNeeds no daemon.",
	    OPTION_NAME, 2, 2, action_pair },
	{ "help", "[COMMAND]", "this, or what a command takes", NULL, 0, 0, 1,
	    run_help },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, NULL },
};

/*
 * Typing errors between two words: letters missing, too many, wrong, or two
 * swapped (optimal string alignment). Words longer than any command count as
 * far away.
 */
static size_t
word_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), d[17][17], cost, best;

	if (la > 16 || lb > 16)
		return 16;
	for (size_t i = 0; i <= la; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= la; i++)
		for (size_t j = 1; j <= lb; j++) {
			cost = a[i - 1] != b[j - 1];
			best = d[i - 1][j - 1] + cost;
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	return d[la][lb];
}

static void
say_unknown(const char *name)
{
	const struct command *nearest = NULL;
	size_t least = 3, distance; /* farther than 2 is another word */

	for (const struct command *c = commands; c->name != NULL; c++) {
		distance = word_distance(name, c->name);
		if (distance < least && distance < strlen(c->name) - 1) {
			least = distance;
			nearest = c;
		}
	}
	fprintf(stderr, "tunnelctl: there is no command '%s'", name);
	if (nearest != NULL)
		fprintf(stderr, ": did you mean '%s'?\n", nearest->name);
	else
		fprintf(stderr, "; 'tunnelctl help' names them all\n");
}

const struct command *
commands_find(const char *name)
{
	const struct command *found = NULL;
	size_t len = strlen(name), n = 0;

	for (const struct command *c = commands; c->name != NULL; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
		if (len > 0 && strncmp(c->name, name, len) == 0) {
			found = c;
			n++;
		}
	}
	if (n == 1)
		return found;
	if (n == 0) {
		say_unknown(name);
		return NULL;
	}
	fprintf(stderr,
	    "tunnelctl: '%s' is short for more than one command:", name);
	for (const struct command *c = commands; c->name != NULL; c++)
		if (strncmp(c->name, name, len) == 0)
			fprintf(stderr, " %s", c->name);
	fputc('\n', stderr);
	return NULL;
}

/* --- Help --------------------------------------------------------------- */

static void
print_options(FILE *file, int bits)
{
	char text[40];

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++) {
		if ((o->bit & bits) == 0)
			continue;
		snprintf(text, sizeof text, "-%c, --%s%s%s", o->letter, o->name,
		    o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);
		fprintf(file, "  %-22s  %s\n", text, o->help);
	}
}

void
commands_usage(FILE *file)
{
	fprintf(file,
	    "usage: tunnelctl [-s PATH] [-j] COMMAND [ARGUMENTS]\n\n"
	    "Commands, which may be shortened:\n");
	for (const struct command *c = commands; c->name != NULL; c++)
		fprintf(file, "  %-9s%-29s %s\n", c->name, c->args, c->help);
	fprintf(file, "\nOptions, before or after the command:\n");
	print_options(file, ~0);
	fprintf(file, "\nThe manual: tunnelctl(8).\n");
}

void
commands_help(const struct command *command)
{
	printf("usage: tunnelctl %s%s%s\n\n%s\n", command->name,
	    command->args[0] == '\0' ? "" : " ", command->args, command->help);
	if (command->more != NULL)
		printf("%s\n", command->more);
	printf("\nOptions:\n");
	print_options(stdout, command->options | OPTION_EVERYWHERE);
}
