/* SPDX-License-Identifier: ISC */
/*
 * preload: for tests/system/test_guard.py, which loads it into a daemon. It
 * counts what is asked of malloc and how often the loop wakes, and lets the
 * test hold the daemon's clock, so that what depends on time is the same each
 * time, and an idle minute takes none.
 *
 * What the two share stands in the file that TUNNELD_GUARD names, mapped, so
 * that it costs no system call. While the clock is held, the loop waits for
 * its descriptors alone, or until it was interrupted and its time has come;
 * other threads look now and then.
 */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_S 1000000000
#define NS_MS 1000000

/* glibc's own, behind the names that are replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/* Times are nanoseconds of CLOCK_MONOTONIC. */
struct shared {
	/* Written here: of all threads, and of the one that runs the loop. */
	_Atomic uint64_t asked, freed;
	_Atomic uint64_t asked_by_loop;
	_Atomic uint64_t wakes;	   /* that were waited for */
	_Atomic uint64_t deadline; /* of the loop, while it waits; 0: none */
	/* Written by the test. */
	_Atomic uint64_t held;	/* the time at which it is held; 0: it goes */
	_Atomic int64_t offset; /* how far it is ahead while it goes */
};

static struct shared before, *shared = &before;
static _Thread_local enum { UNKNOWN, LOOP, OTHER } thread;

__attribute__((constructor)) static void
preload_begin(void)
{
	const char *path = getenv("TUNNELD_GUARD");
	void *page = MAP_FAILED;
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd != -1)
		page = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		_exit(70);
	close(fd);
	shared = page;
	shared->asked = before.asked;
	shared->freed = before.freed;
}

static bool
in_loop(void)
{
	if (thread == UNKNOWN)
		thread = syscall(SYS_gettid) == getpid() ? LOOP : OTHER;
	return thread == LOOP;
}

/* --- the clock -------------------------------------------------------------- */

static uint64_t
real_now(clockid_t clock)
{
	static int (*real)(clockid_t, struct timespec *);
	struct timespec now;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (real(clock, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * NS_S + (uint64_t)now.tv_nsec;
}

static uint64_t
shared_now(clockid_t clock)
{
	return shared->held != 0 ? shared->held :
				   real_now(clock) + (uint64_t)shared->offset;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	bool monotonic = clock == CLOCK_MONOTONIC ||
	    clock == CLOCK_MONOTONIC_COARSE;
	uint64_t ns = monotonic ? shared_now(clock) : real_now(clock);

	now->tv_sec = (time_t)(ns / NS_S);
	now->tv_nsec = (long)(ns % NS_S);
	return 0;
}

int
epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	uint64_t deadline = 0;
	int n;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
	if (timeout == 0 || !in_loop())
		return real(fd, events, max, timeout);
	if (timeout > 0)
		deadline = shared_now(CLOCK_MONOTONIC) +
		    (uint64_t)timeout * NS_MS;
	shared->deadline = deadline;
	do
		n = real(fd, events, max, shared->held != 0 ? -1 : timeout);
	while (n == -1 && errno == EINTR && shared->held != 0 &&
	    (deadline == 0 || shared->held < deadline));
	shared->wakes++;
	return n;
}

int
pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
    const struct timespec *until)
{
	static int (*real)(pthread_cond_t *, pthread_mutex_t *,
	    const struct timespec *);
	struct timespec then = *until;
	uint64_t ns;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	if (shared->held != 0) {
		ns = real_now(CLOCK_MONOTONIC) + NS_S;
	} else {
		ns = (uint64_t)until->tv_sec * NS_S + (uint64_t)until->tv_nsec -
		    (uint64_t)shared->offset;
	}
	then.tv_sec = (time_t)(ns / NS_S);
	then.tv_nsec = (long)(ns % NS_S);
	return real(cond, mutex, &then);
}

/* --- memory ----------------------------------------------------------------- */

static void
count_asked(void)
{
	shared->asked++;
	if (in_loop())
		shared->asked_by_loop++;
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
		shared->freed++;
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
	shared->freed++;
	__libc_free(block);
}
