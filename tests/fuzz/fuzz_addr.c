/* SPDX-License-Identifier: ISC */
/*
 * The input is an address or a block as a person or a peer writes it; and
 * then the bytes of a UNIX path, as the kernel gives them.
 */
#include "fuzz.h"

#include <stddef.h>
#include <string.h>

#include "addr.h"

/* A written address: printed, it is read as the same. */
static void
try_written(const char *text)
{
	struct addr addr, again;
	struct addr_sock sock;
	char printed[ADDR_TEXT_SIZE], twice[ADDR_TEXT_SIZE];
	const char *why = NULL;

	if (addr_parse(text, &addr, &why) != 0) {
		fuzz_assert(why != NULL && why[0] != '\0');
		return;
	}
	fuzz_assert(memchr(addr.host, '\0', sizeof addr.host) != NULL);
	addr_format(&addr, printed, sizeof printed);
	fuzz_assert(strlen(printed) < sizeof printed - 1);
	fuzz_assert(addr_parse(printed, &again, &why) == 0);
	fuzz_assert(addr_equal(&addr, &again));
	addr_format(&again, twice, sizeof twice);
	fuzz_assert(strcmp(printed, twice) == 0);
	if (addr_to_sock(&addr, &sock) == 0)
		fuzz_assert(sock.len > sizeof sock.sa.sa_family &&
		    sock.len <= sizeof sock.ss);
}

/* A kernel's address: printed, it is printable, and is read as the same. */
static void
check_sock(const struct addr_sock *sock)
{
	struct addr_sock again;
	struct addr_source source, source_again;
	char printed[ADDR_TEXT_SIZE], twice[ADDR_TEXT_SIZE];

	addr_sock_format(sock, printed, sizeof printed);
	for (const char *p = printed; *p != '\0'; p++)
		fuzz_assert(*p >= 0x20 && *p < 0x7f);
	fuzz_assert(addr_sock_parse(printed, &again) == 0);
	addr_sock_format(&again, twice, sizeof twice);
	fuzz_assert(strcmp(printed, twice) == 0);
	addr_sock_source(sock, &source);
	addr_sock_source(&again, &source_again);
	fuzz_assert(memcmp(&source, &source_again, sizeof source) == 0);
}

static void
try_unix(const uint8_t *data, size_t size)
{
	struct addr_sock sock;

	memset(&sock, 0, sizeof sock);
	sock.un.sun_family = AF_UNIX;
	if (size > sizeof sock.un.sun_path)
		size = sizeof sock.un.sun_path;
	memcpy(sock.un.sun_path, data, size);
	sock.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	check_sock(&sock);
}

static void
try_block(const char *text)
{
	static const char *const users[] = { "1.2.3.4:5", "10.0.0.1:5",
		"[::ffff:1.2.3.4]:5", "[2001:db8::1]:5", "[::1]:5", "unix:" };
	struct addr_cidr cidr, again;
	struct addr_sock sock;
	char printed[ADDR_TEXT_SIZE];
	const char *why = NULL;

	if (addr_cidr_parse(text, &cidr, &why) != 0) {
		fuzz_assert(why != NULL && why[0] != '\0');
		return;
	}
	fuzz_assert(cidr.bits <= (cidr.family == AF_INET ? 32 : 128));
	addr_cidr_format(&cidr, printed, sizeof printed);
	fuzz_assert(addr_cidr_parse(printed, &again, &why) == 0);
	fuzz_assert(again.family == cidr.family && again.bits == cidr.bits &&
	    memcmp(again.bytes, cidr.bytes, sizeof cidr.bytes) == 0);
	/* It holds its own first address. */
	memset(&sock, 0, sizeof sock);
	sock.sa.sa_family = (sa_family_t)cidr.family;
	if (cidr.family == AF_INET)
		memcpy(&sock.in.sin_addr, cidr.bytes, 4);
	else
		memcpy(&sock.in6.sin6_addr, cidr.bytes, 16);
	fuzz_assert(addr_cidr_match(&cidr, &sock));
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		fuzz_assert(addr_sock_parse(users[i], &sock) == 0);
		addr_cidr_match(&cidr, &sock);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addr_sock sock;
	char *text = malloc(size + 1);

	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	try_written(text);
	try_block(text);
	if (addr_sock_parse(text, &sock) == 0)
		check_sock(&sock);
	if (size > 0)
		try_unix(data, size);
	free(text);
	return 0;
}

size_t
fuzz_seed(unsigned index, uint8_t *data)
{
	static const char *const seeds[] = { "127.0.0.1:80", ":7000",
		"[2001:db8::1]:22", "[::ffff:1.2.3.4]:5", "unix:/run/x.sock",
		"unix:", "tunnel.example.org:7000", "host:1000-2000",
		"10.0.0.0/8", "2001:db8::/32", "::ffff:10.0.0.0/104", "::/0",
		"1.2.3.4", "fe80::1%lo", "[1:2:3:4:5:6:7:8]:65535" };

	if (index >= sizeof seeds / sizeof *seeds)
		return 0;
	memcpy(data, seeds[index], strlen(seeds[index]));
	return strlen(seeds[index]);
}
