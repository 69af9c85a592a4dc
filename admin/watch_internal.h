/* SPDX-License-Identifier: ISC */
/*
 * watch_internal: what the files of watch share: watch.c (time and answers),
 * watch_keys.c (what keys do), watch_orders.c (what changes the daemon).
 */
#ifndef TUNNELCTL_WATCH_INTERNAL_H
#define TUNNELCTL_WATCH_INTERNAL_H

#include "commands.h"
#include "watch_feed.h"
#include "watch_model.h"
#include "watch_screen.h"

#define WATCH_INTERVAL_MIN 0.2
#define WATCH_INTERVAL_MAX 3600.0
#define WATCH_TEXT_SIZE 600

enum watch_mode {
	WATCH_LOOKING,
	WATCH_FILTERING, /* a filter is being typed */
	WATCH_ASKING,	 /* y or n? */
	WATCH_HELPING
};

enum { /* tags of what is asked */
	WATCH_TAG_STATUS,
	WATCH_TAG_SESSIONS,
	WATCH_TAG_ORDERS /* and as many more as there are orders */
};

enum watch_deed {
	WATCH_KILL_SESSION,
	WATCH_KILL_TUNNEL,
	WATCH_DISABLE,
	WATCH_ENABLE
};

struct watch_order {
	enum watch_deed deed;
	json_int_t id;	 /* of the session */
	char label[160]; /* of the tunnel */
};

struct watch {
	struct context *context;
	struct watch_model model;
	struct watch_feed *feed;
	enum watch_pane focus;
	enum watch_mode mode;
	bool dirty; /* to be drawn */
	bool done;
	int status; /* exit status */
	int signal; /* that ends us, or 0 */
	char last_words[WATCH_TEXT_SIZE];

	double interval, next_reading, next_connect;
	bool paused, read_now;
	bool answered;	/* there was a whole reading */
	bool refused;	/* the last one was */
	bool fresh;	/* nothing was answered since it was reached */
	bool elsewhere; /* another process is to be asked */
	char trouble[WATCH_TEXT_SIZE]; /* with the daemon, or "" */

	char note[WATCH_TEXT_SIZE]; /* the bottom line, or "" */
	enum watch_tone tone;
	char filter_before[WATCH_FILTER_SIZE];
	int help_line;

	struct watch_order order; /* that is being confirmed */
	char question[WATCH_TEXT_SIZE];
	/* Under way; a place for each that the feed takes. */
	struct watch_order orders[WATCH_FEED_QUEUE];
	size_t n_orders;    /* so far */
	size_t orders_open; /* not answered yet */
};

/* The bottom line, until the next key. */
void watch_say(struct watch *watch, enum watch_tone tone, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* watch_keys.c */
void watch_take_key(struct watch *watch, int key);

/* watch_orders.c */
/* Asks whether it is to be done to what is selected. */
void watch_orders_ask(struct watch *watch, enum watch_deed deed);
void watch_orders_answer(struct watch *watch, bool yes);
void watch_orders_result(struct watch *watch,
    const struct watch_answer *answer);

#endif
