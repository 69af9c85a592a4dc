/* SPDX-License-Identifier: ISC */
/*
 * admin_judge: who may do what on the admin socket, by the word of the kernel
 * (SO_PEERCRED, SO_PEERGROUPS) at the time of connecting. For admin.c alone.
 * Floor 5.
 */
#ifndef TUNNELD_ADMIN_JUDGE_H
#define TUNNELD_ADMIN_JUDGE_H

#include "admin_client.h"

struct admin_group {
	bool is_set;
	gid_t gid;
};

/* Besides root and the user that this process runs as. */
struct admin_rules {
	uid_t owner;		 /* may do all */
	struct admin_group all;	 /* may do all */
	struct admin_group look; /* may do what changes nothing */
};

/* The group of that name, for the option of that name; NULL: none. -1 if
 * there is no such group. Looks into the group database. */
int admin_group_find(const char *name, struct admin_group *out);

/* 0, or -1 if the kernel says nothing of whoever connected as fd. */
int admin_judge(const struct admin_rules *rules, int fd,
    struct admin_peer *out);

/* "root, the daemon's user and members of admin_group": who may change things,
 * or (looks) who may look. Returns buf. */
char *admin_judge_describe(const struct admin_rules *rules, bool looks,
    char *buf, size_t size);

#endif
