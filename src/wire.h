/* SPDX-License-Identifier: ISC */
/*
 * wire: the frames two daemons exchange, as bytes and as structs.
 *
 * Owns the format and nothing else: no sockets, no state, no keys. Every
 * decoder is given bytes that a stranger chose.  Pure.  Floor 0.
 *
 * A frame is an 8-byte header, big-endian, then `length` bytes of payload:
 *
 *     type u8 | flags u8 | length u16 | channel u32
 *
 * flags are zero and ignored on receipt, but in DATA, where they are the highest
 * eight bits of a length of 24; channel is zero but on mux channels,
 * whose frames are told in mux.h. The payload of DATA is the users' bytes.
 * A control payload is a run of fields: tag u8 | length u16 | bytes. Integers
 * are big-endian and exactly as wide as said below. Unknown tags are skipped;
 * a known tag that is missing, doubled, of the wrong length or holds an
 * illegal value makes the message BAD. A hint may be missing; one that is, or
 * has an unknown value, is 0. The layout of HELLO never changes.
 */
#ifndef TUNNELD_WIRE_H
#define TUNNELD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "name.h"

#define WIRE_VERSION 1 /* the only version so far */
#define WIRE_HEADER_SIZE 8
#define WIRE_NONCE_SIZE 32
#define WIRE_MAC_SIZE 32
#define WIRE_INSTANCE_SIZE 16
#define WIRE_LINK_ID_SIZE 16
#define WIRE_UID_SIZE 16
#define WIRE_TEXT_SIZE 200 /* a terminated human text: at most 199 bytes */

/* The most a control payload may hold; a longer frame is BAD at once. */
#define WIRE_CONTROL_MAX 1024
#define WIRE_FRAME_MAX (WIRE_HEADER_SIZE + WIRE_CONTROL_MAX)
#define WIRE_DATA_MAX 0xffffff /* of DATA, as far as the length goes */

/*
 * Features: offered in HELLO, chosen by the gateway of what was offered:
 * CHALLENGE (plain, where the MACs cover both) and WELCOME say the same. Who
 * knows none of them offers and chooses 0.
 */
#define WIRE_FEATURE_MUX ((uint32_t)1)	  /* lanes: LANES, and mux.h */
#define WIRE_FEATURE_RESUME ((uint32_t)2) /* reserved: 0x24 to 0x27 */
#define WIRE_FEATURES WIRE_FEATURE_MUX	  /* all that are known here */

/*
 * No type is 0x16 (the first byte of TLS) or an upper-case letter (HTTP), so
 * the first byte of a connection tells what it speaks.
 */
enum wire_type {
	WIRE_HELLO = 0x01,     /* dialler: who I am, what I can */
	WIRE_CHALLENGE = 0x02, /* gateway, plain only: nonce and MAC */
	WIRE_PROOF = 0x03,     /* dialler, plain only: MAC */
	WIRE_WELCOME = 0x04,   /* gateway: the link is up */
	WIRE_REJECT = 0x05,    /* gateway: no, and why */
	WIRE_ATTACH = 0x06,    /* dialler: this connection is a channel */
	WIRE_ATTACHED = 0x07,  /* gateway: taken */
	WIRE_PING = 0x08,      /* links and idle channels */
	WIRE_PONG = 0x09,
	WIRE_WANT = 0x0a,   /* gateway: attach up to so many channels for me */
	WIRE_RETIRE = 0x0b, /* reserved: ask for an idle channel to be closed */
	WIRE_CLOSE = 0x0c,  /* a session was killed here */
	WIRE_GOAWAY = 0x0d, /* no new sessions on this link */
	WIRE_LANES = 0x0e,  /* gateway: keep so many lanes attached */
	WIRE_OPEN = 0x10,   /* entry: a session for this tunnel */
	WIRE_OPENED = 0x11, /* exit: bytes may flow */
	WIRE_FAILED = 0x12, /* exit: no, and why */
	WIRE_DATA = 0x20,   /* lanes only: bytes of a channel */
	WIRE_FIN = 0x21,    /* ... its sender sends no more of them */
	WIRE_RESET = 0x22,  /* ... neither way goes on */
	WIRE_WINDOW = 0x23, /* ... so many more may be sent */
	/* Reserved for resumption: which offsets of a lane have arrived; that
	 * a connection goes on with a lane that was lost, and from where. */
	WIRE_ACK = 0x24,
	WIRE_RESUME = 0x25,
	WIRE_RESUMED = 0x26
	/* 0x27 is reserved, too. */
};

enum wire_security { WIRE_SECURITY_PLAIN = 1, WIRE_SECURITY_TLS = 2 };

enum wire_reject_code {
	WIRE_REJECT_REFUSED = 1,  /* name or secret, told apart only in a log */
	WIRE_REJECT_VERSION = 2,  /* no version in common */
	WIRE_REJECT_STALE = 3,	  /* a newer dial of the same instance is up */
	WIRE_REJECT_IN_USE = 4,	  /* another instance holds the name, alive */
	WIRE_REJECT_BUSY = 5,	  /* no room now, try again */
	WIRE_REJECT_PROTOCOL = 6, /* what you sent makes no sense */
	WIRE_REJECT_DISABLED = 7  /* switched off by an administrator */
};

enum wire_failed_code {
	WIRE_FAILED_REFUSED = 1,     /* the service refused the connection */
	WIRE_FAILED_UNREACHABLE = 2, /* no route, host down, no such socket */
	WIRE_FAILED_TIMEOUT = 3,     /* connect_timeout passed */
	WIRE_FAILED_RESOLVE = 4,     /* the service's name did not resolve */
	WIRE_FAILED_DENIED = 5,	   /* not a tunnel of yours, or source denied */
	WIRE_FAILED_LIMIT = 6,	   /* max_sessions reached */
	WIRE_FAILED_DUPLICATE = 7, /* that uid was opened before */
	WIRE_FAILED_INTERNAL = 8,  /* out of descriptors and the like */
	WIRE_FAILED_RESET = 9,	   /* the service reset it at once */
	WIRE_FAILED_DISABLED = 10  /* switched off by an administrator */
};

enum wire_close_reason { WIRE_CLOSE_KILLED = 1, WIRE_CLOSE_RELOAD = 2 };

/* Why no new sessions: what the other end may expect. */
enum wire_goaway_reason {
	WIRE_GOAWAY_UNKNOWN = 0,  /* not said, or not known here */
	WIRE_GOAWAY_STOPPING = 1, /* the daemon ends */
	WIRE_GOAWAY_UPGRADE = 2,  /* another process of it is there at once */
	WIRE_GOAWAY_RELOAD = 3,	  /* its configuration changed */
	WIRE_GOAWAY_ADMIN = 4	  /* an administrator did it */
};

enum wire_opener {
	WIRE_OPENER_DIALLER = 1,
	WIRE_OPENER_GATEWAY = 2,
	WIRE_OPENER_LANE = 3 /* either: it is no channel, but carries many */
};

struct wire_hello { /* tags 1.. in the order of the members */
	uint8_t version_min;
	uint8_t version_max;
	uint32_t features;    /* a bitmap of WIRE_FEATURE_... */
	uint8_t security;     /* enum wire_security */
	char name[NAME_SIZE]; /* the dialler's name, valid */
	uint8_t nonce[WIRE_NONCE_SIZE];
	uint8_t instance[WIRE_INSTANCE_SIZE];
	uint64_t epoch;
};

struct wire_challenge {
	uint8_t version; /* chosen */
	uint32_t features;
	char name[NAME_SIZE]; /* the gateway's name */
	uint8_t nonce[WIRE_NONCE_SIZE];
	uint8_t mac[WIRE_MAC_SIZE];
};

struct wire_proof {
	uint8_t mac[WIRE_MAC_SIZE];
};

struct wire_welcome {
	uint8_t version;
	uint32_t features;
	char name[NAME_SIZE];
	uint8_t link_id[WIRE_LINK_ID_SIZE];
};

/* For REJECT and FAILED. text is for people, of any bytes but NUL: escape it
 * before it is logged or shown. An unknown code is decoded as it is. */
struct wire_refusal {
	uint8_t code;
	char text[WIRE_TEXT_SIZE];
};

struct wire_attach {
	uint8_t link_id[WIRE_LINK_ID_SIZE];
	uint64_t serial; /* from 1, each taken once */
	uint8_t opener;	 /* enum wire_opener: who will send OPEN */
	uint8_t mac[WIRE_MAC_SIZE];
};

struct wire_attached {
	uint8_t mac[WIRE_MAC_SIZE];
};

struct wire_ping { /* PING; the PONG carries the same token */
	uint64_t token;
};

struct wire_want {
	uint64_t total; /* since WELCOME, never falls */
};

struct wire_close {
	uint8_t uid[WIRE_UID_SIZE];
	uint8_t reason; /* enum wire_close_reason, unknown ones kept */
};

struct wire_goaway {
	uint8_t reason; /* enum wire_goaway_reason; may be missing */
};

struct wire_open {
	uint8_t uid[WIRE_UID_SIZE];
	char tunnel[NAME_SIZE];
	char source[ADDR_TEXT_SIZE]; /* the user, as addr_sock_format prints */
	char target[ADDR_TEXT_SIZE]; /* "" but for types that choose one */
	uint32_t window;	     /* a hint, on lanes: see mux.h */
};

struct wire_opened {
	uint32_t window; /* a hint, on lanes */
};

#define WIRE_LANES_MAX 16
struct wire_lanes {
	uint8_t count; /* 0..WIRE_LANES_MAX */
};

struct wire_fin {
	uint8_t last; /* a hint: 1: nothing more of this channel follows */
};

struct wire_reset {
	uint8_t reason; /* a hint: enum wire_close_reason; 0: a plain reset */
};

struct wire_window {
	uint32_t credit;
};

/* RETIRE carries nothing yet. */
struct wire_message {
	uint8_t type; /* enum wire_type */
	uint32_t channel;
	union {
		struct wire_hello hello;
		struct wire_challenge challenge;
		struct wire_proof proof;
		struct wire_welcome welcome;
		struct wire_refusal refusal; /* REJECT, FAILED */
		struct wire_attach attach;
		struct wire_attached attached;
		struct wire_ping ping; /* PING, PONG */
		struct wire_want want;
		struct wire_close close;
		struct wire_goaway goaway;
		struct wire_open open;
		struct wire_opened opened;
		struct wire_lanes lanes;
		struct wire_fin fin;
		struct wire_reset reset;
		struct wire_window window;
	};
};

enum wire_result { WIRE_OK, WIRE_NEED_MORE, WIRE_BAD };

/*
 * Takes one message from the front of data. WIRE_OK fills *out and sets *used
 * to the bytes it took; WIRE_NEED_MORE and WIRE_BAD leave both alone. An
 * unknown frame type of legal length is WIRE_OK with the type as it stands
 * and no member set: the caller decides. A frame longer than WIRE_FRAME_MAX
 * is BAD as soon as its header is there. Strings are terminated and hold no
 * NUL before their end; names are valid.
 */
enum wire_result wire_decode(const uint8_t *data, size_t len,
    struct wire_message *out, size_t *used);

/* For lanes, where DATA is longer: the header alone, of WIRE_HEADER_SIZE
 * bytes; and one for DATA. */
struct wire_header {
	uint8_t type;
	uint32_t length;
	uint32_t channel;
};
void wire_decode_header(const uint8_t *data, struct wire_header *out);
void wire_encode_data(uint8_t *data, uint32_t channel, size_t length);

/*
 * Writes the message to buf and returns its length, which is at most
 * WIRE_FRAME_MAX; size is at least that. Texts are cut to fit, never refused.
 */
size_t wire_encode(const struct wire_message *msg, uint8_t *buf, size_t size);

/* "HELLO", ... or "frame 0x42" (in a static table: never freed; the unknown
 * are all "unknown frame"). */
const char *wire_type_name(uint8_t type);

#endif
