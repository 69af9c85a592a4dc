/* SPDX-License-Identifier: ISC */
/*
 * lane_internal: what the files of lane share, and nobody else includes:
 * lane.c is its life, lane_read.c what comes in, lane_splice.c what of that
 * goes through pipes, lane_write.c what goes out, lane_stream.c the streams of
 * its channels, lane_channel.c its channels until they are answered.  Floor 3.
 */
#ifndef TUNNELD_LANE_INTERNAL_H
#define TUNNELD_LANE_INTERNAL_H

#include "channel_ops.h"
#include "lane.h"
#include "stream_ops.h"

#define LANE_OUT (256 * 1024) /* what is put together for one write */
#define LANE_COPY_MAX 65535   /* of one frame of DATA, and when spliced: */
#define LANE_SPLICE_MAX (512 * 1024)
#define LANE_SPLICE_MIN 16384
/* What may stand before a frame that is due, here and again in the kernel, not
 * sent yet: what leaves in LANE_AHEAD_SECONDS, and at least and at most: */
#define LANE_AHEAD_SECONDS 0.005
#define LANE_AHEAD_MIN LANE_SPLICE_MIN
#define LANE_AHEAD_MAX (1024 * 1024)
#define LANE_AHEAD_FIRST (128 * 1024) /* before that is known */

/* The stream of a channel. Held by whoever has it; the lane refers to it. */
struct lane_stream {
	struct stream base;
	struct loop *loop;
	struct lane *lane;	     /* NULL: lost */
	struct mux_channel *channel; /* NULL: lost */
	struct lane_channel *owner;  /* until answered, or NULL */
	struct loop_task kick;
	TAILQ_ENTRY(lane_stream) entry; /* while gathered: */
	bool gathered;	   /* its reader is not told yet of all of that */
	struct pipe *pipe; /* what was spliced in, and not out yet: */
	size_t in_pipe;	   /* so many bytes */
	bool kept_first;   /* what the channel keeps comes before, not behind */
};

struct lane_channel {
	struct channel base;
	struct lane *lane;		 /* NULL: lost */
	struct lane_stream *stream;	 /* NULL: not opened yet */
	TAILQ_ENTRY(lane_channel) entry; /* of those not opened yet */
};

TAILQ_HEAD(lane_channel_list, lane_channel);
TAILQ_HEAD(lane_stream_list, lane_stream);

struct lane {
	struct lane_params params;
	struct loop *loop;
	struct stream *stream;
	struct mux *mux;
	struct lane_channel_list fresh; /* not opened yet */
	bool plain;
	const char *dead; /* why, once it is */
	bool retired, finishing, finished;
	bool heard_goaway; /* the other end opens nothing any more */
	bool told_closed;
	bool outlived; /* the connection is over; see lane_outlive */
	bool done;     /* the other end closed it, and nobody misses it */
	double retired_at;
	double left_at; /* when its last channel was let go of; 0: held */
	struct loop_task again; /* more to read, or it died */
	struct loop_task flush; /* at the end of the turn */
	struct loop_timer *beat;
	double last_heard, last_ping;
	uint64_t token;
	double rtt; /* seconds, the least lately; < 0: not known */
	bool ping_due, pong_due, goaway_due;
	uint64_t pong_token;
	/* in */
	uint8_t partial[2 * WIRE_FRAME_MAX]; /* not looked at yet */
	size_t partial_len;
	bool fresh_partial; /* from the framing: may hold whole frames */
	size_t rest;	    /* of a DATA frame, to come */
	struct mux_channel *current; /* whose they are; NULL: nobody's */
	bool large;		     /* the frame, when it began */
	struct lane_stream_list gathered;
	bool bulk;	/* the last DATA frame was spliced */
	unsigned small; /* frames in a row that were not, since then */
	uint64_t in_bytes;
	/* out */
	uint8_t *out; /* out[out_start..out_len) is to be sent */
	size_t out_start, out_len;
	struct pipe *out_pipe; /* what follows out, */
	size_t out_rest;       /* so many bytes of it */
	bool blocked;	       /* the connection took no more */
	size_t ahead;	       /* LANE_AHEAD_* */
	uint64_t put;	       /* bytes that the connection took */
	double paced_at;       /* when it was measured last; then, put was: */
	uint64_t paced_put;
	bool idled;	/* it had nothing more to send, since then */
	bool sending;	/* lane_send is on its way, and sees to what is due */
	bool held_back; /* the end of what it took, for more */
	bool used;	/* out was, since the last beat */
	uint64_t out_bytes;
	uint64_t counted_at; /* out_bytes when the kernel was asked, */
	size_t counted;	     /* and what it said: lane_backlog */
};

/* lane.c */
void lane_die(struct lane *lane, const char *why);
void lane_check_closed(struct lane *lane); /* whether it is, by now */
void lane_check_done(struct lane *lane);   /* a closed one */
/* The other end has said all it had to, and closed the connection: whoever has
 * not read all of that goes on without it. */
void lane_outlive(struct lane *lane);

/* lane_read.c */
void lane_read(struct lane *lane);

/* lane_splice.c */
ssize_t lane_splice(int from, int to, size_t len, unsigned flags);
void lane_splice_out(struct lane_stream *ls, int fd, struct stream_move *move);
enum stream_status lane_read_pipe(struct lane_stream *ls, void *data,
    size_t len, size_t *got);
/* The pipe holds bytes, and what the channel keeps comes before them. */
bool lane_keeps_first(const struct lane_stream *ls);
void lane_empty_pipe(struct lane_stream *ls); /* into what is kept */
void lane_drop_pipe(struct lane_stream *ls);
/* Moves what has come of a large frame into its reader's pipe. True: nothing
 * more has come to the connection, until its watch tells. */
bool lane_splice_rest(struct lane *lane);
/* Readers are told what is in their pipes. */
void lane_tell_gathered(struct lane *lane);
void lane_forget_gathered(struct lane_stream *ls);

/* lane_write.c */
/* Sends what is due, at the end of this turn. */
void lane_send_soon(struct lane *lane);
void lane_send(struct lane *lane);
enum stream_status lane_reserve(struct lane_stream *ls, uint8_t **place,
    size_t *len);
void lane_commit(struct lane_stream *ls, size_t len);
void lane_splice_in(struct lane_stream *ls, int fd, struct stream_move *move);
void lane_free_out(struct lane *lane);

/* lane_stream.c */
struct lane_stream *lane_stream_new(struct lane *lane);
void lane_stream_tell(struct lane_stream *ls, bool readable, bool writable);
void lane_stream_detach(struct lane_stream *ls);

/* lane_channel.c */
struct lane_channel *lane_channel_new(struct lane *lane);
void lane_channel_news(struct lane_channel *lc, enum mux_news news,
    const struct wire_message *msg);
void lane_channel_lost(struct lane_channel *lc);

#endif
