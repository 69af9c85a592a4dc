/* SPDX-License-Identifier: ISC */
#include "dial.h"

#include <sys/socket.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define DIAL_STAGGER 0.25    /* seconds before the next address joins in */
#define DIAL_UNIX_RETRY 0.02 /* a UNIX listener's queue is full */

struct dial_attempt {
	struct dial *dial;
	struct stream *stream; /* NULL: not begun, or failed */
};

struct dial {
	struct loop *loop;
	struct resolve_request *request;
	struct loop_timer *deadline;
	struct loop_timer *stagger;
	struct loop_task finish; /* calls back from the loop, never inline */
	dial_fn *fn;
	void *arg;
	struct dial_outcome outcome;
	struct addr_sock addresses[RESOLVE_MAX_ADDRESSES];
	struct dial_attempt attempts[RESOLVE_MAX_ADDRESSES];
	size_t n;	/* addresses */
	size_t next;	/* the first not tried yet */
	size_t pending; /* attempts under way */
};

static void dial_try_next(void *arg);

static void
dial_drop_attempt(struct dial_attempt *attempt)
{
	stream_free(attempt->stream);
	attempt->stream = NULL;
}

static void
dial_free(struct dial *dial)
{
	size_t i;

	resolve_cancel(dial->request);
	loop_timer_free(dial->deadline);
	loop_timer_free(dial->stagger);
	loop_task_cancel(dial->loop, &dial->finish);
	for (i = 0; i < dial->n; i++)
		dial_drop_attempt(&dial->attempts[i]);
	free(dial);
}

void
dial_cancel(struct dial *dial)
{
	if (dial == NULL)
		return;
	stream_free(dial->outcome.stream);
	dial_free(dial);
}

static void
dial_finish(void *arg)
{
	struct dial *dial = arg;
	struct dial_outcome outcome = dial->outcome;
	dial_fn *fn = dial->fn;

	arg = dial->arg;
	dial_free(dial);
	fn(&outcome, arg);
}

static void
dial_end(struct dial *dial, enum dial_status status, const char *error)
{
	dial->outcome.status = status;
	snprintf(dial->outcome.error, sizeof dial->outcome.error, "%s", error);
	loop_timer_cancel(dial->deadline);
	loop_timer_cancel(dial->stagger);
	loop_task_queue(dial->loop, &dial->finish);
}

static enum dial_status
dial_classify(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return DIAL_REFUSED;
	case ECONNRESET:
		return DIAL_RESET;
	case ETIMEDOUT:
		return DIAL_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL:
		return DIAL_INTERNAL;
	default:
		return DIAL_UNREACHABLE;
	}
}

static void
dial_next_in(struct dial *dial, double seconds)
{
	/* Most have one address. */
	if (dial->stagger == NULL)
		dial->stagger = loop_timer_new(dial->loop, dial_try_next, dial);
	if (dial->stagger != NULL)
		loop_timer_set(dial->stagger, seconds);
}

/* The last address to fail gives the reason, unless one was refused: that
 * somebody is there and said no is the more useful thing to hear. */
static void
dial_attempt_failed(struct dial *dial, int error)
{
	enum dial_status status = dial_classify(error);

	if (dial->outcome.status != DIAL_REFUSED) {
		dial->outcome.status = status;
		snprintf(dial->outcome.error, sizeof dial->outcome.error, "%s",
		    strerror(error));
	}
	if (dial->next < dial->n) {
		dial_next_in(dial, 0);
	} else if (dial->pending == 0) {
		loop_timer_cancel(dial->deadline);
		loop_task_queue(dial->loop, &dial->finish);
	}
}

static void
dial_connected(struct dial_attempt *attempt)
{
	struct dial *dial = attempt->dial;
	size_t i;

	dial->outcome.stream = attempt->stream;
	dial->outcome.to = dial->addresses[attempt - dial->attempts];
	attempt->stream = NULL;
	for (i = 0; i < dial->n; i++)
		dial_drop_attempt(&dial->attempts[i]);
	dial_end(dial, DIAL_OK, "");
}

static void
dial_ready(bool readable, bool writable, void *arg)
{
	struct dial_attempt *attempt = arg;
	int error = 0;
	socklen_t len = sizeof error;

	if (attempt->stream == NULL || !writable) /* the callee will see */
		return;
	/* An error tells both. */
	if (readable &&
	    getsockopt(stream_fd(attempt->stream), SOL_SOCKET, SO_ERROR, &error,
		&len) == -1)
		error = errno;
	if (error == 0) {
		dial_connected(attempt);
		return;
	}
	attempt->dial->pending--;
	dial_drop_attempt(attempt);
	dial_attempt_failed(attempt->dial, error);
}

/* 0: under way or connected; else the errno it failed with. */
static int
dial_begin(struct dial_attempt *attempt, const struct addr_sock *sock)
{
	struct dial *dial = attempt->dial;
	int fd;

	fd = socket(sock->sa.sa_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return errno;
	net_setup(fd);
	attempt->stream = stream_new(fd);
	if (attempt->stream == NULL)
		return ENOMEM;
	if (connect(fd, &sock->sa, sock->len) == 0) {
		dial_connected(attempt);
		return 0;
	}
	if (errno != EINPROGRESS)
		return errno;
	if (stream_watch(attempt->stream, dial->loop, dial_ready, attempt) != 0)
		return ENOMEM;
	dial->pending++;
	return 0;
}

static void
dial_try_next(void *arg)
{
	struct dial *dial = arg;
	struct dial_attempt *attempt = &dial->attempts[dial->next];
	const struct addr_sock *sock = &dial->addresses[dial->next];
	int error;

	if (dial->next == dial->n)
		return;
	error = dial_begin(attempt, sock);
	if (error == EAGAIN && sock->sa.sa_family == AF_UNIX) {
		dial_drop_attempt(attempt);
		dial_next_in(dial, DIAL_UNIX_RETRY);
		return;
	}
	dial->next++;
	if (error != 0) {
		dial_drop_attempt(attempt);
		dial_attempt_failed(dial, error);
	} else if (dial->outcome.stream == NULL && dial->next < dial->n) {
		dial_next_in(dial, DIAL_STAGGER);
	}
}

static void
dial_timed_out(void *arg)
{
	struct dial *dial = arg;

	dial_end(dial, DIAL_TIMEOUT,
	    dial->request != NULL ? "the resolver did not answer in time" :
				    "timed out");
}

static void
dial_resolved(const struct addr_sock *addresses, size_t n, const char *error,
    void *arg)
{
	struct dial *dial = arg;

	dial->request = NULL;
	if (error != NULL) {
		dial_end(dial, DIAL_RESOLVE, error);
		return;
	}
	memcpy(dial->addresses, addresses, n * sizeof *addresses);
	dial->n = n;
	dial_try_next(dial);
}

static struct dial *
dial_new(struct loop *loop, double timeout, dial_fn *fn, void *arg)
{
	struct dial *dial = calloc(1, sizeof *dial);
	size_t i;

	if (dial == NULL)
		return NULL;
	dial->loop = loop;
	dial->fn = fn;
	dial->arg = arg;
	dial->outcome.status = DIAL_INTERNAL;
	loop_task_init(&dial->finish, dial_finish, dial);
	for (i = 0; i < RESOLVE_MAX_ADDRESSES; i++)
		dial->attempts[i].dial = dial;
	dial->deadline = loop_timer_new(loop, dial_timed_out, dial);
	if (dial->deadline == NULL) {
		dial_free(dial);
		return NULL;
	}
	loop_timer_set(dial->deadline, timeout);
	return dial;
}

struct dial *
dial_start_sock(struct loop *loop, const struct addr_sock *sock, double timeout,
    dial_fn *fn, void *arg)
{
	struct dial *dial = dial_new(loop, timeout, fn, arg);

	if (dial == NULL)
		return NULL;
	dial->addresses[0] = *sock;
	dial->n = 1;
	dial_try_next(dial);
	return dial;
}

struct dial *
dial_start(struct loop *loop, struct resolve_pool *resolver,
    const struct addr *addr, double timeout, dial_fn *fn, void *arg)
{
	struct addr target = *addr;
	struct addr_sock sock;
	struct dial *dial;

	/* ":port" listens everywhere, and connects to this machine. */
	if (target.kind == ADDR_INET && target.host[0] == '\0')
		strcpy(target.host, "127.0.0.1");
	if (addr_to_sock(&target, &sock) == 0)
		return dial_start_sock(loop, &sock, timeout, fn, arg);
	dial = dial_new(loop, timeout, fn, arg);
	if (dial == NULL)
		return NULL;
	dial->request = resolve_start(resolver, &target, dial_resolved, dial);
	if (dial->request == NULL)
		dial_end(dial, DIAL_RESOLVE, "too many names to resolve");
	return dial;
}
