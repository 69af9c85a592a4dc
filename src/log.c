/* SPDX-License-Identifier: ISC */
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const struct {
	const char *name;
	int priority; /* of syslog */
} log_levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARNING] = { "warning", LOG_WARNING },
	[LOG_LEVEL_NOTICE] = { "notice", LOG_NOTICE },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};
#define LOG_LEVELS (sizeof log_levels / sizeof *log_levels)

/* Process-wide, as the log itself is. */
static _Atomic int log_current_target = LOG_TARGET_STDERR;
static _Atomic int log_current_level = LOG_LEVEL_INFO;
static _Atomic bool log_echoes = false;
static void (*log_tap)(const char *text, void *arg);
static void *log_tap_arg;

void
log_open(enum log_target target, enum log_level level)
{
	if (target == LOG_TARGET_SYSLOG)
		openlog("tunneld", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	log_current_target = target;
	log_current_level = level;
}

void
log_set_echo(bool echo)
{
	log_echoes = echo;
}

void
log_set_tap(void (*fn)(const char *text, void *arg), void *arg)
{
	log_tap = fn;
	log_tap_arg = arg;
}

void
log_set_level(enum log_level level)
{
	log_current_level = level;
}

enum log_level
log_get_level(void)
{
	return (enum log_level)log_current_level;
}

const char *
log_level_name(enum log_level level)
{
	return (size_t)level < LOG_LEVELS ? log_levels[level].name : "unknown";
}

int
log_level_parse(const char *name, enum log_level *level)
{
	size_t i;

	for (i = 0; i < LOG_LEVELS; i++) {
		if (strcmp(name, log_levels[i].name) != 0)
			continue;
		*level = (enum log_level)i;
		return 0;
	}
	return -1;
}

/* One write, so that lines of several threads do not mix. */
static void
log_to_stderr(enum log_level level, const char *text)
{
	char line[LOG_LINE_MAX + 64], date[32];
	struct timespec now;
	struct tm tm;
	int len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	len = snprintf(line, sizeof line, "%s.%03dZ %s: %s\n", date,
	    (int)(now.tv_nsec / 1000000), log_levels[level].name, text);
	if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* nobody listens; there is nowhere to say so */
}

__attribute__((format(printf, 2, 0))) static void
log_write(enum log_level level, const char *fmt, va_list ap)
{
	char text[LOG_LINE_MAX], *p;
	int saved = errno;

	if ((int)level > log_current_level)
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	/* What somebody forgot to escape must not look like another line. */
	for (p = text; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	if (log_tap != NULL && level == LOG_LEVEL_ERROR)
		log_tap(text, log_tap_arg);
	if (log_current_target == LOG_TARGET_SYSLOG)
		syslog(log_levels[level].priority, "%s", text);
	if (log_current_target == LOG_TARGET_STDERR ||
	    (log_echoes && level <= LOG_LEVEL_WARNING))
		log_to_stderr(level, text);
	errno = saved;
}

#define LOG_FUNCTION(name, level)            \
	void name(const char *fmt, ...)      \
	{                                    \
		va_list ap;                  \
                                             \
		va_start(ap, fmt);           \
		log_write((level), fmt, ap); \
		va_end(ap);                  \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_notice, LOG_LEVEL_NOTICE)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

_Noreturn void
log_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_write(LOG_LEVEL_ERROR, fmt, ap);
	va_end(ap);
	exit(1);
}

char *
log_escape(char *out, size_t size, const void *data, size_t len)
{
	const unsigned char *bytes = data;
	size_t i, used = 0, cut = 0;

	for (i = 0; i < len; i++) {
		bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f &&
		    bytes[i] != '\\';
		size_t need = plain ? 1 : 4;

		if (used + sizeof "..." <= size)
			cut = used;
		if (used + need + 1 > size) {
			memcpy(out + cut, "...", 3);
			used = cut + 3;
			break;
		}
		if (plain)
			out[used] = (char)bytes[i];
		else
			snprintf(out + used, 5, "\\x%02x", bytes[i]);
		used += need;
	}
	out[used] = '\0';
	return out;
}
