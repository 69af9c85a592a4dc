/* SPDX-License-Identifier: ISC */
#include "lane_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* So much is gathered of a channel before its reader is told, unless there is
 * no more at the connection. */
#define LANE_GATHER (512 * 1024)

ssize_t
lane_splice(int from, int to, size_t len, unsigned flags)
{
	ssize_t n;

	do
		n = splice(from, NULL, to, NULL, len,
		    SPLICE_F_MOVE | SPLICE_F_NONBLOCK | flags);
	while (n == -1 && errno == EINTR);
	return n;
}

/* --- what waits in a pipe --------------------------------------------------- */

static void
lane_set_piped(struct lane_stream *ls, size_t len)
{
	ls->in_pipe = len;
	mux_set_piped(ls->channel, len);
	if (len > 0 || ls->pipe == NULL)
		return;
	pipe_give(ls->lane->params.pipes, ls->pipe, 0);
	ls->pipe = NULL;
}

void
lane_drop_pipe(struct lane_stream *ls)
{
	if (ls->pipe == NULL)
		return;
	pipe_give(ls->lane->params.pipes, ls->pipe, ls->in_pipe);
	ls->pipe = NULL;
	ls->in_pipe = 0;
	mux_set_piped(ls->channel, 0);
}

enum stream_status
lane_read_pipe(struct lane_stream *ls, void *data, size_t len, size_t *got)
{
	ssize_t n;

	do
		n = read(ls->pipe->out, data,
		    len < ls->in_pipe ? len : ls->in_pipe);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return STREAM_RESET; /* cannot be: they are in there */
	*got = (size_t)n;
	lane_set_piped(ls, ls->in_pipe - *got);
	mux_passed(ls->channel, *got, loop_now(ls->loop), ls->lane->rtt);
	return STREAM_OK;
}

bool
lane_keeps_first(const struct lane_stream *ls)
{
	return ls->in_pipe > 0 && ls->kept_first && mux_kept(ls->channel) > 0;
}

/* What is in the pipe is kept as everything else. */
void
lane_empty_pipe(struct lane_stream *ls)
{
	uint8_t *scratch = loop_scratch(ls->loop);
	struct lane *lane = ls->lane;
	ssize_t n;

	while (ls->in_pipe > 0) {
		n = read(ls->pipe->out, scratch,
		    ls->in_pipe < LOOP_SCRATCH_SIZE ? ls->in_pipe :
						      LOOP_SCRATCH_SIZE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || mux_keep(ls->channel, scratch, (size_t)n) != 0) {
			lane_die(lane, "out of memory");
			return;
		}
		lane_set_piped(ls, ls->in_pipe - (size_t)n);
	}
}

void
lane_splice_out(struct lane_stream *ls, int fd, struct stream_move *move)
{
	struct lane *lane = ls->lane;
	ssize_t n;

	move->source = move->sink = STREAM_OK;
	move->moved = 0;
	if (lane == NULL)
		return;
	while (ls->in_pipe > 0 && !lane_keeps_first(ls)) {
		n = lane_splice(ls->pipe->out, fd, ls->in_pipe, 0);
		if (n <= 0) {
			move->sink = n < 0 && errno == EAGAIN ? STREAM_AGAIN :
								STREAM_RESET;
			break;
		}
		move->moved += (size_t)n;
		lane_set_piped(ls, ls->in_pipe - (size_t)n);
	}
	if (move->moved > 0) {
		mux_passed(ls->channel, move->moved, loop_now(lane->loop),
		    lane->rtt);
		if (mux_has_frames(lane->mux))
			lane_send_soon(lane);
	}
}

/* --- from the connection ---------------------------------------------------- */

void
lane_tell_gathered(struct lane *lane)
{
	struct lane_stream *ls;

	while ((ls = TAILQ_FIRST(&lane->gathered)) != NULL) {
		lane_forget_gathered(ls);
		lane_stream_tell(ls, true, false);
	}
}

void
lane_forget_gathered(struct lane_stream *ls)
{
	if (ls->gathered)
		TAILQ_REMOVE(&ls->lane->gathered, ls, entry);
	ls->gathered = false;
}

/* What is still to come of this frame may go into its reader's pipe. */
static bool
lane_may_splice(const struct lane *lane)
{
	const struct lane_stream *ls;

	if (!lane->plain || lane->dead != NULL || lane->current == NULL ||
	    !lane->large || lane->rest == 0)
		return false;
	ls = mux_holder(lane->current);
	return ls->owner == NULL && ls->base.fn != NULL &&
	    (ls->in_pipe == 0 || ls->kept_first || mux_kept(ls->channel) == 0);
}

/* Moves a piece from the connection into the pipe. -1: there is none, or it
 * holds no more; 0: reading says what there is. */
static ssize_t
lane_fill_pipe(struct lane_stream *ls)
{
	struct lane *lane = ls->lane;
	const struct mux_memory *memory = lane->params.memory;
	ssize_t n;

	if (ls->pipe == NULL)
		ls->pipe = pipe_take(lane->params.pipes);
	if (ls->pipe == NULL)
		return 0;
	n = lane_splice(stream_fd(lane->stream), ls->pipe->in, lane->rest, 0);
	if (n <= 0) {
		n = n < 0 && errno == EAGAIN ? -1 : 0;
		lane_set_piped(ls, ls->in_pipe);
		return n;
	}
	if (ls->in_pipe == 0)
		ls->kept_first = mux_kept(ls->channel) > 0;
	lane->last_heard = loop_now(lane->loop);
	lane->rest -= (size_t)n;
	lane->in_bytes += (size_t)n;
	lane->bulk = true;
	lane->small = 0;
	lane_set_piped(ls, ls->in_pipe + (size_t)n);
	if (!ls->gathered)
		TAILQ_INSERT_TAIL(&lane->gathered, ls, entry);
	ls->gathered = true;
	if (memory->kept > memory->bound)
		lane->params.handler->full(lane->params.arg);
	return n;
}

bool
lane_splice_rest(struct lane *lane)
{
	struct lane_stream *ls;
	size_t before;
	ssize_t n;

	while (lane_may_splice(lane)) {
		ls = mux_holder(lane->current);
		n = lane_fill_pipe(ls);
		if (n == 0)
			return false;
		if (n < 0 && ls->in_pipe == 0)
			return true;
		if (n > 0 && ls->in_pipe < LANE_GATHER)
			continue;
		/* It is full, or nothing more has come. */
		before = ls->in_pipe;
		lane_forget_gathered(ls);
		lane_stream_tell(ls, true, false);
		if (n < 0 && lane->current != NULL && ls->in_pipe == before)
			return false;
	}
	return false;
}
