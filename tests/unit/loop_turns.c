/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <event2/event.h>

#include "loop_turns.h"

static void
stop(void *arg)
{
	loop_stop(arg);
}

void
loop_run_for(struct loop *loop, double seconds)
{
	struct loop_timer *end = loop_timer_new(loop, stop, loop);

	loop_timer_set(end, seconds);
	ck_assert_int_eq(loop_run(loop), 0);
	loop_timer_free(end);
}

void
loop_run_turns(struct loop *loop, int n)
{
	while (n-- > 0)
		event_base_loop(loop_base(loop), EVLOOP_NONBLOCK);
}
