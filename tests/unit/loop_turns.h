/* SPDX-License-Identifier: ISC */
/* loop_turns: lets a loop go on for a while, or for some turns. */
#ifndef TUNNELD_LOOP_TURNS_H
#define TUNNELD_LOOP_TURNS_H

#include "loop.h"

/* Runs it for so many seconds, or until somebody stops it. */
void loop_run_for(struct loop *loop, double seconds);

/* So many turns that wait for nothing. */
void loop_run_turns(struct loop *loop, int n);

#endif
