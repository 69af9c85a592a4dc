/* SPDX-License-Identifier: ISC */
/*
 * admin: the UNIX socket on which administrators ask and order: the lock that
 * says whether a daemon is running, who may do what, lines, requests and
 * answers. One JSON object a line, both ways.
 *
 * Owns the listening socket, the lock and the clients (admin_client.c). Knows
 * nothing of sessions, peers or the ledger: what a command does is in the
 * table it is given. Never waits for a client.  Floor 5.
 *
 * Bounds: ADMIN_CLIENTS_MAX clients, of them ADMIN_LOOKERS_MAX that may only
 * look, so that these keep out nobody who may change things; ADMIN_LINE_MAX
 * bytes a request, one request of a client at a time; its further lines wait
 * unread. While more than ADMIN_OUTPUT_MARK bytes of answers wait for a
 * client, none of its requests is begun and no piece of a list is made, so
 * that it never holds more than that and one answer. Who takes nothing of what
 * waits for `stall` seconds is dropped.
 */
#ifndef TUNNELD_ADMIN_H
#define TUNNELD_ADMIN_H

#include <sys/types.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

#define ADMIN_CLIENTS_MAX 64
#define ADMIN_LOOKERS_MAX 48
#define ADMIN_LINE_MAX 65536 /* without the line feed */
#define ADMIN_ID_MAX 128     /* of a request's id that is a string */
#define ADMIN_OUTPUT_MARK 65536
#define ADMIN_ROWS_MAX 100 /* in a piece of a list */
#define ADMIN_WHO_SIZE 64

struct admin;
struct admin_request;

/*
 * Runs a command. args is always an object; it is valid until the request is
 * answered. The request must be answered exactly once, by one of the functions
 * below, before run returns or later; it is gone then. Whoever answers later
 * must call admin_request_on_cancel() before run returns.
 */
typedef void admin_run_fn(struct admin_request *request, json_t *args,
    void *arg);

struct admin_command {
	const char *name;
	bool changes; /* more than looking: not for read_group */
	admin_run_fn *run;
};

/* What another process of this daemon listens on already, and holds. */
struct admin_inherited {
	int fd;	     /* the listening socket */
	int lock_fd; /* with the lock held; -1: none */
};

struct admin_options {
	const char *path;	/* of the socket; copied */
	const char *group;	/* may do everything, too; NULL: none */
	const char *read_group; /* may do what changes nothing; NULL: none */
	uid_t owner; /* the daemon's user: owns the socket, may all */
	const struct admin_command *commands; /* borrowed; ends at name NULL */
	void *arg;			      /* for the commands */
	double stall;			      /* seconds; 0: 30 */
	/* Taken over on success; NULL: none. Each of the two is used if it is
	 * that of `path`, and closed otherwise. */
	const struct admin_inherited *inherited;
};

/*
 * Takes the lock PATH.lock, makes the socket (0660, the owner's and the
 * group's; 0666 with a read group, since a file has one group only) and begins
 * to listen; nobody is accepted before admin_start. Who may nothing is told so
 * and closed at once, and takes no place. A directory missing at the end of
 * the path is made (0755, the owner's). A socket that a dead daemon left
 * behind is replaced. NULL with the reason in error: "already running", ...
 *
 * Sets the umask for a moment. SIGPIPE must be ignored.
 */
struct admin *admin_new(struct loop *loop, const struct admin_options *options,
    char *error, size_t error_size);

/*
 * Closes the clients (their pending requests are cancelled), removes the
 * socket as far as that is still permitted, then gives up the lock, whose
 * file stays. Not from within a command. NULL is ignored.
 */
void admin_free(struct admin *admin);

/* Clients are accepted from the next turn of the loop on. */
void admin_start(struct admin *admin);

/* The two that another process may inherit; borrowed. -1: it has left. */
void admin_descriptors(const struct admin *admin, int *fd, int *lock_fd);

/* The socket's file stays at admin_free: another process listens there. */
void admin_keep(struct admin *admin);

/*
 * Gives the socket up to another process, which holds it and the lock, too.
 * Accepts nobody any more; what is being answered is answered, but lists that
 * have no end end with the error "upgraded", which is also the answer to
 * whatever is asked from now on: nothing of it was done, and whoever asks
 * again asks the other process. Clients are closed once they have read their
 * answers, those that ask nothing after ADMIN_LEAVE_SECONDS. Twice is once.
 */
#define ADMIN_LEAVE_SECONDS 1.0
void admin_leave(struct admin *admin);
/* ... and all clients are gone, but for those that were adopted. */
bool admin_has_left(const struct admin *admin);

/*
 * One more client, a connected stream socket to another process of this
 * daemon: it may do everything, takes no place of the ADMIN_CLIENTS_MAX, is
 * not affected by admin_leave, and may say in a request for whom it asks:
 * "by", as admin_request_who has it, and "uid". Takes fd, also on failure: 0,
 * or -1 out of memory.
 */
int admin_adopt(struct admin *admin, int fd);

/*
 * Other groups, for every request from now on. To be asked first: 0, or -1
 * and why that cannot be done ("daemon.admin_group: a change needs a restart":
 * who is not root gives a file only to groups it is in).
 */
int admin_check_groups(const struct admin *admin, const char *group,
    const char *read_group, char *error, size_t error_size);
void admin_set_groups(struct admin *admin, const char *group,
    const char *read_group);

/* Takes data, also on failure. NULL counts as out of memory. */
void admin_answer(struct admin_request *request, json_t *data);

/* code is one of the protocol's words, such as "not_found". */
void admin_fail(struct admin_request *request, const char *code,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with the code "refused" and, in the error, more for programs: takes
 * details; NULL counts as out of memory. */
void admin_refuse(struct admin_request *request, json_t *details,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Answers with a list in pieces. next is called, never before this returns,
 * one piece a turn of the loop, whenever the client has taken enough of those
 * before; it returns a new array of at most ADMIN_ROWS_MAX rows and says
 * whether there are more; NULL means out of memory and ends the list with an
 * error. release(state) is called once, after the last piece or when the
 * client went away; it may be NULL. The registered cancel function is not
 * called any more.
 */
typedef json_t *admin_next_fn(void *state, bool *more);
void admin_answer_list(struct admin_request *request, admin_next_fn *next,
    void *state, void (*release)(void *state));

/* After admin_answer_list: behind its rows the list will end with this error,
 * since some are missing. code is not copied. */
void admin_list_end(struct admin_request *request, const char *code,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * fn(arg) is called if the client goes away before the request is answered;
 * the request must not be answered then, and is gone afterwards. NULL takes it
 * back.
 */
void admin_request_on_cancel(struct admin_request *request,
    void (*fn)(void *arg), void *arg);

/*
 * Answers with a list that has no end: its first piece, empty, goes out at
 * once. The cancel function, which must be set before, tells when the client
 * has gone; it may still call admin_stream_send: at the end of the daemon that
 * is written as far as the socket takes it. ready, with the same arg, is
 * called once the client has taken enough of what was sent to be given more.
 *
 * admin_stream_send takes an array of at most ADMIN_ROWS_MAX rows (NULL: out
 * of memory) and queues it as a piece. A client for which more than
 * ADMIN_STREAM_MAX bytes wait already is dropped instead: false is returned,
 * the request is gone, and the cancel function is not called. Who asks
 * admin_stream_is_ready before is never dropped for that.
 *
 * admin_stream_fail ends the list with an error, and the connection once the
 * client has read it.
 */
#define ADMIN_STREAM_MAX (256 * 1024)
void admin_stream_begin(struct admin_request *request,
    void (*ready)(void *arg));
bool admin_stream_is_ready(const struct admin_request *request);
bool admin_stream_send(struct admin_request *request, json_t *rows);
void admin_stream_fail(struct admin_request *request, const char *code,
    const char *why);

uid_t admin_request_uid(const struct admin_request *request);

/* Another process of this daemon asks, for somebody: it does the rest. */
bool admin_request_is_relayed(const struct admin_request *request);

/* Who asks, as "NAME (uid N)". Returns buf; size is at least
 * ADMIN_WHO_SIZE. Looks into the user database. */
char *admin_request_who(const struct admin_request *request, char *buf,
    size_t size);

#endif
