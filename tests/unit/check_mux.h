/* SPDX-License-Identifier: ISC */
/* check_mux: the parts of it. */
#ifndef TUNNELD_TESTS_CHECK_MUX_H
#define TUNNELD_TESTS_CHECK_MUX_H

#include <check.h>

#include "mux.h"

TCase *check_mux_credit(void);
TCase *check_mux_model(void);

#endif
