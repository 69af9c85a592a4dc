/* SPDX-License-Identifier: ISC */
#include "sandbox_calls.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/sockios.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>

/*
 * What libc makes of one function differs with its version and with the
 * architecture: so each stands here in all its forms (open and openat, stat
 * and newfstatat and statx, poll and ppoll), and those of 32-bit systems in
 * their 64-bit-time ones.
 */
/* clang-format off */
const char *const sandbox_calls[] = {
	/* Bytes, and waiting for them. */
	"read", "readv", "pread64", "preadv", "preadv2",
	"write", "writev", "pwrite64", "pwritev", "pwritev2",
	"splice", "pipe", "pipe2", "eventfd", "eventfd2",
	"poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6",
	"pselect6_time64", "epoll_create", "epoll_create1", "epoll_ctl",
	"epoll_wait", "epoll_pwait", "epoll_pwait2",
	/* libevent takes its clock or signals from these, if it can. */
	"timerfd_create", "timerfd_settime", "timerfd_settime64",
	"timerfd_gettime", "timerfd_gettime64", "signalfd", "signalfd4",

	/* Sockets; which of them, is below. */
	"bind", "listen", "accept", "accept4", "connect", "shutdown",
	"getsockname", "getpeername", "getsockopt", "setsockopt",
	"send", "sendto", "sendmsg", "sendmmsg",
	"recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",

	/* Files: the configuration, secrets, the ledger, sockets. */
	"close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64",
	"stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "newfstatat",
	"fstatat64", "statx", "statfs", "statfs64", "fstatfs", "fstatfs64",
	"access", "faccessat", "faccessat2", "readlink", "readlinkat",
	"getcwd", "getdents", "getdents64",
	"lseek", "_llseek", "ftruncate", "ftruncate64", "fallocate",
	"fadvise64", "fadvise64_64", "arm_fadvise64_64",
	"fsync", "fdatasync", "sync_file_range", "flock",
	"unlink", "unlinkat", "rename", "renameat", "renameat2",
	"mkdir", "mkdirat", "rmdir", "umask", "utimensat", "utimensat_time64",
	"chown", "chown32", "lchown", "lchown32", "fchown", "fchown32",
	"fchownat",

	/* Memory; whether it may be run, is below. */
	"brk", "munmap", "mremap", "madvise", "msync", "mincore", "mseal",
	"mlock", "mlock2", "munlock", "membarrier",

	/* Threads, and the signals of this process. */
	"futex", "futex_time64", "futex_waitv", "futex_wait", "futex_wake",
	"futex_requeue", "set_robust_list", "get_robust_list", "rseq",
	"set_tid_address", "sched_yield", "sched_getaffinity",
	"sched_getparam", "sched_getscheduler", "sched_get_priority_min",
	"sched_get_priority_max", "getcpu", "exit", "exit_group",
	"restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigpending",
	"rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_sigtimedwait_time64", "sigreturn", "sigaltstack", "pause",

	/* Time. */
	"clock_gettime", "clock_gettime64", "clock_getres",
	"clock_getres_time64", "clock_nanosleep", "clock_nanosleep_time64",
	"nanosleep", "gettimeofday", "time", "times", "alarm", "setitimer",
	"getitimer",

	/* Who and where we are. */
	"getpid", "getppid", "gettid", "getpgrp", "getpgid", "getsid",
	"getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32",
	"getegid", "getegid32", "getresuid", "getresuid32", "getresgid",
	"getresgid32", "getgroups", "getgroups32", "capget", "getpriority",
	"getrlimit", "ugetrlimit", "getrusage", "sysinfo", "uname",
	"getrandom",
	NULL
};

/* The leak check of a sanitizer, at the end: it makes a process that traces
 * this one, and a symbol is looked up by another. */
const char *const sandbox_sanitizer_calls[] = {
	"clone", "ptrace", "wait4", "waitid", "prctl", "fork", "vfork",
	"setrlimit", "prlimit64", "sched_setaffinity", "personality",
	NULL
};
/* clang-format on */

/* On s390 the stack comes first. */
#if defined(__s390__)
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif
#define CLONE_NAMESPACES                                               \
	(CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | \
	    CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS)

#define SET_ID ((uint64_t)(S_ISUID | S_ISGID))
#define MODE_IS_PLAIN(arg) SANDBOX_MASKED(arg, SET_ID, 0)
/* O_TMPFILE has O_DIRECTORY in it. */
#define MAKES(arg) SANDBOX_MASKED(arg, O_CREAT, O_CREAT)
#define MAKES_NOTHING(arg) \
	SANDBOX_MASKED(arg, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0)

/* Without flags such as SOCK_CLOEXEC. */
#define SOCKET_TYPE(type) SANDBOX_MASKED(1, 0xf, type)
#define SOCKET(family, type, protocol)                            \
	{                                                         \
		"socket", 3,                                      \
		{                                                 \
			SANDBOX_IS(0, family), SOCKET_TYPE(type), \
			    SANDBOX_IS(2, protocol)               \
		}                                                 \
	}
#define SOCKETS_OF(family)                            \
	SOCKET(family, SOCK_STREAM, 0),               \
	    SOCKET(family, SOCK_STREAM, IPPROTO_TCP), \
	    SOCKET(family, SOCK_DGRAM, 0),            \
	    SOCKET(family, SOCK_DGRAM, IPPROTO_UDP)

#define NO_NEW_CODE(name)                               \
	{                                               \
		name, 1,                                \
		{                                       \
			SANDBOX_MASKED(2, PROT_EXEC, 0) \
		}                                       \
	}
/* A library, as the dynamic linker maps it: a file, not to be written. */
#define MAPPED_CODE(name)                                                     \
	{                                                                     \
		name, 2,                                                      \
		{                                                             \
			SANDBOX_MASKED(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), \
			    SANDBOX_MASKED(3,                                 \
				MAP_ANONYMOUS | MAP_SHARED | MAP_PRIVATE,     \
				MAP_PRIVATE)                                  \
		}                                                             \
	}
#define IOCTL(request)                         \
	{                                      \
		"ioctl", 1,                    \
		{                              \
			SANDBOX_IS(1, request) \
		}                              \
	}
#define PRCTL(operation)                         \
	{                                        \
		"prctl", 1,                      \
		{                                \
			SANDBOX_IS(0, operation) \
		}                                \
	}

const struct sandbox_rule sandbox_rules[] = {
	{ "socket", 1, { SANDBOX_IS(0, AF_UNIX) } },
	SOCKETS_OF(AF_INET),
	SOCKETS_OF(AF_INET6),
	/* getaddrinfo asks for the addresses of this machine. */
	{ "socket", 2,
	    { SANDBOX_IS(0, AF_NETLINK), SANDBOX_IS(2, 0 /* route */) } },
	{ "socketpair", 1, { SANDBOX_IS(0, AF_UNIX) } },

	/* A thread, in the namespaces that this one is in. */
	{ "clone", 1,
	    { SANDBOX_MASKED(CLONE_FLAGS,
		CLONE_VM | CLONE_THREAD | (uint64_t)CLONE_NAMESPACES,
		CLONE_VM | CLONE_THREAD) } },

	NO_NEW_CODE("mmap"),
	NO_NEW_CODE("mmap2"),
	NO_NEW_CODE("mprotect"),
	MAPPED_CODE("mmap"),
	MAPPED_CODE("mmap2"),

	/* Nothing that makes its caller somebody else. */
	{ "open", 1, { MAKES_NOTHING(1) } },
	{ "open", 2, { MAKES(1), MODE_IS_PLAIN(2) } },
	{ "openat", 1, { MAKES_NOTHING(2) } },
	{ "openat", 2, { MAKES(2), MODE_IS_PLAIN(3) } },
	{ "creat", 1, { MODE_IS_PLAIN(1) } },
	{ "chmod", 1, { MODE_IS_PLAIN(1) } },
	{ "fchmod", 1, { MODE_IS_PLAIN(1) } },
	{ "fchmodat", 1, { MODE_IS_PLAIN(2) } },
	{ "fchmodat2", 1, { MODE_IS_PLAIN(2) } },

	/* How many bytes wait, and what libc asks of a terminal. */
	IOCTL(FIONREAD),
	IOCTL(FIONBIO),
	IOCTL(FIOCLEX),
	IOCTL(TIOCOUTQ),
	IOCTL(SIOCATMARK),
	IOCTL(TCGETS),
	IOCTL(TIOCGWINSZ),
	/* Scopes of IPv6 addresses, by number and by name. */
	IOCTL(SIOCGIFNAME),
	IOCTL(SIOCGIFINDEX),

	PRCTL(PR_SET_NAME),
	PRCTL(PR_GET_NAME),
	/* libcap, at its start, when a name service module brings it. */
	PRCTL(PR_CAPBSET_READ),
	PRCTL(PR_GET_DUMPABLE),
	PRCTL(PR_GET_NO_NEW_PRIVS),
	PRCTL(PR_GET_SECCOMP),
#ifdef PR_SET_VMA
	/* libc gives its memory names, if told to. */
	PRCTL(PR_SET_VMA),
#endif

	/* Limits are read, not set. */
	{ "prlimit64", 1, { SANDBOX_MASKED(2, UINT64_MAX, 0) } },

	{ NULL, 0, { { 0 } } },
};
