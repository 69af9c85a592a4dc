/* SPDX-License-Identifier: ISC */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "history_internal.h"

bool
history_run_lives(const struct history *history, int64_t run)
{
	struct flock lock = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = run,
		.l_len = 1 };
	bool lives = false;
	char *path;
	int fd;

	if (asprintf(&path, "%s-runs", history->path) == -1)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (fd == -1)
		return false;
	lives = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return lives;
}
