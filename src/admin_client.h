/* SPDX-License-Identifier: ISC */
/*
 * admin_client: the connections of the admin socket (admin_client.c: bytes
 * and lines) and what is asked on them (admin_request.c: one request at a
 * time, answers whole or in pieces). For these two and admin.c alone.
 *
 * Owns the clients' sockets and buffers. Does not listen and does not judge
 * who somebody is: it is told.  Floor 5.
 */
#ifndef TUNNELD_ADMIN_CLIENT_H
#define TUNNELD_ADMIN_CLIENT_H

#include <sys/queue.h>
#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>

#include "admin.h"

struct evbuffer;

/* What the kernel says of the other end, judged. */
struct admin_peer {
	uid_t uid;
	bool may_look;
	bool may_change;
	bool adopted; /* another process of this daemon */
};

TAILQ_HEAD(admin_client_list, admin_client);

/* All clients, and what they share. Filled in by admin.c. */
struct admin_clients {
	struct loop *loop;
	const struct admin_command *commands;
	void *arg;
	double stall;
	char may_change[80]; /* who may, in words */
	struct admin_client_list list;
	size_t n;	  /* but for those that are adopted */
	size_t n_lookers; /* of them, those that may only look */
	/* Whoever is not adopted is to ask elsewhere; and had the time to. */
	bool leaving, dismissed;
	double refused_since;
	unsigned refused; /* since then: admin_client_log_refusal */
};

/* What is being answered. */
struct admin_request {
	struct admin_client *client;
	json_t *root; /* the request as it came; holds id and args */
	json_t *id;   /* never NULL: JSON null where there is none */
	void (*cancel)(void *arg);
	void *cancel_arg;
	/* A list being answered. */
	admin_next_fn *next;
	void *state;
	void (*release)(void *state);
	const char *end_code; /* the error that ends it; NULL: none */
	char *end_text;	      /* ours */
	/* A stream: the client takes more. */
	void (*ready)(void *arg);
};

/*
 * Callbacks of the loop read, write and note what happened; requests are begun,
 * pieces made and clients freed by the task alone, so that nothing is freed
 * under its caller.
 */
struct admin_client {
	TAILQ_ENTRY(admin_client) entry;
	struct admin_clients *clients;
	struct admin_peer peer;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *stall;
	struct loop_timer *hangup; /* after eof: is it still there? */
	struct loop_task task;
	struct evbuffer *in;
	size_t searched; /* so many bytes of in hold no line feed */
	struct evbuffer *out;
	struct admin_request *request; /* NULL: none is running */
	bool eof;		       /* nothing more will come */
	bool last; /* nothing more is taken: close when out is empty */
	bool dead; /* to be freed by the task */
};

/* Takes fd, also on failure: 0, or -1 out of memory. */
int admin_client_new(struct admin_clients *clients, int fd,
    const struct admin_peer *peer);

/* Whether there is a place for such a client. If not, those are freed that are
 * gone and whose end was not read yet. Not from within a callback of a
 * client. */
bool admin_client_has_room(struct admin_clients *clients,
    const struct admin_peer *peer);

/* Whether the log is to tell of one more that was refused something: of so
 * many in a minute, since who may not do a thing can try for ever. */
bool admin_client_log_refusal(struct admin_clients *clients);

/* Those that are not adopted: they are asked to ask elsewhere; and those of
 * them that are asking nothing are closed. Not from within a callback of a
 * client but that of the request which it is answering. */
void admin_client_leave_all(struct admin_clients *clients);
void admin_client_dismiss_all(struct admin_clients *clients);

/* Closes them all and cancels their requests. */
void admin_client_free_all(struct admin_clients *clients);

/*
 * Queues one line. Takes message; NULL means out of memory. If the client
 * cannot be served any more it is marked dead and its request ends.
 */
void admin_client_send(struct admin_client *client, json_t *message);

/* The task will run. */
void admin_client_wake(struct admin_client *client);

/* No more of this client: cancels its request and frees it in the task. why
 * goes to the log unless it is NULL. */
void admin_client_drop(struct admin_client *client, const char *why);

/* Answers one line, without its line feed, or begins to. */
void admin_request_begin(struct admin_client *client, const char *line,
    size_t len);

/* Makes the next piece of the list that is being answered. */
void admin_request_continue(struct admin_client *client);

/* Nobody waits for the answer any more. */
void admin_request_cancel(struct admin_request *request);

/* Ends what has no end: whoever asked is to ask elsewhere. */
void admin_request_leave(struct admin_request *request);

/* An error that belongs to no request. text may be changed. */
void admin_request_error(struct admin_client *client, const char *code,
    char *text);

#endif
