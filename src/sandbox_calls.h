/* SPDX-License-Identifier: ISC */
/*
 * sandbox_calls: the list of what the sandbox lets through; only the files of
 * sandbox include it. Names, not numbers: they are looked up for the
 * architecture that this runs on.  Floor 2.
 */
#ifndef TUNNELD_SANDBOX_CALLS_H
#define TUNNELD_SANDBOX_CALLS_H

#include <seccomp.h>
#include <stdint.h>

/* Let through if all of n comparisons hold. */
struct sandbox_rule {
	const char *name;
	unsigned n;
	struct scmp_arg_cmp args[3];
};

/* Of an int, the lower half: the other one is not defined. */
#define SANDBOX_MASKED(arg, mask, value)                   \
	{                                                  \
		(arg), SCMP_CMP_MASKED_EQ, (mask), (value) \
	}
#define SANDBOX_IS(arg, value) SANDBOX_MASKED(arg, UINT32_MAX, value)

/* Whatever their arguments; ends with NULL. */
extern const char *const sandbox_calls[];
extern const char *const sandbox_sanitizer_calls[];
/* Some of their arguments; ends with a name that is NULL. */
extern const struct sandbox_rule sandbox_rules[];

#endif
