/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_old.h"

/* --- Looking ------------------------------------------------------------------ */

START_TEST(test_status)
{
	json_t *status = old_data(old_order("status", "{}"));
	json_t *daemon = json_object_get(status, "daemon");
	json_t *workers = json_object_get(status, "workers");
	json_t *rows = json_object_get(status, "tunnels");

	old_is(old_member(daemon, "sessions"), "3");
	old_is(old_member(daemon, "up_rate"), "1.5");
	old_is(old_member(daemon, "master"), "null");
	old_is(old_member(daemon, "replaced"), "false");
	ck_assert_uint_eq(json_array_size(workers), 2);
	old_is(old_member(json_array_get(workers, 0), "state"), "\"current\"");
	old_is(old_member(json_array_get(workers, 0), "sessions"), "0");
	old_is(json_incref(json_array_get(workers, 1)),
	    "{\"draining_since\":\"2026-11-21T09:00:00.000Z\",\"error\":null,"
	    "\"pid\":4711,\"sessions\":3,\"started_at\":null,"
	    "\"state\":\"draining\",\"until\":null,\"version\":\"0.9\"}");
	ck_assert_uint_eq(json_array_size(rows), 2);
	old_is(old_member(json_array_get(rows, 0), "name"), "\"own\"");
	old_is(old_member(json_array_get(rows, 0), "worker"), "null");
	old_is(old_member(json_array_get(rows, 1), "name"), "\"web\"");
	old_is(old_member(json_array_get(rows, 1), "worker"), "4711");
	old_is(old_member(json_array_get(rows, 1), "state"), "\"draining\"");
	json_decref(status);
}
END_TEST

START_TEST(test_status_silent)
{
	json_t *status, *worker;

	sulks = "tunnels";
	status = old_data(old_order("status", "{}"));
	worker = json_array_get(json_object_get(status, "workers"), 1);
	old_is(old_member(worker, "version"), "\"0.9\"");
	old_is(old_member(worker, "error"), "\"worker 4711 does not answer\"");
	json_decref(status);
}
END_TEST

START_TEST(test_tunnels)
{
	json_t *rows = old_rows("tunnels", "{}", NULL);

	ck_assert_uint_eq(json_array_size(rows), 2);
	old_is(old_member(json_array_get(rows, 1), "worker"), "4711");
	json_decref(rows);
	sulks = "tunnels";
	rows = old_rows("tunnels", "{}", "timeout");
	ck_assert_uint_eq(json_array_size(rows), 1);
	json_decref(rows);
}
END_TEST

START_TEST(test_sessions)
{
	old_is(old_rows("sessions", "{}", NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	old_is_asked("{}");
	/* A name that means something here means just that there. */
	old_is(old_rows("sessions", "{\"tunnel\":\"own\",\"older\":5}", NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	old_is_asked("{\"older\":5,\"tunnel\":\"/own\"}");
	old_is(old_rows("sessions", "{\"tunnel\":\"web\",\"peer\":\"home\"}",
		   NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	old_is_asked("{\"peer\":\"home\",\"tunnel\":\"web\"}");
	old_refused("sessions", "{\"older\":-1}", "bad_request");
	sulks = "sessions";
	old_is(old_rows("sessions", "{}", "timeout"), "[]");
}
END_TEST

START_TEST(test_sessions_nowhere)
{
	declines = "sessions";
	code = "not_found";
	old_refused("sessions", "{\"tunnel\":\"none\"}", "not_found");
	old_refused("sessions", "{\"peer\":\"none\"}", "not_found");
	old_is(old_rows("sessions", "{\"tunnel\":\"own\"}", NULL), "[]");
	code = "bad_request"; /* ambiguous there */
	old_refused("sessions", "{\"tunnel\":\"none\"}", "bad_request");
	old_is(old_rows("sessions", "{}", "timeout"), "[]");
	/* It might have it. */
	sulks = "sessions";
	old_is(old_rows("sessions", "{\"tunnel\":\"none\"}", "timeout"), "[]");
}
END_TEST

START_TEST(test_session)
{
	old_is(old_data(old_order("session", "{\"id\":10}")),
	    "{\"id\":10,\"worker\":4711}");
	old_is_asked("{\"ids\":[10]}");
	old_refused("session", "{\"id\":11}", "not_found");
	sulks = "sessions";
	old_refused("session", "{\"id\":10}", "not_found");
}
END_TEST

/* --- Ends --------------------------------------------------------------------- */

/* The worker dies while it is asked. */
START_TEST(test_worker_dies)
{
	client = world_client_open();
	sulks = "sessions";
	world_say(&client, "{\"id\":1,\"cmd\":\"sessions\"}");
	while (sulking == NULL)
		world_turn();
	admin_free(old);
	old = NULL;
	world_check_json(world_hear(&client),
	    "{\"data\":[],\"id\":1,\"ok\":true}");
	world_client_close(&client);
	old_is(old_rows("sessions", "{}", NULL), "[]");
	old_is(old_data(old_order("kill", "{\"ids\":[10]}")),
	    "{\"killed\":[],\"not_found\":[10]}");
}
END_TEST

/* Whoever asks is gone at any time; so is the daemon. */
START_TEST(test_client_goes)
{
	static const char *const commands[] = { "status", "tunnels", "sessions",
		"session\",\"args\":{\"id\":5},\"x\":\"" };
	char line[100];

	sulks = _i < 2 ? "tunnels" : "sessions";
	client = world_client_open();
	snprintf(line, sizeof line, "{\"id\":1,\"cmd\":\"%s\"}", commands[_i]);
	world_say(&client, line);
	while (sulking == NULL)
		world_turn();
	if (_i % 2 == 0) {
		world_client_close(&client);
		world_turns(20);
	}
	admin_free(world.admin);
	world.admin = NULL;
	world_turns(5);
	world_client_close(&client);
}
END_TEST

static TCase *
make_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, old_setup, old_teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("admin_merge");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "looking");
	tcase_add_test(tc, test_status);
	tcase_add_test(tc, test_status_silent);
	tcase_add_test(tc, test_tunnels);
	tcase_add_test(tc, test_sessions);
	tcase_add_test(tc, test_sessions_nowhere);
	tcase_add_test(tc, test_session);
	tc = make_case(suite, "ends");
	tcase_add_test(tc, test_worker_dies);
	tcase_add_loop_test(tc, test_client_goes, 0, 4);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
