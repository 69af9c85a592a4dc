/* SPDX-License-Identifier: ISC */
/*
 * history_fixture: a database of random sessions (of a fixed seed) beside the
 * same rows in memory, to compare what is found with what one would find by
 * looking at each. Stands on ledger_fixture.
 */
#ifndef HISTORY_FIXTURE_H
#define HISTORY_FIXTURE_H

#include "ledger_fixture.h"

#define SAMPLE_ROWS 3000
#define SAMPLE_START INT64_C(1700000000000000) /* the first is opened then */
#define SAMPLE_STEP INT64_C(97000003) /* between two, about 97 seconds */

extern struct ledger_session sample[SAMPLE_ROWS]; /* [i].id is i + 1 */
extern struct history *history;			  /* of path */

/* After fixture_setup: makes the database, fills it, opens it. */
void history_setup(void);
void history_teardown(void);
/* An empty database of our version, closed. */
void history_make_file(void);
void history_reopen(void);

/* Is row what the query asks for? Without regard to closed_only. */
bool sample_matches(const struct ledger_session *row,
    const struct history_query *query);
/* The host of a source. */
const char *sample_host(const struct ledger_session *row);

/* Asks, and fails the test if that fails. */
struct history_rows history_must(const struct history_query *query);

#endif
