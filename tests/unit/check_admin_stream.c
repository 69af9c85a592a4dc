/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_world.h"

#define EMPTY "{\"data\":[],\"id\":7,\"more\":true,\"ok\":true}"

static struct world_client
follow(void)
{
	struct world_client client = world_client_open();

	world_say(&client, "{\"id\":7,\"cmd\":\"stream\"}");
	world_check_json(world_hear(&client), EMPTY);
	ck_assert_ptr_nonnull(world.stream);
	return client;
}

/* A piece of one row, that is a string of so many bytes. */
static json_t *
row(size_t size)
{
	char *text = malloc(size + 1);
	json_t *rows;

	memset(text, 'x', size);
	text[size] = '\0';
	rows = json_pack("[s]", text);
	free(text);
	return rows;
}

/* Sends until no more should be sent; how many pieces. */
static int
fill(void)
{
	int n = 0;

	/* The socket's own buffer takes some, too. */
	for (; n < 1000 && admin_stream_is_ready(world.stream); n++) {
		ck_assert(admin_stream_send(world.stream, row(10000)));
		world_turn();
	}
	ck_assert_int_lt(n, 1000);
	return n;
}

static bool
waits_for_cancel(double seconds)
{
	int before = world.cancelled;

	for (int i = 0; i < (int)(seconds * 100); i++) {
		if (world.cancelled > before)
			return true;
		world_run_for(0.01);
	}
	return false;
}

START_TEST(test_pieces)
{
	struct world_client client = follow();

	ck_assert(admin_stream_send(world.stream, json_pack("[i]", 1)));
	ck_assert(admin_stream_send(world.stream, json_pack("[i,i]", 2, 3)));
	world_check_json(world_hear(&client),
	    "{\"data\":[1],\"id\":7,\"more\":true,\"ok\":true}");
	world_check_json(world_hear(&client),
	    "{\"data\":[2,3],\"id\":7,\"more\":true,\"ok\":true}");
	/* Another request waits, for ever. */
	world_say(&client, "{\"id\":8,\"cmd\":\"echo\"}");
	world_turns(20);
	ck_assert(admin_stream_send(world.stream, json_array()));
	world_check_json(world_hear(&client), EMPTY);
	ck_assert_int_eq(world.cancelled, 0);
	world_client_close(&client);
	ck_assert(waits_for_cancel(1));
}
END_TEST

START_TEST(test_gone)
{
	struct world_client client = follow();

	world_client_close(&client);
	world_turns(5);
	ck_assert_int_eq(world.cancelled, 1);
	ck_assert_ptr_null(world.stream);
}
END_TEST

/* Who closes his sending side alone goes on hearing. */
START_TEST(test_half_closed)
{
	struct world_client client = follow();

	ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
	world_run_for(1.2);
	ck_assert_int_eq(world.cancelled, 0);
	ck_assert(admin_stream_send(world.stream, json_array()));
	world_check_json(world_hear(&client), EMPTY);
	world_client_close(&client);
	ck_assert(waits_for_cancel(1.5));
}
END_TEST

START_TEST(test_ready)
{
	struct world_client client = follow();
	int n = fill(), before;

	world_turns(20);
	before = world.readied;
	world_turns(20);
	ck_assert_int_eq(world.readied, before);
	while (n-- > 0) {
		json_t *piece = world_hear(&client);

		ck_assert_ptr_nonnull(piece);
		json_decref(piece);
	}
	ck_assert_int_gt(world.readied, before);
	ck_assert(admin_stream_is_ready(world.stream));
	world_client_close(&client);
	world_turns(5);
}
END_TEST

START_TEST(test_too_much)
{
	struct world_client client = follow();
	int n = 0;

	while (admin_stream_send(world.stream, row(10000)))
		ck_assert_int_lt(n++, 1000);
	/* It was told by what was returned. */
	ck_assert_int_eq(world.cancelled, 0);
	ck_assert_int_ge(n, ADMIN_STREAM_MAX / 10100);
	world.stream = NULL;
	world_turns(5);
	client.len = 0;
	while (recv(client.fd, client.buf, 65536, 0) > 0)
		;
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

START_TEST(test_stall)
{
	struct world_client client = follow();

	fill();
	ck_assert(waits_for_cancel(WORLD_STALL + 2));
	world_client_close(&client);
}
END_TEST

START_TEST(test_no_memory)
{
	struct world_client client = follow();

	ck_assert(!admin_stream_send(world.stream, NULL));
	ck_assert_int_eq(world.cancelled, 0);
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

START_TEST(test_fail)
{
	struct world_client client = follow();

	ck_assert(admin_stream_send(world.stream, json_pack("[i]", 1)));
	admin_stream_fail(world.stream, "unavailable", "enough");
	ck_assert_int_eq(world.cancelled, 0);
	world_check_json(world_hear(&client),
	    "{\"data\":[1],\"id\":7,\"more\":true,\"ok\":true}");
	world_check_error(world_hear(&client), "unavailable");
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

/* The end of the daemon: what is left goes as far as it can. */
START_TEST(test_end)
{
	struct world_client client = follow();
	char error[256] = "";

	ck_assert(admin_stream_send(world.stream, json_pack("[i]", 1)));
	world.farewell = json_pack("[i]", 2);
	admin_free(world.admin);
	ck_assert_int_eq(world.cancelled, 1);
	world_check_json(world_hear(&client),
	    "{\"data\":[1],\"id\":7,\"more\":true,\"ok\":true}");
	world_check_json(world_hear(&client),
	    "{\"data\":[2],\"id\":7,\"more\":true,\"ok\":true}");
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
	world.admin = world_open(NULL, error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
}
END_TEST

/* ... and the daemon does not wait for it. */
START_TEST(test_end_full)
{
	struct world_client client = follow();
	char error[256] = "";

	for (int i = 0; i < 26; i++)
		ck_assert(admin_stream_send(world.stream, row(10000)));
	world.farewell = row(300000);
	admin_free(world.admin);
	world_client_close(&client);
	world.admin = world_open(NULL, error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
}
END_TEST

/* Followers that are gone hold no place, even where their end comes in the
 * same turn as those who take it. */
START_TEST(test_places)
{
	struct world_client clients[ADMIN_CLIENTS_MAX];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
			clients[i] = world_client_open();
		for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
			world_check_works(&clients[i]);
		for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
			world_client_close(&clients[i]);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("admin stream");
	TCase *tc = tcase_create("stream");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, world_setup, world_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, test_pieces);
	tcase_add_test(tc, test_gone);
	tcase_add_test(tc, test_half_closed);
	tcase_add_test(tc, test_ready);
	tcase_add_test(tc, test_too_much);
	tcase_add_test(tc, test_stall);
	tcase_add_test(tc, test_no_memory);
	tcase_add_test(tc, test_fail);
	tcase_add_test(tc, test_end);
	tcase_add_test(tc, test_end_full);
	tcase_add_test(tc, test_places);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
