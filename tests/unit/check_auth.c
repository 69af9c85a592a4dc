/* SPDX-License-Identifier: ISC */
/* MACs, keys and the window of serials. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"

/* A handshake in which every byte differs from its neighbours. */
static struct auth_secret secret;
static struct wire_hello hello;
static struct wire_challenge challenge;
static struct wire_attach attach;
static struct auth_key key;

static void
count_up(uint8_t *bytes, size_t len, int from)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(from + (int)i);
}

static void
setup(void)
{
	memset(&hello, 0, sizeof hello);
	memset(&challenge, 0, sizeof challenge);
	memset(&attach, 0, sizeof attach);
	count_up(secret.bytes, sizeof secret.bytes, 0);
	hello.version_min = 1;
	hello.version_max = 3;
	hello.features = 0x01020304;
	hello.security = WIRE_SECURITY_PLAIN;
	memcpy(hello.name, "homelab", 8);
	count_up(hello.nonce, sizeof hello.nonce, 0x40);
	count_up(hello.instance, sizeof hello.instance, 0x60);
	hello.epoch = UINT64_C(0x1122334455667788);
	challenge.version = 2;
	challenge.features = 0x05060708;
	memcpy(challenge.name, "edge1", 6);
	count_up(challenge.nonce, sizeof challenge.nonce, 0x80);
	count_up(attach.link_id, sizeof attach.link_id, 0);
	attach.serial = UINT64_C(0x0102030405060708);
	attach.opener = WIRE_OPENER_GATEWAY;
	count_up(key.bytes, sizeof key.bytes, 0);
}

static void
ck_assert_hex(const uint8_t bytes[32], const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	char text[65];

	for (int i = 0; i < 32; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[64] = '\0';
	ck_assert_str_eq(text, hex);
}

/*
 * Computed from the description in auth.h with another implementation of
 * HMAC (RFC 2104) and HKDF (RFC 5869), that of Python. A change here is a
 * change of the protocol.
 */
START_TEST(known_answers)
{
	uint8_t mac[WIRE_MAC_SIZE];
	struct auth_key link;

	ck_assert_int_eq(auth_gateway_mac(&secret, &hello, &challenge, mac), 0);
	ck_assert_hex(mac,
	    "f002badbe2c381cedb3bb778e37fd857"
	    "368edc852ce1ca71f2c3d71088492582");
	ck_assert_int_eq(auth_dialler_mac(&secret, &hello, &challenge, mac), 0);
	ck_assert_hex(mac,
	    "58d22eae4f7358b78eee6ba5e353e241"
	    "89da1af62cffa919ffdf57898945462a");
	ck_assert_int_eq(auth_plain_link_key(&secret, &hello, &challenge,
			     &link),
	    0);
	ck_assert_hex(link.bytes,
	    "6443cb22722dd764d7a0b448415fe0b0"
	    "e1a1c7da112b109fb5df56d51049e2a0");
	ck_assert_int_eq(auth_attach_mac(&key, &attach, mac), 0);
	ck_assert_hex(mac,
	    "8919b5f448420f39038520d38a49516d"
	    "05e4c22b3593e310b52f49fdbfde08cf");
	ck_assert_int_eq(auth_attached_mac(&key, &attach, mac), 0);
	ck_assert_hex(mac,
	    "75ea27bbf890c4429e502cffcbf7d018"
	    "1d1fe128ca28b8498ab7720dc82428e6");
}
END_TEST

/* All that is derived of a handshake, one behind the other. */
static void
derive(uint8_t all[3][32])
{
	struct auth_key link;

	ck_assert_int_eq(auth_gateway_mac(&secret, &hello, &challenge, all[0]),
	    0);
	ck_assert_int_eq(auth_dialler_mac(&secret, &hello, &challenge, all[1]),
	    0);
	ck_assert_int_eq(auth_plain_link_key(&secret, &hello, &challenge,
			     &link),
	    0);
	memcpy(all[2], link.bytes, 32);
}

/* Each byte of a covered member changes all three; then it is put back. */
static void
covers(void *member, size_t size)
{
	uint8_t before[3][32], after[3][32], *bytes = member;

	derive(before);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 1;
		derive(after);
		bytes[i] ^= 1;
		for (int j = 0; j < 3; j++)
			ck_assert_mem_ne(before[j], after[j], 32);
	}
	derive(after);
	ck_assert_mem_eq(before, after, sizeof before);
}

START_TEST(every_field_counts)
{
	covers(&secret, sizeof secret);
	covers(&hello.version_min, sizeof hello.version_min);
	covers(&hello.version_max, sizeof hello.version_max);
	covers(&hello.features, sizeof hello.features);
	covers(&hello.security, sizeof hello.security);
	covers(hello.name, strlen(hello.name));
	covers(hello.nonce, sizeof hello.nonce);
	covers(hello.instance, sizeof hello.instance);
	covers(&hello.epoch, sizeof hello.epoch);
	covers(&challenge.version, sizeof challenge.version);
	covers(&challenge.features, sizeof challenge.features);
	covers(challenge.name, strlen(challenge.name));
	covers(challenge.nonce, sizeof challenge.nonce);
}
END_TEST

START_TEST(the_mac_itself_does_not_count)
{
	uint8_t before[3][32], after[3][32];

	derive(before);
	memset(challenge.mac, 0xff, sizeof challenge.mac);
	derive(after);
	ck_assert_mem_eq(before, after, sizeof before);
}
END_TEST

START_TEST(names_do_not_run_together)
{
	uint8_t before[3][32], after[3][32];

	strcpy(hello.name, "ab");
	strcpy(challenge.name, "c");
	derive(before);
	strcpy(hello.name, "a");
	strcpy(challenge.name, "bc");
	derive(after);
	for (int j = 0; j < 3; j++)
		ck_assert_mem_ne(before[j], after[j], 32);
	/* What stands behind the end of a name is no part of it. */
	memset(hello.name, 0, sizeof hello.name);
	strcpy(hello.name, "a");
	derive(before);
	ck_assert_mem_eq(before, after, sizeof before);
	/* The longest names fit. */
	memset(hello.name, 'x', NAME_MAX_LENGTH);
	memset(challenge.name, 'y', NAME_MAX_LENGTH);
	derive(before);
}
END_TEST

START_TEST(roles_differ)
{
	uint8_t all[3][32];

	derive(all);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(all[i], all[j], 32);
	/* Even if both ends could be made to say the very same things. */
	memcpy(challenge.name, hello.name, sizeof hello.name);
	memcpy(challenge.nonce, hello.nonce, sizeof hello.nonce);
	derive(all);
	ck_assert_mem_ne(all[0], all[1], 32);
}
END_TEST

static void
attach_covers(void *member, size_t size)
{
	uint8_t before[2][WIRE_MAC_SIZE], after[2][WIRE_MAC_SIZE];
	uint8_t *bytes = member;

	auth_attach_mac(&key, &attach, before[0]);
	auth_attached_mac(&key, &attach, before[1]);
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= 0x80;
		ck_assert_int_eq(auth_attach_mac(&key, &attach, after[0]), 0);
		ck_assert_int_eq(auth_attached_mac(&key, &attach, after[1]), 0);
		bytes[i] ^= 0x80;
		ck_assert_mem_ne(before[0], after[0], WIRE_MAC_SIZE);
		ck_assert_mem_ne(before[1], after[1], WIRE_MAC_SIZE);
		ck_assert_mem_ne(after[0], after[1], WIRE_MAC_SIZE);
	}
}

START_TEST(attach_fields_count)
{
	uint8_t before[WIRE_MAC_SIZE], after[WIRE_MAC_SIZE];

	attach_covers(&key, sizeof key);
	attach_covers(attach.link_id, sizeof attach.link_id);
	attach_covers(&attach.serial, sizeof attach.serial);
	attach_covers(&attach.opener, sizeof attach.opener);
	auth_attach_mac(&key, &attach, before);
	memset(attach.mac, 0xff, sizeof attach.mac);
	auth_attach_mac(&key, &attach, after);
	ck_assert_mem_eq(before, after, WIRE_MAC_SIZE);
}
END_TEST

START_TEST(comparing_and_wiping)
{
	uint8_t a[32], b[32];

	memset(a, 1, sizeof a);
	memset(b, 1, sizeof b);
	ck_assert(auth_equal(a, b, sizeof a));
	for (size_t i = 0; i < sizeof a; i++) {
		b[i] ^= 0x10;
		ck_assert(!auth_equal(a, b, sizeof a));
		ck_assert(auth_equal(a, b, i));
		b[i] ^= 0x10;
	}
	ck_assert(auth_equal(a, b, 0));
	auth_wipe(a, 31);
	memset(b, 0, 31);
	ck_assert_mem_eq(a, b, 32);
}
END_TEST

START_TEST(random_bytes)
{
	uint8_t a[34] = { 0 }, b[34] = { 0 };

	auth_random(a + 1, 32);
	auth_random(b + 1, 32);
	ck_assert_mem_ne(a, b, sizeof a);
	ck_assert_uint_eq(a[0] + a[33] + b[0] + b[33], 0);
	auth_random(a, 0);
}
END_TEST

START_TEST(serials_once)
{
	struct auth_serials serials = { 0 };

	ck_assert_int_eq(auth_serials_take(&serials, 0), -1);
	for (uint64_t i = 1; i <= 3 * AUTH_WINDOW; i++) {
		ck_assert_int_eq(auth_serials_take(&serials, i), 0);
		ck_assert_int_eq(auth_serials_take(&serials, i), -1);
	}
	for (uint64_t i = 0; i <= 3 * AUTH_WINDOW; i++)
		ck_assert_int_eq(auth_serials_take(&serials, i), -1);
}
END_TEST

START_TEST(serials_out_of_order)
{
	struct auth_serials serials = { 0 };

	ck_assert_int_eq(auth_serials_take(&serials, AUTH_WINDOW), 0);
	for (uint64_t i = AUTH_WINDOW - 1; i >= 1; i--)
		ck_assert_int_eq(auth_serials_take(&serials, i), 0);
	for (uint64_t i = AUTH_WINDOW; i >= 1; i--)
		ck_assert_int_eq(auth_serials_take(&serials, i), -1);
	/* The edge of the window: top - 1,023 is in, top - 1,024 is not. */
	ck_assert_int_eq(auth_serials_take(&serials, 10000), 0);
	ck_assert_int_eq(auth_serials_take(&serials, 10000 - AUTH_WINDOW), -1);
	ck_assert_int_eq(auth_serials_take(&serials, 10001 - AUTH_WINDOW), 0);
	ck_assert_int_eq(auth_serials_take(&serials, 10001 - AUTH_WINDOW), -1);
}
END_TEST

START_TEST(serials_at_the_end)
{
	struct auth_serials serials = { 0 };

	ck_assert_int_eq(auth_serials_take(&serials, 1), 0);
	ck_assert_int_eq(auth_serials_take(&serials, UINT64_MAX), 0);
	ck_assert_int_eq(auth_serials_take(&serials, UINT64_MAX), -1);
	ck_assert_int_eq(auth_serials_take(&serials, 1), -1);
	ck_assert_int_eq(auth_serials_take(&serials, 2), -1);
	ck_assert_int_eq(auth_serials_take(&serials, UINT64_MAX - 1), 0);
	ck_assert_int_eq(auth_serials_take(&serials, UINT64_MAX - 1), -1);
}
END_TEST

/* Against a list of all that was ever taken. */
START_TEST(serials_against_a_model)
{
	enum { LAST = 20000 };
	static bool taken[LAST + 2 * AUTH_WINDOW];
	struct auth_serials serials = { 0 };
	uint64_t state = 42, top = 0;

	for (uint64_t i = 1; i < LAST; i++) {
		uint64_t serial;
		bool fine;

		state = state * UINT64_C(6364136223846793005) + 1;
		serial = i + (state >> 40) % (2 * AUTH_WINDOW);
		fine = !taken[serial] &&
		    (serial > top || top - serial < AUTH_WINDOW);
		ck_assert_int_eq(auth_serials_take(&serials, serial),
		    fine ? 0 : -1);
		taken[serial] = taken[serial] || fine;
		top = serial > top ? serial : top;
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("auth");
	TCase *tc = tcase_create("macs"), *window = tcase_create("serials");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, known_answers);
	tcase_add_test(tc, every_field_counts);
	tcase_add_test(tc, the_mac_itself_does_not_count);
	tcase_add_test(tc, names_do_not_run_together);
	tcase_add_test(tc, roles_differ);
	tcase_add_test(tc, attach_fields_count);
	tcase_add_test(tc, comparing_and_wiping);
	tcase_add_test(tc, random_bytes);
	suite_add_tcase(suite, tc);
	tcase_add_test(window, serials_once);
	tcase_add_test(window, serials_out_of_order);
	tcase_add_test(window, serials_at_the_end);
	tcase_add_test(window, serials_against_a_model);
	suite_add_tcase(suite, window);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
