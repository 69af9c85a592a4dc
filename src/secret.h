/* SPDX-License-Identifier: ISC */
/*
 * secret: the files that hold a peer's secret: 32 random bytes in base64
 * (RFC 4648, with padding), one line.
 *
 * Reads and judges them, makes new ones; never logs or keeps one.  Floor 0
 * (it opens a file, but no event and no socket).
 */
#ifndef TUNNELD_SECRET_H
#define TUNNELD_SECRET_H

#include <sys/types.h>

#include <stddef.h>

#include "auth.h"

#define SECRET_TEXT_SIZE 45 /* 44 characters of base64, terminated */

/*
 * Who will read the file: usually the process itself (secret_reader_self),
 * or the user that a root process is about to become.
 */
struct secret_reader {
	uid_t uid;
	gid_t *groups; /* all of them, the primary one too; owned */
	size_t n_groups;
};

/* 0, or -1 with the reason in error. user NULL means this process. */
int secret_reader_init(struct secret_reader *reader, const char *user,
    char *error, size_t error_size);
void secret_reader_clear(struct secret_reader *reader);

/*
 * Reads the file at path. Refused, with a reason in error that names the path
 * and never the content: it is missing, not a regular file, readable or
 * writable by others, writable by its group, owned by neither root nor the
 * reader, not readable by the reader (or out of its reach), or not 32 bytes in
 * base64 with at most white space around it. 0 or -1.
 */
int secret_read(const char *path, const struct secret_reader *reader,
    struct auth_secret *out, char *error, size_t error_size);

/* A new secret as text, without newline. The caller wipes it. */
void secret_make(char text[SECRET_TEXT_SIZE]);

#endif
