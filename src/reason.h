/* SPDX-License-Identifier: ISC */
/*
 * reason: why a session ended, and who ended it; the words of the ledger, the
 * log and tunnelctl.  Pure tables.  Floor 0.
 */
#ifndef TUNNELD_REASON_H
#define TUNNELD_REASON_H

enum reason {
	REASON_NONE,		/* still open */
	REASON_CLOSED,		/* "closed": both ways ended with EOF */
	REASON_RESET,		/* "reset": by user, service or peer */
	REASON_REFUSED,		/* "refused": the service said no */
	REASON_UNREACHABLE,	/* "unreachable": no route, no such socket */
	REASON_CONNECT_TIMEOUT, /* "connect_timeout": no answer of it */
	REASON_RESOLVE_FAILED,	/* "resolve_failed": the service's name */
	REASON_DENIED,		/* "denied": the exit does not allow it */
	REASON_DISABLED,	/* "disabled": by an admin, here or there */
	REASON_LIMIT,		/* "limit": the exit's max_sessions */
	REASON_LINK_DOWN,	/* "link_down": still down after hold */
	REASON_NO_CHANNEL,	/* "no_channel": link up, yet none came */
	REASON_CHANNEL_LOST,	/* "channel_lost": it died before OPENED */
	REASON_LINK_LOST,	/* "link_lost": its lane, or the whole link */
	REASON_IDLE_TIMEOUT,	/* "idle_timeout" */
	REASON_KILLED,		/* "killed": by an admin, here */
	REASON_KILLED_BY_PEER,	/* "killed_by_peer": by an admin, there */
	REASON_RELOAD,		/* "reload": its tunnel changed, or went */
	REASON_SHUTDOWN,	/* "shutdown": this daemon was stopped */
	REASON_DAEMON_LOST,	/* "daemon_lost": this daemon died */
	REASON_INTERNAL,	/* "internal": out of memory, descriptors */
	REASON_COUNT
};

/* The word, "" for REASON_NONE; never NULL. */
const char *reason_name(enum reason reason);

#endif
