/* SPDX-License-Identifier: ISC */
#include "config_options.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#define IN_DAEMON(member) offsetof(struct config_daemon, member)
#define IN_GATEWAY(member) offsetof(struct config_gateway, member)
#define IN_METRICS(member) offsetof(struct config_metrics, member)
#define IN_PEER(member) offsetof(struct config_peer, member)
#define IN_TUNNEL(member) offsetof(struct config_tunnel, member)

/* clang-format off */

const struct config_section_info config_sections[CONFIG_SECTION_COUNT] = {
	[CONFIG_SECTION_TOP] = { "", "", CONFIG_SECTION_TOP, false },
	[CONFIG_SECTION_DAEMON] =
	    { "daemon", "daemon", CONFIG_SECTION_TOP, false },
	[CONFIG_SECTION_GATEWAY] =
	    { "gateway", "gateway", CONFIG_SECTION_TOP, false },
	[CONFIG_SECTION_METRICS] =
	    { "metrics", "metrics", CONFIG_SECTION_TOP, false },
	[CONFIG_SECTION_PEER] = { "peer", "peers", CONFIG_SECTION_TOP, true },
	[CONFIG_SECTION_HEARTBEAT] =
	    { "peer.heartbeat", "heartbeat", CONFIG_SECTION_PEER, false },
	[CONFIG_SECTION_RECONNECT] =
	    { "peer.reconnect", "reconnect", CONFIG_SECTION_PEER, false },
	[CONFIG_SECTION_TUNNEL] =
	    { "tunnel", "tunnels", CONFIG_SECTION_TOP, true },
};

const struct config_option config_options[] = {
	{ CONFIG_SECTION_DAEMON, "name", CONFIG_KIND_NAME,
	  .offset = IN_DAEMON(name), .fallback = "(host name)", .restart = true,
	  .help = "the name of this daemon towards its peers" },
	{ CONFIG_SECTION_DAEMON, "admin_socket", CONFIG_KIND_PATH,
	  .offset = IN_DAEMON(admin_socket), .max = 107,
	  .fallback = "/run/tunneld/admin.sock", .restart = true,
	  .help = "the UNIX socket that tunnelctl asks" },
	{ CONFIG_SECTION_DAEMON, "admin_group", CONFIG_KIND_GROUP,
	  .offset = IN_DAEMON(admin_group),
	  .help = "its members may use tunnelctl" },
	{ CONFIG_SECTION_DAEMON, "admin_read_group", CONFIG_KIND_GROUP,
	  .offset = IN_DAEMON(admin_read_group),
	  .help = "its members may look with tunnelctl, and change nothing" },
	{ CONFIG_SECTION_DAEMON, "database", CONFIG_KIND_PATH,
	  .offset = IN_DAEMON(database), .max = 4000,
	  .fallback = "/var/lib/tunneld/sessions.db", .restart = true,
	  .help = "the ledger of sessions and links" },
	{ CONFIG_SECTION_DAEMON, "retention_days", CONFIG_KIND_INT,
	  .offset = IN_DAEMON(retention_days), .fallback = "90",
	  .min = 0, .max = 36500,
	  .help = "days that a closed session is remembered; 0: for ever" },
	{ CONFIG_SECTION_DAEMON, "max_rows", CONFIG_KIND_INT64,
	  .offset = IN_DAEMON(max_rows), .fallback = "0",
	  .min = 0, .max = 1000000000000,
	  .help = "sessions that are remembered; 0: no limit" },
	{ CONFIG_SECTION_DAEMON, "log", CONFIG_KIND_WORD,
	  .offset = IN_DAEMON(log), .fallback = "syslog",
	  .words = "stderr syslog", .help = "where the log goes" },
	{ CONFIG_SECTION_DAEMON, "log_level", CONFIG_KIND_WORD,
	  .offset = IN_DAEMON(log_level), .fallback = "info",
	  .words = "error warning notice info debug",
	  .help = "the least severe messages that are logged" },
	{ CONFIG_SECTION_DAEMON, "user", CONFIG_KIND_USER,
	  .offset = IN_DAEMON(user), .restart = true,
	  .help = "whom to become when started by root" },
	{ CONFIG_SECTION_DAEMON, "max_handshakes", CONFIG_KIND_INT,
	  .offset = IN_DAEMON(max_handshakes), .fallback = "1024",
	  .min = 1, .max = 65536,
	  .help = "strangers at the gateway at a time" },
	{ CONFIG_SECTION_DAEMON, "max_handshakes_per_source", CONFIG_KIND_INT,
	  .offset = IN_DAEMON(max_handshakes_per_source), .fallback = "256",
	  .min = 1, .max = 65536,
	  .help = "of these, from one address" },
	{ CONFIG_SECTION_DAEMON, "drain_timeout", CONFIG_KIND_SECONDS,
	  .offset = IN_DAEMON(drain_timeout), .fallback = "0",
	  .min = 0, .max = 31536000,
	  .help = "seconds that sessions outlive an upgrade; 0: no limit" },
	{ CONFIG_SECTION_DAEMON, "sandbox", CONFIG_KIND_BOOL,
	  .offset = IN_DAEMON(sandbox), .fallback = "true", .restart = true,
	  .help = "whether a seccomp filter keeps the daemon in" },

	{ CONFIG_SECTION_GATEWAY, "listen", CONFIG_KIND_LISTENS,
	  .offset = IN_GATEWAY(listen), .companion = IN_GATEWAY(n_listen),
	  .min = 0, .max = 256,
	  .help = "where peers are accepted" },

	{ CONFIG_SECTION_METRICS, "listen", CONFIG_KIND_LISTEN,
	  .offset = IN_METRICS(listen), .companion = IN_METRICS(has_listen),
	  .help = "where Prometheus asks over HTTP" },

	{ CONFIG_SECTION_PEER, "name", CONFIG_KIND_NAME,
	  .offset = IN_PEER(name), .required = true,
	  .help = "how the peer calls itself" },
	{ CONFIG_SECTION_PEER, "connect", CONFIG_KIND_CONNECT,
	  .offset = IN_PEER(connect), .companion = IN_PEER(dials),
	  .help = "where the peer's gateway is dialled" },
	{ CONFIG_SECTION_PEER, "secret_file", CONFIG_KIND_PATH,
	  .offset = IN_PEER(secret_file), .max = 4000, .required = true,
	  .help = "the file that holds the secret shared with the peer" },
	{ CONFIG_SECTION_PEER, "security", CONFIG_KIND_WORD,
	  .offset = IN_PEER(security), .fallback = "tls", .words = "tls plain",
	  .help = "how the bytes are protected; the same at both ends" },
	{ CONFIG_SECTION_PEER, "as", CONFIG_KIND_NAME,
	  .offset = IN_PEER(as), .fallback = "(daemon.name)",
	  .help = "our name towards this peer" },
	{ CONFIG_SECTION_PEER, "mode", CONFIG_KIND_WORD,
	  .offset = IN_PEER(mode), .fallback = "mux", .words = "mux direct",
	  .help = "how sessions of its tunnels reach the peer" },
	{ CONFIG_SECTION_PEER, "lanes", CONFIG_KIND_INT,
	  .offset = IN_PEER(lanes), .fallback = "2", .min = 1, .max = 16,
	  .help = "connections that sessions of mode mux share" },
	{ CONFIG_SECTION_PEER, "window_max", CONFIG_KIND_INT,
	  .offset = IN_PEER(window_max), .fallback = "16777216",
	  .min = 262144, .max = 1073741824,
	  .help = "bytes that may be under way to here in one session" },
	{ CONFIG_SECTION_PEER, "link_memory", CONFIG_KIND_INT64,
	  .offset = IN_PEER(link_memory), .fallback = "67108864",
	  .min = 1048576, .max = 1099511627776,
	  .help = "bytes kept for sessions whose readers are slow" },
	{ CONFIG_SECTION_PEER, "pool", CONFIG_KIND_INT,
	  .offset = IN_PEER(pool), .fallback = "2", .min = 0, .max = 256,
	  .help = "channels kept ready for sessions that enter here" },
	{ CONFIG_SECTION_PEER, "max_channels", CONFIG_KIND_INT,
	  .offset = IN_PEER(max_channels), .fallback = "10000",
	  .min = 1, .max = 1000000,
	  .help = "channels to this peer at a time" },

	{ CONFIG_SECTION_HEARTBEAT, "interval", CONFIG_KIND_SECONDS,
	  .offset = IN_PEER(heartbeat_interval), .fallback = "10",
	  .min = 0.05, .max = 3600,
	  .help = "seconds between two pings" },
	{ CONFIG_SECTION_HEARTBEAT, "timeout", CONFIG_KIND_SECONDS,
	  .offset = IN_PEER(heartbeat_timeout), .fallback = "30",
	  .min = 0.1, .max = 86400,
	  .help = "seconds of silence after which the link is lost" },
	{ CONFIG_SECTION_RECONNECT, "min", CONFIG_KIND_SECONDS,
	  .offset = IN_PEER(reconnect_min), .fallback = "0.5",
	  .min = 0.01, .max = 3600,
	  .help = "seconds before the first new try" },
	{ CONFIG_SECTION_RECONNECT, "max", CONFIG_KIND_SECONDS,
	  .offset = IN_PEER(reconnect_max), .fallback = "30",
	  .min = 0.01, .max = 86400,
	  .help = "the most seconds between two tries" },

	{ CONFIG_SECTION_TUNNEL, "name", CONFIG_KIND_NAME,
	  .offset = IN_TUNNEL(name), .required = true,
	  .help = "the same at both ends; unique for its peer" },
	{ CONFIG_SECTION_TUNNEL, "peer", CONFIG_KIND_NAME,
	  .offset = IN_TUNNEL(peer),
	  .help = "the peer that has the other end; none: both are here" },
	{ CONFIG_SECTION_TUNNEL, "type", CONFIG_KIND_WORD,
	  .offset = IN_TUNNEL(type), .fallback = "tcp",
	  .words = "tcp", .later = "udp socks5",
	  .help = "what it carries" },
	{ CONFIG_SECTION_TUNNEL, "mode", CONFIG_KIND_WORD,
	  .offset = IN_TUNNEL(mode), .fallback = "(peer.mode)", .words = "mux direct",
	  .help = "how a session reaches the peer" },
	{ CONFIG_SECTION_TUNNEL, "listen", CONFIG_KIND_LISTEN,
	  .offset = IN_TUNNEL(listen), .companion = IN_TUNNEL(has_listen),
	  .help = "where users arrive" },
	{ CONFIG_SECTION_TUNNEL, "connect", CONFIG_KIND_CONNECT,
	  .offset = IN_TUNNEL(connect), .companion = IN_TUNNEL(has_connect),
	  .help = "where the service is reached" },
	{ CONFIG_SECTION_TUNNEL, "allow", CONFIG_KIND_NETWORKS,
	  .offset = IN_TUNNEL(allow), .companion = IN_TUNNEL(n_allow),
	  .min = 1, .max = 65536,
	  .help = "the only networks that users may come from" },
	{ CONFIG_SECTION_TUNNEL, "deny", CONFIG_KIND_NETWORKS,
	  .offset = IN_TUNNEL(deny), .companion = IN_TUNNEL(n_deny),
	  .min = 0, .max = 65536,
	  .help = "networks that users may not come from" },
	{ CONFIG_SECTION_TUNNEL, "max_sessions", CONFIG_KIND_INT,
	  .offset = IN_TUNNEL(max_sessions), .fallback = "0",
	  .min = 0, .max = 1000000,
	  .help = "sessions at a time; 0: no limit" },
	{ CONFIG_SECTION_TUNNEL, "idle_timeout", CONFIG_KIND_SECONDS,
	  .offset = IN_TUNNEL(idle_timeout), .fallback = "0",
	  .min = 0, .max = 31536000,
	  .help = "seconds without a byte that end a session; 0: none" },
	{ CONFIG_SECTION_TUNNEL, "connect_timeout", CONFIG_KIND_SECONDS,
	  .offset = IN_TUNNEL(connect_timeout), .fallback = "10",
	  .min = 0.1, .max = 3600,
	  .help = "seconds that reaching the service may take" },
	{ CONFIG_SECTION_TUNNEL, "hold", CONFIG_KIND_SECONDS,
	  .offset = IN_TUNNEL(hold), .fallback = "10", .min = 0, .max = 3600,
	  .help = "seconds that a user waits while the link is down" },
	{ CONFIG_SECTION_TUNNEL, "max_held", CONFIG_KIND_INT,
	  .offset = IN_TUNNEL(max_held), .fallback = "256",
	  .min = 1, .max = 65536,
	  .help = "users that wait so at a time" },
	{ CONFIG_SECTION_TUNNEL, "on_change", CONFIG_KIND_ON_CHANGE,
	  .offset = IN_TUNNEL(on_change), .companion = IN_TUNNEL(drain_seconds),
	  .fallback = "keep", .words = "keep kill drain:SECONDS",
	  .min = 0.1, .max = 31536000,
	  .help = "what a reload that changes the tunnel does to sessions" },
};

const size_t config_options_count =
    sizeof(config_options) / sizeof(config_options[0]);

/* Keys of versions to come: refused by name, never taken for a typo. */
static const struct {
	enum config_section section; /* COUNT: any */
	const char *key;
} config_later[] = {
	{ CONFIG_SECTION_TUNNEL, "proxy_protocol" },
};

static const char *const config_kind_names[CONFIG_KIND_COUNT] = {
	[CONFIG_KIND_NAME] = "a string",
	[CONFIG_KIND_PATH] = "a string",
	[CONFIG_KIND_USER] = "a string",
	[CONFIG_KIND_GROUP] = "a string",
	[CONFIG_KIND_WORD] = "a string",
	[CONFIG_KIND_INT] = "a whole number",
	[CONFIG_KIND_INT64] = "a whole number",
	[CONFIG_KIND_SECONDS] = "a number of seconds",
	[CONFIG_KIND_BOOL] = "true or false",
	[CONFIG_KIND_LISTEN] = "a string",
	[CONFIG_KIND_CONNECT] = "a string",
	[CONFIG_KIND_LISTENS] = "a string or a list of strings",
	[CONFIG_KIND_NETWORKS] = "a string or a list of strings",
	[CONFIG_KIND_ON_CHANGE] = "a string",
};

/* The TYPE that config_options_print shows; of a WORD, its words. */
static const char *const config_kind_types[CONFIG_KIND_COUNT] = {
	[CONFIG_KIND_NAME] = "name",
	[CONFIG_KIND_PATH] = "path",
	[CONFIG_KIND_USER] = "user",
	[CONFIG_KIND_GROUP] = "group",
	[CONFIG_KIND_INT] = "integer",
	[CONFIG_KIND_INT64] = "integer",
	[CONFIG_KIND_SECONDS] = "seconds",
	[CONFIG_KIND_BOOL] = "true|false",
	[CONFIG_KIND_LISTEN] = "address",
	[CONFIG_KIND_CONNECT] = "address",
	[CONFIG_KIND_LISTENS] = "addresses",
	[CONFIG_KIND_NETWORKS] = "networks",
};

/* clang-format on */

const struct config_option *
config_option_find(enum config_section section, const char *key)
{
	for (size_t i = 0; i < config_options_count; i++)
		if (config_options[i].section == section &&
		    strcmp(config_options[i].key, key) == 0)
			return &config_options[i];
	return NULL;
}

enum config_section
config_section_find(enum config_section parent, const char *key)
{
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++)
		if (config_sections[i].parent == parent &&
		    strcmp(config_sections[i].key, key) == 0)
			return i;
	return CONFIG_SECTION_COUNT;
}

bool
config_option_is_later(enum config_section section, const char *key)
{
	size_t n = sizeof(config_later) / sizeof(config_later[0]);

	for (size_t i = 0; i < n; i++)
		if ((config_later[i].section == section ||
			config_later[i].section == CONFIG_SECTION_COUNT) &&
		    strcmp(config_later[i].key, key) == 0)
			return true;
	return false;
}

int
config_word_find(const char *words, const char *word)
{
	size_t len = strlen(word), n;
	int place = 0;

	while (*words != '\0') {
		n = strcspn(words, " ");
		if (n == len && memcmp(words, word, len) == 0)
			return place;
		words += n + strspn(words + n, " ");
		place++;
	}
	return -1;
}

const char *
config_kind_name(enum config_kind kind)
{
	return config_kind_names[kind];
}

int
config_option_set_text(const struct config_option *option, void *base,
    const char *text)
{
	char **member = (char **)((char *)base + option->offset);

	free(*member);
	*member = strdup(text);
	return *member == NULL ? -1 : 0;
}

void
config_option_set_number(const struct config_option *option, void *base,
    double value)
{
	char *member = (char *)base + option->offset;

	if (option->kind == CONFIG_KIND_INT)
		*(int *)member = (int)value;
	else if (option->kind == CONFIG_KIND_INT64)
		*(int64_t *)member = (int64_t)value;
	else
		*(double *)member = value;
}

_Static_assert(sizeof(enum log_level) == sizeof(unsigned), "enums are ints");

void
config_option_set_word(const struct config_option *option, void *base,
    int place)
{
	unsigned value = (unsigned)place;

	/* Copied, since the member is of one of several enum types. */
	memcpy((char *)base + option->offset, &value, sizeof(value));
}

static int
config_option_set_default(const struct config_option *option, void *base)
{
	if (option->fallback == NULL || option->fallback[0] == '(')
		return 0;
	switch (option->kind) {
	case CONFIG_KIND_WORD:
	case CONFIG_KIND_ON_CHANGE:
		config_option_set_word(option, base,
		    config_word_find(option->words, option->fallback));
		return 0;
	case CONFIG_KIND_INT:
	case CONFIG_KIND_INT64:
	case CONFIG_KIND_SECONDS:
		config_option_set_number(option, base,
		    strtod(option->fallback, NULL));
		return 0;
	case CONFIG_KIND_BOOL:
		*(bool *)((char *)base +
		    option->offset) = strcmp(option->fallback, "true") == 0;
		return 0;
	default:
		return config_option_set_text(option, base, option->fallback);
	}
}

/* Whether the struct of section holds the options of inner. */
static bool
config_section_holds(enum config_section section, enum config_section inner)
{
	return inner == section || config_sections[inner].parent == section;
}

int
config_section_set_defaults(enum config_section section, void *base)
{
	for (size_t i = 0; i < config_options_count; i++)
		if (config_section_holds(section, config_options[i].section) &&
		    config_option_set_default(&config_options[i], base) == -1)
			return -1;
	return 0;
}

static void
config_option_clear(const struct config_option *option, void *base)
{
	char *member = (char *)base + option->offset;

	switch (option->kind) {
	case CONFIG_KIND_NAME:
	case CONFIG_KIND_PATH:
	case CONFIG_KIND_USER:
	case CONFIG_KIND_GROUP:
		free(*(char **)member);
		*(char **)member = NULL;
		break;
	case CONFIG_KIND_LISTENS:
		free(*(struct addr **)member);
		*(struct addr **)member = NULL;
		break;
	case CONFIG_KIND_NETWORKS:
		free(*(struct addr_cidr **)member);
		*(struct addr_cidr **)member = NULL;
		break;
	default:
		break;
	}
}

void
config_section_clear(enum config_section section, void *base)
{
	for (size_t i = 0; i < config_options_count; i++)
		if (config_section_holds(section, config_options[i].section))
			config_option_clear(&config_options[i], base);
}

void
config_options_print(void (*line)(const char *text, void *arg), void *arg)
{
	const struct config_option *option;
	char type[64], text[512];

	for (size_t i = 0; i < config_options_count; i++) {
		option = &config_options[i];
		snprintf(type, sizeof(type), "%s",
		    option->words != NULL ? option->words :
					    config_kind_types[option->kind]);
		for (char *p = type; *p != '\0'; p++)
			if (*p == ' ')
				*p = '|';
		snprintf(text, sizeof(text), "%s\t%s\t%s\t%s",
		    config_sections[option->section].name, option->key, type,
		    option->fallback != NULL ? option->fallback : "-");
		line(text, arg);
	}
}
