/* SPDX-License-Identifier: ISC */
/*
 * log: one line of text to syslog or to stderr, and nothing else.
 *
 * Owns the process-wide log target, as syslog(3) itself does. Must not know
 * who logs, and must never be given a secret: callers name things, never
 * print keys. Text that came from a stranger goes through log_escape() first.
 * Safe to call from any thread.  Floor 0.
 */
#ifndef TUNNELD_LOG_H
#define TUNNELD_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR,   /* something is broken and stays broken */
	LOG_LEVEL_WARNING, /* something failed and is tried again */
	LOG_LEVEL_NOTICE,  /* links and daemon up and down, kills, reloads */
	LOG_LEVEL_INFO,	   /* sessions opened and closed */
	LOG_LEVEL_DEBUG	   /* state changes, frames by name */
};

enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* Opens the target; may be called again to change target or level. */
void log_open(enum log_target target, enum log_level level);
void log_set_level(enum log_level level);
/* While on, warnings and errors that go to syslog go to stderr as well: for
 * whoever starts us by hand. */
void log_set_echo(bool echo);
enum log_level log_get_level(void);
/* Each error, as it is logged, also goes to fn, which must not log; for the
 * start, while there is one thread. NULL: no more. */
void log_set_tap(void (*fn)(const char *text, void *arg), void *arg);

/* "error", "warning", "notice", "info", "debug" and back; -1 if unknown. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *name, enum log_level *level);

/*
 * One line, without newline; cut at 1,023 bytes; control characters become
 * '?'. errno is preserved.
 */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Only at start, before the loop runs: logs at error level, exits with 1.
 * No byte from a peer, a user, the admin socket or the config reaches it.
 */
_Noreturn void log_fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/*
 * Writes data (any bytes) to out as printable ASCII, everything else and the
 * backslash as \xNN, cut with "..." where it does not fit; out is always
 * terminated. Returns out. size is at least 8.
 */
char *log_escape(char *out, size_t size, const void *data, size_t len);

#endif
