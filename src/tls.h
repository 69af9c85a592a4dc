/* SPDX-License-Identifier: ISC */
/*
 * tls: TLS 1.3 with an external pre-shared key and (EC)DHE (RFC 8446, 2.2;
 * RFC 9257), by OpenSSL: both ends proven, forward secret, no certificate.
 *
 * The identity is the dialling daemon's name. A handshake in which the PSK
 * was not used is a failed one: without that, an impostor with any
 * certificate gets in. No tickets, no early data.  Floor 2.
 */
#ifndef TUNNELD_TLS_H
#define TUNNELD_TLS_H

#include <openssl/ssl.h>

#include <stdbool.h>

#include "auth.h"
#include "name.h"

/*
 * The secret for a name, or false: the handshake then goes on with a random
 * key, so that an unknown name fails as a wrong secret does.
 */
typedef bool tls_lookup_fn(const char *name, struct auth_secret *secret,
    void *arg);

struct tls; /* the contexts of both roles */
struct tls *tls_new(tls_lookup_fn *lookup, void *arg); /* NULL on failure */
void tls_free(struct tls *tls);

/*
 * A session object on a connected socket, which it does not own; NULL on
 * failure. The dialler's secret is copied, and wiped after the handshake.
 */
SSL *tls_accept(struct tls *tls, int fd);
SSL *tls_connect(struct tls *tls, int fd, const char *name,
    const struct auth_secret *secret);
void tls_session_free(SSL *ssl); /* with what hangs from it; NULL ignored */

enum tls_result { TLS_DONE, TLS_AGAIN, TLS_REFUSED, TLS_CLOSED, TLS_FAILED };

/*
 * Goes on with the handshake; AGAIN: call again when the socket is ready for
 * anything. REFUSED: the other side sent an alert; CLOSED: it went away without
 * a word. On both and on FAILED, *why is a static phrase and the session can
 * only be freed.
 */
enum tls_result tls_handshake(SSL *ssl, const char **why);

/* The name the dialler gave, valid, or "" (accepting side). */
const char *tls_identity(const SSL *ssl);

/* The link key, by the exporter (RFC 8446, 7.5). 0 or -1. */
int tls_link_key(SSL *ssl, struct auth_key *key);

#endif
