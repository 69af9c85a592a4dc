/* SPDX-License-Identifier: ISC */
#include "master_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "log.h"

#define STORE_BARRIER UINT64_C(1000000) /* microseconds */

/* --- a set ------------------------------------------------------------------ */

int
master_set_add(struct master_set *set, int fd, const char *who)
{
	struct master_kept *list;
	struct stat st;

	list = reallocarray(set->list, set->n + 1, sizeof *list);
	if (list != NULL)
		set->list = list;
	if (list == NULL || fstat(fd, &st) != 0) {
		close(fd);
		return -1;
	}
	list[set->n] = (struct master_kept){
		.fd = fd,
		.inode = st.st_ino,
		.is_socket = S_ISSOCK(st.st_mode),
	};
	snprintf(list[set->n].who, sizeof list->who, "%s", who);
	set->n++;
	return 0;
}

void
master_set_clear(struct master_set *set)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		close(set->list[i].fd);
	free(set->list);
	*set = (struct master_set){ 0 };
}

void
master_set_move(struct master_set *to, struct master_set *from)
{
	master_set_clear(to);
	*to = *from;
	*from = (struct master_set){ 0 };
}

/* --- the service manager's -------------------------------------------------- */

static int
store_add(struct master_store *store, ino_t inode, const char *name)
{
	struct master_stored *list;

	list = reallocarray(store->list, store->n + 1, sizeof *list);
	if (list == NULL)
		return -1;
	store->list = list;
	list[store->n].inode = inode;
	snprintf(list[store->n].name, sizeof list->name, "%s", name);
	store->n++;
	return 0;
}

/* A name that no other one has: all of a name are let go together. */
static char *
store_new_name(struct master_store *store, char *buf, size_t size)
{
	bool taken;
	size_t i;

	do {
		snprintf(buf, size, "listener-%u", store->next++);
		taken = false;
		for (i = 0; i < store->n; i++)
			taken |= strcmp(store->list[i].name, buf) == 0;
	} while (taken);
	return buf;
}

void
master_store_init(struct master_store *store, struct master_set *orphans)
{
	const char *count = getenv("LISTEN_FDS");
	struct stat st;
	char **names = NULL;
	int i, fd, n;

	memset(store, 0, sizeof *store);
	store->on = getenv("NOTIFY_SOCKET") != NULL;
	if (count == NULL || strcmp(count, "0") == 0)
		return;
	n = sd_listen_fds_with_names(0, &names);
	/* Names are of no use but to let go of one. */
	if (n < 0) {
		names = NULL;
		n = sd_listen_fds(0);
	}
	if (n < 0)
		log_warning("the sockets kept by the service manager: %s",
		    strerror(-n));
	(void)sd_listen_fds(1); /* nobody after us */
	for (i = 0; i < n; i++) {
		fd = SD_LISTEN_FDS_START + i;
		if (fstat(fd, &st) != 0)
			continue;
		if (store_add(store, st.st_ino,
			names == NULL ? "unknown" : names[i]) != 0 ||
		    master_set_add(orphans, fd, "") != 0)
			log_error("out of memory for a socket that was kept");
	}
	for (i = 0; names != NULL && i < n; i++)
		free(names[i]);
	free(names);
}

void
master_store_free(struct master_store *store)
{
	free(store->list);
}

static bool
store_has(const struct master_store *store, ino_t inode)
{
	size_t i;

	for (i = 0; i < store->n; i++)
		if (store->list[i].inode == inode)
			return true;
	return false;
}

static bool
set_has(const struct master_set *set, ino_t inode)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		if (set->list[i].inode == inode)
			return true;
	return false;
}

static void
store_put(struct master_store *store, const struct master_kept *kept)
{
	char name[32], text[80];

	store_new_name(store, name, sizeof name);
	snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	if (sd_pid_notify_with_fds(0, 0, text, &kept->fd, 1) > 0)
		(void)store_add(store, kept->inode, name);
}

void
master_store_sync(struct master_store *store, const struct master_set *set,
    bool waits)
{
	bool removed = false;
	size_t i;

	if (!store->on)
		return;
	for (i = 0; i < store->n;) {
		struct master_stored *stored = &store->list[i];

		if (set_has(set, stored->inode)) {
			i++;
			continue;
		}
		sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", stored->name);
		removed = true;
		*stored = store->list[--store->n];
	}
	/* The lock of the admin socket is no socket: it must go with us. */
	for (i = 0; i < set->n; i++)
		if (set->list[i].is_socket &&
		    !store_has(store, set->list[i].inode))
			store_put(store, &set->list[i]);
	if (removed && waits)
		(void)sd_notify_barrier(0, STORE_BARRIER);
}
