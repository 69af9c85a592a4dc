/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin_world.h"

/* world.admin is the one that leaves; what comes after it: */
static struct admin *next;

static void
setup(void)
{
	world_setup();
	next = NULL;
}

/* The one that is there at the end takes the file along. */
static void
teardown(void)
{
	int fd, lock_fd;

	admin_free(next);
	admin_descriptors(world.admin, &fd, &lock_fd);
	if (fd == -1)
		unlink(world.path);
	world_teardown();
}

static struct admin_inherited
duplicate(const struct admin *admin)
{
	struct admin_inherited result;
	int fd, lock_fd;

	admin_descriptors(admin, &fd, &lock_fd);
	result.fd = dup(fd);
	result.lock_fd = dup(lock_fd);
	ck_assert(result.fd != -1 && result.lock_fd != -1);
	return result;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

static struct admin *
inherit(const struct admin_inherited *inherited, char *error, size_t size)
{
	struct admin_options options = {
		.path = world.path,
		.owner = geteuid(),
		.commands = world_commands,
		.arg = &world.pending,
		.stall = WORLD_STALL,
		.inherited = inherited,
	};

	return admin_new(world.loop, &options, error, size);
}

static ino_t
inode(void)
{
	struct stat st;

	ck_assert_int_eq(stat(world.path, &st), 0);
	return st.st_ino;
}

/* --- Inheriting ------------------------------------------------------------- */

/* From one to the other and nobody is turned away. */
START_TEST(test_hand_over)
{
	struct admin_inherited inherited = duplicate(world.admin);
	struct world_client before, between, after;
	ino_t file = inode();
	char error[256] = "";
	int fd, lock_fd;

	before = world_client_open();
	world_check_works(&before);
	next = inherit(&inherited, error, sizeof error);
	ck_assert_msg(next != NULL, "%s", error);
	admin_descriptors(next, &fd, &lock_fd);
	ck_assert_int_eq(fd, inherited.fd);
	ck_assert_int_eq(lock_fd, inherited.lock_fd);
	admin_leave(world.admin);
	admin_leave(world.admin);
	admin_descriptors(world.admin, &fd, &lock_fd);
	ck_assert(fd == -1 && lock_fd == -1);
	between = world_client_open();
	world_say(&between, "{\"id\":99,\"cmd\":\"echo\"}");
	world_run_for(0.1);
	ck_assert_int_eq(recv(between.fd, error, sizeof error, MSG_PEEK), -1);
	admin_start(next);
	world_check_json(world_hear(&between),
	    "{\"data\":{},\"id\":99,\"ok\":true}");
	after = world_client_open();
	world_check_works(&after);
	admin_free(world.admin);
	world.admin = next;
	next = NULL;
	ck_assert_uint_eq(inode(), file);
	world_check_works(&after);
	/* It still says "already running" to others. */
	ck_assert_ptr_null(world_open(NULL, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "already running"));
	world_client_close(&before);
	world_client_close(&between);
	world_client_close(&after);
}
END_TEST

/* Who may use it is not what it was. */
START_TEST(test_inherited_mode)
{
	struct admin_inherited inherited = duplicate(world.admin);
	char error[256] = "";
	struct stat st;

	ck_assert_int_eq(chmod(world.path, 0600), 0);
	next = inherit(&inherited, error, sizeof error);
	ck_assert_msg(next != NULL, "%s", error);
	ck_assert_int_eq(stat(world.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	admin_leave(world.admin);
}
END_TEST

/* Of another path: it is made as ever, and what was given is closed. */
START_TEST(test_inherited_elsewhere)
{
	struct admin_inherited inherited = duplicate(world.admin);
	char error[256] = "", saved[sizeof world.path], name[120];
	struct world_client client;

	strcpy(saved, world.path);
	snprintf(world.path, sizeof world.path, "%s/run/b", world.dir);
	next = inherit(&inherited, error, sizeof error);
	ck_assert_msg(next != NULL, "%s", error);
	ck_assert(!is_open(inherited.fd) && !is_open(inherited.lock_fd));
	admin_start(next);
	client = world_client_open();
	world_check_works(&client);
	world_client_close(&client);
	admin_free(next);
	next = NULL;
	ck_assert_int_ne(access(world.path, F_OK), 0);
	snprintf(name, sizeof name, "%s.lock", world.path);
	ck_assert_int_eq(unlink(name), 0);
	strcpy(world.path, saved);
}
END_TEST

/* The file is gone, or the lock was not given: that much is made anew. */
START_TEST(test_inherited_half)
{
	struct admin_inherited inherited = duplicate(world.admin);
	struct world_client client;
	char error[256] = "";
	int fd, lock_fd;

	ck_assert_int_eq(unlink(world.path), 0);
	next = inherit(&inherited, error, sizeof error);
	ck_assert_msg(next != NULL, "%s", error);
	admin_descriptors(next, &fd, &lock_fd);
	ck_assert_int_ne(fd, inherited.fd);
	ck_assert_int_eq(lock_fd, inherited.lock_fd);
	admin_start(next);
	client = world_client_open();
	world_check_works(&client);
	world_client_close(&client);
	/* The lock alone: with nobody holding it. */
	admin_free(world.admin);
	inherited = duplicate(next);
	close(inherited.lock_fd);
	inherited.lock_fd = -1;
	admin_keep(next);
	admin_free(next);
	next = NULL;
	ck_assert_int_eq(access(world.path, F_OK), 0);
	world.admin = inherit(&inherited, error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	admin_descriptors(world.admin, &fd, &lock_fd);
	ck_assert_int_eq(fd, inherited.fd);
}
END_TEST

static int
other_socket(int type, bool listens)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	if (listens) {
		snprintf(address.sun_path, sizeof address.sun_path, "%s/other",
		    world.dir);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&address,
				     sizeof address),
		    0);
		ck_assert_int_eq(unlink(address.sun_path), 0);
		ck_assert_int_eq(listen(fd, 1), 0);
	}
	return fd;
}

/* Anything at all. On failure it is still the caller's. */
START_TEST(test_inherited_rubbish)
{
	int fds[] = {
		other_socket(SOCK_STREAM, true),
		other_socket(SOCK_STREAM, false),
		other_socket(SOCK_DGRAM, false),
		open("/dev/null", O_RDWR),
	};
	struct admin_inherited inherited;
	char error[256];

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
		inherited.fd = dup(fds[i]);
		inherited.lock_fd = dup(fds[i]);
		ck_assert_ptr_null(inherit(&inherited, error, sizeof error));
		ck_assert_ptr_nonnull(strstr(error, "already running"));
		ck_assert(is_open(inherited.fd) && is_open(inherited.lock_fd));
		admin_free(world.admin);
		world.admin = inherit(&inherited, error, sizeof error);
		ck_assert_msg(world.admin != NULL, "%s", error);
		ck_assert(!is_open(inherited.fd) ||
		    !is_open(inherited.lock_fd));
		close(fds[i]);
	}
}
END_TEST

/* --- Leaving ---------------------------------------------------------------- */

/* Which clients there are, and what becomes of them. */
START_TEST(test_clients)
{
	struct world_client idle = world_client_open(), asks = idle,
			    waits = idle, late = idle;
	double begin;

	asks = world_client_open();
	waits = world_client_open();
	late = world_client_open();
	world_check_works(&idle);
	world_check_works(&asks);
	world_check_works(&late);
	world_say(&waits, "{\"id\":1,\"cmd\":\"later\"}");
	while (world.pending == NULL)
		world_turn();
	admin_leave(world.admin);
	begin = loop_now(world.loop);
	/* Asked from now on: nothing is done. */
	world_say(&asks, "{\"id\":2,\"cmd\":\"change\"}");
	world_check_error(world_hear(&asks), "upgraded");
	ck_assert(world_is_closed(&asks));
	world_run_for(ADMIN_LEAVE_SECONDS / 2);
	world_say(&late, "{\"id\":2,\"cmd\":\"echo\"}");
	world_check_error(world_hear(&late), "upgraded");
	ck_assert(world_is_closed(&idle));
	ck_assert(loop_now(world.loop) - begin > ADMIN_LEAVE_SECONDS - 0.1);
	/* What was asked before is answered, whenever. */
	world_run_for(0.5);
	admin_answer(world.pending, json_true());
	world.pending = NULL;
	world_check_json(world_hear(&waits),
	    "{\"data\":true,\"id\":1,\"ok\":true}");
	ck_assert(world_is_closed(&waits));
	world_client_close(&idle);
	world_client_close(&asks);
	world_client_close(&waits);
	world_client_close(&late);
}
END_TEST

START_TEST(test_list_goes_on)
{
	struct world_client client = world_client_open();
	size_t n = 0;
	json_t *answer;
	bool more = true;

	world_say(&client,
	    "{\"id\":1,\"cmd\":\"list\",\"args\":{\"rows\":8000}}");
	answer = world_hear(&client);
	admin_leave(world.admin);
	while (more) {
		ck_assert(json_is_true(json_object_get(answer, "ok")));
		n += json_array_size(json_object_get(answer, "data"));
		more = json_is_true(json_object_get(answer, "more"));
		json_decref(answer);
		answer = more ? world_hear(&client) : NULL;
	}
	ck_assert_uint_eq(n, 8000);
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

START_TEST(test_stream_ends)
{
	struct world_client client = world_client_open();

	world_say(&client, "{\"id\":1,\"cmd\":\"stream\"}");
	json_decref(world_hear(&client));
	world.farewell = json_pack("[i]", 7);
	admin_leave(world.admin);
	ck_assert_int_eq(world.cancelled, 1);
	world_check_json(world_hear(&client),
	    "{\"data\":[7],\"id\":1,\"more\":true,\"ok\":true}");
	world_check_error(world_hear(&client), "upgraded");
	ck_assert(world_is_closed(&client));
	ck_assert_int_eq(world.cancelled, 1);
	world_client_close(&client);
}
END_TEST

/* One that does not read keeps nothing for ever. */
START_TEST(test_stalls)
{
	struct world_client client = world_client_open();

	world_say(&client, "{\"cmd\":\"big\",\"args\":{\"bytes\":4000000}}");
	world_turns(20);
	admin_leave(world.admin);
	world_run_for(WORLD_STALL + 0.3);
	/* The other end is closed: nothing more than what stands there. */
	while (recv(client.fd, client.buf, 65536, 0) > 0)
		world_turn();
	ck_assert(world_is_closed(&client));
	world_client_close(&client);
}
END_TEST

/* --- Another process of this daemon ----------------------------------------- */

START_TEST(test_adopted)
{
	struct world_client client = { .buf = malloc(8 << 20) }, others[70];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		others[i] = world_client_open();
		world_check_works(&others[i]);
	}
	ck_assert_int_eq(admin_adopt(world.admin, fds[0]), 0);
	client.fd = fds[1];
	world_say(&client, "{\"id\":1,\"cmd\":\"change\"}");
	world_check_json(world_hear(&client),
	    "{\"data\":{},\"id\":1,\"ok\":true}");
	world_say(&client,
	    "{\"id\":1,\"cmd\":\"who\",\"by\":\"ann (uid 7)\",\"uid\":7}");
	world_check_json(world_hear(&client),
	    "{\"data\":\"ann (uid 7)\",\"id\":1,\"ok\":true}");
	/* It took no place of theirs. */
	world_client_close(&others[0]);
	others[0] = world_client_open();
	world_check_works(&others[0]);
	admin_set_groups(world.admin, NULL, NULL);
	admin_leave(world.admin);
	world_run_for(ADMIN_LEAVE_SECONDS + 0.2);
	world_check_works(&client);
	world_client_close(&client);
	world_turns(5);
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		world_client_close(&others[i]);
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
	Suite *suite = suite_create("admin_leave");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "inherit");
	tcase_add_test(tc, test_hand_over);
	tcase_add_test(tc, test_inherited_mode);
	tcase_add_test(tc, test_inherited_elsewhere);
	tcase_add_test(tc, test_inherited_half);
	tcase_add_test(tc, test_inherited_rubbish);
	tc = make_case(suite, "leave");
	tcase_add_test(tc, test_clients);
	tcase_add_test(tc, test_list_goes_on);
	tcase_add_test(tc, test_stream_ends);
	tcase_add_test(tc, test_stalls);
	tc = make_case(suite, "adopt");
	tcase_add_test(tc, test_adopted);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
