/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin_judge.h"
#include "admin_world.h"

/* --- The socket and its lock -------------------------------------------- */

START_TEST(test_modes)
{
	struct stat st;
	char name[120];

	ck_assert_int_eq(stat(world.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert(S_ISSOCK(st.st_mode));
	snprintf(name, sizeof name, "%s/run", world.dir);
	ck_assert_int_eq(stat(name, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0755, 0755 & st.st_mode);
}
END_TEST

START_TEST(test_lock)
{
	char error[256] = "";
	struct world_client client;

	ck_assert_ptr_null(world_open(NULL, error, sizeof error));
	ck_assert_msg(strstr(error, "already running") != NULL, "%s", error);
	/* The one that runs is not hurt by the attempt. */
	client = world_client_open();
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

/* A daemon that dies leaves socket and lock file behind. */
START_TEST(test_stale)
{
	char error[256] = "";
	pid_t pid;
	int status;

	admin_free(world.admin);
	pid = fork();
	if (pid == 0) {
		world.admin = world_open(NULL, error, sizeof error);
		_exit(world.admin == NULL || access(world.path, F_OK) != 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(access(world.path, F_OK), 0);
	world.admin = world_open(NULL, error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	struct world_client client = world_client_open();
	world_check_works(&client);
	world_client_close(&client);
}
END_TEST

START_TEST(test_bad_paths)
{
	char error[256], saved[sizeof world.path];
	FILE *file;

	strcpy(saved, world.path);
	snprintf(world.path, sizeof world.path, "%s/a/b/admin.sock", world.dir);
	ck_assert_ptr_null(world_open(NULL, error, sizeof error));
	ck_assert_msg(strstr(error, "directory") != NULL, "%s", error);
	/* A file that is none of ours is left alone. */
	snprintf(world.path, sizeof world.path, "%s/run/file", world.dir);
	file = fopen(world.path, "w");
	fclose(file);
	ck_assert_ptr_null(world_open(NULL, error, sizeof error));
	ck_assert_msg(strstr(error, "not a socket") != NULL, "%s", error);
	ck_assert_int_eq(unlink(world.path), 0);
	strcat(world.path, ".lock");
	ck_assert_int_eq(unlink(world.path), 0);
	strcpy(world.path, "");
	ck_assert_ptr_null(world_open(NULL, error, sizeof error));
	strcpy(world.path, saved);
}
END_TEST

START_TEST(test_unknown_group)
{
	char error[256] = "";

	admin_free(world.admin);
	world.admin = world_open("no-such-group-here", error, sizeof error);
	ck_assert_ptr_null(world.admin);
	ck_assert_msg(strstr(error, "no-such-group-here") != NULL, "%s", error);
	ck_assert_ptr_null(world_open_groups(NULL, "nor-this-one", error,
	    sizeof error));
	ck_assert_str_eq(error,
	    "admin_read_group: there is no group nor-this-one");
}
END_TEST

/* --- Permissions -------------------------------------------------------- */

START_TEST(test_who)
{
	struct world_client client = world_client_open();
	char want[40];
	json_t *answer;

	world_say(&client, "{\"cmd\":\"who\"}");
	answer = world_hear(&client);
	snprintf(want, sizeof want, " (uid %lu)", (unsigned long)geteuid());
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(answer,
					 "data")),
	    want));
	json_decref(answer);
	world_client_close(&client);
}
END_TEST

/* As another user: asks both kinds of command; the answers come to out. */
static pid_t
ask_as(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups)
{
	static const char text[] = "{\"cmd\":\"echo\"}\n{\"cmd\":\"change\"}\n"
				   "{\"cmd\":\"none\"}\n";
	char answer[4096];
	size_t len = 0;
	ssize_t n;
	pid_t pid = fork();
	int fd;

	if (pid != 0)
		return pid;
	alarm(10);
	if (setgroups(n_groups, groups) != 0 || setgid(gid) != 0 ||
	    setuid(uid) != 0 || (fd = world_dial()) == -1)
		_exit(100);
	/* It may be refused before it has said a word. */
	if (write(fd, text, sizeof text - 1) > 0)
		shutdown(fd, SHUT_WR);
	do {
		poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1);
		n = read(fd, answer + len, sizeof answer - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	answer[len] = '\0';
	_exit((strstr(answer, "\"ok\":true") != NULL ? 1 : 0) |
	    (strstr(answer, "not_permitted") != NULL ? 2 : 0) |
	    (strstr(answer, "unknown_command") != NULL ? 4 : 0));
}

static int
wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		world_run_for(0.005);
	return WEXITSTATUS(status);
}

START_TEST(test_permissions)
{
	struct group *group = getgrnam("nogroup");
	gid_t gids[2] = { 1, 0 };
	char error[256] = "";

	if (geteuid() != 0 || group == NULL)
		return; /* nothing to be told apart */
	chmod(world.dir, 0755);
	/* Others do not even reach it; if they do, they may nothing. */
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 1)), 100);
	chmod(world.path, 0666);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 1)), 2);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, NULL, 0)), 2);
	ck_assert_int_eq(wait_for(ask_as(0, 0, NULL, 0)), 5);
	/* In the world.admin group, by primary group and by another. */
	admin_free(world.admin);
	world.admin = world_open("nogroup", error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	gids[1] = group->gr_gid;
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 2)), 5);
	ck_assert_int_eq(wait_for(ask_as(65534, group->gr_gid, NULL, 0)), 5);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 1)), 100);
}
END_TEST

START_TEST(test_read_group)
{
	struct admin_group all = { 0 }, look = { 0 };
	char error[256] = "";
	struct stat st;
	gid_t gids[3] = { 1, 0, 0 };

	if (geteuid() != 0 || admin_group_find("nogroup", &all) != 0 ||
	    admin_group_find("games", &look) != 0)
		return;
	chmod(world.dir, 0755);
	admin_free(world.admin);
	world.admin = world_open_groups("nogroup", "games", error,
	    sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	ck_assert_int_eq(stat(world.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0666);
	ck_assert_uint_eq(st.st_gid, all.gid);
	gids[1] = look.gid;
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 2)), 7);
	ck_assert_int_eq(wait_for(ask_as(65534, look.gid, gids, 1)), 7);
	gids[2] = all.gid;
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 3)), 5);
	ck_assert_int_eq(wait_for(ask_as(65534, look.gid, gids + 2, 1)), 5);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, gids, 1)), 2);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, NULL, 0)), 2);
	ck_assert_int_eq(wait_for(ask_as(0, 65533, NULL, 0)), 5);
}
END_TEST

/* As nobody: so many connections, kept until they are closed from there. */
static pid_t
crowd_as_nobody(int n)
{
	char answer[400];
	int fds[400], i;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	alarm(20);
	if (setgroups(0, NULL) != 0 || setgid(65533) != 0 || setuid(65534) != 0)
		_exit(100);
	for (i = 0; i < n; i++)
		if ((fds[i] = world_dial()) == -1)
			_exit(101);
	for (i = 0; i < n; i++) {
		poll(&(struct pollfd){ .fd = fds[i], .events = POLLIN }, 1, -1);
		if (read(fds[i], answer, sizeof answer) <= 0 ||
		    strstr(answer, "\"id\":null") == NULL ||
		    strstr(answer, "not_permitted") == NULL)
			_exit(102);
		poll(&(struct pollfd){ .fd = fds[i], .events = POLLIN }, 1, -1);
		if (read(fds[i], answer, sizeof answer) != 0)
			_exit(103);
	}
	_exit(0);
}

/* Who may nothing takes none of the places. */
START_TEST(test_strangers)
{
	struct world_client clients[ADMIN_CLIENTS_MAX - 1];
	char error[256] = "";
	size_t i;

	if (geteuid() != 0 || getgrnam("games") == NULL)
		return;
	chmod(world.dir, 0755);
	admin_free(world.admin);
	world.admin = world_open_groups(NULL, "games", error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	for (i = 0; i < ADMIN_CLIENTS_MAX - 1; i++)
		clients[i] = world_client_open();
	ck_assert_int_eq(wait_for(crowd_as_nobody(300)), 0);
	struct world_client last = world_client_open();
	world_check_works(&last);
	world_client_close(&last);
	for (i = 0; i < ADMIN_CLIENTS_MAX - 1; i++)
		world_client_close(&clients[i]);
}
END_TEST

START_TEST(test_words)
{
	struct admin_rules rules = { .owner = 1 };
	char buf[120];

	ck_assert_str_eq(admin_judge_describe(&rules, true, buf, sizeof buf),
	    "root and the daemon's user");
	rules.look.is_set = true;
	ck_assert_str_eq(admin_judge_describe(&rules, false, buf, sizeof buf),
	    "root and the daemon's user");
	ck_assert_str_eq(admin_judge_describe(&rules, true, buf, sizeof buf),
	    "root, the daemon's user and members of admin_read_group");
	rules.all.is_set = true;
	ck_assert_str_eq(admin_judge_describe(&rules, false, buf, sizeof buf),
	    "root, the daemon's user and members of admin_group");
	ck_assert_str_eq(admin_judge_describe(&rules, true, buf, sizeof buf),
	    "root, the daemon's user and members of admin_group or "
	    "admin_read_group");
}
END_TEST

START_TEST(test_judge_self)
{
	struct admin_rules rules = { .owner = 1 };
	struct admin_peer peer = { .uid = 4711 };
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(admin_judge(&rules, fds[0], &peer), 0);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert(peer.may_look && peer.may_change);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_ne(admin_judge(&rules, -1, &peer), 0);
}
END_TEST

/* The daemon's user, when root started it for that user. */
START_TEST(test_owner)
{
	struct admin_options options = {
		.path = world.path,
		.owner = 65534,
		.commands = world_commands,
		.arg = &world.pending,
	};
	char error[256] = "", name[120];
	struct stat st;

	if (geteuid() != 0)
		return;
	admin_free(world.admin);
	snprintf(name, sizeof name, "%s.lock", world.path);
	unlink(name);
	snprintf(name, sizeof name, "%s/run", world.dir);
	ck_assert_int_eq(rmdir(name), 0);
	chmod(world.dir, 0755);
	world.admin = world_start(admin_new(world.loop, &options, error,
	    sizeof error));
	ck_assert_msg(world.admin != NULL, "%s", error);
	ck_assert_int_eq(stat(world.path, &st), 0);
	ck_assert_uint_eq(st.st_uid, 65534);
	ck_assert_int_eq(stat(name, &st), 0);
	ck_assert_uint_eq(st.st_uid, 65534);
	ck_assert_int_eq(wait_for(ask_as(65534, 65533, NULL, 0)), 5);
	ck_assert_int_eq(wait_for(ask_as(65532, 65533, NULL, 0)), 100);
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
	Suite *suite = suite_create("admin");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "socket");
	tcase_add_test(tc, test_modes);
	tcase_add_test(tc, test_lock);
	tcase_add_test(tc, test_stale);
	tcase_add_test(tc, test_bad_paths);
	tcase_add_test(tc, test_unknown_group);
	tc = make_case(suite, "permissions");
	tcase_add_test(tc, test_who);
	tcase_add_test(tc, test_permissions);
	tcase_add_test(tc, test_read_group);
	tcase_add_test(tc, test_strangers);
	tcase_add_test(tc, test_words);
	tcase_add_test(tc, test_judge_self);
	tcase_add_test(tc, test_owner);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
