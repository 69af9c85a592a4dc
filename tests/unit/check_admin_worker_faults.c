/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_asking.h"

/* Workers that hang, die, and lie. */

START_TEST(test_hangs)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked, *second;
	double begin = loop_now(world.loop);
	json_int_t late;
	json_t *pids;
	char text[400];

	asking_poll(&script, 3);
	asking_add(PID);
	asking_poll(&script, 3);
	asked = asking_ask("echo", NULL);
	second = asking_ask("echo", NULL);
	late = asking_heard(&script, "echo");
	asking_await(2, 5);
	ck_assert(loop_now(world.loop) - begin >= ADMIN_WORKERS_SILENCE - 0.1);
	ck_assert(loop_now(world.loop) - begin <= ADMIN_WORKERS_SILENCE + 15);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_SILENT);
	ck_assert_int_eq(admin_ask_reply(second, 0)->end, ADMIN_REPLY_SILENT);
	ck_assert_int_eq(admin_ask_reply(asked, 1)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_str_eq(admin_ask_describe(asked, text, sizeof text),
	    "worker 5 does not answer");
	pids = admin_ask_missing(asked);
	ck_assert_uint_eq(json_array_size(pids), 1);
	ck_assert_int_eq(json_integer_value(json_array_get(pids, 0)), 5);
	json_decref(pids);
	admin_ask_free(asked);
	admin_ask_free(second);
	/* It was asked once, and its answer comes late: then it is asked on. */
	asked = asking_ask("fail", NULL);
	world_turns(20);
	ck_assert_ptr_null(memchr(script.buf, '\n', script.len));
	asking_say(&script, "{\"id\":%d,\"ok\":true,\"data\":{}}", (int)late);
	asking_say(&script, "{\"id\":%d,\"ok\":true,\"data\":17}",
	    (int)asking_heard(&script, "fail"));
	asking_await(3, 5);
	ck_assert_int_eq(json_integer_value(admin_ask_reply(asked, 0)->data),
	    17);
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(workers), 2);
	world_client_close(&script);
}
END_TEST

/* Slow, but a sign of life now and then. */
START_TEST(test_slow)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	json_int_t id;

	asking_poll(&script, 3);
	asked = asking_ask("list", NULL);
	id = asking_heard(&script, "list");
	for (int i = 0; i < 3; i++) {
		world_run_for(1.2);
		ck_assert_int_eq(done, 0);
		asking_say(&script,
		    "{\"id\":%d,\"ok\":true,\"data\":[{\"a\":1}],\"more\":%s}",
		    (int)id, i < 2 ? "true" : "false");
	}
	asking_await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(asking_rows(asked, 5), 3);
	admin_ask_free(asked);
	world_client_close(&script);
}
END_TEST

START_TEST(test_dies)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	json_t *pids;
	char text[400];

	asking_poll(&script, 3);
	asked = asking_ask("list", NULL);
	asking_say(&script,
	    "{\"id\":%d,\"ok\":true,\"data\":[{\"a\":1},{\"a\":2}],"
	    "\"more\":true}",
	    (int)asking_heard(&script, "list"));
	world_say_bytes(&script, "{\"id\":", 6);
	world_client_close(&script);
	asking_await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_GONE);
	ck_assert_uint_eq(asking_rows(asked, 5), 2);
	/* It has no sessions any more: nothing is missing. */
	ck_assert_str_eq(admin_ask_describe(asked, text, sizeof text), "");
	pids = admin_ask_missing(asked);
	ck_assert_uint_eq(json_array_size(pids), 0);
	json_decref(pids);
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(workers), 0);
}
END_TEST

/* Says all that it had to say, and hangs up: that is heard. */
START_TEST(test_last_words)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	json_int_t id;

	asking_poll(&script, 3);
	asked = asking_ask("list", NULL);
	id = asking_heard(&script, "list");
	for (int i = 0; i < 50; i++)
		asking_say(&script,
		    "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":%s}",
		    (int)id, i < 49 ? "true" : "false");
	world_client_close(&script);
	asking_await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(asking_rows(asked, 5), 50);
	admin_ask_free(asked);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_count(workers), 0);
}
END_TEST

static const char *const rubbish[] = {
	"hello",
	"",
	"[1]",
	"{}",
	"{\"id\":0,\"ok\":true,\"data\":1}",
	"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"too_long\"}}",
	"{\"id\":3,\"ok\":true}",
	"{\"id\":3,\"ok\":true,\"data\":{},\"more\":true}",
	"\xff\xfe\x80",
};

START_TEST(test_rubbish)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	char text[400];

	asking_poll(&script, 3);
	asking_add(PID);
	asking_poll(&script, 3);
	asked = asking_ask("list", json_pack("{s:i}", "rows", 250));
	ck_assert_int_eq(asking_heard(&script, "list"), 3);
	world_say(&script, rubbish[_i]);
	asking_await(1, 5);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_SILENT);
	ck_assert_ptr_nonnull(strstr(admin_ask_describe(asked, text,
					 sizeof text),
	    "worker 5 "));
	ck_assert_int_eq(admin_ask_reply(asked, 1)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(asking_rows(asked, PID), 250);
	admin_ask_free(asked);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_count(workers), 1);
	ck_assert(world_is_closed(&script));
	world_client_close(&script);
}
END_TEST

/* Nothing was asked, or only what is answered already. */
START_TEST(test_unasked)
{
	struct world_client script = asking_script(5);

	asking_poll(&script, 3);
	world_say(&script, "{\"id\":1,\"ok\":true,\"data\":{}}");
	ck_assert(world_is_closed(&script));
	ck_assert_uint_eq(admin_workers_count(workers), 0);
	world_client_close(&script);
}
END_TEST

START_TEST(test_endless_line)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	char *much = malloc(1 << 20);

	memset(much, 'x', 1 << 20);
	asked = asking_ask("echo", NULL);
	for (int i = 0; i < 10; i++)
		world_say_bytes(&script, much, 1 << 20);
	asking_await(1, 5);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_SILENT);
	ck_assert(world_is_closed(&script));
	admin_ask_free(asked);
	free(much);
	world_client_close(&script);
}
END_TEST

/* Memory is bounded, whatever it says; all of it is given back. */
START_TEST(test_too_much)
{
	struct world_client script = asking_script(5);
	struct admin_ask *asked;
	size_t size = 7 << 20, head;
	char *line = malloc(size + 1);
	json_int_t id;

	asking_poll(&script, 3);
	for (int round = 1; round <= 2; round++) {
		asked = asking_ask("list", NULL);
		id = asking_heard(&script, "list");
		head = (size_t)sprintf(line,
		    "{\"id\":%d,\"ok\":true,\"more\":true,\"data\":[{\"a\":\"",
		    (int)id);
		memset(line + head, 'y', size - head);
		strcpy(line + size - 4, "\"}]}");
		for (int i = 0; i < 10 && done < round; i++)
			world_say(&script, line);
		asking_await(round, 5);
		ck_assert_int_eq(admin_ask_reply(asked, 0)->end,
		    ADMIN_REPLY_SILENT);
		ck_assert_uint_eq(asking_rows(asked, 5), 9);
		admin_ask_free(asked);
		/* It goes on, and nobody listens. */
		world_say(&script, line);
		asking_say(&script, "{\"id\":%d,\"ok\":true,\"data\":[]}",
		    (int)id);
	}
	ck_assert_uint_eq(admin_workers_count(workers), 1);
	free(line);
	world_client_close(&script);
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
	Suite *suite = suite_create("admin_worker_faults");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "failures");
	tcase_add_test(tc, test_hangs);
	tcase_add_test(tc, test_slow);
	tcase_add_test(tc, test_dies);
	tcase_add_test(tc, test_last_words);
	tcase_add_loop_test(tc, test_rubbish, 0,
	    (int)(sizeof rubbish / sizeof rubbish[0]));
	tcase_add_test(tc, test_unasked);
	tcase_add_test(tc, test_endless_line);
	tcase_add_test(tc, test_too_much);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
