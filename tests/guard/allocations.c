/* SPDX-License-Identifier: ISC */
/*
 * allocations: counts what a program asks of malloc, for tests/system/
 * test_guard.py: preloaded into a daemon, it keeps its counters in the file
 * that TUNNELD_ALLOCATIONS names, mapped, so that they can be read at any
 * time and counting costs no system call.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* glibc's own, behind the names that are replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* Of all threads, and of the one that runs main() and the loop. */
struct counters {
	_Atomic uint64_t asked, freed;
	_Atomic uint64_t asked_by_loop;
};

static struct counters before, *counters = &before;
static _Thread_local enum { UNKNOWN, LOOP, OTHER } thread;

__attribute__((constructor)) static void
allocations_begin(void)
{
	const char *path = getenv("TUNNELD_ALLOCATIONS");
	void *page = MAP_FAILED;
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd != -1)
		page = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		_exit(70);
	close(fd);
	counters = page;
	counters->asked = before.asked;
	counters->freed = before.freed;
}

static void
count_asked(void)
{
	if (thread == UNKNOWN)
		thread = syscall(SYS_gettid) == getpid() ? LOOP : OTHER;
	atomic_fetch_add_explicit(&counters->asked, 1, memory_order_relaxed);
	if (thread == LOOP)
		atomic_fetch_add_explicit(&counters->asked_by_loop, 1,
		    memory_order_relaxed);
}

void *
malloc(size_t size)
{
	count_asked();
	return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	count_asked();
	return __libc_calloc(n, size);
}

/* One block more only if there was none. */
void *
realloc(void *old, size_t size)
{
	count_asked();
	if (old != NULL)
		atomic_fetch_add_explicit(&counters->freed, 1,
		    memory_order_relaxed);
	return __libc_realloc(old, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	count_asked();
	return __libc_memalign(alignment, size);
}

int
posix_memalign(void **block, size_t alignment, size_t size)
{
	count_asked();
	*block = __libc_memalign(alignment, size);
	return *block == NULL ? ENOMEM : 0;
}

void
free(void *block)
{
	if (block == NULL)
		return;
	atomic_fetch_add_explicit(&counters->freed, 1, memory_order_relaxed);
	__libc_free(block);
}
