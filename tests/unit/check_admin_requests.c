/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_world.h"

/* --- Requests ----------------------------------------------------------- */

START_TEST(test_ids)
{
	struct world_client client = world_client_open();
	char text[300], id[ADMIN_ID_MAX + 2];

	world_say(&client, "{\"cmd\":\"echo\"}");
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":null,\"ok\":true}");
	world_say(&client, "{\"id\":\"x\\u00e4\",\"cmd\":\"echo\"}\r");
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":\"x\xc3\xa4\",\"ok\":true}");
	world_say(&client, "{\"id\":-9007199254740993,\"cmd\":\"fail\"}");
	world_check_json(world_hear(&client),
	    "{\"error\":{\"code\":\"not_found\","
	    "\"message\":\"no ??nimal 7 ?\"},\"id\":-9007199254740993,"
	    "\"ok\":false}");
	memset(id, 'i', sizeof id);
	id[sizeof id - 1] = '\0';
	snprintf(text, sizeof text, "{\"id\":\"%s\",\"cmd\":\"echo\"}", id);
	world_say(&client, text);
	world_check_error(world_hear(&client), "bad_request");
	world_say(&client, "{\"id\":5,\"cmd\":\"null\"}");
	world_check_error(world_hear(&client), "unavailable");
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

static const struct {
	const char *line, *code;
} bad_lines[] = {
	{ "", "bad_json" },
	{ "hello", "bad_json" },
	{ "{\"cmd\":", "bad_json" },
	{ "{\"cmd\":\"echo\"} x", "bad_json" },
	{ "{\"cmd\":\"echo\",\"cmd\":\"echo\"}", "bad_json" },
	{ "{\"cmd\":\"\\u0000\"}", "bad_json" },
	{ "{\"cmd\":\"\xff\xfe\"}", "bad_json" },
	{ "{\"id\":99999999999999999999,\"cmd\":\"echo\"}", "bad_json" },
	{ "{\"cmd\":\"\x01\"}", "bad_json" },
	{ "[]", "bad_request" },
	{ "[{\"cmd\":\"echo\"}]", "bad_request" },
	{ "{}", "bad_request" },
	{ "{\"cmd\":7}", "bad_request" },
	{ "{\"cmd\":null}", "bad_request" },
	{ "{\"cmd\":\"echo\",\"args\":[]}", "bad_request" },
	{ "{\"cmd\":\"echo\",\"args\":null}", "bad_request" },
	{ "{\"cmd\":\"echo\",\"id\":{}}", "bad_request" },
	{ "{\"cmd\":\"echo\",\"id\":1.5}", "bad_request" },
	{ "{\"cmd\":\"echo\",\"id\":true}", "bad_request" },
	{ "{\"cmd\":\"\"}", "unknown_command" },
	{ "{\"cmd\":\"ech\"}", "unknown_command" },
	{ "{\"cmd\":\"\\u001b[31m\\n\"}", "unknown_command" },
};

START_TEST(test_bad_line)
{
	struct world_client client = world_client_open();

	world_say(&client, bad_lines[_i].line);
	world_check_error(world_hear(&client), bad_lines[_i].code);
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

START_TEST(test_nul_and_depth)
{
	struct world_client client = world_client_open();
	static char deep[60000];

	world_say_bytes(&client, "{\"cmd\":\0\"echo\"}\n", 16);
	world_check_error(world_hear(&client), "bad_json");
	world_say_bytes(&client, "\0\0\0\n", 4);
	world_check_error(world_hear(&client), "bad_json");
	memset(deep, '[', sizeof deep - 1);
	world_say(&client, deep);
	world_check_error(world_hear(&client), "bad_json");
	for (size_t i = 0; i + 6 < sizeof deep; i += 5)
		memcpy(deep + i, "{\"a\":", 5);
	world_say(&client, deep);
	world_check_error(world_hear(&client), "bad_json");
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

/* Exactly as long as allowed, then one byte more. */
START_TEST(test_line_length)
{
	struct world_client client = world_client_open();
	static char line[ADMIN_LINE_MAX + 2];

	memset(line, ' ', ADMIN_LINE_MAX);
	memcpy(line, "{\"cmd\":\"echo\"}", 14);
	world_say(&client, line);
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":null,\"ok\":true}");
	line[ADMIN_LINE_MAX] = ' ';
	world_say(&client, line);
	world_check_error(world_hear(&client), "too_long");
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

START_TEST(test_endless_line)
{
	struct world_client client = world_client_open(),
			    other = world_client_open();
	static char block[65536];

	memset(block, 'a', sizeof block);
	for (int i = 0; i < 20; i++)
		world_say_bytes(&client, block, sizeof block);
	world_check_error(world_hear(&client), "too_long");
	ck_assert(world_is_closed(&client));
	world_check_works(&other);
	world_client_close(&client);
	world_client_close(&other);
}
END_TEST

/* Several at once, split anywhere. */
START_TEST(test_pipelined)
{
	static const char
	    text[] = "{\"id\":1,\"cmd\":\"echo\"}\nnonsense\n"
		     "{\"id\":2,\"cmd\":\"list\",\"args\":{\"rows\":101}}\n"
		     "{\"id\":3,\"cmd\":\"echo\"}\n";
	struct world_client client = world_client_open();
	json_t *piece;

	for (size_t i = 0; i < sizeof text - 1; i++)
		world_say_bytes(&client, text + i, 1);
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":1,\"ok\":true}");
	world_check_error(world_hear(&client), "bad_json");
	piece = world_hear(&client);
	ck_assert(json_is_true(json_object_get(piece, "more")));
	ck_assert_uint_eq(json_array_size(json_object_get(piece, "data")), 100);
	json_decref(piece);
	world_check_json(world_hear(&client),
	    "{\"data\":[{\"id\":100,"
	    "\"source\":\"192.0.2.1:1234\"}],\"id\":2,\"ok\":true}");
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":3,\"ok\":true}");
	ck_assert_int_eq(world.released, 1);
	world_client_close(&client);
}
END_TEST

/* Like printf ... | nc -N -U, with and without the last line feed. */
START_TEST(test_half_close)
{
	struct world_client client = world_client_open();
	static const char
	    text[] = "{\"id\":1,\"cmd\":\"later\"}\n"
		     "{\"id\":2,\"cmd\":\"list\",\"args\":{\"rows\":1000}}\n"
		     "{\"id\":3,\"cmd\":\"echo\"}";
	size_t rows = 0;

	world_say_bytes(&client, text, sizeof text - 1);
	shutdown(client.fd, SHUT_WR);
	world_turns(20);
	ck_assert_ptr_nonnull(world.pending);
	ck_assert_int_eq(world.cancelled, 0);
	admin_answer(world.pending, json_true());
	world.pending = NULL;
	world_check_json(world_hear(&client),
	    "{\"data\":true,\"id\":1,\"ok\":true}");
	for (int i = 0; i < 10; i++) {
		json_t *piece = world_hear(&client);
		rows += json_array_size(json_object_get(piece, "data"));
		json_decref(piece);
	}
	ck_assert_uint_eq(rows, 1000);
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":3,\"ok\":true}");
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

START_TEST(test_lists)
{
	static const int sizes[] = { 0, 1, 100, 101, 200, 10000 };
	struct world_client client = world_client_open();
	char text[100];

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		size_t rows = 0, n = 0;
		bool more = true;

		snprintf(text, sizeof text,
		    "{\"id\":1,\"cmd\":\"list\",\"args\":{\"rows\":%d}}",
		    sizes[i]);
		world_say(&client, text);
		while (more) {
			json_t *piece = world_hear(&client), *data;
			ck_assert_ptr_nonnull(piece);
			data = json_object_get(piece, "data");
			ck_assert(json_is_array(data));
			ck_assert_uint_le(json_array_size(data), 100);
			rows += json_array_size(data);
			more = json_is_true(json_object_get(piece, "more"));
			n++;
			json_decref(piece);
		}
		ck_assert_uint_eq(rows, (size_t)sizes[i]);
		ck_assert_uint_eq(n,
		    sizes[i] == 0 ? 1 : ((size_t)sizes[i] + 99) / 100);
	}
	world.pieces = 0;
	world_say(&client, "{\"id\":1,\"cmd\":\"broken\"}");
	json_decref(world_hear(&client));
	json_decref(world_hear(&client));
	world_check_error(world_hear(&client), "unavailable");
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

/* Pieces are made only as fast as they are taken. */
START_TEST(test_list_waits)
{
	struct world_client client = world_client_open();
	int before;

	world_say(&client, "{\"cmd\":\"list\",\"args\":{\"rows\":1000000}}");
	world_turns(500);
	before = world.pieces;
	ck_assert_int_gt(before, 0);
	ck_assert_int_lt(before, 200);
	world_turns(100);
	ck_assert_int_eq(world.pieces, before);
	ck_assert_int_eq(world.released, 0);
	world_client_close(&client);
	world_turns(5);
	ck_assert_int_eq(world.released, 1);
}
END_TEST

/* --- Later answers ------------------------------------------------------ */

START_TEST(test_later)
{
	struct world_client client = world_client_open(),
			    other = world_client_open();

	world_say(&client,
	    "{\"id\":1,\"cmd\":\"later\"}\n{\"id\":2,\"cmd\":\"echo\"}");
	world_turns(20);
	ck_assert_ptr_nonnull(world.pending);
	world_check_works(&other);
	/* One request at a time: the second is still waiting. */
	ck_assert_int_eq(recv(client.fd, client.buf, 100, 0), -1);
	admin_fail(world.pending, "timeout", "the ledger is slow");
	world.pending = NULL;
	world_check_error(world_hear(&client), "timeout");
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":2,\"ok\":true}");
	ck_assert_int_eq(world.cancelled, 0);
	world_client_close(&client);
	world_client_close(&other);
}
END_TEST

START_TEST(test_cancel)
{
	struct world_client client = world_client_open();

	world_say(&client, "{\"id\":1,\"cmd\":\"later\"}");
	world_turns(20);
	ck_assert_ptr_nonnull(world.pending);
	world_client_close(&client);
	world_turns(20);
	ck_assert_int_eq(world.cancelled, 1);
	/* And when the daemon goes. */
	client = world_client_open();
	world_say(&client, "{\"id\":1,\"cmd\":\"later\"}");
	world_turns(20);
	ck_assert_ptr_nonnull(world.pending);
	admin_free(world.admin);
	world.admin = NULL;
	ck_assert_int_eq(world.cancelled, 2);
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

/* A list that is answered later, as the ledger's are. */
START_TEST(test_later_list)
{
	struct world_client client = world_client_open();
	struct world_list *state = calloc(1, sizeof *state);

	world_say(&client, "{\"id\":1,\"cmd\":\"later\"}");
	world_turns(20);
	state->end = 2;
	admin_answer_list(world.pending, world_list_next, state,
	    world_list_release);
	world.pending = NULL;
	json_decref(world_hear(&client));
	ck_assert_int_eq(world.released, 1);
	world_client_close(&client);
	world_turns(20);
	ck_assert_int_eq(world.cancelled, 0);
}
END_TEST

/* --- Bounds ------------------------------------------------------------- */

START_TEST(test_slow_reader)
{
	struct world_client slow = world_client_open(),
			    other = world_client_open();
	struct world_client idle = world_client_open();
	double end;

	world_say(&slow,
	    "{\"id\":1,\"cmd\":\"big\",\"args\":{\"bytes\":4000000}}");
	world_say(&slow, "{\"id\":2,\"cmd\":\"later\"}");
	end = loop_now(world.loop) + 3 * WORLD_STALL;
	while (loop_now(world.loop) < end)
		world_check_works(&other);
	/* Its second request was not even begun. */
	ck_assert_ptr_null(world.pending);
	while (recv(slow.fd, slow.buf, 65536, 0) > 0)
		;
	ck_assert_int_ne(errno, EAGAIN);
	/* Whoever asks nothing may stay. */
	world_check_works(&idle);
	world_client_close(&slow);
	world_client_close(&other);
	world_client_close(&idle);
}
END_TEST

/* Slow, but not too slow: gets every byte. */
START_TEST(test_patient_reader)
{
	struct world_client client = world_client_open();
	size_t got = 0;

	world_say(&client,
	    "{\"id\":1,\"cmd\":\"big\",\"args\":{\"bytes\":2000000}}");
	for (int i = 0; i < 6; i++) {
		ssize_t n;
		world_run_for(WORLD_STALL / 2);
		for (int k = 0; k < 8; k++) {
			n = recv(client.fd, client.buf, 32768, 0);
			got += n > 0 ? (size_t)n : 0;
		}
	}
	while (got < 2000000) {
		ssize_t n = recv(client.fd, client.buf, 65536, 0);
		world_turn();
		ck_assert(n > 0 || (n < 0 && errno == EAGAIN));
		got += n > 0 ? (size_t)n : 0;
	}
	world_client_close(&client);
}
END_TEST

START_TEST(test_too_many)
{
	struct world_client all[ADMIN_CLIENTS_MAX], extra;

	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		all[i] = world_client_open();
		world_turns(2);
	}
	extra = world_client_open();
	world_check_error(world_hear(&extra), "busy");
	ck_assert(world_is_closed(&extra));
	world_client_close(&extra);
	world_check_works(&all[0]);
	world_check_works(&all[ADMIN_CLIENTS_MAX - 1]);
	world_client_close(&all[7]);
	world_turns(5);
	extra = world_client_open();
	world_check_works(&extra);
	world_client_close(&extra);
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		world_client_close(&all[i]);
}
END_TEST

static TCase *
make_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, world_setup, world_teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(suite, tc);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("admin requests");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "requests");
	tcase_add_test(tc, test_ids);
	tcase_add_loop_test(tc, test_bad_line, 0,
	    (int)(sizeof bad_lines / sizeof bad_lines[0]));
	tcase_add_test(tc, test_nul_and_depth);
	tcase_add_test(tc, test_line_length);
	tcase_add_test(tc, test_endless_line);
	tcase_add_test(tc, test_pipelined);
	tcase_add_test(tc, test_half_close);
	tcase_add_test(tc, test_lists);
	tcase_add_test(tc, test_list_waits);
	tc = make_case(suite, "later");
	tcase_add_test(tc, test_later);
	tcase_add_test(tc, test_cancel);
	tcase_add_test(tc, test_later_list);
	tc = make_case(suite, "bounds");
	tcase_add_test(tc, test_slow_reader);
	tcase_add_test(tc, test_patient_reader);
	tcase_add_test(tc, test_too_many);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
