/* SPDX-License-Identifier: ISC */
#include "sandbox.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox_calls.h"

#define SANDBOX_ENVIRONMENT "TUNNELD_SANDBOX"

/* So many calls newer than libseccomp are told from those left out: a dozen
 * years of them. */
#define SANDBOX_NEWER 128
#define SANDBOX_NUMBERS 4096

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define SANDBOX_SANITIZED true
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED false
#endif

int
sandbox_read_environment(struct sandbox_options *options, char *error,
    size_t size)
{
	const char *word = getenv(SANDBOX_ENVIRONMENT);

	options->kills = word != NULL && strcmp(word, "kill") == 0;
	if (word == NULL || options->kills)
		return 0;
	snprintf(error, size,
	    SANDBOX_ENVIRONMENT " can be \"kill\" and nothing else");
	return -1;
}

const char *
sandbox_weakness(void)
{
	return SANDBOX_SANITIZED ? "built with a sanitizer" : NULL;
}

/*
 * A name that this libseccomp or this architecture does not know is no error:
 * nobody can call it. (Such numbers are negative; libseccomp itself takes some
 * of them for others, as socketcall of i386.)
 */
static int
sandbox_add(scmp_filter_ctx filter, uint32_t action, const char *name,
    const struct sandbox_rule *rule)
{
	int number = seccomp_syscall_resolve_name(name);

	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, number,
	    rule == NULL ? 0 : rule->n, rule == NULL ? NULL : rule->args);
}

static int
sandbox_add_list(scmp_filter_ctx filter, const char *const *names)
{
	int result = 0;

	for (; *names != NULL && result == 0; names++)
		result = sandbox_add(filter, SCMP_ACT_ALLOW, *names, NULL);
	return result;
}

/* Signals to this process alone: raise() and abort() of its threads. */
static int
sandbox_add_own(scmp_filter_ctx filter)
{
	static const char *const names[] = { "kill", "tgkill" };
	const struct sandbox_rule rule = {
		.n = 1,
		.args = { SANDBOX_IS(0, (uint32_t)getpid()) },
	};
	int result = 0;
	size_t i;

	for (i = 0; i < sizeof names / sizeof *names && result == 0; i++)
		result = sandbox_add(filter, SCMP_ACT_ALLOW, names[i], &rule);
	return result;
}

/* Of this architecture alone: numbers of others cannot be told so. */
static int
sandbox_add_newer(scmp_filter_ctx filter)
{
	int number, last = -1, result = 0;
	char *name;

	for (number = 0; number < SANDBOX_NUMBERS; number++) {
		name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE,
		    number);
		if (name != NULL)
			last = number;
		free(name);
	}
	for (number = last + 1; number <= last + SANDBOX_NEWER && result == 0;
	     number++)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
		    number, 0);
	return result;
}

static int
sandbox_fill(scmp_filter_ctx filter)
{
	const struct sandbox_rule *rule;
	int result = sandbox_add_list(filter, sandbox_calls);

	if (SANDBOX_SANITIZED && result == 0)
		result = sandbox_add_list(filter, sandbox_sanitizer_calls);
	for (rule = sandbox_rules; rule->name != NULL && result == 0; rule++)
		result = sandbox_add(filter, SCMP_ACT_ALLOW, rule->name, rule);
	if (result == 0)
		result = sandbox_add_own(filter);
	if (result == 0)
		result = sandbox_add(filter, SCMP_ACT_ERRNO(ENOSYS), "clone3",
		    NULL);
	return result;
}

/* NULL with errno set. */
static scmp_filter_ctx
sandbox_new(const struct sandbox_options *options, uint32_t arch)
{
	scmp_filter_ctx filter = seccomp_init(options->kills ?
		SCMP_ACT_KILL_PROCESS :
		SCMP_ACT_ERRNO(EPERM));
	int result = 0;

	if (filter == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	if (arch != 0 && arch != seccomp_arch_native()) {
		result = seccomp_arch_add(filter, arch);
		if (result == 0)
			result = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
	} else {
		result = sandbox_add_newer(filter);
	}
	if (result == 0)
		result = sandbox_fill(filter);
	if (result == 0)
		return filter;
	seccomp_release(filter);
	errno = -result;
	return NULL;
}

int
sandbox_enter(const struct sandbox_options *options, char *error, size_t size)
{
	scmp_filter_ctx filter = sandbox_new(options, 0);
	int result;

	if (filter == NULL) {
		snprintf(error, size, "cannot make the seccomp filter: %s",
		    strerror(errno));
		return -1;
	}
	/* Most calls are answered from the kernel's cache (Linux 5.11); on
	 * others a search is better than a walk. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* Before Linux 5.16 a filter slowed the processor down, for the sake
	 * of programs that run code of strangers. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	if (result == 0)
		return 0;
	snprintf(error, size, "cannot load the seccomp filter: %s",
	    strerror(-result));
	return -1;
}

int
sandbox_print(const struct sandbox_options *options, uint32_t arch, int fd)
{
	scmp_filter_ctx filter = sandbox_new(options, arch);
	int result;

	if (filter == NULL)
		return -1;
	result = seccomp_export_pfc(filter, fd);
	seccomp_release(filter);
	return result == 0 ? 0 : -1;
}
