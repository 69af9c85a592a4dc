/* SPDX-License-Identifier: ISC */
/*
 * tunneld(8): the command line, the config, and off to the daemon.
 */
#include <sys/resource.h>

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "build.h"
#include "config.h"
#include "daemon.h"
#include "log.h"
#include "master.h"

#define MAIN_CONFIG "/etc/tunneld/tunnels.conf"

enum { MAIN_OPTIONS = 256, MAIN_NO_MASTER };

static const char main_usage[] =
    "usage: tunneld [-ftvVh] [--no-master] [-c FILE]\n"
    "\n"
    "  -c, --config FILE  the configuration (" MAIN_CONFIG ")\n"
    "  -f, --foreground   log to stderr, whatever the configuration says\n"
    "  -t, --test         check the configuration, say all that is wrong\n"
    "                     with it, and exit\n"
    "  -v, --verbose      log at level debug\n"
    "      --no-master    do all of it in this process, for debugging:\n"
    "                     without upgrades, and nobody starts it anew\n"
    "      --options      list the options of the configuration, and exit\n"
    "  -V, --version      print the version, and exit\n"
    "  -h, --help         print this, and exit\n"
    "\n"
    "tunneld never goes into the background by itself: that is for whoever\n"
    "starts it. See tunneld(8) and tunnels.conf(5); ask with tunnelctl(8).\n";

struct main_arguments {
	const char *path;
	bool foreground, test, verbose, no_master;
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
		{ "no-master", no_argument, NULL, MAIN_NO_MASTER },
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
		case MAIN_NO_MASTER:
			out->no_master = true;
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

/* --- a worker's failure to start ---------------------------------------- */

/* What went wrong, for the master to tell whoever asked for an upgrade. */
struct main_complaints {
	char text[HANDOVER_TEXT_MAX];
	size_t len;
};

static void
main_complain(const char *text, void *arg)
{
	struct main_complaints *complaints = arg;
	size_t left = sizeof complaints->text - complaints->len;
	int len = snprintf(complaints->text + complaints->len, left, "%s%s",
	    complaints->len > 0 ? "\n" : "", text);

	/* What does not fit is in the log. */
	if (len > 0 && (size_t)len < left)
		complaints->len += (size_t)len;
}

static void
main_complain_config(struct main_complaints *complaints,
    const struct config_errors *errors)
{
	char line[sizeof errors->list->message + PATH_MAX];
	size_t i;

	for (i = 0; i < errors->n; i++) {
		snprintf(line, sizeof line, "%s:%d: %s", errors->list[i].file,
		    errors->list[i].line, errors->list[i].message);
		main_complain(line, complaints);
	}
}

/* --- what there is to do -------------------------------------------------- */

static int
main_test(const struct main_arguments *arguments, struct config *config)
{
	printf("%s: no errors; peers: %zu, tunnels: %zu\n", arguments->path,
	    config->n_peers, config->n_tunnels);
	config_unref(config);
	return 0;
}

/* The daemon itself: of a master, or alone. */
static int
main_work(struct daemon_start *start)
{
	struct main_complaints complaints = { .len = 0 };
	struct handover *master = start->master;
	struct daemon *daemon;
	int status;

	/* Whoever starts it by hand looks at stderr. */
	log_set_echo(master == NULL || start->given.why == HANDOVER_FIRST);
	log_set_tap(main_complain, &complaints);
	main_raise_limits();
	daemon = daemon_new(start);
	log_set_tap(NULL, NULL);
	if (daemon == NULL) {
		if (master != NULL)
			(void)handover_say(master, HANDOVER_FAILED,
			    complaints.text);
		handover_free(master);
		return 1;
	}
	log_set_echo(false);
	status = daemon_run(daemon);
	daemon_free(daemon);
	return status;
}

/* Errors go to stderr, and to the master. */
static struct config *
main_load(const struct main_arguments *arguments, struct handover *master)
{
	struct main_complaints complaints = { .len = 0 };
	struct config_errors errors;
	struct config *config = config_load(arguments->path, &errors);

	if (config == NULL) {
		main_print_errors(&errors);
		main_complain_config(&complaints, &errors);
		if (master != NULL)
			(void)handover_say(master, HANDOVER_FAILED,
			    complaints.text);
	}
	config_errors_clear(&errors);
	return config;
}

static void
main_open_log(const struct main_arguments *arguments,
    const struct config_daemon *conf)
{
	log_open(arguments->foreground ? LOG_TARGET_STDERR : conf->log,
	    arguments->verbose ? LOG_LEVEL_DEBUG : conf->log_level);
}

/* -1: this process is no worker; else 0, or its exit status. */
static int
main_meet_master(struct daemon_start *start)
{
	const char *number = getenv(MASTER_VARIABLE);
	int fd = number == NULL ? -1 : atoi(number);

	start->lock_fd = -1;
	if (number == NULL)
		return -1;
	unsetenv(MASTER_VARIABLE);
	return daemon_start_receive(start, fd) == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	struct main_arguments arguments = { 0 };
	struct daemon_start start = { .version = VERSION };
	int status = main_parse(argc, argv, &arguments), worker;

	if (status != -1)
		return status;
	worker = main_meet_master(&start);
	if (worker > 0)
		return 1;
	start.config = main_load(&arguments, start.master);
	if (start.config == NULL) {
		handover_free(start.master);
		net_inherited_free(start.inherited);
		return 1;
	}
	if (arguments.test)
		return main_test(&arguments, start.config);
	main_open_log(&arguments, &start.config->daemon);
	start.foreground = arguments.foreground;
	start.verbose = arguments.verbose;
	if (worker == 0 || arguments.no_master)
		return main_work(&start);
	config_unref(start.config);
	main_raise_limits();
	return master_run(argv);
}
