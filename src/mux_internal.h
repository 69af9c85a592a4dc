/* SPDX-License-Identifier: ISC */
/*
 * mux_internal: what the files of mux share, and nobody else includes: mux.c
 * is the life of channels and numbers, mux_receive.c judges what comes in,
 * mux_send.c says what goes out, mux_keep.c keeps bytes and grants credit.
 * Floor 0.
 */
#ifndef TUNNELD_MUX_INTERNAL_H
#define TUNNELD_MUX_INTERNAL_H

#include <sys/queue.h>

#include "mux.h"

enum mux_state { MUX_OPENING, MUX_ANSWERING, MUX_OPEN };

/* Frames that are due. */
enum mux_due {
	MUX_DUE_OPEN = 1,
	MUX_DUE_OPENED = 2,
	MUX_DUE_FAILED = 4,
	MUX_DUE_WINDOW = 8,
	MUX_DUE_FIN = 16,
	MUX_DUE_RESET = 32
};

struct mux_block {
	TAILQ_ENTRY(mux_block) entry;
	size_t offset, len, size; /* bytes[offset..len) of size */
	uint8_t bytes[];
};

TAILQ_HEAD(mux_blocks, mux_block);

struct mux_channel {
	TAILQ_ENTRY(mux_channel) entry;	 /* of all */
	TAILQ_ENTRY(mux_channel) urgent; /* while something is due */
	TAILQ_ENTRY(mux_channel) ring;	 /* while it waits */
	TAILQ_ENTRY(mux_channel) grown;	 /* while its window has grown */
	struct mux *mux;
	void *holder;
	uint32_t id; /* 0: not opened yet, or closed */
	uint8_t state;
	uint8_t due;
	bool ours, held;
	bool fin_sent, last_sent, fin_got, last_got; /* frames that passed */
	bool let_go;		/* RESET or FAILED are due or sent: discard */
	bool refused;		/* FAILED has come */
	bool reset;		/* RESET has come, unanswered so far */
	bool told;		/* that it is lost */
	bool wary;		/* its reader did not keep up, once */
	bool waiting;		/* in the ring, */
	bool heavy;		/* of those that used up their last turn */
	uint8_t reason;		/* of the RESET that is due, or that came */
	uint32_t credit;	/* bytes we may send */
	uint32_t allowed;	/* bytes they may send */
	uint32_t window;	/* what allowed is filled up to */
	uint32_t grant;		/* of the WINDOW that is due */
	uint32_t opened_window; /* of the OPENED that is due */
	uint32_t used;		/* of its quantum, in this round */
	uint64_t streak;	/* sent since it had nothing more to send */
	uint64_t round;
	double granted_at;
	size_t most_kept;    /* since then */
	size_t least_queued; /* since then, kept or elsewhere */
	struct mux_blocks blocks;
	size_t kept, piped;
	const uint8_t *lent;
	size_t lent_len;
	uint8_t *frame; /* OPEN or FAILED, while due */
	size_t frame_len;
};

TAILQ_HEAD(mux_channels, mux_channel);

/* The numbers of one end. */
struct mux_side {
	struct mux_channel **slots; /* NULL: closed */
	uint32_t *closed;	    /* ours: numbers to use again */
	uint32_t n, n_closed, size; /* ever used; room for */
};

struct mux {
	struct mux_params params;
	struct mux_side ours, theirs;
	struct mux_channels all;
	struct mux_channels urgent;
	struct mux_channels light, heavy; /* those that wait */
	struct mux_channels grown;
	unsigned n, n_ours, n_held;
	unsigned lights;	  /* turns in a row */
	struct mux_channel *turn; /* whose it is, or was last */
	struct mux_blocks spare;  /* of MUX_BLOCK_MAX, to use again soon */
	unsigned n_spare;
	uint64_t round;
	bool lost;
};

/* mux.c */
struct mux_channel *mux_channel_new(struct mux *mux, bool ours);
struct mux_channel *mux_find(const struct mux *mux, uint32_t id);
bool mux_is_ours(const struct mux *mux, uint32_t id);
/* One of ours gets its number; there is room. */
void mux_number(struct mux_channel *channel);
/* One of theirs: NULL or what is wrong with it. */
const char *mux_judge_number(const struct mux *mux, uint32_t id);
int mux_take_number(struct mux_channel *channel, uint32_t id);
/* Closes the number once both lasts have passed, and frees a channel that
 * nobody holds. */
void mux_check_closed(struct mux_channel *channel);

/* mux_send.c */
void mux_set_due(struct mux_channel *channel, unsigned due);
void mux_clear_due(struct mux_channel *channel, unsigned due);
void mux_stop_waiting(struct mux_channel *channel);

/* mux_keep.c */
void mux_drop_kept(struct mux_channel *channel);
void mux_drop_spare(struct mux *mux);
bool mux_memory_is_near(const struct mux *mux);
void mux_set_window(struct mux_channel *channel, uint32_t window);
uint32_t mux_first_window(const struct mux *mux);

#endif
