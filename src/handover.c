/* SPDX-License-Identifier: ISC */
#include "handover.h"

#include <sys/queue.h>
#include <sys/socket.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HANDOVER_MAGIC UINT32_C(0x746e6c31)

/* Before each body. */
struct handover_header {
	uint32_t magic;
	uint32_t type;
	uint64_t number;
};

struct handover_queued {
	STAILQ_ENTRY(handover_queued) entry;
	struct handover_header header;
	int fd; /* owned */
	size_t len;
	uint8_t body[];
};

struct handover {
	int fd;
	STAILQ_HEAD(handover_queue, handover_queued) queue;
	size_t n_queued;
	/* What was received last, and a NUL. */
	uint8_t body[HANDOVER_BODY_MAX + 1];
};

int
handover_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
}

struct handover *
handover_new(int fd)
{
	struct handover *handover = malloc(sizeof *handover);

	if (handover == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1) {
		free(handover);
		close(fd);
		return NULL;
	}
	handover->fd = fd;
	handover->n_queued = 0;
	STAILQ_INIT(&handover->queue);
	return handover;
}

static void
handover_unqueue(struct handover *handover)
{
	struct handover_queued *queued = STAILQ_FIRST(&handover->queue);

	STAILQ_REMOVE_HEAD(&handover->queue, entry);
	handover->n_queued--;
	if (queued->fd != -1)
		close(queued->fd);
	free(queued);
}

void
handover_free(struct handover *handover)
{
	if (handover == NULL)
		return;
	while (!STAILQ_EMPTY(&handover->queue))
		handover_unqueue(handover);
	close(handover->fd);
	free(handover);
}

int
handover_fd(const struct handover *handover)
{
	return handover->fd;
}

/* --- sending -------------------------------------------------------------- */

/* 0 sent, 1 not now, -1 never. */
static int
handover_put(struct handover *handover, const struct handover_header *header,
    const void *body, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec parts[] = {
		{ (void *)(uintptr_t)header, sizeof *header },
		{ (void *)(uintptr_t)body, len },
	};
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2 };
	struct cmsghdr *cmsg;
	ssize_t sent;

	if (fd != -1) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof control.buf;
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
	}
	do
		sent = sendmsg(handover->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent == -1 && errno == EINTR);
	if (sent != -1)
		return 0;
	/* ETOOMANYREFS: too many descriptors of ours are on their way. */
	return errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS ?
	    1 :
	    -1;
}

static int
handover_enqueue(struct handover *handover,
    const struct handover_header *header,
    const struct handover_message *message)
{
	struct handover_queued *queued;

	if (handover->n_queued >= HANDOVER_QUEUE_MAX)
		return -1;
	queued = malloc(sizeof *queued + message->len);
	if (queued == NULL)
		return -1;
	queued->header = *header;
	queued->len = message->len;
	if (message->len > 0)
		memcpy(queued->body, message->body, message->len);
	queued->fd = -1;
	if (message->fd != -1) {
		queued->fd = fcntl(message->fd, F_DUPFD_CLOEXEC, 0);
		if (queued->fd == -1) {
			free(queued);
			return -1;
		}
	}
	STAILQ_INSERT_TAIL(&handover->queue, queued, entry);
	handover->n_queued++;
	return 0;
}

int
handover_send(struct handover *handover, const struct handover_message *message)
{
	struct handover_header header = {
		.magic = HANDOVER_MAGIC,
		.type = message->type,
		.number = message->number,
	};
	int result;

	if (message->len > HANDOVER_BODY_MAX || handover_flush(handover) == -1)
		return -1;
	result = 1;
	if (!handover_is_pending(handover))
		result = handover_put(handover, &header, message->body,
		    message->len, message->fd);
	return result == 1 ? handover_enqueue(handover, &header, message) :
			     result;
}

int
handover_say(struct handover *handover, enum handover_type type,
    const char *text)
{
	struct handover_message message = {
		.type = type,
		.body = text,
		.len = text == NULL ? 0 : strnlen(text, HANDOVER_TEXT_MAX),
		.fd = -1,
	};

	return handover_send(handover, &message);
}

bool
handover_is_pending(const struct handover *handover)
{
	return !STAILQ_EMPTY(&handover->queue);
}

int
handover_flush(struct handover *handover)
{
	const struct handover_queued *queued;
	int result;

	while ((queued = STAILQ_FIRST(&handover->queue)) != NULL) {
		result = handover_put(handover, &queued->header, queued->body,
		    queued->len, queued->fd);
		if (result != 0)
			return result == 1 ? 0 : -1;
		handover_unqueue(handover);
	}
	return 0;
}

/* --- receiving ------------------------------------------------------------ */

/* The first descriptor; more than one is none of ours. */
static int
handover_take_fd(struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	int fd, first = -1;
	size_t i, n;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL;
	     cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof fd;
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
			if (first == -1)
				first = fd;
			else
				close(fd);
		}
	}
	return first;
}

enum handover_status
handover_receive(struct handover *handover, struct handover_message *message)
{
	struct handover_header header;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec parts[] = {
		{ &header, sizeof header },
		{ handover->body, HANDOVER_BODY_MAX },
	};
	ssize_t got;

	for (;;) {
		struct msghdr msg = {
			.msg_iov = parts,
			.msg_iovlen = 2,
			.msg_control = control.buf,
			.msg_controllen = sizeof control.buf,
		};

		got = recvmsg(handover->fd, &msg,
		    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/* ECONNRESET, said once: it closed without having read all.
		 * What it sent before is there nevertheless. */
		if (got == -1 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (got == -1)
			return errno == EAGAIN ? HANDOVER_AGAIN : HANDOVER_GONE;
		if (got == 0)
			return HANDOVER_GONE;
		message->fd = handover_take_fd(&msg);
		if ((size_t)got >= sizeof header &&
		    header.magic == HANDOVER_MAGIC &&
		    (msg.msg_flags & MSG_TRUNC) == 0)
			break;
		if (message->fd != -1)
			close(message->fd);
	}
	message->type = (enum handover_type)header.type;
	message->number = header.number;
	message->body = handover->body;
	message->len = (size_t)got - sizeof header;
	handover->body[message->len] = '\0';
	return HANDOVER_OK;
}

static double
handover_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

enum handover_status
handover_await(struct handover *handover, struct handover_message *message,
    double seconds)
{
	double end = handover_now() + seconds, left;
	enum handover_status status;
	struct pollfd poll_fd = { .fd = handover->fd };

	for (;;) {
		if (handover_flush(handover) == -1)
			return HANDOVER_GONE;
		status = handover_receive(handover, message);
		if (status != HANDOVER_AGAIN)
			return status;
		left = end - handover_now();
		if (left <= 0)
			return HANDOVER_AGAIN;
		poll_fd.events = POLLIN;
		if (handover_is_pending(handover))
			poll_fd.events |= POLLOUT;
		(void)poll(&poll_fd, 1, (int)(left * 1000) + 1);
	}
}
