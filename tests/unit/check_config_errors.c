/* SPDX-License-Identifier: ISC */
/* What is wrong with files, all of it in one go. */
#include "check_config.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(all_errors_at_once)
{
	check_config_bad("daemon = {\n"
			 "  name = \"e 1\";\n"
			 "  retention_day = 9;\n"
			 "  log = true;\n"
			 "};\n"
			 "gateway = { listen = [ \"0.0.0.0\",\n"
			 "  \":7000\", \":7000\" ]; };\n"
			 "peers = (\n"
			 "  { name = \"a\"; conect = \"h:1\";\n"
			 "    secret_file = \"$D/none\"; },\n"
			 "  { name = \"a\"; secret_file = \"$D/secret\";\n"
			 "    pool = 999; },\n"
			 "  { connect = \"h:0\"; }\n"
			 ");\n"
			 "tunnels = (\n"
			 "  { name = \"t\"; peer = \"z\"; listen = \":1\";\n"
			 "    connect = \"h:1\"; },\n"
			 "  { name = \"u\";\n"
			 "    listen = \"127.0.0.1:7000\"; hold = \"x\"; },\n"
			 "  5\n"
			 ");\n",
	    "2: daemon: name: \"e 1\" is not a valid name\n"
	    "3: daemon: unknown key `retention_day`, did you mean "
	    "`retention_days`?\n"
	    "4: daemon: log: must be a string, not true or false\n"
	    "6: gateway: listen: \"0.0.0.0\": \n"
	    "7: gateway: listen: [::]:7000 is taken by gateway on line 7\n"
	    "9: peer a: unknown key `conect`, did you mean `connect`?\n"
	    "10: peer a: secret_file: \n"
	    "11: peer a: there is a peer of this name already, on line 9\n"
	    "12: peer a: pool: 999 is out of range (0 to 256)\n"
	    "13: peer #3: connect: \"h:0\": port 0\n"
	    "13: peer #3: name is missing\n"
	    "13: peer #3: secret_file is missing\n"
	    "16: tunnel z/t: peer: there is no peer \"z\"\n"
	    "16: tunnel z/t: has both listen and connect\n"
	    "18: tunnel u: connect is missing\n"
	    "19: tunnel u: hold: must be a number of seconds, not a string\n"
	    "20: tunnel #3: must be a group, { ... }, not a number");
}
END_TEST

START_TEST(peer_rules)
{
	check_config_bad(
	    "daemon = { name = \"d\"; }; peers = (\n"
	    "{ name = \"a\"; secret_file = \"$D/secret\"; reconnect = { }; }\n"
	    ");",
	    "2: peer a: without connect the peer has to dial in\n"
	    "2: peer a: reconnect is for peers with connect");
	check_config_bad(
	    "peers = (\n"
	    "{ name = \"b\"; connect = \"h:1\"; secret_file = \"$D/secret\";\n"
	    "  heartbeat = { interval = 5;\n"
	    "    timeout = 5; };\n"
	    "  reconnect = {\n"
	    "    min = 31; }; } );",
	    "4: peer b: heartbeat: timeout (5) must be greater than "
	    "interval (5)\n"
	    "6: peer b: reconnect: max (30) must not be less than min (31)");
	/* What was refused is not compared. */
	check_config_bad(
	    "peers = (\n"
	    "{ name = \"b\"; connect = \"h:1\"; secret_file = \"$D/secret\";\n"
	    "  heartbeat = { interval = \"x\"; timeout = 5; };\n"
	    "  reconnect = 1; } );",
	    "3: peer b: heartbeat: interval: must be a number of seconds\n"
	    "4: peer b: reconnect: must be a group");
}
END_TEST

START_TEST(tunnel_rules)
{
	check_config_bad(
	    "peers = ( { name = \"p\"; connect = \"h:1\";\n"
	    "  secret_file = \"$D/secret\"; } );\n"
	    "tunnels = (\n"
	    "{ name = \"a\"; peer = \"p\"; },\n"
	    "{ name = \"a\"; peer = \"p\"; listen = \":0\"; },\n"
	    "{ name = \"b\"; },\n"
	    "{ name = \"b\"; listen = \":0\"; connect = \"h:1\"; },\n"
	    "{ name = \"c\"; connect = \"h:1\"; } );",
	    "4: tunnel p/a: listen or connect is missing\n"
	    "5: tunnel p/a: there is a tunnel of this name already, "
	    "on line 4\n"
	    "6: tunnel b: listen and connect is missing\n"
	    "7: tunnel b: there is a tunnel of this name already, on line 6\n"
	    "8: tunnel c: listen is missing");
}
END_TEST

START_TEST(listen_rules)
{
	check_config_bad(
	    "daemon = { admin_socket = \"/run/a\"; };\n"
	    "gateway = { listen = ( \":1\", \"unix:/run/b\" ); };\n"
	    "tunnels = (\n"
	    "{ name = \"a\"; listen = \"[0::0]:1\"; connect = \"h:1\"; },\n"
	    "{ name = \"b\"; listen = \"unix:/run/a\"; connect = \"h:1\"; },\n"
	    "{ name = \"c\"; listen = \"unix:/run/b\"; connect = \"h:1\"; },\n"
	    "{ name = \"d\"; listen = \"127.0.0.1:1\"; connect = \"h:1\"; }\n"
	    ");",
	    "4: tunnel a: listen: [::]:1 is taken by gateway on line 2\n"
	    "5: tunnel b: listen: unix:/run/a is daemon.admin_socket\n"
	    "6: tunnel c: listen: unix:/run/b is taken by gateway on line 2");
}
END_TEST

START_TEST(metrics_rules)
{
	check_config_bad("metrics = { listen = \"unix:/run/m\"; };",
	    "1: metrics: listen: must be host:port, not a UNIX path");
	check_config_bad("gateway = { listen = \"127.0.0.1:7000\"; };\n"
			 "metrics = { listen = \"127.0.0.1:7000\"; };\n",
	    "2: metrics: listen: 127.0.0.1:7000 is taken by gateway on line 1");
	check_config_bad("tunnels = ( { name = \"a\"; listen = \"[::1]:1\";\n"
			 "  connect = \"h:1\"; } );\n"
			 "metrics = { listen = \"[0::1]:1\"; };\n",
	    "3: metrics: listen: [::1]:1 is taken by tunnel a on line 1");
	check_config_bad("metrics = 1;", "1: metrics: must be a group");
	check_config_bad("metrics = { listn = \":1\"; };",
	    "1: metrics: unknown key `listn`, did you mean `listen`?");
	/* Port 0 is never the same twice; an empty group serves nothing. */
	check_config_good("metrics = { listen = \"127.0.0.1:0\"; };\n"
			  "gateway = { listen = \"127.0.0.1:0\"; };");
	check_config_good("metrics = { };");
	ck_assert(!check_config.config->metrics.has_listen);
}
END_TEST

START_TEST(not_supported_yet)
{
	check_config_bad(
	    "peers = ( { name = \"p\"; connect = \"h:1-9\"; mode = \"mux\";\n"
	    "  secret_file = \"$D/secret\"; } );\n"
	    "tunnels = ( { name = \"t\"; peer = \"p\"; type = \"udp\";\n"
	    "  mode = \"mux\"; proxy_protocol = \"v2\";\n"
	    "  listen = \":1-2\"; }, { name = \"u\"; peer = \"p\";\n"
	    "  type = \"socks5\"; listen = \":0\"; } );",
	    "1: peer p: connect: \"h:1-9\": port ranges are not supported yet\n"
	    "3: tunnel p/t: type: \"udp\" is not supported yet\n"
	    "4: tunnel p/t: proxy_protocol is not supported yet\n"
	    "5: tunnel p/t: listen: \":1-2\": port ranges are not\n"
	    "6: tunnel p/u: type: \"socks5\" is not supported yet");
}
END_TEST

START_TEST(unknown_keys)
{
	check_config_bad("daemn = { };\ngateway = { lisen = 1; };\n"
			 "daemon = { listen = 1; nmae = 1; xyzzy = 1; };\n"
			 "secret = \"" CHECK_CONFIG_SECRET "\";",
	    "1: unknown key `daemn`, did you mean `daemon`?\n"
	    "2: gateway: unknown key `lisen`, did you mean `listen`?\n"
	    "3: daemon: unknown key `listen`\n"
	    "3: daemon: unknown key `nmae`, did you mean `name`?\n"
	    "3: daemon: unknown key `xyzzy`\n"
	    "4: unknown key `secret`");
}
END_TEST

START_TEST(wrong_shapes)
{
	check_config_bad("daemon = 1;\ngateway = ( );\npeers = { };\n"
			 "tunnels = [ 1 ];",
	    "1: daemon: must be a group\n2: gateway: must be a group\n"
	    "3: peers: must be a list of groups\n"
	    "4: tunnels: must be a list of groups");
	/* An error of the peers is none of the tunnels' that name them. */
	check_config_bad(
	    "peers = 1;\ntunnels = ( { name = \"t\"; peer = \"p\";\n"
	    "listen = \":0\"; } );",
	    "1: peers: must be a list of groups");
}
END_TEST

START_TEST(syntax)
{
	check_config_bad("daemon = {\n  name = ;\n};\n", "2: syntax error");
	check_config_bad("a = 1;\n\na = 2;", "3: duplicate setting name");
	check_config_bad("peers = (\n{ },\n);", "3: syntax error");
	check_config_bad("daemon = { };\n/* open", "2: comment");
	check_config_bad("daemon = { name = \"d\n\n", "1: string");
	check_config_bad("# 1\n// 2 \"\n/* 3 \" @include\n */ x = 1;",
	    "4: unknown key `x`");
	check_config_bad("daemon = {\nmax_rows = 5000000000; };",
	    "2: must end in L: 5000000000L");
	check_config_bad("daemon = {\nmax_rows = 99999999999999999999L; };",
	    "2: too large");
	check_config_bad("daemon = {\nmax_rows = 0x1ffffffff; };",
	    "2: must end");
}
END_TEST

START_TEST(unreadable)
{
	char path[64];

	check_config_bad("@include \"$D/none\"\n@include \"more\"\n"
			 "@include \"$D\"\n",
	    "1: No such file\n2: not an absolute path\n"
	    "3: not a regular file");
	check_config_bad("\n@include \"$D/conf\"\n", "2: includes itself");
	snprintf(path, sizeof(path), "%s/conf", check_config.dir);
	ck_assert_int_eq(unlink(path), 0);
	check_config_load();
	ck_assert_uint_eq(check_config.errors.n, 1);
	ck_assert_int_eq(check_config.errors.list[0].line, 0);
	ck_assert_str_eq(check_config.errors.list[0].file, path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	check_config_load();
	ck_assert_uint_eq(check_config.errors.n, 1);
	/* Twice in itself: the number of files is bounded, not the depth. */
	check_config_put("conf",
	    "@include \"$D/conf\"\n"
	    "@include \"$D/conf\"\n",
	    0644);
	check_config_load();
	ck_assert_ptr_null(check_config.config);
	check_config_put("conf", "a = 1;", 0644);
	ck_assert_int_eq(truncate(path, 100), 0); /* bytes of zero */
	check_config_load();
	ck_assert_uint_eq(check_config.errors.n, 1);
	ck_assert_int_eq(truncate(path, 100 << 20), 0);
	check_config_load();
	ck_assert_uint_eq(check_config.errors.n, 1);
}
END_TEST

#define ONE_PEER                                         \
	"peers = ( { name = \"p\"; connect = \"h:1\";\n" \
	"  secret_file = \"$D/s\"; } );\n"

START_TEST(secrets)
{
	check_config_put("s", "c2hvcnQ=\n", 0600);
	check_config_bad(ONE_PEER, "2: peer p: secret_file: ");
	ck_assert_ptr_null(strstr(check_config.errors.list[0].message,
	    "c2hvcnQ="));
	check_config_put("s", CHECK_CONFIG_SECRET "\n", 0644);
	check_config_bad(ONE_PEER, "2: peer p: secret_file: ");
	check_config_put("s", CHECK_CONFIG_SECRET "\n", 0660);
	check_config_bad(ONE_PEER, "2: peer p: secret_file: ");
	check_config_put("s", CHECK_CONFIG_SECRET, 0640);
	check_config_good(ONE_PEER);
	/* Wherever it was put by mistake, it is not shown. */
	check_config_bad("daemon = { name = \"" CHECK_CONFIG_SECRET "\";\n"
			 "  log = \"" CHECK_CONFIG_SECRET "\";\n"
			 "  database = \"/a/" CHECK_CONFIG_SECRET "\"; };\n"
			 "gateway = { listen = \"" CHECK_CONFIG_SECRET
			 "\"; };\n",
	    "1: name\n2: log\n3: database\n4: listen");
}
END_TEST

START_TEST(secrets_as_the_user_sees_them)
{
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chmod(check_config.dir, 0755), 0);
	check_config_put("s", CHECK_CONFIG_SECRET "\n", 0600);
	check_config_good("daemon = { user = \"root\"; };\n" ONE_PEER);
	check_config_bad("daemon = { user = \"nobody\"; };\n" ONE_PEER,
	    "3: peer p: secret_file: ");
	/* Nobody known to judge as: a missing file is an error all the same. */
	check_config_bad("daemon = { user = \"no-such-user\"; };\n" ONE_PEER,
	    "1: daemon: user: ");
	check_config_put("conf", "", 0600);
	check_config_bad("peers = ( { name = \"p\"; connect = \"h:1\";\n"
			 "  secret_file = \"$D/t\"; } );\n"
			 "daemon = { user = \"no-such-user\"; };\n",
	    "2: peer p: secret_file: \n3: daemon: user: ");
}
END_TEST

START_TEST(host_name_is_no_name)
{
	/* The test has a process of its own, and so a host name. */
	if (geteuid() != 0 || getenv("CK_FORK") != NULL ||
	    unshare(CLONE_NEWUTS) == -1)
		return;
	ck_assert_int_eq(sethostname("a host.b", 8), 0);
	check_config_bad("\ndaemon = { };",
	    "2: the host name \"a host\" is not valid");
	ck_assert_ptr_nonnull(strstr(check_config.errors.list[0].message,
	    "set daemon.name"));
	check_config_bad("", "0: the host name");
	check_config_good("daemon = { name = \"d\"; };");
	ck_assert_int_eq(sethostname("west.example.org", 16), 0);
	check_config_good("");
	ck_assert_str_eq(check_config.config->daemon.name, "west");
}
END_TEST

TCase *
check_config_errors(void)
{
	TCase *tc = tcase_create("errors");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	tcase_add_test(tc, all_errors_at_once);
	tcase_add_test(tc, peer_rules);
	tcase_add_test(tc, tunnel_rules);
	tcase_add_test(tc, listen_rules);
	tcase_add_test(tc, metrics_rules);
	tcase_add_test(tc, not_supported_yet);
	tcase_add_test(tc, unknown_keys);
	tcase_add_test(tc, wrong_shapes);
	tcase_add_test(tc, syntax);
	tcase_add_test(tc, unreadable);
	tcase_add_test(tc, secrets);
	tcase_add_test(tc, secrets_as_the_user_sees_them);
	tcase_add_test(tc, host_name_is_no_name);
	return tc;
}
