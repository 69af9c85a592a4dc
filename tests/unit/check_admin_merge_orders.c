/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_old.h"

/* --- Changing ----------------------------------------------------------------- */

/* The last row of the table of changes. */
static void
last_change(const char *command, const char *detail)
{
	json_t *rows, *row;

	/* What is written is read, a moment later. */
	for (int i = 0;; i++) {
		rows = old_rows("changes", "{\"limit\":1}", NULL);
		row = json_array_get(rows, 0);
		if (row != NULL || i == 100)
			break;
		json_decref(rows);
		world_run_for(0.05);
	}
	ck_assert_ptr_nonnull(row);
	ck_assert_str_eq(json_string_value(json_object_get(row, "command")),
	    command);
	ck_assert_str_eq(json_string_value(json_object_get(row, "detail")),
	    detail);
	json_decref(rows);
}

START_TEST(test_kill)
{
	char want[40];

	old_is(old_data(old_order("kill", "{\"ids\":[10,20,30,30]}")),
	    "{\"killed\":[10,20],\"not_found\":[30]}");
	old_is_asked("{\"ids\":[10,20,30,30]}");
	snprintf(want, sizeof want, "(uid %lu)", (unsigned long)geteuid());
	ck_assert_ptr_nonnull(strstr(by, want));
	last_change("kill", "ids 10 20 30 30: 2 sessions");
}
END_TEST

START_TEST(test_kill_tunnel)
{
	old_is(old_data(old_order("kill", "{\"tunnel\":\"own\"}")),
	    "{\"killed\":[10,20],\"not_found\":[]}");
	old_is_asked("{\"tunnel\":\"/own\"}");
	old_is(old_data(old_order("kill", "{\"tunnel\":\"gone\"}")),
	    "{\"killed\":[10,20],\"not_found\":[]}");
	declines = "kill";
	code = "not_found";
	old_refused("kill", "{\"tunnel\":\"none\"}", "not_found");
	old_refused("kill", "{}", "bad_request");
	old_is(old_data(old_order("kill", "{\"ids\":[10,20]}")),
	    "{\"killed\":[],\"not_found\":[10,20]}");
}
END_TEST

START_TEST(test_kill_silent)
{
	sulks = "kill";
	old_is(old_data(old_order("kill", "{\"ids\":[10]}")),
	    "{\"killed\":[],\"not_found\":[],\"unreachable\":[4711]}");
}
END_TEST

/* What the worker did is recorded all the same. */
START_TEST(test_kill_and_go)
{
	client = world_client_open();
	sulks = "kill";
	world_say(&client, "{\"cmd\":\"kill\",\"args\":{\"older\":1}}");
	while (sulking == NULL)
		world_turn();
	world_client_close(&client);
	world_turns(20);
	admin_answer(sulking,
	    json_pack("{s:[i], s:[]}", "killed", 10, "not_found"));
	sulking = NULL;
	last_change("kill",
	    "older than 1 s: 1 session, then whoever asked was gone");
}
END_TEST

START_TEST(test_disable)
{
	old_is(old_data(old_order("disable",
		   "{\"tunnel\":\"own\",\"kill\":true}")),
	    "{\"changed\":true,\"disabled\":true,\"killed\":[10,20],"
	    "\"kind\":\"tunnel\",\"name\":\"own\"}");
	old_is_asked("{\"tunnel\":\"/own\"}");
	last_change("disable", "tunnel own: 2 sessions killed");
	sulks = "kill";
	old_is(old_data(old_order("disable",
		   "{\"tunnel\":\"own\",\"kill\":true}")),
	    "{\"changed\":false,\"disabled\":true,\"killed\":[],"
	    "\"kind\":\"tunnel\",\"name\":\"own\",\"unreachable\":[4711]}");
	old_is(old_data(old_order("disable", "{\"tunnel\":\"own\"}")),
	    "{\"changed\":false,\"disabled\":true,\"killed\":[],"
	    "\"kind\":\"tunnel\",\"name\":\"own\"}");
	old_refused("disable", "{\"tunnel\":\"web\",\"kill\":true}",
	    "not_found");
}
END_TEST

/* --- One that drains ---------------------------------------------------------- */

START_TEST(test_draining)
{
	static const char *const orders[][2] = {
		{ "reload", "{}" },
		{ "upgrade", "{}" },
		{ "disable", "{\"name\":\"own\"}" },
		{ "enable", "{\"name\":\"own\"}" },
		{ "test", "{\"tunnel\":\"own\"}" },
		{ "disconnect", "{\"peer\":\"home\"}" },
	};
	json_t *version;

	context.draining_us = 1000000;
	context.drain_until_us = 61000000;
	for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
		old_refused(orders[i][0], orders[i][1], "refused");
	version = old_data(old_order("version", "{}"));
	old_is(old_member(version, "state"), "\"draining\"");
	old_is(old_member(version, "draining_since"),
	    "\"1970-01-01T00:00:01.000Z\"");
	old_is(old_member(version, "until"), "\"1970-01-01T00:01:01.000Z\"");
	json_decref(version);
	/* It asks nobody. */
	old_is(old_rows("sessions", "{}", NULL), "[]");
	old_is(old_rows("tunnels", "{}", NULL), "[]");
	old_refused("sessions", "{\"tunnel\":\"web\"}", "not_found");
	context.draining_us = context.drain_until_us = 0;
}
END_TEST

/* --- upgrade ------------------------------------------------------------------ */

static admin_upgraded_fn *upgraded;
static void *upgraded_arg;

static void
upgrade_later(admin_upgraded_fn *done, void *done_arg, void *arg)
{
	ck_assert_ptr_eq(arg, &upgraded);
	upgraded = done;
	upgraded_arg = done_arg;
}

static void
upgrade_fails(admin_upgraded_fn *done, void *done_arg, void *arg)
{
	struct admin_upgraded outcome = { .why = "it was not ready in 30 s" };

	(void)arg;
	done(&outcome, done_arg);
}

static bool
replaced(void *arg)
{
	return arg == &upgraded;
}

START_TEST(test_upgrade)
{
	static const struct admin_upgraded outcome = {
		.ok = true,
		.pid = 12,
		.version = "2.0",
		.old_pid = 11,
		.sessions = 5,
	};

	old_refused("upgrade", "{}", "refused");
	context.master = 10;
	context.upgrade_arg = &upgraded;
	context.replaced = replaced;
	context.upgrade = upgrade_fails;
	old_refused("upgrade", "{}", "refused");
	old_refused("upgrade", "{\"now\":true}", "bad_request");
	context.upgrade = upgrade_later;
	for (int i = 0; i < 3; i++) {
		upgraded = NULL;
		client = world_client_open();
		world_say(&client, "{\"id\":1,\"cmd\":\"upgrade\"}");
		while (upgraded == NULL)
			world_turn();
		/* The second one does not wait for it, the third one is gone
		 * while it is being recorded. */
		if (i == 1)
			world_client_close(&client);
		world_turns(20);
		upgraded(&outcome, upgraded_arg);
		if (i == 2)
			world_client_close(&client);
		world_turns(20);
		if (i == 0)
			world_check_json(world_hear(&client),
			    "{\"data\":{\"old_pid\":11,\"pid\":12,"
			    "\"sessions\":5,\"version\":\"2.0\"},\"id\":1,"
			    "\"ok\":true}");
		world_client_close(&client);
	}
	last_change("upgrade", "to 2.0: worker 12 after 11");
	json_t *version = old_data(old_order("version", "{}"));
	old_is(old_member(version, "master"), "10");
	old_is(old_member(version, "replaced"), "true");
	json_decref(version);
	context.master = 0;
	context.replaced = NULL;
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
	Suite *suite = suite_create("admin_merge_orders");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "changing");
	tcase_add_test(tc, test_kill);
	tcase_add_test(tc, test_kill_tunnel);
	tcase_add_test(tc, test_kill_silent);
	tcase_add_test(tc, test_kill_and_go);
	tcase_add_test(tc, test_disable);
	tc = make_case(suite, "draining");
	tcase_add_test(tc, test_draining);
	tc = make_case(suite, "upgrade");
	tcase_add_test(tc, test_upgrade);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
