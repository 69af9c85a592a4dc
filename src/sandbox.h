/* SPDX-License-Identifier: ISC */
/*
 * sandbox: a seccomp filter, the second wall behind privilege: whoever gets
 * to run code of his own in this process finds the kernel's door narrow.
 *
 * What is let through is a list of names, those that the daemon and what it
 * is made of (libc and its name service modules, SQLite, OpenSSL, libevent)
 * need, in today's and in other versions of them. All else fails with EPERM:
 * a call that nobody thought of is an error of one lookup, not the end of the
 * daemon. So there is no exec, no new process, no ptrace, no mount, bpf, keyctl
 * or io_uring, no other namespace, no change of user; sockets of UNIX, TCP,
 * UDP and (for getaddrinfo) rtnetlink alone; no memory that is both written
 * and run: of what is run, only files are mapped, since name service modules
 * are loaded when first needed, and again when nsswitch.conf changes. There is
 * no way to make a process; threads only.
 *
 * clone3, whose arguments a filter cannot see, fails with ENOSYS, upon which
 * libc takes clone; and so do calls newer than libseccomp, since libc falls
 * back to older ones on ENOSYS alone.
 *
 * The master is never in it: the worker execs nothing once it runs.
 * Floor 2.
 */
#ifndef TUNNELD_SANDBOX_H
#define TUNNELD_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox_options {
	bool kills; /* what would be EPERM ends the process with SIGSYS */
};

/*
 * What the environment variable TUNNELD_SANDBOX asks for: "kill", for tests
 * that are to find what is missing from the list. It can make the sandbox
 * stricter, and nothing else: any other word is an error, and whether there
 * is a sandbox is for the configuration alone. 0, or -1 with the reason.
 */
int sandbox_read_environment(struct sandbox_options *options, char *error,
    size_t size);

/*
 * For good, and for all threads, those there are and those to come. After all
 * that needs privilege, and after privilege_drop. Sets no_new_privs.
 * 0, or -1 with the reason in error: then nothing has changed.
 */
int sandbox_enter(const struct sandbox_options *options, char *error,
    size_t size);

/* This build, and it alone, lets more through, or NULL: why. (Under a
 * sanitizer: the leak check at the end is a process that traces this one.) */
const char *sandbox_weakness(void);

/*
 * For tests: the filter of another architecture (SCMP_ARCH_..., 0: this one),
 * as libseccomp prints it. 0 or -1.
 */
int sandbox_print(const struct sandbox_options *options, uint32_t arch, int fd);

#endif
