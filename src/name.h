/* SPDX-License-Identifier: ISC */
/*
 * name: what peers and tunnels may be called: [A-Za-z0-9._-]{1,64}.
 * Pure.  Floor 0.
 */
#ifndef TUNNELD_NAME_H
#define TUNNELD_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define NAME_MAX_LENGTH 64
#define NAME_SIZE (NAME_MAX_LENGTH + 1) /* a buffer for one, terminated */

/* len bytes at text, not necessarily terminated. */
bool name_is_valid(const char *text, size_t len);

#endif
