/* SPDX-License-Identifier: ISC */
/* supervisor: its table, and how long it waits. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "supervisor.h"

#define MIN 0.5
#define MAX 30.0
#define STATES 4
#define EVENTS 8

static void
ck_wait(struct supervisor_action action, double seconds)
{
	ck_assert_int_eq(action.what, SUPERVISOR_WAIT);
	ck_assert_double_eq_tol(action.seconds, seconds, 1e-9);
}

static struct supervisor
in_state(enum supervisor_state state)
{
	struct supervisor s;

	supervisor_init(&s, MIN, MAX);
	ck_assert_int_eq(s.state, SUPERVISOR_STOPPED);
	if (state == SUPERVISOR_STOPPED)
		return s;
	supervisor_step(&s, SUPERVISOR_START, 100, 0.5);
	if (state == SUPERVISOR_WAITING)
		supervisor_step(&s, SUPERVISOR_FAILED, 100, 0.5);
	if (state == SUPERVISOR_UP)
		supervisor_step(&s, SUPERVISOR_CONNECTED, 100, 0.5);
	ck_assert_int_eq(s.state, state);
	return s;
}

/* Every event in every state, as the header's table has it. */
START_TEST(table)
{
	static const struct {
		enum supervisor_state from;
		enum supervisor_event event;
		enum supervisor_state to;
		enum supervisor_do what;
	} rows[] = {
		{ SUPERVISOR_STOPPED, SUPERVISOR_START, SUPERVISOR_CONNECTING,
		    SUPERVISOR_DIAL },
		{ SUPERVISOR_CONNECTING, SUPERVISOR_CONNECTED, SUPERVISOR_UP,
		    SUPERVISOR_NOTHING },
		{ SUPERVISOR_CONNECTING, SUPERVISOR_FAILED, SUPERVISOR_WAITING,
		    SUPERVISOR_WAIT },
		{ SUPERVISOR_CONNECTING, SUPERVISOR_REFUSED, SUPERVISOR_WAITING,
		    SUPERVISOR_WAIT },
		{ SUPERVISOR_UP, SUPERVISOR_LOST, SUPERVISOR_WAITING,
		    SUPERVISOR_WAIT },
		{ SUPERVISOR_UP, SUPERVISOR_GOAWAY, SUPERVISOR_WAITING,
		    SUPERVISOR_WAIT },
		{ SUPERVISOR_WAITING, SUPERVISOR_TIMER, SUPERVISOR_CONNECTING,
		    SUPERVISOR_DIAL },
		{ SUPERVISOR_CONNECTING, SUPERVISOR_STOP, SUPERVISOR_STOPPED,
		    SUPERVISOR_CANCEL },
		{ SUPERVISOR_UP, SUPERVISOR_STOP, SUPERVISOR_STOPPED,
		    SUPERVISOR_CANCEL },
		{ SUPERVISOR_WAITING, SUPERVISOR_STOP, SUPERVISOR_STOPPED,
		    SUPERVISOR_CANCEL },
	};
	enum supervisor_state from = (enum supervisor_state)(_i / EVENTS);
	enum supervisor_event event = (enum supervisor_event)(_i % EVENTS);
	struct supervisor s = in_state(from), before = s;
	struct supervisor_action action;
	size_t i;

	action = supervisor_step(&s, event, 200, 0.5);
	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].from == from && rows[i].event == event) {
			ck_assert_int_eq(s.state, rows[i].to);
			ck_assert_int_eq(action.what, rows[i].what);
			return;
		}
	ck_assert_int_eq(s.state, from);
	if (event == SUPERVISOR_STOP)
		return; /* stopped already: cancelling nothing is fine */
	ck_assert_int_eq(action.what, SUPERVISOR_NOTHING);
	ck_assert_double_eq(s.bound, before.bound);
	ck_assert_double_eq(s.up_since, before.up_since);
}
END_TEST

START_TEST(doubles_up_to_max)
{
	static const double bounds[] = { 0.5, 1, 2, 4, 8, 16, 30, 30, 30 };
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);
	size_t i;

	for (i = 0; i < sizeof bounds / sizeof *bounds; i++) {
		ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.75),
		    bounds[i] * 0.75);
		ck_assert_int_eq(supervisor_step(&s, SUPERVISOR_TIMER, 0, 0)
				     .what,
		    SUPERVISOR_DIAL);
	}
	/* It never gives up. */
	for (i = 0; i < 10000; i++) {
		ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5),
		    MAX / 2);
		supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	}
}
END_TEST

START_TEST(jitter_has_a_floor)
{
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);
	int i;

	for (i = 0; i < 20; i++) {
		ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0), MIN / 2);
		supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	}
}
END_TEST

START_TEST(jitter_is_uniform)
{
	struct supervisor s, at;
	int i;

	s = in_state(SUPERVISOR_CONNECTING);
	for (i = 0; i < 10; i++) {
		supervisor_step(&s, SUPERVISOR_FAILED, 0, 0);
		supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	}
	for (i = 1; i < 100; i++) {
		at = s;
		ck_wait(supervisor_step(&at, SUPERVISOR_FAILED, 0, i / 100.0),
		    MAX * i / 100 < MIN / 2 ? MIN / 2 : MAX * i / 100);
	}
}
END_TEST

START_TEST(refused_waits_at_max)
{
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);

	ck_wait(supervisor_step(&s, SUPERVISOR_REFUSED, 0, 0), MAX);
	supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_REFUSED, 0, 0.99), MAX);
}
END_TEST

/* Seconds up, and the next wait's bound. */
static double
bound_after(double up)
{
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);
	struct supervisor_action action;

	supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5);
	supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5);
	supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	supervisor_step(&s, SUPERVISOR_CONNECTED, 1000, 0);
	action = supervisor_step(&s, SUPERVISOR_LOST, 1000 + up, 0.5);
	ck_assert_int_eq(action.what, SUPERVISOR_WAIT);
	return action.seconds * 2;
}

START_TEST(forgets_once_it_held)
{
	/* A link that falls at once goes on where it was. */
	ck_assert_double_eq_tol(bound_after(0), 4 * MIN, 1e-9);
	ck_assert_double_eq_tol(bound_after(MAX - 0.001), 4 * MIN, 1e-9);
	ck_assert_double_eq_tol(bound_after(MAX), MIN, 1e-9);
	ck_assert_double_eq_tol(bound_after(1e6), MIN, 1e-9);
}
END_TEST

/* After a goodbye it is there again at once, but not again and again. */
START_TEST(goodbye)
{
	struct supervisor s = in_state(SUPERVISOR_UP);

	ck_wait(supervisor_step(&s, SUPERVISOR_GOAWAY, 100 + SUPERVISOR_STEADY,
		    0.5),
	    SUPERVISOR_AGAIN / 2);
	supervisor_step(&s, SUPERVISOR_TIMER, 101, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 101, 0.5), MIN / 2);
	supervisor_step(&s, SUPERVISOR_TIMER, 102, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 102, 0.5), MIN);

	s = in_state(SUPERVISOR_UP);
	ck_wait(supervisor_step(&s, SUPERVISOR_GOAWAY, 100, 0.5), MIN / 2);
	supervisor_step(&s, SUPERVISOR_TIMER, 101, 0);
	supervisor_step(&s, SUPERVISOR_CONNECTED, 101, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_GOAWAY, 101, 0.5), MIN);
}
END_TEST

/* It is about to be there again: tried often, and nothing is remembered. */
START_TEST(expected)
{
	struct supervisor s = in_state(SUPERVISOR_UP);
	double now = 100;
	int i;

	supervisor_expect(&s, 105);
	/* A goodbye that comes soon is an ordinary one, with a pause. */
	ck_wait(supervisor_step(&s, SUPERVISOR_GOAWAY, now, 0.5),
	    SUPERVISOR_QUICK);
	for (i = 0; i < 40; i++) {
		now += 0.1;
		supervisor_step(&s, SUPERVISOR_TIMER, now, 0);
		ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, now, 0.99),
		    SUPERVISOR_QUICK);
	}
	supervisor_step(&s, SUPERVISOR_TIMER, 105, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 105, 0.5), MIN / 2);

	/* Once it is up, it is not expected any more. */
	s = in_state(SUPERVISOR_CONNECTING);
	supervisor_expect(&s, 1000);
	supervisor_step(&s, SUPERVISOR_CONNECTED, 100, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_LOST, 101, 0.5), MIN / 2);

	/* A refusal is one all the same; and quick is never slower. */
	s = in_state(SUPERVISOR_CONNECTING);
	supervisor_expect(&s, 1000);
	ck_wait(supervisor_step(&s, SUPERVISOR_REFUSED, 100, 0.5), MAX);
	supervisor_init(&s, 0.01, 0.02);
	supervisor_step(&s, SUPERVISOR_START, 100, 0.5);
	supervisor_expect(&s, 1000);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 100, 0.5), 0.005);
}
END_TEST

START_TEST(other_bounds)
{
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);

	supervisor_set_bounds(&s, 2, 4);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5), 1);
	supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	supervisor_set_bounds(&s, 0.1, 3);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5), 1.5);
	supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_REFUSED, 0, 0.5), 3);
}
END_TEST

START_TEST(forgets_when_started_anew)
{
	struct supervisor s = in_state(SUPERVISOR_CONNECTING);

	supervisor_step(&s, SUPERVISOR_REFUSED, 0, 0);
	supervisor_step(&s, SUPERVISOR_STOP, 0, 0);
	supervisor_step(&s, SUPERVISOR_START, 0, 0);
	ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.5), MIN / 2);
}
END_TEST

START_TEST(min_equals_max)
{
	struct supervisor s;
	int i;

	supervisor_init(&s, 1, 1);
	supervisor_step(&s, SUPERVISOR_START, 0, 0);
	for (i = 0; i < 5; i++) {
		ck_wait(supervisor_step(&s, SUPERVISOR_FAILED, 0, 0.9), 0.9);
		supervisor_step(&s, SUPERVISOR_TIMER, 0, 0);
	}
}
END_TEST

START_TEST(any_walk)
{
	struct supervisor s;
	struct supervisor_action action;
	enum supervisor_event last;
	uint32_t x = 20261121;
	double random;
	int i;

	supervisor_init(&s, MIN, MAX);
	for (i = 0; i < 100000; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		random = (double)(x >> 8) / (1 << 24);
		last = (enum supervisor_event)(x % EVENTS);
		action = supervisor_step(&s, last, i, random);
		if (action.what == SUPERVISOR_WAIT) {
			/* But after a goodbye, when it is hardly any time. */
			ck_assert(action.seconds >= MIN / 2 ||
			    (last == SUPERVISOR_GOAWAY &&
				action.seconds <= SUPERVISOR_AGAIN));
			ck_assert_double_le(action.seconds, MAX);
		}
		/* Asked to wait exactly when it waits, and so on. */
		ck_assert(action.what != SUPERVISOR_WAIT ||
		    s.state == SUPERVISOR_WAITING);
		ck_assert(action.what != SUPERVISOR_DIAL ||
		    s.state == SUPERVISOR_CONNECTING);
		ck_assert(action.what != SUPERVISOR_CANCEL ||
		    s.state == SUPERVISOR_STOPPED);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("supervisor");
	TCase *tc = tcase_create("supervisor");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tc, table, 0, STATES * EVENTS);
	tcase_add_test(tc, doubles_up_to_max);
	tcase_add_test(tc, jitter_has_a_floor);
	tcase_add_test(tc, jitter_is_uniform);
	tcase_add_test(tc, refused_waits_at_max);
	tcase_add_test(tc, forgets_once_it_held);
	tcase_add_test(tc, goodbye);
	tcase_add_test(tc, expected);
	tcase_add_test(tc, other_bounds);
	tcase_add_test(tc, forgets_when_started_anew);
	tcase_add_test(tc, min_equals_max);
	tcase_add_test(tc, any_walk);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
