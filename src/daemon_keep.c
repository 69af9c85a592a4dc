/* SPDX-License-Identifier: ISC */
#include "daemon_internal.h"

#include <stdio.h>
#include <string.h>

#define ADMIN_WHO "admin"

typedef void keep_fn(int fd, const char *who, void *arg);

static void
keep_each(const struct daemon *daemon, keep_fn *fn, void *arg)
{
	const struct tunnel *tunnel;
	char who[NET_WHO_SIZE];
	int fd = -1, lock_fd = -1;
	size_t i;

	if (daemon->admin != NULL)
		admin_descriptors(daemon->admin, &fd, &lock_fd);
	fn(fd, ADMIN_WHO, arg);
	fn(lock_fd, DAEMON_LOCK_WHO, arg);
	for (i = 0; i < gateway_listeners(daemon->gateway); i++)
		fn(net_listener_fd(gateway_listener(daemon->gateway, i)),
		    GATEWAY_WHO, arg);
	if (daemon->metrics != NULL)
		fn(net_listener_fd(metrics_listener(daemon->metrics)),
		    METRICS_WHO, arg);
	TAILQ_FOREACH(tunnel, &daemon->tunnels->all, entry)
		if (tunnel->listener != NULL)
			fn(net_listener_fd(tunnel->listener),
			    tunnel_who(tunnel->label, who), arg);
}

static void
keep_send(int fd, const char *who, void *arg)
{
	struct daemon *daemon = arg;
	struct handover_message message = {
		.type = HANDOVER_KEEP,
		.body = who,
		.len = strlen(who),
		.fd = fd,
	};

	if (fd != -1)
		(void)daemon_tell_master(daemon, &message);
}

/* FNV-1a, of what is the same as long as all of it is. */
static void
keep_sum(int fd, const char *who, void *arg)
{
	uint64_t *sum = arg;
	struct stat st;

	if (fd == -1 || fstat(fd, &st) != 0)
		return;
	*sum = (*sum ^ (uint64_t)st.st_ino) * UINT64_C(1099511628211);
	for (; *who != '\0'; who++)
		*sum = (*sum ^ (uint8_t)*who) * UINT64_C(1099511628211);
}

static void
keep_end(struct daemon *daemon, uint64_t answer)
{
	struct handover_message kept = {
		.type = HANDOVER_KEPT,
		.number = answer,
		.fd = -1,
	};

	daemon->unanswered += answer != HANDOVER_KEPT_NO_ANSWER;
	(void)daemon_tell_master(daemon, &kept);
}

void
daemon_keep(struct daemon *daemon, bool waits)
{
	uint64_t sum = UINT64_C(14695981039346656037);

	if (daemon->master == NULL || daemon->draining)
		return;
	keep_each(daemon, keep_sum, &sum);
	if (sum == daemon->kept)
		return;
	daemon->kept = sum;
	keep_each(daemon, keep_send, daemon);
	keep_end(daemon, waits ? HANDOVER_KEPT_HERE : HANDOVER_KEPT_NO_ANSWER);
	if (waits)
		daemon_await_kept(daemon);
}

void
daemon_release(void *arg)
{
	struct daemon *daemon = arg;

	if (daemon->master == NULL)
		return;
	daemon->kept = 0;
	keep_each(daemon, keep_send, daemon);
	keep_end(daemon, HANDOVER_KEPT_EVERYWHERE);
	daemon_await_kept(daemon);
}

static struct addr
keep_admin_address(const struct daemon *daemon)
{
	struct addr addr = { .kind = ADDR_UNIX };

	snprintf(addr.host, sizeof addr.host, "%s",
	    daemon->config->daemon.admin_socket);
	return addr;
}

static void
claim_one(struct daemon *daemon, const struct addr *addr, const char *who)
{
	net_inherited_claim(daemon->inherited, addr, who);
}

void
daemon_claim(struct daemon *daemon)
{
	const struct config *config = daemon->config;
	struct addr admin = keep_admin_address(daemon);
	char label[NAME_SIZE * 2], who[NET_WHO_SIZE];
	size_t i;

	if (daemon->inherited == NULL)
		return;
	claim_one(daemon, &admin, ADMIN_WHO);
	for (i = 0; i < config->gateway.n_listen; i++)
		claim_one(daemon, &config->gateway.listen[i], GATEWAY_WHO);
	if (config->metrics.has_listen)
		claim_one(daemon, &config->metrics.listen, METRICS_WHO);
	for (i = 0; i < config->n_tunnels; i++) {
		if (!config->tunnels[i]->has_listen)
			continue;
		config_tunnel_label(config->tunnels[i], label, sizeof label);
		claim_one(daemon, &config->tunnels[i]->listen,
		    tunnel_who(label, who));
	}
	/* While there is one that serves, they are his. */
	if (net_inherited_drop(daemon->inherited) == 0 ||
	    daemon->given.why == HANDOVER_SUCCESSOR)
		return;
	net_inherited_each(daemon->inherited, keep_send, daemon);
	keep_send(daemon->lock_fd, DAEMON_LOCK_WHO, daemon);
	keep_end(daemon, HANDOVER_KEPT_EVERYWHERE);
	daemon_await_kept(daemon);
}

/* The admin socket's: it takes them another way. */
void
daemon_get_inherited_admin(struct daemon *daemon, struct admin_inherited *out)
{
	struct addr admin = keep_admin_address(daemon);

	out->fd = net_inherited_take(daemon->inherited, &admin, ADMIN_WHO);
	out->lock_fd = daemon->lock_fd;
	daemon->lock_fd = -1;
}
