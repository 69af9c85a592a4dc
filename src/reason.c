/* SPDX-License-Identifier: ISC */
#include "reason.h"

static const char *const reason_names[REASON_COUNT] = {
	[REASON_NONE] = "",
	[REASON_CLOSED] = "closed",
	[REASON_RESET] = "reset",
	[REASON_REFUSED] = "refused",
	[REASON_UNREACHABLE] = "unreachable",
	[REASON_CONNECT_TIMEOUT] = "connect_timeout",
	[REASON_RESOLVE_FAILED] = "resolve_failed",
	[REASON_DENIED] = "denied",
	[REASON_DISABLED] = "disabled",
	[REASON_LIMIT] = "limit",
	[REASON_LINK_DOWN] = "link_down",
	[REASON_NO_CHANNEL] = "no_channel",
	[REASON_CHANNEL_LOST] = "channel_lost",
	[REASON_LINK_LOST] = "link_lost",
	[REASON_IDLE_TIMEOUT] = "idle_timeout",
	[REASON_KILLED] = "killed",
	[REASON_KILLED_BY_PEER] = "killed_by_peer",
	[REASON_RELOAD] = "reload",
	[REASON_SHUTDOWN] = "shutdown",
	[REASON_DAEMON_LOST] = "daemon_lost",
	[REASON_INTERNAL] = "internal",
};

const char *
reason_name(enum reason reason)
{
	if ((unsigned)reason >= REASON_COUNT)
		return "";
	return reason_names[reason];
}
