/* SPDX-License-Identifier: ISC */
#include "config_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_config.h"
#include "config_options.h"

#define FILE_SIZE 16384

/* A peer and tunnels of each kind, and every option of its section but those
 * that stand here. */
static const struct {
	enum config_section section;
	const char *text;
	const char *own; /* keys that are not to be added */
} groups[] = {
	{ CONFIG_SECTION_DAEMON, "daemon = {", "" },
	{ CONFIG_SECTION_GATEWAY, "}; gateway = {", "" },
	{ CONFIG_SECTION_METRICS, "}; metrics = {", "" },
	{ CONFIG_SECTION_PEER,
	    "}; peers = ( { name = \"p\"; secret_file = \"$D/secret\";",
	    " name secret_file " },
	{ CONFIG_SECTION_HEARTBEAT, "heartbeat = {", "" },
	{ CONFIG_SECTION_RECONNECT, "}; reconnect = {", "" },
	{ CONFIG_SECTION_TUNNEL,
	    "}; }, { name = \"q\"; secret_file = \"$D/secret\"; } ); tunnels = ("
	    "{ name = \"e\"; peer = \"p\"; listen = \"unix:/tmp/e\";",
	    " name peer listen connect " },
	{ CONFIG_SECTION_TUNNEL,
	    "}, { name = \"x\"; peer = \"q\"; connect = \"[::1]:22\"; }, "
	    "{ name = \"l\"; connect = \"unix:/tmp/l\";",
	    " name peer connect " },
};

/* A value that is not the default. */
static void
put_value(FILE *file, const struct config_option *option)
{
	double number = option->fallback == NULL ||
		option->kind == CONFIG_KIND_WORD ?
	    0 :
	    strtod(option->fallback, NULL);

	switch (option->kind) {
	case CONFIG_KIND_NAME:
		fprintf(file, "\"some.NAME\"");
		break;
	case CONFIG_KIND_PATH:
		fprintf(file, "\"$D/%s\"", option->key);
		break;
	case CONFIG_KIND_USER:
	case CONFIG_KIND_GROUP:
		fprintf(file, "\"root\"");
		break;
	case CONFIG_KIND_WORD:
		fprintf(file, "\"%.*s\"", (int)strcspn(option->words, " "),
		    option->words);
		break;
	case CONFIG_KIND_INT:
	case CONFIG_KIND_INT64:
		fprintf(file, "%.0f", number + 1);
		break;
	case CONFIG_KIND_SECONDS:
		fprintf(file, "%.6f", number * 1.5 + 0.25);
		break;
	case CONFIG_KIND_BOOL:
		fprintf(file, "%s",
		    strcmp(option->fallback, "true") == 0 ? "false" : "true");
		break;
	case CONFIG_KIND_LISTEN:
		fprintf(file, "\"127.0.0.1:0\"");
		break;
	case CONFIG_KIND_CONNECT:
		fprintf(file, "\"host.example.org:80\"");
		break;
	case CONFIG_KIND_LISTENS:
		fprintf(file, "[ \"[::1]:0\", \":7000\", \"unix:/tmp/g\" ]");
		break;
	case CONFIG_KIND_NETWORKS:
		fprintf(file, "[ \"10.0.0.0/8\", \"2001:db8::/32\", \"::1\" ]");
		break;
	case CONFIG_KIND_ON_CHANGE:
		fprintf(file, "\"drain:12.5\"");
		break;
	case CONFIG_KIND_COUNT:
		ck_abort();
	}
}

static void
put_options(FILE *file, enum config_section section, const char *own)
{
	char key[64];

	for (size_t i = 0; i < config_options_count; i++) {
		snprintf(key, sizeof key, " %s ", config_options[i].key);
		if (config_options[i].section != section ||
		    strstr(own, key) != NULL)
			continue;
		fprintf(file, "%s = ", config_options[i].key);
		put_value(file, &config_options[i]);
		fprintf(file, ";\n");
	}
}

/* What is null is left out, and a group that holds nothing else. */
static bool
is_null(const json_t *value)
{
	const char *key;
	json_t *inner;

	json_object_foreach((json_t *)value, key,
	    inner) if (!is_null(inner)) return false;
	return json_is_object(value) || json_is_null(value);
}

static void
put_json(FILE *file, const json_t *value)
{
	const char *key;
	json_t *inner;
	size_t i;

	if (json_is_object(value)) {
		fprintf(file, "{ ");
		json_object_foreach((json_t *)value, key, inner)
		{
			if (is_null(inner))
				continue;
			fprintf(file, "%s = ", key);
			put_json(file, inner);
			fprintf(file, ";\n");
		}
		fprintf(file, "}");
	} else if (json_is_array(value)) {
		fprintf(file, "( ");
		json_array_foreach(value, i, inner)
		{
			fprintf(file, "%s", i > 0 ? ", " : "");
			put_json(file, inner);
		}
		fprintf(file, ")");
	} else if (json_is_string(value)) {
		fprintf(file, "\"%s\"", json_string_value(value));
	} else if (json_is_boolean(value)) {
		fprintf(file, "%s", json_is_true(value) ? "true" : "false");
	} else if (json_is_integer(value)) {
		fprintf(file, "%lldL", json_integer_value(value));
	} else {
		ck_assert(json_is_real(value));
		fprintf(file, "%.17f", json_real_value(value));
	}
}

/* As it is written on the admin socket. */
static json_t *
say(void)
{
	json_t *root = config_json(check_config.config), *heard;
	char *text;

	ck_assert_ptr_nonnull(root);
	text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12));
	ck_assert_ptr_null(strstr(text, CHECK_CONFIG_SECRET));
	heard = json_loads(text, 0, NULL);
	free(text);
	json_decref(root);
	return heard;
}

static void
load_back(const json_t *root)
{
	char text[FILE_SIZE] = "";
	FILE *file = fmemopen(text, sizeof text, "w");
	const char *key;
	json_t *section;

	json_object_foreach((json_t *)root, key, section)
	{
		fprintf(file, "%s = ", key);
		put_json(file, section);
		fprintf(file, ";\n");
	}
	ck_assert_int_eq(fclose(file), 0);
	check_config_good(text);
}

static void
check_same(void)
{
	json_t *first = say(), *second;

	load_back(first);
	second = say();
	ck_assert_msg(json_equal(first, second), "%s\n%s", json_dumps(first, 0),
	    json_dumps(second, 0));
	json_decref(first);
	json_decref(second);
}

static json_t *
group_of(json_t *root, enum config_section section)
{
	const struct config_section_info *info = &config_sections[section];
	json_t *outer = info->parent == CONFIG_SECTION_TOP ?
	    root :
	    group_of(root, info->parent);
	json_t *group = json_object_get(outer, info->key);

	return info->is_list ? json_array_get(group, 0) : group;
}

/* Every option that can be is set, and is said. */
START_TEST(test_all)
{
	char text[FILE_SIZE] = "";
	FILE *file = fmemopen(text, sizeof text, "w");
	json_t *root, *value;

	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		fprintf(file, "%s\n", groups[i].text);
		put_options(file, groups[i].section, groups[i].own);
	}
	fprintf(file, "} );\n");
	ck_assert_int_eq(fclose(file), 0);
	check_config_good(text);
	root = say();
	for (size_t i = 0; i < config_options_count; i++) {
		const struct config_option *option = &config_options[i];

		value = json_object_get(group_of(root, option->section),
		    option->key);
		ck_assert_msg(value != NULL, "%s.%s is missing",
		    config_sections[option->section].name, option->key);
		/* An entry has no connect. */
		ck_assert_msg(!json_is_null(value) ||
			(option->section == CONFIG_SECTION_TUNNEL &&
			    strcmp(option->key, "connect") == 0),
		    "%s.%s is null", config_sections[option->section].name,
		    option->key);
	}
	json_decref(root);
	check_same();
}
END_TEST

START_TEST(test_nothing)
{
	json_t *root, *daemon;

	check_config_good("daemon = { name = \"edge1\"; };");
	root = say();
	for (int i = CONFIG_SECTION_TOP + 1; i < CONFIG_SECTION_COUNT; i++)
		if (config_sections[i].parent == CONFIG_SECTION_TOP)
			ck_assert_ptr_nonnull(json_object_get(root,
			    config_sections[i].key));
	ck_assert_uint_eq(json_array_size(json_object_get(root, "peers")), 0);
	daemon = json_object_get(root, "daemon");
	ck_assert_str_eq(json_string_value(json_object_get(daemon, "name")),
	    "edge1");
	ck_assert_int_eq(json_integer_value(json_object_get(daemon,
			     "retention_days")),
	    90);
	ck_assert(json_is_null(json_object_get(daemon, "user")));
	json_decref(root);
	check_same();
}
END_TEST

START_TEST(test_values)
{
	json_t *root, *tunnel, *peer;
	char *text;

	check_config_good(
	    "daemon = { name = \"edge1\"; max_rows = 5000000000L; };\n"
	    "gateway = { listen = \":0\"; };\n"
	    "peers = ( { name = \"homelab\"; secret_file = \"$D/secret\";\n"
	    "  security = \"plain\"; heartbeat = { interval = 0.3; }; } );\n"
	    "tunnels = ( { name = \"db\"; listen = \"127.0.0.1:80\";\n"
	    "  connect = \"h:81\"; deny = \"10.0.0.0/8\"; } );\n");
	root = say();
	ck_assert_int_eq(json_integer_value(json_object_get(
			     json_object_get(root, "daemon"), "max_rows")),
	    5000000000);
	peer = json_array_get(json_object_get(root, "peers"), 0);
	text = json_dumps(json_object_get(peer, "heartbeat"),
	    JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(12));
	ck_assert_str_eq(text, "{\"interval\":0.3,\"timeout\":30.0}");
	free(text);
	ck_assert_str_eq(json_string_value(json_object_get(peer, "security")),
	    "plain");
	ck_assert_str_eq(json_string_value(json_object_get(peer, "as")),
	    "edge1");
	ck_assert(json_is_null(json_object_get(peer, "connect")));
	peer = json_object_get(peer, "reconnect");
	ck_assert(json_is_null(json_object_get(peer, "min")));
	tunnel = json_array_get(json_object_get(root, "tunnels"), 0);
	ck_assert(json_is_null(json_object_get(tunnel, "allow")));
	ck_assert(json_is_null(json_object_get(tunnel, "peer")));
	text = json_dumps(json_object_get(tunnel, "deny"), JSON_COMPACT);
	ck_assert_str_eq(text, "[\"10.0.0.0/8\"]");
	free(text);
	json_decref(root);
	check_same();
}
END_TEST

TCase *
check_config_json(void)
{
	TCase *tc = tcase_create("json");

	tcase_add_checked_fixture(tc, check_config_setup,
	    check_config_teardown);
	tcase_add_test(tc, test_all);
	tcase_add_test(tc, test_nothing);
	tcase_add_test(tc, test_values);
	return tc;
}
