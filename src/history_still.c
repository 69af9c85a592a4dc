/* SPDX-License-Identifier: ISC */
/*
 * A database in WAL mode is read with the help of its -wal and -shm files,
 * which SQLite makes where they are missing: in a directory that one may not
 * write to it gives up. If nothing is in a -wal, then nobody has the file open
 * and all is in the file itself; it is read as one that does not change
 * (immutable), and afterwards it is checked that this was so.
 */
#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "history_internal.h"

/* Has the database a -wal with something in it? Of a link, where it leads. */
static bool
still_has_wal(const struct history *history)
{
	char *path = realpath(history->path, NULL), *wal;
	bool has = true;
	struct stat st;

	if (path == NULL)
		return false; /* there is not even a database */
	if (asprintf(&wal, "%s-wal", path) != -1) {
		has = stat(wal, &st) == 0 ? st.st_size > 0 : errno != ENOENT;
		free(wal);
	}
	free(path);
	return has;
}

bool
history_still_may(struct history *history, int rc)
{
	if (rc != SQLITE_CANTOPEN && rc != SQLITE_READONLY)
		return false;
	return !still_has_wal(history);
}

/* The path as a URI, from malloc. */
static char *
still_uri(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/";
	static const char end[] = "?immutable=1";
	char *uri = malloc(5 + 3 * strlen(path) + sizeof end), *to;

	if (uri == NULL)
		return NULL;
	to = uri + sprintf(uri, "file:");
	for (; *path != '\0'; path++)
		to += sprintf(to,
		    strchr(plain, *path) != NULL ? "%c" : "%%%02X",
		    (unsigned char)*path);
	memcpy(to, end, sizeof end);
	return uri;
}

int
history_still_open(struct history *history)
{
	char *uri = still_uri(history->path);
	int rc;

	if (uri == NULL)
		return SQLITE_NOMEM;
	sqlite3_close_v2(history->db);
	history->db = NULL;
	rc = sqlite3_open_v2(uri, &history->db,
	    SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
	free(uri);
	history->still = rc == SQLITE_OK;
	return rc;
}

int
history_still_check(struct history *history, int rc)
{
	if (!history->still || !still_has_wal(history))
		return rc;
	snprintf(history->error, sizeof history->error,
	    "a daemon began to write to it meanwhile, ask again");
	return HISTORY_FAILED;
}

int
history_still_explain(struct history *history, int rc)
{
	if ((rc != SQLITE_CANTOPEN && rc != SQLITE_READONLY) ||
	    access(history->path, R_OK) == -1 || !still_has_wal(history))
		return rc;
	snprintf(history->error, sizeof history->error,
	    "its newest rows are in a -wal file, which can be read only by who "
	    "may write in that directory");
	return HISTORY_FAILED;
}
