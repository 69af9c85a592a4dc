/* SPDX-License-Identifier: ISC */
/* tunnelctl: asks tunneld what is going on, and orders. See tunnelctl(8). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build.h"
#include "commands.h"

#define DEFAULT_SOCKET "/run/tunneld/admin.sock"
#define OPTIONS_MAX 16

/* What the command line said, before it is judged. */
struct line {
	struct context context;
	int given; /* option bits */
	enum output_format format;
};

/* The one table of options in the two forms that getopt_long(3) wants. */
static void
make_options(struct option *longs, char *letters)
{
	const struct option_entry *o = commands_options;

	for (size_t i = 0; i < OPTIONS_MAX && o->name != NULL; i++, o++) {
		*longs++ = (struct option){ o->name, o->arg != NULL, NULL,
			o->letter };
		*letters++ = o->letter;
		if (o->arg != NULL)
			*letters++ = ':';
	}
	*longs = (struct option){ 0 };
	*letters = '\0';
}

static void
take_option(struct line *line, int letter, const char *value)
{
	const struct option_entry *o = commands_options;

	while (o->letter != letter)
		o++;
	line->given |= o->bit;
	switch (o->bit) {
	case OPTION_SOCKET:
		line->context.socket = value;
		break;
	case OPTION_JSON:
		line->format = OUTPUT_JSON;
		break;
	case OPTION_TUNNEL:
		line->context.tunnel = value;
		break;
	case OPTION_PEER:
		line->context.peer = value;
		break;
	case OPTION_LIMIT:
		line->context.limit = value;
		break;
	case OPTION_NAME:
		line->context.name = value;
		break;
	}
}

/* getopt says what is wrong. */
static int
parse_options(struct line *line, int argc, char **argv)
{
	struct option longs[OPTIONS_MAX + 1];
	char letters[2 * OPTIONS_MAX + 1];
	int letter;

	make_options(longs, letters);
	while ((letter = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (letter == '?') {
			fprintf(stderr, "Try 'tunnelctl help'.\n");
			return -1;
		}
		take_option(line, letter, optarg);
	}
	line->context.args = argv + optind;
	line->context.n_args = argc - optind;
	return 0;
}

/* Does what was given fit the command? */
static int
check_line(const struct line *line)
{
	const struct command *command = line->context.command;
	int foreign = line->given & ~(command->options | OPTION_EVERYWHERE);
	int n = line->context.n_args;

	for (const struct option_entry *o = commands_options; o->name != NULL;
	     o++)
		if ((o->bit & foreign) != 0) {
			commands_error(&line->context, "takes no --%s",
			    o->name);
			return -1;
		}
	if (n >= command->min_args &&
	    (command->max_args < 0 || n <= command->max_args))
		return 0;
	commands_error(&line->context,
	    n < command->min_args ? "an argument is missing" :
				    "too many arguments");
	fprintf(stderr, "usage: tunnelctl %s%s%s\n", command->name,
	    command->args[0] == '\0' ? "" : " ", command->args);
	return -1;
}

static int
run_command(struct line *line)
{
	int status;

	line->context.out = output_new(line->format);
	if (line->context.out == NULL) {
		commands_error(&line->context, "out of memory");
		return EXIT_REFUSED;
	}
	status = line->context.command->run(&line->context);
	if (output_finish(line->context.out) == 0)
		return status;
	commands_error(&line->context, "cannot write: %s", strerror(errno));
	return status == EXIT_DONE ? EXIT_REFUSED : status;
}

/* Or else the daemon's socket might become stdout. */
static void
fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int
main(int argc, char **argv)
{
	struct line line = { .format = OUTPUT_TABLE };
	const char *path = getenv("TUNNELD_SOCKET");

	fill_standard_fds();
	signal(SIGPIPE, SIG_IGN);
	setlocale(LC_CTYPE, "");
	line.context.socket = path != NULL && path[0] != '\0' ? path :
								DEFAULT_SOCKET;
	if (parse_options(&line, argc, argv) != 0)
		return EXIT_USAGE;
	if ((line.given & OPTION_VERSION) != 0) {
		printf("tunnelctl %s\n", VERSION);
		return EXIT_DONE;
	}
	if (line.context.n_args == 0) {
		commands_usage((line.given & OPTION_HELP) != 0 ? stdout :
								 stderr);
		return (line.given & OPTION_HELP) != 0 ? EXIT_DONE : EXIT_USAGE;
	}
	line.context.command = commands_find(line.context.args[0]);
	if (line.context.command == NULL)
		return EXIT_USAGE;
	line.context.args++;
	line.context.n_args--;
	if ((line.given & OPTION_HELP) != 0) {
		commands_help(line.context.command);
		return EXIT_DONE;
	}
	if (check_line(&line) != 0)
		return EXIT_USAGE;
	return run_command(&line);
}
