/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_asking.h"

/* --- What comes back -------------------------------------------------------- */

START_TEST(test_objects)
{
	const struct admin_reply *reply;
	struct admin_ask *asked;

	asking_add(PID);
	asking_add(PID + 1);
	ck_assert_uint_eq(admin_workers_count(workers), 2);
	asked = asking_ask("echo", json_pack("{s:i}", "a", 7));
	ck_assert_int_eq(done, 0);
	asking_await(1, 5);
	for (int i = 0; i < 2; i++) {
		reply = admin_ask_reply(asked, (size_t)i);
		ck_assert_int_eq(reply->pid, PID + i);
		ck_assert_int_eq(reply->end, ADMIN_REPLY_ANSWERED);
		ck_assert_int_eq(json_integer_value(json_object_get(reply->data,
				     "a")),
		    7);
	}
	ck_assert_ptr_null(admin_ask_reply(asked, 2));
	admin_ask_free(asked);
	asked = asking_ask("fail", NULL);
	asking_await(2, 5);
	reply = admin_ask_reply(asked, 0);
	ck_assert_int_eq(reply->end, ADMIN_REPLY_REFUSED);
	ck_assert_str_eq(reply->code, "not_found");
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(workers), 2);
}
END_TEST

START_TEST(test_nobody)
{
	struct admin_ask *asked = asking_ask("echo", NULL);
	bool more;
	json_t *rows;

	ck_assert_int_eq(done, 0);
	asking_await(1, 5);
	ck_assert_ptr_null(admin_ask_reply(asked, 0));
	rows = admin_ask_next(asked, &more);
	ck_assert(!more && json_array_size(rows) == 0);
	json_decref(rows);
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(NULL), 0);
	ck_assert_uint_eq(admin_workers_sessions(NULL), 0);
}
END_TEST

static int turns; /* of the loop, until all is done */

static void
count_turn(void *arg)
{
	turns++;
	if (done == 0)
		loop_task_queue(world.loop, arg);
}

/* Each piece in a turn of its own: nobody else waits for all of them. */
START_TEST(test_long_list)
{
	struct loop_task turn;
	struct admin_ask *asked;

	asking_add(PID);
	asking_add(PID + 1);
	asked = asking_ask("list", json_pack("{s:i}", "rows", 20050));
	loop_task_init(&turn, count_turn, &turn);
	loop_task_queue(world.loop, &turn);
	asking_await(1, 20);
	ck_assert_int_ge(turns, 200);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_ptr_null(admin_ask_reply(asked, 0)->data);
	ck_assert_uint_eq(asking_rows(asked, PID), 20050);
	ck_assert_uint_eq(asking_rows(asked, PID), 0); /* they were taken */
	admin_ask_free(asked);
	asked = asking_ask("list", json_pack("{s:i}", "rows", 20050));
	asking_await(2, 20);
	ck_assert_uint_eq(asking_rows(asked, PID + 1), 20050);
	admin_ask_free(asked);
}
END_TEST

/* It asks for somebody, and says for whom. */
START_TEST(test_relayed)
{
	struct world_client client = world_client_open();
	struct admin_question question = { .command = "who" };
	struct admin_ask *asked;
	char want[40];

	asking_add(PID);
	world_say(&client, "{\"id\":1,\"cmd\":\"later\"}");
	while (world.pending == NULL)
		world_turn();
	question.whom = world.pending;
	asked = admin_workers_ask(workers, &question, asking_done, &done);
	asking_await(1, 5);
	snprintf(want, sizeof want, "(uid %lu)", (unsigned long)geteuid());
	ck_assert_ptr_nonnull(strstr(json_string_value(admin_ask_reply(asked, 0)
							   ->data),
	    want));
	admin_ask_free(asked);
	admin_answer(world.pending, json_true());
	world.pending = NULL;
	json_decref(world_hear(&client));
	/* Nobody else may say so. */
	world_say(&client, "{\"cmd\":\"who\",\"by\":\"root\",\"uid\":12345}");
	json_t *answer = world_hear(&client);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(answer,
					 "data")),
	    want));
	json_decref(answer);
	world_client_close(&client);
}
END_TEST

/* What a client may just say, a worker may just hear. */
START_TEST(test_longest_line)
{
	char *text = malloc(ADMIN_LINE_MAX);
	struct admin_ask *asked;

	asking_add(PID);
	memset(text, '\t', ADMIN_LINE_MAX); /* written as \t */
	text[ADMIN_LINE_MAX - 1] = '\0';
	asked = asking_ask("echo", json_pack("{s:s}", "text", text));
	asking_await(1, 5);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	admin_ask_free(asked);
	free(text);
}
END_TEST

/* --- Who asks goes away ----------------------------------------------------- */

START_TEST(test_forgotten)
{
	struct world_client script = asking_script(5);
	struct admin_ask *first, *second;
	json_int_t id;

	asking_poll(&script, 1);
	first = asking_ask("list", NULL);
	second = asking_ask("echo", NULL);
	id = asking_heard(&script, "list");
	asking_say(&script,
	    "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":true}", (int)id);
	admin_ask_free(first);
	world_turns(3);
	asking_say(&script, "{\"id\":%d,\"ok\":true,\"data\":[{}]}", (int)id);
	asking_say(&script, "{\"id\":%d,\"ok\":true,\"data\":{}}",
	    (int)asking_heard(&script, "echo"));
	asking_await(1, 1);
	ck_assert_int_eq(admin_ask_reply(second, 0)->end, ADMIN_REPLY_ANSWERED);
	admin_ask_free(second);
	/* Before it was even sent. */
	admin_ask_free(asking_ask("echo", NULL));
	world_turns(20);
	ck_assert_int_eq(done, 1);
	ck_assert_uint_eq(script.len, 0);
	admin_ask_free(NULL);
	world_client_close(&script);
}
END_TEST

static struct admin_ask *last;

static void
free_last(void *arg)
{
	ck_assert_ptr_eq(arg, &last);
	ck_assert_int_eq(admin_ask_reply(last, 0)->end, ADMIN_REPLY_GONE);
	admin_ask_free(last);
	done++;
}

START_TEST(test_freed)
{
	struct world_client script = asking_script(5);
	struct admin_question question = { .command = "list" };

	asking_poll(&script, 1);
	last = admin_workers_ask(workers, &question, free_last, &last);
	asking_say(&script,
	    "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":true}",
	    (int)asking_heard(&script, "list"));
	admin_workers_free(workers);
	ck_assert_int_eq(done, 1);
	workers = NULL;
	world_client_close(&script);
}
END_TEST

/* --- How many sessions ------------------------------------------------------ */

START_TEST(test_sessions)
{
	struct world_client a = asking_script(5), b = asking_script(6);

	ck_assert_uint_eq(admin_workers_sessions(workers), 0);
	asking_poll(&a, 3);
	world_turns(5);
	asking_poll(&a, 3); /* b came meanwhile */
	asking_poll(&b, 4);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_sessions(workers), 7);
	/* Not so soon again. */
	world_turns(20);
	ck_assert_uint_eq(a.len, 0);
	world_client_close(&b);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_sessions(workers), 3);
	world_run_for(ADMIN_WORKERS_POLL);
	ck_assert_uint_eq(admin_workers_sessions(workers), 3);
	asking_poll(&a, 1);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_sessions(workers), 1);
	world_client_close(&a);
}
END_TEST

static TCase *
make_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, asking_setup, asking_teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("admin_workers");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "answers");
	tcase_add_test(tc, test_objects);
	tcase_add_test(tc, test_nobody);
	tcase_add_test(tc, test_long_list);
	tcase_add_test(tc, test_relayed);
	tcase_add_test(tc, test_longest_line);
	tc = make_case(suite, "ends");
	tcase_add_test(tc, test_forgotten);
	tcase_add_test(tc, test_freed);
	tc = make_case(suite, "sessions");
	tcase_add_test(tc, test_sessions);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
