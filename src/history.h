/* SPDX-License-Identifier: ISC */
/*
 * history: the database of sessions and links as it is read: its rows as
 * structs, and what may be asked of it. Synchronous: no thread, no loop. The
 * daemon reads with it on the ledger's reader thread, tunnelctl on a file
 * whose daemon is down.
 *
 * Opens read-only; never writes a row, never makes a table. Every query that
 * the manual names is served by an index (schema: ledger_schema.c); those
 * that must read much have a deadline.  Floor 1.
 */
#ifndef TUNNELD_HISTORY_H
#define TUNNELD_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "name.h"
#include "reason.h"
#include "wire.h"

#define HISTORY_BY_SIZE 64
#define HISTORY_ERROR_SIZE 160
#define HISTORY_LIMIT_MAX 100000

/* PRAGMA user_version of the database: ledger_schema.c. */
#define LEDGER_SCHEMA_VERSION 2

/* --- rows ---------------------------------------------------------------- */

enum ledger_end { LEDGER_END_ENTRY, LEDGER_END_EXIT, LEDGER_END_LOCAL };
const char *ledger_end_name(enum ledger_end end); /* "entry", ... */

/* Everything known of a session; a row is always handed over whole. */
struct ledger_session {
	int64_t id;		    /* from ledger_take_id */
	uint8_t uid[WIRE_UID_SIZE]; /* the same at both ends */
	char tunnel[NAME_SIZE];
	char peer[NAME_SIZE]; /* "" for a local tunnel */
	char type[8];	      /* "tcp" */
	enum ledger_end end;
	char source[ADDR_TEXT_SIZE]; /* the user */
	char target[ADDR_TEXT_SIZE]; /* the service, "" where unknown */
	int64_t opened_us;	     /* microseconds since the epoch */
	int64_t closed_us;	     /* 0 while open */
	uint64_t up_bytes;	     /* user to service */
	uint64_t down_bytes;
	enum reason reason;		 /* REASON_NONE while open */
	char closed_by[HISTORY_BY_SIZE]; /* "user", "service", "peer",
					    "daemon", "root (uid 0)"; "" */
	bool taken; /* for the ledger: by this run, from another one */
};

/* One life of a link. */
struct ledger_link {
	int64_t id; /* the caller's, unique within this run */
	char peer[NAME_SIZE];
	char address[ADDR_TEXT_SIZE];
	int64_t up_us;
	int64_t down_us;  /* 0 while up */
	char reason[128]; /* why it went down, "" while up */
	/* Only from a query: when the peer's next link came up; 0: not yet. */
	int64_t back_us;
};

/* What an administrator changed. */
struct ledger_change {
	int64_t at_us;
	uint32_t uid;		  /* who asked */
	char by[HISTORY_BY_SIZE]; /* "root (uid 0)" */
	char command[32];	  /* "kill", "disable", ... */
	char detail[256];	  /* "tunnel homelab/ssh: 3 sessions" */
};

/* How much one tunnel, peer or source was used in one hour, one day, or all
 * of the time that was asked for. */
struct history_stat {
	char tunnel[NAME_SIZE];	     /* by tunnel; else "" */
	char peer[NAME_SIZE];	     /* by tunnel or peer; "" if local */
	char source[ADDR_TEXT_SIZE]; /* by source, the host; else "" */
	int64_t from_us;   /* the begin of its hour or day (UTC); 0: of all */
	uint64_t sessions; /* that were opened in it, open ones too */
	uint64_t failed;   /* of them closed, not served: any reason but
			      closed, reset, idle_timeout, killed,
			      killed_by_peer, reload, shutdown, daemon_lost */
	uint64_t up_bytes, down_bytes;
	double median, p95; /* duration of the closed ones in seconds, by
			       nearest rank; < 0: none has closed */
};

/* How long a peer's link was up within the time that was asked for, or within
 * each hour or day of it. */
struct history_uptime {
	char peer[NAME_SIZE];
	int64_t from_us; /* as in history_stat */
	double up;	 /* seconds */
	double known;	 /* seconds in which this daemon was running (runs) */
	double percent;	 /* up of known, 0 to 100; < 0: known is 0 */
	uint64_t downs;	 /* how many times it went down */
};

/* --- questions ----------------------------------------------------------- */

enum history_what {
	HISTORY_SESSIONS, /* newest first, by opened_at */
	HISTORY_LINKS,	  /* newest first, by up_at */
	HISTORY_STATS,	  /* newest span first, in it by bytes, most first */
	HISTORY_UPTIME,	  /* newest span first, in it by peer */
	HISTORY_CHANGES	  /* newest first */
};
enum history_by { HISTORY_BY_TUNNEL, HISTORY_BY_PEER, HISTORY_BY_SOURCE };
enum history_per { HISTORY_PER_ALL, HISTORY_PER_HOUR, HISTORY_PER_DAY };

/*
 * Strings NULL and numbers 0 mean "any". What makes no sense for the kind of
 * row (a link has no tunnel) is ignored.
 */
struct history_query {
	enum history_what what;
	int64_t id; /* one session */
	const char *tunnel;
	const char *peer;
	const char *source; /* the host part, without port; [::1] and ::1
			       are the same host */
	const char *reason; /* as reason_name */
	int64_t since_us, until_us; /* opened_at (up_at, at) in [since, until);
				       a link is found if any of its life is
				       in it, uptime counts the part in it */
	uint64_t min_bytes;	    /* up and down together */
	bool closed_only;
	enum history_by by;
	enum history_per per;
	unsigned limit; /* at most HISTORY_LIMIT_MAX; 0 means 100; of stats
			   and uptime rows, too */
};

/* An array of the one kind that was asked for; n of them. */
struct history_rows {
	enum history_what what;
	size_t n;
	struct ledger_session *sessions;
	struct ledger_link *links;
	struct history_stat *stats;
	struct history_uptime *uptimes;
	struct ledger_change *changes;
};
void history_rows_clear(struct history_rows *rows);

/* --- the file ------------------------------------------------------------ */

struct history;

/*
 * why_stop(arg) is asked often, also while the file is busy; what it returns,
 * unless NULL, ends the query with these words as its error ("timed out").
 */
typedef const char *history_stop_fn(void *arg);

/*
 * Opens the database at path, read-only. NULL with the reason in error: no
 * such file, not a database of sessions, of another version, busy.
 */
struct history *history_open(const char *path, history_stop_fn *why_stop,
    void *arg, char *error, size_t error_size);
void history_close(struct history *history); /* NULL is ignored */
/* Whether another file stands at the path by now. */
bool history_has_moved(struct history *history);

/*
 * Asks. 0 and the rows, which the caller clears; -1 with the reason in error,
 * and the rows are those found before (not for stats: half a sum is wrong).
 * A query that would hold more than memory allows fails with words that say
 * what to narrow.
 */
int history_ask(struct history *history, const struct history_query *query,
    struct history_rows *out, char *error, size_t error_size);

#endif
