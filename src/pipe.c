/* SPDX-License-Identifier: ISC */
#include "pipe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PIPE_IDLE_MAX 32 /* kept open with nothing in them */
#define PIPE_RETRY 1	 /* seconds before the kernel is asked again */

struct pipe_pool {
	struct pipe *idle;
	unsigned n_idle;
	unsigned n;	   /* in use or idle */
	unsigned n_large;  /* of them */
	time_t refused_at; /* the kernel would give no more; 0: it does */
};

struct pipe_pool *
pipe_pool_new(void)
{
	return calloc(1, sizeof(struct pipe_pool));
}

static void
pipe_destroy(struct pipe_pool *pool, struct pipe *pipe)
{
	close(pipe->in);
	close(pipe->out);
	pool->n_large -= pipe->large;
	pool->n--;
	free(pipe);
}

void
pipe_pool_free(struct pipe_pool *pool)
{
	struct pipe *pipe;

	if (pool == NULL)
		return;
	while ((pipe = pool->idle) != NULL) {
		pool->idle = pipe->next;
		pipe_destroy(pool, pipe);
	}
	free(pool);
}

static time_t
pipe_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

struct pipe *
pipe_take(struct pipe_pool *pool)
{
	struct pipe *pipe = pool->idle;
	int fds[2];

	if (pipe != NULL) {
		pool->idle = pipe->next;
		pool->n_idle--;
		return pipe;
	}
	if (pool->n == PIPE_MAX ||
	    (pool->refused_at != 0 &&
		pipe_now() - pool->refused_at < PIPE_RETRY))
		return NULL;
	pool->refused_at = 0;
	pipe = malloc(sizeof *pipe);
	if (pipe == NULL)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) == -1)
		goto refused;
	pipe->large = pool->n_large < PIPE_LARGE_MAX &&
	    fcntl(fds[1], F_SETPIPE_SZ, PIPE_LARGE_SIZE) >= PIPE_LARGE_SIZE;
	if (!pipe->large &&
	    fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE) < PIPE_SIZE) {
		/* A small pipe costs more system calls than copying. */
		close(fds[0]);
		close(fds[1]);
		goto refused;
	}
	pipe->out = fds[0];
	pipe->in = fds[1];
	pool->n_large += pipe->large;
	pool->n++;
	return pipe;
refused:
	pool->refused_at = pipe_now();
	free(pipe);
	return NULL;
}

void
pipe_give(struct pipe_pool *pool, struct pipe *pipe, size_t left)
{
	if (left > 0 || pool->n_idle == PIPE_IDLE_MAX) {
		pipe_destroy(pool, pipe);
		return;
	}
	pipe->next = pool->idle;
	pool->idle = pipe;
	pool->n_idle++;
}
