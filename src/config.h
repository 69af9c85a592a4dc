/* SPDX-License-Identifier: ISC */
/*
 * config: the configuration as structs: what tunnels.conf said, with every
 * default filled in and every rule checked.
 *
 * A config is immutable once loaded and reference-counted, and so is each of
 * its peers and tunnels: sessions keep the tunnel they began under. Peers hold
 * their secrets, wiped on free.
 * Knows nothing of sockets, links or the loop.  Floor 1.
 *
 * config.c owns the structs, config_options.c the one table of options,
 * config_parse.c and config_value.c read libconfig through that table,
 * config_scan.c looks at the file before libconfig does, config_check.c checks
 * what spans options, config_find.c finds by name. (The autoconf header is build.h, so that this name is ours.)
 */
#ifndef TUNNELD_CONFIG_H
#define TUNNELD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "auth.h"
#include "log.h"
#include "name.h"

enum config_security { CONFIG_SECURITY_TLS, CONFIG_SECURITY_PLAIN };
enum config_mode { CONFIG_MODE_MUX, CONFIG_MODE_DIRECT };
enum config_type { CONFIG_TYPE_TCP };
enum config_on_change {
	CONFIG_ON_CHANGE_KEEP,
	CONFIG_ON_CHANGE_KILL,
	CONFIG_ON_CHANGE_DRAIN
};

struct config_daemon {
	char *name;		/* default: host name up to its first dot */
	char *admin_socket;	/* path; default /run/tunneld/admin.sock */
	char *admin_group;	/* NULL: root and the daemon's user alone */
	char *admin_read_group; /* may look, too; NULL: nobody else */
	char *database;		/* path; default /var/lib/tunneld/sessions.db */
	int retention_days;	/* 0: keep for ever; default 90 */
	int64_t max_rows;	/* of sessions; 0: no limit, the default */
	enum log_target log;	/* default syslog */
	enum log_level log_level;      /* default info */
	char *user;		       /* NULL: stay who started us */
	int max_handshakes;	       /* default 1024 */
	int max_handshakes_per_source; /* default 256 */
	double drain_timeout;	       /* seconds; 0: no limit, the default */
	bool sandbox;		       /* seccomp; default true */
};

struct config_gateway {
	struct addr *listen; /* n_listen of them; none: no peer may dial in */
	size_t n_listen;
};

struct config_metrics {
	bool has_listen;    /* else no metrics are served */
	struct addr listen; /* never ADDR_UNIX */
};

/*
 * Peers and tunnels are counted for themselves: one that a reload did not
 * change is the same object in the old and in the new config.
 */
struct config_peer {
	int refs;
	char *name;
	bool dials; /* has `connect`: dialled and never accepted */
	struct addr connect;
	char *secret_file;
	struct auth_secret secret;
	enum config_security security; /* default tls */
	char *as; /* our name towards this peer; default daemon.name */
	double heartbeat_interval; /* seconds; default 10 */
	double heartbeat_timeout;  /* seconds; default 30; > interval */
	double reconnect_min;	   /* seconds; default 0.5 */
	double reconnect_max;	   /* seconds; default 30; >= min */
	enum config_mode mode;	   /* of its tunnels; default mux */
	int lanes;		   /* default 2; 1..16 */
	int window_max;		   /* bytes; default 16 MiB */
	int64_t link_memory;	   /* bytes; default 64 MiB */
	int pool;		   /* warm channels; default 2; 0..256 */
	int max_channels;	   /* default 10000 */
	int line;		   /* where it stands in the file */
};

struct config_tunnel {
	int refs;
	char *name;
	char *peer; /* NULL: local, and then both ends are here */
	enum config_type type;
	enum config_mode mode; /* default: its peer's; local: no matter */
	bool has_listen;
	bool has_connect;
	struct addr listen;
	struct addr connect;
	struct addr_cidr *allow; /* none: everybody */
	size_t n_allow;
	struct addr_cidr *deny; /* wins over allow */
	size_t n_deny;
	int max_sessions;	/* 0: no limit, the default */
	double idle_timeout;	/* seconds; 0: none, the default */
	double connect_timeout; /* seconds; default 10 */
	double hold;		/* seconds; default 10; 0: refuse at once */
	int max_held;		/* default 256 */
	/* What a reload that changes it or takes it away does to sessions. */
	enum config_on_change on_change; /* default keep */
	double drain_seconds; /* with ..._DRAIN: greater than 0; else 0 */
	int line;
};

struct config {
	int refs;
	char *path; /* of the file */
	struct config_daemon daemon;
	struct config_gateway gateway;
	struct config_metrics metrics;
	struct config_peer **peers;
	size_t n_peers;
	struct config_tunnel **tunnels;
	size_t n_tunnels;
	size_t *peers_by_name;	 /* places in peers, sorted by name */
	size_t *tunnels_by_name; /* in tunnels, by peer and name */
};

/* One thing wrong with a file. line is 0 where none can be named. */
struct config_error {
	char *file;
	int line;
	char *message;
};

struct config_errors {
	struct config_error *list; /* sorted by line */
	size_t n;
};

/*
 * Loads the file at path. On success returns a config with one reference and
 * leaves *errors empty. On failure returns NULL and *errors holds everything
 * that is wrong with it, not only the first thing (a syntax error hides what
 * stands after it); it is empty only if there is no memory for an error. May
 * be called again at any time: nothing is left of a load. Reads secret files; run by root with daemon.user set, it
 * judges them as that user would see them. `errors` need not be initialised;
 * the caller clears it in either case.
 */
struct config *config_load(const char *path, struct config_errors *errors);

void config_errors_clear(struct config_errors *errors);

/* NULL is allowed in all of these, but as the name of a tunnel's peer it means
 * a local one. The finders are for what config_load made. */
struct config *config_ref(struct config *config);
void config_unref(struct config *config);
const struct config_peer *config_find_peer(const struct config *config,
    const char *name);
const struct config_tunnel *config_find_tunnel(const struct config *config,
    const char *peer, const char *name);

/*
 * What holders keep is const: the count alone changes. NULL is allowed. The
 * secret of a peer is wiped when the last reference goes.
 */
const struct config_peer *config_peer_ref(const struct config_peer *peer);
void config_peer_unref(const struct config_peer *peer);
const struct config_tunnel *config_tunnel_ref(const struct config_tunnel
	*tunnel);
void config_tunnel_unref(const struct config_tunnel *tunnel);

/* "PEER/NAME", or "NAME" of a local tunnel; fits NAME_SIZE * 2. */
char *config_tunnel_label(const struct config_tunnel *tunnel, char *buf,
    size_t size);

/*
 * The table of options, for `tunnelctl config`, the manual and its test.
 * Prints one line for each: "SECTION KEY TYPE DEFAULT", tab-separated, with
 * "-" where there is no default ("tunneld --options" shows it).
 */
void config_options_print(void (*line)(const char *text, void *arg), void *arg);

#endif
