/* SPDX-License-Identifier: ISC */
/*
 * mux_fixture: one machine, and what is said to it, for check_mux.
 */
#ifndef TUNNELD_TESTS_MUX_FIXTURE_H
#define TUNNELD_TESTS_MUX_FIXTURE_H

#include "check_mux.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Anew for each test: the dialling side, a channel, what was told last. */
extern struct mux_memory memory;
extern struct mux *mux;
extern struct mux_channel *channel;
extern enum mux_news news;
void setup(void);
void teardown(void);

/* A sound frame of that type. LAST stands for FIN with `last`. */
#define LAST 0x91
struct wire_message message(uint8_t type, uint32_t id);
/* What is wrong with it, or NULL. OPEN sets channel. */
const char *receive(uint8_t type, uint32_t id);
void take(uint8_t type, uint32_t id); /* nothing is */

/* The next frame that is due is of that type. */
struct wire_message emit(uint8_t type);
void emit_fin(bool last);
void nothing_due(void);

struct mux_channel *open_ours(void); /* and OPEN is due */

enum state {
	NONE,	   /* never used */
	OPENING,   /* ours */
	ANSWERING, /* theirs */
	OURS,	   /* open */
	THEIRS,
	FINISHED,  /* ours; their FIN has come */
	HALF,	   /* ours; our FIN is sent */
	BOTH,	   /* both FINs passed, neither was the last */
	RESETTING, /* ours; RESET sent */
	REFUSED,   /* theirs; FAILED sent */
	CLOSED,	   /* ours, closed */
	DROPPED,   /* ours; RESET sent before an answer came */
	WAITING,   /* ours; our FIN was the last, theirs is due */
	RESET,	   /* ours; their RESET has come, the answer is due */
	FAILED,	   /* ours; their FAILED has come, the answer is due */
	EVICTED,   /* ours; RESET is due */
	EARLY,	   /* theirs, not answered, and their FIN has come */
	THEIR_HALF,
	THEIR_BOTH,
	THEIR_RESET,
	THEIR_CLOSED,
	STATES
};

/* Brings channel there and returns its number. */
uint32_t reach(enum state state);

#endif
