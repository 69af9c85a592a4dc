/* SPDX-License-Identifier: ISC */
/* The kinds of streams that are a connection of their own: plain, and TLS. */
#include "stream_ops.h"

#include <sys/socket.h>

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "tls.h"
#include "tls_out.h"

/* A sending key is changed after so many bytes (RFC 8446, 5.5 asks for it
 * at the latest after 2^24.5 full records of AES-GCM, some 360 GiB). */
#define STREAM_KEY_UPDATE ((uint64_t)64 << 30)
/* Many records at a time. */
#define STREAM_READ_AHEAD (140 * 1024)
/* That leave at once, as long as the socket takes them. */
#define STREAM_RECORDS ((unsigned)(LOOP_OUT_SIZE / TLS_OUT_RECORD))

struct stream_socket {
	struct stream base;
	int fd;
	SSL *ssl;	    /* NULL: a plain socket */
	bool dead;	    /* TLS: after a fatal error only free is allowed */
	bool write_pending; /* TLS: OpenSSL wants to write the same again */
	bool kept;	    /* TLS: records wait for the socket */
	unsigned records;   /* TLS: to gather next time */
	bool fresh;	    /* the watch has not fired yet */
	bool drained;	    /* nothing to read, until the watch tells */
	uint64_t since_update;
	struct loop *loop; /* once watched */
	struct event *event;
};

static const struct stream_ops stream_plain_ops;
static const struct stream_ops stream_tls_ops;

static struct stream_socket *
stream_socket(struct stream *stream)
{
	return (struct stream_socket *)stream;
}

struct stream *
stream_new(int fd)
{
	return stream_new_tls(fd, NULL);
}

struct stream *
stream_new_tls(int fd, SSL *ssl)
{
	struct stream_socket *sock = calloc(1, sizeof *sock);

	if (sock == NULL) {
		tls_session_free(ssl);
		close(fd);
		return NULL;
	}
	sock->base.ops = ssl == NULL ? &stream_plain_ops : &stream_tls_ops;
	sock->fd = fd;
	sock->ssl = ssl;
	sock->records = 2;
	return &sock->base;
}

static void
stream_socket_free(struct stream *stream)
{
	struct stream_socket *sock = stream_socket(stream);
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	stream_unwatch(stream);
	tls_session_free(sock->ssl);
	if (stream->aborted)
		(void)setsockopt(sock->fd, SOL_SOCKET, SO_LINGER, &now,
		    sizeof now);
	close(sock->fd);
	free(sock);
}

int
stream_release(struct stream *stream)
{
	int fd = stream_fd(stream);

	if (stream->ops != &stream_plain_ops) {
		stream_free(stream);
		return -1;
	}
	stream_unwatch(stream);
	free(stream);
	return fd;
}

static int
stream_socket_fd(const struct stream *stream)
{
	return ((const struct stream_socket *)stream)->fd;
}

static enum stream_status
stream_socket_state(const struct stream *stream)
{
	int error = 0;
	socklen_t len = sizeof error;

	return getsockopt(stream_socket_fd(stream), SOL_SOCKET, SO_ERROR,
		   &error, &len) == 0 &&
		error != 0 ?
	    STREAM_RESET :
	    STREAM_OK;
}

/* --- plain ------------------------------------------------------------------ */

/*
 * Only a read that finds nothing says that there is nothing, and no reset
 * either: that, or FIN, may have come with the last bytes, and the watch has
 * told of both at once.
 */
static enum stream_status
stream_plain_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	struct stream_socket *sock = stream_socket(stream);
	ssize_t n;

	if (sock->drained)
		return STREAM_AGAIN;
	do
		n = recv(sock->fd, data, len, 0);
	while (n == -1 && errno == EINTR);
	if (n > 0) {
		*got = (size_t)n;
		return STREAM_OK;
	}
	if (n == 0)
		return STREAM_EOF;
	if (errno != EAGAIN)
		return STREAM_RESET;
	sock->drained = sock->event != NULL && !sock->fresh;
	return STREAM_AGAIN;
}

static enum stream_status
stream_plain_write(struct stream *stream, const void *data, size_t len,
    size_t *put)
{
	ssize_t n;

	do
		n = send(stream_socket(stream)->fd, data, len, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	if (n >= 0) {
		*put = (size_t)n;
		return STREAM_OK;
	}
	return errno == EAGAIN ? STREAM_AGAIN : STREAM_RESET;
}

static enum stream_status
stream_plain_shutdown(struct stream *stream)
{
	struct stream_socket *sock = stream_socket(stream);

	/* Who is about to go looks for himself what has come meanwhile. */
	sock->drained = false;
	return shutdown(sock->fd, SHUT_WR) == 0 ? STREAM_OK : STREAM_RESET;
}

/* --- TLS -------------------------------------------------------------------- */

static enum stream_status
stream_tls_status(struct stream_socket *sock, int code)
{
	switch (SSL_get_error(sock->ssl, code)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STREAM_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return STREAM_EOF;
	default:
		ERR_clear_error();
		sock->dead = true;
		return STREAM_RESET;
	}
}

static enum stream_status
stream_tls_read(struct stream *stream, void *data, size_t len, size_t *got)
{
	struct stream_socket *sock = stream_socket(stream);
	int code;

	if (sock->dead)
		return STREAM_RESET;
	ERR_clear_error();
	code = SSL_read_ex(sock->ssl, data, len, got);
	return code == 1 ? STREAM_OK : stream_tls_status(sock, code);
}

/* As many records as the socket took lately, in one call. */
static enum stream_status
stream_tls_gather(struct stream_socket *sock, uint8_t *place,
    const uint8_t *data, size_t len, size_t *put)
{
	size_t one;
	unsigned n;
	int code = 1;

	*put = 0;
	tls_out_gather(sock->ssl, place, LOOP_OUT_SIZE);
	for (n = 0; n < sock->records && *put < len && code == 1; n++) {
		code = SSL_write_ex(sock->ssl, data + *put, len - *put, &one);
		if (code == 1)
			*put += one;
	}
	switch (tls_out_send(sock->ssl)) {
	case TLS_OUT_ALL:
		if (sock->records < STREAM_RECORDS)
			sock->records *= 2;
		break;
	case TLS_OUT_KEPT:
		sock->kept = true;
		sock->records = 1;
		break;
	case TLS_OUT_FAILED:
		code = 0;
		break;
	}
	if (code == 1)
		return STREAM_OK;
	ERR_clear_error();
	sock->dead = true;
	return STREAM_RESET;
}

/* AGAIN: the socket takes no more. */
static enum stream_status
stream_tls_flush(struct stream_socket *sock)
{
	if (!sock->kept)
		return STREAM_OK;
	switch (tls_out_flush(sock->ssl)) {
	case TLS_OUT_KEPT:
		return STREAM_AGAIN;
	case TLS_OUT_FAILED:
		sock->dead = true;
		return STREAM_RESET;
	case TLS_OUT_ALL:
		break;
	}
	sock->kept = false;
	return STREAM_OK;
}

static enum stream_status
stream_tls_put(struct stream_socket *sock, const void *data, size_t len,
    size_t *put)
{
	uint8_t *place = NULL;
	enum stream_status status;
	int code;

	if (len > SSL3_RT_MAX_PLAIN_LENGTH && !sock->write_pending &&
	    sock->records > 1 && sock->loop != NULL)
		place = loop_out(sock->loop);
	if (place != NULL)
		return stream_tls_gather(sock, place, data, len, put);
	code = SSL_write_ex(sock->ssl, data, len, put);
	sock->write_pending = false;
	if (code == 1) {
		if (len > SSL3_RT_MAX_PLAIN_LENGTH)
			sock->records = 2;
		return STREAM_OK;
	}
	status = stream_tls_status(sock, code);
	sock->write_pending = status == STREAM_AGAIN;
	return status == STREAM_EOF ? STREAM_RESET : status;
}

static enum stream_status
stream_tls_write(struct stream *stream, const void *data, size_t len,
    size_t *put)
{
	struct stream_socket *sock = stream_socket(stream);
	enum stream_status status;

	if (sock->dead)
		return STREAM_RESET;
	ERR_clear_error();
	status = stream_tls_flush(sock);
	if (status != STREAM_OK)
		return status;
	if (sock->since_update >= STREAM_KEY_UPDATE && !sock->write_pending) {
		sock->since_update = 0;
		SSL_key_update(sock->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
	}
	status = stream_tls_put(sock, data, len, put);
	if (status == STREAM_OK)
		sock->since_update += *put;
	return status;
}

static enum stream_status
stream_tls_shutdown(struct stream *stream)
{
	struct stream_socket *sock = stream_socket(stream);
	int code;

	if (sock->dead || stream_tls_flush(sock) == STREAM_RESET)
		return STREAM_RESET;
	if (sock->kept)
		return STREAM_AGAIN;
	ERR_clear_error();
	/* 0: our close_notify is out, theirs not in. That is all we want; a
	 * second call would wait for theirs. */
	code = SSL_shutdown(sock->ssl);
	if (code >= 0)
		return STREAM_OK;
	code = SSL_get_error(sock->ssl, code);
	if (code == SSL_ERROR_WANT_WRITE)
		return STREAM_AGAIN;
	ERR_clear_error();
	sock->dead = true;
	return STREAM_RESET;
}

void
stream_expect_bulk(struct stream *stream)
{
	if (stream->ops == &stream_tls_ops)
		SSL_set_default_read_buffer_len(stream_socket(stream)->ssl,
		    STREAM_READ_AHEAD);
}

/* --- both ------------------------------------------------------------------- */

static void
stream_socket_fire(evutil_socket_t fd, short what, void *arg)
{
	struct stream_socket *sock = arg;
	bool both = (what & EV_TIMEOUT) != 0;

	(void)fd;
	if ((what & EV_READ) != 0)
		sock->drained = false;
	else if ((what & EV_WRITE) != 0 && sock->fresh)
		sock->drained = true; /* as it was when it was added */
	if ((what & (EV_READ | EV_WRITE)) != 0)
		sock->fresh = false;
	/* An error shows when it is read. */
	if ((what & EV_WRITE) != 0)
		(void)stream_tls_flush(sock);
	sock->base.fn(both || (what & EV_READ) != 0,
	    both || (what & EV_WRITE) != 0, sock->base.arg);
}

static int
stream_socket_watch(struct stream *stream, struct loop *loop)
{
	struct stream_socket *sock = stream_socket(stream);

	if (sock->event != NULL) {
		/* The edge may have been seen by the one before. It has no
		 * time-out: that tells this from what the kernel says. */
		event_active(sock->event, EV_TIMEOUT, 0);
		return 0;
	}
	sock->fresh = true;
	sock->loop = loop;
	sock->event = event_new(loop_base(loop), sock->fd,
	    EV_READ | EV_WRITE | EV_ET | EV_PERSIST, stream_socket_fire, sock);
	if (sock->event == NULL)
		return -1;
	if (event_add(sock->event, NULL) != 0) {
		event_free(sock->event);
		sock->event = NULL;
		return -1;
	}
	return 0;
}

static void
stream_socket_unwatch(struct stream *stream)
{
	struct stream_socket *sock = stream_socket(stream);

	if (sock->event == NULL)
		return;
	event_free(sock->event);
	sock->event = NULL;
	sock->drained = false;
}

static const struct stream_ops stream_plain_ops = {
	.free = stream_socket_free,
	.read = stream_plain_read,
	.write = stream_plain_write,
	.shutdown = stream_plain_shutdown,
	.state = stream_socket_state,
	.watch = stream_socket_watch,
	.unwatch = stream_socket_unwatch,
	.fd = stream_socket_fd,
	.can_splice = true,
	.turn = STREAM_TURN,
};

void
stream_look_again(struct stream *stream)
{
	if (stream->ops == &stream_plain_ops)
		stream_socket(stream)->drained = false;
}

static const struct stream_ops stream_tls_ops = {
	.free = stream_socket_free,
	.read = stream_tls_read,
	.write = stream_tls_write,
	.shutdown = stream_tls_shutdown,
	.state = stream_socket_state,
	.watch = stream_socket_watch,
	.unwatch = stream_socket_unwatch,
	.fd = stream_socket_fd,
	.turn = STREAM_TURN_TLS,
};
