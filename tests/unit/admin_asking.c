/* SPDX-License-Identifier: ISC */
#include "admin_asking.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct admin_workers *workers;
int done;

void
asking_setup(void)
{
	world_setup();
	workers = admin_workers_new(world.loop);
	ck_assert_ptr_nonnull(workers);
	done = 0;
}

void
asking_teardown(void)
{
	admin_workers_free(workers);
	world_teardown();
}

void
asking_done(void *arg)
{
	ck_assert_ptr_eq(arg, &done);
	done++;
}

static void
join(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
}

/* A worker that answers. */
void
asking_add(pid_t pid)
{
	int fds[2];

	join(fds);
	ck_assert_int_eq(admin_adopt(world.admin, fds[0]), 0);
	ck_assert_int_eq(admin_workers_add(workers, fds[1], pid), 0);
}

/* One whose end is held here. */
struct world_client
asking_script(pid_t pid)
{
	struct world_client script = { .buf = malloc(8 << 20) };
	int fds[2];

	join(fds);
	ck_assert_int_eq(admin_workers_add(workers, fds[1], pid), 0);
	script.fd = fds[0];
	return script;
}

struct admin_ask *
asking_ask(const char *command, json_t *args)
{
	struct admin_question question = { .command = command, .args = args };
	struct admin_ask *result;

	result = admin_workers_ask(workers, &question, asking_done, &done);
	ck_assert_ptr_nonnull(result);
	json_decref(args);
	return result;
}

/* Waits for so many calls. */
void
asking_await(int n, double seconds)
{
	double end = loop_now(world.loop) + seconds;

	while (done < n) {
		ck_assert_msg(loop_now(world.loop) < end, "%d of %d are done",
		    done, n);
		world_turn();
		usleep(200);
	}
}

/* What the script was asked, by its id. */
json_int_t
asking_heard(struct world_client *script, const char *command)
{
	json_t *line = world_hear(script);
	json_int_t id = json_integer_value(json_object_get(line, "id"));

	ck_assert_str_eq(json_string_value(json_object_get(line, "cmd")),
	    command);
	json_decref(line);
	return id;
}

void __attribute__((format(printf, 2, 3)))
asking_say(struct world_client *script, const char *fmt, ...)
{
	char text[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	world_say(script, text);
}

void
asking_poll(struct world_client *script, int sessions)
{
	asking_say(script,
	    "{\"id\":%d,\"ok\":true,\"data\":{\"version\":\"1\","
	    "\"sessions\":%d}}",
	    (int)asking_heard(script, "version"), sessions);
}

size_t
asking_rows(struct admin_ask *asked, json_int_t pid)
{
	bool more = true;
	size_t n = 0, i;
	json_t *rows, *row;

	while (more) {
		rows = admin_ask_next(asked, &more);
		ck_assert(json_is_array(rows));
		ck_assert_uint_le(json_array_size(rows), ADMIN_ROWS_MAX);
		json_array_foreach(rows, i, row)
		{
			n += json_integer_value(json_object_get(row,
				 "worker")) == pid;
		}
		json_decref(rows);
	}
	return n;
}
