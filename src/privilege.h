/* SPDX-License-Identifier: ISC */
/*
 * privilege: from what we were started with to what the daemon needs, once
 * everything is bound, and the directories that it will write to.
 *
 * Started as root with daemon.user, it becomes that user: its uid, its gid, its
 * groups. Whoever it is then, of all capabilities it keeps these alone, as far
 * as it had them:
 *
 *	another user	CAP_NET_BIND_SERVICE, so that a reload may open a port
 *			below 1024 as a start may
 *	root		those, and CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_FOWNER:
 *			files of others, as the configuration names them
 *
 * so that it makes no difference whether root started it, or systemd as its
 * user with that one capability; started as its user without any, it has
 * none. Nothing is left to inherit or to get back: no ambient or inheritable
 * set, no_new_privs, and, where we may say so (as root), an empty bounding set
 * and securebits locked such that uid 0 gives nothing.
 *
 * The process stays dumpable, which the change of user would take away: what
 * its user may see is in the secret files anyway, and a crash can be looked
 * into where limits allow a core. So does PR_SET_PDEATHSIG; but a parent that
 * died in between is not noticed.  Floor 2.
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

/* For good, and before there is another thread: capabilities are a thread's
 * own. 0, or -1 with the reason in error. */
int privilege_drop(const struct privilege *privilege, char *error,
    size_t error_size);

#endif
