/* SPDX-License-Identifier: ISC */
#include "supervisor.h"

#include <math.h>
#include <stdbool.h>

void
supervisor_init(struct supervisor *supervisor, double min, double max)
{
	supervisor->state = SUPERVISOR_STOPPED;
	supervisor->min = min;
	supervisor->max = max;
	supervisor->bound = min;
	supervisor->up_since = 0;
	supervisor->expected = -INFINITY;
}

void
supervisor_set_bounds(struct supervisor *supervisor, double min, double max)
{
	supervisor->min = min;
	supervisor->max = max;
	if (supervisor->bound < min)
		supervisor->bound = min;
	if (supervisor->bound > max)
		supervisor->bound = max;
}

void
supervisor_expect(struct supervisor *supervisor, double until)
{
	supervisor->expected = until;
}

static struct supervisor_action
supervisor_dial(struct supervisor *supervisor)
{
	supervisor->state = SUPERVISOR_CONNECTING;
	return (struct supervisor_action){ .what = SUPERVISOR_DIAL };
}

static struct supervisor_action
supervisor_wait(struct supervisor *supervisor, double now, double random)
{
	double floor = supervisor->min / 2;
	double seconds = supervisor->bound * random;

	supervisor->state = SUPERVISOR_WAITING;
	if (seconds < floor)
		seconds = floor;
	if (now < supervisor->expected)
		return (struct supervisor_action){ .what = SUPERVISOR_WAIT,
			.seconds = seconds < SUPERVISOR_QUICK ?
			    seconds :
			    SUPERVISOR_QUICK };
	supervisor->bound *= 2;
	if (supervisor->bound > supervisor->max)
		supervisor->bound = supervisor->max;
	return (struct supervisor_action){ .what = SUPERVISOR_WAIT,
		.seconds = seconds };
}

static struct supervisor_action
supervisor_wait_max(struct supervisor *supervisor)
{
	supervisor->state = SUPERVISOR_WAITING;
	supervisor->bound = supervisor->max;
	return (struct supervisor_action){ .what = SUPERVISOR_WAIT,
		.seconds = supervisor->max };
}

static struct supervisor_action
supervisor_went_down(struct supervisor *supervisor, bool goodbye, double now,
    double random)
{
	double held = now - supervisor->up_since;

	if (held >= supervisor->max)
		supervisor->bound = supervisor->min;
	if (!goodbye || held < SUPERVISOR_STEADY)
		return supervisor_wait(supervisor, now, random);
	supervisor->state = SUPERVISOR_WAITING;
	return (struct supervisor_action){ .what = SUPERVISOR_WAIT,
		.seconds = SUPERVISOR_AGAIN * random };
}

struct supervisor_action
supervisor_step(struct supervisor *supervisor, enum supervisor_event event,
    double now, double random)
{
	enum supervisor_state state = supervisor->state;

	if (event == SUPERVISOR_STOP) {
		supervisor->state = SUPERVISOR_STOPPED;
		return (struct supervisor_action){ .what = state ==
				SUPERVISOR_STOPPED ?
			    SUPERVISOR_NOTHING :
			    SUPERVISOR_CANCEL };
	}
	if (state == SUPERVISOR_STOPPED && event == SUPERVISOR_START) {
		supervisor->bound = supervisor->min;
		return supervisor_dial(supervisor);
	}
	if (state == SUPERVISOR_WAITING && event == SUPERVISOR_TIMER)
		return supervisor_dial(supervisor);
	if (state == SUPERVISOR_CONNECTING && event == SUPERVISOR_CONNECTED) {
		supervisor->state = SUPERVISOR_UP;
		supervisor->up_since = now;
		supervisor->expected = -INFINITY;
	}
	if (state == SUPERVISOR_CONNECTING && event == SUPERVISOR_FAILED)
		return supervisor_wait(supervisor, now, random);
	if (state == SUPERVISOR_CONNECTING && event == SUPERVISOR_REFUSED)
		return supervisor_wait_max(supervisor);
	if (state == SUPERVISOR_UP &&
	    (event == SUPERVISOR_LOST || event == SUPERVISOR_GOAWAY))
		return supervisor_went_down(supervisor,
		    event == SUPERVISOR_GOAWAY, now, random);
	return (struct supervisor_action){ .what = SUPERVISOR_NOTHING };
}
