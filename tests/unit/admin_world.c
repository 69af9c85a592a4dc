/* SPDX-License-Identifier: ISC */
#include "admin_world.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

struct world world;

/* --- The commands ------------------------------------------------------- */

static void
run_echo(struct admin_request *request, json_t *args, void *arg)
{
	ck_assert_ptr_eq(arg, &world.pending);
	admin_answer(request, json_incref(args));
}

static void
run_fail(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	admin_fail(request, "not_found", "no \xc3\xa4nimal %d \xff", 7);
}

static void
run_null(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	admin_answer(request, NULL);
}

static void
run_who(struct admin_request *request, json_t *args, void *arg)
{
	char who[ADMIN_WHO_SIZE];

	(void)args;
	(void)arg;
	admin_answer(request,
	    json_string(admin_request_who(request, who, sizeof who)));
}

/* {bytes: N}: an answer of that size. */
static void
run_big(struct admin_request *request, json_t *args, void *arg)
{
	size_t size = (size_t)json_integer_value(json_object_get(args,
	    "bytes"));
	char *text = malloc(size + 1);

	(void)arg;
	memset(text, 'x', size);
	text[size] = '\0';
	admin_answer(request, json_string(text));
	free(text);
}

static void
on_cancel(void *arg)
{
	ck_assert_ptr_eq(arg, &world.cancelled);
	world.cancelled++;
	world.pending = NULL;
}

static void
run_later(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	ck_assert_ptr_null(world.pending);
	world.pending = request;
	admin_request_on_cancel(request, on_cancel, &world.cancelled);
}

json_t *
world_list_next(void *arg, bool *more)
{
	struct world_list *state = arg;
	json_t *rows = json_array();

	world.pieces++;
	for (int i = 0; i < ADMIN_ROWS_MAX && state->next < state->end; i++)
		json_array_append_new(rows,
		    json_pack("{s:I, s:s}", "id", state->next++, "source",
			"192.0.2.1:1234"));
	*more = state->next < state->end;
	return rows;
}

void
world_list_release(void *arg)
{
	world.released++;
	free(arg);
}

/* {rows: N} */
static void
run_list(struct admin_request *request, json_t *args, void *arg)
{
	struct world_list *state = calloc(1, sizeof *state);

	(void)arg;
	state->end = json_integer_value(json_object_get(args, "rows"));
	admin_answer_list(request, world_list_next, state, world_list_release);
}

static json_t *
broken_next(void *arg, bool *more)
{
	*more = true;
	return ++*(int *)arg < 3 ? json_array() : NULL;
}

static void
run_broken(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	admin_answer_list(request, broken_next, &world.pieces, NULL);
}

static void
on_stream_cancel(void *arg)
{
	ck_assert_ptr_eq(arg, &world.cancelled);
	world.cancelled++;
	if (world.farewell != NULL)
		admin_stream_send(world.stream, world.farewell);
	world.stream = NULL;
}

static void
on_stream_ready(void *arg)
{
	ck_assert_ptr_eq(arg, &world.cancelled);
	world.readied++;
}

static void
run_stream(struct admin_request *request, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	ck_assert_ptr_null(world.stream);
	world.stream = request;
	admin_request_on_cancel(request, on_stream_cancel, &world.cancelled);
	admin_stream_begin(request, on_stream_ready);
}

const struct admin_command world_commands[] = {
	{ "echo", false, run_echo },
	{ "fail", false, run_fail },
	{ "null", false, run_null },
	{ "who", false, run_who },
	{ "big", false, run_big },
	{ "later", false, run_later },
	{ "list", false, run_list },
	{ "broken", false, run_broken },
	{ "stream", false, run_stream },
	{ "change", true, run_echo },
	{ NULL, false, NULL },
};

/* --- Running the world.loop, and clients -------------------------------- */

void
world_turn(void)
{
	event_base_loop(loop_base(world.loop), EVLOOP_NONBLOCK);
}

/* Some turns of the world.loop, for what is expected not to happen. */
void
world_turns(int n)
{
	while (n-- > 0)
		world_turn();
}

void
world_run_for(double seconds)
{
	double end = loop_now(world.loop) + seconds;

	while (loop_now(world.loop) < end) {
		world_turn();
		usleep(1000);
	}
}

struct admin *
world_open(const char *group, char *error, size_t size)
{
	return world_open_groups(group, NULL, error, size);
}

struct admin *
world_open_groups(const char *group, const char *read_group, char *error,
    size_t size)
{
	struct admin_options options = {
		.path = world.path,
		.group = group,
		.read_group = read_group,
		.owner = geteuid(),
		.commands = world_commands,
		.arg = &world.pending,
		.stall = WORLD_STALL,
	};

	return world_start(admin_new(world.loop, &options, error, size));
}

struct admin *
world_start(struct admin *admin)
{
	if (admin != NULL)
		admin_start(admin);
	return admin;
}

int
world_dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, world.path);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct world_client
world_client_open(void)
{
	struct world_client client = { .fd = world_dial() };

	ck_assert_int_ne(client.fd, -1);
	client.buf = malloc(8 << 20);
	return client;
}

void
world_client_close(struct world_client *client)
{
	if (client->fd != -1)
		close(client->fd);
	client->fd = -1;
	free(client->buf);
	client->buf = NULL;
}

void
world_say_bytes(struct world_client *client, const char *data, size_t len)
{
	double end = loop_now(world.loop) + 5;
	ssize_t n;

	while (len > 0) {
		n = send(client->fd, data, len, MSG_NOSIGNAL);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (errno == EPIPE) {
			return;
		}
		world_turn();
		ck_assert_msg(loop_now(world.loop) < end,
		    "the daemon does not read");
	}
}

void
world_say(struct world_client *client, const char *text)
{
	world_say_bytes(client, text, strlen(text));
	world_say_bytes(client, "\n", 1);
}

/* The next line as JSON, NULL at end of input or after 5 s. */
json_t *
world_hear(struct world_client *client)
{
	double end = loop_now(world.loop) + 5;
	json_t *json;
	char *lf;
	ssize_t n;

	while ((lf = memchr(client->buf, '\n', client->len)) == NULL) {
		world_turn();
		n = recv(client->fd, client->buf + client->len, 65536, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN) ||
		    loop_now(world.loop) > end)
			return NULL;
		client->len += n > 0 ? (size_t)n : 0;
	}
	json = json_loadb(client->buf, (size_t)(lf - client->buf), 0, NULL);
	ck_assert_ptr_nonnull(json);
	client->len -= (size_t)(lf + 1 - client->buf);
	memmove(client->buf, lf + 1, client->len);
	return json;
}

bool
world_is_closed(struct world_client *client)
{
	double end = loop_now(world.loop) + 5;
	char byte;

	while (loop_now(world.loop) < end) {
		world_turn();
		ssize_t n = recv(client->fd, &byte, 1, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
	}
	return false;
}

/* Frees the answer. want is its whole text, sorted and compact. */
void
world_check_json(json_t *answer, const char *want)
{
	char *got;

	ck_assert_ptr_nonnull(answer);
	got = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
	ck_assert_str_eq(got, want);
	free(got);
	json_decref(answer);
}

void
world_check_error(json_t *answer, const char *code)
{
	json_t *error = json_object_get(answer, "error");

	ck_assert_ptr_nonnull(answer);
	ck_assert(json_is_false(json_object_get(answer, "ok")));
	ck_assert_str_eq(json_string_value(json_object_get(error, "code")),
	    code);
	ck_assert(json_is_string(json_object_get(error, "message")));
	ck_assert_ptr_nonnull(json_object_get(answer, "id"));
	json_decref(answer);
}

void
world_check_works(struct world_client *client)
{
	world_say(client, "{\"id\":99,\"cmd\":\"echo\",\"args\":{\"a\":1}}");
	world_check_json(world_hear(client),
	    "{\"data\":{\"a\":1},\"id\":99,\"ok\":true}");
}

void
world_setup(void)
{
	char error[256] = "";

	signal(SIGPIPE, SIG_IGN);
	log_open(LOG_TARGET_STDERR, LOG_LEVEL_ERROR);
	strcpy(world.dir, "/tmp/check_admin.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world.dir));
	snprintf(world.path, sizeof world.path, "%s/run/admin.sock", world.dir);
	world.loop = loop_new();
	world.admin = world_open(NULL, error, sizeof error);
	ck_assert_msg(world.admin != NULL, "%s", error);
	world.pending = world.stream = NULL;
	world.farewell = NULL;
	world.cancelled = world.released = world.pieces = world.readied = 0;
}

void
world_teardown(void)
{
	char name[120];

	admin_free(world.admin);
	loop_free(world.loop);
	ck_assert_int_ne(access(world.path, F_OK), 0);
	snprintf(name, sizeof name, "%s.lock", world.path);
	ck_assert_int_eq(unlink(name), 0);
	snprintf(name, sizeof name, "%s/run", world.dir);
	ck_assert_int_eq(rmdir(name), 0);
	rmdir(world.dir);
}
