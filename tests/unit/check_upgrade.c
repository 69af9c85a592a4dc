/* SPDX-License-Identifier: ISC */
/* Daemons that are replaced by another process, while users come and go. */
#include "upgrade_world.h"

#include <stdlib.h>

static const char *const modes[] = { "plain", "tls" };
/* Nobody waits for a link that is down, but for one that is upgraded. */
static const char strict[] = "hold = 0.0; max_held = 1;";

static struct side *edge, *home;

static void
start(int mode, const char *more)
{
	fixture_setup();
	world_setup(modes[mode], more);
	edge = side_new("edge", NULL);
	side_start(edge);
	home = side_new("home", NULL);
	side_start(home);
	world_wait_up(edge);
	world_wait_up(home);
	world_turn(0.2); /* its pool is warm */
}

static void
stop(void)
{
	world_teardown();
	fixture_teardown();
}

/* Upgrades while users come; each old one goes when it has nothing left. */
static void
upgrade_under_load(struct side **which, const struct side *entry, int times)
{
	struct side *old;
	int given = 0;

	users_come(entry, 1000);
	world_turn(0.3);
	for (int i = 0; i < times; i++) {
		old = *which;
		*which = side_upgrade(old);
		world_turn(0.15);
		given += old->given;
		for (int j = 0; j < 200 && !side_has_left(old); j++)
			world_turn(0.01);
		ck_assert(side_has_left(old));
		ck_assert_int_ge(old->idle, 1);
		side_free(old);
	}
	users_wait();
	ck_assert_msg(users.failed == 0, "%u of %u failed; the first: %s",
	    users.failed, users.served, users.error);
	ck_assert_uint_ge(users.served, 100 * (unsigned)times);
	/* Some were waiting just then, of those that could be. */
	if (*which == entry)
		ck_assert_int_ge(given, 0);
}

START_TEST(accepting_end_users_there)
{
	start(_i, strict);
	upgrade_under_load(&edge, edge, 10);
	stop();
}
END_TEST

START_TEST(accepting_end_users_far)
{
	start(_i, strict);
	upgrade_under_load(&edge, home, 10);
	stop();
}
END_TEST

START_TEST(dialling_end_users_there)
{
	start(_i, strict);
	upgrade_under_load(&home, home, 10);
	stop();
}
END_TEST

START_TEST(dialling_end_users_far)
{
	start(_i, strict);
	upgrade_under_load(&home, edge, 10);
	stop();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("upgrade");
	TCase *load = tcase_create("load");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(load, 120);
	tcase_add_loop_test(load, accepting_end_users_there, 0, 2);
	tcase_add_loop_test(load, accepting_end_users_far, 0, 2);
	tcase_add_loop_test(load, dialling_end_users_there, 0, 2);
	tcase_add_loop_test(load, dialling_end_users_far, 0, 2);
	suite_add_tcase(suite, load);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
