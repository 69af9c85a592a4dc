/* SPDX-License-Identifier: ISC */
#include "lane_setting.h"

#include <sys/socket.h>

#include <signal.h>
#include <unistd.h>

struct loop *loop;
struct pipe_pool *pipes;
struct lane_pair pair;
int raw;

void
lane_setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	pipes = pipe_pool_new();
	raw = -1;
}

void
lane_teardown(void)
{
	lane_pair_close(&pair);
	if (raw != -1)
		close(raw);
	pipe_pool_free(pipes);
	loop_free(loop);
}

void
lane_sockets(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
}

void
lane_open_pair(void)
{
	int fds[2];

	lane_sockets(fds);
	lane_pair_open(&pair, loop, pipes, stream_new(fds[0]),
	    stream_new(fds[1]));
}
