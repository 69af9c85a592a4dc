/* SPDX-License-Identifier: ISC */
#include "ending.h"

static void
ending_note_first(struct ending *ending, enum ending_side side)
{
	if (ending->has_first)
		return;
	ending->has_first = true;
	ending->first = side;
}

static enum ending_action
ending_abort(struct ending *ending, enum ending_side side)
{
	ending->reason = REASON_RESET;
	ending->first = side;
	ending->has_first = true;
	return ENDING_ABORT;
}

enum ending_action
ending_step(struct ending *ending, enum ending_side side,
    enum ending_event event)
{
	struct ending_state *state = &ending->side[side];
	struct ending_state *other = &ending->side[!side];

	switch (event) {
	case ENDING_EOF:
		/* The last bytes of a side that took no more are through. */
		if (state->broken)
			return ending_abort(ending, side);
		state->eof = true;
		ending_note_first(ending, side);
		return ENDING_FINISH;
	case ENDING_SENT:
		/* As with EOF: its last bytes are through, the reset follows. */
		if (state->broken)
			return ending_abort(ending, side);
		state->sent = true;
		if (!other->sent)
			return ENDING_GO_ON;
		ending->reason = REASON_CLOSED;
		return ENDING_CLOSE;
	case ENDING_BROKEN:
		/* All that it said is passed on: nothing is left to wait for. */
		state->broken = true;
		if (state->sent || other->broken)
			return ending_abort(ending, side);
		return ENDING_DISCARD;
	case ENDING_LOST:
		ending_abort(ending, side);
		ending->reason = REASON_LINK_LOST;
		return ENDING_ABORT;
	case ENDING_RESET:
		break;
	}
	return ending_abort(ending, side);
}
