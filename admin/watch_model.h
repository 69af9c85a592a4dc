/* SPDX-License-Identifier: ISC */
/*
 * watch_model: what the daemon says in JSON as the lists of tunnels and of
 * sessions and the few facts above them. Pure, like watch_list. Nothing in an
 * answer is taken for granted; text becomes printable ASCII here.
 */
#ifndef TUNNELCTL_WATCH_MODEL_H
#define TUNNELCTL_WATCH_MODEL_H

#include <jansson.h>

#include "watch_list.h"

enum watch_pane { WATCH_TUNNELS, WATCH_SESSIONS, WATCH_PANES };

enum { /* columns of tunnels, but for the common ones */
	WATCH_TUNNEL_LABEL = 0,
	WATCH_TUNNEL_STATE,
	WATCH_TUNNEL_SESSIONS,
	WATCH_TUNNEL_HELD,
	WATCH_TUNNEL_REFUSED,
	WATCH_TUNNEL_END,
	WATCH_TUNNEL_ADDRESS = WATCH_DOWN + 1
};

enum { /* of sessions */
	WATCH_SESSION_ID = 0,
	WATCH_SESSION_TUNNEL,
	WATCH_SESSION_SOURCE,
	WATCH_SESSION_STATE,
	WATCH_SESSION_AGE,
	WATCH_SESSION_IDLE,
	WATCH_SESSION_TARGET = WATCH_DOWN + 1
};

struct watch_facts {
	bool known; /* there was an answer */
	char name[80], version[32], ledger[32];
	double uptime;
	size_t peers, peers_up;
	double sessions, held, lost;
	double up_rate, down_rate; /* of the tunnels listed; or NAN */
};

struct watch_model {
	struct watch_list lists[WATCH_PANES];
	struct watch_facts facts;
	const char *tunnel, *peer; /* only these; NULL: all */
};

/* tunnel and peer are borrowed. */
void watch_model_init(struct watch_model *model, const char *tunnel,
    const char *peer);
void watch_model_clear(struct watch_model *model);

struct watch_moment {
	double steady; /* seconds of a clock that only goes forward */
	double wall;   /* since the epoch */
};

/* The answer to `status`: facts and tunnels, a whole reading. */
void watch_model_take_status(struct watch_model *model, const json_t *data,
    const struct watch_moment *now);
/* A piece of the answer to `sessions`, between begin and finish of the
 * list. */
void watch_model_take_sessions(struct watch_model *model, const json_t *data,
    const struct watch_moment *now);

/* What comes next may come from another daemon. */
void watch_model_forget(struct watch_model *model);

#endif
