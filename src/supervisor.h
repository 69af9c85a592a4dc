/* SPDX-License-Identifier: ISC */
/*
 * supervisor: when to dial a peer, and how long to wait before the next try.
 * Time and randomness are passed in.  Pure.
 * Floor 3.
 *
 * Waiting doubles from `min` to `max` with full jitter (uniform up to the
 * bound, but at least half of `min`), and is forgotten once a link held for
 * `max` seconds. A refusal waits at `max`: a wrong secret does not become right
 * by trying often, nor a disabled peer enabled. It never gives up. Who said
 * goodbye is there again at once, as a rule (a reload, an upgrade): that one
 * try comes within SUPERVISOR_AGAIN seconds, unless the link held for less
 * than SUPERVISOR_STEADY: then goodbyes are as good as losses. While the link
 * is expected to come back, failures and losses are waited for hardly at all,
 * and not remembered.
 *
 *   state       event                    -> state, action
 *   stopped     start                    -> connecting, dial
 *   connecting  connected                -> up
 *   connecting  failed | refused         -> waiting, wait
 *   up          lost                     -> waiting, wait
 *   up          goaway                   -> waiting, wait hardly at all
 *   waiting     timer                    -> connecting, dial
 *   any         stop                     -> stopped, cancel
 *   otherwise                            -> unchanged, nothing
 */
#ifndef TUNNELD_SUPERVISOR_H
#define TUNNELD_SUPERVISOR_H

#define SUPERVISOR_AGAIN 0.05
#define SUPERVISOR_STEADY 0.5
#define SUPERVISOR_QUICK 0.1 /* the longest wait while it is expected */

enum supervisor_state {
	SUPERVISOR_STOPPED,
	SUPERVISOR_CONNECTING,
	SUPERVISOR_UP,
	SUPERVISOR_WAITING
};

enum supervisor_event {
	SUPERVISOR_START,
	SUPERVISOR_CONNECTED, /* authenticated: the link is up */
	SUPERVISOR_FAILED,    /* dial or handshake failed */
	SUPERVISOR_REFUSED,   /* name or secret refused, or disabled there */
	SUPERVISOR_LOST,      /* the link went down */
	SUPERVISOR_GOAWAY,    /* ... after the other end had said so */
	SUPERVISOR_TIMER,     /* the wait is over */
	SUPERVISOR_STOP
};

struct supervisor {
	enum supervisor_state state;
	double min, max; /* seconds; 0 < min <= max */
	double bound;	 /* of the next wait */
	double up_since; /* while up */
	double expected; /* until then; forgotten once it is up */
};

enum supervisor_do {
	SUPERVISOR_NOTHING,
	SUPERVISOR_DIAL,
	SUPERVISOR_WAIT,  /* set the timer to `seconds` */
	SUPERVISOR_CANCEL /* whatever is under way */
};

struct supervisor_action {
	enum supervisor_do what;
	double seconds; /* of WAIT */
};

void supervisor_init(struct supervisor *supervisor, double min, double max);

/* Other bounds from now on; of a wait under way nothing is known here. */
void supervisor_set_bounds(struct supervisor *supervisor, double min,
    double max);

/* The link is about to come back, until then at the latest. */
void supervisor_expect(struct supervisor *supervisor, double until);

/* now: monotonic seconds; random: uniform in [0, 1). */
struct supervisor_action supervisor_step(struct supervisor *supervisor,
    enum supervisor_event event, double now, double random);

#endif
