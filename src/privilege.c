/* SPDX-License-Identifier: ISC */
#include "privilege.h"

#include <sys/prctl.h>
#include <sys/stat.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
privilege_init(struct privilege *privilege, const char *user, char *error,
    size_t error_size)
{
	const struct passwd *pw;

	privilege->user = NULL;
	privilege->uid = geteuid();
	privilege->gid = getegid();
	if (user == NULL)
		return 0;
	pw = getpwnam(user);
	if (pw == NULL) {
		snprintf(error, error_size, "no user is called %s", user);
		return -1;
	}
	if (privilege->uid != 0) {
		if (privilege->uid == pw->pw_uid)
			return 0;
		snprintf(error, error_size, "only root can become %s", user);
		return -1;
	}
	privilege->user = user;
	privilege->uid = pw->pw_uid;
	privilege->gid = pw->pw_gid;
	return 0;
}

void
privilege_make_directory(const struct privilege *privilege, const char *path)
{
	char directory[4096];
	char *slash;

	snprintf(directory, sizeof directory, "%s", path);
	slash = strrchr(directory, '/');
	if (slash == NULL || slash == directory)
		return;
	*slash = '\0';
	/* What goes wrong here shows when the file is opened. */
	if (mkdir(directory, 0750) == 0 && privilege->user != NULL &&
	    chown(directory, privilege->uid, privilege->gid) == -1)
		return;
}

int
privilege_drop(const struct privilege *privilege, char *error,
    size_t error_size)
{
	if (privilege->user == NULL)
		return 0;
	if (initgroups(privilege->user, privilege->gid) == -1 ||
	    setresgid(privilege->gid, privilege->gid, privilege->gid) == -1 ||
	    setresuid(privilege->uid, privilege->uid, privilege->uid) == -1) {
		snprintf(error, error_size, "cannot become %s: %s",
		    privilege->user, strerror(errno));
		return -1;
	}
	if (privilege->uid != 0 && setuid(0) == 0) {
		snprintf(error, error_size, "could become root again");
		return -1;
	}
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return 0;
}
