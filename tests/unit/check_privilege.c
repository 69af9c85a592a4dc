/* SPDX-License-Identifier: ISC */
/* What is given up, and what is an error. Each test is a process of its own;
 * tests/system/test_privilege.py looks at the daemon from outside. */
#include <sys/prctl.h>
#include <sys/stat.h>

#include <check.h>
#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "privilege.h"

static struct privilege privilege;
static char error[200];

static bool
has(int capability)
{
	unsigned long long bits = 0;
	char line[200];
	FILE *file = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "CapEff: %llx", &bits) == 1)
			break;
	fclose(file);
	return (bits >> capability & 1) != 0;
}

static void
forbid(const char *name)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	ck_assert_int_eq(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
			     seccomp_syscall_resolve_name(name), 0),
	    0);
	ck_assert_int_eq(seccomp_load(filter), 0);
	seccomp_release(filter);
}

START_TEST(test_users)
{
	const struct passwd *me = getpwuid(geteuid());

	ck_assert_int_eq(privilege_init(&privilege, NULL, error, sizeof error),
	    0);
	ck_assert_ptr_null(privilege.user);
	ck_assert_int_eq(privilege.uid, geteuid());
	ck_assert_int_eq(privilege_init(&privilege, "no-such-user", error,
			     sizeof error),
	    -1);
	ck_assert_ptr_nonnull(strstr(error, "no-such-user"));
	if (me != NULL)
		ck_assert_int_eq(privilege_init(&privilege, me->pw_name, error,
				     sizeof error),
		    0);
	if (geteuid() != 0)
		ck_assert_int_eq(privilege_init(&privilege, "root", error,
				     sizeof error),
		    -1);
}
END_TEST

START_TEST(test_stays_who_it_is)
{
	bool binds = has(CAP_NET_BIND_SERVICE);
	uid_t uid = geteuid();

	ck_assert_int_eq(privilege_init(&privilege, NULL, error, sizeof error),
	    0);
	ck_assert_int_eq(privilege_drop(&privilege, error, sizeof error), 0);
	ck_assert_int_eq(geteuid(), uid);
	ck_assert(has(CAP_NET_BIND_SERVICE) == binds);
	ck_assert(!has(CAP_SYS_ADMIN));
	ck_assert(!has(CAP_SETUID));
	ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	/* Nothing is left to be given up. */
	ck_assert_int_eq(privilege_drop(&privilege, error, sizeof error), 0);
}
END_TEST

START_TEST(test_becomes_a_user_for_good)
{
	int death_signal = 0;

	if (geteuid() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, 15, 0, 0, 0);
	ck_assert_int_eq(privilege_init(&privilege, "nobody", error,
			     sizeof error),
	    0);
	ck_assert_int_eq(privilege_drop(&privilege, error, sizeof error), 0);
	ck_assert_int_eq(getuid(), privilege.uid);
	ck_assert_int_eq(geteuid(), privilege.uid);
	ck_assert_int_eq(getegid(), privilege.gid);
	ck_assert_int_eq(setuid(0), -1);
	ck_assert_int_eq(seteuid(0), -1);
	ck_assert_int_eq(setgid(0), -1);
	ck_assert(!has(CAP_SETUID));
	prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
	ck_assert_int_eq(death_signal, 15);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
	ck_assert_int_eq(prctl(PR_CAPBSET_READ, CAP_NET_BIND_SERVICE, 0, 0, 0),
	    0);
}
END_TEST

/* Under a filter of systemd's it is an error only if there is something that
 * must go. */
START_TEST(test_may_not_say_so)
{
	bool is_root = has(CAP_SYS_ADMIN);

	ck_assert_int_eq(privilege_init(&privilege, NULL, error, sizeof error),
	    0);
	if (_i == 1)
		ck_assert_int_eq(privilege_drop(&privilege, error,
				     sizeof error),
		    0);
	forbid("capset");
	ck_assert_int_eq(privilege_drop(&privilege, error, sizeof error),
	    _i == 0 && is_root ? -1 : 0);
}
END_TEST

START_TEST(test_directory)
{
	char base[] = "/tmp/check_privilege.XXXXXX", path[100];
	struct stat st;

	ck_assert_ptr_nonnull(mkdtemp(base));
	ck_assert_int_eq(privilege_init(&privilege,
			     geteuid() == 0 ? "nobody" : NULL, error,
			     sizeof error),
	    0);
	snprintf(path, sizeof path, "%s/new/file", base);
	privilege_make_directory(&privilege, path);
	snprintf(path, sizeof path, "%s/new", base);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_uid, privilege.uid);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rmdir(base), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("privilege");
	TCase *tc = tcase_create("privilege");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_users);
	tcase_add_test(tc, test_stays_who_it_is);
	tcase_add_test(tc, test_becomes_a_user_for_good);
	tcase_add_loop_test(tc, test_may_not_say_so, 0, 2);
	tcase_add_test(tc, test_directory);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
