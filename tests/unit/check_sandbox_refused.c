/* SPDX-License-Identifier: ISC */
/* What the sandbox does not let through. */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/netlink.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "check_sandbox.h"
#include "sandbox.h"

#define PAGE 4096

#define PLAIN(name, ...)                                 \
	static long try_##name(void)                     \
	{                                                \
		return syscall(SYS_##name, __VA_ARGS__); \
	}

PLAIN(execve, "/bin/true", NULL, NULL)
PLAIN(execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0)
PLAIN(process_vm_readv, getpid(), NULL, 0, NULL, 0, 0)
PLAIN(mount, "none", "/mnt", "tmpfs", 0, NULL)
PLAIN(umount2, "/mnt", 0)
PLAIN(pivot_root, "/", "/")
PLAIN(chroot, "/")
PLAIN(unshare, 0)
PLAIN(setns, -1, 0)
PLAIN(setuid, getuid())
PLAIN(setgid, getgid())
PLAIN(setresuid, -1, -1, -1)
PLAIN(setresgid, -1, -1, -1)
PLAIN(setgroups, 0, NULL)
PLAIN(capset, NULL, NULL)
PLAIN(bpf, 0, NULL, 0)
PLAIN(keyctl, 0, 0)
PLAIN(add_key, NULL, NULL, NULL, 0, 0)
PLAIN(perf_event_open, NULL, 0, -1, -1, 0)
PLAIN(userfaultfd, 0)
PLAIN(io_uring_setup, 1, NULL)
PLAIN(init_module, NULL, 0, "")
PLAIN(finit_module, -1, "", 0)
PLAIN(kexec_load, 0, 0, NULL, 0)
PLAIN(reboot, 0, 0, 0, NULL)
PLAIN(memfd_create, "x", 0)
PLAIN(pidfd_open, getppid(), 0)
PLAIN(kill, getppid(), 0)
PLAIN(tkill, getppid(), 0)
PLAIN(mknodat, AT_FDCWD, "/tmp/x", S_IFIFO | 0600, 0)
PLAIN(symlinkat, "x", AT_FDCWD, "/nonexistent/x")
PLAIN(linkat, AT_FDCWD, "x", AT_FDCWD, "y", 0)
PLAIN(seccomp, 0, 0, NULL)
PLAIN(pkey_mprotect, NULL, 0, PROT_EXEC, -1)

/* Under a sanitizer these are the leak check's. */
PLAIN(ptrace, 0, 0, NULL, NULL)
PLAIN(personality, 0xffffffff)
PLAIN(clone, SIGCHLD, NULL, NULL, NULL, NULL)
PLAIN(wait4, -1, NULL, 0, NULL)

static long
try_new_user_namespace(void)
{
	return syscall(SYS_clone, CLONE_NEWUSER | CLONE_VM | CLONE_THREAD, NULL,
	    NULL, NULL, NULL);
}

static long
try_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static long
try_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	return prlimit(0, RLIMIT_CORE, &limit, NULL);
}

static long
try_packets(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static long
try_raw(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static long
try_ping(void)
{
	return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static long
try_sctp(void)
{
	return socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP);
}

static long
try_audit(void)
{
	return socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
}

static long
try_firewall(void)
{
	return socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
}

static long
try_vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static long
try_alg(void)
{
	return socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static long
try_map(int prot, int flags)
{
	/* Pages of /bin/sh: some that may be mapped to be run. */
	int fd = flags & MAP_ANONYMOUS ? -1 : open("/bin/sh", O_RDONLY);

	return mmap(NULL, PAGE, prot, flags, fd, 0) == MAP_FAILED ? -1 : 0;
}

static long
try_code_that_is_written(void)
{
	return try_map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE);
}

static long
try_code_of_no_file(void)
{
	return try_map(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS);
}

static long
try_code_that_is_shared(void)
{
	return try_map(PROT_READ | PROT_EXEC, MAP_SHARED);
}

static long
try_memory_into_code(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(page, PAGE, PROT_READ | PROT_EXEC);
}

static long
try_set_uid_file(void)
{
	return open("/tmp/check_sandbox.suid", O_CREAT | O_WRONLY, 04755);
}

static long
try_nameless_file(void)
{
	return open("/tmp", O_TMPFILE | O_WRONLY, 0600);
}

static long
try_set_gid(void)
{
	return chmod("/nonexistent/file", 02755);
}

static long
try_input(void)
{
	return ioctl(0, TIOCSTI, "x");
}

#define ROW(name)                        \
	{                                \
#name, try_##name, false \
	}
#define ROW_BUT_SANITIZED(name)         \
	{                               \
#name, try_##name, true \
	}

static const struct {
	const char *name;
	long (*fn)(void);
	bool needed; /* by a sanitizer */
} refused[] = {
	ROW(execve),
	ROW(execveat),
	ROW(process_vm_readv),
	ROW(mount),
	ROW(umount2),
	ROW(pivot_root),
	ROW(chroot),
	ROW(unshare),
	ROW(setns),
	ROW(setuid),
	ROW(setgid),
	ROW(setresuid),
	ROW(setresgid),
	ROW(setgroups),
	ROW(capset),
	ROW(bpf),
	ROW(keyctl),
	ROW(add_key),
	ROW(perf_event_open),
	ROW(userfaultfd),
	ROW(io_uring_setup),
	ROW(init_module),
	ROW(finit_module),
	ROW(kexec_load),
	ROW(reboot),
	ROW(memfd_create),
	ROW(pidfd_open),
	ROW(kill),
	ROW(tkill),
	ROW(mknodat),
	ROW(symlinkat),
	ROW(linkat),
	ROW(seccomp),
	ROW(pkey_mprotect),
	ROW(packets),
	ROW(raw),
	ROW(ping),
	ROW(sctp),
	ROW(audit),
	ROW(firewall),
	ROW(vsock),
	ROW(alg),
	ROW(code_that_is_written),
	ROW(code_of_no_file),
	ROW(code_that_is_shared),
	ROW(memory_into_code),
	ROW(set_uid_file),
	ROW(nameless_file),
	ROW(set_gid),
	ROW(input),
	ROW_BUT_SANITIZED(ptrace),
	ROW_BUT_SANITIZED(personality),
	ROW_BUT_SANITIZED(clone),
	ROW_BUT_SANITIZED(wait4),
	ROW_BUT_SANITIZED(new_user_namespace),
	ROW_BUT_SANITIZED(dumpable),
	ROW_BUT_SANITIZED(limit),
};
#define N_REFUSED ((int)(sizeof refused / sizeof *refused))

START_TEST(test_refused)
{
	long result;

	if (refused[_i].needed && sandbox_weakness() != NULL)
		CHECK_SANDBOX_LEAVE();
	check_sandbox_enter();
	errno = 0;
	result = refused[_i].fn();
	ck_assert_msg(result == -1 && errno == EPERM, "%s: %ld, %s",
	    refused[_i].name, result, strerror(errno));
	CHECK_SANDBOX_LEAVE();
}
END_TEST

TCase *
check_sandbox_refused(void)
{
	TCase *tc = tcase_create("refused");

	tcase_add_loop_exit_test(tc, test_refused, 0, 0, N_REFUSED);
	return tc;
}
