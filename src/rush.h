/* SPDX-License-Identifier: ISC */
/*
 * rush: whose turn it is to dial where many want to at once, as when a gateway
 * with a thousand links of ours comes back: links first, a bounded number at a
 * time, then what warms them (lanes, pools). Who does not answer soon keeps
 * nobody waiting, and nobody waits for long.
 *
 * Knows no peers: whoever dials asks for a turn.  Floor 2.
 */
#ifndef TUNNELD_RUSH_H
#define TUNNELD_RUSH_H

#include "loop.h"

enum rush_kind { RUSH_LINK, RUSH_WARM, RUSH_KINDS };

/* As many at a time, of each kind: a gateway has 256 places for strangers of
 * one address (max_handshakes_per_source). */
#define RUSH_LINKS 64
#define RUSH_WARMS 16
/* With fewer links on their way, or to be soon, there is no rush: whoever wants
 * to warm may. */
#define RUSH_FEW 8
/* Seconds: who takes longer is not counted; and the longest that warming waits
 * for links. */
#define RUSH_SLOW 0.25
#define RUSH_PATIENCE 2.0

struct rush;
struct rush *rush_new(struct loop *loop); /* NULL: memory */
void rush_free(struct rush *rush);

/* Embedded by value in whoever dials. */
struct rush_turn {
	TAILQ_ENTRY(rush_turn) entry;
	enum rush_kind kind;
	enum rush_state {
		RUSH_IDLE,
		RUSH_SOON,
		RUSH_WAITING,
		RUSH_GOING,
		RUSH_SLOWLY
	} state;
	double since;
	loop_fn *fn;
	void *arg;
};
void rush_turn_init(struct rush_turn *turn, enum rush_kind kind, loop_fn *fn,
    void *arg);

/* A link that will be dialled within a second or so: warming waits for it. */
void rush_expect(struct rush *rush, struct rush_turn *turn);
/* True: dial now. False: fn(arg) is called when its turn has come, by a task. A
 * rush that is NULL lets everybody go. */
bool rush_ask(struct rush *rush, struct rush_turn *turn);
/* It is up, or failed, or is not wanted any more. Must be called before its
 * memory goes; one that has no turn is ignored. */
void rush_done(struct rush *rush, struct rush_turn *turn);

#endif
