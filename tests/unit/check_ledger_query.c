/* SPDX-License-Identifier: ISC */
/* Queries of the ledger: filters, deadlines, cancelling, bounds. */
#include <stdio.h>
#include <string.h>

#include "ledger_fixture.h"

static void
put_for_queries(struct ledger *ledger)
{
	static const char *const sources[] = { "192.0.2.1:1", "192.0.2.2:2",
		"[2001:db8::1]:3", "unix:/run/x", "unix:" };
	struct ledger_session session;
	struct ledger_link link;

	for (int i = 1; i <= 50; i++) {
		session = fixture_session(i);
		snprintf(session.source, sizeof session.source, "%s",
		    sources[i % 5]);
		if (i % 2 == 0)
			strcpy(session.tunnel, "ssh");
		if (i % 10 == 0)
			session.peer[0] = '\0';
		if (i % 25 == 0)
			session.reason = REASON_REFUSED;
		if (i == 50)
			session.closed_us = 0;
		ledger_put_session(ledger, &session);
		link = fixture_link(i);
		if (i % 5 == 0)
			strcpy(link.peer, "other");
		if (i == 50)
			link.down_us = 0;
		ledger_put_link(ledger, &link);
	}
}

START_TEST(queries_filter)
{
	static const struct {
		struct history_query query;
		size_t n;
	} cases[] = {
		{ { 0 }, 50 },
		{ { .id = 17 }, 1 },
		{ { .id = 99 }, 0 },
		{ { .tunnel = "ssh" }, 25 },
		{ { .tunnel = "ssh", .limit = 7 }, 7 },
		{ { .tunnel = "' OR 1 --" }, 0 },
		{ { .peer = "edge" }, 45 },
		{ { .peer = "" }, 5 },
		{ { .source = "192.0.2.1" }, 10 },
		{ { .source = "2001:db8::1" }, 10 },
		{ { .source = "[2001:db8::1]" }, 10 },
		{ { .source = "unix:/run/x" }, 10 },
		{ { .source = "unix:" }, 10 },
		{ { .reason = "refused" }, 1 }, /* 25; 50 is open */
		{ { .since_us = 10000000, .until_us = 20000000 }, 10 },
		{ { .closed_only = true }, 49 },
		{ { .tunnel = "web",
		      .peer = "edge",
		      .source = "192.0.2.2",
		      .reason = "closed",
		      .since_us = 1,
		      .closed_only = true,
		      .limit = 1000000 },
		    5 },
		{ { .what = HISTORY_LINKS }, 50 },
		{ { .what = HISTORY_LINKS, .id = 4 }, 1 },
		{ { .what = HISTORY_LINKS, .peer = "other" }, 10 },
		{ { .what = HISTORY_LINKS, .reason = "silent" }, 49 },
		{ { .what = HISTORY_LINKS, .since_us = 10000000 }, 41 },
		{ { .what = HISTORY_LINKS, .until_us = 10000000 }, 9 },
		{ { .what = HISTORY_LINKS, .closed_only = true }, 49 },
	};
	struct ledger *ledger = fixture_open();
	struct answer got;
	char longest[4096];

	put_for_queries(ledger);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		got = fixture_query(ledger, cases[i].query);
		ck_assert_str_eq(got.error, "");
		if (got.n != cases[i].n)
			ck_abort_msg("case %zu: %zu rows", i, got.n);
		for (size_t j = 1; j < got.n; j++) /* newest first */
			ck_assert(cases[i].query.what == HISTORY_LINKS ?
				got.links[j].id < got.links[j - 1].id :
				got.sessions[j].id < got.sessions[j - 1].id);
		answer_free(&got);
	}
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	got = fixture_query(ledger,
	    (struct history_query){ .tunnel = longest, .source = longest });
	ck_assert_str_eq(got.error, "");
	ck_assert_uint_eq(got.n, 0);
	answer_free(&got);
	ledger_free(ledger);
}
END_TEST

START_TEST(queries_have_a_deadline)
{
	struct ledger *ledger = fixture_open();
	struct ledger_session session;
	struct answer got;

	for (int i = 1; i <= 20000; i++) {
		session = fixture_session(i);
		ledger_put_session(ledger, &session);
	}
	fixture_settle(ledger);
	got = fixture_query(ledger, (struct history_query){ .limit = 100000 });
	ck_assert_str_eq(got.error, "");
	ck_assert_uint_eq(got.n, 20000);
	answer_free(&got);
	got = fixture_query_within(ledger,
	    (struct history_query){ .limit = 100000 }, 0.004);
	if (got.n < 20000) /* a very quick machine may be done */
		ck_assert_str_eq(got.error, "timed out");
	answer_free(&got);
	got = fixture_query_within(ledger, (struct history_query){ 0 }, 1e-9);
	ck_assert_str_eq(got.error, "timed out");
	answer_free(&got);
	ledger_free(ledger);
}
END_TEST

START_TEST(queries_are_cancelled)
{
	static const struct history_query query = { .limit = 100 };
	struct ledger *ledger = fixture_open();
	struct ledger_request *waiting, *done;
	struct answer answer = { 0 }, other = { 0 };

	put_for_queries(ledger);
	fixture_settle(ledger);
	for (int i = 0; i < 200; i++) { /* waiting, running or done */
		waiting = ledger_query(ledger, &query, 0, answer_take, &answer);
		ck_assert_ptr_nonnull(waiting);
		if (i % 3 != 0)
			fixture_sleep(0.0001 * (i % 7));
		ledger_query_cancel(waiting);
	}
	done = ledger_query(ledger, &query, 0, answer_take, &answer);
	fixture_sleep(0.2); /* done, its callback on its way */
	ck_assert_ptr_nonnull(ledger_query(ledger, &query, 0, answer_take,
	    &other));
	ledger_query_cancel(done);
	fixture_run(&other, 5);
	ck_assert_int_eq(other.calls, 1);
	ck_assert_int_eq(answer.calls, 0);
	answer_free(&other);
	ledger_query_cancel(NULL);
	ledger_free(ledger);
}
END_TEST

START_TEST(queries_are_bounded)
{
	static const struct history_query query = { .limit = 1 };
	struct ledger *ledger = fixture_open();
	struct answer answer = { 0 };

	for (int i = 0; i < 64; i++)
		ck_assert_ptr_nonnull(ledger_query(ledger, &query, 0,
		    answer_take, &answer));
	ck_assert_ptr_null(ledger_query(ledger, &query, 0, answer_take,
	    &answer));
	if (_i == 1)
		fixture_sleep(0.2); /* all done, none delivered */
	ledger_free(ledger);
	fixture_run(&answer, 0.1);
	ck_assert_int_eq(answer.calls, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ledger_query");
	TCase *tcase = tcase_create("queries");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, queries_filter);
	tcase_add_test(tcase, queries_have_a_deadline);
	tcase_add_test(tcase, queries_are_cancelled);
	tcase_add_loop_test(tcase, queries_are_bounded, 0, 2);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
