/* SPDX-License-Identifier: ISC */
/* check_sandbox: what its files share. */
#ifndef TUNNELD_CHECK_SANDBOX_H
#define TUNNELD_CHECK_SANDBOX_H

#include <check.h>
#include <stdlib.h>

void check_sandbox_enter(void);

/* The end of a test within it: what Check does after one (it makes a timer)
 * is not let through. A leak check still is. */
#define CHECK_SANDBOX_LEAVE() exit(0)

/* Of check_sandbox_refused.c. */
TCase *check_sandbox_refused(void);

#endif
