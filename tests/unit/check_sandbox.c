/* SPDX-License-Identifier: ISC */
/* What gets through the sandbox, and what does not. Each test is a process of
 * its own. */
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/netlink.h>

#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_sandbox.h"
#include "sandbox.h"

#define PAGE 4096

void
check_sandbox_enter(void)
{
	const struct sandbox_options options = { .kills = false };
	char error[200] = "";

	ck_assert_msg(sandbox_enter(&options, error, sizeof error) == 0, "%s",
	    error);
}

/* --- what must go on working ------------------------------------------------ */

static void *
add_one(void *arg)
{
	++*(int *)arg;
	return arg;
}

START_TEST(test_threads)
{
	pthread_t thread;
	int i, n = 0;

	check_sandbox_enter();
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, add_one, &n), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	ck_assert_int_eq(n, 3);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

START_TEST(test_sockets)
{
	static const struct {
		int family, type, protocol;
	} rows[] = {
		{ AF_UNIX, SOCK_STREAM, 0 },
		{ AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0 },
		{ AF_UNIX, SOCK_SEQPACKET, 0 },
		{ AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 },
		{ AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP },
		{ AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0 },
		{ AF_INET, SOCK_DGRAM, IPPROTO_UDP },
		{ AF_INET6, SOCK_STREAM, 0 },
		{ AF_INET6, SOCK_DGRAM, 0 },
		{ AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE },
	};
	size_t i;
	int fd;

	check_sandbox_enter();
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		fd = socket(rows[i].family, rows[i].type, rows[i].protocol);
		/* A machine may have no IPv6; the filter says EPERM. */
		ck_assert_msg(fd >= 0 || errno == EAFNOSUPPORT, "row %zu: %s",
		    i, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	CHECK_SANDBOX_LEAVE();
}
END_TEST

/* As a master and its worker talk. */
START_TEST(test_descriptor_is_passed)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char text[] = "x";
	struct iovec io = { .iov_base = text, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &io,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	int pair[2], fd;

	check_sandbox_enter();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			     pair),
	    0);
	fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	ck_assert_int_eq(sendmsg(pair[0], &message, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC), 1);
	ck_assert_int_eq(control.header.cmsg_type, SCM_RIGHTS);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

/* As the ledger treats its file. */
START_TEST(test_file)
{
	char path[] = "/tmp/check_sandbox.XXXXXX", other[64];
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	struct stat st;
	void *map;
	int fd;

	check_sandbox_enter();
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	ck_assert_int_eq(posix_fallocate(fd, 0, PAGE), 0);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
	ck_assert_int_eq(*(char *)map, 'x');
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(fdatasync(fd), 0);
	ck_assert_int_eq(fchmod(fd, 0640), 0);
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(chown(path, (uid_t)-1, getgid()), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	snprintf(other, sizeof other, "%s.damaged", path);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(unlink(other), 0);
	ck_assert_int_eq(munmap(map, PAGE), 0);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

/* Name service modules are loaded when they are first needed. */
START_TEST(test_library_is_loaded)
{
	/* With libc itself on any Debian, and not loaded by this program. */
	static const char *const names[] = { "libnss_hesiod.so.2",
		"libnss_compat.so.2", "libutil.so.1", "libanl.so.1" };
	size_t i;

	check_sandbox_enter();
	for (i = 0; i < sizeof names / sizeof *names; i++)
		if (dlopen(names[i], RTLD_NOW) != NULL)
			CHECK_SANDBOX_LEAVE();
	ck_abort_msg("%s", dlerror());
}
END_TEST

START_TEST(test_names)
{
	struct addrinfo *list = NULL;

	check_sandbox_enter();
	ck_assert_int_eq(getaddrinfo("localhost", "80", NULL, &list), 0);
	freeaddrinfo(list);
	/* Whatever becomes of it, it comes back. */
	if (getaddrinfo("no-such-host.invalid", "80", NULL, &list) == 0)
		freeaddrinfo(list);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

START_TEST(test_abort)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	check_sandbox_enter();
	raise(SIGCHLD); /* ignored by default */
	abort();
}
END_TEST

/* --- what must not: the others stand in check_sandbox_refused.c -------------- */

START_TEST(test_killed)
{
	const struct sandbox_options options = { .kills = true };
	struct rlimit none = { 0, 0 };
	char error[200];

	setrlimit(RLIMIT_CORE, &none);
	ck_assert_int_eq(sandbox_enter(&options, error, sizeof error), 0);
	(void)syscall(SYS_memfd_create, "x", 0);
}
END_TEST

/* libc falls back on this errno alone. */
START_TEST(test_calls_to_come)
{
	check_sandbox_enter();
	errno = 0;
	ck_assert_int_eq(syscall(SYS_clone3, NULL, 0), -1);
	ck_assert_int_eq(errno, ENOSYS);
	errno = 0;
	ck_assert_int_eq(syscall(540), -1);
	ck_assert_int_eq(errno, ENOSYS);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

static pthread_barrier_t barrier;

static void *
run_late(void *arg)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	errno = 0;
	*(bool *)arg = syscall(SYS_memfd_create, "x", 0) == -1 &&
	    errno == EPERM;
	return NULL;
}

START_TEST(test_threads_there_are)
{
	pthread_t thread;
	bool refuses = false;

	pthread_barrier_init(&barrier, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_late, &refuses), 0);
	pthread_barrier_wait(&barrier);
	check_sandbox_enter();
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	ck_assert(refuses);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

START_TEST(test_no_new_privileges)
{
	check_sandbox_enter();
	ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	ck_assert_int_eq(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
	CHECK_SANDBOX_LEAVE();
}
END_TEST

/* --- its making ------------------------------------------------------------------ */

START_TEST(test_environment)
{
	struct sandbox_options options = { .kills = true };
	char error[200] = "";

	unsetenv("TUNNELD_SANDBOX");
	ck_assert_int_eq(sandbox_read_environment(&options, error,
			     sizeof error),
	    0);
	ck_assert(!options.kills);
	setenv("TUNNELD_SANDBOX", "kill", 1);
	ck_assert_int_eq(sandbox_read_environment(&options, error,
			     sizeof error),
	    0);
	ck_assert(options.kills);
	setenv("TUNNELD_SANDBOX", "off", 1);
	ck_assert_int_eq(sandbox_read_environment(&options, error,
			     sizeof error),
	    -1);
	ck_assert_ptr_nonnull(strstr(error, "TUNNELD_SANDBOX"));
}
END_TEST

static const uint32_t archs[] = {
	0,
	SCMP_ARCH_X86_64,
	SCMP_ARCH_AARCH64,
	SCMP_ARCH_ARM,
	SCMP_ARCH_X86,
	SCMP_ARCH_PPC64LE,
	SCMP_ARCH_RISCV64,
};

START_TEST(test_architectures)
{
	/* Of them all; arm64 has nothing else for these. */
	static const char *const wanted[] = { "\"openat\"", "\"ppoll\"",
		"\"epoll_pwait\"", "\"clone\"", "\"futex\"", "\"fstat",
		"\"unlinkat\"", "\"renameat2\"", "\"fchmodat\"", "\"fchownat\"",
		"\"mkdirat\"", "\"faccessat\"", "\"pipe2\"", "\"mprotect\"",
		"\"rseq\"", "\"statx\"", "\"fallocate\"" };
	static const char *const unwanted[] = { "\"execve\"", "\"ptrace\"",
		"\"mount\"", "\"setuid\"", "\"bpf\"" };
	const struct sandbox_options options = { .kills = false };
	static char text[1 << 20];
	FILE *file = tmpfile();
	size_t i, n;

	ck_assert_int_eq(sandbox_print(&options, archs[_i], fileno(file)), 0);
	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = '\0';
	fclose(file);
	for (i = 0; i < sizeof wanted / sizeof *wanted; i++)
		ck_assert_msg(strstr(text, wanted[i]) != NULL, "%s", wanted[i]);
	for (i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
		ck_assert_msg(sandbox_weakness() != NULL ||
			strstr(text, unwanted[i]) == NULL,
		    "%s", unwanted[i]);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tc = tcase_create("sandbox");
	SRunner *runner;
	int failed;

	tcase_add_exit_test(tc, test_threads, 0);
	tcase_add_exit_test(tc, test_sockets, 0);
	tcase_add_exit_test(tc, test_descriptor_is_passed, 0);
	tcase_add_exit_test(tc, test_file, 0);
	tcase_add_exit_test(tc, test_library_is_loaded, 0);
	tcase_add_exit_test(tc, test_names, 0);
	tcase_add_test_raise_signal(tc, test_abort, SIGABRT);
	tcase_add_test_raise_signal(tc, test_killed, SIGSYS);
	tcase_add_exit_test(tc, test_calls_to_come, 0);
	tcase_add_exit_test(tc, test_threads_there_are, 0);
	tcase_add_exit_test(tc, test_no_new_privileges, 0);
	tcase_add_test(tc, test_environment);
	tcase_add_loop_test(tc, test_architectures, 0,
	    (int)(sizeof archs / sizeof *archs));
	tcase_set_timeout(tc, 30);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, check_sandbox_refused());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
