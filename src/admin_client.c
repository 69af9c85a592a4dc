/* SPDX-License-Identifier: ISC */
#include "admin_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "log.h"

/* Seconds after which a client that half-closed is looked at. */
#define ADMIN_HANGUP 1.0
/* Refusals that the log tells of, in a minute. */
#define ADMIN_REFUSALS 10

/* Another process sends on what a client said, and for whom it asks. */
static size_t
client_line_max(const struct admin_client *client)
{
	return client->peer.adopted ? 4 * ADMIN_LINE_MAX : ADMIN_LINE_MAX;
}

void
admin_client_wake(struct admin_client *client)
{
	loop_task_queue(client->clients->loop, &client->task);
}

void
admin_client_drop(struct admin_client *client, const char *why)
{
	if (client->dead)
		return;
	client->dead = true;
	if (why != NULL)
		log_info("admin: client of uid %lu dropped: %s",
		    (unsigned long)client->peer.uid, why);
	loop_watch_set(client->watch, false, false);
	loop_timer_cancel(client->stall);
	loop_timer_cancel(client->hangup);
	if (client->request != NULL)
		admin_request_cancel(client->request);
	admin_client_wake(client);
}

/* What the socket still takes of a client that is closed by us. */
static void
client_flush(struct admin_client *client)
{
	while (!client->dead && client->out != NULL &&
	    evbuffer_get_length(client->out) > 0)
		if (evbuffer_write(client->out, client->fd) <= 0)
			return;
}

static void
client_free(struct admin_client *client)
{
	struct admin_clients *clients = client->clients;

	if (client->request != NULL)
		admin_request_cancel(client->request);
	client_flush(client);
	loop_task_cancel(clients->loop, &client->task);
	loop_timer_free(client->stall);
	loop_timer_free(client->hangup);
	loop_watch_free(client->watch);
	if (client->in != NULL)
		evbuffer_free(client->in);
	if (client->out != NULL)
		evbuffer_free(client->out);
	close(client->fd);
	TAILQ_REMOVE(&clients->list, client, entry);
	clients->n -= !client->peer.adopted;
	clients->n_lookers -= !client->peer.may_change;
	free(client);
}

static int
dump_to_buffer(const char *text, size_t len, void *arg)
{
	return evbuffer_add(arg, text, len);
}

/* Queues one line. Takes message; NULL means out of memory. */
void
admin_client_send(struct admin_client *client, json_t *message)
{
	bool was_empty = evbuffer_get_length(client->out) == 0;

	if (client->dead) {
		json_decref(message);
		return;
	}
	if (message == NULL ||
	    json_dump_callback(message, dump_to_buffer, client->out,
		JSON_COMPACT | JSON_REAL_PRECISION(12)) != 0 ||
	    evbuffer_add(client->out, "\n", 1) != 0) {
		/* Half a line may stand there, which cannot be taken back. */
		json_decref(message);
		admin_client_drop(client, "out of memory");
		return;
	}
	json_decref(message);
	if (was_empty)
		loop_timer_set(client->stall, client->clients->stall);
	admin_client_wake(client);
}

/*
 * Whether in begins with a whole line, of *len bytes and *skip more. What
 * stands before the end without a line feed is a line as well.
 */
static bool
client_find_line(struct admin_client *client, size_t *len, size_t *skip)
{
	size_t have = evbuffer_get_length(client->in);
	struct evbuffer_ptr from, found;

	if (have == 0)
		return false;
	if (client->searched < have) {
		evbuffer_ptr_set(client->in, &from, client->searched,
		    EVBUFFER_PTR_SET);
		found = evbuffer_search(client->in, "\n", 1, &from);
		if (found.pos >= 0) {
			*len = (size_t)found.pos;
			*skip = 1;
			return true;
		}
		client->searched = have;
	}
	*len = have;
	*skip = 0;
	return client->eof;
}

/* Begins the next request, if there is one. */
static void
client_next_line(struct admin_client *client)
{
	size_t len, skip;
	char *line, text[80];

	if (!client_find_line(client, &len, &skip)) {
		if (evbuffer_get_length(client->in) <= client_line_max(client))
			return;
		snprintf(text, sizeof text, "a line holds at most %d bytes",
		    ADMIN_LINE_MAX);
		client->last = true;
		admin_request_error(client, "too_long", text);
		return;
	}
	line = malloc(len + 1);
	if (line == NULL) {
		admin_client_drop(client, "out of memory");
		return;
	}
	evbuffer_remove(client->in, line, len);
	evbuffer_drain(client->in, skip);
	client->searched = 0;
	admin_request_begin(client, line, len);
	free(line);
}

/* Watches for what can be used, and comes back if there is work at hand. */
static void
client_update(struct admin_client *client)
{
	size_t in = evbuffer_get_length(client->in);
	size_t out = evbuffer_get_length(client->out);
	size_t len, skip;

	loop_watch_set(client->watch,
	    !client->eof && !client->last && in <= client_line_max(client),
	    out > 0);
	if (client->last || out > ADMIN_OUTPUT_MARK)
		return;
	if (client->request != NULL ? client->request->next != NULL :
				      client_find_line(client, &len, &skip) ||
		    in > client_line_max(client))
		admin_client_wake(client);
}

/* All that was asked is answered, and nothing more can come. */
static bool
client_is_done(const struct admin_client *client)
{
	const struct admin_clients *clients = client->clients;
	bool no_more = client->eof ||
	    (clients->dismissed && !client->peer.adopted);

	if (evbuffer_get_length(client->out) > 0)
		return false;
	return client->last ||
	    (no_more && client->request == NULL &&
		evbuffer_get_length(client->in) == 0);
}

/* The task. */
static void
client_turn(void *arg)
{
	struct admin_client *client = arg;

	if (!client->dead && !client->last &&
	    evbuffer_get_length(client->out) <= ADMIN_OUTPUT_MARK) {
		if (client->request == NULL)
			client_next_line(client);
		else if (client->request->next != NULL)
			admin_request_continue(client);
		else if (client->request->ready != NULL)
			client->request->ready(client->request->cancel_arg);
	}
	if (client->dead || client_is_done(client))
		client_free(client);
	else
		client_update(client);
}

/* The kernel says of a UNIX socket whether the other end is closed wholly. */
static bool
client_is_gone(const struct admin_client *client)
{
	struct pollfd pfd = { .fd = client->fd, .events = POLLOUT };

	return poll(&pfd, 1, 0) == 1 &&
	    (pfd.revents & (POLLHUP | POLLERR)) != 0;
}

/*
 * End of input: a client that only half-closed still gets its answers; one
 * that is gone takes a running request with it. Half-closed it is watched by
 * a timer, since a level-triggered watch would fire without end.
 */
static void
client_read_end(void *arg)
{
	struct admin_client *client = arg;

	client->eof = true;
	if (client->request != NULL && client_is_gone(client))
		admin_client_drop(client, NULL);
	else
		loop_timer_set(client->hangup, ADMIN_HANGUP);
}

static void
client_read(struct admin_client *client)
{
	size_t have = evbuffer_get_length(client->in);
	size_t max = client_line_max(client);
	int n;

	if (have > max)
		return;
	n = evbuffer_read(client->in, client->fd, (int)(max + 1 - have));
	if (n == 0)
		client_read_end(client);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		admin_client_drop(client, NULL);
}

static void
client_write(struct admin_client *client)
{
	int n;

	if (evbuffer_get_length(client->out) == 0)
		return;
	n = evbuffer_write(client->out, client->fd);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		admin_client_drop(client, NULL);
		return;
	}
	if (n <= 0)
		return;
	if (evbuffer_get_length(client->out) > 0)
		loop_timer_set(client->stall, client->clients->stall);
	else
		loop_timer_cancel(client->stall);
}

static void
client_ready(int fd, bool readable, bool writable, void *arg)
{
	struct admin_client *client = arg;

	(void)fd;
	if (writable)
		client_write(client);
	if (readable && !client->dead)
		client_read(client);
	admin_client_wake(client);
}

static void
client_stalled(void *arg)
{
	admin_client_drop(arg, "it does not read its answers");
}

int
admin_client_new(struct admin_clients *clients, int fd,
    const struct admin_peer *peer)
{
	struct admin_client *client = calloc(1, sizeof *client);

	if (client == NULL) {
		close(fd);
		return -1;
	}
	client->clients = clients;
	client->peer = *peer;
	client->fd = fd;
	loop_task_init(&client->task, client_turn, client);
	TAILQ_INSERT_TAIL(&clients->list, client, entry);
	clients->n += !peer->adopted;
	clients->n_lookers += !peer->may_change;
	client->in = evbuffer_new();
	client->out = evbuffer_new();
	client->stall = loop_timer_new(clients->loop, client_stalled, client);
	client->hangup = loop_timer_new(clients->loop, client_read_end, client);
	client->watch = loop_watch_new(clients->loop, fd, true, false,
	    client_ready, client);
	if (client->in == NULL || client->out == NULL ||
	    client->stall == NULL || client->hangup == NULL ||
	    client->watch == NULL) {
		client_free(client);
		return -1;
	}
	return 0;
}

/* What a client that is gone asked before is still done. */
static bool
client_left_nothing(const struct admin_client *client)
{
	char byte;
	ssize_t n = recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return evbuffer_get_length(client->in) == 0 &&
	    (n == 0 || (n < 0 && errno == ECONNRESET));
}

static void
clients_make_room(struct admin_clients *clients)
{
	struct admin_client *client, *next;

	for (client = TAILQ_FIRST(&clients->list); client != NULL;
	     client = next) {
		next = TAILQ_NEXT(client, entry);
		if (client_is_gone(client) && client_left_nothing(client))
			client_free(client);
	}
}

static bool
clients_have_room(const struct admin_clients *clients,
    const struct admin_peer *peer)
{
	return clients->n < ADMIN_CLIENTS_MAX &&
	    (peer->may_change || clients->n_lookers < ADMIN_LOOKERS_MAX);
}

bool
admin_client_has_room(struct admin_clients *clients,
    const struct admin_peer *peer)
{
	if (!clients_have_room(clients, peer))
		clients_make_room(clients);
	return clients_have_room(clients, peer);
}

bool
admin_client_log_refusal(struct admin_clients *clients)
{
	double now = loop_now(clients->loop);

	if (now - clients->refused_since >= 60) {
		if (clients->refused > ADMIN_REFUSALS)
			log_info("admin: %u more times",
			    clients->refused - ADMIN_REFUSALS);
		clients->refused_since = now;
		clients->refused = 0;
	}
	return ++clients->refused <= ADMIN_REFUSALS;
}

/* --- leaving ----------------------------------------------------------------- */

void
admin_client_leave_all(struct admin_clients *clients)
{
	struct admin_client *client;

	clients->leaving = true;
	/* Clients are freed by their tasks: the list stays as it is. */
	TAILQ_FOREACH(client, &clients->list, entry)
		if (!client->peer.adopted && !client->dead &&
		    client->request != NULL && client->request->ready != NULL)
			admin_request_leave(client->request);
}

/* What has come by now is still answered. */
void
admin_client_dismiss_all(struct admin_clients *clients)
{
	struct admin_client *client;

	clients->dismissed = true;
	TAILQ_FOREACH(client, &clients->list, entry)
		admin_client_wake(client);
}

void
admin_client_free_all(struct admin_clients *clients)
{
	struct admin_client *client;

	while ((client = TAILQ_FIRST(&clients->list)) != NULL)
		client_free(client);
}
