/* SPDX-License-Identifier: ISC */
/* What config_diff sees, and what config_share makes one. */
#include "config_diff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_config.h"
#include "config_json.h"
#include "config_rows.h"

#define FILE_SIZE 8192

/* The caller's reference; check_config keeps one of the last load. */
static struct config *
load(const char *text)
{
	check_config_good(text);
	return config_ref(check_config.config);
}

static struct config *
load_rows(const struct config_row *changed)
{
	char text[FILE_SIZE] = "";

	config_rows_write(changed, text, sizeof(text));
	return load(text);
}

/*
 * The difference in short: "what section name key,key" for each item, with ';'
 * between. Checks that no secret is in it.
 */
static const char *
show(const json_t *diff)
{
	static char out[4096];
	json_t *item, *key;
	const char *name;
	char *text = json_dumps(diff, 0);
	size_t i, j, n = 0;

	ck_assert_ptr_nonnull(text);
	ck_assert_ptr_null(strstr(text, CHECK_CONFIG_SECRET));
	free(text);
	out[0] = '\0';
	json_array_foreach(diff, i, item)
	{
		name = json_string_value(json_object_get(item, "name"));
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s %s %s",
		    i > 0 ? "; " : "",
		    json_string_value(json_object_get(item, "what")),
		    json_string_value(json_object_get(item, "section")),
		    name != NULL ? name : "-");
		json_array_foreach(json_object_get(item, "keys"), j, key)
		{
			n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s",
			    j > 0 ? "," : " ",
			    json_string_value(json_object_get(key, "key")));
		}
		ck_assert_uint_lt(n, sizeof(out));
	}
	return out;
}

static void
check_diff(const struct config *before, const struct config *after,
    const char *wanted)
{
	json_t *diff = config_diff(before, after);

	ck_assert_ptr_nonnull(diff);
	ck_assert_str_eq(show(diff), wanted);
	json_decref(diff);
}

static const void *
base_of(const struct config *config, enum config_section section)
{
	switch (section) {
	case DAEMON:
		return &config->daemon;
	case GATEWAY:
		return &config->gateway;
	case METRICS:
		return &config->metrics;
	case TUNNEL:
		return config->tunnels[0];
	default:
		return config->peers[0];
	}
}

/* The one key of the one item of diff. */
static const json_t *
only_key(const json_t *diff)
{
	return json_array_get(json_object_get(json_array_get(diff, 0), "keys"),
	    0);
}

static void
check_value(const json_t *key, const char *which,
    const struct config_option *option, const struct config *config)
{
	json_t *value = config_json_option(option,
	    base_of(config, option->section));

	ck_assert_ptr_nonnull(json_object_get(key, which));
	ck_assert(json_equal(json_object_get(key, which), value));
	json_decref(value);
}

static bool
needs_restart(const struct config_option *option)
{
	static const char keys[] = " name admin_socket database user sandbox ";
	char key[64];
	snprintf(key, sizeof(key), " %s ", option->key);
	return option->section == DAEMON && strstr(keys, key) != NULL;
}

/* The item that a change of the option is. */
static const char *
wanted_of(const struct config_option *option)
{
	static char out[128];
	bool is_peer = option->section == PEER ||
	    option->section == HEARTBEAT || option->section == RECONNECT;
	enum config_section section = is_peer ? PEER : option->section;

	snprintf(out, sizeof(out), "changed %s %s %s%s%s",
	    config_sections[section].name,
	    is_peer		  ? "p" :
		section == TUNNEL ? "t" :
				    "-",
	    section != option->section ? config_sections[option->section].key :
					 "",
	    section != option->section ? "." : "", option->key);
	return out;
}

START_TEST(each_option)
{
	const struct config_option *option = &config_options[_i];
	const struct config_row *row = config_row_of(option);
	struct config *before, *after;
	const json_t *key;
	json_t *diff;
	const char *wanted = wanted_of(option);
	bool is_peer = strncmp(wanted, "changed peer", 12) == 0;
	bool is_tunnel = option->section == TUNNEL;

	if (row->values[1] == config_rows_fixed) {
		ck_assert(option->kind == CONFIG_KIND_NAME ||
		    strchr(option->words, ' ') == NULL);
		return;
	}
	before = load_rows(NULL);
	after = load_rows(row);
	diff = config_diff(before, after);
	ck_assert_str_eq(show(diff), wanted);
	key = only_key(diff);
	check_value(key, "before", option, before);
	check_value(key, "after", option, after);
	ck_assert_int_eq(option->restart, needs_restart(option));
	ck_assert_int_eq(json_is_true(json_object_get(key, "restart")),
	    option->restart);
	ck_assert_int_eq(config_diff_needs_restart(diff), option->restart);
	json_decref(diff);

	config_share(after, before);
	ck_assert_int_eq(after->peers[0] == before->peers[0], !is_peer);
	ck_assert_int_eq(after->tunnels[0] == before->tunnels[0], !is_tunnel);
	check_diff(before, after, wanted);
	config_unref(before);
	config_unref(after);
}
END_TEST

START_TEST(nothing)
{
	struct config *before = load_rows(NULL), *after = load_rows(NULL);

	check_diff(before, after, "");
	check_diff(before, before, "");
	config_unref(before);
	config_unref(after);
}
END_TEST

/* Order is no difference; what goes stands behind what comes and stays. */
static const char first_text
    [] = "peers = ("
	 "{ name = \"a\"; connect = \"h:1\"; secret_file = \"$D/secret\"; },"
	 "{ name = \"b\"; connect = \"h:1\"; secret_file = \"$D/secret\"; },"
	 "{ name = \"c\"; connect = \"h:1\"; secret_file = \"$D/secret\"; });"
	 "tunnels = ("
	 "{ name = \"x\"; peer = \"a\"; connect = \"h:1\"; },"
	 "{ name = \"x\"; peer = \"b\"; connect = \"h:1\"; },"
	 "{ name = \"x\"; listen = \":1\"; connect = \"h:1\"; },"
	 "{ name = \"y\"; peer = \"b\"; connect = \"h:1\"; });";
static const char second_text
    [] = "tunnels = (\n"
	 "{ name = \"y\"; peer = \"b\"; connect = \"h:1\";"
	 "  on_change = \"kill\"; },"
	 "{ name = \"x\"; listen = \":1\"; connect = \"h:1\"; },"
	 "{ name = \"y\"; peer = \"d\"; connect = \"h:1\"; },"
	 "{ name = \"x\"; peer = \"b\"; connect = \"h:1\"; });\n"
	 "peers = ("
	 "{ name = \"d\"; connect = \"h:1\"; secret_file = \"$D/secret\"; },"
	 "{ name = \"b\"; connect = \"h:1\"; secret_file = \"$D/secret\";"
	 "  pool = 5; },"
	 "{ name = \"a\"; connect = \"h:1\"; secret_file = \"$D/secret\"; });";

START_TEST(moved)
{
	struct config *before = load(first_text), *after = load(second_text);

	check_diff(before, after,
	    "added peer d; changed peer b pool; "
	    "removed peer c; changed tunnel b/y on_change; added tunnel d/y; "
	    "removed tunnel a/x");
	config_share(after, before);
	ck_assert_ptr_eq(after->peers[2], before->peers[0]);
	ck_assert_ptr_ne(after->peers[1], before->peers[1]);
	ck_assert_ptr_eq(after->tunnels[1], before->tunnels[2]);
	ck_assert_ptr_eq(after->tunnels[3], before->tunnels[1]);
	ck_assert_ptr_ne(after->tunnels[0], before->tunnels[3]);
	ck_assert_int_eq(after->peers[2]->refs, 2);
	ck_assert_int_eq(after->peers[1]->refs, 1);
	ck_assert_ptr_eq(config_find_peer(after, "a"), before->peers[0]);
	ck_assert_ptr_eq(config_find_tunnel(after, NULL, "x"),
	    before->tunnels[2]);
	ck_assert_ptr_null(config_find_tunnel(after, "a", "x"));
	config_unref(before);
	ck_assert_int_eq(after->peers[2]->refs, 1);
	ck_assert_str_eq(after->peers[2]->name, "a");
	config_unref(after);
}
END_TEST

/* A tunnel of another peer, or of none, is another tunnel. */
START_TEST(another_peer)
{
	struct config *before, *after;

	before = load("peers = ( { name = \"a\"; connect = \"h:1\";"
		      "secret_file = \"$D/secret\"; } ); tunnels = ( {"
		      "name = \"x\"; connect = \"h:1\"; peer = \"a\"; } );");
	after = load("peers = ( { name = \"a\"; connect = \"h:1\";"
		     "secret_file = \"$D/secret\"; } ); tunnels = ( {"
		     "name = \"x\"; connect = \"h:1\"; listen = \":1\"; } );");
	check_diff(before, after, "added tunnel x; removed tunnel a/x");
	config_unref(before);
	config_unref(after);
}
END_TEST

START_TEST(all_gone)
{
	struct config *before = load_rows(NULL);
	struct config *after = load("daemon = { name = \"d\"; };");

	ck_assert(config_find_peer(after, "p") == NULL &&
	    config_find_tunnel(after, NULL, "t") == NULL);
	check_diff(before, after,
	    "changed daemon - admin_group,database,retention_days,log,"
	    "max_handshakes,max_handshakes_per_source,drain_timeout,sandbox; "
	    "changed gateway - listen; removed peer p; removed tunnel t");
	check_diff(after, before,
	    "changed daemon - admin_group,database,retention_days,log,"
	    "max_handshakes,max_handshakes_per_source,drain_timeout,sandbox; "
	    "changed gateway - listen; added peer p; added tunnel t");
	config_share(after, before);
	config_unref(before);
	config_unref(after);
}
END_TEST

/* Another secret in the same file; nothing tells which. */
START_TEST(secret)
{
	struct config *before = load_rows(NULL), *after;
	const json_t *key;
	json_t *diff;

	check_config_put("secret",
	    "b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldCBvdGhlciE=", 0600);
	after = load_rows(NULL);
	diff = config_diff(before, after);
	ck_assert_str_eq(show(diff), "changed peer p secret");
	key = only_key(diff);
	ck_assert(json_is_null(json_object_get(key, "before")));
	ck_assert(json_is_null(json_object_get(key, "after")));
	ck_assert(!config_diff_needs_restart(diff));
	json_decref(diff);
	config_share(after, before);
	ck_assert_ptr_ne(after->peers[0], before->peers[0]);
	ck_assert_ptr_eq(after->tunnels[0], before->tunnels[0]);
	config_unref(before);
	config_unref(after);
}
END_TEST

/* JSON shows both paths with a '?': they differ all the same. */
START_TEST(strange_path)
{
	struct config *before, *after;

	check_config_put("s\xff", CHECK_CONFIG_SECRET, 0600);
	check_config_put("s\xfe", CHECK_CONFIG_SECRET, 0600);
	before = load("peers = ( { name = \"p\"; connect = \"h:1\"; "
		      "secret_file = \"$D/s\xff\"; } );");
	after = load("peers = ( { name = \"p\"; connect = \"h:1\"; "
		     "secret_file = \"$D/s\xfe\"; } );");
	check_diff(before, after, "changed peer p secret_file");
	config_share(after, before);
	ck_assert_ptr_ne(after->peers[0], before->peers[0]);
	config_unref(before);
	config_unref(after);
}
END_TEST

/* From a peer that is dialled to one that comes: no reconnect any more. */
START_TEST(role)
{
	struct config *before, *after;
	json_t *diff, *keys, *key;
	size_t i;

	before = load("gateway = { listen = \":1\"; }; peers = ("
		      "{ name = \"p\"; secret_file = \"$D/secret\";"
		      "connect = \"h:1\"; reconnect = { min = 1; }; } );");
	after = load("gateway = { listen = \":1\"; }; peers = ("
		     "{ name = \"p\"; secret_file = \"$D/secret\"; } );");
	diff = config_diff(before, after);
	ck_assert_str_eq(show(diff), "changed peer p connect,reconnect.min");
	keys = json_object_get(json_array_get(diff, 0), "keys");
	json_array_foreach(keys, i, key)
	{
		ck_assert(json_is_null(json_object_get(key, "after")));
	}
	json_decref(diff);
	config_unref(before);
	config_unref(after);
}
END_TEST

/* Objects outlive the configs they came with; what is left is for ASan. */
START_TEST(references)
{
	struct config *config = load_rows(NULL), *next;
	const struct config_peer *peer = config_peer_ref(config->peers[0]);
	const struct config_tunnel *tunnel;

	tunnel = config_tunnel_ref(config->tunnels[0]);
	for (int i = 0; i < 20; i++) {
		next = load_rows(i % 2 == 0 ?
			NULL :
			config_row_of(config_option_find(TUNNEL, "hold")));
		config_share(next, config);
		config_share(next, config); /* again: nothing */
		config_share(next, next);
		ck_assert_ptr_eq(next->peers[0], peer);
		config_unref(config);
		config = next;
	}
	/* Ours, the config's; check_config has the same config. */
	ck_assert_int_eq(peer->refs, 2);
	ck_assert_int_eq(tunnel->refs, 1);
	ck_assert_int_eq(config->refs, 2);
	config_unref(config);
	check_config_good("");
	ck_assert_str_eq(peer->name, "p");
	ck_assert_str_eq(tunnel->name, "t");
	config_peer_unref(peer);
	config_tunnel_unref(tunnel);
	config_peer_unref(NULL);
	config_tunnel_unref(NULL);
}
END_TEST

TCase *
check_config_diff(void)
{
	TCase *tc = tcase_create("diff");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	tcase_add_loop_test(tc, each_option, 0, (int)config_options_count);
	tcase_add_test(tc, nothing);
	tcase_add_test(tc, moved);
	tcase_add_test(tc, another_peer);
	tcase_add_test(tc, all_gone);
	tcase_add_test(tc, secret);
	tcase_add_test(tc, strange_path);
	tcase_add_test(tc, role);
	tcase_add_test(tc, references);
	return tc;
}
