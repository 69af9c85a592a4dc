/* SPDX-License-Identifier: ISC */
#include "admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define ADMIN_BACKLOG 1024 /* strangers wait there, too */

int
admin_reason_set(struct admin_reason *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->buf, why->size, fmt, ap);
	va_end(ap);
	return -1;
}

#define fail admin_reason_set

static int
set_path(struct admin_socket *sock, const char *path, struct admin_reason *why)
{
	sock->address.sun_family = AF_UNIX;
	if (path[0] == '\0')
		return fail(why, "the admin socket's path is empty");
	if (strlen(path) >= sizeof sock->address.sun_path)
		return fail(why, "%s: longer than %zu bytes", path,
		    sizeof sock->address.sun_path - 1);
	memcpy(sock->address.sun_path, path, strlen(path) + 1);
	return 0;
}

/* --- the lock ---------------------------------------------------------------- */

/* Makes the directory that the socket will stand in, if it is missing. */
static int
make_directory(const struct admin_socket *sock, const struct admin_rules *rules,
    struct admin_reason *why)
{
	char copy[sizeof sock->address.sun_path];
	const char *dir;

	memcpy(copy, sock->address.sun_path, sizeof copy);
	dir = dirname(copy);
	if (mkdir(dir, 0755) != 0) {
		if (errno == EEXIST)
			return 0;
		return fail(why, "%s: cannot make the directory: %s", dir,
		    strerror(errno));
	}
	/* So that the daemon can remove its socket once it is not root. */
	if (geteuid() == 0 && rules->owner != 0 &&
	    lchown(dir, rules->owner, (gid_t)-1) != 0)
		return fail(why, "%s: chown: %s", dir, strerror(errno));
	return 0;
}

static void
lock_path(const struct admin_socket *sock, char *buf, size_t size)
{
	snprintf(buf, size, "%s.lock", sock->address.sun_path);
}

static int
take_lock(struct admin_socket *sock, const struct admin_rules *rules,
    struct admin_reason *why)
{
	char path[sizeof sock->address.sun_path + 8];
	struct stat st;

	lock_path(sock, path, sizeof path);
	/* The directory may be the daemon user's, this process root's. */
	sock->lock_fd = open(path,
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (sock->lock_fd == -1)
		return fail(why, "%s: %s", path, strerror(errno));
	if (fstat(sock->lock_fd, &st) != 0)
		return fail(why, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return fail(why, "%s: not a plain file", path);
	if (flock(sock->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return fail(why,
			    "%s: already running: another daemon "
			    "has this admin socket",
			    sock->address.sun_path);
		return fail(why, "%s: %s", path, strerror(errno));
	}
	/* Let it be started as its own user next time. */
	if (geteuid() == 0 && st.st_uid != rules->owner &&
	    fchown(sock->lock_fd, rules->owner, (gid_t)-1) != 0)
		return fail(why, "%s: chown: %s", path, strerror(errno));
	return 0;
}

/* --- a new socket ------------------------------------------------------------ */

/* With the lock held, a socket that stands there is nobody's. */
static int
remove_stale(const struct admin_socket *sock, struct admin_reason *why)
{
	const char *path = sock->address.sun_path;
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

static void
remember_file(struct admin_socket *sock, const struct stat *st)
{
	sock->ours = true;
	sock->dev = st->st_dev;
	sock->ino = st->st_ino;
}

/* Never open to others than it is meant for, not even for a moment: hence the
 * umask. */
static int
bind_socket(struct admin_socket *sock, const struct admin_rules *rules,
    struct admin_reason *why)
{
	const char *path = sock->address.sun_path;
	uid_t owner = geteuid() == 0 ? rules->owner : (uid_t)-1;
	gid_t group = rules->all.is_set ? rules->all.gid : (gid_t)-1;
	struct stat st;
	mode_t mask;
	int result;

	sock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (sock->fd == -1)
		return fail(why, "%s: socket: %s", path, strerror(errno));
	mask = umask(rules->look.is_set ? 0111 : 0117);
	result = bind(sock->fd, (struct sockaddr *)&sock->address,
	    sizeof sock->address);
	umask(mask);
	if (result != 0 || lstat(path, &st) != 0)
		return fail(why, "%s: bind: %s", path, strerror(errno));
	remember_file(sock, &st);
	if (lchown(path, owner, group) != 0) {
		if (geteuid() == 0)
			return fail(why, "%s: chown: %s", path,
			    strerror(errno));
		log_warning("admin: %s: cannot be given to the admin group: %s",
		    path, strerror(errno));
	}
	if (listen(sock->fd, ADMIN_BACKLOG) != 0)
		return fail(why, "%s: listen: %s", path, strerror(errno));
	return 0;
}

/* --- an inherited one -------------------------------------------------------- */

static bool
lock_fits(const struct admin_socket *sock, int fd)
{
	char path[sizeof sock->address.sun_path + 8];
	struct stat of_fd, of_path;

	lock_path(sock, path, sizeof path);
	/* Held by the one that left it, this locks nothing anew. */
	return fd != -1 && fstat(fd, &of_fd) == 0 &&
	    lstat(path, &of_path) == 0 && S_ISREG(of_path.st_mode) &&
	    of_fd.st_dev == of_path.st_dev && of_fd.st_ino == of_path.st_ino &&
	    flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool
listens_at(int fd, const struct sockaddr_un *wanted)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof address;
	int type = 0, listens = 0;

	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 ||
	    address.sun_family != AF_UNIX ||
	    strncmp(address.sun_path, wanted->sun_path,
		sizeof address.sun_path) != 0)
		return false;
	len = sizeof type;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
	    type != SOCK_STREAM)
		return false;
	len = sizeof listens;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 &&
	    listens != 0;
}

/* Who may use it can have been changed since it was made. As far as that is
 * permitted. */
static void
adjust_file(const char *path, const struct admin_rules *rules,
    const struct stat *st)
{
	mode_t mode = rules->look.is_set ? 0666 : 0660;

	if (rules->all.is_set && st->st_gid != rules->all.gid &&
	    lchown(path, (uid_t)-1, rules->all.gid) != 0)
		log_warning("admin: %s: cannot be given to the admin group: %s",
		    path, strerror(errno));
	if ((st->st_mode & 07777) != mode && chmod(path, mode) != 0)
		log_warning("admin: %s: chmod: %s", path, strerror(errno));
}

/* With the lock held, a socket file that stands there is that of the socket:
 * nobody else may have made it. */
static bool
take_over(struct admin_socket *sock, const struct admin_rules *rules, int fd)
{
	const char *path = sock->address.sun_path;
	struct stat st;

	if (fd == -1 || !listens_at(fd, &sock->address) ||
	    lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode) ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return false;
	sock->fd = fd;
	remember_file(sock, &st);
	adjust_file(path, rules, &st);
	return true;
}

/* --- both -------------------------------------------------------------------- */

int
admin_socket_open(struct admin_socket *out, const char *path,
    const struct admin_rules *rules, const struct admin_inherited *inherited,
    struct admin_reason *why)
{
	static const struct admin_inherited none = { -1, -1 };
	const struct admin_inherited *had = inherited != NULL ? inherited :
								&none;

	out->fd = out->lock_fd = -1;
	if (set_path(out, path, why) != 0)
		return -1;
	if (lock_fits(out, had->lock_fd)) {
		out->lock_fd = had->lock_fd;
		(void)fcntl(out->lock_fd, F_SETFD, FD_CLOEXEC);
	} else if (make_directory(out, rules, why) != 0 ||
	    take_lock(out, rules, why) != 0) {
		goto fail;
	}
	if (!take_over(out, rules, had->fd) &&
	    (remove_stale(out, why) != 0 || bind_socket(out, rules, why) != 0))
		goto fail;
	return 0;
fail:
	admin_socket_give_back(out, inherited);
	admin_socket_close(out);
	return -1;
}

static void
close_other(int fd, int used)
{
	if (fd != -1 && fd != used)
		close(fd);
}

void
admin_socket_settle(const struct admin_socket *sock,
    const struct admin_inherited *inherited)
{
	if (inherited == NULL)
		return;
	close_other(inherited->fd, sock->fd);
	close_other(inherited->lock_fd, sock->lock_fd);
}

void
admin_socket_give_back(struct admin_socket *sock,
    const struct admin_inherited *inherited)
{
	if (inherited == NULL)
		return;
	if (sock->lock_fd == inherited->lock_fd)
		sock->lock_fd = -1;
	if (sock->fd == inherited->fd) {
		sock->fd = -1;
		sock->ours = false;
	}
}

/* Only ours, and only if this process still may: it need not be root now. */
static void
remove_file(const struct admin_socket *sock)
{
	const char *path = sock->address.sun_path;
	struct stat st;

	if (sock->ours && lstat(path, &st) == 0 && st.st_dev == sock->dev &&
	    st.st_ino == sock->ino)
		unlink(path);
}

void
admin_socket_close(struct admin_socket *sock)
{
	remove_file(sock);
	if (sock->fd != -1)
		close(sock->fd);
	if (sock->lock_fd != -1)
		close(sock->lock_fd);
	sock->fd = sock->lock_fd = -1;
	sock->ours = false;
}
