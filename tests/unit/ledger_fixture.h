/* SPDX-License-Identifier: ISC */
/*
 * ledger_fixture: what the tests of the ledger share: a directory with a
 * database, rows to put, and waiting for what threads do. Every test runs in
 * a process of its own (Check forks), so that it owns what stands here.
 */
#ifndef LEDGER_FIXTURE_H
#define LEDGER_FIXTURE_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"

extern struct loop *loop;
extern char dir[64];		      /* of this test, removed after it */
extern char path[128];		      /* the database in it */
extern struct ledger_options options; /* of path, no limits */

void fixture_setup(void);
void fixture_teardown(void);

struct ledger *fixture_open(void);
/* Waits until the state is `state`; at most `seconds`. */
void fixture_await(struct ledger *ledger, const char *state, double seconds);
/* Waits until nothing is queued any more. */
void fixture_settle(struct ledger *ledger);
double fixture_now(void);
void fixture_sleep(double seconds);

/* A closed session of tunnel "web" and peer "edge", opened at id seconds. */
struct ledger_session fixture_session(int64_t id);
struct ledger_link fixture_link(int64_t id);

/* First column of the first row as a number (-1: none), by a connection of
 * its own. */
int64_t fixture_number(const char *sql);
/* Waits until sql gives the number. */
void fixture_await_number(const char *sql, int64_t number);
void fixture_sql(const char *sql); /* any statements */
void fixture_text(const char *sql, char *out, size_t size);
int fixture_count_files(const char *pattern); /* glob in dir */

/* What a query gave. */
struct answer {
	int calls;
	char error[160];
	size_t n;
	struct ledger_session *sessions;
	struct ledger_link *links;
	struct history_stat *stats;
	struct history_uptime *uptimes;
	struct ledger_change *changes;
};
void answer_take(const struct history_rows *rows, const char *error,
    void *answer);
void answer_free(struct answer *answer);
/* Runs the loop until the answer is there, or for so long. */
void fixture_run(struct answer *answer, double seconds);
/* All in one. */
struct answer fixture_query(struct ledger *ledger, struct history_query query);
struct answer fixture_query_within(struct ledger *ledger,
    struct history_query query, double seconds);

#endif
