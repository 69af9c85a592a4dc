/* SPDX-License-Identifier: ISC */
#include "config_rows.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define fixed config_rows_fixed

const char config_rows_fixed[] = "";
static const struct config_row rows[] = {
	{ DAEMON, "name", { "\"d\"", "\"D\"" } },
	{ DAEMON, "admin_socket", { NULL, "\"/b\"" } },
	{ DAEMON, "admin_group", { "\"root\"", NULL } },
	{ DAEMON, "admin_read_group", { NULL, "\"root\"" } },
	{ DAEMON, "database", { "\"/a\"", "\"/b\"" } },
	{ DAEMON, "retention_days", { "1", "2" } },
	{ DAEMON, "max_rows", { "0", "4294967296L" } },
	{ DAEMON, "log", { "\"stderr\"", "\"syslog\"" } },
	{ DAEMON, "log_level", { "\"info\"", "\"debug\"" } },
	{ DAEMON, "user", { NULL, "\"root\"" } },
	{ DAEMON, "max_handshakes", { "1", "2" } },
	{ DAEMON, "max_handshakes_per_source", { "1", "2" } },
	{ DAEMON, "drain_timeout", { "1", "2.5" } },
	{ DAEMON, "sandbox", { "false", "true" } },
	{ GATEWAY, "listen", { "\":1\"", "[ \":1\", \"[::1]:2\" ]" } },
	{ METRICS, "listen", { NULL, "\":3\"" } },
	{ PEER, "name", { "\"p\"", fixed } },
	{ PEER, "connect", { "\"h:1\"", "\"H:1\"" } },
	{ PEER, "secret_file", { "\"$D/secret\"", "\"$D/./secret\"" } },
	{ PEER, "security", { "\"tls\"", "\"plain\"" } },
	{ PEER, "as", { "\"me\"", "\"it\"" } },
	{ PEER, "mode", { "\"mux\"", "\"direct\"" } },
	{ PEER, "lanes", { "1", "16" } },
	{ PEER, "window_max", { "262144", "262145" } },
	{ PEER, "link_memory", { "1048576", "4294967296L" } },
	{ PEER, "pool", { "0", "1" } },
	{ PEER, "max_channels", { NULL, "1" } },
	{ HEARTBEAT, "interval", { "1.5", "1.25" } },
	{ HEARTBEAT, "timeout", { "3", NULL } },
	{ RECONNECT, "min", { "0.5", "1.0" } },
	{ RECONNECT, "max", { "3", "4" } },
	{ TUNNEL, "name", { "\"t\"", fixed } },
	{ TUNNEL, "peer", { NULL, fixed } },
	{ TUNNEL, "type", { "\"tcp\"", fixed } },
	{ TUNNEL, "mode", { "\"direct\"", "\"mux\"" } },
	{ TUNNEL, "listen", { "\":10\"", "\"127.0.0.1:10\"" } },
	{ TUNNEL, "connect", { "\"h:22\"", "\"unix:/t\"" } },
	{ TUNNEL, "allow", { "\"10.0.0.0/8\"", "\"10.0.0.0/9\"" } },
	{ TUNNEL, "deny", { NULL, "( \"::1\", \"10.0.0.1\" )" } },
	{ TUNNEL, "max_sessions", { "0", "1" } },
	{ TUNNEL, "idle_timeout", { "0", "0.001" } },
	{ TUNNEL, "connect_timeout", { "1", "1.5" } },
	{ TUNNEL, "hold", { "10", "0" } },
	{ TUNNEL, "max_held", { "1", "2" } },
	{ TUNNEL, "on_change", { "\"drain:1\"", "\"drain:1.5\"" } },
};

const struct config_row *
config_row_of(const struct config_option *option)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].section == option->section &&
		    strcmp(rows[i].key, option->key) == 0)
			return &rows[i];
	ck_abort_msg("%s.%s has no row in this test",
	    config_sections[option->section].name, option->key);
}

static void
put_rows(FILE *file, enum config_section section,
    const struct config_row *changed)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *value = rows[i].values[&rows[i] == changed];

		if (rows[i].section == section && value != NULL)
			fprintf(file, "%s = %s;\n", rows[i].key, value);
	}
}

void
config_rows_write(const struct config_row *changed, char *text, size_t size)
{
	FILE *file = fmemopen(text, size, "w");

	fprintf(file, "daemon = {\n");
	put_rows(file, DAEMON, changed);
	fprintf(file, "};\ngateway = {\n");
	put_rows(file, GATEWAY, changed);
	fprintf(file, "};\nmetrics = {\n");
	put_rows(file, METRICS, changed);
	fprintf(file, "};\npeers = ( {\n");
	put_rows(file, PEER, changed);
	fprintf(file, "heartbeat = {\n");
	put_rows(file, HEARTBEAT, changed);
	fprintf(file, "};\nreconnect = {\n");
	put_rows(file, RECONNECT, changed);
	fprintf(file, "};\n} );\ntunnels = ( {\n");
	put_rows(file, TUNNEL, changed);
	fprintf(file, "} );\n");
	ck_assert_int_eq(fclose(file), 0);
}
