/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_commands.h"
#include "admin_world.h"
#include "gateway.h"
#include "log.h"

/* world.admin is the one that is asked: the real commands, of a daemon with
 * one local tunnel "own" and no session. old is a worker that drains, with
 * commands that say what they were asked. */
static struct admin *old;
static struct admin_context context;
static char config_path[] = "/etc/x", edge[] = "edge", own_name[] = "own";
static struct config config = { .path = config_path, .daemon.name = edge };
static struct config_tunnel conf = { .refs = 1, .name = own_name };
static struct tunnel own;
static struct tunnels tunnels;
static struct peer_context peer_context;

#define PID 4711

/* --- The worker that drains -------------------------------------------------- */

static json_t *asked; /* args of the last kill, or sessions */
static char by[ADMIN_WHO_SIZE];
static const char *sulks;    /* it never answers this command, ... */
static const char *declines; /* ... and refuses this one */
static const char *code;     /* with this code */
static struct admin_request *sulking;

static void
sulked(void *arg)
{
	(void)arg;
	sulking = NULL;
}

/* Whether it is done with the request. */
static bool
is_moody(struct admin_request *request, const char *command)
{
	if (sulks != NULL && strcmp(sulks, command) == 0) {
		sulking = request;
		admin_request_on_cancel(request, sulked, NULL);
		return true;
	}
	if (declines == NULL || strcmp(declines, command) != 0)
		return false;
	admin_fail(request, code, "it says no");
	return true;
}

static void
old_version(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	if (is_moody(request, "version"))
		return;
	admin_answer(request,
	    json_pack("{s:s, s:i, s:s, s:n}", "version", "0.9", "sessions", 3,
		"draining_since", "2026-11-21T09:00:00.000Z", "until"));
}

static json_t *
rows_next(void *state, bool *more)
{
	*more = false;
	return state;
}

static void
answer_rows(struct admin_request *request, json_t *rows)
{
	admin_answer_list(request, rows_next, rows, NULL);
}

static void
old_tunnels(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	if (!is_moody(request, "tunnels"))
		answer_rows(request,
		    json_pack("[{s:s, s:s, s:s, s:i, s:f, s:f, s:n}]", "name",
			"web", "peer", "home", "state", "up", "sessions", 3,
			"up_rate", 1.5, "down_rate", 0.0, "worker"));
}

static void
old_sessions(struct admin_request *request, json_t *args, void *arg)
{
	(void)arg;
	json_decref(asked);
	asked = json_deep_copy(args);
	if (is_moody(request, "sessions"))
		return;
	if (json_object_get(args, "ids") == NULL)
		answer_rows(request,
		    json_pack("[{s:i}, {s:i}]", "id", 10, "id", 20));
	else if (json_integer_value(json_array_get(json_object_get(args, "ids"),
		     0)) == 10)
		answer_rows(request, json_pack("[{s:i}]", "id", 10));
	else
		answer_rows(request, json_array());
}

static void
old_kill(struct admin_request *request, json_t *args, void *arg)
{
	(void)arg;
	json_decref(asked);
	asked = json_deep_copy(args);
	admin_request_who(request, by, sizeof by);
	ck_assert(admin_request_is_relayed(request));
	if (!is_moody(request, "kill"))
		admin_answer(request,
		    json_pack("{s:[ii], s:[i]}", "killed", 10, 20, "not_found",
			30));
}

static const struct admin_command old_commands[] = {
	{ "version", false, old_version },
	{ "tunnels", false, old_tunnels },
	{ "sessions", false, old_sessions },
	{ "kill", true, old_kill },
	{ NULL, false, NULL },
};

/* --- Both --------------------------------------------------------------------- */

static void
no_error(const char *text, void *arg)
{
	(void)arg;
	ck_abort_msg("%s", text);
}

static void
add_tunnel(void)
{
	TAILQ_INIT(&tunnels.all);
	TAILQ_INIT(&tunnels.draining);
	TAILQ_INIT(&tunnels.refresh);
	TAILQ_INIT(&own.sessions);
	own.tunnels = &tunnels;
	own.conf = &conf;
	own.refs = 1;
	strcpy(own.label, "own");
	TAILQ_INSERT_TAIL(&tunnels.all, &own, entry);
	HASH_ADD_STR(tunnels.by_label, label, &own);
}

static struct events events;

static void
make_context(void)
{
	struct gateway_params params = {
		.loop = world.loop,
		.config = &config,
	};
	static char file[128];
	struct ledger_options options = {
		.path = file,
		.daemon = "edge",
		.version = "1",
	};

	snprintf(file, sizeof file, "%s/sessions.db", world.dir);
	peer_context.loop = tunnels.params.loop = world.loop;
	context.config = &config;
	context.version = "1.0";
	context.started_us = loop_wall_us();
	context.tunnels = &tunnels;
	context.peers = peers_new(&peer_context, &config);
	params.peers = context.peers;
	context.gateway = gateway_new(&params, no_error, NULL);
	events_init(&events);
	context.events = &events;
	context.ledger = ledger_new(world.loop, &options);
	context.workers = admin_workers_new(world.loop);
}

static void
add_worker(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(admin_adopt(old, fds[0]), 0);
	ck_assert_int_eq(admin_workers_add(context.workers, fds[1], PID), 0);
}

static void
setup(void)
{
	struct admin_options options = {
		.path = world.path,
		.owner = geteuid(),
		.commands = admin_commands_table(),
		.arg = &context,
	};
	char error[256], file[120];

	world_setup();
	admin_free(world.admin);
	world.admin = world_start(admin_new(world.loop, &options, error,
	    sizeof error));
	ck_assert_ptr_nonnull(world.admin);
	snprintf(file, sizeof file, "%s/old", world.dir);
	options.path = file;
	options.commands = old_commands;
	old = admin_new(world.loop, &options, error, sizeof error);
	ck_assert_ptr_nonnull(old);
	add_tunnel();
	make_context();
	add_worker();
	asked = NULL;
	sulks = declines = NULL;
	world_turns(5);
}

static void
teardown(void)
{
	char command[200];

	json_decref(asked);
	admin_free(world.admin);
	world.admin = NULL;
	admin_workers_free(context.workers);
	admin_free(old);
	gateway_free(context.gateway);
	peers_free(context.peers);
	ledger_free(context.ledger);
	HASH_CLEAR(hh, tunnels.by_label);
	snprintf(command, sizeof command, "rm -f %s/sessions.db* %s/old.lock",
	    world.dir, world.dir);
	ck_assert_int_eq(system(command), 0);
	world_teardown();
}

/* --- Asking ------------------------------------------------------------------- */

static struct world_client client;

static json_t *
order(const char *command, const char *args)
{
	char line[1000];
	json_t *answer;

	client = world_client_open();
	snprintf(line, sizeof line, "{\"cmd\":\"%s\",\"args\":%s}", command,
	    args);
	world_say(&client, line);
	answer = world_hear(&client);
	ck_assert_ptr_nonnull(answer);
	return answer;
}

static json_t *
data_of(json_t *answer)
{
	json_t *data = json_incref(json_object_get(answer, "data"));

	ck_assert_msg(data != NULL, "%s", json_dumps(answer, 0));
	json_decref(answer);
	world_client_close(&client);
	return data;
}

static void
refused(const char *command, const char *args, const char *wanted)
{
	world_check_error(order(command, args), wanted);
	world_client_close(&client);
}

/* All rows of a list; error: the code of what stands behind them, or NULL. */
static json_t *
rows_of(const char *command, const char *args, const char *error)
{
	json_t *answer = order(command, args), *rows = json_array();

	while (json_is_true(json_object_get(answer, "ok"))) {
		json_array_extend(rows, json_object_get(answer, "data"));
		if (!json_is_true(json_object_get(answer, "more")))
			break;
		json_decref(answer);
		answer = world_hear(&client);
		ck_assert_ptr_nonnull(answer);
	}
	if (error == NULL) {
		ck_assert(json_is_true(json_object_get(answer, "ok")));
		json_decref(answer);
	} else {
		ck_assert_ptr_nonnull(strstr(
		    json_string_value(json_object_get(json_object_get(answer,
							  "error"),
			"message")),
		    "worker 4711"));
		world_check_error(answer, error);
	}
	world_client_close(&client);
	return rows;
}

static void
is(json_t *value, const char *wanted)
{
	char *text = json_dumps(value,
	    JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);

	ck_assert_str_eq(text, wanted);
	free(text);
	json_decref(value);
}

static void
is_asked(const char *wanted)
{
	is(json_incref(asked), wanted);
}

static json_t *
member(json_t *object, const char *key)
{
	json_t *value = json_incref(json_object_get(object, key));

	ck_assert_ptr_nonnull(value);
	return value;
}

/* --- Looking ------------------------------------------------------------------ */

START_TEST(test_status)
{
	json_t *status = data_of(order("status", "{}"));
	json_t *daemon = json_object_get(status, "daemon");
	json_t *workers = json_object_get(status, "workers");
	json_t *rows = json_object_get(status, "tunnels");

	is(member(daemon, "sessions"), "3");
	is(member(daemon, "up_rate"), "1.5");
	is(member(daemon, "master"), "null");
	is(member(daemon, "replaced"), "false");
	ck_assert_uint_eq(json_array_size(workers), 2);
	is(member(json_array_get(workers, 0), "state"), "\"current\"");
	is(member(json_array_get(workers, 0), "sessions"), "0");
	is(json_incref(json_array_get(workers, 1)),
	    "{\"draining_since\":\"2026-11-21T09:00:00.000Z\",\"error\":null,"
	    "\"pid\":4711,\"sessions\":3,\"started_at\":null,"
	    "\"state\":\"draining\",\"until\":null,\"version\":\"0.9\"}");
	ck_assert_uint_eq(json_array_size(rows), 2);
	is(member(json_array_get(rows, 0), "name"), "\"own\"");
	is(member(json_array_get(rows, 0), "worker"), "null");
	is(member(json_array_get(rows, 1), "name"), "\"web\"");
	is(member(json_array_get(rows, 1), "worker"), "4711");
	is(member(json_array_get(rows, 1), "state"), "\"draining\"");
	json_decref(status);
}
END_TEST

START_TEST(test_status_silent)
{
	json_t *status, *worker;

	sulks = "tunnels";
	status = data_of(order("status", "{}"));
	worker = json_array_get(json_object_get(status, "workers"), 1);
	is(member(worker, "version"), "\"0.9\"");
	is(member(worker, "error"), "\"worker 4711 does not answer\"");
	json_decref(status);
}
END_TEST

START_TEST(test_tunnels)
{
	json_t *rows = rows_of("tunnels", "{}", NULL);

	ck_assert_uint_eq(json_array_size(rows), 2);
	is(member(json_array_get(rows, 1), "worker"), "4711");
	json_decref(rows);
	sulks = "tunnels";
	rows = rows_of("tunnels", "{}", "timeout");
	ck_assert_uint_eq(json_array_size(rows), 1);
	json_decref(rows);
}
END_TEST

START_TEST(test_sessions)
{
	is(rows_of("sessions", "{}", NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	is_asked("{}");
	/* A name that means something here means just that there. */
	is(rows_of("sessions", "{\"tunnel\":\"own\",\"older\":5}", NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	is_asked("{\"older\":5,\"tunnel\":\"/own\"}");
	is(rows_of("sessions", "{\"tunnel\":\"web\",\"peer\":\"home\"}", NULL),
	    "[{\"id\":10,\"worker\":4711},{\"id\":20,\"worker\":4711}]");
	is_asked("{\"peer\":\"home\",\"tunnel\":\"web\"}");
	refused("sessions", "{\"older\":-1}", "bad_request");
	sulks = "sessions";
	is(rows_of("sessions", "{}", "timeout"), "[]");
}
END_TEST

START_TEST(test_sessions_nowhere)
{
	declines = "sessions";
	code = "not_found";
	refused("sessions", "{\"tunnel\":\"none\"}", "not_found");
	refused("sessions", "{\"peer\":\"none\"}", "not_found");
	is(rows_of("sessions", "{\"tunnel\":\"own\"}", NULL), "[]");
	code = "bad_request"; /* ambiguous there */
	refused("sessions", "{\"tunnel\":\"none\"}", "bad_request");
	is(rows_of("sessions", "{}", "timeout"), "[]");
	/* It might have it. */
	sulks = "sessions";
	is(rows_of("sessions", "{\"tunnel\":\"none\"}", "timeout"), "[]");
}
END_TEST

START_TEST(test_session)
{
	is(data_of(order("session", "{\"id\":10}")),
	    "{\"id\":10,\"worker\":4711}");
	is_asked("{\"ids\":[10]}");
	refused("session", "{\"id\":11}", "not_found");
	sulks = "sessions";
	refused("session", "{\"id\":10}", "not_found");
}
END_TEST

/* --- Changing ----------------------------------------------------------------- */

/* The last row of the table of changes. */
static void
last_change(const char *command, const char *detail)
{
	json_t *rows, *row;

	/* What is written is read, a moment later. */
	for (int i = 0;; i++) {
		rows = rows_of("changes", "{\"limit\":1}", NULL);
		row = json_array_get(rows, 0);
		if (row != NULL || i == 100)
			break;
		json_decref(rows);
		world_run_for(0.05);
	}
	ck_assert_ptr_nonnull(row);
	ck_assert_str_eq(json_string_value(json_object_get(row, "command")),
	    command);
	ck_assert_str_eq(json_string_value(json_object_get(row, "detail")),
	    detail);
	json_decref(rows);
}

START_TEST(test_kill)
{
	char want[40];

	is(data_of(order("kill", "{\"ids\":[10,20,30,30]}")),
	    "{\"killed\":[10,20],\"not_found\":[30]}");
	is_asked("{\"ids\":[10,20,30,30]}");
	snprintf(want, sizeof want, "(uid %lu)", (unsigned long)geteuid());
	ck_assert_ptr_nonnull(strstr(by, want));
	last_change("kill", "ids 10 20 30 30: 2 sessions");
}
END_TEST

START_TEST(test_kill_tunnel)
{
	is(data_of(order("kill", "{\"tunnel\":\"own\"}")),
	    "{\"killed\":[10,20],\"not_found\":[]}");
	is_asked("{\"tunnel\":\"/own\"}");
	is(data_of(order("kill", "{\"tunnel\":\"gone\"}")),
	    "{\"killed\":[10,20],\"not_found\":[]}");
	declines = "kill";
	code = "not_found";
	refused("kill", "{\"tunnel\":\"none\"}", "not_found");
	refused("kill", "{}", "bad_request");
	is(data_of(order("kill", "{\"ids\":[10,20]}")),
	    "{\"killed\":[],\"not_found\":[10,20]}");
}
END_TEST

START_TEST(test_kill_silent)
{
	sulks = "kill";
	is(data_of(order("kill", "{\"ids\":[10]}")),
	    "{\"killed\":[],\"not_found\":[],\"unreachable\":[4711]}");
}
END_TEST

/* What the worker did is recorded all the same. */
START_TEST(test_kill_and_go)
{
	client = world_client_open();
	sulks = "kill";
	world_say(&client, "{\"cmd\":\"kill\",\"args\":{\"older\":1}}");
	while (sulking == NULL)
		world_turn();
	world_client_close(&client);
	world_turns(20);
	admin_answer(sulking,
	    json_pack("{s:[i], s:[]}", "killed", 10, "not_found"));
	sulking = NULL;
	last_change("kill",
	    "older than 1 s: 1 session, then whoever asked was gone");
}
END_TEST

START_TEST(test_disable)
{
	is(data_of(order("disable", "{\"tunnel\":\"own\",\"kill\":true}")),
	    "{\"changed\":true,\"disabled\":true,\"killed\":[10,20],"
	    "\"kind\":\"tunnel\",\"name\":\"own\"}");
	is_asked("{\"tunnel\":\"/own\"}");
	last_change("disable", "tunnel own: 2 sessions killed");
	sulks = "kill";
	is(data_of(order("disable", "{\"tunnel\":\"own\",\"kill\":true}")),
	    "{\"changed\":false,\"disabled\":true,\"killed\":[],"
	    "\"kind\":\"tunnel\",\"name\":\"own\",\"unreachable\":[4711]}");
	is(data_of(order("disable", "{\"tunnel\":\"own\"}")),
	    "{\"changed\":false,\"disabled\":true,\"killed\":[],"
	    "\"kind\":\"tunnel\",\"name\":\"own\"}");
	refused("disable", "{\"tunnel\":\"web\",\"kill\":true}", "not_found");
}
END_TEST

/* The worker dies while it is asked. */
START_TEST(test_worker_dies)
{
	client = world_client_open();
	sulks = "sessions";
	world_say(&client, "{\"id\":1,\"cmd\":\"sessions\"}");
	while (sulking == NULL)
		world_turn();
	admin_free(old);
	old = NULL;
	world_check_json(world_hear(&client),
	    "{\"data\":[],\"id\":1,\"ok\":true}");
	world_client_close(&client);
	is(rows_of("sessions", "{}", NULL), "[]");
	is(data_of(order("kill", "{\"ids\":[10]}")),
	    "{\"killed\":[],\"not_found\":[10]}");
}
END_TEST

/* Whoever asks is gone at any time; so is the daemon. */
START_TEST(test_client_goes)
{
	static const char *const commands[] = { "status", "tunnels", "sessions",
		"session\",\"args\":{\"id\":5},\"x\":\"" };
	char line[100];

	sulks = _i < 2 ? "tunnels" : "sessions";
	client = world_client_open();
	snprintf(line, sizeof line, "{\"id\":1,\"cmd\":\"%s\"}", commands[_i]);
	world_say(&client, line);
	while (sulking == NULL)
		world_turn();
	if (_i % 2 == 0) {
		world_client_close(&client);
		world_turns(20);
	}
	admin_free(world.admin);
	world.admin = NULL;
	world_turns(5);
	world_client_close(&client);
}
END_TEST

/* --- One that drains ---------------------------------------------------------- */

START_TEST(test_draining)
{
	static const char *const orders[][2] = {
		{ "reload", "{}" },
		{ "upgrade", "{}" },
		{ "disable", "{\"name\":\"own\"}" },
		{ "enable", "{\"name\":\"own\"}" },
		{ "test", "{\"tunnel\":\"own\"}" },
		{ "disconnect", "{\"peer\":\"home\"}" },
	};
	json_t *version;

	context.draining_us = 1000000;
	context.drain_until_us = 61000000;
	for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
		refused(orders[i][0], orders[i][1], "refused");
	version = data_of(order("version", "{}"));
	is(member(version, "state"), "\"draining\"");
	is(member(version, "draining_since"), "\"1970-01-01T00:00:01.000Z\"");
	is(member(version, "until"), "\"1970-01-01T00:01:01.000Z\"");
	json_decref(version);
	/* It asks nobody. */
	is(rows_of("sessions", "{}", NULL), "[]");
	is(rows_of("tunnels", "{}", NULL), "[]");
	refused("sessions", "{\"tunnel\":\"web\"}", "not_found");
	context.draining_us = context.drain_until_us = 0;
}
END_TEST

/* --- upgrade ------------------------------------------------------------------ */

static admin_upgraded_fn *upgraded;
static void *upgraded_arg;

static void
upgrade_later(admin_upgraded_fn *done, void *done_arg, void *arg)
{
	ck_assert_ptr_eq(arg, &upgraded);
	upgraded = done;
	upgraded_arg = done_arg;
}

static void
upgrade_fails(admin_upgraded_fn *done, void *done_arg, void *arg)
{
	struct admin_upgraded outcome = { .why = "it was not ready in 30 s" };

	(void)arg;
	done(&outcome, done_arg);
}

static bool
replaced(void *arg)
{
	return arg == &upgraded;
}

START_TEST(test_upgrade)
{
	static const struct admin_upgraded outcome = {
		.ok = true,
		.pid = 12,
		.version = "2.0",
		.old_pid = 11,
		.sessions = 5,
	};

	refused("upgrade", "{}", "refused");
	context.master = 10;
	context.upgrade_arg = &upgraded;
	context.replaced = replaced;
	context.upgrade = upgrade_fails;
	refused("upgrade", "{}", "refused");
	refused("upgrade", "{\"now\":true}", "bad_request");
	context.upgrade = upgrade_later;
	for (int i = 0; i < 2; i++) {
		upgraded = NULL;
		client = world_client_open();
		world_say(&client, "{\"id\":1,\"cmd\":\"upgrade\"}");
		while (upgraded == NULL)
			world_turn();
		/* The second one does not wait for it. */
		if (i == 1)
			world_client_close(&client);
		world_turns(20);
		upgraded(&outcome, upgraded_arg);
		if (i == 0)
			world_check_json(world_hear(&client),
			    "{\"data\":{\"old_pid\":11,\"pid\":12,"
			    "\"sessions\":5,\"version\":\"2.0\"},\"id\":1,"
			    "\"ok\":true}");
		world_client_close(&client);
	}
	last_change("upgrade", "to 2.0: worker 12 after 11");
	json_t *version = data_of(order("version", "{}"));
	is(member(version, "master"), "10");
	is(member(version, "replaced"), "true");
	json_decref(version);
	context.master = 0;
	context.replaced = NULL;
}
END_TEST

static TCase *
make_case(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return tc;
}

int
main(void)
{
	Suite *suite = suite_create("admin_merge");
	SRunner *runner;
	TCase *tc;
	int failed;

	tc = make_case(suite, "looking");
	tcase_add_test(tc, test_status);
	tcase_add_test(tc, test_status_silent);
	tcase_add_test(tc, test_tunnels);
	tcase_add_test(tc, test_sessions);
	tcase_add_test(tc, test_sessions_nowhere);
	tcase_add_test(tc, test_session);
	tc = make_case(suite, "changing");
	tcase_add_test(tc, test_kill);
	tcase_add_test(tc, test_kill_tunnel);
	tcase_add_test(tc, test_kill_silent);
	tcase_add_test(tc, test_kill_and_go);
	tcase_add_test(tc, test_disable);
	tc = make_case(suite, "ends");
	tcase_add_test(tc, test_worker_dies);
	tcase_add_loop_test(tc, test_client_goes, 0, 4);
	tc = make_case(suite, "draining");
	tcase_add_test(tc, test_draining);
	tc = make_case(suite, "upgrade");
	tcase_add_test(tc, test_upgrade);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
