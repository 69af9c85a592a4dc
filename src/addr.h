/* SPDX-License-Identifier: ISC */
/*
 * addr: addresses as people write them and as the kernel wants them, and
 * CIDR blocks. Parses and prints; never resolves a name, never opens a
 * socket.  Pure.  Floor 0.
 *
 * Written forms: host:port, 1.2.3.4:port, [v6]:port, :port (every address of
 * this machine), unix:/path. IPv6 text follows RFC 4291 and is printed as
 * RFC 5952 says.
 */
#ifndef TUNNELD_ADDR_H
#define TUNNELD_ADDR_H

#include <sys/socket.h>
#include <sys/un.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDR_HOST_SIZE 256 /* a DNS name or a UNIX path, terminated */
#define ADDR_TEXT_SIZE 280 /* enough for every printed form, terminated */

enum addr_kind { ADDR_INET, ADDR_UNIX };

/* A written address. Plain data: copy it freely. */
struct addr {
	enum addr_kind kind;
	uint16_t port;		   /* ADDR_INET only; host byte order */
	char host[ADDR_HOST_SIZE]; /* name or literal without brackets, "" for
				      every address; the path of ADDR_UNIX */
};

/* An address the kernel can bind or connect. Plain data. */
struct addr_sock {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage ss;
	};
};

/*
 * Parses text into *out. On failure returns -1 and points *why at a static
 * phrase such as "port is missing"; *out is then undefined. A port range
 * ("host:1000-2000") fails with "port ranges are not supported yet".
 * Host names: RFC 1123 letters, digits, '-', '.', also '_'; at most 253 bytes.
 * UNIX paths are absolute and at most 107 bytes.
 */
int addr_parse(const char *text, struct addr *out, const char **why);

/* Prints the written form; returns buf. size is at least ADDR_TEXT_SIZE. */
char *addr_format(const struct addr *addr, char *buf, size_t size);

bool addr_equal(const struct addr *a, const struct addr *b);

/*
 * Turns a literal or a UNIX path into a kernel address. Returns -1 if the
 * host is a name, which only a resolver can turn. "" becomes [::], which is
 * every address, of both families when bound without IPV6_V6ONLY.
 */
int addr_to_sock(const struct addr *addr, struct addr_sock *out);

/*
 * Prints "1.2.3.4:80", "[2001:db8::1]:80", "unix:/path", or "unix:" for the
 * unnamed peer of a UNIX socket; a v4-mapped IPv6 address prints as IPv4. The
 * user of a UNIX socket chose its path: bytes that are not printable ASCII
 * print as '?'. Returns buf. size is at least ADDR_TEXT_SIZE.
 */
char *addr_sock_format(const struct addr_sock *sock, char *buf, size_t size);

/*
 * Parses what addr_sock_format printed (as carried in OPEN). -1 if it is not
 * such a text, so what was parsed is printable. "unix:" gives an unnamed UNIX
 * address.
 */
int addr_sock_parse(const char *text, struct addr_sock *out);

/* A source for counting: an IPv4 host, an IPv6 /64, or "UNIX". Padding-free,
 * so it can be hashed and compared as bytes. */
struct addr_source {
	uint8_t bytes[9]; /* [0] the family: 4, 6, or 0 for UNIX */
};
void addr_sock_source(const struct addr_sock *sock, struct addr_source *out);

struct addr_cidr {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
	unsigned bits;
};

/*
 * "10.0.0.0/8", "2001:db8::/32", or one address. Host bits must be zero
 * ("10.0.0.1/8" is refused: "host bits are set"). A block of v4-mapped
 * addresses becomes the IPv4 block it stands for. -1 and *why as above.
 */
int addr_cidr_parse(const char *text, struct addr_cidr *out, const char **why);
char *addr_cidr_format(const struct addr_cidr *cidr, char *buf, size_t size);

/* A v4-mapped source is an IPv4 one. A UNIX source matches nothing. */
bool addr_cidr_match(const struct addr_cidr *cidr,
    const struct addr_sock *sock);

#endif
