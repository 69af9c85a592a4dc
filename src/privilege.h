/* SPDX-License-Identifier: ISC */
/*
 * privilege: from root to daemon.user, once everything is bound, and the
 * directories that this user will write to.  Floor 2.
 */
#ifndef TUNNELD_PRIVILEGE_H
#define TUNNELD_PRIVILEGE_H

#include <stddef.h>
#include <sys/types.h>

struct privilege {
	const char *user; /* NULL: stay who we are */
	uid_t uid;	  /* who we are, or will be */
	gid_t gid;
};

/* Looks the user up. Being somebody else already is an error unless it is
 * that user. 0, or -1 with the reason in error. */
int privilege_init(struct privilege *privilege, const char *user, char *error,
    size_t error_size);

/* Makes the last directory of path (0750, the user's) if it is missing. */
void privilege_make_directory(const struct privilege *privilege,
    const char *path);

/* For good: groups, gid, uid. 0, or -1 with the reason in error. */
int privilege_drop(const struct privilege *privilege, char *error,
    size_t error_size);

#endif
