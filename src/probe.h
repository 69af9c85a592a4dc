/* SPDX-License-Identifier: ISC */
/*
 * probe: a session without a user, for `tunnelctl test`: goes the way of a
 * tunnel step by step, says how long each took and who refused, and hangs up.
 *
 *   entry	link, channel, service (OPEN to OPENED, one round trip in it)
 *   exit	link, service (dialled from here)
 *   local	service
 *
 * A disabled tunnel fails at the step "tunnel". A link that is down fails at
 * once, with the peer's last error. It stands in no list of sessions here; the
 * exit of the peer sees a session whose source is "unix:". A tunnel whose
 * configuration changes meanwhile is tested as it was.  Floor 4.
 */
#ifndef TUNNELD_PROBE_H
#define TUNNELD_PROBE_H

#include "tunnel.h"

#define PROBE_STEPS 4

struct probe_step {
	const char *name; /* "tunnel", "link", "channel", "service" */
	bool ok;
	double ms;	  /* < 0: not measured */
	char detail[300]; /* "" if there is nothing to say */
	const char *by;	  /* who said no: "daemon", "peer", "service"; NULL */
};

struct probe_result {
	bool ok; /* all steps are */
	struct probe_step steps[PROBE_STEPS];
	size_t n;
};

/* Called once, never before probe_start returns; the probe is gone then. */
typedef void probe_fn(const struct probe_result *result, void *arg);

struct probe;

/* Never lasts longer than twice the tunnel's connect_timeout and a bit. NULL
 * out of memory. */
struct probe *probe_start(struct tunnel *tunnel, probe_fn *fn, void *arg);
/* fn will not be called; NULL is ignored. */
void probe_cancel(struct probe *probe);

#endif
