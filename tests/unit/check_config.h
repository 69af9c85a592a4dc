/* SPDX-License-Identifier: ISC */
/*
 * check_config: what the files of this test share: a directory of its own
 * for each test, with a good secret in the file "secret", and what came of
 * the last file loaded.
 */
#ifndef TUNNELD_CHECK_CONFIG_H
#define TUNNELD_CHECK_CONFIG_H

#include <sys/types.h>

#include <check.h>

#include "config.h"

#define CHECK_CONFIG_SECRET "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhISE="

struct check_config {
	char dir[32];
	struct config *config;	     /* of the last load, or NULL */
	struct config_errors errors; /* of the last load */
};

extern struct check_config check_config;

void check_config_setup(void);
void check_config_teardown(void);

/* Writes text to a file in dir; "$D" in it becomes dir. */
void check_config_put(const char *name, const char *text, mode_t mode);

/* Loads text; it must be good. */
void check_config_good(const char *text);

/*
 * Loads text; it must be bad. wanted is "LINE: part of the message", one on
 * each line: these and no other errors must be there, in this order.
 */
void check_config_bad(const char *text, const char *wanted);

/* Loads the file "conf" in dir, whatever comes of it. */
void check_config_load(void);

/* The tests of check_config_errors.c, _options.c, _json.c, _diff.c and
 * _many.c. */
TCase *check_config_errors(void);
TCase *check_config_options(void);
TCase *check_config_json(void);
TCase *check_config_diff(void);
TCase *check_config_many(void);

#endif
