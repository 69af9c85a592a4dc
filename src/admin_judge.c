/* SPDX-License-Identifier: ISC */
#include "admin_judge.h"

#include <sys/socket.h>

#include <grp.h>
#include <stdio.h>
#include <unistd.h>

#define JUDGE_GROUPS 1024 /* of a client that are looked at */

/* What the kernel says of a client. */
struct judged {
	struct ucred cred;
	gid_t groups[JUDGE_GROUPS];
	size_t n;
};

int
admin_group_find(const char *name, struct admin_group *out)
{
	struct group *group;

	if (name == NULL)
		return 0;
	group = getgrnam(name);
	if (group == NULL)
		return -1;
	out->is_set = true;
	out->gid = group->gr_gid;
	return 0;
}

static int
judged_read(struct judged *judged, int fd)
{
	socklen_t len = sizeof judged->cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &judged->cred, &len) != 0)
		return -1;
	/* Who is in more groups than this is not let in by any of them. */
	len = sizeof judged->groups;
	judged->n = 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, judged->groups, &len) ==
	    0)
		judged->n = len / sizeof judged->groups[0];
	return 0;
}

static bool
judged_in(const struct judged *judged, const struct admin_group *group)
{
	size_t i;

	if (!group->is_set)
		return false;
	if (judged->cred.gid == group->gid)
		return true;
	for (i = 0; i < judged->n; i++)
		if (judged->groups[i] == group->gid)
			return true;
	return false;
}

int
admin_judge(const struct admin_rules *rules, int fd, struct admin_peer *out)
{
	struct judged judged;
	uid_t uid;

	if (judged_read(&judged, fd) != 0)
		return -1;
	uid = judged.cred.uid;
	out->uid = uid;
	out->may_change = uid == 0 || uid == rules->owner || uid == geteuid() ||
	    judged_in(&judged, &rules->all);
	out->may_look = out->may_change || judged_in(&judged, &rules->look);
	return 0;
}

char *
admin_judge_describe(const struct admin_rules *rules, bool looks, char *buf,
    size_t size)
{
	bool all = rules->all.is_set, look = looks && rules->look.is_set;

	snprintf(buf, size, "root%s the daemon's user%s%s%s%s",
	    all || look ? "," : " and", all || look ? " and members of " : "",
	    all ? "admin_group" : "", all && look ? " or " : "",
	    look ? "admin_read_group" : "");
	return buf;
}
