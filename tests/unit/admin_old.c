/* SPDX-License-Identifier: ISC */
#include "admin_old.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway.h"

struct admin *old;
struct admin_context context;
static char config_path[] = "/etc/x", edge[] = "edge", own_name[] = "own";
static struct config config = { .path = config_path, .daemon.name = edge };
static struct config_tunnel conf = { .refs = 1, .name = own_name };
static struct tunnel own;
static struct tunnels tunnels;
static struct peer_context peer_context;

/* --- The worker that drains -------------------------------------------------- */

static json_t *asked; /* args of the last kill, or sessions */
char by[ADMIN_WHO_SIZE];
const char *sulks;    /* it never answers this command, ... */
const char *declines; /* ... and refuses this one */
const char *code;     /* with this code */
struct admin_request *sulking;

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
	ck_assert_int_eq(admin_workers_add(context.workers, fds[1], OLD_PID),
	    0);
}

void
old_setup(void)
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

void
old_teardown(void)
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

struct world_client client;

json_t *
old_order(const char *command, const char *args)
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

json_t *
old_data(json_t *answer)
{
	json_t *data = json_incref(json_object_get(answer, "data"));

	ck_assert_msg(data != NULL, "%s", json_dumps(answer, 0));
	json_decref(answer);
	world_client_close(&client);
	return data;
}

void
old_refused(const char *command, const char *args, const char *wanted)
{
	world_check_error(old_order(command, args), wanted);
	world_client_close(&client);
}

/* All rows of a list; error: the code of what stands behind them, or NULL. */
json_t *
old_rows(const char *command, const char *args, const char *error)
{
	json_t *answer = old_order(command, args), *rows = json_array();

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

void
old_is(json_t *value, const char *wanted)
{
	char *text = json_dumps(value,
	    JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);

	ck_assert_str_eq(text, wanted);
	free(text);
	json_decref(value);
}

void
old_is_asked(const char *wanted)
{
	old_is(json_incref(asked), wanted);
}

json_t *
old_member(json_t *object, const char *key)
{
	json_t *value = json_incref(json_object_get(object, key));

	ck_assert_ptr_nonnull(value);
	return value;
}
