/* SPDX-License-Identifier: ISC */
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin_judge.h"
#include "log.h"

#define ADMIN_BACKLOG 1024 /* strangers wait there, too */
/* In one turn of the loop: few, so that places that are just being given up
 * are free before they are asked for. */
#define ADMIN_ACCEPTS 16
#define ADMIN_PAUSE 1.0	 /* seconds, when out of descriptors */
#define ADMIN_STALL 30.0 /* seconds */

struct admin {
	struct loop *loop;
	struct sockaddr_un address;
	struct admin_rules rules;
	int lock_fd;
	int fd; /* listening */
	bool bound;
	dev_t dev; /* the socket's file, to remove no other */
	ino_t ino;
	struct loop_watch *watch;
	struct loop_timer *pause;
	bool paused; /* said so in the log */
	struct admin_clients clients;
};

/* Where a reason for failure goes. */
struct reason_text {
	char *buf;
	size_t size;
};

static int __attribute__((format(printf, 2, 3)))
fail(struct reason_text *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->buf, why->size, fmt, ap);
	va_end(ap);
	return -1;
}

/* Makes the directory that the socket will stand in, if it is missing. */
static int
make_directory(const struct admin *admin, struct reason_text *why)
{
	char copy[sizeof admin->address.sun_path];
	const char *dir;

	memcpy(copy, admin->address.sun_path, sizeof copy);
	dir = dirname(copy);
	if (mkdir(dir, 0755) != 0) {
		if (errno == EEXIST)
			return 0;
		return fail(why, "%s: cannot make the directory: %s", dir,
		    strerror(errno));
	}
	/* So that the daemon can remove its socket once it is not root. */
	if (geteuid() == 0 && admin->rules.owner != 0 &&
	    lchown(dir, admin->rules.owner, (gid_t)-1) != 0)
		return fail(why, "%s: chown: %s", dir, strerror(errno));
	return 0;
}

static int
take_lock(struct admin *admin, struct reason_text *why)
{
	char path[sizeof admin->address.sun_path + 8];
	struct stat st;

	snprintf(path, sizeof path, "%s.lock", admin->address.sun_path);
	/* The directory may be the daemon user's, this process root's. */
	admin->lock_fd = open(path,
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (admin->lock_fd == -1)
		return fail(why, "%s: %s", path, strerror(errno));
	if (fstat(admin->lock_fd, &st) != 0)
		return fail(why, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return fail(why, "%s: not a plain file", path);
	if (flock(admin->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return fail(why,
			    "%s: already running: another daemon "
			    "has this admin socket",
			    admin->address.sun_path);
		return fail(why, "%s: %s", path, strerror(errno));
	}
	/* Let it be started as its own user next time. */
	if (geteuid() == 0 && st.st_uid != admin->rules.owner &&
	    fchown(admin->lock_fd, admin->rules.owner, (gid_t)-1) != 0)
		return fail(why, "%s: chown: %s", path, strerror(errno));
	return 0;
}

/* With the lock held, a socket that stands there is nobody's. */
static int
remove_stale(const struct admin *admin, struct reason_text *why)
{
	const char *path = admin->address.sun_path;
	struct stat st;

	if (lstat(path, &st) != 0) {
		if (errno == ENOENT)
			return 0;
		return fail(why, "%s: %s", path, strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return fail(why, "%s: exists and is not a socket", path);
	if (unlink(path) != 0)
		return fail(why, "%s: cannot remove the old socket: %s", path,
		    strerror(errno));
	return 0;
}

/* Never open to others than it is meant for, not even for a moment: hence the
 * umask. */
static int
bind_socket(struct admin *admin, struct reason_text *why)
{
	const char *path = admin->address.sun_path;
	const struct admin_rules *rules = &admin->rules;
	uid_t owner = geteuid() == 0 ? rules->owner : (uid_t)-1;
	gid_t group = rules->all.is_set ? rules->all.gid : (gid_t)-1;
	struct stat st;
	mode_t mask;
	int result;

	admin->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (admin->fd == -1)
		return fail(why, "%s: socket: %s", path, strerror(errno));
	mask = umask(rules->look.is_set ? 0111 : 0117);
	result = bind(admin->fd, (struct sockaddr *)&admin->address,
	    sizeof admin->address);
	umask(mask);
	if (result != 0 || lstat(path, &st) != 0)
		return fail(why, "%s: bind: %s", path, strerror(errno));
	admin->bound = true;
	admin->dev = st.st_dev;
	admin->ino = st.st_ino;
	if (lchown(path, owner, group) != 0) {
		if (geteuid() == 0)
			return fail(why, "%s: chown: %s", path,
			    strerror(errno));
		log_warning("admin: %s: cannot be given to the admin group: %s",
		    path, strerror(errno));
	}
	if (listen(admin->fd, ADMIN_BACKLOG) != 0)
		return fail(why, "%s: listen: %s", path, strerror(errno));
	return 0;
}

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
set_path(struct admin *admin, const char *path, struct reason_text *why)
{
	admin->address.sun_family = AF_UNIX;
	if (path[0] == '\0')
		return fail(why, "the admin socket's path is empty");
	if (strlen(path) >= sizeof admin->address.sun_path)
		return fail(why, "%s: longer than %zu bytes", path,
		    sizeof admin->address.sun_path - 1);
	memcpy(admin->address.sun_path, path, strlen(path) + 1);
	return 0;
}

static int
set_rules(struct admin *admin, const struct admin_options *options,
    struct reason_text *why)
{
	struct admin_rules *rules = &admin->rules;

	rules->owner = options->owner;
	if (admin_group_find(options->group, &rules->all) != 0)
		return fail(why, "admin_group: there is no group %s",
		    options->group);
	if (admin_group_find(options->read_group, &rules->look) != 0)
		return fail(why, "admin_read_group: there is no group %s",
		    options->read_group);
	admin_judge_describe(rules, false, admin->clients.may_change,
	    sizeof admin->clients.may_change);
	return 0;
}

static int
start(struct admin *admin, struct reason_text *why)
{
	if (make_directory(admin, why) != 0 || take_lock(admin, why) != 0 ||
	    remove_stale(admin, why) != 0 || bind_socket(admin, why) != 0)
		return -1;
	admin->pause = loop_timer_new(admin->loop, accept_again, admin);
	admin->watch = loop_watch_new(admin->loop, admin->fd, true, false,
	    accept_clients, admin);
	if (admin->pause == NULL || admin->watch == NULL)
		return fail(why, "out of memory");
	return 0;
}

struct admin *
admin_new(struct loop *loop, const struct admin_options *options, char *error,
    size_t error_size)
{
	struct reason_text why = { error, error_size };
	struct admin *admin = calloc(1, sizeof *admin);

	if (admin == NULL) {
		fail(&why, "out of memory");
		return NULL;
	}
	admin->loop = loop;
	admin->lock_fd = -1;
	admin->fd = -1;
	admin->clients = (struct admin_clients){
		.loop = loop,
		.commands = options->commands,
		.arg = options->arg,
		.stall = options->stall > 0 ? options->stall : ADMIN_STALL,
	};
	TAILQ_INIT(&admin->clients.list);
	if (set_path(admin, options->path, &why) != 0 ||
	    set_rules(admin, options, &why) != 0 || start(admin, &why) != 0) {
		admin_free(admin);
		return NULL;
	}
	return admin;
}

/* --- other groups ---------------------------------------------------------- */

/* What the rules would be; -1 and why they cannot. */
static int
new_rules(const struct admin *admin, const char *group, const char *read_group,
    struct admin_rules *out, struct reason_text *why)
{
	*out = (struct admin_rules){ .owner = admin->rules.owner };
	if (admin_group_find(group, &out->all) != 0)
		return fail(why, "daemon.admin_group: there is no group %s",
		    group);
	if (admin_group_find(read_group, &out->look) != 0)
		return fail(why,
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
	struct reason_text why = { error, error_size };
	struct admin_rules rules;

	if (new_rules(admin, group, read_group, &rules, &why) != 0)
		return -1;
	if (!moves(admin, &rules) || may_give_to(rules_gid(&rules)))
		return 0;
	return fail(&why,
	    "daemon.admin_group: a change needs a restart, since this daemon "
	    "is not root and not in group %s",
	    group);
}

void
admin_set_groups(struct admin *admin, const char *group, const char *read_group)
{
	const char *path = admin->address.sun_path;
	struct reason_text why = { (char[200]){ "" }, 200 };
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
		(void)admin_judge(&rules, client->fd, &client->peer);
}

/* --- down ------------------------------------------------------------------ */

/* Only ours, and only if this process still may: it need not be root now. */
static void
remove_socket(const struct admin *admin)
{
	const char *path = admin->address.sun_path;
	struct stat st;

	if (admin->bound && lstat(path, &st) == 0 && st.st_dev == admin->dev &&
	    st.st_ino == admin->ino)
		unlink(path);
}

void
admin_free(struct admin *admin)
{
	if (admin == NULL)
		return;
	admin_client_free_all(&admin->clients);
	loop_watch_free(admin->watch);
	loop_timer_free(admin->pause);
	remove_socket(admin);
	if (admin->fd != -1)
		close(admin->fd);
	if (admin->lock_fd != -1)
		close(admin->lock_fd);
	free(admin);
}
