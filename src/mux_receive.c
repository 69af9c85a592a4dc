/* SPDX-License-Identifier: ISC */
#include "mux_internal.h"

/*
 * What each frame may not meet. The first row that fits names what is wrong;
 * FIN with `last` is a type of its own here.
 */
enum mux_meets {
	MUX_MEETS_NONE = 1,	  /* no such channel */
	MUX_MEETS_LAST = 2,	  /* their last frame has come */
	MUX_MEETS_THEIRS = 4,	  /* they opened it */
	MUX_MEETS_OPENING = 8,	  /* ours, not answered */
	MUX_MEETS_ANSWERING = 16, /* theirs, not answered */
	MUX_MEETS_ANSWERED = 32,  /* ours, answered before */
	MUX_MEETS_FIN = 64	  /* their FIN has come */
};

struct mux_rule {
	uint8_t type;
	uint8_t meets;
	const char *why;
};

static const struct mux_rule mux_rules[] = {
	{ WIRE_OPENED, MUX_MEETS_NONE, "OPENED of a channel that is not open" },
	{ WIRE_OPENED, MUX_MEETS_LAST, "OPENED after the last frame" },
	{ WIRE_OPENED, MUX_MEETS_THEIRS, "OPENED by who opened" },
	{ WIRE_OPENED, MUX_MEETS_ANSWERED, "OPENED twice" },
	{ WIRE_FAILED, MUX_MEETS_NONE, "FAILED of a channel that is not open" },
	{ WIRE_FAILED, MUX_MEETS_LAST, "FAILED after the last frame" },
	{ WIRE_FAILED, MUX_MEETS_THEIRS, "FAILED by who opened" },
	{ WIRE_FAILED, MUX_MEETS_ANSWERED, "FAILED after OPENED" },
	{ WIRE_DATA, MUX_MEETS_NONE, "DATA of a channel that is not open" },
	{ WIRE_DATA, MUX_MEETS_LAST, "DATA after the last frame" },
	{ WIRE_DATA, MUX_MEETS_OPENING, "DATA before OPENED" },
	{ WIRE_DATA, MUX_MEETS_FIN, "DATA after FIN" },
	{ WIRE_FIN, MUX_MEETS_NONE, "FIN of a channel that is not open" },
	{ WIRE_FIN, MUX_MEETS_LAST, "FIN after the last frame" },
	{ WIRE_FIN, MUX_MEETS_OPENING, "FIN before OPENED" },
	{ WIRE_RESET, MUX_MEETS_NONE, "RESET of a channel that is not open" },
	{ WIRE_RESET, MUX_MEETS_LAST, "RESET after the last frame" },
	{ WIRE_WINDOW, MUX_MEETS_NONE, "WINDOW of a channel that is not open" },
	{ WIRE_WINDOW, MUX_MEETS_LAST, "WINDOW after the last frame" },
	{ WIRE_WINDOW, MUX_MEETS_OPENING, "WINDOW before OPENED" },
	{ WIRE_WINDOW, MUX_MEETS_ANSWERING, "WINDOW before OPENED" },
};

static unsigned
mux_meets(const struct mux_channel *channel)
{
	unsigned meets = 0;

	if (channel == NULL)
		return MUX_MEETS_NONE;
	if (channel->last_got)
		meets |= MUX_MEETS_LAST;
	if (!channel->ours)
		meets |= MUX_MEETS_THEIRS;
	if (channel->state == MUX_OPENING)
		meets |= MUX_MEETS_OPENING;
	else if (channel->state == MUX_ANSWERING)
		meets |= MUX_MEETS_ANSWERING;
	else if (channel->ours)
		meets |= MUX_MEETS_ANSWERED;
	if (channel->fin_got)
		meets |= MUX_MEETS_FIN;
	return meets;
}

static const char *
mux_judge(uint8_t type, const struct mux_channel *channel)
{
	unsigned meets = mux_meets(channel);
	size_t i;

	for (i = 0; i < sizeof mux_rules / sizeof *mux_rules; i++)
		if (mux_rules[i].type == type &&
		    (mux_rules[i].meets & meets) != 0)
			return mux_rules[i].why;
	return NULL;
}

const char *
mux_on_data(struct mux *mux, uint32_t id, size_t len, struct mux_channel **out)
{
	struct mux_channel *channel = mux_find(mux, id);
	const char *why = mux_judge(WIRE_DATA, channel);

	if (why != NULL)
		return why;
	if (len == 0)
		return "DATA without a byte";
	if (len > channel->allowed)
		return "DATA beyond the credit";
	channel->allowed -= (uint32_t)len;
	*out = channel->held && !channel->let_go ? channel : NULL;
	return NULL;
}

/* The window that a hint tells; 0: it makes no sense. */
static uint32_t
mux_hinted_window(uint32_t hint)
{
	if (hint == 0)
		return MUX_WINDOW;
	return hint < MUX_EARLY || hint > MUX_CREDIT_MAX ? 0 : hint;
}

static const char *
mux_on_open(struct mux *mux, const struct wire_message *msg,
    enum mux_news *news, struct mux_channel **out)
{
	const char *why = mux_judge_number(mux, msg->channel);
	struct mux_channel *channel;

	if (why != NULL)
		return why;
	if (mux_hinted_window(msg->open.window) == 0)
		return "OPEN with a window out of bounds";
	channel = mux_channel_new(mux, false);
	if (channel == NULL)
		return "out of memory";
	channel->allowed = MUX_EARLY;
	channel->credit = mux_hinted_window(msg->open.window);
	if (mux_take_number(channel, msg->channel) != 0) {
		channel->held = false;
		mux->n_held--;
		mux_check_closed(channel);
		return "out of memory";
	}
	*out = channel;
	*news = MUX_NEWS_OPENED;
	return NULL;
}

static const char *
mux_on_opened(struct mux_channel *channel, const struct wire_opened *opened,
    enum mux_news *news)
{
	uint32_t window = mux_hinted_window(opened->window);

	if (window == 0)
		return "OPENED with a window out of bounds";
	channel->state = MUX_OPEN;
	channel->credit += window - MUX_EARLY;
	*news = MUX_NEWS_ACCEPTED;
	return NULL;
}

/* The last frame of theirs, which RESET answers. */
static void
mux_answer_last(struct mux_channel *channel)
{
	channel->last_got = true;
	channel->credit = 0;
	mux_stop_waiting(channel);
	mux_clear_due(channel, (unsigned)-1);
	if (!channel->last_sent)
		mux_set_due(channel, MUX_DUE_RESET);
}

static const char *
mux_on_fin(struct mux_channel *channel, bool last, enum mux_news *news)
{
	if (channel->fin_got && !last)
		return "FIN twice";
	if (last && !channel->fin_sent && !channel->last_sent)
		return "the last FIN before ours";
	if (!channel->fin_got)
		*news = MUX_NEWS_READABLE;
	channel->fin_got = true;
	channel->last_got = last;
	mux_clear_due(channel, MUX_DUE_WINDOW);
	if (channel->fin_sent && !channel->last_sent && !channel->let_go)
		mux_set_due(channel, MUX_DUE_FIN);
	return NULL;
}

static const char *
mux_on_window(struct mux_channel *channel, uint32_t credit, enum mux_news *news)
{
	if (credit == 0)
		return "WINDOW of nothing";
	if (credit > MUX_CREDIT_MAX - channel->credit)
		return "WINDOW beyond all bounds";
	if (channel->credit == 0)
		*news = MUX_NEWS_WRITABLE;
	channel->credit += credit;
	return NULL;
}

const char *
mux_on_message(struct mux *mux, const struct wire_message *msg,
    enum mux_news *news, struct mux_channel **out)
{
	struct mux_channel *channel;
	const char *why;

	*news = MUX_NEWS_NONE;
	*out = NULL;
	if (msg->channel == 0)
		return "channel 0";
	if (msg->type == WIRE_OPEN)
		return mux_on_open(mux, msg, news, out);
	channel = mux_find(mux, msg->channel);
	why = mux_judge(msg->type, channel);
	if (why != NULL)
		return why;
	switch (msg->type) {
	case WIRE_OPENED:
		why = mux_on_opened(channel, &msg->opened, news);
		break;
	case WIRE_FAILED:
		mux_answer_last(channel);
		channel->refused = true;
		*news = MUX_NEWS_REFUSED;
		break;
	case WIRE_FIN:
		why = mux_on_fin(channel, msg->fin.last == 1, news);
		break;
	case WIRE_RESET:
		channel->reset = true;
		channel->reason = msg->reset.reason;
		mux_answer_last(channel);
		*news = MUX_NEWS_READABLE;
		break;
	case WIRE_WINDOW:
		why = mux_on_window(channel, msg->window.credit, news);
		break;
	default:
		return "a frame that no channel has";
	}
	if (why != NULL)
		return why;
	*out = channel;
	if (!channel->held) {
		*news = MUX_NEWS_NONE;
		*out = NULL;
		mux_check_closed(channel);
	} else if (channel->last_sent && channel->last_got) {
		mux_check_closed(channel);
	}
	return NULL;
}
