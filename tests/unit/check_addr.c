/* SPDX-License-Identifier: ISC */
/* Addresses and blocks: what is read, what is refused, how it is printed. */
#include <arpa/inet.h>
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define NAME_253                                                    \
	X63 "." X63 "." X63 ".xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
	    "xxxxxxxxxxxxxxxxxxxxxxxxx"
#define PATH_107 "/" X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

START_TEST(written_forms)
{
	static const struct {
		const char *text;
		const char *host;
		unsigned port;
		const char *printed; /* NULL: as written */
	} rows[] = {
		{ "127.0.0.1:80", "127.0.0.1", 80, NULL },
		{ ":7000", "", 7000, NULL },
		{ "0.0.0.0:0", "0.0.0.0", 0, NULL },
		{ "[::]:65535", "::", 65535, NULL },
		{ "[::1]:22", "::1", 22, NULL },
		/* RFC 5952, section 4 */
		{ "[2001:DB8:0:0:0:0:0:1]:1", "2001:db8::1", 1,
		    "[2001:db8::1]:1" },
		{ "[2001:0db8::0001:0000]:1", "2001:db8::1:0", 1,
		    "[2001:db8::1:0]:1" },
		{ "[2001:db8:0:1:1:1:1:1]:1", "2001:db8:0:1:1:1:1:1", 1, NULL },
		{ "[2001:db8:0:0:1:0:0:1]:1", "2001:db8::1:0:0:1", 1,
		    "[2001:db8::1:0:0:1]:1" },
		{ "[2001:0:0:1:0:0:0:1]:1", "2001:0:0:1::1", 1,
		    "[2001:0:0:1::1]:1" },
		{ "[::ffff:1.2.3.4]:5", "::ffff:1.2.3.4", 5, NULL },
		{ "tunnel.example.org:7000", "tunnel.example.org", 7000, NULL },
		{ "Host_1-a.B.:007", "Host_1-a.B.", 7, "Host_1-a.B.:7" },
		{ "localhost:1", "localhost", 1, NULL },
		{ "1and1.example:1", "1and1.example", 1, NULL },
		{ X63 ".example:1", X63 ".example", 1, NULL },
		{ NAME_253 ":65535", NAME_253, 65535, NULL },
	};
	struct addr addr, again;
	char text[ADDR_TEXT_SIZE];
	const char *why = NULL;

	for (size_t i = 0; i < COUNT(rows); i++) {
		ck_assert_msg(addr_parse(rows[i].text, &addr, &why) == 0,
		    "%s: %s", rows[i].text, why);
		ck_assert_int_eq(addr.kind, ADDR_INET);
		ck_assert_str_eq(addr.host, rows[i].host);
		ck_assert_uint_eq(addr.port, rows[i].port);
		ck_assert_ptr_eq(addr_format(&addr, text, sizeof text), text);
		ck_assert_str_eq(text,
		    rows[i].printed != NULL ? rows[i].printed : rows[i].text);
		ck_assert_int_eq(addr_parse(text, &again, &why), 0);
		ck_assert(addr_equal(&addr, &again));
	}
}
END_TEST

START_TEST(unix_paths)
{
	struct addr addr;
	struct addr_sock sock;
	char text[ADDR_TEXT_SIZE];
	const char *why;

	ck_assert_uint_eq(strlen(PATH_107), 107);
	ck_assert_int_eq(addr_parse("unix:" PATH_107, &addr, &why), 0);
	ck_assert_int_eq(addr.kind, ADDR_UNIX);
	ck_assert_str_eq(addr.host, PATH_107);
	ck_assert_str_eq(addr_format(&addr, text, sizeof text),
	    "unix:" PATH_107);
	ck_assert_int_eq(addr_to_sock(&addr, &sock), 0);
	ck_assert_int_eq(sock.sa.sa_family, AF_UNIX);
	ck_assert_uint_le(sock.len, sizeof(struct sockaddr_un));
	ck_assert_str_eq(sock.un.sun_path, PATH_107);
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text),
	    "unix:" PATH_107);
	ck_assert_int_eq(addr_parse("unix:/a:b]c[:d", &addr, &why), 0);
	ck_assert_str_eq(addr.host, "/a:b]c[:d");
}
END_TEST

START_TEST(refused_forms)
{
	static const struct {
		const char *text;
		const char *why; /* a part of it */
	} rows[] = {
		{ "", "port is missing" },
		{ "host", "port is missing" },
		{ "host:", "port is missing" },
		{ ":", "port is missing" },
		{ "[::1]", "[ADDRESS]:PORT" },
		{ "[::1]:", "port is missing" },
		{ "[::1]80", "[ADDRESS]:PORT" },
		{ "[::1", "[ADDRESS]:PORT" },
		{ "[:80", "[ADDRESS]:PORT" },
		{ "[", "[ADDRESS]:PORT" },
		{ "::1:80", "[ADDRESS]:PORT" },
		{ "a:b:80", "[ADDRESS]:PORT" },
		{ "[]:80", "not an IPv6 address" },
		{ "[1.2.3.4]:80", "not an IPv6 address" },
		{ "[::1::]:80", "not an IPv6 address" },
		{ "[::g]:80", "not an IPv6 address" },
		{ "[fe80::1%lo]:80", "not an IPv6 address" },
		{ "[1:2:3:4:5:6:7:8:9]:80", "not an IPv6 address" },
		{ "[" NAME_253 "]:80", "not an IPv6 address" },
		{ "h:65536", "port is not" },
		{ "h:99999999999999999999", "port is not" },
		{ "h:-1", "" },
		{ "h:+1", "port is not" },
		{ "h: 1", "port is not" },
		{ "h:1 ", "port is not" },
		{ "h:0x10", "port is not" },
		{ "h:http", "port is not" },
		{ "h:1000-2000", "port ranges are not supported yet" },
		{ ":0-1", "port ranges are not supported yet" },
		{ "[::1]:1-2", "port ranges are not supported yet" },
		{ "1.2.3:80", "not an IPv4 address" },
		{ "1.2.3.4.5:80", "not an IPv4 address" },
		{ "256.0.0.1:80", "not an IPv4 address" },
		{ "1234:80", "not an IPv4 address" },
		{ ".:80", "not an IPv4 address" },
		{ "-a:80", "not a host name" },
		{ "a-:80", "not a host name" },
		{ "a.-b:80", "not a host name" },
		{ "a..b:80", "not a host name" },
		{ ".a:80", "not a host name" },
		{ "a b:80", "not a host name" },
		{ "a/b:80", "not a host name" },
		{ "\303\244:80", "not a host name" },
		{ "x" X63 ":80", "not a host name" },
		{ "x" NAME_253 ":80", "not a host name" },
		{ X63 X63 X63 X63 X63 ":80", "too long" },
		{ "unix:", "must be absolute" },
		{ "unix:a", "must be absolute" },
		{ "unix:" PATH_107 "x", "at most 107 bytes" },
		{ "unix", "port is missing" },
	};
	struct addr addr;
	const char *why;

	for (size_t i = 0; i < COUNT(rows); i++) {
		why = NULL;
		ck_assert_msg(addr_parse(rows[i].text, &addr, &why) == -1, "%s",
		    rows[i].text);
		ck_assert_ptr_nonnull(why);
		ck_assert_msg(strstr(why, rows[i].why) != NULL, "%s: %s",
		    rows[i].text, why);
	}
}
END_TEST

static bool
same(const char *a, const char *b)
{
	struct addr left, right;
	const char *why;

	ck_assert_int_eq(addr_parse(a, &left, &why), 0);
	ck_assert_int_eq(addr_parse(b, &right, &why), 0);
	return addr_equal(&left, &right);
}

START_TEST(equality)
{
	ck_assert(same("h:1", "h:01"));
	ck_assert(same("Example.org:1", "example.ORG:1"));
	ck_assert(same("[0:0::1]:1", "[::1]:1"));
	ck_assert(!same("h:1", "h:2"));
	ck_assert(!same("h:1", "i:1"));
	ck_assert(!same(":1", "0.0.0.0:1"));
	ck_assert(same("unix:/a", "unix:/a"));
	ck_assert(!same("unix:/a", "unix:/A"));
}
END_TEST

START_TEST(kernel_addresses)
{
	struct addr addr;
	struct addr_sock sock;
	const char *why;

	ck_assert_int_eq(addr_parse("1.2.3.4:80", &addr, &why), 0);
	ck_assert_int_eq(addr_to_sock(&addr, &sock), 0);
	ck_assert_uint_eq(sock.len, sizeof(struct sockaddr_in));
	ck_assert_int_eq(sock.in.sin_family, AF_INET);
	ck_assert_uint_eq(sock.in.sin_port, htons(80));
	ck_assert_uint_eq(sock.in.sin_addr.s_addr, htonl(0x01020304));

	ck_assert_int_eq(addr_parse(":81", &addr, &why), 0);
	ck_assert_int_eq(addr_to_sock(&addr, &sock), 0);
	ck_assert_uint_eq(sock.len, sizeof(struct sockaddr_in6));
	ck_assert_int_eq(sock.in6.sin6_family, AF_INET6);
	ck_assert_uint_eq(sock.in6.sin6_port, htons(81));
	ck_assert_mem_eq(&sock.in6.sin6_addr, &in6addr_any, 16);

	ck_assert_int_eq(addr_parse("[::1]:82", &addr, &why), 0);
	ck_assert_int_eq(addr_to_sock(&addr, &sock), 0);
	ck_assert_mem_eq(&sock.in6.sin6_addr, &in6addr_loopback, 16);

	ck_assert_int_eq(addr_parse("localhost:82", &addr, &why), 0);
	ck_assert_int_eq(addr_to_sock(&addr, &sock), -1);
}
END_TEST

START_TEST(sock_text)
{
	static const struct {
		const char *text;
		const char *printed; /* NULL: as written */
	} rows[] = {
		{ "1.2.3.4:80", NULL },
		{ "255.255.255.255:65535", NULL },
		{ "[2001:db8::1]:0", NULL },
		{ "[2001:DB8:0::1]:80", "[2001:db8::1]:80" },
		{ "[::ffff:1.2.3.4]:80", "1.2.3.4:80" },
		{ "[::]:80", NULL },
		{ "unix:", NULL },
		{ "unix:/run/x.sock", NULL },
		{ "unix:relative", NULL },
		{ "unix:" PATH_107, NULL },
	};
	static const char *const bad[] = { "", ":80", "localhost:80", "1.2.3.4",
		"1.2.3.4:", "unix", "unknown", "1.2.3.4:65536",
		"unix:" PATH_107 "x", "unix:/a\nb", "unix:/\303\244",
		"[::1%lo]:1", " 1.2.3.4:80" };
	struct addr_sock sock, again;
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < COUNT(rows); i++) {
		ck_assert_msg(addr_sock_parse(rows[i].text, &sock) == 0, "%s",
		    rows[i].text);
		ck_assert_ptr_eq(addr_sock_format(&sock, text, sizeof text),
		    text);
		ck_assert_str_eq(text,
		    rows[i].printed != NULL ? rows[i].printed : rows[i].text);
		ck_assert_int_eq(addr_sock_parse(text, &again), 0);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		ck_assert_msg(addr_sock_parse(bad[i], &sock) == -1, "%s",
		    bad[i]);
}
END_TEST

START_TEST(odd_unix_users)
{
	struct addr_sock sock;
	char text[ADDR_TEXT_SIZE];

	/* As the kernel gives them: unnamed, abstract, unterminated, wild. */
	memset(&sock, 0xff, sizeof sock);
	sock.sa.sa_family = AF_UNIX;
	sock.len = offsetof(struct sockaddr_un, sun_path);
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text), "unix:");
	sock.len = 0;
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text), "unix:");
	sock.un.sun_path[0] = '\0';
	sock.len = sizeof sock.un;
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text), "unix:");
	memcpy(sock.un.sun_path, "/ab", 3);
	sock.len = offsetof(struct sockaddr_un, sun_path) + 3;
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text),
	    "unix:/ab");
	memset(sock.un.sun_path, 'x', sizeof sock.un.sun_path);
	sock.len = sizeof sock.ss;
	ck_assert_uint_eq(strlen(addr_sock_format(&sock, text, sizeof text)),
	    strlen("unix:") + 107);
	memcpy(sock.un.sun_path, "/a\n\033\377\177b", 8);
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text),
	    "unix:/a????b");
	ck_assert_int_eq(addr_sock_parse(text, &sock), 0);
	memset(&sock, 0, sizeof sock);
	ck_assert_str_eq(addr_sock_format(&sock, text, sizeof text), "unknown");
}
END_TEST

static struct addr_sock
sock_of(const char *text)
{
	struct addr_sock sock;

	ck_assert_msg(addr_sock_parse(text, &sock) == 0, "%s", text);
	return sock;
}

static bool
same_source(const char *a, const char *b)
{
	struct addr_sock left = sock_of(a), right = sock_of(b);
	struct addr_source x, y;

	memset(&x, 0x55, sizeof x);
	memset(&y, 0xaa, sizeof y);
	addr_sock_source(&left, &x);
	addr_sock_source(&right, &y);
	return memcmp(&x, &y, sizeof x) == 0;
}

START_TEST(sources)
{
	struct addr_sock sock = sock_of("1.2.3.4:5");
	struct addr_source source;

	addr_sock_source(&sock, &source);
	ck_assert_mem_eq(source.bytes, "\4\1\2\3\4\0\0\0\0", 9);
	sock = sock_of("[102:304:506:708:90a::1]:5");
	addr_sock_source(&sock, &source);
	ck_assert_mem_eq(source.bytes, "\6\1\2\3\4\5\6\7\10", 9);
	ck_assert(same_source("1.2.3.4:5", "1.2.3.4:6"));
	ck_assert(same_source("1.2.3.4:5", "[::ffff:1.2.3.4]:6"));
	ck_assert(!same_source("1.2.3.4:5", "1.2.3.5:5"));
	ck_assert(same_source("[2001:db8::1]:1", "[2001:db8::ffff:0:1]:2"));
	ck_assert(!same_source("[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
	ck_assert(same_source("unix:/a", "unix:"));
	ck_assert(!same_source("unix:/a", "[::]:1"));
}
END_TEST

START_TEST(blocks)
{
	static const struct {
		const char *text;
		const char *printed;
	} rows[] = {
		{ "10.0.0.0/8", "10.0.0.0/8" },
		{ "0.0.0.0/0", "0.0.0.0/0" },
		{ "192.168.1.1", "192.168.1.1/32" },
		{ "192.168.1.128/25", "192.168.1.128/25" },
		{ "2001:db8::/32", "2001:db8::/32" },
		{ "2001:DB8::1", "2001:db8::1/128" },
		{ "::/0", "::/0" },
		{ "2001:db8::8000:0/97", "2001:db8::8000:0/97" },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8" },
		{ "::ffff:1.2.3.4", "1.2.3.4/32" },
		{ "::ffff:0:0/96", "0.0.0.0/0" },
	};
	static const struct {
		const char *text;
		const char *why;
	} bad[] = {
		{ "", "not an address" },
		{ "/8", "not an address" },
		{ "10.0.0/8", "not an address" },
		{ "localhost", "not an address" },
		{ "10.0.0.0:80", "not an address" },
		{ "[::1]/128", "not an address" },
		{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb",
		    "not an address" },
		{ "10.0.0.0/", "prefix length" },
		{ "10.0.0.0/33", "prefix length" },
		{ "::/129", "prefix length" },
		{ "10.0.0.0/-1", "prefix length" },
		{ "10.0.0.0/8/8", "prefix length" },
		{ "10.0.0.0/ 8", "prefix length" },
		{ "10.0.0.0/99999999999", "prefix length" },
		{ "10.0.0.1/8", "host bits are set" },
		{ "10.0.0.1/31", "host bits are set" },
		{ "128.0.0.0/0", "host bits are set" },
		{ "2001:db8::1/64", "host bits are set" },
		{ "::1/127", "host bits are set" },
	};
	struct addr_cidr cidr, again;
	char text[ADDR_TEXT_SIZE];
	const char *why;

	for (size_t i = 0; i < COUNT(rows); i++) {
		ck_assert_msg(addr_cidr_parse(rows[i].text, &cidr, &why) == 0,
		    "%s", rows[i].text);
		ck_assert_str_eq(addr_cidr_format(&cidr, text, sizeof text),
		    rows[i].printed);
		ck_assert_int_eq(addr_cidr_parse(text, &again, &why), 0);
		ck_assert_mem_eq(&cidr, &again, sizeof cidr);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		ck_assert_msg(addr_cidr_parse(bad[i].text, &cidr, &why) == -1,
		    "%s", bad[i].text);
		ck_assert_msg(strstr(why, bad[i].why) != NULL, "%s: %s",
		    bad[i].text, why);
	}
}
END_TEST

START_TEST(matches)
{
	static const struct {
		const char *block;
		const char *sock;
		bool wanted;
	} rows[] = {
		{ "10.0.0.0/8", "10.255.1.2:1", true },
		{ "10.0.0.0/8", "11.0.0.0:1", false },
		{ "10.0.0.0/8", "[::ffff:10.1.2.3]:1", true },
		{ "10.0.0.0/8", "[::ffff:11.1.2.3]:1", false },
		{ "::ffff:10.0.0.0/104", "10.1.2.3:1", true },
		{ "0.0.0.0/0", "1.2.3.4:1", true },
		{ "0.0.0.0/0", "[2001:db8::1]:1", false },
		{ "::/0", "[2001:db8::1]:1", true },
		{ "::/0", "1.2.3.4:1", false },
		{ "::/0", "[::ffff:1.2.3.4]:1", false },
		{ "192.168.1.128/25", "192.168.1.128:1", true },
		{ "192.168.1.128/25", "192.168.1.255:1", true },
		{ "192.168.1.128/25", "192.168.1.127:1", false },
		{ "192.168.1.128/25", "192.168.2.128:1", false },
		{ "1.2.3.4", "1.2.3.4:1", true },
		{ "1.2.3.4", "1.2.3.5:1", false },
		{ "2001:db8::/33", "[2001:db8:7fff::]:1", true },
		{ "2001:db8::/33", "[2001:db8:8000::]:1", false },
		{ "::1", "[::1]:1", true },
		{ "::1", "[::2]:1", false },
		{ "0.0.0.0/0", "unix:/a", false },
		{ "::/0", "unix:", false },
	};
	struct addr_cidr cidr;
	struct addr_sock sock;
	const char *why;

	for (size_t i = 0; i < COUNT(rows); i++) {
		ck_assert_int_eq(addr_cidr_parse(rows[i].block, &cidr, &why),
		    0);
		sock = sock_of(rows[i].sock);
		ck_assert_msg(addr_cidr_match(&cidr, &sock) == rows[i].wanted,
		    "%s and %s", rows[i].block, rows[i].sock);
	}
}
END_TEST

START_TEST(every_prefix_length)
{
	struct addr_sock ones = sock_of("255.255.255.255:1");
	struct addr_cidr cidr = { .family = AF_INET };

	/* A block of `bits` ones holds an address of exactly as many ones. */
	for (unsigned bits = 0; bits <= 32; bits++) {
		uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
		uint32_t net = htonl(mask);

		memcpy(cidr.bytes, &net, 4);
		cidr.bits = bits;
		ck_assert(addr_cidr_match(&cidr, &ones));
		if (bits == 0)
			continue;
		ones.in.sin_addr.s_addr = htonl(UINT32_MAX ^
		    (uint32_t)1 << (32 - bits));
		ck_assert(!addr_cidr_match(&cidr, &ones));
		ones.in.sin_addr.s_addr = htonl(UINT32_MAX);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("addr");
	TCase *tc = tcase_create("addresses");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, written_forms);
	tcase_add_test(tc, unix_paths);
	tcase_add_test(tc, refused_forms);
	tcase_add_test(tc, equality);
	tcase_add_test(tc, kernel_addresses);
	tcase_add_test(tc, sock_text);
	tcase_add_test(tc, odd_unix_users);
	tcase_add_test(tc, sources);
	tcase_add_test(tc, blocks);
	tcase_add_test(tc, matches);
	tcase_add_test(tc, every_prefix_length);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
