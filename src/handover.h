/* SPDX-License-Identifier: ISC */
/*
 * handover: what the processes of one daemon say to each other: the master and
 * its workers, and a worker that leaves and the one that takes its place.
 *
 * One message is one packet of a SOCK_SEQPACKET socketpair, with at most one
 * descriptor (SCM_RIGHTS). A master may be older than its workers, so the
 * layout of a packet never changes, types are only added, and one that is not
 * known is skipped. Floor 2.
 *
 * The life of a worker, as its master sees it:
 *
 *   master                                   worker
 *   START, LISTENER ..., BEGIN           ->
 *                                        <-  KEEP ..., KEPT
 *                                        <-  READY, or FAILED
 *   GO                                   ->  accepts and dials
 *                                        <-  NOTIFY, ALIVE, KEEP ..., KEPT
 *                                        <-  UPGRADE
 *   REFUSED, or                          ->
 *   HEIR, GUEST, DRAIN                   ->  accepts nobody any more
 *                                        <-  LEFT; USER (to its heir)
 *   END                                  ->  ends its sessions
 *
 * and that of its successor: as above, and OLDER (its end of HEIR) and ELDER
 * (its end of GUEST) before GO.
 */
#ifndef TUNNELD_HANDOVER_H
#define TUNNELD_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDOVER_BODY_MAX 73728 /* a user's early bytes, and who it is */
#define HANDOVER_TEXT_MAX 4096	/* of bodies that are text */

enum handover_type {
	/* From the master. */
	HANDOVER_START = 1, /* body: struct handover_start */
	HANDOVER_LISTENER,  /* descriptor; text: whose, as KEEP said, or "" */
	HANDOVER_BEGIN,	    /* all that it is given was given */
	HANDOVER_GO,
	HANDOVER_KEPT_ALL, /* the answer to KEPT where number was not 0 */
	HANDOVER_REFUSED,  /* the upgrade failed; text: why */
	HANDOVER_HEIR,	   /* descriptor: users who wait go there */
	HANDOVER_GUEST,	   /* descriptor: serve it as an administrator */
	HANDOVER_DRAIN,	   /* number: pid of the successor; text: its version */
	HANDOVER_OLDER,	   /* descriptor: users come from there */
	HANDOVER_ELDER,	   /* descriptor; number: pid: ask it */
	HANDOVER_END,	   /* too many drain: sessions end now */
	/* From a worker. */
	HANDOVER_KEEP = 64, /* descriptor; text: whose */
	HANDOVER_KEPT,	    /* others than those since the last are let go */
	HANDOVER_READY,	    /* text: its version */
	HANDOVER_FAILED,    /* text: why it cannot start */
	HANDOVER_NOTIFY,    /* text: for the service manager */
	HANDOVER_ALIVE,	    /* its loop turns */
	HANDOVER_UPGRADE,   /* somebody asks for it */
	HANDOVER_LEFT,	    /* it accepts nobody any more */
	HANDOVER_HANGUP,    /* SIGHUP came, which is for who serves next */
	/* From a worker to its heir. */
	HANDOVER_USER = 128, /* descriptor; body: see daemon_users */
	HANDOVER_PEER	     /* body: likewise */
};

/* The number of KEPT: whether KEPT_ALL is the answer, and when: once what was
 * let go is closed here, or by the service manager, too. */
enum { HANDOVER_KEPT_NO_ANSWER, HANDOVER_KEPT_HERE, HANDOVER_KEPT_EVERYWHERE };

#define HANDOVER_INSTANCE_SIZE 16

enum handover_why {
	HANDOVER_FIRST,	   /* there was none before it */
	HANDOVER_RESTART,  /* the one before it died */
	HANDOVER_SUCCESSOR /* there is one that serves */
};

/* Of the same layout on both sides: fixed sizes, no padding. */
struct handover_start {
	uint8_t instance[HANDOVER_INSTANCE_SIZE];
	uint64_t generation; /* 1, 2, ... */
	uint32_t why;	     /* enum handover_why */
	int32_t master;	     /* its pid */
	uint32_t stays;	     /* there is a service manager, which hears NOTIFY,
				and listeners outlive the daemon: the files of
				UNIX sockets are not removed at its end */
	uint32_t alive_ms;   /* ALIVE is expected so often */
	char path[4096];     /* of the binary, as it is found again */
};

struct handover_message {
	enum handover_type type;
	uint64_t number;
	const void *body; /* sending: NULL if len is 0 */
	size_t len;
	int fd; /* -1: none; sending borrows it, receiving gives it away */
};

struct handover;

/* Takes fd, which becomes non-blocking. NULL out of memory; fd is closed. */
struct handover *handover_new(int fd);
void handover_free(struct handover *handover); /* NULL is ignored */

int handover_fd(const struct handover *handover);

/*
 * Sends, or queues if the other end takes nothing now: then
 * handover_is_pending until handover_flush has sent it. Never blocks. -1 if
 * the other end is gone, out of memory, or when HANDOVER_QUEUE_MAX wait.
 */
#define HANDOVER_QUEUE_MAX 65536
int handover_send(struct handover *handover,
    const struct handover_message *message);
/* The common ones: a type with nothing, or with text. */
int handover_say(struct handover *handover, enum handover_type type,
    const char *text);
bool handover_is_pending(const struct handover *handover);
int handover_flush(struct handover *handover); /* -1: the other end is gone */

enum handover_status { HANDOVER_OK, HANDOVER_AGAIN, HANDOVER_GONE };

/* One message; its body is valid until the next call, and is followed by a
 * NUL. What is no message is skipped. */
enum handover_status handover_receive(struct handover *handover,
    struct handover_message *message);
/* The same, waiting for it; AGAIN when the time is over. */
enum handover_status handover_await(struct handover *handover,
    struct handover_message *message, double seconds);

/* Both ends, close-on-exec. 0, or -1 with errno. */
int handover_pair(int fds[2]);

#endif
