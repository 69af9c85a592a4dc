/* SPDX-License-Identifier: ISC */
/*
 * admin_commands: what each command of the admin socket does; one table.
 *
 *   version                      status            peers        tunnels
 *   sessions {SELECTORS}         session {id}
 *   kill {SELECTORS}
 *   disconnect {peer}
 *   disable {name | tunnel | peer, kill?}
 *   enable {name | tunnel | peer}
 *   history, links, stats, uptime, changes {FILTERS: history_json.h}
 *   events {tunnel?, peer?, kinds?}
 *   test {tunnel}                ping {peer}
 *   log-level {level}            config
 *   reload {dry_run?}            upgrade
 *
 * SELECTORS: ids?, tunnel?, peer?, source?, older?, idle?; a session must fit
 * all that are given, and kill wants one at least.
 *
 * While other workers of this daemon drain (admin_workers), status, tunnels,
 * sessions, session, kill and disable with kill see and reach their sessions,
 * too. A worker that drains itself refuses what it is not there for any more.
 *
 * Floor 5.
 */
#ifndef TUNNELD_ADMIN_COMMANDS_H
#define TUNNELD_ADMIN_COMMANDS_H

#include "admin.h"
#include "admin_workers.h"
#include "gateway.h"
#include "ledger.h"
#include "tunnel.h"

/* The floor above reloads the configuration. */
struct admin_reload {
	bool dry_run; /* only says what would be done */
	bool applied; /* it is in force; never if it is refused */
	bool refused; /* for these errors; none is there: out of memory */
	/* Of config_diff, each with "sessions" and "effect"; and
	 * {"file", "line", "message"}, the first two null where there are
	 * none. Whoever asked frees them; NULL: out of memory. */
	json_t *changes, *errors;
	char sum[80];	/* "1 added, 2 changed", "nothing to change" */
	const char *by; /* for the log */
};

/* What came of an upgrade. */
struct admin_upgraded {
	bool ok;
	const char *why;     /* not ok: in words */
	pid_t pid;	     /* ok: of the new worker, ... */
	const char *version; /* ... and what it is */
	pid_t old_pid;	     /* of the one that drains */
	unsigned sessions;   /* that it still has */
};
typedef void admin_upgraded_fn(const struct admin_upgraded *outcome, void *arg);

/* The arg of every command; owned by the daemon. */
struct admin_context {
	const struct config *config;
	const char *version;
	int64_t started_us;
	struct peers *peers;
	struct gateway *gateway;
	struct events *events;
	struct tunnels *tunnels;
	struct ledger *ledger;
	void (*reload)(struct admin_reload *reload, void *arg);
	void *reload_arg;
	pid_t master; /* the process that started this one; 0: none */
	/*
	 * Begins an upgrade; done is called exactly once, perhaps before this
	 * returns, and while there is a ledger, whoever asked for it may be
	 * gone. NULL only without a master.
	 */
	void (*upgrade)(admin_upgraded_fn *done, void *done_arg, void *arg);
	/* Whether the program on disk is another one than this process's.
	 * NULL: never. */
	bool (*replaced)(void *arg);
	void *upgrade_arg;	       /* of both */
	struct admin_workers *workers; /* that drain; NULL: there are none */
	bool upgrading;		       /* what is changed now would be lost */
	/* This worker drains: since when, and until when at most. 0: not. */
	int64_t draining_us, drain_until_us;
	size_t rows_kept; /* of the ledger, that clients have yet to take */
};

/* Ends at name NULL. */
const struct admin_command *admin_commands_table(void);

#endif
