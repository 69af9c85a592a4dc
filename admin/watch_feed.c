/* SPDX-License-Identifier: ISC */
#include "watch_feed.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "log.h"

#define READ_SIZE ((size_t)64 << 10) /* a turn's work */

struct question {
	json_int_t id;
	int tag;
	char *text; /* the line to send */
	size_t len;
};

struct watch_feed {
	const char *path;
	watch_feed_fn *fn;
	void *arg;
	int fd; /* -1: not connected */
	json_int_t last_id;
	struct question queue[WATCH_FEED_QUEUE]; /* the first is being asked */
	size_t n;
	size_t sent; /* bytes of the first */
	char *buf;   /* what came and is not used yet */
	size_t len, size, searched;
	double heard; /* when a byte came, or the first was sent */
};

struct watch_feed *
watch_feed_new(const char *path, watch_feed_fn *fn, void *arg)
{
	struct watch_feed *feed = calloc(1, sizeof *feed);

	if (feed == NULL)
		return NULL;
	feed->path = path;
	feed->fn = fn;
	feed->arg = arg;
	feed->fd = -1;
	return feed;
}

void
watch_feed_free(struct watch_feed *feed)
{
	if (feed == NULL)
		return;
	watch_feed_disconnect(feed);
	free(feed);
}

int
watch_feed_connect(struct watch_feed *feed, double now, char *error,
    size_t error_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(feed->path);

	watch_feed_disconnect(feed);
	if (len == 0 || len >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		goto fail;
	}
	memcpy(address.sun_path, feed->path, len + 1);
	feed->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0);
	/* Of this family it connects at once or never. */
	if (feed->fd != -1 &&
	    connect(feed->fd, (struct sockaddr *)&address, sizeof address) ==
		0) {
		feed->heard = now;
		return 0;
	}
fail:
	snprintf(error, error_size, "cannot reach tunneld at %s: %s",
	    feed->path,
	    errno == EAGAIN ? "it takes no connections" : strerror(errno));
	watch_feed_disconnect(feed);
	return -1;
}

void
watch_feed_disconnect(struct watch_feed *feed)
{
	if (feed->fd != -1)
		close(feed->fd);
	feed->fd = -1;
	for (size_t i = 0; i < feed->n; i++)
		free(feed->queue[i].text);
	feed->n = feed->sent = 0;
	free(feed->buf);
	feed->buf = NULL;
	feed->len = feed->size = feed->searched = 0;
}

bool
watch_feed_is_connected(const struct watch_feed *feed)
{
	return feed->fd != -1;
}

/* The last thing a turn does: whoever hears of it may ask for nothing. */
static void
lose(struct watch_feed *feed, const char *fmt, ...)
{
	char error[WATCH_FEED_ERROR_SIZE];
	struct watch_answer answer = {
		.tag = -1,
		.status = WATCH_LOST,
		.error = error,
	};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error, sizeof error, fmt, ap);
	va_end(ap);
	watch_feed_disconnect(feed);
	feed->fn(&answer, feed->arg);
}

/* --- Asking -------------------------------------------------------------- */

int
watch_feed_ask(struct watch_feed *feed, int tag, const char *command,
    json_t *args)
{
	struct question *q = &feed->queue[feed->n];
	json_t *root = NULL;
	int result = -1;

	if (feed->fd == -1 || feed->n == WATCH_FEED_QUEUE)
		goto out;
	root = json_pack("{s:I, s:s}", "id", ++feed->last_id, "cmd", command);
	if (root == NULL ||
	    (args != NULL && json_object_set(root, "args", args) != 0))
		goto out;
	q->text = json_dumps(root, JSON_COMPACT);
	if (q->text == NULL)
		goto out;
	q->id = feed->last_id;
	q->tag = tag;
	q->len = strlen(q->text);
	q->text[q->len++] = '\n'; /* where the end of the string was */
	feed->n++;
	result = 0;
out:
	json_decref(root);
	json_decref(args);
	return result;
}

size_t
watch_feed_pending(const struct watch_feed *feed)
{
	return feed->n;
}

double
watch_feed_silence(const struct watch_feed *feed, double now)
{
	return feed->n > 0 && feed->sent > 0 ? now - feed->heard : 0;
}

static bool
is_sending(const struct watch_feed *feed)
{
	return feed->n > 0 && feed->sent < feed->queue[0].len;
}

void
watch_feed_prepare(const struct watch_feed *feed, struct pollfd *out)
{
	/* poll(2) passes over a descriptor of -1. */
	out->fd = feed->fd;
	out->events = POLLIN;
	if (is_sending(feed))
		out->events |= POLLOUT;
	out->revents = 0;
}

/* A daemon that hung up may have said why: that is for reading to find out. */
static void
send_some(struct watch_feed *feed, double now)
{
	const struct question *q = &feed->queue[0];
	ssize_t n;

	if (feed->sent == 0)
		feed->heard = now;
	n = send(feed->fd, q->text + feed->sent, q->len - feed->sent,
	    MSG_NOSIGNAL);
	if (n > 0)
		feed->sent += (size_t)n;
	else if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		feed->sent = q->len;
}

/* --- Answers --------------------------------------------------------------- */

static void
shift(struct watch_feed *feed)
{
	free(feed->queue[0].text);
	feed->n--;
	memmove(feed->queue, feed->queue + 1, feed->n * sizeof feed->queue[0]);
	feed->sent = 0;
}

static void
take_refusal(struct watch_feed *feed, const json_t *line, int tag)
{
	const json_t *object = json_object_get(line, "error");
	json_t *text = json_object_get(object, "message");
	char error[WATCH_FEED_ERROR_SIZE];
	const char *code = json_string_value(json_object_get(object, "code"));
	struct watch_answer answer = {
		.tag = tag,
		.status = WATCH_REFUSED,
		.error = error,
		.upgraded = code != NULL && strcmp(code, "upgraded") == 0,
	};

	if (!json_is_string(text))
		text = json_object_get(object, "code");
	if (json_is_string(text))
		log_escape(error, sizeof error, json_string_value(text),
		    json_string_length(text));
	else
		snprintf(error, sizeof error, "refused, without a reason");
	feed->fn(&answer, feed->arg);
}

/* -1 if this is not our protocol. */
static int
take_line(struct watch_feed *feed, const json_t *line)
{
	const json_t *id = json_object_get(line, "id");
	bool ok = json_is_true(json_object_get(line, "ok"));
	bool more = json_is_true(json_object_get(line, "more"));
	struct watch_answer answer = {
		.tag = feed->n > 0 ? feed->queue[0].tag : -1,
		.status = more ? WATCH_PIECE : WATCH_COMPLETE,
		.data = json_object_get(line, "data"),
	};

	if (!json_is_object(line) || (ok && answer.data == NULL))
		return -1;
	/* An error without an id is about whatever we said last. */
	if (json_is_integer(id) ?
		feed->n == 0 || json_integer_value(id) != feed->queue[0].id :
		ok)
		return 0;
	if (feed->n > 0 && (!ok || !more))
		shift(feed);
	if (ok)
		feed->fn(&answer, feed->arg);
	else
		take_refusal(feed, line, answer.tag);
	return 0;
}

/* All lines that are there; -1 as above. */
static int
take_lines(struct watch_feed *feed)
{
	char *lf, *start = feed->buf, *end = feed->buf + feed->len;
	json_t *line;
	int result = 0;

	while (result == 0 && start + feed->searched < end &&
	    (lf = memchr(start + feed->searched, '\n',
		 (size_t)(end - start) - feed->searched)) != NULL) {
		line = json_loadb(start, (size_t)(lf - start), 0, NULL);
		result = take_line(feed, line);
		json_decref(line);
		start = lf + 1;
		feed->searched = 0;
	}
	feed->len = (size_t)(end - start);
	if (feed->len > 0)
		memmove(feed->buf, start, feed->len);
	feed->searched = feed->len;
	return result;
}

static int
make_room(struct watch_feed *feed)
{
	size_t size = feed->size * 2;
	char *buf;

	if (feed->size - feed->len >= READ_SIZE)
		return 0;
	if (size < 2 * READ_SIZE)
		size = 2 * READ_SIZE;
	buf = feed->size < CLIENT_LINE_MAX ? realloc(feed->buf, size) : NULL;
	if (buf == NULL)
		return -1;
	feed->buf = buf;
	feed->size = size;
	return 0;
}

void
watch_feed_turn(struct watch_feed *feed, short revents, double now)
{
	ssize_t n;

	if (feed->fd == -1 || revents == 0)
		return;
	if (is_sending(feed) && (revents & POLLOUT) != 0)
		send_some(feed, now);
	if ((revents & ~POLLOUT) == 0)
		return;
	if (make_room(feed) != 0) {
		lose(feed, "the answer of tunneld at %s is too long",
		    feed->path);
		return;
	}
	n = recv(feed->fd, feed->buf + feed->len, READ_SIZE, 0);
	if (n > 0) {
		feed->heard = now;
		feed->len += (size_t)n;
		if (take_lines(feed) != 0)
			lose(feed,
			    "what answers at %s does not speak this version "
			    "of tunneld's admin protocol",
			    feed->path);
	} else if (n == 0 || errno == ECONNRESET) {
		lose(feed, "tunneld at %s hung up", feed->path);
	} else if (errno != EAGAIN && errno != EINTR) {
		lose(feed, "tunneld at %s: %s", feed->path, strerror(errno));
	}
}
