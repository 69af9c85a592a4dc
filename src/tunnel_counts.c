/* SPDX-License-Identifier: ISC */
#include <string.h>

#include "session.h"
#include "tunnel_drain.h"

/* Of this object, and live sessions' too. Those that rest have no more than
 * what was counted. */
static void
tunnel_get_bytes(const struct tunnel *tunnel, uint64_t *up, uint64_t *down)
{
	const struct session *session;
	uint64_t one_up, one_down;

	*up = tunnel->own.up_bytes + tunnel->live_up;
	*down = tunnel->own.down_bytes + tunnel->live_down;
	TAILQ_FOREACH(session, &tunnel->busy, in_busy) {
		session_get_bytes(session, &one_up, &one_down);
		*up += one_up - session->up_written;
		*down += one_down - session->down_written;
	}
}

void
tunnel_add_counts(struct tunnel_counts *to, const struct tunnel_counts *from)
{
	int i;

	to->total += from->total;
	to->up_bytes += from->up_bytes;
	to->down_bytes += from->down_bytes;
	for (i = 0; i < REASON_COUNT; i++)
		to->refused[i] += from->refused[i];
}

static void
tunnel_add_own(const struct tunnel *tunnel, struct tunnel_counts *to)
{
	struct tunnel_counts own = tunnel->own;

	tunnel_get_bytes(tunnel, &own.up_bytes, &own.down_bytes);
	tunnel_add_counts(to, &own);
}

void
tunnel_get_counts(const struct tunnel *tunnel, struct tunnel_counts *out)
{
	const struct tunnel *older;

	memset(out, 0, sizeof *out);
	tunnel_add_own(tunnel, out);
	if (tunnel->drain.on)
		return;
	tunnel_add_counts(out, &tunnel->past);
	TAILQ_FOREACH(older, &tunnel->tunnels->draining, entry)
		if (strcmp(older->label, tunnel->label) == 0)
			tunnel_add_own(older, out);
}

unsigned
tunnel_count_sessions(const struct tunnel *tunnel)
{
	return tunnel->n_sessions + tunnel->n_older;
}

void
tunnel_sample(struct tunnel *tunnel)
{
	uint64_t up, down;

	tunnel_get_bytes(tunnel, &up, &down);
	rate_sample(&tunnel->rate, loop_now(tunnel->tunnels->params.loop), up,
	    down);
}

void
tunnel_get_rates(const struct tunnel *tunnel, double *up, double *down)
{
	uint64_t up_bytes, down_bytes;

	tunnel_get_bytes(tunnel, &up_bytes, &down_bytes);
	rate_get(&tunnel->rate, loop_now(tunnel->tunnels->params.loop),
	    up_bytes, down_bytes, up, down);
}
