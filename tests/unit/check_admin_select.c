/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_select.h"
#include "admin_world.h"
#include "log.h"
#include "session.h"

/* Two peers with a tunnel "ssh" each, a local one of that name, and "own";
 * four sessions in them. None of them is real but for what is looked at. */
static struct config_peer conf_peers[2] = { { .refs = 1 }, { .refs = 1 } };
static struct config_peer *peers[] = { &conf_peers[0], &conf_peers[1] };
static struct config config = { .peers = peers, .n_peers = 2 };
static struct config_tunnel conf_tunnels[5];
static struct tunnel all[5];
static struct tunnels tunnels;
static struct session sessions[4];
static struct peer_context peer_context;
static struct admin_context context;
/* What the command "select" was answered with, and found. */
static struct admin_selectors found;

static void
add_tunnel(int i, char *peer, char *name)
{
	conf_tunnels[i].refs = 1;
	conf_tunnels[i].name = name;
	conf_tunnels[i].peer = peer;
	all[i].tunnels = &tunnels;
	all[i].conf = &conf_tunnels[i];
	config_tunnel_label(all[i].conf, all[i].label, sizeof all[i].label);
	TAILQ_INSERT_TAIL(&tunnels.all, &all[i], entry);
	HASH_ADD_STR(tunnels.by_label, label, &all[i]);
	if (peer != NULL)
		all[i].peer = peers_find(context.peers, peer);
}

/* age: seconds ago. */
static void
add_session(int i, int tunnel, const char *source, int age)
{
	struct session *session = &sessions[i];

	session->id = (i + 1) * 10;
	session->tunnel = &all[tunnel];
	session->state = i == 3 ? SESSION_OPENING : SESSION_OPEN;
	session->opened_us = loop_wall_us() - age * (int64_t)1000000;
	ck_assert_int_eq(addr_sock_parse(source, &session->source), 0);
	HASH_ADD(hh_id, tunnels.by_id, id, sizeof session->id, session);
	TAILQ_INSERT_TAIL(&tunnels.refresh, session, in_refresh);
	tunnels.n_sessions++;
}

/* {how, args}: reads selectors, or looks for a name. */
static void
run_select(struct admin_request *request, json_t *args, void *arg)
{
	ck_assert_ptr_eq(arg, &context);
	if (!admin_arg_selectors(request, args, &context, &found))
		return;
	admin_answer(request, json_true());
}

static void
run_find(struct admin_request *request, json_t *args, void *arg)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	struct tunnel *tunnel;
	struct peer *peer;

	(void)arg;
	if (!admin_find_any(request, &context, name, &tunnel, &peer))
		return;
	ck_assert((tunnel == NULL) != (peer == NULL));
	admin_answer(request,
	    json_string(tunnel != NULL ? tunnel->label : peer_name(peer)));
}

static void
run_find_tunnel(struct admin_request *request, json_t *args, void *arg)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	struct tunnel *tunnel;

	(void)arg;
	tunnel = admin_find_tunnel(request, &tunnels, name);
	if (tunnel != NULL)
		admin_answer(request, json_string(tunnel->label));
}

static const struct admin_command commands[] = {
	{ "select", false, run_select },
	{ "find", false, run_find },
	{ "tunnel", false, run_find_tunnel },
	{ NULL, false, NULL },
};

static void
setup(void)
{
	struct admin_options options = {
		.path = world.path,
		.owner = geteuid(),
		.commands = commands,
		.arg = &context,
	};
	char error[256];

	world_setup();
	admin_free(world.admin);
	world.admin = admin_new(world.loop, &options, error, sizeof error);
	ck_assert_ptr_nonnull(world_start(world.admin));
	peer_context.loop = tunnels.params.loop = world.loop;
	conf_peers[0].name = "home";
	conf_peers[1].name = "shed";
	conf_peers[0].reconnect_min = conf_peers[1].reconnect_min = 1;
	conf_peers[0].reconnect_max = conf_peers[1].reconnect_max = 1;
	context.tunnels = &tunnels;
	context.peers = peers_new(&peer_context, &config);
	TAILQ_INIT(&tunnels.refresh);
	TAILQ_INIT(&tunnels.all);
	TAILQ_INIT(&tunnels.draining);
	add_tunnel(0, "home", "ssh");
	add_tunnel(1, "shed", "ssh");
	add_tunnel(2, NULL, "ssh");
	add_tunnel(3, NULL, "own");
	add_tunnel(4, "home", "shed");
	add_session(0, 0, "192.0.2.7:1000", 100);
	add_session(1, 1, "[2001:db8::1]:1000", 50);
	add_session(2, 3, "unix:", 10);
	add_session(3, 4, "192.0.2.8:5", 0);
}

static void
teardown(void)
{
	HASH_CLEAR(hh, tunnels.by_label);
	HASH_CLEAR(hh_id, tunnels.by_id);
	peers_free(context.peers);
	world_teardown();
}

/* The answer to one command, and what is in it. */
static json_t *
order(const char *command, const char *args)
{
	struct world_client client = world_client_open();
	char line[1000];
	json_t *answer;

	snprintf(line, sizeof line, "{\"cmd\":\"%s\",\"args\":%s}", command,
	    args);
	world_say(&client, line);
	answer = world_hear(&client);
	world_client_close(&client);
	ck_assert_ptr_nonnull(answer);
	return answer;
}

static const struct {
	const char *args;
	const char *ids;     /* of those that fit */
	const char *missing; /* of the ids that were given */
} selects[] = {
	{ "{}", "10 20 30 40", "" },
	{ "{\"tunnel\":\"home/ssh\"}", "10", "" },
	{ "{\"tunnel\":\"own\"}", "30", "" },
	{ "{\"tunnel\":\"/own\"}", "30", "" },
	{ "{\"tunnel\":\"/ssh\"}", "", "" },
	{ "{\"peer\":\"home\"}", "10 40", "" },
	{ "{\"peer\":\"home\",\"tunnel\":\"ssh\"}", "10", "" },
	{ "{\"peer\":\"shed\",\"tunnel\":\"home/ssh\"}", "", "" },
	{ "{\"peer\":\"home\",\"tunnel\":\"own\"}", "", "" },
	{ "{\"source\":\"192.0.2.7\"}", "10", "" },
	{ "{\"source\":\"192.0.2.0/24\"}", "10 40", "" },
	{ "{\"source\":\"0.0.0.0/0\"}", "10 40", "" },
	{ "{\"source\":\"::/0\"}", "20", "" },
	{ "{\"source\":\"[2001:db8::1]\"}", "20", "" },
	{ "{\"source\":\"::ffff:192.0.2.7\"}", "10", "" },
	{ "{\"source\":\"unix:\"}", "30", "" },
	{ "{\"older\":0}", "10 20 30 40", "" },
	{ "{\"older\":50}", "10 20", "" },
	{ "{\"older\":50.5}", "10", "" },
	{ "{\"older\":1e300}", "", "" },
	{ "{\"idle\":5,\"older\":20}", "10 20", "" },
	{ "{\"idle\":1000}", "", "" },
	{ "{\"ids\":[]}", "", "" },
	{ "{\"ids\":[30,10,10,99,-1,99]}", "10 30", "-1 99" },
	{ "{\"ids\":[30,10],\"source\":\"unix:\"}", "30", "" },
	{ "{\"ids\":null,\"peer\":null,\"older\":null,\"source\":null}",
	    "10 20 30 40", "" },
};

START_TEST(test_select)
{
	char got[100] = "", lost[100] = "";
	json_t *args = json_loads(selects[_i].args, 0, NULL);
	json_t *missing = json_array(), *value;
	int64_t *ids;
	size_t i, n;

	world_check_json(order("select", selects[_i].args),
	    "{\"data\":true,\"id\":null,\"ok\":true}");
	/* ids belong to the request, which is gone. */
	found.ids = json_object_get(args, "ids");
	if (json_is_null(found.ids))
		found.ids = NULL;
	ids = admin_select(&context, &found, missing, &n);
	ck_assert_ptr_nonnull(ids);
	for (i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d",
		    i > 0 ? " " : "", (int)ids[i]);
	json_array_foreach(missing, i, value)
	    snprintf(lost + strlen(lost), sizeof lost - strlen(lost), "%s%d",
		i > 0 ? " " : "", (int)json_integer_value(value));
	ck_assert_str_eq(got, selects[_i].ids);
	ck_assert_str_eq(lost, selects[_i].missing);
	ck_assert_int_eq(found.any,
	    strcmp(selects[_i].args, "{}") != 0 &&
		strstr(selects[_i].args, "null") == NULL);
	free(ids);
	json_decref(missing);
	json_decref(args);
}
END_TEST

START_TEST(test_open_only)
{
	struct admin_selectors open = { .open_only = true };
	int64_t *ids;
	size_t n;

	ids = admin_select(&context, &open, NULL, &n);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(ids[2], 30);
	free(ids);
}
END_TEST

static const struct {
	const char *command, *args, *code;
} refused[] = {
	{ "select", "{\"sorce\":\"192.0.2.7\"}", "bad_request" },
	{ "select", "{\"tunnel\":\"own\",\"\":1}", "bad_request" },
	{ "select", "{\"ids\":1}", "bad_request" },
	{ "select", "{\"ids\":[1,\"2\"]}", "bad_request" },
	{ "select", "{\"ids\":[1.5]}", "bad_request" },
	{ "select", "{\"source\":\"192.0.2.7:80\"}", "bad_request" },
	{ "select", "{\"source\":\"192.0.2.7/24\"}", "bad_request" },
	{ "select", "{\"source\":\"[]\"}", "bad_request" },
	{ "select", "{\"source\":\"\"}", "bad_request" },
	{ "select", "{\"source\":\"unix:/x\"}", "bad_request" },
	{ "select", "{\"source\":17}", "bad_request" },
	{ "select", "{\"older\":-1}", "bad_request" },
	{ "select", "{\"older\":\"5\"}", "bad_request" },
	{ "select", "{\"idle\":false}", "bad_request" },
	{ "select", "{\"tunnel\":\"ssh\"}", "bad_request" },
	{ "select", "{\"tunnel\":5}", "bad_request" },
	{ "select", "{\"tunnel\":\"home/none\"}", "not_found" },
	{ "select", "{\"tunnel\":\"/shed\"}", "not_found" },
	{ "select", "{\"tunnel\":\"\"}", "not_found" },
	{ "select", "{\"tunnel\":\"/\"}", "not_found" },
	{ "select", "{\"peer\":\"\xc3\xa4\"}", "not_found" },
	{ "find", "{\"name\":\"none\"}", "not_found" },
	{ "find", "{\"name\":\"ssh\"}", "bad_request" },
	{ "find", "{\"name\":\"shed\"}", "bad_request" },
	{ "tunnel", "{\"name\":\"ssh\"}", "bad_request" },
};

START_TEST(test_refused)
{
	world_check_error(order(refused[_i].command, refused[_i].args),
	    refused[_i].code);
}
END_TEST

static void
check_message(const char *command, const char *args, const char *want)
{
	json_t *answer = order(command, args), *error;

	error = json_object_get(answer, "error");
	ck_assert_str_eq(json_string_value(json_object_get(error, "message")),
	    want);
	json_decref(answer);
}

START_TEST(test_names)
{
	static const char *const plain[][2] = {
		{ "{\"name\":\"own\"}", "own" },
		{ "{\"name\":\"/ssh\"}", "ssh" },
		{ "{\"name\":\"shed/ssh\"}", "shed/ssh" },
		{ "{\"name\":\"home\"}", "home" },
	};
	json_t *answer;
	size_t i;

	for (i = 0; i < 4; i++) {
		answer = order("find", plain[i][0]);
		ck_assert_str_eq(json_string_value(json_object_get(answer,
				     "data")),
		    plain[i][1]);
		json_decref(answer);
	}
	check_message("tunnel", "{\"name\":\"ssh\"}",
	    "ssh is ambiguous, say one of home/ssh, shed/ssh, /ssh");
	check_message("find", "{\"name\":\"shed\"}",
	    "shed is ambiguous, it may be tunnel home/shed, peer shed");
}
END_TEST

START_TEST(test_words)
{
	struct admin_selectors what = { 0 };
	const char *why;
	char buf[160];
	json_t *ids;

	ck_assert_str_eq(admin_select_describe(&what, buf, sizeof buf), "");
	what.by_source = true;
	addr_cidr_parse("192.0.2.0/24", &what.source, &why);
	what.older = 3600;
	ck_assert_str_eq(admin_select_describe(&what, buf, sizeof buf),
	    "source 192.0.2.0/24, older than 3600 s");
	what.unix_source = true;
	what.idle = 1.5;
	what.ids = ids = json_loads("[1,2,3,4,5,6,7,8,9,10]", 0, NULL);
	ck_assert_str_eq(admin_select_describe(&what, buf, sizeof buf),
	    "ids 1 2 3 4 5 6 7 8 and 2 more, source unix:, "
	    "older than 3600 s, idle for 1.5 s");
	ck_assert_uint_lt(strlen(admin_select_describe(&what, buf, 20)), 20);
	json_decref(ids);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("admin_select");
	TCase *tc = tcase_create("admin_select");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_select, 0,
	    (int)(sizeof selects / sizeof selects[0]));
	tcase_add_loop_test(tc, test_refused, 0,
	    (int)(sizeof refused / sizeof refused[0]));
	tcase_add_test(tc, test_open_only);
	tcase_add_test(tc, test_names);
	tcase_add_test(tc, test_words);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
