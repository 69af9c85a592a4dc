/* SPDX-License-Identifier: ISC */
#include "privilege.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/capability.h>
#include <linux/securebits.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PRIVILEGE_BIT(cap) (UINT64_C(1) << (cap))
#define PRIVILEGE_USER PRIVILEGE_BIT(CAP_NET_BIND_SERVICE)
#define PRIVILEGE_ROOT                               \
	(PRIVILEGE_USER | PRIVILEGE_BIT(CAP_CHOWN) | \
	    PRIVILEGE_BIT(CAP_DAC_OVERRIDE) | PRIVILEGE_BIT(CAP_FOWNER))

/* uid 0 means nothing, a change of uid changes no capability, none becomes
 * ambient; and so for ever. */
#define PRIVILEGE_SECUREBITS                                             \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | \
	    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |    \
	    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

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
	    lchown(directory, privilege->uid, privilege->gid) == -1)
		return;
}

/* Those we may have, and those of them in effect. glibc has no function. */
static int
privilege_get(uint64_t *permitted)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) == -1)
		return -1;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

/* Permitted and in effect; none to inherit, and so none ambient. */
static int
privilege_set(uint64_t wanted)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	size_t i;

	memset(data, 0, sizeof data);
	for (i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].permitted = data[i].effective = (uint32_t)(wanted >>
		    32 * i);
	return syscall(SYS_capset, &header, data) == -1 ? -1 : 0;
}

/*
 * What only CAP_SETPCAP may do, which a container or a user of systemd's does
 * not have: then it is theirs, and no_new_privs makes both idle.
 */
static int
privilege_lock(uint64_t permitted)
{
	int cap;

	if ((permitted & PRIVILEGE_BIT(CAP_SETPCAP)) == 0)
		return 0;
	if (privilege_set(permitted) == -1)
		return -1;
	/* Up to the last one that this kernel knows. */
	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == -1)
			return -1;
	/* Somebody may have locked them to something else. */
	(void)prctl(PR_SET_SECUREBITS, PRIVILEGE_SECUREBITS, 0, 0, 0);
	return 0;
}

static int
privilege_reduce(void)
{
	uint64_t permitted, wanted;

	if (privilege_get(&permitted) == -1 || privilege_lock(permitted) == -1)
		return -1;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	wanted = permitted & (geteuid() == 0 ? PRIVILEGE_ROOT : PRIVILEGE_USER);
	if (privilege_set(wanted) == 0 || wanted == permitted)
		return 0; /* a filter of systemd's may forbid the call */
	return -1;
}

static int
privilege_become(const struct privilege *privilege)
{
	if (initgroups(privilege->user, privilege->gid) == -1 ||
	    setresgid(privilege->gid, privilege->gid, privilege->gid) == -1)
		return -1;
	/* Permitted ones stay, for privilege_reduce to choose from; or, where
	 * that was forbidden, none do. */
	(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (setresuid(privilege->uid, privilege->uid, privilege->uid) == -1)
		return -1;
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	return 0;
}

/* What the kernel takes away from whoever becomes somebody else. */
static void
privilege_restore(int death_signal)
{
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
}

int
privilege_drop(const struct privilege *privilege, char *error,
    size_t error_size)
{
	int death_signal = 0;

	(void)prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
	if (privilege->user != NULL && privilege_become(privilege) == -1) {
		snprintf(error, error_size, "cannot become %s: %s",
		    privilege->user, strerror(errno));
		return -1;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
	    privilege_reduce() == -1) {
		snprintf(error, error_size, "cannot give up capabilities: %s",
		    strerror(errno));
		return -1;
	}
	if (privilege->user != NULL && privilege->uid != 0 && setuid(0) == 0) {
		snprintf(error, error_size, "could become root again");
		return -1;
	}
	if (privilege->user != NULL)
		privilege_restore(death_signal);
	return 0;
}
