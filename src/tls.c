/* SPDX-License-Identifier: ISC */
#include "tls.h"

#if defined(__aarch64__)
#include <sys/auxv.h>

#include <asm/hwcap.h>
#endif

#include <openssl/err.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tls_out.h"

/* The PSK is bound to SHA-256, so only suites with that hash will do. */
#define TLS_AES "TLS_AES_128_GCM_SHA256"
#define TLS_CHACHA "TLS_CHACHA20_POLY1305_SHA256"
/* What a stranger may say before the handshake is done; ours says 400 bytes.
 * Read-ahead adds a record at most. */
#define TLS_STRANGER_MAX 4096
#define TLS_EXPORTER_LABEL "EXPERIMENTAL tunneld/1 link"

struct tls {
	SSL_CTX *server;
	SSL_CTX *client;
	tls_lookup_fn *lookup;
	void *arg;
};

/* Hangs from an SSL as its application data. */
struct tls_session {
	struct tls *tls;
	char name[NAME_SIZE];	   /* of the dialler, ours or theirs */
	struct auth_secret secret; /* the dialler's, until the handshake is
				      done */
};

static SSL_SESSION *
tls_psk_session(SSL *ssl, const struct auth_secret *secret)
{
	static const unsigned char suite[2] = { 0x13, 0x01 };
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session == NULL || cipher == NULL ||
	    !SSL_SESSION_set1_master_key(session, secret->bytes,
		sizeof secret->bytes) ||
	    !SSL_SESSION_set_cipher(session, cipher) ||
	    !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
		SSL_SESSION_free(session);
		return NULL;
	}
	return session;
}

static int
tls_find_session(SSL *ssl, const unsigned char *identity, size_t len,
    SSL_SESSION **out)
{
	struct tls_session *mine = SSL_get_app_data(ssl);
	struct auth_secret secret;

	*out = NULL;
	auth_random(&secret, sizeof secret);
	if (len <= NAME_MAX_LENGTH &&
	    name_is_valid((const char *)identity, len)) {
		memcpy(mine->name, identity, len);
		mine->name[len] = '\0';
		if (!mine->tls->lookup(mine->name, &secret, mine->tls->arg))
			auth_random(&secret, sizeof secret);
	}
	*out = tls_psk_session(ssl, &secret);
	auth_wipe(&secret, sizeof secret);
	return *out != NULL;
}

static int
tls_use_session(SSL *ssl, const EVP_MD *md, const unsigned char **identity,
    size_t *len, SSL_SESSION **out)
{
	struct tls_session *mine = SSL_get_app_data(ssl);

	*out = NULL;
	/* After a HelloRetryRequest with another hash there is no PSK. */
	if (md != NULL && EVP_MD_get_type(md) != NID_sha256)
		return 1;
	*out = tls_psk_session(ssl, &mine->secret);
	if (*out == NULL)
		return 0;
	*identity = (const unsigned char *)mine->name;
	*len = strlen(mine->name);
	return 1;
}

/* Whether AES has instructions of its own: without them the other cipher is
 * several times as fast. */
static bool
tls_prefers_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes") &&
	    __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
	return (getauxval(AT_HWCAP) & HWCAP_AES) != 0 &&
	    (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#else
	return true;
#endif
}

static SSL_CTX *
tls_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL)
		return NULL;
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(ctx,
		tls_prefers_aes() ? TLS_AES ":" TLS_CHACHA :
				    TLS_CHACHA ":" TLS_AES) ||
	    !SSL_CTX_set_num_tickets(ctx, 0)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx,
	    SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
		SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

struct tls *
tls_new(tls_lookup_fn *lookup, void *arg)
{
	struct tls *tls = calloc(1, sizeof *tls);

	if (tls == NULL)
		return NULL;
	tls->lookup = lookup;
	tls->arg = arg;
	tls->server = tls_context(TLS_server_method());
	tls->client = tls_context(TLS_client_method());
	if (tls->server == NULL || tls->client == NULL) {
		tls_free(tls);
		return NULL;
	}
	SSL_CTX_set_psk_find_session_callback(tls->server, tls_find_session);
	SSL_CTX_set_psk_use_session_callback(tls->client, tls_use_session);
	/* No certificate is trusted: the store is empty. */
	SSL_CTX_set_verify(tls->client, SSL_VERIFY_PEER, NULL);
	return tls;
}

void
tls_free(struct tls *tls)
{
	if (tls == NULL)
		return;
	SSL_CTX_free(tls->server);
	SSL_CTX_free(tls->client);
	free(tls);
}

void
tls_session_free(SSL *ssl)
{
	struct tls_session *mine;

	if (ssl == NULL)
		return;
	mine = SSL_get_app_data(ssl);
	SSL_free(ssl);
	if (mine != NULL)
		auth_wipe(mine, sizeof *mine);
	free(mine);
}

static SSL *
tls_session_new(struct tls *tls, SSL_CTX *ctx, int fd)
{
	SSL *ssl = SSL_new(ctx);
	struct tls_session *mine;

	if (ssl == NULL)
		return NULL;
	mine = calloc(1, sizeof *mine);
	if (mine == NULL || !SSL_set_app_data(ssl, mine)) {
		free(mine);
		SSL_free(ssl);
		return NULL;
	}
	mine->tls = tls;
	if (!SSL_set_rfd(ssl, fd) || tls_out_attach(ssl, fd) != 0) {
		tls_session_free(ssl);
		return NULL;
	}
	return ssl;
}

/* OpenSSL would take a ClientHello of 128 KiB from anybody. */
static long
tls_bound(BIO *bio, int what, const char *data, size_t len, int argi, long argl,
    int result, size_t *done)
{
	(void)data;
	(void)len;
	(void)argi;
	(void)argl;
	(void)done;
	if (what == BIO_CB_READ && BIO_number_read(bio) > TLS_STRANGER_MAX)
		return -1;
	return result;
}

SSL *
tls_accept(struct tls *tls, int fd)
{
	SSL *ssl = tls_session_new(tls, tls->server, fd);

	if (ssl == NULL)
		return NULL;
	BIO_set_callback_ex(SSL_get_rbio(ssl), tls_bound);
	SSL_set_accept_state(ssl);
	return ssl;
}

SSL *
tls_connect(struct tls *tls, int fd, const char *name,
    const struct auth_secret *secret)
{
	SSL *ssl = tls_session_new(tls, tls->client, fd);
	struct tls_session *mine;

	if (ssl == NULL)
		return NULL;
	mine = SSL_get_app_data(ssl);
	strncpy(mine->name, name, NAME_MAX_LENGTH);
	mine->secret = *secret;
	SSL_set_connect_state(ssl);
	return ssl;
}

/* OpenSSL counts the alerts of the other side from an offset. These are what
 * a PSK that is not known, or not right, is answered with. */
static bool
tls_is_refusal(int reason)
{
	switch (reason - SSL_AD_REASON_OFFSET) {
	case SSL_AD_HANDSHAKE_FAILURE:
	case SSL_AD_ILLEGAL_PARAMETER:
	case SSL_AD_DECRYPT_ERROR:
	case SSL_AD_UNKNOWN_PSK_IDENTITY:
		return true;
	default:
		return false;
	}
}

static enum tls_result
tls_explain(const char **why)
{
	unsigned long error = ERR_peek_last_error();
	int reason = ERR_GET_REASON(error);
	enum tls_result result = TLS_FAILED;

	*why = "TLS handshake failed";
	if (error == 0 ||
	    (ERR_GET_LIB(error) == ERR_LIB_SSL &&
		reason == SSL_R_UNEXPECTED_EOF_WHILE_READING))
		result = TLS_CLOSED;
	else if (ERR_GET_LIB(error) != ERR_LIB_SSL)
		result = TLS_FAILED; /* of which nothing is known */
	else if (tls_is_refusal(reason))
		result = TLS_REFUSED;
	else if (reason > SSL_AD_REASON_OFFSET &&
	    reason < SSL_AD_REASON_OFFSET + 256)
		*why = "the other side ended the TLS handshake with an alert";
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		*why = "the other side did not prove that it knows the secret";
	else if (reason == SSL_R_BINDER_DOES_NOT_VERIFY)
		*why = "wrong secret";
	else if (reason == SSL_R_WRONG_VERSION_NUMBER ||
	    reason == SSL_R_HTTP_REQUEST)
		*why = "the other side does not speak TLS";
	if (result == TLS_CLOSED)
		*why = "closed during the TLS handshake";
	if (result == TLS_REFUSED)
		*why = "the other side refused the TLS handshake";
	ERR_clear_error();
	return result;
}

enum tls_result
tls_handshake(SSL *ssl, const char **why)
{
	struct tls_session *mine = SSL_get_app_data(ssl);
	int code;

	ERR_clear_error();
	code = SSL_do_handshake(ssl);
	if (code == 1) {
		auth_wipe(&mine->secret, sizeof mine->secret);
		BIO_set_callback_ex(SSL_get_rbio(ssl), NULL);
		if (!SSL_session_reused(ssl)) {
			*why = "the pre-shared key was not used";
			return TLS_FAILED;
		}
		return TLS_DONE;
	}
	code = SSL_get_error(ssl, code);
	if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
		return TLS_AGAIN;
	return tls_explain(why);
}

const char *
tls_identity(const SSL *ssl)
{
	const struct tls_session *mine = SSL_get_app_data(ssl);

	return mine->name;
}

int
tls_link_key(SSL *ssl, struct auth_key *key)
{
	return SSL_export_keying_material(ssl, key->bytes, sizeof key->bytes,
		   TLS_EXPORTER_LABEL, strlen(TLS_EXPORTER_LABEL), NULL, 0,
		   0) == 1 ?
	    0 :
	    -1;
}
