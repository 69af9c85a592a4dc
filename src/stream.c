/* SPDX-License-Identifier: ISC */
#include "stream.h"

#include <sys/socket.h>

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "tls.h"

/* A sending key is changed after so many bytes (RFC 8446, 5.5 asks for it
 * at the latest after 2^24.5 full records of AES-GCM, some 360 GiB). */
#define STREAM_KEY_UPDATE ((uint64_t)64 << 30)

struct stream {
	int fd;
	SSL *ssl;  /* NULL: a plain socket */
	bool dead; /* TLS: after a fatal error only free is allowed */
	bool aborted;
	bool write_pending; /* TLS: a record waits for the socket */
	bool fresh;	    /* the watch has not fired yet */
	uint64_t since_update;
	struct event *event;
	stream_fn *fn;
	void *arg;
};

struct stream *
stream_new(int fd)
{
	return stream_new_tls(fd, NULL);
}

struct stream *
stream_new_tls(int fd, SSL *ssl)
{
	struct stream *stream = calloc(1, sizeof *stream);

	if (stream == NULL) {
		tls_session_free(ssl);
		close(fd);
		return NULL;
	}
	stream->fd = fd;
	stream->ssl = ssl;
	return stream;
}

void
stream_free(struct stream *stream)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (stream == NULL)
		return;
	stream_unwatch(stream);
	tls_session_free(stream->ssl);
	if (stream->aborted)
		(void)setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &now,
		    sizeof now);
	close(stream->fd);
	free(stream);
}

int
stream_release(struct stream *stream)
{
	int fd = stream->fd;

	if (stream->ssl != NULL) {
		stream_free(stream);
		return -1;
	}
	stream_unwatch(stream);
	free(stream);
	return fd;
}

static enum stream_status
stream_tls_status(struct stream *stream, int code)
{
	switch (SSL_get_error(stream->ssl, code)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return STREAM_EOF;
	default:
		ERR_clear_error();
		stream->dead = true;
		return STREAM_RESET;
	}
}

static enum stream_status
stream_tls_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	int code;

	if (stream->dead)
		return STREAM_RESET;
	ERR_clear_error();
	code = SSL_read_ex(stream->ssl, data, len, got);
	return code == 1 ? STREAM_OK : stream_tls_status(stream, code);
}

static enum stream_status
stream_tls_write(struct stream *stream, const void *data, size_t len,
    size_t *put)
{
	enum stream_status status;
	int code;

	if (stream->dead)
		return STREAM_RESET;
	ERR_clear_error();
	if (stream->since_update >= STREAM_KEY_UPDATE &&
	    !stream->write_pending) {
		stream->since_update = 0;
		SSL_key_update(stream->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
	}
	code = SSL_write_ex(stream->ssl, data, len, put);
	stream->write_pending = false;
	if (code == 1) {
		stream->since_update += *put;
		return STREAM_OK;
	}
	status = stream_tls_status(stream, code);
	stream->write_pending = status == STREAM_AGAIN;
	return status == STREAM_EOF ? STREAM_RESET : status;
}

enum stream_status
stream_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	ssize_t n;

	if (stream->ssl != NULL)
		return stream_tls_read(stream, data, len, got);
	do
		n = recv(stream->fd, data, len, 0);
	while (n == -1 && errno == EINTR);
	if (n > 0) {
		*got = (size_t)n;
		return STREAM_OK;
	}
	if (n == 0)
		return STREAM_EOF;
	return errno == EAGAIN ? STREAM_AGAIN : STREAM_RESET;
}

enum stream_status
stream_write(struct stream *stream, const void *data, size_t len, size_t *put)
{
	ssize_t n;

	if (stream->ssl != NULL)
		return stream_tls_write(stream, data, len, put);
	do
		n = send(stream->fd, data, len, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	if (n >= 0) {
		*put = (size_t)n;
		return STREAM_OK;
	}
	return errno == EAGAIN ? STREAM_AGAIN : STREAM_RESET;
}

enum stream_status
stream_shutdown(struct stream *stream)
{
	int code;

	if (stream->ssl == NULL)
		return shutdown(stream->fd, SHUT_WR) == 0 ? STREAM_OK :
							    STREAM_RESET;
	if (stream->dead)
		return STREAM_RESET;
	ERR_clear_error();
	/* 0: our close_notify is out, theirs not in. That is all we want; a
	 * second call would wait for theirs. */
	code = SSL_shutdown(stream->ssl);
	if (code >= 0)
		return STREAM_OK;
	code = SSL_get_error(stream->ssl, code);
	if (code == SSL_ERROR_WANT_WRITE)
		return STREAM_AGAIN;
	ERR_clear_error();
	stream->dead = true;
	return STREAM_RESET;
}

void
stream_abort(struct stream *stream)
{
	stream->aborted = true;
}

bool
stream_can_splice(const struct stream *stream)
{
	return stream->ssl == NULL;
}

int
stream_fd(const struct stream *stream)
{
	return stream->fd;
}

static void
stream_fire(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	bool both = stream->ssl != NULL || stream->fresh;

	(void)fd;
	stream->fresh = false;
	stream->fn(both || (what & EV_READ) != 0,
	    both || (what & EV_WRITE) != 0, stream->arg);
}

int
stream_watch(struct stream *stream, struct loop *loop, stream_fn *fn, void *arg)
{
	stream->fn = fn;
	stream->arg = arg;
	stream->fresh = true;
	if (stream->event != NULL) {
		/* The edge may have been seen by the one before. */
		event_active(stream->event, EV_READ | EV_WRITE, 0);
		return 0;
	}
	stream->event = event_new(loop_base(loop), stream->fd,
	    EV_READ | EV_WRITE | EV_ET | EV_PERSIST, stream_fire, stream);
	if (stream->event == NULL)
		return -1;
	if (event_add(stream->event, NULL) != 0) {
		event_free(stream->event);
		stream->event = NULL;
		return -1;
	}
	return 0;
}

void
stream_unwatch(struct stream *stream)
{
	if (stream->event == NULL)
		return;
	event_free(stream->event);
	stream->event = NULL;
}
