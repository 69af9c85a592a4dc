/* SPDX-License-Identifier: ISC */
/* The input is what a stranger sends: frames, one behind the other. */
#include "fuzz.h"

#include <string.h>

#include "wire.h"

static void
check_name(const char *name)
{
	fuzz_assert(name_is_valid(name, strnlen(name, NAME_SIZE)));
}

static void
check_text(const char *text, size_t size)
{
	fuzz_assert(memchr(text, '\0', size) != NULL);
}

/* What wire.h promises of a decoded message. */
static void
check_members(const struct wire_message *msg)
{
	switch (msg->type) {
	case WIRE_HELLO:
		check_name(msg->hello.name);
		fuzz_assert(msg->hello.security == WIRE_SECURITY_PLAIN ||
		    msg->hello.security == WIRE_SECURITY_TLS);
		break;
	case WIRE_CHALLENGE:
		check_name(msg->challenge.name);
		break;
	case WIRE_WELCOME:
		check_name(msg->welcome.name);
		break;
	case WIRE_REJECT:
	case WIRE_FAILED:
		check_text(msg->refusal.text, sizeof msg->refusal.text);
		break;
	case WIRE_ATTACH:
		fuzz_assert(msg->attach.opener == WIRE_OPENER_DIALLER ||
		    msg->attach.opener == WIRE_OPENER_GATEWAY ||
		    msg->attach.opener == WIRE_OPENER_LANE);
		break;
	case WIRE_LANES:
		fuzz_assert(msg->lanes.count <= WIRE_LANES_MAX);
		break;
	case WIRE_FIN:
		fuzz_assert(msg->fin.last <= 1);
		break;
	case WIRE_RESET:
		fuzz_assert(msg->reset.reason <= WIRE_CLOSE_RELOAD);
		break;
	case WIRE_GOAWAY:
		fuzz_assert(msg->goaway.reason <= WIRE_GOAWAY_ADMIN);
		break;
	case WIRE_OPEN:
		check_name(msg->open.tunnel);
		check_text(msg->open.source, sizeof msg->open.source);
		check_text(msg->open.target, sizeof msg->open.target);
		break;
	default:
		break;
	}
}

/* Written again it is no longer, and is read as the same. */
static void
check_again(const struct wire_message *msg, size_t used)
{
	struct wire_message again;
	uint8_t buf[WIRE_FRAME_MAX], twice[WIRE_FRAME_MAX];
	size_t len = wire_encode(msg, buf, sizeof buf), len_again;

	fuzz_assert(len <= used);
	fuzz_assert(wire_decode(buf, len, &again, &len_again) == WIRE_OK);
	fuzz_assert(len_again == len);
	fuzz_assert(again.type == msg->type && again.channel == msg->channel);
	fuzz_assert(wire_encode(&again, twice, sizeof twice) == len);
	fuzz_assert(memcmp(buf, twice, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_message msg, other;
	enum wire_result result;
	size_t used, other_used;

	while ((result = wire_decode(data, size, &msg, &used)) == WIRE_OK) {
		fuzz_assert(used >= WIRE_HEADER_SIZE && used <= size);
		fuzz_assert(used <= WIRE_FRAME_MAX);
		fuzz_assert(wire_type_name(msg.type) != NULL);
		check_members(&msg);
		check_again(&msg, used);
		/* A byte less is too little, more make no difference. */
		fuzz_assert(wire_decode(data, used - 1, &other, &other_used) ==
		    WIRE_NEED_MORE);
		fuzz_assert(wire_decode(data, used, &other, &other_used) ==
		    WIRE_OK);
		fuzz_assert(other_used == used);
		data += used;
		size -= used;
	}
	/* Nobody can be made to wait for more than one frame. */
	fuzz_assert(result == WIRE_BAD || size < WIRE_FRAME_MAX);
	return 0;
}

static void
make_link_message(struct wire_message *msg)
{
	switch (msg->type) {
	case WIRE_HELLO:
		msg->hello.version_min = msg->hello.version_max = WIRE_VERSION;
		msg->hello.security = WIRE_SECURITY_PLAIN;
		strcpy(msg->hello.name, "homelab");
		msg->hello.epoch = 1;
		break;
	case WIRE_CHALLENGE:
		strcpy(msg->challenge.name, "edge1");
		break;
	case WIRE_WELCOME:
		strcpy(msg->welcome.name, "edge1");
		break;
	default:
		break;
	}
}

size_t
fuzz_seed(unsigned index, uint8_t *data)
{
	struct wire_message msg;

	/* Every type in turn, and some that are unknown. */
	if (index > 0x28)
		return 0;
	memset(&msg, 0, sizeof msg);
	msg.type = (uint8_t)index;
	switch (msg.type) {
	case WIRE_REJECT:
	case WIRE_FAILED:
		msg.refusal.code = WIRE_FAILED_REFUSED;
		strcpy(msg.refusal.text, "connection refused");
		break;
	case WIRE_ATTACH:
		msg.attach.serial = 1;
		msg.attach.opener = WIRE_OPENER_DIALLER;
		break;
	case WIRE_GOAWAY:
		msg.goaway.reason = WIRE_GOAWAY_UPGRADE;
		break;
	case WIRE_OPEN:
		strcpy(msg.open.tunnel, "ssh");
		strcpy(msg.open.source, "[2001:db8::1]:50000");
		strcpy(msg.open.target, "example.org:80");
		msg.open.window = 262144;
		break;
	case WIRE_OPENED:
	case WIRE_WINDOW: /* the same bytes in the same place */
		msg.window.credit = 262144;
		break;
	case WIRE_LANES:
	case WIRE_FIN:
	case WIRE_RESET:
		msg.lanes.count = 1;
		break;
	default:
		make_link_message(&msg);
	}
	return wire_encode(&msg, data, FUZZ_INPUT_MAX);
}
