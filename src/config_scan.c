/* SPDX-License-Identifier: ISC */
/*
 * libconfig 1.5 ends the process (flex: "input in flex scanner failed") when
 * it is told to include a directory, hangs on a FIFO, ignores the rest of the
 * file after a comment that is never closed, and cuts numbers to 32 bits
 * unless they end in L. None of that may happen to a daemon that reloads, so
 * its tokens are looked at here first.
 */
#include "config_parse.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (8 * 1024 * 1024)
#define INCLUDE_DEPTH 10 /* libconfig's own limit */
#define INCLUDES_MAX 256

struct config_scan {
	struct config_reader *reader;
	const char *file; /* NULL: the main one */
	const char *p;	  /* where we are in its text */
	unsigned line;
	unsigned depth;
	unsigned *n_includes; /* in all files */
	bool unfit;	      /* libconfig must not see this */
};

static void config_scan_text(struct config_scan *scan);

/*
 * The whole of a regular file, terminated; NULL with the reason in *why.
 * Opened without blocking, since a FIFO may have been put there.
 */
static char *
config_read_text(const char *path, const char **why)
{
	struct stat st;
	char *text = NULL;
	size_t size, len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd == -1 || fstat(fd, &st) == -1) {
		*why = strerror(errno);
		goto fail;
	}
	*why = NULL;
	if (!S_ISREG(st.st_mode))
		*why = "not a regular file";
	else if (st.st_size > FILE_MAX)
		*why = "larger than 8 MiB";
	if (*why != NULL)
		goto fail;
	size = (size_t)st.st_size;
	text = malloc(size + 1);
	if (text == NULL) {
		*why = "out of memory";
		goto fail;
	}
	/* A file that grows meanwhile is read as far as it was. */
	while (len < size) {
		n = read(fd, text + len, size - len);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			*why = strerror(errno);
			goto fail;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	if (memchr(text, '\0', len) != NULL) {
		*why = "holds a byte of value zero, so it is not text";
		goto fail;
	}
	close(fd);
	return text;
fail:
	free(text);
	if (fd != -1)
		close(fd);
	return NULL;
}

static void
config_scan_comment(struct config_scan *scan)
{
	unsigned line = scan->line;

	scan->p += 2;
	while (*scan->p != '\0') {
		if (scan->p[0] == '*' && scan->p[1] == '/') {
			scan->p += 2;
			return;
		}
		if (*scan->p++ == '\n')
			scan->line++;
	}
	config_error_add(scan->reader, scan->file, line,
	    "the comment that begins here is never closed");
	scan->unfit = true;
}

static void
config_scan_string(struct config_scan *scan)
{
	unsigned line = scan->line;

	for (scan->p++; *scan->p != '\0' && *scan->p != '"'; scan->p++) {
		if (scan->p[0] == '\\' && scan->p[1] != '\0')
			scan->p++;
		if (*scan->p == '\n')
			scan->line++;
	}
	if (*scan->p == '"') {
		scan->p++;
		return;
	}
	config_error_add(scan->reader, scan->file, line,
	    "the string that begins here is never closed");
	scan->unfit = true;
}

/* An unsigned number; a sign stands before it and changes little. */
static void
config_scan_number(struct config_scan *scan)
{
	const char *digits = scan->p;
	unsigned long long value = 0;
	char token[32];
	size_t len;
	bool hex, is_long, whole;

	hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
	if (hex)
		digits += 2;
	len = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
	is_long = digits[len] == 'L';
	whole = len > 0 &&
	    (is_long ||
		(!isalnum((unsigned char)digits[len]) && digits[len] != '.'));
	while (isalnum((unsigned char)*scan->p) || *scan->p == '.')
		scan->p++;
	if (!whole)
		return; /* a fraction, or nonsense that is libconfig's */
	errno = 0;
	if (len < sizeof(token)) {
		memcpy(token, digits, len);
		token[len] = '\0';
		value = strtoull(token, NULL, hex ? 16 : 10);
	}
	if (len >= sizeof(token) || errno == ERANGE || value > INT64_MAX)
		config_error_add(scan->reader, scan->file, scan->line,
		    "this number is too large");
	else if (!is_long && value > INT32_MAX)
		config_error_add(scan->reader, scan->file, scan->line,
		    "a number this large must end in L: %s%sL", hex ? "0x" : "",
		    token);
}

static void
config_scan_include_file(struct config_scan *scan, const char *path)
{
	struct config_scan inner = *scan;
	char quoted[CONFIG_TEXT_MAX], *text = NULL;
	const char *why = NULL;

	if (path[0] != '/')
		why = "not an absolute path";
	else if (scan->depth >= INCLUDE_DEPTH)
		why = "too deep, or a file that includes itself";
	else if (++*scan->n_includes > INCLUDES_MAX)
		why = "one included file too many";
	else
		text = config_read_text(path, &why);
	if (text == NULL) {
		config_error_add(scan->reader, scan->file, scan->line,
		    "include \"%s\": %s", config_quote(quoted, path), why);
		scan->unfit = true;
		return;
	}
	inner.file = path;
	inner.p = text;
	inner.line = 1;
	inner.depth++;
	config_scan_text(&inner);
	scan->unfit = scan->unfit || inner.unfit;
	free(text);
}

/* If `@include "path"` stands here, at the beginning of a line, takes it. */
static bool
config_scan_include(struct config_scan *scan)
{
	const char *p = scan->p + strspn(scan->p, " \t");
	char path[PATH_MAX];
	size_t len = 0, blank;

	if (strncmp(p, "@include", 8) != 0)
		return false;
	p += 8;
	blank = strspn(p, " \t");
	p += blank;
	if (blank == 0 || *p != '"')
		return false; /* a syntax error; libconfig says so */
	for (p++; *p != '\0' && *p != '"' && *p != '\n'; p++) {
		if (p[0] == '\\' && (p[1] == '\\' || p[1] == '"'))
			p++;
		if (len < sizeof(path) - 1)
			path[len++] = *p;
	}
	path[len] = '\0';
	scan->p = p + (*p == '"');
	config_scan_include_file(scan, path);
	return true;
}

static bool
config_is_key_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '*';
}

static void
config_scan_text(struct config_scan *scan)
{
	bool line_begins = true;

	/* Past the bound nothing is looked at, or it would be no bound. */
	while (*scan->p != '\0' && *scan->n_includes <= INCLUDES_MAX) {
		const char *p = scan->p;

		if (line_begins && config_scan_include(scan)) {
			line_begins = false;
			continue;
		}
		line_begins = false;
		if (*p == '\n') {
			line_begins = true;
			scan->line++;
			scan->p++;
		} else if (*p == '#' || (p[0] == '/' && p[1] == '/')) {
			scan->p += strcspn(p, "\n");
		} else if (p[0] == '/' && p[1] == '*') {
			config_scan_comment(scan);
		} else if (*p == '"') {
			config_scan_string(scan);
		} else if (isdigit((unsigned char)*p)) {
			config_scan_number(scan);
		} else if (isalpha((unsigned char)*p) || *p == '*') {
			while (config_is_key_char(*scan->p))
				scan->p++;
		} else {
			scan->p++;
		}
	}
}

int
config_scan(struct config_reader *reader, char **text)
{
	struct config_scan scan = { .reader = reader, .line = 1 };
	unsigned n_includes = 0;
	const char *why;

	*text = config_read_text(reader->config->path, &why);
	if (*text == NULL) {
		config_error_add(reader, NULL, 0, "%s", why);
		return -1;
	}
	scan.p = *text;
	scan.n_includes = &n_includes;
	config_scan_text(&scan);
	reader->n_scanned = reader->errors->n;
	if (!scan.unfit)
		return 0;
	free(*text);
	*text = NULL;
	return -1;
}
