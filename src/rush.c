/* SPDX-License-Identifier: ISC */
#include "rush.h"

#include <stdlib.h>
#include <string.h>

#define RUSH_TICK 0.1 /* seconds, while anybody waits or goes */

TAILQ_HEAD(rush_turns, rush_turn);

struct rush {
	struct loop *loop;
	struct rush_turns waiting[RUSH_KINDS]; /* the longest first */
	struct rush_turns going[RUSH_KINDS];   /* likewise */
	unsigned n_going[RUSH_KINDS];
	unsigned n_soon;
	struct loop_task grant;
	struct loop_timer *tick;
};

static const unsigned rush_most[RUSH_KINDS] = {
	[RUSH_LINK] = RUSH_LINKS,
	[RUSH_WARM] = RUSH_WARMS,
};

static void
rush_go(struct rush *rush, struct rush_turn *turn)
{
	turn->state = RUSH_GOING;
	turn->since = loop_now(rush->loop);
	TAILQ_INSERT_TAIL(&rush->going[turn->kind], turn, entry);
	rush->n_going[turn->kind]++;
	if (!loop_timer_is_set(rush->tick))
		loop_timer_set(rush->tick, RUSH_TICK);
}

static void
rush_leave(struct rush *rush, struct rush_turn *turn)
{
	switch (turn->state) {
	case RUSH_IDLE:
	case RUSH_SLOWLY:
		break;
	case RUSH_SOON:
		rush->n_soon--;
		break;
	case RUSH_WAITING:
		TAILQ_REMOVE(&rush->waiting[turn->kind], turn, entry);
		break;
	case RUSH_GOING:
		TAILQ_REMOVE(&rush->going[turn->kind], turn, entry);
		rush->n_going[turn->kind]--;
		break;
	}
	turn->state = RUSH_IDLE;
}

static bool
rush_is_on(const struct rush *rush)
{
	return rush->n_soon + rush->n_going[RUSH_LINK] >= RUSH_FEW ||
	    !TAILQ_EMPTY(&rush->waiting[RUSH_LINK]);
}

static bool
rush_may_go(const struct rush *rush, enum rush_kind kind)
{
	const struct rush_turn *first = TAILQ_FIRST(&rush->waiting[kind]);

	if (rush->n_going[kind] >= rush_most[kind])
		return false;
	return kind == RUSH_LINK || !rush_is_on(rush) ||
	    (first != NULL &&
		loop_now(rush->loop) - first->since >= RUSH_PATIENCE);
}

/* By a task: who is told may ask for another turn, or give one up. */
static void
rush_grant(void *arg)
{
	struct rush *rush = arg;
	struct rush_turn *turn;
	int kind;

	for (kind = 0; kind < RUSH_KINDS; kind++) {
		while ((turn = TAILQ_FIRST(&rush->waiting[kind])) != NULL &&
		    rush_may_go(rush, kind)) {
			rush_leave(rush, turn);
			rush_go(rush, turn);
			turn->fn(turn->arg);
		}
	}
}

static bool
rush_is_waited_for(const struct rush *rush)
{
	return !TAILQ_EMPTY(&rush->waiting[RUSH_LINK]) ||
	    !TAILQ_EMPTY(&rush->waiting[RUSH_WARM]);
}

static void
rush_tick(void *arg)
{
	struct rush *rush = arg;
	double now = loop_now(rush->loop);
	struct rush_turn *turn;
	bool busy = rush_is_waited_for(rush);
	int kind;

	for (kind = 0; kind < RUSH_KINDS; kind++) {
		while ((turn = TAILQ_FIRST(&rush->going[kind])) != NULL &&
		    now - turn->since >= RUSH_SLOW) {
			rush_leave(rush, turn);
			turn->state = RUSH_SLOWLY;
		}
		busy |= turn != NULL;
	}
	if (!busy)
		return;
	loop_timer_set(rush->tick, RUSH_TICK);
	loop_task_queue(rush->loop, &rush->grant);
}

struct rush *
rush_new(struct loop *loop)
{
	struct rush *rush = calloc(1, sizeof *rush);
	int kind;

	if (rush == NULL)
		return NULL;
	rush->loop = loop;
	for (kind = 0; kind < RUSH_KINDS; kind++) {
		TAILQ_INIT(&rush->waiting[kind]);
		TAILQ_INIT(&rush->going[kind]);
	}
	loop_task_init(&rush->grant, rush_grant, rush);
	rush->tick = loop_timer_new(loop, rush_tick, rush);
	if (rush->tick == NULL) {
		free(rush);
		return NULL;
	}
	return rush;
}

void
rush_free(struct rush *rush)
{
	if (rush == NULL)
		return;
	loop_task_cancel(rush->loop, &rush->grant);
	loop_timer_free(rush->tick);
	free(rush);
}

void
rush_turn_init(struct rush_turn *turn, enum rush_kind kind, loop_fn *fn,
    void *arg)
{
	memset(turn, 0, sizeof *turn);
	turn->kind = kind;
	turn->fn = fn;
	turn->arg = arg;
}

void
rush_expect(struct rush *rush, struct rush_turn *turn)
{
	if (rush == NULL)
		return;
	rush_done(rush, turn);
	turn->state = RUSH_SOON;
	rush->n_soon++;
}

bool
rush_ask(struct rush *rush, struct rush_turn *turn)
{
	if (rush == NULL || turn->state == RUSH_GOING)
		return true;
	rush_leave(rush, turn);
	if (TAILQ_EMPTY(&rush->waiting[turn->kind]) &&
	    rush_may_go(rush, turn->kind)) {
		rush_go(rush, turn);
		return true;
	}
	turn->state = RUSH_WAITING;
	turn->since = loop_now(rush->loop);
	TAILQ_INSERT_TAIL(&rush->waiting[turn->kind], turn, entry);
	if (!loop_timer_is_set(rush->tick))
		loop_timer_set(rush->tick, RUSH_TICK);
	return false;
}

void
rush_done(struct rush *rush, struct rush_turn *turn)
{
	if (rush == NULL || turn->state == RUSH_IDLE)
		return;
	rush_leave(rush, turn);
	if (rush_is_waited_for(rush))
		loop_task_queue(rush->loop, &rush->grant);
}
