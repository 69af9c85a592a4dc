/* SPDX-License-Identifier: ISC */
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin_socket.h"
#include "log.h"

/* In one turn of the loop: few, so that places that are just being given up
 * are free before they are asked for. */
#define ADMIN_ACCEPTS 16
#define ADMIN_PAUSE 1.0	 /* seconds, when out of descriptors */
#define ADMIN_STALL 30.0 /* seconds */

struct admin {
	struct loop *loop;
	struct admin_socket socket;
	struct admin_rules rules;
	struct loop_watch *watch;
	struct loop_timer *pause;
	struct loop_timer *leave; /* who asks nothing is closed then */
	bool paused;		  /* said so in the log */
	struct admin_clients clients;
};

/* One line, and away with it. message is plain. */
static void
refuse(int fd, const char *code, const char *message)
{
	char answer[300];
	int len;

	len = snprintf(answer, sizeof answer,
	    "{\"id\":null,\"ok\":false,\"error\":"
	    "{\"code\":\"%s\",\"message\":\"%s\"}}\n",
	    code, message);
	/* A new socket takes so few bytes, or its owner loses a courtesy. */
	(void)!send(fd, answer, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* It may nothing. */
static void
refuse_stranger(struct admin *admin, int fd, uid_t uid)
{
	char who[120], text[180];

	if (admin_client_log_refusal(&admin->clients))
		log_info("admin: uid %lu: not permitted", (unsigned long)uid);
	snprintf(text, sizeof text, "not permitted, only %s may ask",
	    admin_judge_describe(&admin->rules, true, who, sizeof who));
	refuse(fd, "not_permitted", text);
}

static void
accept_client(struct admin *admin, int fd)
{
	struct admin_peer peer;

	if (admin_judge(&admin->rules, fd, &peer) != 0) {
		close(fd);
	} else if (!peer.may_look) {
		refuse_stranger(admin, fd, peer.uid);
	} else if (!admin_client_has_room(&admin->clients, &peer)) {
		if (admin_client_log_refusal(&admin->clients))
			log_info("admin: uid %lu: no room, there are %zu "
				 "clients",
			    (unsigned long)peer.uid, admin->clients.n);
		refuse(fd, "busy", "too many clients");
	} else if (admin_client_new(&admin->clients, fd, &peer) != 0) {
		log_warning("admin: out of memory for a client");
	}
}

/* accept failed: 0 if the next one may succeed. */
static int
accept_failed(struct admin *admin)
{
	switch (errno) {
	case EINTR:
	case ECONNABORTED:
		return 0;
	case EAGAIN:
		return -1;
	}
	if (!admin->paused)
		log_warning("admin: accept: %s; trying again every second",
		    strerror(errno));
	admin->paused = true;
	loop_watch_set(admin->watch, false, false);
	loop_timer_set(admin->pause, ADMIN_PAUSE);
	return -1;
}

static void
accept_clients(int listen_fd, bool readable, bool writable, void *arg)
{
	struct admin *admin = arg;
	int fd;

	(void)readable;
	(void)writable;
	for (int i = 0; i < ADMIN_ACCEPTS; i++) {
		fd = accept4(listen_fd, NULL, NULL,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd == -1) {
			if (accept_failed(admin) != 0)
				return;
			continue;
		}
		admin->paused = false;
		accept_client(admin, fd);
	}
}

static void
accept_again(void *arg)
{
	struct admin *admin = arg;

	loop_watch_set(admin->watch, true, false);
}

static int
set_rules(struct admin *admin, const struct admin_options *options,
    struct admin_reason *why)
{
	struct admin_rules *rules = &admin->rules;

	rules->owner = options->owner;
	if (admin_group_find(options->group, &rules->all) != 0)
		return admin_reason_set(why,
		    "admin_group: there is no group %s", options->group);
	if (admin_group_find(options->read_group, &rules->look) != 0)
		return admin_reason_set(why,
		    "admin_read_group: there is no group %s",
		    options->read_group);
	admin_judge_describe(rules, false, admin->clients.may_change,
	    sizeof admin->clients.may_change);
	return 0;
}

/* The time for a question is over. */
static void
leave_late(void *arg)
{
	struct admin *admin = arg;

	admin_client_dismiss_all(&admin->clients);
}

static int
make_events(struct admin *admin, struct admin_reason *why)
{
	admin->pause = loop_timer_new(admin->loop, accept_again, admin);
	admin->leave = loop_timer_new(admin->loop, leave_late, admin);
	admin->watch = loop_watch_new(admin->loop, admin->socket.fd, false,
	    false, accept_clients, admin);
	if (admin->pause == NULL || admin->leave == NULL ||
	    admin->watch == NULL)
		return admin_reason_set(why, "out of memory");
	return 0;
}

struct admin *
admin_new(struct loop *loop, const struct admin_options *options, char *error,
    size_t error_size)
{
	struct admin_reason why = { error, error_size };
	struct admin *admin = calloc(1, sizeof *admin);

	if (admin == NULL) {
		admin_reason_set(&why, "out of memory");
		return NULL;
	}
	admin->loop = loop;
	admin->socket.fd = admin->socket.lock_fd = -1;
	admin->clients = (struct admin_clients){
		.loop = loop,
		.commands = options->commands,
		.arg = options->arg,
		.stall = options->stall > 0 ? options->stall : ADMIN_STALL,
	};
	TAILQ_INIT(&admin->clients.list);
	if (set_rules(admin, options, &why) != 0 ||
	    admin_socket_open(&admin->socket, options->path, &admin->rules,
		options->inherited, &why) != 0 ||
	    make_events(admin, &why) != 0) {
		admin_socket_give_back(&admin->socket, options->inherited);
		admin_free(admin);
		return NULL;
	}
	admin_socket_settle(&admin->socket, options->inherited);
	return admin;
}

void
admin_start(struct admin *admin)
{
	if (admin->watch == NULL)
		return; /* it has left */
	loop_watch_set(admin->watch, true, false);
}

void
admin_descriptors(const struct admin *admin, int *fd, int *lock_fd)
{
	*fd = admin->socket.fd;
	*lock_fd = admin->socket.lock_fd;
}

int
admin_adopt(struct admin *admin, int fd)
{
	static const struct admin_peer peer = {
		.may_look = true,
		.may_change = true,
		.adopted = true,
	};

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return admin_client_new(&admin->clients, fd, &peer);
}

/* --- other groups ---------------------------------------------------------- */

/* What the rules would be; -1 and why they cannot. */
static int
new_rules(const struct admin *admin, const char *group, const char *read_group,
    struct admin_rules *out, struct admin_reason *why)
{
	*out = (struct admin_rules){ .owner = admin->rules.owner };
	if (admin_group_find(group, &out->all) != 0)
		return admin_reason_set(why,
		    "daemon.admin_group: there is no group %s", group);
	if (admin_group_find(read_group, &out->look) != 0)
		return admin_reason_set(why,
		    "daemon.admin_read_group: there is no group "
		    "%s",
		    read_group);
	return 0;
}

static gid_t
rules_gid(const struct admin_rules *rules)
{
	return rules->all.is_set ? rules->all.gid : getegid();
}

/* Whether the socket must be given to another group. One that was made by root
 * may still have root's. */
static bool
moves(const struct admin *admin, const struct admin_rules *rules)
{
	return rules->all.is_set != admin->rules.all.is_set ||
	    rules->all.gid != admin->rules.all.gid;
}

/* Whether this process may give its own files to that group. */
static bool
may_give_to(gid_t gid)
{
	gid_t *groups;
	bool found = geteuid() == 0 || getegid() == gid;
	int n = getgroups(0, NULL);

	if (found || n <= 0)
		return found;
	groups = calloc((size_t)n, sizeof *groups);
	n = groups == NULL ? 0 : getgroups(n, groups);
	for (int i = 0; i < n; i++)
		found = found || groups[i] == gid;
	free(groups);
	return found;
}

int
admin_check_groups(const struct admin *admin, const char *group,
    const char *read_group, char *error, size_t error_size)
{
	struct admin_reason why = { error, error_size };
	struct admin_rules rules;

	if (new_rules(admin, group, read_group, &rules, &why) != 0)
		return -1;
	if (!moves(admin, &rules) || may_give_to(rules_gid(&rules)))
		return 0;
	return admin_reason_set(&why,
	    "daemon.admin_group: a change needs a restart, since this daemon "
	    "is not root and not in group %s",
	    group);
}

void
admin_set_groups(struct admin *admin, const char *group, const char *read_group)
{
	const char *path = admin->socket.address.sun_path;
	struct admin_reason why = { (char[200]){ "" }, 200 };
	struct admin_client *client;
	struct admin_rules rules;

	if (new_rules(admin, group, read_group, &rules, &why) != 0) {
		log_error("admin: %s", why.buf);
		return;
	}
	if (moves(admin, &rules) &&
	    lchown(path, (uid_t)-1, rules_gid(&rules)) != 0)
		log_warning("admin: %s: cannot be given to the admin group: %s",
		    path, strerror(errno));
	if (rules.look.is_set != admin->rules.look.is_set &&
	    chmod(path, rules.look.is_set ? 0666 : 0660) != 0)
		log_warning("admin: %s: chmod: %s", path, strerror(errno));
	admin->rules = rules;
	admin_judge_describe(&rules, false, admin->clients.may_change,
	    sizeof admin->clients.may_change);
	/* One of them may be waiting for the answer to just this. */
	TAILQ_FOREACH(client, &admin->clients.list, entry)
		if (!client->peer.adopted)
			(void)admin_judge(&rules, client->fd, &client->peer);
}

/* --- down ------------------------------------------------------------------ */

void
admin_keep(struct admin *admin)
{
	admin->socket.ours = false;
}

void
admin_leave(struct admin *admin)
{
	if (admin->watch == NULL)
		return;
	admin_keep(admin);
	loop_watch_free(admin->watch);
	admin->watch = NULL;
	loop_timer_cancel(admin->pause);
	admin_socket_close(&admin->socket);
	admin_client_leave_all(&admin->clients);
	loop_timer_set(admin->leave, ADMIN_LEAVE_SECONDS);
}

bool
admin_has_left(const struct admin *admin)
{
	return admin->watch == NULL && admin->clients.n == 0;
}

void
admin_free(struct admin *admin)
{
	if (admin == NULL)
		return;
	admin_client_free_all(&admin->clients);
	loop_watch_free(admin->watch);
	loop_timer_free(admin->pause);
	loop_timer_free(admin->leave);
	admin_socket_close(&admin->socket);
	free(admin);
}
