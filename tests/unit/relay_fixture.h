/* SPDX-License-Identifier: ISC */
/*
 * relay_fixture: a relay between real sockets on a real loop, and the two
 * ends beyond it: the user (or service) and the far daemon. For check_relay.
 */
#ifndef TUNNELD_TESTS_RELAY_FIXTURE_H
#define TUNNELD_TESTS_RELAY_FIXTURE_H

#include <check.h>

#include "lane_fixture.h"
#include "relay.h"

enum kind {
	KIND_TCP,
	KIND_UNIX,
	KIND_TLS_TCP,
	KIND_TLS_UNIX,
	KIND_LANE, /* a channel of a lane, plain or TLS */
	KIND_LANE_TLS
};

/* What stands on either side, and whether there are pipes to splice with. */
struct setting {
	enum kind outside, channel;
	bool pipes;
};
#define SETTINGS 14
extern const struct setting settings[SETTINGS];

/* One end beyond the relay. The bytes it sends are a fixed sequence. */
struct end {
	int fd; /* -1: closed, or there is none */
	SSL *ssl;
	struct stream *stream; /* of a lane */
	uint64_t seed, other_seed;
	uint64_t sent, limit; /* sends up to limit */
	bool fin, fin_sent;   /* half-closes after it */
	bool deaf;	      /* reads nothing */
	uint64_t got;	      /* every byte of them was right */
	bool eof, reset;      /* how its reading ended */
	bool failed;	      /* a reset was met while sending */
};

struct world {
	struct setting setting;
	struct loop *loop;
	struct pipe_pool *pipes;
	struct pipe *taken[PIPE_MAX]; /* so that the relay gets none */
	struct tls *tls;
	struct lane_pair lanes;
	struct relay_params params;
	struct relay *relay;
	struct end user, far;
	bool keep; /* do not free the relay when it is done */
	bool done;
	enum reason reason;
	enum ending_side side;
	struct relay_counters counters; /* at the end */
	bool progress;			/* of the last turn */
	int fds;			/* open before */
};

/* Opens the sockets; params may then be changed before the relay begins. */
void world_open(struct world *w, const struct setting *setting);
void world_begin(struct world *w);
/* Frees what is left; no descriptor may be left over. */
void world_close(struct world *w);

/* A turn of the loop, and of both ends. */
void world_turn(struct world *w);
/* Until nothing has moved for many turns. */
void world_quiet(struct world *w);

struct end *world_end(struct world *w, enum ending_side side);
enum kind world_kind(const struct world *w, enum ending_side side);

/* Ends an open session in order: all that was sent arrived. Closes. */
void world_finish(struct world *w);
/* The session ends in that way, at the hand of that side. */
void ck_done(struct world *w, enum reason reason, enum ending_side side);
/* That side sees it end with a reset, if it can see one. */
void ck_was_reset(struct world *w, enum ending_side side);

double world_now(void);

#define UNTIL(w, what)                                                       \
	do {                                                                 \
		double until_ = world_now() + 30;                            \
                                                                             \
		while (!(what)) {                                            \
			if (world_now() > until_) /* an assertion is slow */ \
				ck_abort_msg("never came: %s", #what);       \
			world_turn(w);                                       \
		}                                                            \
	} while (0)

void end_close(struct end *end);
/* With a RST; a UNIX socket just closes. */
void end_reset(struct end *end);
bool end_over(const struct end *end); /* reading has ended */

int end_unread(const struct end *end); /* bytes in its socket */

/* malloc()ed bytes as the end would send them, counted as sent. */
uint8_t *end_early(struct end *end, size_t len);

bool kind_is_tls(enum kind kind);
bool kind_has_reset(enum kind kind); /* it can be told from EOF */

TCase *check_relay_early(void); /* of check_relay_early.c */

#endif
