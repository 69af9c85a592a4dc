/* SPDX-License-Identifier: ISC */
#include "tls_out.h"

#include <sys/socket.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>

struct tls_out {
	int fd;
	uint8_t *place; /* NULL: nothing is gathered */
	size_t size, len;
	uint8_t *kept; /* NULL: nothing */
	size_t kept_start, kept_len;
};

static BIO_METHOD *tls_out_method;
static pthread_once_t tls_out_once = PTHREAD_ONCE_INIT;

/* As much of it as the socket takes; -1: errno tells. */
static ssize_t
tls_out_put(const struct tls_out *out, const uint8_t *data, size_t len)
{
	ssize_t n;

	do
		n = send(out->fd, data, len, MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	return n;
}

static enum tls_out_result
tls_out_put_kept(struct tls_out *out)
{
	ssize_t n;

	while (out->kept != NULL && out->kept_start < out->kept_len) {
		n = tls_out_put(out, out->kept + out->kept_start,
		    out->kept_len - out->kept_start);
		if (n < 0)
			return errno == EAGAIN ? TLS_OUT_KEPT : TLS_OUT_FAILED;
		out->kept_start += (size_t)n;
	}
	free(out->kept);
	out->kept = NULL;
	return TLS_OUT_ALL;
}

/* --- OpenSSL's side --------------------------------------------------------- */

static int
tls_out_write(BIO *bio, const char *data, size_t len, size_t *put)
{
	struct tls_out *out = BIO_get_data(bio);
	ssize_t n = -1;

	BIO_clear_retry_flags(bio);
	if (out->place != NULL) {
		/* Who gathers asks for no more than there is room for. */
		if (len > out->size - out->len)
			return 0;
		memcpy(out->place + out->len, data, len);
		out->len += len;
		*put = len;
		return 1;
	}
	switch (tls_out_put_kept(out)) {
	case TLS_OUT_ALL:
		n = tls_out_put(out, (const uint8_t *)data, len);
		break;
	case TLS_OUT_KEPT:
	case TLS_OUT_FAILED:
		break;
	}
	if (n >= 0) {
		*put = (size_t)n;
		return 1;
	}
	if (errno == EAGAIN)
		BIO_set_retry_write(bio);
	return 0;
}

static long
tls_out_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int
tls_out_destroy(BIO *bio)
{
	struct tls_out *out = BIO_get_data(bio);

	if (out != NULL)
		free(out->kept);
	free(out);
	return 1;
}

static void
tls_out_make_method(void)
{
	int index = BIO_get_new_index();

	if (index == -1)
		return;
	tls_out_method = BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "tls_out");
	if (tls_out_method == NULL ||
	    (BIO_meth_set_write_ex(tls_out_method, tls_out_write) == 1 &&
		BIO_meth_set_ctrl(tls_out_method, tls_out_ctrl) == 1 &&
		BIO_meth_set_destroy(tls_out_method, tls_out_destroy) == 1))
		return;
	BIO_meth_free(tls_out_method);
	tls_out_method = NULL;
}

/* --- ours ------------------------------------------------------------------- */

static struct tls_out *
tls_out_of(SSL *ssl)
{
	return BIO_get_data(SSL_get_wbio(ssl));
}

int
tls_out_attach(SSL *ssl, int fd)
{
	struct tls_out *out;
	BIO *bio;

	pthread_once(&tls_out_once, tls_out_make_method);
	if (tls_out_method == NULL)
		return -1;
	out = calloc(1, sizeof *out);
	bio = BIO_new(tls_out_method);
	if (out == NULL || bio == NULL) {
		BIO_free(bio);
		free(out);
		return -1;
	}
	out->fd = fd;
	BIO_set_data(bio, out);
	BIO_set_init(bio, 1);
	SSL_set0_wbio(ssl, bio);
	return 0;
}

void
tls_out_gather(SSL *ssl, uint8_t *place, size_t size)
{
	struct tls_out *out = tls_out_of(ssl);

	out->place = place;
	out->size = size;
	out->len = 0;
}

enum tls_out_result
tls_out_send(SSL *ssl)
{
	struct tls_out *out = tls_out_of(ssl);
	const uint8_t *data = out->place;
	size_t done = 0;
	ssize_t n;

	out->place = NULL;
	while (done < out->len) {
		n = tls_out_put(out, data + done, out->len - done);
		if (n < 0 && errno != EAGAIN)
			return TLS_OUT_FAILED;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	if (done == out->len)
		return TLS_OUT_ALL;
	out->kept = malloc(out->len - done);
	if (out->kept == NULL)
		return TLS_OUT_FAILED;
	memcpy(out->kept, data + done, out->len - done);
	out->kept_start = 0;
	out->kept_len = out->len - done;
	return TLS_OUT_KEPT;
}

enum tls_out_result
tls_out_flush(SSL *ssl)
{
	return tls_out_put_kept(tls_out_of(ssl));
}
