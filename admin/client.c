/* SPDX-License-Identifier: ISC */
#include "client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

struct client {
	int fd;
	const char *path;
	json_int_t id;	   /* of the last request */
	bool answered;	   /* a piece of it came */
	bool had_data;	   /* fn was called for it */
	bool told_details; /* of the last refusal */
	int patience;	   /* of it, in seconds */
	char code[32];	   /* of the last refusal */
	char *buf;	   /* what came and is not used yet */
	size_t len, size;
};

static const char *
connect_advice(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return "\nIs tunneld running? Another socket is named with "
		       "-s PATH or TUNNELD_SOCKET.";
	case ECONNREFUSED:
		return "\nNobody listens there: is tunneld running?";
	case EACCES:
	case EPERM:
		return "\nBecome root, or a member of the group that "
		       "daemon.admin_group names.";
	case EAGAIN:
		return "\nThe daemon is there but takes no connections.";
	default:
		return "";
	}
}

static void
set_patience(struct client *client, int seconds)
{
	struct timeval timeout = { .tv_sec = seconds };

	client->patience = seconds;
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout,
	    sizeof timeout);
	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
	    sizeof timeout);
}

struct client *
client_open(const char *path, char *error, size_t error_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct client *client = calloc(1, sizeof *client);

	if (client == NULL) {
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	client->path = path;
	client->fd = -1;
	if (strlen(path) == 0 || strlen(path) >= sizeof address.sun_path) {
		snprintf(error, error_size,
		    "cannot reach tunneld at %s: the "
		    "path of a socket has 1 to %zu bytes",
		    path, sizeof address.sun_path - 1);
		goto fail;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd == -1)
		goto fail_errno;
	set_patience(client, CLIENT_TIMEOUT);
	if (connect(client->fd, (struct sockaddr *)&address, sizeof address) !=
	    0)
		goto fail_errno;
	return client;
fail_errno:
	snprintf(error, error_size, "cannot reach tunneld at %s: %s%s", path,
	    strerror(errno), connect_advice(errno));
fail:
	client_close(client);
	return NULL;
}

void
client_close(struct client *client)
{
	if (client == NULL)
		return;
	if (client->fd != -1)
		close(client->fd);
	free(client->buf);
	free(client);
}

/*
 * 0, or -1 and errno. A daemon that hung up before it read all may have said
 * why, so that is not an error here.
 */
static int
send_all(struct client *client, const char *data, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = send(client->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0 : -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int
send_request(struct client *client, const struct client_request *request)
{
	json_t *root = json_pack("{s:I, s:s}", "id", ++client->id, "cmd",
	    request->command);
	char *text = NULL;
	int result = -1;

	errno = ENOMEM;
	if (request->args != NULL &&
	    json_object_set(root, "args", request->args) != 0)
		goto out;
	text = json_dumps(root, JSON_COMPACT);
	if (text == NULL)
		goto out;
	if (send_all(client, text, strlen(text)) == 0)
		result = send_all(client, "\n", 1);
out:
	free(text);
	json_decref(root);
	return result;
}

/* 1 if something came, 0 at the end, -1 and errno. */
static int
receive_some(struct client *client)
{
	size_t size = client->size == 0 ? 65536 : client->size * 2;
	char *buf;
	ssize_t n;

	if (client->len == client->size) {
		if (client->size >= CLIENT_LINE_MAX) {
			errno = EMSGSIZE;
			return -1;
		}
		buf = realloc(client->buf, size);
		if (buf == NULL)
			return -1;
		client->buf = buf;
		client->size = size;
	}
	do
		n = recv(client->fd, client->buf + client->len,
		    client->size - client->len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	client->len += (size_t)n;
	return n > 0;
}

static void
say_foreign(const struct client *client, char *error, size_t error_size)
{
	snprintf(error, error_size,
	    "what answers at %s does not speak this "
	    "version of tunneld's admin protocol",
	    client->path);
}

/* The next line as JSON, a new reference, or NULL and error. */
static json_t *
receive_line(struct client *client, char *error, size_t error_size)
{
	size_t searched = 0, used;
	char *lf = NULL;
	json_t *json;
	int more;

	while (client->len == searched ||
	    (lf = memchr(client->buf + searched, '\n',
		 client->len - searched)) == NULL) {
		searched = client->len;
		more = receive_some(client);
		if (more > 0)
			continue;
		if (more == 0 || errno == ECONNRESET)
			snprintf(error, error_size, "tunneld at %s hung up%s",
			    client->path,
			    client->answered ? "" : " before it had answered");
		else if (errno == EAGAIN)
			snprintf(error, error_size,
			    "tunneld at %s has not "
			    "answered for %d seconds: is it stopped or stuck?",
			    client->path, client->patience);
		else
			snprintf(error, error_size, "tunneld at %s: %s",
			    client->path, strerror(errno));
		return NULL;
	}
	used = (size_t)(lf + 1 - client->buf);
	json = json_loadb(client->buf, used, 0, NULL);
	client->len -= used;
	memmove(client->buf, client->buf + used, client->len);
	if (!json_is_object(json)) {
		say_foreign(client, error, error_size);
		json_decref(json);
		return NULL;
	}
	return json;
}

/* Is this line for our request? An error without an id is, too. */
static bool
is_ours(const struct client *client, const json_t *line)
{
	const json_t *id = json_object_get(line, "id");

	return json_is_integer(id) ? json_integer_value(id) == client->id :
				     !json_is_true(json_object_get(line, "ok"));
}

const char *
client_code(const struct client *client)
{
	return client->code;
}

/* Out of a refusal. Strangers' bytes are made harmless. */
static void
copy_message(struct client *client, const json_t *line, char *error,
    size_t error_size)
{
	const json_t *object = json_object_get(line, "error");
	const char *text = json_string_value(json_object_get(object,
	    "message"));
	const char *code = json_string_value(json_object_get(object, "code"));

	snprintf(client->code, sizeof client->code, "%s",
	    code != NULL ? code : "");
	if (text == NULL)
		text = code;
	if (text == NULL)
		text = "refused, without a reason";
	log_escape(error, error_size, text, strlen(text));
}

bool
client_had_data(const struct client *client)
{
	return client->had_data;
}

bool
client_told_details(const struct client *client)
{
	return client->told_details;
}

static void
tell_details(struct client *client, const struct client_request *request,
    const json_t *line)
{
	json_t *details = json_object_get(json_object_get(line, "error"),
	    "details");

	client->told_details = request->refused != NULL &&
	    json_is_object(details);
	if (client->told_details)
		request->refused(details, request->arg);
}

enum client_status
client_ask(struct client *client, const struct client_request *request,
    char *error, size_t error_size)
{
	enum client_status status = CLIENT_OK;
	json_t *line, *data;
	bool more = true;

	client->answered = client->had_data = false;
	set_patience(client,
	    request->patience > 0 ? request->patience : CLIENT_TIMEOUT);
	if (send_request(client, request) != 0) {
		snprintf(error, error_size, "cannot ask tunneld at %s: %s",
		    client->path, strerror(errno));
		return CLIENT_LOST;
	}
	while (more) {
		line = receive_line(client, error, error_size);
		if (line == NULL)
			return CLIENT_LOST;
		if (!is_ours(client, line)) {
			json_decref(line);
			continue;
		}
		client->answered = true;
		data = json_object_get(line, "data");
		more = json_is_true(json_object_get(line, "more"));
		if (!json_is_true(json_object_get(line, "ok"))) {
			copy_message(client, line, error, error_size);
			tell_details(client, request, line);
			status = CLIENT_REFUSED;
		} else if (data == NULL || json_typeof(data) != request->type) {
			say_foreign(client, error, error_size);
			status = CLIENT_LOST;
		} else {
			client->had_data = true;
			if (request->fn(data, request->arg) != 0)
				status = CLIENT_STOPPED;
		}
		json_decref(line);
		if (status != CLIENT_OK)
			break;
	}
	return status;
}
