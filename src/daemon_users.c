/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where users come from. */
struct daemon_older {
	LIST_ENTRY(daemon_older) entry;
	struct daemon *daemon;
	struct handover *handover;
	struct loop_watch *watch;
};

/* The body of HANDOVER_USER; what the user has said already follows. */
struct user_body {
	uint32_t size; /* of this; a later version may have more */
	uint32_t eof;
	char label[NAME_SIZE * 2];
	uint8_t uid[WIRE_UID_SIZE];
	int64_t id;
	int64_t opened_us;
	uint64_t source_len;
	struct sockaddr_storage source;
};

/* The body of HANDOVER_PEER: whose link it was. */
struct peer_body {
	uint32_t size;
	char name[NAME_SIZE];
	uint8_t instance[WIRE_INSTANCE_SIZE];
};

/* --- away --------------------------------------------------------------------- */

static void
heir_ready(int fd, bool readable, bool writable, void *arg)
{
	struct daemon *daemon = arg;
	struct handover_message message;
	enum handover_status status;

	(void)fd;
	(void)readable;
	(void)writable;
	while ((status = handover_receive(daemon->heir, &message)) ==
	    HANDOVER_OK)
		if (message.fd != -1)
			close(message.fd);
	if (status == HANDOVER_GONE || handover_flush(daemon->heir) != 0) {
		/* The next one, if there will be one, is told by the master. */
		loop_watch_free(daemon->heir_watch);
		daemon->heir_watch = NULL;
		handover_free(daemon->heir);
		daemon->heir = NULL;
		return;
	}
	loop_watch_set(daemon->heir_watch, true,
	    handover_is_pending(daemon->heir));
}

void
daemon_set_heir(struct daemon *daemon, int fd)
{
	if (fd == -1)
		return;
	loop_watch_free(daemon->heir_watch);
	daemon->heir_watch = NULL;
	handover_free(daemon->heir);
	daemon->heir = handover_new(fd);
	if (daemon->heir != NULL)
		daemon->heir_watch = loop_watch_new(daemon->loop, fd, true,
		    false, heir_ready, daemon);
	if (daemon->heir_watch == NULL) {
		log_error("out of memory: users who wait will be lost");
		handover_free(daemon->heir);
		daemon->heir = NULL;
	}
}

void
daemon_give_peers(struct daemon *daemon)
{
	struct peer_body body = { .size = sizeof body };
	struct handover_message message = {
		.type = HANDOVER_PEER,
		.fd = -1,
		.body = &body,
		.len = sizeof body,
	};
	const struct peer *peer;
	size_t i;

	for (i = 0; i < peers_count(daemon->peers); i++) {
		peer = peers_at(daemon->peers, i);
		if (daemon->heir == NULL ||
		    !peer_get_instance(peer, body.instance))
			continue;
		snprintf(body.name, sizeof body.name, "%s", peer_name(peer));
		(void)handover_send(daemon->heir, &message);
	}
}

/* Nobody takes the user. */
static void
user_reset(const struct tunnel_user *user)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	log_warning("%s: session %lld: nobody to give the user to", user->label,
	    (long long)user->id);
	(void)setsockopt(user->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void
daemon_give_user(struct tunnel_user *user, void *arg)
{
	struct daemon *daemon = arg;
	struct handover_message message = {
		.type = HANDOVER_USER,
		.fd = user->fd,
		.len = sizeof(struct user_body) + user->early.len,
	};
	struct user_body body = {
		.size = sizeof body,
		.eof = user->early.eof,
		.id = user->id,
		.opened_us = user->opened_us,
		.source_len = user->source.len,
		.source = user->source.ss,
	};
	uint8_t *packet = malloc(message.len);

	memcpy(body.label, user->label, sizeof body.label);
	memcpy(body.uid, user->uid, sizeof body.uid);
	message.body = packet;
	if (packet != NULL) {
		memcpy(packet, &body, sizeof body);
		if (user->early.len > 0)
			memcpy(packet + sizeof body, user->early.data,
			    user->early.len);
	}
	if (packet == NULL || daemon->heir == NULL ||
	    handover_send(daemon->heir, &message) != 0)
		user_reset(user);
	else
		loop_watch_set(daemon->heir_watch, true,
		    handover_is_pending(daemon->heir));
	free(packet);
	free(user->early.data);
	close(user->fd);
}

/* --- and here ------------------------------------------------------------------- */

/* Takes the descriptor. */
static void
user_take(struct daemon *daemon, const struct handover_message *message)
{
	struct tunnel_user user = { .fd = message->fd };
	struct user_body body;

	if (message->fd == -1 || message->len < sizeof body)
		goto fail;
	memcpy(&body, message->body, sizeof body);
	if (body.size < sizeof body || body.size > message->len ||
	    body.source_len > sizeof body.source)
		goto fail;
	body.label[sizeof body.label - 1] = '\0';
	memcpy(user.label, body.label, sizeof user.label);
	memcpy(user.uid, body.uid, sizeof user.uid);
	user.id = body.id;
	user.opened_us = body.opened_us;
	user.source.len = (socklen_t)body.source_len;
	user.source.ss = body.source;
	user.early.eof = body.eof != 0;
	user.early.len = message->len - body.size;
	if (user.early.len > 0) {
		user.early.data = malloc(user.early.len);
		if (user.early.data == NULL)
			goto fail;
		memcpy(user.early.data,
		    (const uint8_t *)message->body + body.size, user.early.len);
	}
	tunnels_take(daemon->tunnels, &user);
	return;
fail:
	log_warning("a user who came from another worker is lost");
	if (message->fd != -1)
		close(message->fd);
}

static void
peer_take(struct daemon *daemon, const struct handover_message *message)
{
	struct peer_body body;
	struct peer *peer;

	if (message->len < sizeof body)
		return;
	memcpy(&body, message->body, sizeof body);
	body.name[sizeof body.name - 1] = '\0';
	peer = peers_find(daemon->peers, body.name);
	if (peer != NULL)
		peer_reserve(peer, body.instance);
}

static void
older_free(struct daemon_older *older)
{
	LIST_REMOVE(older, entry);
	loop_watch_free(older->watch);
	handover_free(older->handover);
	free(older);
}

static void
older_ready(int fd, bool readable, bool writable, void *arg)
{
	struct daemon_older *older = arg;
	struct handover_message message;
	enum handover_status status;

	(void)fd;
	(void)readable;
	(void)writable;
	while ((status = handover_receive(older->handover, &message)) ==
	    HANDOVER_OK) {
		if (message.type == HANDOVER_USER) {
			user_take(older->daemon, &message);
			continue;
		}
		if (message.type == HANDOVER_PEER)
			peer_take(older->daemon, &message);
		if (message.fd != -1)
			close(message.fd);
	}
	if (status == HANDOVER_GONE)
		older_free(older);
}

void
daemon_hear_olders(struct daemon *daemon)
{
	struct daemon_older *older, *next;

	for (older = LIST_FIRST(&daemon->olders); older != NULL; older = next) {
		next = LIST_NEXT(older, entry);
		older_ready(-1, true, false, older);
	}
}

void
daemon_add_older(struct daemon *daemon, int fd)
{
	struct daemon_older *older = fd == -1 ? NULL : calloc(1, sizeof *older);

	if (older == NULL) {
		if (fd != -1)
			close(fd);
		return;
	}
	older->daemon = daemon;
	LIST_INSERT_HEAD(&daemon->olders, older, entry);
	older->handover = handover_new(fd);
	if (older->handover != NULL)
		older->watch = loop_watch_new(daemon->loop, fd, true, false,
		    older_ready, older);
	if (older->watch == NULL) {
		log_error("out of memory: users who wait will be lost");
		older_free(older);
	}
}

void
daemon_forget_users(struct daemon *daemon)
{
	while (!LIST_EMPTY(&daemon->olders))
		older_free(LIST_FIRST(&daemon->olders));
	loop_watch_free(daemon->heir_watch);
	handover_free(daemon->heir);
}
