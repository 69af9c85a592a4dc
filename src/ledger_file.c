/* SPDX-License-Identifier: ISC */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ledger_internal.h"
#include "log.h"

#define FILE_MODE 0640
#define BUSY_MS 100	     /* SQLite waits so long for a lock; we wait on */
#define SET_ASIDE_PAUSE 10.0 /* a broken disk must not fill with copies */

/*
 * Byte `run` of PATH-runs is locked by a run while it lives. Byte 0 is locked
 * while somebody opens the database or sets it aside, so that no two daemons
 * on one database do that at the same time.
 */
#define OPEN_BYTE 0

static int
file_lock_byte(int fd, int64_t byte, short type)
{
	struct flock lock = { .l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

int
ledger_file_lock_run(struct ledger_file *file, int64_t run)
{
	return file_lock_byte(file->lock_fd, run, F_WRLCK);
}

void
ledger_file_unlock_run(struct ledger_file *file, int64_t run)
{
	if (run != 0)
		file_lock_byte(file->lock_fd, run, F_UNLCK);
}

bool
ledger_file_run_lives(const struct ledger_file *file, int64_t run)
{
	struct flock lock = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = run,
		.l_len = 1 };

	/* In doubt it lives: its sessions can be closed another day. */
	return fcntl(file->lock_fd, F_OFD_GETLK, &lock) == -1 ||
	    lock.l_type != F_UNLCK;
}

void
ledger_file_unlock(struct ledger_file *file)
{
	if (file->lock_fd != -1)
		close(file->lock_fd);
	file->lock_fd = -1;
	file->run = 0;
}

bool
ledger_code_is_damage(int code)
{
	int primary = code & 0xff;

	return code > 0 &&
	    (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB);
}

int
ledger_file_fail(struct ledger_file *file, int code)
{
	int error, n;

	if (code == SQLITE_OK || code == LEDGER_REFUSED)
		return code;
	n = snprintf(file->error, sizeof file->error, "%s",
	    file->db != NULL ? sqlite3_errmsg(file->db) : sqlite3_errstr(code));
	error = file->db != NULL ? sqlite3_system_errno(file->db) : 0;
	if (error != 0 && n >= 0 && (size_t)n < sizeof file->error &&
	    ((code & 0xff) == SQLITE_CANTOPEN || (code & 0xff) == SQLITE_IOERR))
		snprintf(file->error + n, sizeof file->error - (size_t)n,
		    ": %s", strerror(error));
	return code;
}

/* As above, for what failed outside of SQLite. */
static int
file_fail_errno(struct ledger_file *file, const char *what)
{
	snprintf(file->error, sizeof file->error, "%s: %s", what,
	    strerror(errno));
	return SQLITE_CANTOPEN;
}

int
ledger_file_begin(struct ledger_file *file)
{
	return ledger_file_fail(file,
	    ledger_sql(file->db, "BEGIN IMMEDIATE", NULL, 0, NULL));
}

int
ledger_file_finish(struct ledger_file *file, int code)
{
	if (code == SQLITE_OK) {
		code = ledger_sql(file->db, "COMMIT", NULL, 0, NULL);
		ledger_file_fail(file, code);
	}
	/* Some errors roll back by themselves. */
	if (code != SQLITE_OK && !sqlite3_get_autocommit(file->db))
		ledger_sql(file->db, "ROLLBACK", NULL, 0, NULL);
	return code;
}

/* Opens path with our mode, whatever the umask, if it is not there yet. */
static int
file_create(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);

	if (fd != -1)
		(void)fchmod(fd, FILE_MODE);
	return fd;
}

static int
file_open_locks(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	struct stat ours, there;

	if (file->lock_fd != -1) {
		if (fstat(file->lock_fd, &ours) == 0 &&
		    stat(ledger->lock_path, &there) == 0 &&
		    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
			return SQLITE_OK;
		/* Removed: nobody would see our lock on the old one. */
		ledger_file_unlock(file);
	}
	file->lock_fd = file_create(ledger->lock_path);
	if (file->lock_fd == -1 && errno == EEXIST)
		file->lock_fd = open(ledger->lock_path, O_RDWR | O_CLOEXEC);
	if (file->lock_fd == -1)
		return file_fail_errno(file, "cannot open its lock file");
	return SQLITE_OK;
}

/* A name for the damaged file that is not taken. */
static int
file_damaged_name(const char *path, char *out, size_t size)
{
	time_t now = time(NULL);
	char stamp[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
	for (int i = 1; i < 100; i++) {
		char again[16] = "";

		if (i > 1)
			snprintf(again, sizeof again, "-%d", i);
		if ((size_t)snprintf(out, size, "%s.damaged-%s%s", path, stamp,
			again) >= size) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (access(out, F_OK) == -1 && errno == ENOENT)
			return 0;
	}
	errno = EEXIST;
	return -1;
}

/*
 * Renames the damaged database; OPEN_BYTE is locked, no other daemon opens it
 * meanwhile. The database goes first: SQLite removes a -wal that it finds
 * beside an empty database, should we die between the renames.
 */
static int
file_set_aside(struct ledger *ledger)
{
	static const char *const suffixes[] = { "-wal", "-shm" };
	struct ledger_file *file = &ledger->file;
	char why[LEDGER_ERROR_SIZE], name[4096], from[4096], to[4096 + 8];

	if (file->set_aside_at != 0 &&
	    ledger_now() < file->set_aside_at + SET_ASIDE_PAUSE)
		return SQLITE_CORRUPT; /* file->error says how */
	memcpy(why, file->error, sizeof why);
	if (file_damaged_name(ledger->path, name, sizeof name) == -1 ||
	    rename(ledger->path, name) == -1)
		return file_fail_errno(file,
		    "cannot set the damaged file aside");
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		snprintf(from, sizeof from, "%s%s", ledger->path, suffixes[i]);
		snprintf(to, sizeof to, "%s%s", name, suffixes[i]);
		(void)rename(from, to); /* not there is as good */
	}
	file->damaged = false;
	file->set_aside_at = ledger_now();
	pthread_mutex_lock(&ledger->lock);
	ledger->set_aside_us = loop_wall_us();
	pthread_mutex_unlock(&ledger->lock);
	log_error("ledger: %s is damaged (%s): kept as %s, a new one is begun",
	    ledger->path, why, name);
	return SQLITE_OK;
}

static void
file_publish(struct ledger *ledger, sqlite3 *db)
{
	pthread_mutex_lock(&ledger->lock);
	ledger->writer_db = db;
	pthread_mutex_unlock(&ledger->lock);
}

/* Opens what stands at path. On failure nothing is left open. */
static int
file_try(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	struct stat st;
	int fd, rc;

	/* Closing a descriptor of a file that SQLite has open would drop its
	 * locks; a file that we just created it cannot have open. */
	fd = file_create(ledger->path);
	if (fd != -1)
		close(fd);
	rc = sqlite3_open_v2(ledger->path, &file->db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	    NULL);
	if (rc != SQLITE_OK) {
		ledger_file_fail(file, rc);
		goto fail;
	}
	if (stat(ledger->path, &st) == 0) {
		file->dev = st.st_dev;
		file->ino = st.st_ino;
	}
	sqlite3_extended_result_codes(file->db, 1);
	sqlite3_busy_timeout(file->db, BUSY_MS);
	file_publish(ledger, file->db);
	if ((rc = ledger_schema_open(file)) != SQLITE_OK ||
	    (rc = ledger_run_claim(ledger)) != SQLITE_OK ||
	    (rc = ledger_file_fail(file, ledger_rows_prepare(file))) !=
		SQLITE_OK ||
	    (rc = ledger_switches_load(ledger)) != SQLITE_OK)
		goto fail;
	return SQLITE_OK;
fail:
	file->damaged = ledger_code_is_damage(rc);
	ledger_file_close(ledger);
	return rc;
}

int
ledger_file_open(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	struct stat st;
	int rc;

	rc = file_open_locks(ledger);
	if (rc != SQLITE_OK)
		return rc;
	if (file_lock_byte(file->lock_fd, OPEN_BYTE, F_WRLCK) == -1) {
		if (errno != EAGAIN && errno != EACCES)
			return file_fail_errno(file, "cannot lock");
		snprintf(file->error, sizeof file->error,
		    "another daemon is opening it");
		return SQLITE_BUSY;
	}
	if (file->damaged) {
		/* Unless another daemon did so before us. */
		if (stat(ledger->path, &st) == 0 && st.st_dev == file->dev &&
		    st.st_ino == file->ino)
			rc = file_set_aside(ledger);
		else
			file->damaged = false;
	}
	if (rc == SQLITE_OK) {
		rc = file_try(ledger);
		if (ledger_code_is_damage(rc)) {
			rc = file_set_aside(ledger);
			if (rc == SQLITE_OK)
				rc = file_try(ledger);
		}
	}
	file_lock_byte(file->lock_fd, OPEN_BYTE, F_UNLCK);
	return rc;
}

void
ledger_file_close(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;

	file_publish(ledger, NULL);
	sqlite3_finalize(file->put_session);
	sqlite3_finalize(file->put_open);
	sqlite3_finalize(file->put_taken);
	sqlite3_finalize(file->put_link);
	sqlite3_finalize(file->put_change);
	sqlite3_finalize(file->seen);
	file->put_session = file->put_open = file->put_taken = NULL;
	file->put_link = file->put_change = file->seen = NULL;
	/* SQLite leaves a -wal alone that may not be ours any more: it looks
	 * whether the database was moved. A damaged one must not be written
	 * to at all. */
	if (file->damaged && file->db != NULL)
		sqlite3_db_config(file->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
		    NULL);
	sqlite3_close_v2(file->db);
	file->db = NULL;
}

int
ledger_file_check(struct ledger_file *file)
{
	static const char magic[16] = "SQLite format 3";
	sqlite3_file *handle = NULL;
	char head[sizeof magic];
	int rc;

	/* SQLite's own descriptor: closing another one of the same file would
	 * give up the locks that SQLite holds. */
	rc = sqlite3_file_control(file->db, "main", SQLITE_FCNTL_FILE_POINTER,
	    &handle);
	if (rc != SQLITE_OK || handle == NULL || handle->pMethods == NULL)
		return SQLITE_OK;
	rc = handle->pMethods->xRead(handle, head, sizeof head, 0);
	if (rc == SQLITE_OK && memcmp(head, magic, sizeof magic) == 0)
		return SQLITE_OK;
	if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
		return ledger_file_fail(file, rc);
	snprintf(file->error, sizeof file->error,
	    "file is not a database any more");
	return SQLITE_NOTADB;
}

bool
ledger_file_is_gone(struct ledger *ledger)
{
	struct ledger_file *file = &ledger->file;
	struct stat st;
	int moved = 0;

	if (sqlite3_file_control(file->db, "main", SQLITE_FCNTL_HAS_MOVED,
		&moved) != SQLITE_OK)
		moved = 0;
	return moved != 0 || fstat(file->lock_fd, &st) == -1 ||
	    st.st_nlink == 0;
}
