/* SPDX-License-Identifier: ISC */
#include "admin_client.h"

#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "log.h"

/* To whoever is to ask another process of this daemon. */
#define UPGRADED "tunneld is being upgraded: ask again"

/* The request is answered, or nobody waits for the answer any more. */
static void
request_end(struct admin_request *request)
{
	request->client->request = NULL;
	if (request->release != NULL)
		request->release(request->state);
	json_decref(request->root);
	json_decref(request->id);
	free(request->end_text);
	free(request);
}

void
admin_request_cancel(struct admin_request *request)
{
	/* What is called may have the client dropped: not again for this. */
	request->client->request = NULL;
	if (request->cancel != NULL)
		request->cancel(request->cancel_arg);
	request_end(request);
}

/* Ends the request and hands over its id, for the answer. */
static json_t *
request_take_id(struct admin_request *request)
{
	json_t *id = json_incref(request->id);

	request_end(request);
	return id;
}

/* What went wrong, as JSON; NULL out of memory. */
static json_t *
make_error(const char *code, char *text)
{
	json_t *message = json_string(text);

	if (message == NULL) {
		/* Not UTF-8, or a character was cut in the middle. */
		for (char *c = text; *c != '\0'; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
		message = json_string(text);
	}
	return json_pack("{s:s, s:o}", "code", code, "message", message);
}

/* Takes id and error; id NULL means null. */
static void
client_send_error(struct admin_client *client, json_t *id, json_t *error)
{
	admin_client_send(client,
	    json_pack("{s:o?, s:b, s:o}", "id", id, "ok", 0, "error", error));
}

void
admin_request_error(struct admin_client *client, const char *code, char *text)
{
	client_send_error(client, NULL, make_error(code, text));
}

void
admin_answer(struct admin_request *request, json_t *data)
{
	struct admin_client *client = request->client;

	if (data == NULL) {
		admin_fail(request, "unavailable", "out of memory");
		return;
	}
	admin_client_send(client,
	    json_pack("{s:o, s:b, s:o}", "id", request_take_id(request), "ok",
		1, "data", data));
}

void
admin_fail(struct admin_request *request, const char *code, const char *fmt,
    ...)
{
	struct admin_client *client = request->client;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	client_send_error(client, request_take_id(request),
	    make_error(code, text));
}

void
admin_refuse(struct admin_request *request, json_t *details, const char *fmt,
    ...)
{
	struct admin_client *client = request->client;
	char text[512];
	json_t *error;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	error = make_error("refused", text);
	if (details != NULL &&
	    json_object_set_new(error, "details", details) != 0) {
		json_decref(error);
		error = NULL;
	}
	client_send_error(client, request_take_id(request), error);
}

void
admin_answer_list(struct admin_request *request, admin_next_fn *next,
    void *state, void (*release)(void *state))
{
	request->cancel = NULL;
	request->next = next;
	request->state = state;
	request->release = release;
	admin_client_wake(request->client);
}

void
admin_list_end(struct admin_request *request, const char *code, const char *fmt,
    ...)
{
	char *text;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	free(request->end_text);
	request->end_code = code;
	request->end_text = len < 0 ? NULL : text;
}

void
admin_request_on_cancel(struct admin_request *request, void (*fn)(void *arg),
    void *arg)
{
	request->cancel = fn;
	request->cancel_arg = arg;
}

/* Takes rows; NULL: out of memory. */
static void
request_send_piece(struct admin_request *request, json_t *rows)
{
	json_t *message = NULL;

	if (rows != NULL)
		message = json_pack("{s:O, s:b, s:o, s:b}", "id", request->id,
		    "ok", 1, "data", rows, "more", 1);
	admin_client_send(request->client, message);
}

void
admin_stream_begin(struct admin_request *request, void (*ready)(void *arg))
{
	request->ready = ready;
	request_send_piece(request, json_array());
}

bool
admin_stream_is_ready(const struct admin_request *request)
{
	return evbuffer_get_length(request->client->out) <= ADMIN_OUTPUT_MARK;
}

bool
admin_stream_send(struct admin_request *request, json_t *rows)
{
	struct admin_client *client = request->client;
	void (*cancel)(void *arg) = request->cancel;

	/* Who is told by what is returned is not told twice. */
	request->cancel = NULL;
	if (evbuffer_get_length(client->out) > ADMIN_STREAM_MAX) {
		json_decref(rows);
		admin_client_drop(client, "it does not take what it follows");
	} else {
		request_send_piece(request, rows);
	}
	if (client->dead)
		return false;
	request->cancel = cancel;
	return true;
}

void
admin_stream_fail(struct admin_request *request, const char *code,
    const char *why)
{
	request->client->last = true;
	admin_fail(request, code, "%s", why);
}

/* What it had to say before is said: its owner is told that it is over. */
void
admin_request_leave(struct admin_request *request)
{
	struct admin_client *client = request->client;

	client->request = NULL;
	if (request->cancel != NULL)
		request->cancel(request->cancel_arg);
	request->cancel = NULL;
	client->last = true;
	admin_fail(request, "upgraded", UPGRADED);
}

bool
admin_request_is_relayed(const struct admin_request *request)
{
	return request->client->peer.adopted &&
	    json_is_string(json_object_get(request->root, "by"));
}

uid_t
admin_request_uid(const struct admin_request *request)
{
	const json_t *uid = json_object_get(request->root, "uid");

	if (request->client->peer.adopted && json_is_integer(uid))
		return (uid_t)json_integer_value(uid);
	return request->client->peer.uid;
}

char *
admin_request_who(const struct admin_request *request, char *buf, size_t size)
{
	uid_t uid = request->client->peer.uid;
	struct passwd entry, *found = NULL;
	char strings[1024], name[40];
	const char *by;

	if (admin_request_is_relayed(request)) {
		by = json_string_value(json_object_get(request->root, "by"));
		/* Escaped already, by the other process. */
		snprintf(buf, size, "%s", by);
		return buf;
	}
	/* A longer entry than fits is as good as none. */
	if (getpwuid_r(uid, &entry, strings, sizeof strings, &found) != 0 ||
	    found == NULL)
		snprintf(name, sizeof name, "?");
	else
		log_escape(name, sizeof name, found->pw_name,
		    strlen(found->pw_name));
	snprintf(buf, size, "%s (uid %lu)", name, (unsigned long)uid);
	return buf;
}

void
admin_request_continue(struct admin_client *client)
{
	struct admin_request *request = client->request;
	bool more = false;
	json_t *rows = request->next(request->state, &more);

	if (rows == NULL) {
		admin_fail(request, "unavailable", "out of memory");
	} else if (more) {
		request_send_piece(request, rows);
	} else if (request->end_code == NULL) {
		admin_answer(request, rows);
	} else {
		request_send_piece(request, rows);
		/* That may have been too much for it. */
		if (!client->dead)
			admin_fail(request, request->end_code, "%s",
			    request->end_text != NULL ? request->end_text :
							"incomplete");
	}
}

static const struct admin_command *
find_command(const struct admin_clients *clients, const char *name)
{
	const struct admin_command *command;

	for (command = clients->commands; command->name != NULL; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

/* The request is well-formed: may it, and can it be done? */
static void
request_dispatch(struct admin_request *request, const char *name, json_t *args)
{
	struct admin_client *client = request->client;
	const struct admin_command *command;
	char shown[80];

	log_escape(shown, sizeof shown, name, strlen(name));
	if (client->clients->leaving && !client->peer.adopted) {
		client->last = true;
		admin_fail(request, "upgraded", UPGRADED);
		return;
	}
	command = find_command(client->clients, name);
	if (command != NULL &&
	    (command->changes ? client->peer.may_change :
				client->peer.may_look)) {
		command->run(request, args, client->clients->arg);
		return;
	}
	if (command != NULL) {
		if (admin_client_log_refusal(client->clients))
			log_info("admin: uid %lu: %s: not permitted",
			    (unsigned long)client->peer.uid, shown);
		admin_fail(request, "not_permitted",
		    "not permitted, only %s may", client->clients->may_change);
	} else {
		admin_fail(request, "unknown_command", "%s: no such command",
		    shown);
	}
}

/* 0 if the request has an id that can be given back, or none. */
static int
request_read_id(struct admin_request *request)
{
	json_t *id = json_object_get(request->root, "id");

	if (id == NULL)
		return 0;
	if (!json_is_integer(id) && !json_is_string(id))
		return -1;
	if (json_is_string(id) && json_string_length(id) > ADMIN_ID_MAX)
		return -1;
	request->id = json_incref(id);
	return 0;
}

/* Takes root, an object. */
static void
client_run(struct admin_client *client, json_t *root)
{
	struct admin_request *request = calloc(1, sizeof *request);
	json_t *command, *args;

	if (request == NULL) {
		json_decref(root);
		admin_client_drop(client, "out of memory");
		return;
	}
	request->client = client;
	request->root = root;
	request->id = json_null();
	client->request = request;
	if (request_read_id(request) != 0) {
		admin_fail(request, "bad_request",
		    "id must be an integer or "
		    "a string of at most %d bytes",
		    ADMIN_ID_MAX);
		return;
	}
	command = json_object_get(root, "cmd");
	if (!json_is_string(command)) {
		admin_fail(request, "bad_request",
		    command == NULL ? "cmd is missing" :
				      "cmd must be a string");
		return;
	}
	args = json_object_get(root, "args");
	if (args == NULL) {
		args = json_object();
		/* Takes args also on failure, which leaves none to be used. */
		if (json_object_set_new(root, "args", args) != 0) {
			admin_fail(request, "unavailable", "out of memory");
			return;
		}
	}
	if (!json_is_object(args)) {
		admin_fail(request, "bad_request", "args must be an object");
		return;
	}
	request_dispatch(request, json_string_value(command), args);
}

/* One line, without its line feed. */
void
admin_request_begin(struct admin_client *client, const char *line, size_t len)
{
	json_error_t error;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	char shown[120], text[200];

	if (json_is_object(root)) {
		client_run(client, root);
		return;
	}
	if (root != NULL) {
		json_decref(root);
		snprintf(text, sizeof text, "not a JSON object");
		admin_request_error(client, "bad_request", text);
		return;
	}
	log_escape(shown, sizeof shown, error.text, strlen(error.text));
	snprintf(text, sizeof text, "byte %d: %s", error.position, shown);
	admin_request_error(client, "bad_json", text);
}
