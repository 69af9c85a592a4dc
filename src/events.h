/* SPDX-License-Identifier: ISC */
/*
 * events: what happens in this daemon, kept until every follower has taken
 * it, EVENTS_KEPT of them at most. Who subscribes later has missed it.
 * Without a follower nothing is kept, and publishing costs a look at an empty
 * list.
 *
 * One copy of an event serves all followers, each of which takes at its own
 * pace: ten thousand sessions that end in one turn of the loop lose nobody
 * who reads. A follower that falls further behind than what is kept has lost
 * its place, and must be given up.  Floor 2.
 */
#ifndef TUNNELD_EVENTS_H
#define TUNNELD_EVENTS_H

#include <sys/queue.h>

#include <stdbool.h>
#include <stdint.h>

#include "history.h"

#define EVENTS_KEPT 16384

enum event_kind {
	EVENT_LINK_UP,	     /* peer, address */
	EVENT_LINK_DOWN,     /* peer, text: why */
	EVENT_SESSION_OPEN,  /* peer, tunnel, session: bytes can flow */
	EVENT_SESSION_CLOSE, /* the same; also of one that was never open */
	EVENT_ERROR,	     /* peer, or peer and tunnel, text */
	EVENT_CHANGE,	     /* text: what an administrator did; peer, tunnel
				where it was done to one */
	EVENT_RELOAD,	     /* text */
	EVENT_KINDS
};

/* "link_up", ...; and what may be chosen: "link", "session", "error",
 * "change", "reload". */
const char *event_kind_name(enum event_kind kind);
const char *event_kind_group(enum event_kind kind);

/* All that is pointed to is the publisher's, for the time of the call. */
struct event {
	enum event_kind kind;
	const char *peer;		      /* NULL: none */
	const char *tunnel;		      /* its name; NULL: none */
	const char *address;		      /* NULL: none */
	const struct ledger_session *session; /* NULL: none */
	const char *text;		      /* NULL: none */
	int64_t at_us;			      /* set by events_publish */
};

struct event_kept;

/* Embedded by value in who follows. news must not call any function of this
 * module: it makes a note (a task of the loop), and takes later. */
struct events_follower {
	TAILQ_ENTRY(events_follower) entry;
	void (*news)(void *arg); /* something waits, or the place is lost */
	void *arg;
	struct event_kept *next; /* to be taken; NULL: none */
	unsigned waiting;	 /* so many */
	bool lost;		 /* it missed some; nothing more will come */
};
TAILQ_HEAD(events_followers, events_follower);
TAILQ_HEAD(events_list, event_kept);

/* Embedded by value in the daemon. Owns nothing once nobody follows. */
struct events {
	struct events_followers followers;
	struct events_list kept;
	unsigned n_kept;
};

void events_init(struct events *events);
void events_follow(struct events *events, struct events_follower *follower);
void events_unfollow(struct events *events, struct events_follower *follower);
/* The oldest event the follower has not taken yet, valid until the next
 * function of this module is called; NULL: there is none. */
const struct event *events_take(struct events *events,
    struct events_follower *follower);

/* Whether anybody would hear: for publishers whose event takes work. */
bool events_are_followed(const struct events *events);
void events_publish(struct events *events, struct event *event);

#endif
