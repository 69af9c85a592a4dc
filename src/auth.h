/* SPDX-License-Identifier: ISC */
/*
 * auth: keys and message authentication of links and channels, the window of
 * ATTACH serials, and random bytes.
 *
 * Owns no socket and keeps nothing. Sources: HMAC RFC 2104, HKDF RFC 5869,
 * SHA-256 FIPS 180-4, all computed by OpenSSL (EVP_MAC, EVP_KDF).
 * Pure, but for auth_random().  Floor 0.
 *
 * plain mode: both MACs are HMAC-SHA256 under a key of their own,
 * HKDF(secret, salt = none, info = "tunneld/1 plain gateway" or
 * "... dialler"), over a transcript that is prefixed with the role and holds
 * both names (each with its length), both nonces, the security mode, the
 * offered versions and features and the chosen ones, the instance and the
 * epoch. The link key is HKDF(secret, salt = both nonces, info = "tunneld/1
 * plain link" + transcript). tls mode takes its link key from the TLS
 * exporter instead (RFC 8446, 7.5).
 */
#ifndef TUNNELD_AUTH_H
#define TUNNELD_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define AUTH_SECRET_SIZE 32
#define AUTH_KEY_SIZE 32

struct auth_secret {
	uint8_t bytes[AUTH_SECRET_SIZE];
};

struct auth_key { /* a link's key, for ATTACH */
	uint8_t bytes[AUTH_KEY_SIZE];
};

/*
 * The gateway's MAC (CHALLENGE) and the dialler's (PROOF). Of the challenge
 * all is used but its own mac. 0, or -1 if OpenSSL failed.
 */
int auth_gateway_mac(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    uint8_t mac[WIRE_MAC_SIZE]);
int auth_dialler_mac(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    uint8_t mac[WIRE_MAC_SIZE]);

int auth_plain_link_key(const struct auth_secret *secret,
    const struct wire_hello *hello, const struct wire_challenge *challenge,
    struct auth_key *key);

/* The MAC of ATTACH (over link id, serial, opener) and of its answer. */
int auth_attach_mac(const struct auth_key *key,
    const struct wire_attach *attach, uint8_t mac[WIRE_MAC_SIZE]);
int auth_attached_mac(const struct auth_key *key,
    const struct wire_attach *attach, uint8_t mac[WIRE_MAC_SIZE]);

/* In constant time. */
bool auth_equal(const void *a, const void *b, size_t len);

/* Never optimised away. */
void auth_wipe(void *data, size_t len);

/* len unpredictable bytes; ends the process if the system has none. */
void auth_random(void *data, size_t len);

/*
 * Serials already taken: everything up to top - 1,024 counts as taken, the
 * rest is a bitmap. Zeroed memory is an empty window.
 */
#define AUTH_WINDOW 1024
struct auth_serials {
	uint64_t top;
	uint64_t bits[AUTH_WINDOW / 64];
};

/* 0 the first time a serial (not 0) is shown, -1 ever after. */
int auth_serials_take(struct auth_serials *serials, uint64_t serial);

#endif
