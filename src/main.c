/* SPDX-License-Identifier: ISC */
/*
 * tunneld(8): the command line, the config, and off to the daemon.
 */
#include <sys/resource.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "build.h"
#include "config.h"
#include "daemon.h"
#include "log.h"

#define MAIN_CONFIG "/etc/tunneld/tunnels.conf"

enum { MAIN_OPTIONS = 256 };

static const char main_usage[] =
    "usage: tunneld [-ftvVh] [-c FILE]\n"
    "\n"
    "  -c, --config FILE  the configuration (" MAIN_CONFIG ")\n"
    "  -f, --foreground   log to stderr, whatever the configuration says\n"
    "  -t, --test         check the configuration, say all that is wrong\n"
    "                     with it, and exit\n"
    "  -v, --verbose      log at level debug\n"
    "      --options      list the options of the configuration, and exit\n"
    "  -V, --version      print the version, and exit\n"
    "  -h, --help         print this, and exit\n"
    "\n"
    "tunneld never goes into the background by itself: that is for whoever\n"
    "starts it. See tunneld(8) and tunnels.conf(5); ask with tunnelctl(8).\n";

struct main_arguments {
	const char *path;
	bool foreground, test, verbose;
};

static void
main_print_line(const char *text, void *arg)
{
	(void)arg;
	puts(text);
}

/* -1: go on; else the exit status. */
static int
main_parse(int argc, char **argv, struct main_arguments *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "test", no_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "options", no_argument, NULL, MAIN_OPTIONS },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	out->path = MAIN_CONFIG;
	while ((c = getopt_long(argc, argv, "c:ftvVh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			out->path = optarg;
			break;
		case 'f':
			out->foreground = true;
			break;
		case 't':
			out->test = true;
			break;
		case 'v':
			out->verbose = true;
			break;
		case MAIN_OPTIONS:
			config_options_print(main_print_line, NULL);
			return 0;
		case 'V':
			puts("tunneld " VERSION);
			return 0;
		case 'h':
			fputs(main_usage, stdout);
			return 0;
		default:
			fputs(main_usage, stderr);
			return 2;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "tunneld: unexpected argument: %s\n", argv[optind]);
	return 2;
}

static void
main_print_errors(const struct config_errors *errors)
{
	size_t i;

	for (i = 0; i < errors->n; i++) {
		const struct config_error *error = &errors->list[i];

		if (error->line > 0)
			fprintf(stderr, "%s:%d: %s\n", error->file, error->line,
			    error->message);
		else
			fprintf(stderr, "%s: %s\n", error->file,
			    error->message);
	}
}

/* Two descriptors a session: as many as we may have. */
static void
main_raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warning("cannot raise the number of open files");
}

int
main(int argc, char **argv)
{
	struct main_arguments arguments = { 0 };
	struct config_errors errors;
	struct daemon_start start = { .version = VERSION };
	struct daemon *daemon;
	int status = main_parse(argc, argv, &arguments);

	if (status != -1)
		return status;
	start.config = config_load(arguments.path, &errors);
	if (start.config == NULL) {
		main_print_errors(&errors);
		config_errors_clear(&errors);
		return 1;
	}
	config_errors_clear(&errors);
	if (arguments.test) {
		printf("%s: no errors; peers: %zu, tunnels: %zu\n",
		    arguments.path, start.config->n_peers,
		    start.config->n_tunnels);
		config_unref(start.config);
		return 0;
	}
	log_open(arguments.foreground ? LOG_TARGET_STDERR :
					start.config->daemon.log,
	    arguments.verbose ? LOG_LEVEL_DEBUG :
				start.config->daemon.log_level);
	start.foreground = arguments.foreground;
	start.verbose = arguments.verbose;
	log_set_echo(true);
	main_raise_limits();
	daemon = daemon_new(&start);
	if (daemon == NULL)
		return 1;
	log_set_echo(false);
	status = daemon_run(daemon);
	daemon_free(daemon);
	return status;
}
