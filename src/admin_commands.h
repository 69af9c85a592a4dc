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
 *   reload {dry_run?}
 *
 * SELECTORS: ids?, tunnel?, peer?, source?, older?, idle?; a session must fit
 * all that are given, and kill wants one at least.
 *
 * Floor 5.
 */
#ifndef TUNNELD_ADMIN_COMMANDS_H
#define TUNNELD_ADMIN_COMMANDS_H

#include "admin.h"
#include "gateway.h"
#include "ledger.h"
#include "tunnel.h"

/* The floor above reloads the configuration. */
struct admin_reload {
	bool dry_run; /* only says what would be done */
	bool applied; /* it is in force; never if there are errors */
	/* Of config_diff, each with "sessions" and "effect"; and
	 * {"file", "line", "message"}, the first two null where there are
	 * none. Whoever asked frees them; NULL out of memory. */
	json_t *changes, *errors;
	char sum[80];	/* "1 added, 2 changed", "nothing to change" */
	const char *by; /* for the log */
};

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
	size_t rows_kept; /* of the ledger, that clients have yet to take */
};

/* Ends at name NULL. */
const struct admin_command *admin_commands_table(void);

#endif
