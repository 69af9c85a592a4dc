/* SPDX-License-Identifier: ISC */
/*
 * tls_out: where a TLS session writes its records. OpenSSL makes a system call
 * for each of at most 16 KiB; gathered, many leave with one. Hangs from the
 * session as its BIO for writing.  Floor 2.
 *
 * What the socket does not take of that is kept on the heap, at most as much as
 * was gathered, and goes before anything else: until then OpenSSL is told to
 * try again (SSL_ERROR_WANT_WRITE). Who gathers must flush when the socket is
 * writable.
 */
#ifndef TUNNELD_TLS_OUT_H
#define TUNNELD_TLS_OUT_H

#include <openssl/ssl.h>

#include <stddef.h>
#include <stdint.h>

/* A full record as it is sent (RFC 8446, 5.2), with room to spare. */
#define TLS_OUT_RECORD (16384 + 256)

/* For a socket, which it does not own. 0 or -1. */
int tls_out_attach(SSL *ssl, int fd);

/* From here to tls_out_send, records go to place, of TLS_OUT_RECORD bytes for
 * each. Nothing may be kept. */
void tls_out_gather(SSL *ssl, uint8_t *place, size_t size);

enum tls_out_result { TLS_OUT_ALL, TLS_OUT_KEPT, TLS_OUT_FAILED };

/* Ends that, and sends. FAILED: the connection is lost, or there is no
 * memory. */
enum tls_out_result tls_out_send(SSL *ssl);

/* Sends what is kept. */
enum tls_out_result tls_out_flush(SSL *ssl);

#endif
