/* SPDX-License-Identifier: ISC */
#include "auth.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define AUTH_TRANSCRIPT_MAX 512

/* What both ends said, in one unambiguous run of bytes. */
struct auth_transcript {
	uint8_t bytes[AUTH_TRANSCRIPT_MAX];
	size_t len;
};

static void
auth_add(struct auth_transcript *transcript, const void *data, size_t len)
{
	/* The longest is 300 bytes: every member has a fixed bound. */
	memcpy(transcript->bytes + transcript->len, data, len);
	transcript->len += len;
}

static void
auth_add_number(struct auth_transcript *transcript, uint64_t value)
{
	uint8_t bytes[8];
	int i;

	for (i = 7; i >= 0; i--) {
		bytes[i] = (uint8_t)value;
		value >>= 8;
	}
	auth_add(transcript, bytes, sizeof bytes);
}

static void
auth_add_name(struct auth_transcript *transcript, const char *name)
{
	size_t len = strnlen(name, NAME_MAX_LENGTH);

	auth_add_number(transcript, len);
	auth_add(transcript, name, len);
}

static void
auth_add_handshake(struct auth_transcript *transcript,
    const struct wire_hello *hello, const struct wire_challenge *challenge)
{
	auth_add_number(transcript, hello->version_min);
	auth_add_number(transcript, hello->version_max);
	auth_add_number(transcript, hello->features);
	auth_add_number(transcript, hello->security);
	auth_add_name(transcript, hello->name);
	auth_add(transcript, hello->nonce, sizeof hello->nonce);
	auth_add(transcript, hello->instance, sizeof hello->instance);
	auth_add_number(transcript, hello->epoch);
	auth_add_number(transcript, challenge->version);
	auth_add_number(transcript, challenge->features);
	auth_add_name(transcript, challenge->name);
	auth_add(transcript, challenge->nonce, sizeof challenge->nonce);
}

static int
auth_hmac(const uint8_t *key, size_t key_len,
    const struct auth_transcript *transcript, uint8_t mac[WIRE_MAC_SIZE])
{
	size_t len = 0;

	return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len,
		   transcript->bytes, transcript->len, mac, WIRE_MAC_SIZE,
		   &len) != NULL &&
		len == WIRE_MAC_SIZE ?
	    0 :
	    -1;
}

/* HKDF-SHA256, extract and expand, to a key of AUTH_KEY_SIZE. */
static int
auth_hkdf(const struct auth_secret *secret, const uint8_t *salt,
    size_t salt_len, const struct auth_transcript *info,
    uint8_t key[AUTH_KEY_SIZE])
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[5], *p = params;
	int result = -1;

	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
	    (char *)"SHA256", 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
	    (void *)secret->bytes, sizeof secret->bytes);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
	    (void *)info->bytes, info->len);
	if (salt_len > 0)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
		    (void *)salt, salt_len);
	*p = OSSL_PARAM_construct_end();
	if (ctx != NULL && EVP_KDF_derive(ctx, key, AUTH_KEY_SIZE, params) > 0)
		result = 0;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return result;
}

/* The MAC of one role: the key is that role's own, and so is the prefix. */
static int
auth_role_mac(const struct auth_secret *secret, const char *role,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    uint8_t mac[WIRE_MAC_SIZE])
{
	struct auth_transcript label = { .len = 0 }, transcript = { .len = 0 };
	uint8_t key[AUTH_KEY_SIZE];
	int result = -1;

	auth_add(&label, "tunneld/1 plain ", 16);
	auth_add(&label, role, strlen(role));
	auth_add_name(&transcript, role);
	auth_add_handshake(&transcript, hello, challenge);
	if (auth_hkdf(secret, NULL, 0, &label, key) == 0)
		result = auth_hmac(key, sizeof key, &transcript, mac);
	auth_wipe(key, sizeof key);
	return result;
}

int
auth_gateway_mac(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    uint8_t mac[WIRE_MAC_SIZE])
{
	return auth_role_mac(secret, "gateway", hello, challenge, mac);
}

int
auth_dialler_mac(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    uint8_t mac[WIRE_MAC_SIZE])
{
	return auth_role_mac(secret, "dialler", hello, challenge, mac);
}

int
auth_plain_link_key(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    struct auth_key *key)
{
	struct auth_transcript info = { .len = 0 };
	uint8_t salt[2 * WIRE_NONCE_SIZE];

	memcpy(salt, hello->nonce, WIRE_NONCE_SIZE);
	memcpy(salt + WIRE_NONCE_SIZE, challenge->nonce, WIRE_NONCE_SIZE);
	auth_add(&info, "tunneld/1 plain link", 20);
	auth_add_handshake(&info, hello, challenge);
	return auth_hkdf(secret, salt, sizeof salt, &info, key->bytes);
}

static int
auth_channel_mac(const struct auth_key *key, const char *what,
    const struct wire_attach *attach, uint8_t mac[WIRE_MAC_SIZE])
{
	struct auth_transcript transcript = { .len = 0 };

	auth_add_name(&transcript, what);
	auth_add(&transcript, attach->link_id, sizeof attach->link_id);
	auth_add_number(&transcript, attach->serial);
	auth_add_number(&transcript, attach->opener);
	return auth_hmac(key->bytes, sizeof key->bytes, &transcript, mac);
}

int
auth_attach_mac(const struct auth_key *key, const struct wire_attach *attach,
    uint8_t mac[WIRE_MAC_SIZE])
{
	return auth_channel_mac(key, "attach", attach, mac);
}

int
auth_attached_mac(const struct auth_key *key, const struct wire_attach *attach,
    uint8_t mac[WIRE_MAC_SIZE])
{
	return auth_channel_mac(key, "attached", attach, mac);
}

bool
auth_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void
auth_wipe(void *data, size_t len)
{
	OPENSSL_cleanse(data, len);
}

void
auth_random(void *data, size_t len)
{
	uint8_t *bytes = data;
	ssize_t n;

	if (len == 0 || RAND_bytes(data, (int)len) == 1)
		return;
	/* It needs memory now and then; the kernel does not. */
	while (len > 0) {
		n = getrandom(bytes, len, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* without them nothing here is safe */
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
	}
}

int
auth_serials_take(struct auth_serials *serials, uint64_t serial)
{
	uint64_t behind, bit;

	if (serial == 0)
		return -1;
	if (serial > serials->top) {
		/* The places between the old top and the new become free. */
		behind = serial - serials->top;
		if (behind >= AUTH_WINDOW)
			memset(serials->bits, 0, sizeof serials->bits);
		else
			while (serials->top < serial) {
				bit = ++serials->top % AUTH_WINDOW;
				serials->bits[bit / 64] &= ~((uint64_t)1
				    << bit % 64);
			}
		serials->top = serial;
	} else if (serials->top - serial >= AUTH_WINDOW) {
		return -1;
	}
	bit = serial % AUTH_WINDOW;
	if ((serials->bits[bit / 64] & (uint64_t)1 << bit % 64) != 0)
		return -1;
	serials->bits[bit / 64] |= (uint64_t)1 << bit % 64;
	return 0;
}
