/* SPDX-License-Identifier: ISC */
/*
 * Secret files: their content, their modes and who owns them. What needs
 * files of other users runs only as root, and says so otherwise.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secret.h"

#define GOOD "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OTHER_USER "nobody"

static char dir[64];
static char path[96];
static char error[256];
static struct secret_reader self;
static struct auth_secret got;

static void
setup(void)
{
	strcpy(dir, "/tmp/check_secret.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/secret", dir);
	ck_assert_int_eq(secret_reader_init(&self, NULL, error, sizeof error),
	    0);
	error[0] = '\0';
}

static void
teardown(void)
{
	secret_reader_clear(&self);
	unlink(path);
	rmdir(path);
	rmdir(dir);
}

/* Makes the file anew. */
static void
put(const void *data, size_t len, mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void
put_text(const char *text)
{
	put(text, strlen(text), 0600);
}

static void
good(const struct secret_reader *reader)
{
	memset(&got, 0xff, sizeof got);
	ck_assert_msg(secret_read(path, reader, &got, error, sizeof error) == 0,
	    "%s", error);
	for (int i = 0; i < AUTH_SECRET_SIZE; i++)
		ck_assert_int_eq(got.bytes[i], i);
}

/* Refused, for this reason, which names the file and tells no secret. */
static void
bad(const struct secret_reader *reader, const char *why)
{
	ck_assert_msg(secret_read(path, reader, &got, error, sizeof error) ==
		-1,
	    "taken, wanted: %s", why);
	ck_assert_msg(strncmp(error, path, strlen(path)) == 0, "%s", error);
	ck_assert_msg(strstr(error, why) != NULL, "%s, wanted: %s", error, why);
	ck_assert_ptr_null(strstr(error, "AAEC"));
}

START_TEST(content_taken)
{
	static const char *const texts[] = { GOOD, GOOD "\n", GOOD "\r\n",
		"  " GOOD "\t\n\n", ("\n" GOOD) };

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		put_text(texts[i]);
		good(&self);
	}
}
END_TEST

START_TEST(content_refused)
{
	static const char *const texts[] = { "", "\n", "AAEC",
		/* 43, 45 characters */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", GOOD "=",
		GOOD "A",
		/* 31, 33 bytes */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
		/* bits behind the end that are not zero */
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=",
		/* padding in the middle, white space, other alphabets */
		"AAECAwQFBgcICQoLDA0ODxAR=hMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAREhMU RYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODx\nAREhMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAR-hMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAR_hMUFRYXGBkaGxwdHh8=",
		"AAECAwQFBgcICQoLDA0ODxAR\377hMUFRYXGBkaGxwdHh8=",
		GOOD "\n" GOOD "\n", GOOD " #" };
	char large[4096];

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		put_text(texts[i]);
		bad(&self, "does not hold 32 bytes in base64");
	}
	put(GOOD "\0", 45, 0600);
	bad(&self, "does not hold 32 bytes in base64");
	put("AAECAwQFBgcICQoLDA0ODxAR\0hMUFRYXGBkaGxwdHh8=", 44, 0600);
	bad(&self, "does not hold 32 bytes in base64");
	memset(large, ' ', sizeof large);
	memcpy(large, GOOD, 44);
	put(large, sizeof large, 0600);
	bad(&self, "does not hold 32 bytes in base64");
}
END_TEST

START_TEST(modes)
{
	static const mode_t fine[] = { 0600, 0400, 0640, 0440, 0700 };

	for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
		put(GOOD "\n", 45, fine[i]);
		good(&self);
	}
	for (mode_t mode = 0; mode <= 0777; mode++) {
		put(GOOD "\n", 45, mode | 0400);
		if ((mode & 06) != 0)
			bad(&self, "readable or writable by others");
		else if ((mode & 020) != 0)
			bad(&self, "writable by its group");
		else
			good(&self);
	}
}
END_TEST

START_TEST(not_a_file)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	bad(&self, "No such file or directory");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	bad(&self, "not a regular file");
	rmdir(path);
	/* Nobody writes to it, yet nothing waits. */
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	bad(&self, "not a regular file");
	unlink(path);
	ck_assert_int_eq(symlink("secret", path), 0);
	bad(&self, "symbolic links");
	unlink(path);
	ck_assert_int_eq(symlink("/dev/zero", path), 0);
	bad(&self, "not a regular file");
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(un.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	bad(&self, "");
	close(fd);
}
END_TEST

START_TEST(short_error_buffer)
{
	char small[8];

	memset(small, 'x', sizeof small);
	ck_assert_int_eq(secret_read(path, &self, &got, small, 4), -1);
	ck_assert_str_eq(small, "/tm");
	ck_assert_int_eq(small[4], 'x');
}
END_TEST

START_TEST(links_are_followed)
{
	char target[128];

	snprintf(target, sizeof target, "%s/target", dir);
	put_text(GOOD);
	ck_assert_int_eq(rename(path, target), 0);
	ck_assert_int_eq(symlink("target", path), 0);
	good(&self);
	/* Of the file, not of the link, are the modes that count. */
	ck_assert_int_eq(chmod(target, 0644), 0);
	bad(&self, "readable or writable by others");
	unlink(target);
}
END_TEST

START_TEST(new_secrets)
{
	char text[SECRET_TEXT_SIZE + 1], again[SECRET_TEXT_SIZE];

	text[SECRET_TEXT_SIZE] = 'x';
	secret_make(text);
	secret_make(again);
	ck_assert_int_eq(text[SECRET_TEXT_SIZE], 'x');
	ck_assert_uint_eq(strlen(text), SECRET_TEXT_SIZE - 1);
	ck_assert_str_ne(text, again);
	put_text(text);
	ck_assert_msg(secret_read(path, &self, &got, error, sizeof error) == 0,
	    "%s", error);
}
END_TEST

START_TEST(readers)
{
	struct secret_reader reader;
	bool found = false;

	ck_assert_uint_eq(self.uid, geteuid());
	for (size_t i = 0; i < self.n_groups; i++)
		found = found || self.groups[i] == getegid();
	ck_assert(found);
	ck_assert_int_eq(secret_reader_init(&reader, "no-such-user", error,
			     sizeof error),
	    -1);
	ck_assert_ptr_nonnull(strstr(error, "no-such-user"));
	ck_assert_int_eq(secret_reader_init(&reader, "root", error,
			     sizeof error),
	    0);
	ck_assert_uint_eq(reader.uid, 0);
	ck_assert_uint_ge(reader.n_groups, 1);
	secret_reader_clear(&reader);
	secret_reader_clear(&reader);
	ck_assert_ptr_null(reader.groups);
}
END_TEST

START_TEST(closed_to_its_owner)
{
	put(GOOD, 44, 0000);
	if (geteuid() == 0)
		good(&self); /* root may all the same */
	else
		bad(&self, "Permission denied");
}
END_TEST

/* --- As root: files of others, and the view of another user -------------- */

static struct secret_reader other;
static gid_t other_group;

static void
setup_other(void)
{
	setup();
	ck_assert_int_eq(secret_reader_init(&other, OTHER_USER, error,
			     sizeof error),
	    0);
	other_group = getpwnam(OTHER_USER)->pw_gid;
	ck_assert_int_eq(chmod(dir, 0755), 0);
	put_text(GOOD "\n");
}

static void
teardown_other(void)
{
	secret_reader_clear(&other);
	teardown();
}

static void
belongs(uid_t uid, gid_t gid, mode_t mode)
{
	ck_assert_int_eq(chown(path, uid, gid), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(owners)
{
	good(&self);
	belongs(other.uid, other_group, 0600);
	bad(&self, "owned by neither root nor the daemon's user");
	good(&other);
	belongs(other.uid + 1, 0, 0600);
	bad(&self, "owned by neither");
	bad(&other, "owned by neither");
	belongs(other.uid + 1, other_group, 0640);
	bad(&other, "owned by neither");
}
END_TEST

START_TEST(as_another_user_may_read)
{
	belongs(0, 0, 0600);
	bad(&other, "not readable by the daemon's user");
	belongs(0, 0, 0640);
	bad(&other, "not readable by the daemon's user");
	belongs(0, other_group, 0600);
	bad(&other, "not readable by the daemon's user");
	belongs(0, other_group, 0640);
	good(&other);
	good(&self);
	belongs(0, other_group, 0040);
	good(&other);
	/* To its owner the rights of the group mean nothing. */
	belongs(other.uid, other_group, 0040);
	bad(&other, "not readable by the daemon's user");
	belongs(other.uid, 0, 0400);
	good(&other);
	belongs(0, other_group, 0644);
	bad(&other, "readable or writable by others");
	belongs(0, other_group, 0660);
	bad(&other, "writable by its group");
}
END_TEST

START_TEST(supplementary_groups)
{
	gid_t groups[] = { 12345, 23456 };
	struct secret_reader reader = { 4711, groups, 2 };

	belongs(0, 23456, 0640);
	good(&reader);
	belongs(0, 34567, 0640);
	bad(&reader, "not readable");
	reader.n_groups = 0;
	belongs(0, 23456, 0640);
	bad(&reader, "not readable");
}
END_TEST

START_TEST(directories_on_the_way)
{
	belongs(other.uid, other_group, 0600);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	bad(&other, "in a directory closed to the daemon's user");
	ck_assert_int_eq(chmod(dir, 0750), 0);
	bad(&other, "in a directory closed to the daemon's user");
	ck_assert_int_eq(chown(dir, 0, other_group), 0);
	good(&other);
	ck_assert_int_eq(chmod(dir, 0705), 0);
	bad(&other, "in a directory closed to the daemon's user");
	ck_assert_int_eq(chown(dir, 0, 0), 0);
	good(&other);
}
END_TEST

/* What is said here is what that user finds: asked of the kernel itself. */
START_TEST(as_the_kernel_sees_it)
{
	static const mode_t dirs[] = { 0700, 0750, 0755, 0711, 0710, 0070 };
	const uid_t uids[] = { 0, 0, other.uid, other.uid };
	const gid_t gids[] = { 0, other_group, 0, other_group };

	ck_assert_int_eq(setgroups(other.n_groups, other.groups), 0);
	ck_assert_int_eq(setegid(other_group), 0);
	for (size_t i = 0; i < 6 * 4 * 4 * 8; i++) {
		mode_t mode = (mode_t)(i % 8 << 6 | (i & 1) << 5);
		size_t of = i / 8 % 4, above = i / 32 % 4;
		int fd, result;

		belongs(uids[of], gids[of], mode);
		ck_assert_int_eq(chmod(dir, dirs[i / 128]), 0);
		ck_assert_int_eq(chown(dir, uids[above], gids[above]), 0);
		result = secret_read(path, &other, &got, error, sizeof error);
		ck_assert_int_eq(seteuid(other.uid), 0);
		fd = open(path, O_RDONLY);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_msg((fd >= 0) == (result == 0),
		    "file %o, directory %o: %s", mode, dirs[i / 128], error);
		if (fd >= 0)
			close(fd);
	}
	ck_assert_int_eq(setegid(0), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("secret");
	TCase *tc = tcase_create("files"), *others = tcase_create("others");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, content_taken);
	tcase_add_test(tc, content_refused);
	tcase_add_test(tc, modes);
	tcase_add_test(tc, not_a_file);
	tcase_add_test(tc, short_error_buffer);
	tcase_add_test(tc, links_are_followed);
	tcase_add_test(tc, new_secrets);
	tcase_add_test(tc, readers);
	tcase_add_test(tc, closed_to_its_owner);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, others);
	if (geteuid() == 0) {
		tcase_add_checked_fixture(others, setup_other, teardown_other);
		tcase_add_test(others, owners);
		tcase_add_test(others, as_another_user_may_read);
		tcase_add_test(others, supplementary_groups);
		tcase_add_test(others, directories_on_the_way);
		tcase_add_test(others, as_the_kernel_sees_it);
	} else {
		printf("check_secret: not root: files of other users are "
		       "skipped\n");
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
