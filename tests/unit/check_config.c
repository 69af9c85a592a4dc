/* SPDX-License-Identifier: ISC */
#include "check_config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check_config check_config;

void
check_config_put(const char *name, const char *text, mode_t mode)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", check_config.dir, name);
	unlink(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	for (; *text != '\0'; text++) {
		if (text[0] == '$' && text[1] == 'D') {
			fputs(check_config.dir, f);
			text++;
		} else {
			putc(*text, f);
		}
	}
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void
unload(void)
{
	config_unref(check_config.config);
	check_config.config = NULL;
	config_errors_clear(&check_config.errors);
}

void
check_config_setup(void)
{
	strcpy(check_config.dir, "/tmp/check_config.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(check_config.dir));
	check_config_put("secret", CHECK_CONFIG_SECRET "\n", 0600);
}

void
check_config_teardown(void)
{
	char command[64];

	unload();
	snprintf(command, sizeof(command), "rm -rf '%s'", check_config.dir);
	ck_assert_int_eq(system(command), 0);
}

void
check_config_load(void)
{
	struct config_errors *errors = &check_config.errors;
	char path[64];

	unload();
	snprintf(path, sizeof(path), "%s/conf", check_config.dir);
	memset(errors, 0x5a, sizeof(*errors)); /* need not be initialised */
	check_config.config = config_load(path, errors);
	for (size_t i = 0; i < errors->n; i++)
		ck_assert_msg(strstr(errors->list[i].message,
				  CHECK_CONFIG_SECRET) == NULL,
		    "a secret in an error");
}

void
check_config_good(const char *text)
{
	struct config_errors *errors = &check_config.errors;

	check_config_put("conf", text, 0644);
	check_config_load();
	ck_assert_msg(check_config.config != NULL && errors->n == 0, "%s\n%s",
	    text, errors->n > 0 ? errors->list[0].message : "");
}

static void
want(size_t place, int line, const char *part)
{
	const struct config_error *error;

	ck_assert_msg(place < check_config.errors.n, "missing: %d: %s", line,
	    part);
	error = &check_config.errors.list[place];
	ck_assert_msg(error->line == line &&
		strstr(error->message, part) != NULL,
	    "%d: %s\n  instead of %d: %s", error->line, error->message, line,
	    part);
}

void
check_config_bad(const char *text, const char *wanted)
{
	struct config_errors *errors = &check_config.errors;
	char part[512];
	size_t n = 0, len;
	int line, skip;

	check_config_put("conf", text, 0644);
	check_config_load();
	ck_assert_ptr_null(check_config.config);
	for (; *wanted != '\0'; wanted += len + (wanted[len] == '\n'), n++) {
		len = strcspn(wanted, "\n");
		ck_assert_int_eq(sscanf(wanted, "%d: %n", &line, &skip), 1);
		snprintf(part, sizeof(part), "%.*s", (int)len - skip,
		    wanted + skip);
		want(n, line, part);
	}
	ck_assert_msg(errors->n == n, "too many: %d: %s",
	    errors->n > n ? errors->list[n].line : -1,
	    errors->n > n ? errors->list[n].message : "");
}

/* --- good files --- */

START_TEST(public_machine)
{
	const struct config *c;
	char label[NAME_SIZE * 2];

	check_config_good(
	    "daemon  = { name = \"edge1\"; admin_group = \"root\";\n"
	    "  retention_days = 90; };\n"
	    "gateway = { listen = [ \"0.0.0.0:7000\", \"[::]:7000\" ]; };\n"
	    "peers   = ( { name = \"homelab\";\n"
	    "  secret_file = \"$D/secret\"; } );\n"
	    "tunnels = (\n"
	    "  { name = \"ssh\"; peer = \"homelab\";\n"
	    "    listen = \"0.0.0.0:2222\"; },\n"
	    "  { name = \"db\"; peer = \"homelab\";\n"
	    "    connect = \"10.0.0.9:5432\"; },\n"
	    "  { name = \"cache\"; listen = \"127.0.0.1:6380\";\n"
	    "    connect = \"10.0.0.9:6379\"; }\n"
	    ");\n");
	c = check_config.config;
	ck_assert_str_eq(c->daemon.name, "edge1");
	ck_assert_uint_eq(c->gateway.n_listen, 2);
	ck_assert_uint_eq(c->n_peers, 1);
	ck_assert(!c->peers[0]->dials);
	ck_assert_str_eq(c->peers[0]->as, "edge1");
	ck_assert_int_eq(c->peers[0]->line, 4);
	ck_assert_mem_eq(c->peers[0]->secret.bytes,
	    "secret secret secret secret!!!!!", AUTH_SECRET_SIZE);
	ck_assert_uint_eq(c->n_tunnels, 3);
	ck_assert(c->tunnels[0]->has_listen && !c->tunnels[0]->has_connect);
	ck_assert(!c->tunnels[1]->has_listen && c->tunnels[1]->has_connect);
	ck_assert(c->tunnels[2]->has_listen && c->tunnels[2]->has_connect);
	ck_assert_ptr_null(c->tunnels[2]->peer);
	ck_assert_int_eq(c->tunnels[2]->line, 11);
	ck_assert_str_eq(config_tunnel_label(c->tunnels[0], label,
			     sizeof(label)),
	    "homelab/ssh");
	ck_assert_str_eq(config_tunnel_label(c->tunnels[2], label,
			     sizeof(label)),
	    "cache");
	ck_assert_ptr_eq(config_find_peer(c, "homelab"), c->peers[0]);
	ck_assert_ptr_null(config_find_peer(c, "Homelab"));
	ck_assert_ptr_null(config_find_peer(NULL, "homelab"));
}
END_TEST

START_TEST(machine_behind_nat)
{
	const struct config_peer *peer;

	check_config_good(
	    "daemon  = { name = \"homelab\"; };\n"
	    "peers   = ( { name = \"edge1\";\n"
	    "  connect = \"tunnel.example.org:7000\";\n"
	    "  secret_file = \"$D/secret\";\n"
	    "  heartbeat = { interval = 10.0; timeout = 30.0; };\n"
	    "  reconnect = { min = 0.5; max = 30.0; }; pool = 2; } );\n"
	    "tunnels = (\n"
	    "  { name = \"ssh\"; peer = \"edge1\";\n"
	    "    connect = \"127.0.0.1:22\"; },\n"
	    "  { name = \"db\"; peer = \"edge1\";\n"
	    "    listen = \"127.0.0.1:5432\"; }\n"
	    ");\n");
	peer = check_config.config->peers[0];
	ck_assert(peer->dials);
	ck_assert_str_eq(peer->connect.host, "tunnel.example.org");
	ck_assert_int_eq(peer->connect.port, 7000);
	ck_assert_str_eq(peer->as, "homelab");
}
END_TEST

START_TEST(empty_file)
{
	char host[HOST_NAME_MAX + 1];

	check_config_good("");
	check_config_good("# nothing\npeers = ( ); tunnels = ( );\n"
			  "gateway = { };");
	ck_assert_int_eq(gethostname(host, sizeof(host)), 0);
	host[strcspn(host, ".")] = '\0';
	ck_assert_str_eq(check_config.config->daemon.name, host);
	ck_assert_int_eq(check_config.config->daemon.log, LOG_TARGET_SYSLOG);
	ck_assert_int_eq(check_config.config->daemon.log_level, LOG_LEVEL_INFO);
}
END_TEST

START_TEST(words_are_those_of_the_enums)
{
	static const char *const names[] = { "error", "warning", "notice",
		"info", "debug" };
	enum log_level level;
	char text[64];

	for (size_t i = 0; i < 5; i++) {
		snprintf(text, sizeof(text),
		    "daemon = { log_level = \"%s\"; };", names[i]);
		check_config_good(text);
		ck_assert_int_eq(log_level_parse(names[i], &level), 0);
		ck_assert_int_eq(check_config.config->daemon.log_level, level);
	}
	check_config_good("daemon = { log = \"stderr\"; };");
	ck_assert_int_eq(check_config.config->daemon.log, LOG_TARGET_STDERR);
	check_config_good(
	    "peers = ( { name = \"p\"; security = \"plain\";\n"
	    "secret_file = \"$D/secret\"; connect = \"h:1\"; } );");
	ck_assert_int_eq(check_config.config->peers[0]->security,
	    CONFIG_SECURITY_PLAIN);
}
END_TEST

START_TEST(dialled_peers_share_an_address)
{
	check_config_good(
	    "peers = (\n"
	    "{ name = \"a\"; connect = \"h:1\"; secret_file = \"$D/secret\"; },\n"
	    "{ name = \"b\"; connect = \"h:1\"; secret_file = \"$D/secret\"; }\n"
	    ");\n"
	    "tunnels = (\n"
	    "{ name = \"t\"; peer = \"a\"; listen = \":0\"; },\n"
	    "{ name = \"t\"; peer = \"b\"; listen = \":0\"; },\n"
	    "{ name = \"t\"; listen = \":0\"; connect = \"h:1\"; }\n"
	    ");\n");
}
END_TEST

START_TEST(references)
{
	struct config *c;

	check_config_good("");
	c = check_config.config;
	ck_assert_ptr_eq(config_ref(c), c);
	config_unref(c);
	ck_assert_int_eq(c->refs, 1);
	ck_assert_ptr_null(config_ref(NULL));
	config_unref(NULL);
}
END_TEST

START_TEST(includes)
{
	check_config_put("more",
	    "\ntunnels = (\n{ name = \"t\"; listen = \":0\";"
	    " connect = \"h:1\"; } );\n",
	    0644);
	check_config_good("@include \"$D/more\"\ndaemon = { name = \"d\"; };");
	ck_assert_int_eq(check_config.config->tunnels[0]->line, 3);
	check_config_put("more", "\n\ndaemon = { nam = \"d\"; };\n", 0644);
	check_config_bad("@include \"$D/more\"\n\n\n\ntunels = ( );",
	    "5: unknown key `tunels`, did you mean `tunnels`?\n"
	    "3: daemon: unknown key `nam`, did you mean `name`?");
	ck_assert_ptr_nonnull(strstr(check_config.errors.list[1].file,
	    "/more"));
	ck_assert_ptr_nonnull(strstr(check_config.errors.list[0].file,
	    "/conf"));
}
END_TEST

/* --- the sample --- */

static void
replace(char *text, const char *from, const char *to)
{
	size_t n = strlen(from), m = strlen(to);

	while ((text = strstr(text, from)) != NULL) {
		memmove(text + m, text + n, strlen(text + n) + 1);
		memcpy(text, to, m);
		text += m;
	}
}

START_TEST(sample)
{
	static char text[1 << 16];
	const char *srcdir = getenv("srcdir");
	char path[PATH_MAX], *p;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/etc/tunnels.conf",
	    srcdir != NULL ? srcdir : ".");
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "cannot open %s", path);
	n = fread(text, 1, sizeof(text) / 2, f);
	fclose(f);
	text[n] = '\0';
	check_config_good(text);
	ck_assert_uint_eq(check_config.config->gateway.n_listen, 0);
	ck_assert_uint_eq(check_config.config->n_peers, 0);
	ck_assert_uint_eq(check_config.config->n_tunnels, 0);
	/* All of it, with what only an installed machine has replaced. */
	for (p = text; (p = strchr(p, '#')) != NULL; p++)
		if (strchr(" \n", p[1]) == NULL)
			*p = ' ';
	replace(text, "\"tunneld\"", "\"root\"");
	replace(text, "/etc/tunneld/secrets/homelab", "$D/secret");
	check_config_good(text);
	ck_assert_uint_eq(check_config.config->n_peers, 1);
	ck_assert_uint_eq(check_config.config->n_tunnels, 2);
}
END_TEST

static TCase *
good_files(void)
{
	TCase *tc = tcase_create("good files");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	tcase_add_test(tc, public_machine);
	tcase_add_test(tc, machine_behind_nat);
	tcase_add_test(tc, empty_file);
	tcase_add_test(tc, words_are_those_of_the_enums);
	tcase_add_test(tc, dialled_peers_share_an_address);
	tcase_add_test(tc, references);
	tcase_add_test(tc, includes);
	tcase_add_test(tc, sample);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("config");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, good_files());
	suite_add_tcase(suite, check_config_errors());
	suite_add_tcase(suite, check_config_options());
	suite_add_tcase(suite, check_config_json());
	suite_add_tcase(suite, check_config_diff());
	suite_add_tcase(suite, check_config_many());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
