/* SPDX-License-Identifier: ISC */
/* Each option: its default, a value, a wrong type, wrong values. */
#include "check_config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config_options.h"

#define FILE_SIZE 4096

/* What an option needs around it. %s is left out if it is the same key. */
struct line {
	enum config_section section;
	const char *key;
	const char *text;
};

static const struct line base[] = {
	{ CONFIG_SECTION_TOP, "", "gateway = {" },
	{ CONFIG_SECTION_GATEWAY, "listen", "listen = \":7000\";" },
	{ CONFIG_SECTION_GATEWAY, NULL, "};" },
	{ CONFIG_SECTION_TOP, "", "metrics = {" },
	{ CONFIG_SECTION_METRICS, NULL, "};" },
	{ CONFIG_SECTION_TOP, "", "daemon = {" },
	{ CONFIG_SECTION_DAEMON, NULL, "};" },
	{ CONFIG_SECTION_TOP, "", "peers = ( {" },
	{ CONFIG_SECTION_PEER, "name", "name = \"p\";" },
	{ CONFIG_SECTION_PEER, "secret_file", "secret_file = \"$D/secret\";" },
	{ CONFIG_SECTION_PEER, "connect", "connect = \"h:1\";" },
	{ CONFIG_SECTION_TOP, "", "heartbeat = {" },
	{ CONFIG_SECTION_HEARTBEAT, NULL, "};" },
	{ CONFIG_SECTION_RECONNECT, "", "reconnect = {" },
	{ CONFIG_SECTION_RECONNECT, NULL, "};" },
	{ CONFIG_SECTION_PEER, NULL, "} );" },
	{ CONFIG_SECTION_TOP, "", "tunnels = ( {" },
	{ CONFIG_SECTION_TUNNEL, "name", "name = \"t\";" },
	{ CONFIG_SECTION_TUNNEL, "peer", "peer = \"p\";" },
	{ CONFIG_SECTION_TUNNEL, "connect", "connect = \"h:1\";" },
	{ CONFIG_SECTION_TUNNEL, NULL, "} );" },
};

struct row {
	enum config_section section;
	const char *key;
	const char *fallback; /* as show() has it */
	const char *value;    /* accepted */
	const char *shown;
	const char *wrong_type;
	const char *wrong;   /* several, with '|' between */
	const char *message; /* for each of them */
};

#define DAEMON CONFIG_SECTION_DAEMON
#define PEER CONFIG_SECTION_PEER
#define TUNNEL CONFIG_SECTION_TUNNEL
#define BAD_NAME "\"\"|\"a b\"|\"a/b\"|\"\\x01\""
#define NOT_A_NAME "not a valid name"
#define RANGE "out of range"
#define ABSOLUTE "must be an absolute path"

/* clang-format off */
static const struct row rows[] = {
	{ DAEMON, "name", NULL, "\"edge-1.a_B\"", "edge-1.a_B", "1",
	  BAD_NAME, NOT_A_NAME },
	{ DAEMON, "admin_socket", "/run/tunneld/admin.sock", "\"/a/b\"",
	  "/a/b", "true", "\"\"|\"a\"|\"./a\"", ABSOLUTE },
	{ DAEMON, "admin_group", "-", "\"root\"", "root", "0",
	  "\"no-such-group\"|\"\"", "no such group" },
	{ DAEMON, "admin_read_group", "-", "\"root\"", "root", "[ \"root\" ]",
	  "\"no-such-group\"|\"\"", "no such group" },
	{ DAEMON, "database", "/var/lib/tunneld/sessions.db", "\"/x.db\"",
	  "/x.db", "( )", "\"x.db\"", ABSOLUTE },
	{ DAEMON, "retention_days", "90", "36500", "36500", "\"90\"",
	  "-1|36501|36501.0|1e+9|-9000000000000000000L", RANGE },
	{ DAEMON, "max_rows", "0", "5000000000L", "5000000000", "true",
	  "-1|1000000000001L", RANGE },
	{ DAEMON, "log", "syslog", "\"stderr\"", "stderr", "1",
	  "\"file\"|\"\"|\"stderr syslog\"", "not one of: stderr syslog" },
	{ DAEMON, "log_level", "info", "\"debug\"", "debug", "7",
	  "\"Debug\"|\"inf\"", "not one of: error" },
	{ DAEMON, "user", "-", "\"root\"", "root", "0",
	  "\"no-such-user\"", "no such user" },
	{ DAEMON, "max_handshakes", "1024", "1", "1", "\"1\"",
	  "0|65537", RANGE },
	{ DAEMON, "max_handshakes_per_source", "256", "65536", "65536",
	  "false", "0|65537", RANGE },
	{ DAEMON, "drain_timeout", "0", "0.5", "0.5", "\"1\"",
	  "-0.1|31536001", RANGE },
	{ DAEMON, "sandbox", "true", "false", "false", "\"false\"",
	  "0|1|\"\"|[ true ]", "must be true or false, not" },
	{ CONFIG_SECTION_GATEWAY, "listen", "",
	  "( \"0.0.0.0:7000\", \"[::]:7000\", \"unix:/a\" )",
	  "0.0.0.0:7000 [::]:7000 unix:/a", "7000",
	  "\"7000\"|\"localhost:7000\"|[ \"x.example:1\" ]|\":1-9\"",
	  "listen" },
	{ CONFIG_SECTION_METRICS, "listen", "-", "\"127.0.0.1:9469\"",
	  "127.0.0.1:9469", "9469",
	  "\"9469\"|\"localhost:9469\"|\"unix:/m\"|\":1-9\"", "listen" },
	{ PEER, "name", NULL, "\"p\"", "p", "{ }", "\"\"", NOT_A_NAME },
	{ PEER, "connect", "-", "\"[2001:db8::1]:7\"", "[2001:db8::1]:7",
	  "[ \"h:1\" ]", "\"h:0\"|\":7\"|\"h\"|\"h:70000\"|\"unix:a\"",
	  "connect" },
	{ PEER, "secret_file", NULL, "\"$D/secret\"", "*/secret", "1",
	  "\"secret\"|\"/no/such/file\"|\"" CHECK_CONFIG_SECRET "\"|\"$D\"|"
	  "\"/" CHECK_CONFIG_SECRET "\"", "secret_file" },
	{ PEER, "security", "tls", "\"plain\"", "plain", "true",
	  "\"ssl\"|\"TLS\"", "not one of: tls plain" },
	{ PEER, "as", NULL, "\"me\"", "me", "1.5", BAD_NAME, NOT_A_NAME },
	{ PEER, "mode", "mux", "\"direct\"", "direct", "1",
	  "\"fast\"|\"MUX\"", "not one of: mux direct" },
	{ PEER, "lanes", "2", "16", "16", "\"2\"", "0|17", RANGE },
	{ PEER, "window_max", "16777216", "262144", "262144", "true",
	  "262143|1073741825", RANGE },
	{ PEER, "link_memory", "67108864", "4294967296L", "4294967296",
	  "\"64M\"", "1048575|1099511627777L", RANGE },
	{ PEER, "pool", "2", "256", "256", "\"2\"", "-1|257", RANGE },
	{ PEER, "max_channels", "10000", "20.0", "20", "true",
	  "0|1000001", RANGE },
	{ CONFIG_SECTION_HEARTBEAT, "interval", "10", "1", "1", "\"1\"",
	  "0|-1.5|3601|1.0e+400", RANGE },
	{ CONFIG_SECTION_HEARTBEAT, "timeout", "30", "86400.0", "86400",
	  "true", "0|86401", RANGE },
	{ CONFIG_SECTION_RECONNECT, "min", "0.5", "0.125", "0.125", "[ 1 ]",
	  "0|0.001|4000", RANGE },
	{ CONFIG_SECTION_RECONNECT, "max", "30", "86400", "86400", "\"x\"",
	  "0|86401L", RANGE },
	{ TUNNEL, "name", NULL, "\"t.2\"", "t.2", "1", BAD_NAME,
	  NOT_A_NAME },
	{ TUNNEL, "peer", NULL, "\"p\"", "p", "1", "\"q\"", "no peer \"q\"" },
	{ TUNNEL, "type", "tcp", "\"tcp\"", "tcp", "6",
	  "\"TCP\"|\"quic\"", "not one of: tcp" },
	{ TUNNEL, "mode", NULL, "\"mux\"", "mux", "1",
	  "\"fast\"", "not one of: mux direct" },
	{ TUNNEL, "listen", NULL, "\":0\"", ":0", "22",
	  "\"22\"|\"h:22\"|\"unix:\"", "listen" },
	{ TUNNEL, "connect", NULL, "\"unix:/s\"", "unix:/s", "22",
	  "\"h:0\"|\":22\"|\"h:1-2\"|\"h: 1\"", "connect" },
	{ TUNNEL, "allow", "", "[ \"10.0.0.0/8\", \"2001:db8::/32\" ]",
	  "10.0.0.0/8 2001:db8::/32", "10",
	  "\"10.0.0.1/8\"|\"x\"|( )|[ ]|( \"10.0.0.0/33\" )", "allow" },
	{ TUNNEL, "deny", "", "\"192.0.2.0/24\"", "192.0.2.0/24",
	  "( 1 )", "\"::1/0\"|( \"10.0.0.0/8\", \"\" )", "deny" },
	{ TUNNEL, "max_sessions", "0", "1000000", "1000000", "\"0\"",
	  "-1|1000001", RANGE },
	{ TUNNEL, "idle_timeout", "0", "0.5", "0.5", "false",
	  "-0.5|31536001", RANGE },
	{ TUNNEL, "connect_timeout", "10", "3600", "3600", "\"1s\"",
	  "0|3601", RANGE },
	{ TUNNEL, "hold", "10", "0", "0", "\"0\"", "-1|3601", RANGE },
	{ TUNNEL, "max_held", "256", "65536", "65536", "true",
	  "0|65537", RANGE },
	{ TUNNEL, "on_change", "keep", "\"drain:1.5\"", "drain:1.5", "60",
	  "\"Keep\"|\"drain\"|\"drain:\"|\"drain: 1\"|\"drain:-1\"|"
	  "\"drain:1s\"|\"drain:.5\"|\"drain:1.2.3\"|\"drain:1e3\"|"
	  "\"drain:0x10\"|\"drain:inf\"|\"drain:nan\"|\"kill:1\"|\"\"|"
	  "\"drain:0\"|\"drain:0.09\"|\"drain:31536000.5\"|"
	  "\"drain:99999999999999999999999999999999999999999999\"",
	  "on_change: " },
};
/* clang-format on */

static const struct row *
row_of(const struct config_option *option)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].section == option->section &&
		    strcmp(rows[i].key, option->key) == 0)
			return &rows[i];
	ck_abort_msg("%s.%s has no row in this test",
	    config_sections[option->section].name, option->key);
}

/* The line of base, or what must stand there for option to be tested. */
static const char *
base_text(const struct line *line, const struct config_option *option)
{
	bool same = option->section == line->section;

	if (same && line->key != NULL && strcmp(line->key, option->key) == 0)
		return "";
	/* A tunnel with a peer has one end alone. */
	if (same && option->section == TUNNEL && line->key != NULL &&
	    strcmp(line->key, "connect") == 0 &&
	    strcmp(option->key, "listen") == 0)
		return "";
	/* Only a peer that is dialled may have reconnect. */
	if (line->section == CONFIG_SECTION_RECONNECT && !same)
		return "";
	/* Without a good peer the tunnel cannot name it, so it is local. */
	if (option->section == PEER && strcmp(option->key, "name") == 0 &&
	    strcmp(line->text, "peer = \"p\";") == 0)
		return "listen = \":0\";";
	return line->text;
}

/* A file in which option stands, with value if that is not NULL; its line. */
static int
build(char *text, const struct config_option *option, const char *value)
{
	int line = 0, found = 0;
	size_t n = sizeof(base) / sizeof(base[0]);
	FILE *f = fmemopen(text, FILE_SIZE, "w");

	for (size_t i = 0; i < n; i++, line++) {
		if (base[i].section == option->section && base[i].key == NULL &&
		    value != NULL) {
			fprintf(f, "%s = %s;\n", option->key, value);
			found = ++line;
		}
		fprintf(f, "%s\n", base_text(&base[i], option));
	}
	fclose(f);
	return found;
}

static const char *
show_list(const struct config_option *option, const char *at, size_t n)
{
	static char out[1024];
	char one[ADDR_TEXT_SIZE];

	out[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (option->kind == CONFIG_KIND_NETWORKS)
			addr_cidr_format(&(*(struct addr_cidr *const *)at)[i],
			    one, sizeof(one));
		else
			addr_format(&(*(struct addr *const *)at)[i], one,
			    sizeof(one));
		strcat(strcat(out, i > 0 ? " " : ""), one);
	}
	return out;
}

static const char *
show(const struct config_option *option)
{
	static char out[ADDR_TEXT_SIZE];
	const char *from = option->section == DAEMON ?
	    (char *)&check_config.config->daemon :
	    option->section == CONFIG_SECTION_GATEWAY ?
	    (char *)&check_config.config->gateway :
	    option->section == CONFIG_SECTION_METRICS ?
	    (char *)&check_config.config->metrics :
	    option->section == TUNNEL ?
	    (char *)check_config.config->tunnels[0] :
	    (char *)check_config.config->peers[0];
	const char *at = from + option->offset, *word;
	unsigned place;

	switch (option->kind) {
	case CONFIG_KIND_INT:
		snprintf(out, sizeof(out), "%d", *(const int *)at);
		return out;
	case CONFIG_KIND_INT64:
		snprintf(out, sizeof(out), "%lld",
		    (long long)*(const int64_t *)at);
		return out;
	case CONFIG_KIND_SECONDS:
		snprintf(out, sizeof(out), "%.15g", *(const double *)at);
		return out;
	case CONFIG_KIND_BOOL:
		return *(const bool *)at ? "true" : "false";
	case CONFIG_KIND_WORD:
		memcpy(&place, at, sizeof(place));
		for (word = option->words; place > 0; place--)
			word = strchr(word, ' ') + 1;
		snprintf(out, sizeof(out), "%.*s", (int)strcspn(word, " "),
		    word);
		return out;
	case CONFIG_KIND_ON_CHANGE:
		memcpy(&place, at, sizeof(place));
		if (place != CONFIG_ON_CHANGE_DRAIN)
			return place == CONFIG_ON_CHANGE_KEEP ? "keep" : "kill";
		snprintf(out, sizeof(out), "drain:%.15g",
		    *(const double *)(from + option->companion));
		return out;
	case CONFIG_KIND_LISTEN:
	case CONFIG_KIND_CONNECT:
		if (!*(const bool *)(from + option->companion))
			return "-";
		return addr_format((const struct addr *)at, out, sizeof(out));
	case CONFIG_KIND_LISTENS:
	case CONFIG_KIND_NETWORKS:
		return show_list(option, at,
		    *(const size_t *)(from + option->companion));
	default:
		return *(char *const *)at != NULL ? *(char *const *)at : "-";
	}
}

START_TEST(option_default)
{
	const struct config_option *option = &config_options[_i];
	const struct row *row = row_of(option);
	static char text[FILE_SIZE];

	if (row->fallback == NULL)
		return; /* required, or depends: tests of their own */
	build(text, option, NULL);
	check_config_good(text);
	ck_assert_str_eq(show(option), row->fallback);
	if (option->fallback != NULL)
		ck_assert_str_eq(option->fallback, row->fallback);
}
END_TEST

START_TEST(option_value)
{
	const struct config_option *option = &config_options[_i];
	const struct row *row = row_of(option);
	static char text[FILE_SIZE];

	build(text, option, row->value);
	check_config_good(text);
	if (row->shown[0] == '*')
		ck_assert_ptr_nonnull(strstr(show(option), row->shown + 1));
	else
		ck_assert_str_eq(show(option), row->shown);
}
END_TEST

START_TEST(option_wrong_type)
{
	const struct config_option *option = &config_options[_i];
	static char text[FILE_SIZE];
	char wanted[256];
	int line;

	line = build(text, option, row_of(option)->wrong_type);
	snprintf(wanted, sizeof(wanted), "%d: %s: must be %s, not ", line,
	    option->key, config_kind_name(option->kind));
	check_config_bad(text, wanted);
}
END_TEST

START_TEST(option_wrong_value)
{
	const struct config_option *option = &config_options[_i];
	const struct row *row = row_of(option);
	static char text[FILE_SIZE];
	char values[512], wanted[256], *rest = values, *value;
	int line;

	snprintf(values, sizeof(values), "%s", row->wrong);
	while ((value = strsep(&rest, "|")) != NULL) {
		line = build(text, option, value);
		snprintf(wanted, sizeof(wanted), "%d: %s%s%s", line,
		    option->kind == CONFIG_KIND_BOOL ? option->key : "",
		    option->kind == CONFIG_KIND_BOOL ? ": " : "", row->message);
		check_config_bad(text, wanted);
		ck_assert_ptr_nonnull(strstr(check_config.errors.list[0]
						 .message,
		    option->key));
	}
}
END_TEST

START_TEST(option_whole_number)
{
	check_config_bad("daemon = { retention_days = 1.5; };",
	    "1: daemon: retention_days: must be a whole number, not 1.5");
}
END_TEST

START_TEST(option_on_change)
{
	struct config_tunnel **tunnels;

	check_config_good("tunnels = ("
			  "{ name = \"a\"; listen = \":0\"; connect = \"h:1\";"
			  "  on_change = \"keep\"; },"
			  "{ name = \"b\"; listen = \":0\"; connect = \"h:1\";"
			  "  on_change = \"kill\"; },"
			  "{ name = \"c\"; listen = \":0\"; connect = \"h:1\";"
			  "  on_change = \"drain:0.1\"; } );");
	tunnels = check_config.config->tunnels;
	ck_assert_int_eq(tunnels[0]->on_change, CONFIG_ON_CHANGE_KEEP);
	ck_assert_int_eq(tunnels[1]->on_change, CONFIG_ON_CHANGE_KILL);
	ck_assert_int_eq(tunnels[2]->on_change, CONFIG_ON_CHANGE_DRAIN);
	ck_assert(tunnels[1]->drain_seconds == 0);
	ck_assert(tunnels[2]->drain_seconds == 0.1);
}
END_TEST

TCase *
check_config_options(void)
{
	int n = (int)config_options_count;
	TCase *tc = tcase_create("options");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	tcase_add_loop_test(tc, option_default, 0, n);
	tcase_add_loop_test(tc, option_value, 0, n);
	tcase_add_loop_test(tc, option_wrong_type, 0, n);
	tcase_add_loop_test(tc, option_wrong_value, 0, n);
	tcase_add_test(tc, option_whole_number);
	tcase_add_test(tc, option_on_change);
	return tc;
}
