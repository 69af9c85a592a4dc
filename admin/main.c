/* SPDX-License-Identifier: ISC */
/* tunnelctl: asks tunneld what is going on, and orders. See tunnelctl(8). */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build.h"
#include "commands.h"
#include "options.h"

#define DEFAULT_SOCKET "/run/tunneld/admin.sock"

/* Only where somebody sees it, and who does not want it has none. */
static bool
wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') &&
	    term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

static int
run_command(struct context *context)
{
	struct output_settings settings = {
		.format = context->json ? OUTPUT_JSON :
		    context->csv	? OUTPUT_CSV :
					  OUTPUT_TABLE,
		.columns = context->columns,
		.bytes = context->bytes,
		.utc = context->utc,
		.colour = wants_colour(),
	};
	int status;

	context->out = output_new(&settings);
	if (context->out == NULL) {
		commands_error(context, "out of memory");
		return EXIT_REFUSED;
	}
	status = context->command->run(context);
	if (output_finish(context->out) == 0)
		return status;
	commands_error(context, "cannot write: %s", strerror(errno));
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
	const char *path = getenv("TUNNELD_SOCKET");
	struct context context = {
		.socket = path != NULL && path[0] != '\0' ? path :
							    DEFAULT_SOCKET,
	};
	bool help;

	fill_standard_fds();
	signal(SIGPIPE, SIG_IGN);
	setlocale(LC_CTYPE, "");
	if (options_parse(&context, argc, argv) != 0)
		return EXIT_USAGE;
	help = (context.given & OPTION_HELP) != 0;
	if ((context.given & OPTION_VERSION) != 0) {
		printf("tunnelctl %s\n", VERSION);
		return EXIT_DONE;
	}
	if (context.n_args == 0) {
		commands_usage(help ? stdout : stderr);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	context.command = commands_find(context.args[0]);
	if (context.command == NULL)
		return EXIT_USAGE;
	context.args++;
	context.n_args--;
	if (help) {
		commands_help(context.command);
		return EXIT_DONE;
	}
	if (options_check(&context) != 0)
		return EXIT_USAGE;
	return run_command(&context);
}
