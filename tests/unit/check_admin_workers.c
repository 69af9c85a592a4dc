/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_workers.h"
#include "admin_world.h"

/* world.admin is the worker that is asked, and workers who asks it; scripts
 * play the others. */
static struct admin_workers *workers;
static int done; /* calls */

#define PID 4711 /* of the one that is world.admin */

static void
setup(void)
{
	world_setup();
	workers = admin_workers_new(world.loop);
	ck_assert_ptr_nonnull(workers);
	done = 0;
}

static void
teardown(void)
{
	admin_workers_free(workers);
	world_teardown();
}

static void
count_done(void *arg)
{
	ck_assert_ptr_eq(arg, &done);
	done++;
}

static void
join(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
}

/* A worker that answers. */
static void
add_real(pid_t pid)
{
	int fds[2];

	join(fds);
	ck_assert_int_eq(admin_adopt(world.admin, fds[0]), 0);
	ck_assert_int_eq(admin_workers_add(workers, fds[1], pid), 0);
}

/* One whose end is held here. */
static struct world_client
add_script(pid_t pid)
{
	struct world_client script = { .buf = malloc(8 << 20) };
	int fds[2];

	join(fds);
	ck_assert_int_eq(admin_workers_add(workers, fds[1], pid), 0);
	script.fd = fds[0];
	return script;
}

static struct admin_ask *
ask(const char *command, json_t *args)
{
	struct admin_question question = { .command = command, .args = args };
	struct admin_ask *result;

	result = admin_workers_ask(workers, &question, count_done, &done);
	ck_assert_ptr_nonnull(result);
	json_decref(args);
	return result;
}

/* Waits for so many calls. */
static void
await(int n, double seconds)
{
	double end = loop_now(world.loop) + seconds;

	while (done < n) {
		ck_assert_msg(loop_now(world.loop) < end, "%d of %d are done",
		    done, n);
		world_turn();
		usleep(200);
	}
}

/* What the script was asked, by its id. */
static json_int_t
heard(struct world_client *script, const char *command)
{
	json_t *line = world_hear(script);
	json_int_t id = json_integer_value(json_object_get(line, "id"));

	ck_assert_str_eq(json_string_value(json_object_get(line, "cmd")),
	    command);
	json_decref(line);
	return id;
}

static void __attribute__((format(printf, 2, 3)))
say(struct world_client *script, const char *fmt, ...)
{
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	world_say(script, text);
}

static void
answer_poll(struct world_client *script, int sessions)
{
	say(script,
	    "{\"id\":%d,\"ok\":true,\"data\":{\"version\":\"1\","
	    "\"sessions\":%d}}",
	    (int)heard(script, "version"), sessions);
}

/* --- What comes back -------------------------------------------------------- */

START_TEST(test_objects)
{
	const struct admin_reply *reply;
	struct admin_ask *asked;

	add_real(PID);
	add_real(PID + 1);
	ck_assert_uint_eq(admin_workers_count(workers), 2);
	asked = ask("echo", json_pack("{s:i}", "a", 7));
	ck_assert_int_eq(done, 0);
	await(1, 5);
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
	asked = ask("fail", NULL);
	await(2, 5);
	reply = admin_ask_reply(asked, 0);
	ck_assert_int_eq(reply->end, ADMIN_REPLY_REFUSED);
	ck_assert_str_eq(reply->code, "not_found");
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(workers), 2);
}
END_TEST

START_TEST(test_nobody)
{
	struct admin_ask *asked = ask("echo", NULL);
	bool more;
	json_t *rows;

	ck_assert_int_eq(done, 0);
	await(1, 5);
	ck_assert_ptr_null(admin_ask_reply(asked, 0));
	rows = admin_ask_next(asked, &more);
	ck_assert(!more && json_array_size(rows) == 0);
	json_decref(rows);
	admin_ask_free(asked);
	ck_assert_uint_eq(admin_workers_count(NULL), 0);
	ck_assert_uint_eq(admin_workers_sessions(NULL), 0);
}
END_TEST

static size_t
count_rows(struct admin_ask *asked, json_int_t pid)
{
	bool more = true;
	size_t n = 0, i;
	json_t *rows, *row;

	while (more) {
		rows = admin_ask_next(asked, &more);
		ck_assert(json_is_array(rows));
		ck_assert_uint_le(json_array_size(rows), ADMIN_ROWS_MAX);
		json_array_foreach(rows, i, row)
		{
			n += json_integer_value(json_object_get(row,
				 "worker")) == pid;
		}
		json_decref(rows);
	}
	return n;
}

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

	add_real(PID);
	add_real(PID + 1);
	asked = ask("list", json_pack("{s:i}", "rows", 20050));
	loop_task_init(&turn, count_turn, &turn);
	loop_task_queue(world.loop, &turn);
	await(1, 20);
	ck_assert_int_ge(turns, 200);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_ptr_null(admin_ask_reply(asked, 0)->data);
	ck_assert_uint_eq(count_rows(asked, PID), 20050);
	ck_assert_uint_eq(count_rows(asked, PID), 0); /* they were taken */
	admin_ask_free(asked);
	asked = ask("list", json_pack("{s:i}", "rows", 20050));
	await(2, 20);
	ck_assert_uint_eq(count_rows(asked, PID + 1), 20050);
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

	add_real(PID);
	world_say(&client, "{\"id\":1,\"cmd\":\"later\"}");
	while (world.pending == NULL)
		world_turn();
	question.whom = world.pending;
	asked = admin_workers_ask(workers, &question, count_done, &done);
	await(1, 5);
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

	add_real(PID);
	memset(text, '\t', ADMIN_LINE_MAX); /* written as \t */
	text[ADMIN_LINE_MAX - 1] = '\0';
	asked = ask("echo", json_pack("{s:s}", "text", text));
	await(1, 5);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	admin_ask_free(asked);
	free(text);
}
END_TEST

/* --- Workers that fail ------------------------------------------------------ */

START_TEST(test_hangs)
{
	struct world_client script = add_script(5);
	struct admin_ask *asked, *second;
	double begin = loop_now(world.loop);
	json_int_t late;
	json_t *pids;
	char text[400];

	answer_poll(&script, 3);
	add_real(PID);
	answer_poll(&script, 3);
	asked = ask("echo", NULL);
	second = ask("echo", NULL);
	late = heard(&script, "echo");
	await(2, 5);
	ck_assert(loop_now(world.loop) - begin >= ADMIN_WORKERS_SILENCE - 0.1);
	ck_assert(loop_now(world.loop) - begin <= ADMIN_WORKERS_SILENCE + 1);
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
	asked = ask("fail", NULL);
	world_turns(20);
	ck_assert_ptr_null(memchr(script.buf, '\n', script.len));
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":{}}", (int)late);
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":17}",
	    (int)heard(&script, "fail"));
	await(3, 5);
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
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	json_int_t id;

	answer_poll(&script, 3);
	asked = ask("list", NULL);
	id = heard(&script, "list");
	for (int i = 0; i < 3; i++) {
		world_run_for(1.2);
		ck_assert_int_eq(done, 0);
		say(&script,
		    "{\"id\":%d,\"ok\":true,\"data\":[{\"a\":1}],\"more\":%s}",
		    (int)id, i < 2 ? "true" : "false");
	}
	await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(count_rows(asked, 5), 3);
	admin_ask_free(asked);
	world_client_close(&script);
}
END_TEST

START_TEST(test_dies)
{
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	json_t *pids;
	char text[400];

	answer_poll(&script, 3);
	asked = ask("list", NULL);
	say(&script,
	    "{\"id\":%d,\"ok\":true,\"data\":[{\"a\":1},{\"a\":2}],"
	    "\"more\":true}",
	    (int)heard(&script, "list"));
	world_say_bytes(&script, "{\"id\":", 6);
	world_client_close(&script);
	await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_GONE);
	ck_assert_uint_eq(count_rows(asked, 5), 2);
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
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	json_int_t id;

	answer_poll(&script, 3);
	asked = ask("list", NULL);
	id = heard(&script, "list");
	for (int i = 0; i < 50; i++)
		say(&script,
		    "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":%s}",
		    (int)id, i < 49 ? "true" : "false");
	world_client_close(&script);
	await(1, 1);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(count_rows(asked, 5), 50);
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
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	char text[400];

	answer_poll(&script, 3);
	add_real(PID);
	answer_poll(&script, 3);
	asked = ask("list", json_pack("{s:i}", "rows", 250));
	ck_assert_int_eq(heard(&script, "list"), 3);
	world_say(&script, rubbish[_i]);
	await(1, 5);
	ck_assert_int_eq(admin_ask_reply(asked, 0)->end, ADMIN_REPLY_SILENT);
	ck_assert_ptr_nonnull(strstr(admin_ask_describe(asked, text,
					 sizeof text),
	    "worker 5 "));
	ck_assert_int_eq(admin_ask_reply(asked, 1)->end, ADMIN_REPLY_ANSWERED);
	ck_assert_uint_eq(count_rows(asked, PID), 250);
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
	struct world_client script = add_script(5);

	answer_poll(&script, 3);
	world_say(&script, "{\"id\":1,\"ok\":true,\"data\":{}}");
	ck_assert(world_is_closed(&script));
	ck_assert_uint_eq(admin_workers_count(workers), 0);
	world_client_close(&script);
}
END_TEST

START_TEST(test_endless_line)
{
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	char *much = malloc(1 << 20);

	memset(much, 'x', 1 << 20);
	asked = ask("echo", NULL);
	for (int i = 0; i < 10; i++)
		world_say_bytes(&script, much, 1 << 20);
	await(1, 5);
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
	struct world_client script = add_script(5);
	struct admin_ask *asked;
	size_t size = 7 << 20, head;
	char *line = malloc(size + 1);
	json_int_t id;

	answer_poll(&script, 3);
	for (int round = 1; round <= 2; round++) {
		asked = ask("list", NULL);
		id = heard(&script, "list");
		head = (size_t)sprintf(line,
		    "{\"id\":%d,\"ok\":true,\"more\":true,\"data\":[{\"a\":\"",
		    (int)id);
		memset(line + head, 'y', size - head);
		strcpy(line + size - 4, "\"}]}");
		for (int i = 0; i < 10 && done < round; i++)
			world_say(&script, line);
		await(round, 5);
		ck_assert_int_eq(admin_ask_reply(asked, 0)->end,
		    ADMIN_REPLY_SILENT);
		ck_assert_uint_eq(count_rows(asked, 5), 9);
		admin_ask_free(asked);
		/* It goes on, and nobody listens. */
		world_say(&script, line);
		say(&script, "{\"id\":%d,\"ok\":true,\"data\":[]}", (int)id);
	}
	ck_assert_uint_eq(admin_workers_count(workers), 1);
	free(line);
	world_client_close(&script);
}
END_TEST

/* --- Who asks goes away ----------------------------------------------------- */

START_TEST(test_forgotten)
{
	struct world_client script = add_script(5);
	struct admin_ask *first, *second;
	json_int_t id;

	answer_poll(&script, 1);
	first = ask("list", NULL);
	second = ask("echo", NULL);
	id = heard(&script, "list");
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":true}",
	    (int)id);
	admin_ask_free(first);
	world_turns(3);
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":[{}]}", (int)id);
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":{}}",
	    (int)heard(&script, "echo"));
	await(1, 1);
	ck_assert_int_eq(admin_ask_reply(second, 0)->end, ADMIN_REPLY_ANSWERED);
	admin_ask_free(second);
	/* Before it was even sent. */
	admin_ask_free(ask("echo", NULL));
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
	struct world_client script = add_script(5);
	struct admin_question question = { .command = "list" };

	answer_poll(&script, 1);
	last = admin_workers_ask(workers, &question, free_last, &last);
	say(&script, "{\"id\":%d,\"ok\":true,\"data\":[{}],\"more\":true}",
	    (int)heard(&script, "list"));
	admin_workers_free(workers);
	ck_assert_int_eq(done, 1);
	workers = NULL;
	world_client_close(&script);
}
END_TEST

/* --- How many sessions ------------------------------------------------------ */

START_TEST(test_sessions)
{
	struct world_client a = add_script(5), b = add_script(6);

	ck_assert_uint_eq(admin_workers_sessions(workers), 0);
	answer_poll(&a, 3);
	world_turns(5);
	answer_poll(&a, 3); /* b came meanwhile */
	answer_poll(&b, 4);
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
	answer_poll(&a, 1);
	world_turns(5);
	ck_assert_uint_eq(admin_workers_sessions(workers), 1);
	world_client_close(&a);
}
END_TEST

static TCase *
make_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
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
