/* SPDX-License-Identifier: ISC */
/*
 * pipe: the pipes that splice(2) needs, kept in a pool, because one is wanted
 * only while bytes are in flight.
 *
 * An ordinary user gets 16,384 pages of pipe (pipe(7),
 * pipe-user-pages-soft), 256 pipes of 256 KiB, before the kernel shrinks the
 * rest. A pool makes PIPE_MAX at most, which leaves room for others; but there
 * is one for all tunnels and one for the lanes of each peer, so that some of
 * them together may use up what the user gets. Whoever gets none, here or from
 * the kernel, copies. The first ones of a pool hold more, since few bulk
 * sessions gain by it.
 * Floor 2.
 */
#ifndef TUNNELD_PIPE_H
#define TUNNELD_PIPE_H

#include <stdbool.h>
#include <stddef.h>

#define PIPE_MAX 128
#define PIPE_SIZE (256 * 1024)
#define PIPE_LARGE_MAX 16
#define PIPE_LARGE_SIZE (1024 * 1024)

struct pipe_pool;

struct pipe {
	int in;	 /* written by splice */
	int out; /* read by splice */
	bool large;
	struct pipe *next;
};

struct pipe_pool *pipe_pool_new(void);
void pipe_pool_free(struct pipe_pool *pool); /* all pipes are back */

/* NULL: none to be had now, copy instead. */
struct pipe *pipe_take(struct pipe_pool *pool);
/* A pipe that still holds bytes (left > 0) is closed, never pooled. */
void pipe_give(struct pipe_pool *pool, struct pipe *pipe, size_t left);

#endif
