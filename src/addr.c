/* SPDX-License-Identifier: ISC */
#include "addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ADDR_HOST_MAX 253 /* RFC 1123 */
#define ADDR_LABEL_MAX 63
#define ADDR_PATH_MAX 107
#define ADDR_MAPPED_BITS 96

static const uint8_t addr_mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0xff, 0xff };

static bool
addr_is_printable(char c)
{
	return c >= 0x20 && c < 0x7f;
}

/* A decimal number of at most max, and nothing else. */
static int
addr_parse_number(const char *text, unsigned max, unsigned *out)
{
	unsigned value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > max)
			return -1;
	}
	*out = value;
	return 0;
}

static int
addr_parse_port(const char *text, uint16_t *port, const char **why)
{
	unsigned value;

	if (*text == '\0') {
		*why = "port is missing";
		return -1;
	}
	if (text[strspn(text, "0123456789")] == '-') {
		*why = "port ranges are not supported yet";
		return -1;
	}
	if (addr_parse_number(text, 65535, &value) != 0) {
		*why = "port is not a number from 0 to 65535";
		return -1;
	}
	*port = (uint16_t)value;
	return 0;
}

static int
addr_parse_unix(const char *path, struct addr *out, const char **why)
{
	size_t len = strlen(path);

	if (path[0] != '/') {
		*why = "the path of a UNIX socket must be absolute";
		return -1;
	}
	if (len > ADDR_PATH_MAX) {
		*why = "the path of a UNIX socket has at most 107 bytes";
		return -1;
	}
	out->kind = ADDR_UNIX;
	memcpy(out->host, path, len + 1);
	return 0;
}

/* Labels of 1 to 63 letters, digits, '-' and '_', no '-' first or last. */
static bool
addr_host_is_valid(const char *host)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_-";
	size_t len;

	if (strlen(host) > ADDR_HOST_MAX)
		return false;
	while (*host != '\0') { /* "" is every address, a last dot is fine */
		len = strspn(host, allowed);
		if (len < 1 || len > ADDR_LABEL_MAX || host[0] == '-' ||
		    host[len - 1] == '-')
			return false;
		host += len;
		if (*host == '.')
			host++;
	}
	return true;
}

/* Digits and dots alone are meant as an IPv4 address. */
static bool
addr_looks_numeric(const char *host)
{
	return host[0] != '\0' && host[strspn(host, "0123456789.")] == '\0';
}

/* Judges the host between text and end, and keeps it. */
static int
addr_parse_host(const char *text, const char *end, struct addr *out,
    const char **why)
{
	size_t len = (size_t)(end - text);
	struct in_addr in4;

	if (len >= sizeof out->host) {
		*why = "host name is too long";
		return -1;
	}
	memcpy(out->host, text, len);
	out->host[len] = '\0';
	if (addr_looks_numeric(out->host)) {
		if (inet_pton(AF_INET, out->host, &in4) != 1) {
			*why = "not an IPv4 address";
			return -1;
		}
	} else if (!addr_host_is_valid(out->host)) {
		*why = "not a host name";
		return -1;
	}
	return 0;
}

static int
addr_parse_v6(const char *text, const char *end, struct addr *out,
    const char **why)
{
	size_t len = (size_t)(end - text);
	struct in6_addr in6;
	char host[INET6_ADDRSTRLEN];

	*why = "not an IPv6 address";
	if (len >= sizeof host)
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET6, host, &in6) != 1)
		return -1;
	/* However it was written, it is kept and printed one way. */
	inet_ntop(AF_INET6, &in6, out->host, sizeof out->host);
	return 0;
}

int
addr_parse(const char *text, struct addr *out, const char **why)
{
	const char *colon = strrchr(text, ':');

	memset(out, 0, sizeof *out);
	if (strncmp(text, "unix:", 5) == 0)
		return addr_parse_unix(text + 5, out, why);
	out->kind = ADDR_INET;
	if (text[0] == '[') {
		if (colon == NULL || colon[-1] != ']') {
			*why = "an IPv6 address is written [ADDRESS]:PORT";
			return -1;
		}
		if (addr_parse_v6(text + 1, colon - 1, out, why) != 0)
			return -1;
	} else if (colon == NULL) {
		*why = "port is missing";
		return -1;
	} else if (strchr(text, ':') != colon) {
		*why = "an IPv6 address is written [ADDRESS]:PORT";
		return -1;
	} else if (addr_parse_host(text, colon, out, why) != 0) {
		return -1;
	}
	return addr_parse_port(colon + 1, &out->port, why);
}

char *
addr_format(const struct addr *addr, char *buf, size_t size)
{
	if (addr->kind == ADDR_UNIX)
		snprintf(buf, size, "unix:%s", addr->host);
	else if (strchr(addr->host, ':') != NULL)
		snprintf(buf, size, "[%s]:%u", addr->host, addr->port);
	else
		snprintf(buf, size, "%s:%u", addr->host, addr->port);
	return buf;
}

bool
addr_equal(const struct addr *a, const struct addr *b)
{
	return a->kind == b->kind && a->port == b->port &&
	    (a->kind == ADDR_UNIX ? strcmp(a->host, b->host) :
				    strcasecmp(a->host, b->host)) == 0;
}

int
addr_to_sock(const struct addr *addr, struct addr_sock *out)
{
	memset(out, 0, sizeof *out);
	if (addr->kind == ADDR_UNIX) {
		out->un.sun_family = AF_UNIX;
		snprintf(out->un.sun_path, sizeof out->un.sun_path, "%.*s",
		    ADDR_PATH_MAX, addr->host);
		out->len = sizeof out->un;
		return 0;
	}
	if (addr->host[0] == '\0' ||
	    inet_pton(AF_INET6, addr->host, &out->in6.sin6_addr) == 1) {
		out->in6.sin6_family = AF_INET6;
		out->in6.sin6_port = htons(addr->port);
		out->len = sizeof out->in6;
		return 0;
	}
	if (inet_pton(AF_INET, addr->host, &out->in.sin_addr) != 1)
		return -1;
	out->in.sin_family = AF_INET;
	out->in.sin_port = htons(addr->port);
	out->len = sizeof out->in;
	return 0;
}

/* The IPv4 bytes of an address, also of a v4-mapped one, or NULL. */
static const uint8_t *
addr_v4(const struct addr_sock *sock)
{
	const uint8_t *bytes = (const uint8_t *)&sock->in6.sin6_addr;

	if (sock->sa.sa_family == AF_INET)
		return (const uint8_t *)&sock->in.sin_addr;
	if (sock->sa.sa_family == AF_INET6 &&
	    memcmp(bytes, addr_mapped_prefix, sizeof addr_mapped_prefix) == 0)
		return bytes + sizeof addr_mapped_prefix;
	return NULL;
}

/* The path may be unterminated, and hold anything: its user chose it. */
static void
addr_format_unix(const struct addr_sock *sock, char *buf, size_t size)
{
	size_t max = 0;
	char *p;

	/* Unnamed, or abstract (a NUL first): nothing to show. */
	if (sock->len > offsetof(struct sockaddr_un, sun_path))
		max = sock->len - offsetof(struct sockaddr_un, sun_path);
	if (max > ADDR_PATH_MAX)
		max = ADDR_PATH_MAX;
	snprintf(buf, size, "unix:%.*s", (int)max, sock->un.sun_path);
	for (p = buf; *p != '\0'; p++)
		if (!addr_is_printable(*p))
			*p = '?';
}

static char *
addr_put_number(char *out, unsigned number)
{
	char digits[10];
	int n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* As printf does, in a tenth of its time: every session is told of thrice. */
static void
addr_format_v4(const uint8_t *v4, unsigned port, char *buf, size_t size)
{
	char text[sizeof "255.255.255.255:65535"], *p = text;
	int i;

	for (i = 0; i < 4; i++) {
		p = addr_put_number(p, v4[i]);
		*p++ = i < 3 ? '.' : ':';
	}
	p = addr_put_number(p, port);
	*p++ = '\0';
	if ((size_t)(p - text) <= size)
		memcpy(buf, text, (size_t)(p - text));
	else
		snprintf(buf, size, "%s", text);
}

char *
addr_sock_format(const struct addr_sock *sock, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN];
	const uint8_t *v4 = addr_v4(sock);

	switch (sock->sa.sa_family) {
	case AF_INET:
		addr_format_v4((const uint8_t *)&sock->in.sin_addr,
		    ntohs(sock->in.sin_port), buf, size);
		break;
	case AF_INET6:
		if (v4 == NULL) {
			inet_ntop(AF_INET6, &sock->in6.sin6_addr, text,
			    sizeof text);
			snprintf(buf, size, "[%s]:%u", text,
			    ntohs(sock->in6.sin6_port));
			break;
		}
		addr_format_v4(v4, ntohs(sock->in6.sin6_port), buf, size);
		break;
	case AF_UNIX:
		addr_format_unix(sock, buf, size);
		break;
	default:
		snprintf(buf, size, "unknown");
	}
	return buf;
}

/* A relative path too: a user's socket may have been bound to one. */
static int
addr_sock_parse_unix(const char *path, struct addr_sock *out)
{
	size_t len = strlen(path), i;

	if (len > ADDR_PATH_MAX)
		return -1;
	for (i = 0; i < len; i++)
		if (!addr_is_printable(path[i]))
			return -1;
	memset(out, 0, sizeof *out);
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path, len);
	out->len = len == 0 ? offsetof(struct sockaddr_un, sun_path) :
			      sizeof out->un;
	return 0;
}

int
addr_sock_parse(const char *text, struct addr_sock *out)
{
	struct addr addr;
	const char *why;

	if (strncmp(text, "unix:", 5) == 0)
		return addr_sock_parse_unix(text + 5, out);
	if (addr_parse(text, &addr, &why) != 0 ||
	    (addr.kind == ADDR_INET && addr.host[0] == '\0'))
		return -1;
	return addr_to_sock(&addr, out);
}

void
addr_sock_source(const struct addr_sock *sock, struct addr_source *out)
{
	const uint8_t *v4 = addr_v4(sock);

	memset(out, 0, sizeof *out);
	if (v4 != NULL) {
		out->bytes[0] = 4;
		memcpy(out->bytes + 1, v4, 4);
	} else if (sock->sa.sa_family == AF_INET6) {
		out->bytes[0] = 6;
		memcpy(out->bytes + 1, &sock->in6.sin6_addr, 8);
	}
}

/* Whether the bits behind the first `bits` are all zero. */
static bool
addr_rest_is_zero(const uint8_t *bytes, size_t len, unsigned bits)
{
	size_t i;

	for (i = bits / 8; i < len; i++) {
		uint8_t mask = i == bits / 8 ? (uint8_t)(0xff >> bits % 8) :
					       0xff;

		if ((bytes[i] & mask) != 0)
			return false;
	}
	return true;
}

int
addr_cidr_parse(const char *text, struct addr_cidr *out, const char **why)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
	unsigned max;

	memset(out, 0, sizeof *out);
	*why = "not an address or a block such as 10.0.0.0/8";
	if (len >= sizeof host)
		return -1;
	memcpy(host, text, len);
	host[len] = '\0';
	out->family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(out->family, host, out->bytes) != 1)
		return -1;
	max = out->family == AF_INET ? 32 : 128;
	out->bits = max;
	if (slash != NULL &&
	    addr_parse_number(slash + 1, max, &out->bits) != 0) {
		*why = "prefix length is out of range";
		return -1;
	}
	if (!addr_rest_is_zero(out->bytes, max / 8, out->bits)) {
		*why = "host bits are set";
		return -1;
	}
	/* Such a source counts as IPv4, so a block of them must as well. */
	if (out->family == AF_INET6 && out->bits >= ADDR_MAPPED_BITS &&
	    memcmp(out->bytes, addr_mapped_prefix, sizeof addr_mapped_prefix) ==
		0) {
		out->family = AF_INET;
		out->bits -= ADDR_MAPPED_BITS;
		memmove(out->bytes, out->bytes + ADDR_MAPPED_BITS / 8, 4);
		memset(out->bytes + 4, 0, sizeof out->bytes - 4);
	}
	return 0;
}

char *
addr_cidr_format(const struct addr_cidr *cidr, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(cidr->family, cidr->bytes, text, sizeof text);
	snprintf(buf, size, "%s/%u", text, cidr->bits);
	return buf;
}

bool
addr_cidr_match(const struct addr_cidr *cidr, const struct addr_sock *sock)
{
	const uint8_t *bytes = addr_v4(sock);
	unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;
	int family = AF_INET;

	if (bytes == NULL && sock->sa.sa_family == AF_INET6) {
		bytes = (const uint8_t *)&sock->in6.sin6_addr;
		family = AF_INET6;
	}
	if (bytes == NULL || cidr->family != family ||
	    memcmp(bytes, cidr->bytes, whole) != 0)
		return false;
	return rest == 0 ||
	    (bytes[whole] ^ cidr->bytes[whole]) >> (8 - rest) == 0;
}
