/* SPDX-License-Identifier: ISC */
#include "secret.h"

#include <sys/stat.h>

#include <openssl/evp.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET_FILE_MAX 128 /* 44 characters, and white space around */

static int
secret_reader_self(struct secret_reader *reader)
{
	int n = getgroups(0, NULL);

	if (n < 0)
		return -1;
	reader->uid = geteuid();
	reader->groups = calloc((size_t)n + 1, sizeof *reader->groups);
	if (reader->groups == NULL)
		return -1;
	reader->groups[0] = getegid();
	n = getgroups(n, reader->groups + 1);
	if (n < 0)
		return -1;
	reader->n_groups = (size_t)n + 1;
	return 0;
}

static int
secret_reader_user(struct secret_reader *reader, const struct passwd *pw)
{
	int n = 0;

	reader->uid = pw->pw_uid;
	getgrouplist(pw->pw_name, pw->pw_gid, NULL, &n);
	reader->groups = calloc((size_t)(n > 0 ? n : 1),
	    sizeof *reader->groups);
	if (reader->groups == NULL ||
	    getgrouplist(pw->pw_name, pw->pw_gid, reader->groups, &n) < 0)
		return -1;
	reader->n_groups = (size_t)n;
	return 0;
}

int
secret_reader_init(struct secret_reader *reader, const char *user, char *error,
    size_t error_size)
{
	const struct passwd *pw;
	int result;

	memset(reader, 0, sizeof *reader);
	if (user == NULL) {
		result = secret_reader_self(reader);
	} else {
		pw = getpwnam(user);
		if (pw == NULL) {
			snprintf(error, error_size, "no user is called %s",
			    user);
			return -1;
		}
		result = secret_reader_user(reader, pw);
	}
	if (result == 0)
		return 0;
	snprintf(error, error_size, "cannot tell the groups: %s",
	    strerror(errno));
	secret_reader_clear(reader);
	return -1;
}

void
secret_reader_clear(struct secret_reader *reader)
{
	free(reader->groups);
	memset(reader, 0, sizeof *reader);
}

static bool
secret_in_group(const struct secret_reader *reader, gid_t gid)
{
	size_t i;

	for (i = 0; i < reader->n_groups; i++)
		if (reader->groups[i] == gid)
			return true;
	return false;
}

/* Whether the reader may do this (S_IROTH, S_IXOTH), as the kernel decides. */
static bool
secret_may(const struct stat *st, const struct secret_reader *reader,
    mode_t what)
{
	mode_t mode = st->st_mode;

	if (reader->uid == 0)
		return true;
	if (st->st_uid == reader->uid)
		mode >>= 6;
	else if (secret_in_group(reader, st->st_gid))
		mode >>= 3;
	return (mode & what) != 0;
}

/* Whether the reader may pass through every directory above the file. */
static bool
secret_may_reach(const char *path, const struct secret_reader *reader)
{
	char *real = realpath(path, NULL), *slash = real;
	struct stat st;
	bool may = real != NULL && stat("/", &st) == 0 &&
	    secret_may(&st, reader, S_IXOTH);

	while (may && (slash = strchr(slash + 1, '/')) != NULL) {
		*slash = '\0';
		may = stat(real, &st) == 0 && secret_may(&st, reader, S_IXOTH);
		*slash = '/';
	}
	free(real);
	return may;
}

/* NULL, or what is wrong with the file. */
static const char *
secret_judge(const char *path, const struct stat *st,
    const struct secret_reader *reader)
{
	if (!S_ISREG(st->st_mode))
		return "not a regular file";
	if ((st->st_mode & (S_IROTH | S_IWOTH)) != 0)
		return "readable or writable by others (chmod 0600)";
	if ((st->st_mode & S_IWGRP) != 0)
		return "writable by its group (chmod 0640)";
	if (st->st_uid != 0 && st->st_uid != reader->uid)
		return "owned by neither root nor the daemon's user";
	if (reader->uid == geteuid())
		return NULL; /* it was opened, by whatever right */
	if (!secret_may(st, reader, S_IROTH))
		return "not readable by the daemon's user";
	if (!secret_may_reach(path, reader))
		return "in a directory closed to the daemon's user";
	return NULL;
}

/* 44 characters of base64 to 32 bytes; RFC 4648, canonical. */
static int
secret_decode(const char *text, size_t len, struct auth_secret *out)
{
	unsigned char bytes[36], again[SECRET_TEXT_SIZE];
	int result = -1;

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	while (len > 0 && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	if (len != SECRET_TEXT_SIZE - 1)
		return -1;
	/* OpenSSL takes white space and padding as it comes; writing it anew
	 * tells whether it was written right. */
	if (EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len) ==
		33 &&
	    EVP_EncodeBlock(again, bytes, AUTH_SECRET_SIZE) == (int)len &&
	    memcmp(again, text, len) == 0) {
		memcpy(out->bytes, bytes, sizeof out->bytes);
		result = 0;
	}
	auth_wipe(bytes, sizeof bytes);
	auth_wipe(again, sizeof again);
	return result;
}

int
secret_read(const char *path, const struct secret_reader *reader,
    struct auth_secret *out, char *error, size_t error_size)
{
	char text[SECRET_FILE_MAX + 1];
	const char *why = NULL;
	struct stat st;
	ssize_t n;
	int fd;

	/* A FIFO or a device must not make us wait. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd == -1 || fstat(fd, &st) == -1) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	why = secret_judge(path, &st, reader);
	if (why == NULL) {
		n = read(fd, text, sizeof text);
		if (n < 0)
			why = strerror(errno);
		else if (n == (ssize_t)sizeof text ||
		    secret_decode(text, (size_t)n, out) != 0)
			why = "does not hold 32 bytes in base64 "
			      "(make one with tunnelctl secret)";
		auth_wipe(text, sizeof text);
	}
	close(fd);
	if (why == NULL)
		return 0;
	snprintf(error, error_size, "%s: %s", path, why);
	return -1;
}

void
secret_make(char text[SECRET_TEXT_SIZE])
{
	uint8_t bytes[AUTH_SECRET_SIZE];

	auth_random(bytes, sizeof bytes);
	EVP_EncodeBlock((unsigned char *)text, bytes, sizeof bytes);
	auth_wipe(bytes, sizeof bytes);
}
