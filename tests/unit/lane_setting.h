/* SPDX-License-Identifier: ISC */
/*
 * lane_setting: where a test of lanes begins and ends: for check_lane and
 * check_lane_ends.
 */
#ifndef TUNNELD_TESTS_LANE_SETTING_H
#define TUNNELD_TESTS_LANE_SETTING_H

#include "lane_fixture.h"

extern struct loop *loop;
extern struct pipe_pool *pipes;
extern struct lane_pair pair; /* not opened yet */
extern int raw; /* the other end of a lane that is alone; -1: there is none */

void lane_setup(void);
void lane_teardown(void);

/* Both ends of a connection; they do not block. */
void lane_sockets(int fds[2]);
/* Opens the pair on such a connection. */
void lane_open_pair(void);

#endif
