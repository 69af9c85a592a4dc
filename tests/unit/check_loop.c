/* SPDX-License-Identifier: ISC */
/* loop: timers, tasks, watches, signals, and messages from threads. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop_turns.h"

#define THREADS 4
#define POSTS 5000

static struct loop *loop;
static char story[256]; /* what happened, a letter each */

static void
setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	story[0] = '\0';
}

static void
teardown(void)
{
	loop_free(loop);
}

static void
tell(void *arg)
{
	strcat(story, arg);
}

/* libevent's memory. */
static bool is_short;

static void *
try_malloc(size_t size)
{
	return is_short ? NULL : malloc(size);
}

static void *
try_realloc(void *old, size_t size)
{
	return is_short ? NULL : realloc(old, size);
}

START_TEST(clocks)
{
	double now = loop_now(loop);
	struct timespec real;

	ck_assert_double_ge(loop_now(loop), now);
	clock_gettime(CLOCK_REALTIME, &real);
	ck_assert_int_le(llabs(loop_wall_us() - (int64_t)real.tv_sec * 1000000),
	    5000000);
	memset(loop_scratch(loop), 1, LOOP_SCRATCH_SIZE);
}
END_TEST

START_TEST(timers_fire_in_order_and_once)
{
	static const double seconds[] = { 0.03, 0.01, 0, -5, 0.02 };
	char letters[5][2] = { "a", "b", "c", "d", "e" };
	struct loop_timer *timers[5];
	double began = loop_now(loop);
	int i;

	for (i = 0; i < 5; i++) {
		timers[i] = loop_timer_new(loop, tell, letters[i]);
		ck_assert(!loop_timer_is_set(timers[i]));
		loop_timer_set(timers[i], seconds[i]);
		ck_assert(loop_timer_is_set(timers[i]));
	}
	ck_assert_str_eq(story, ""); /* none calls back at once */
	loop_run_for(loop, 0.06);
	ck_assert_double_ge(loop_now(loop) - began, 0.05);
	ck_assert_uint_eq(strlen(story), 5);
	ck_assert_str_eq(story + 2, "bea");
	for (i = 0; i < 5; i++) {
		ck_assert(!loop_timer_is_set(timers[i]));
		loop_timer_free(timers[i]);
	}
}
END_TEST

START_TEST(timers_move_and_cancel)
{
	char a[] = "a", b[] = "b", c[] = "c";
	struct loop_timer *moved = loop_timer_new(loop, tell, a);
	struct loop_timer *cancelled = loop_timer_new(loop, tell, b);
	struct loop_timer *freed = loop_timer_new(loop, tell, c);

	loop_timer_set(moved, 100);
	loop_timer_set(moved, 0.01); /* nearer */
	loop_timer_set(cancelled, 0.001);
	loop_timer_cancel(cancelled);
	loop_timer_cancel(cancelled);
	ck_assert(!loop_timer_is_set(cancelled));
	loop_timer_set(freed, 0.001);
	loop_timer_free(freed);
	loop_run_for(loop, 0.03);
	ck_assert_str_eq(story, "a");
	loop_timer_set(moved, 0.001);
	loop_timer_set(moved, 100); /* farther */
	loop_run_for(loop, 0.02);
	ck_assert_str_eq(story, "a");
	loop_timer_set(moved, 1e300);
	loop_timer_free(moved);
	loop_timer_free(cancelled);
	loop_timer_cancel(NULL);
	loop_timer_free(NULL);
}
END_TEST

static struct loop_timer *self;

static void
set_and_free(void *arg)
{
	tell(arg);
	if (strlen(story) < 3) {
		loop_timer_set(self, 0);
		return;
	}
	loop_timer_free(self);
	self = NULL;
}

START_TEST(timer_sets_and_frees_itself)
{
	char a[] = "a";

	self = loop_timer_new(loop, set_and_free, a);
	loop_timer_set(self, 0);
	loop_run_for(loop, 0.02);
	ck_assert_str_eq(story, "aaa");
	ck_assert_ptr_null(self);
}
END_TEST

static struct loop_task tasks[6];

static void
add_one(void *arg)
{
	++*(int *)arg;
}

/* Whoever has a timer can set it, whatever others have, and queue a task. */
START_TEST(timers_and_tasks_need_no_memory)
{
	enum { N = 3000 };
	static struct loop_timer *timers[N];
	struct loop_task task;
	int i, fired = 0, ran = 0;

	for (i = 0; i < N; i++) {
		timers[i] = loop_timer_new(loop, add_one, &fired);
		ck_assert_ptr_nonnull(timers[i]);
	}
	loop_task_init(&task, add_one, &ran);
	is_short = true;
	for (i = 0; i < N; i++) {
		loop_timer_set(timers[i], 0);
		ck_assert(loop_timer_is_set(timers[i]));
	}
	loop_task_queue(loop, &task);
	loop_run_turns(loop, 2);
	ck_assert_int_eq(fired, N);
	ck_assert_int_eq(ran, 1);
	ck_assert_ptr_null(loop_timer_new(loop, add_one, &fired));
	is_short = false;
	for (i = 0; i < N; i++)
		loop_timer_free(timers[i]);
}
END_TEST

START_TEST(tasks_run_once_in_order)
{
	char a[] = "a", b[] = "b";

	loop_task_init(&tasks[0], tell, a);
	loop_task_init(&tasks[1], tell, b);
	loop_task_cancel(loop, &tasks[1]); /* not queued */
	loop_task_queue(loop, &tasks[1]);
	loop_task_queue(loop, &tasks[0]);
	loop_task_queue(loop, &tasks[1]);
	ck_assert(tasks[1].queued);
	ck_assert_str_eq(story, "");
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "ba");
	ck_assert(!tasks[0].queued && !tasks[1].queued);
	loop_task_queue(loop, &tasks[0]);
	loop_task_cancel(loop, &tasks[0]);
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "ba");
}
END_TEST

/* Queues itself for ever; what is ready on a descriptor comes in between. */
static void
busy(void *arg)
{
	struct loop_task *task = arg;

	if (strlen(story) < sizeof story - 2)
		strcat(story, task == &tasks[0] ? "0" : "1");
	loop_task_queue(loop, task);
}

static void
readable(int fd, bool read_ready, bool write_ready, void *arg)
{
	char byte;

	ck_assert(read_ready && !write_ready);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	tell(arg);
	if (byte == 'z')
		loop_stop(loop);
}

START_TEST(tasks_let_descriptors_in)
{
	char r[] = "r";
	struct loop_watch *watch;
	int fds[2], i;

	ck_assert_int_eq(pipe(fds), 0);
	watch = loop_watch_new(loop, fds[0], true, false, readable, r);
	ck_assert_int_eq(write(fds[1], "xyz", 3), 3);
	for (i = 0; i < 2; i++) {
		loop_task_init(&tasks[i], busy, &tasks[i]);
		loop_task_queue(loop, &tasks[i]);
	}
	ck_assert_int_eq(loop_run(loop), 0);
	/* A turn each: none of them twice before the next byte. */
	ck_assert_str_eq(story, "r01r01r");
	for (i = 0; i < 2; i++)
		loop_task_cancel(loop, &tasks[i]);
	loop_watch_free(watch);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* The first cancels itself (nothing), the next, and the last; it queues the
 * one before it, which has not run yet. */
static void
meddle(void *arg)
{
	tell(arg);
	loop_task_cancel(loop, &tasks[0]);
	loop_task_cancel(loop, &tasks[1]);
	loop_task_cancel(loop, &tasks[3]);
	loop_task_queue(loop, &tasks[2]);
	loop_task_queue(loop, &tasks[4]);
}

START_TEST(tasks_meddle)
{
	char letters[5][2] = { "a", "b", "c", "d", "e" };
	int i;

	for (i = 0; i < 5; i++) {
		loop_task_init(&tasks[i], i == 0 ? meddle : tell, letters[i]);
		if (i < 4)
			loop_task_queue(loop, &tasks[i]);
	}
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "ace");
	for (i = 0; i < 5; i++)
		ck_assert(!tasks[i].queued);
}
END_TEST

static void
cancel_all(void *arg)
{
	tell(arg);
	for (int i = 0; i < 4; i++)
		loop_task_cancel(loop, &tasks[i]);
}

START_TEST(tasks_cancel_all)
{
	char letters[4][2] = { "a", "b", "c", "d" };
	int i;

	for (i = 0; i < 4; i++) {
		loop_task_init(&tasks[i], cancel_all, letters[i]);
		loop_task_queue(loop, &tasks[i]);
	}
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "a");
	loop_task_queue(loop, &tasks[2]); /* the loop still knows how */
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "ac");
}
END_TEST

static int next_post[THREADS];

struct post {
	int thread, number;
};

static void
posted(void *arg)
{
	struct post *post = arg;

	ck_assert_int_eq(post->number, next_post[post->thread]++);
	for (int i = 0; i < THREADS; i++)
		if (next_post[i] < POSTS)
			return;
	loop_stop(loop);
}

static void *
poster(void *arg)
{
	struct post *posts = arg;

	for (int i = 0; i < POSTS; i++)
		if (loop_post(loop, posted, &posts[i]) != 0)
			abort();
	return NULL;
}

START_TEST(posts_arrive_in_order)
{
	static struct post posts[THREADS][POSTS];
	pthread_t threads[THREADS];
	int i, j;

	for (i = 0; i < THREADS; i++) {
		for (j = 0; j < POSTS; j++)
			posts[i][j] = (struct post){ i, j };
		ck_assert_int_eq(pthread_create(&threads[i], NULL, poster,
				     posts[i]),
		    0);
	}
	ck_assert_int_eq(loop_run(loop), 0);
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(next_post[i], POSTS);
	}
}
END_TEST

static void
post_again(void *arg)
{
	tell(arg);
	if (strlen(story) < 3)
		ck_assert_int_eq(loop_post(loop, post_again, arg), 0);
}

START_TEST(posts_post)
{
	char a[] = "a";

	ck_assert_int_eq(loop_post(loop, post_again, a), 0);
	ck_assert_str_eq(story, "");
	loop_run_for(loop, 0.02);
	ck_assert_str_eq(story, "aaa");
	/* What is still posted is dropped, and its memory freed. */
	ck_assert_int_eq(loop_post(loop, post_again, a), 0);
}
END_TEST

START_TEST(signals)
{
	char u[] = "u";
	struct loop_signal *usr1 = loop_signal_new(loop, SIGUSR1, tell, u);

	ck_assert_ptr_nonnull(usr1);
	raise(SIGUSR1);
	ck_assert_str_eq(story, "");
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "u");
	raise(SIGUSR1);
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "uu");
	loop_signal_free(usr1);
	loop_signal_free(NULL);
}
END_TEST

static void
count(int fd, bool read_ready, bool write_ready, void *arg)
{
	(void)fd;
	strcat(story, read_ready ? "r" : "");
	strcat(story, write_ready ? "w" : "");
	loop_watch_set(*(struct loop_watch **)arg, false, false);
}

START_TEST(watches_are_set_anew)
{
	struct loop_watch *watch;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	watch = loop_watch_new(loop, fds[1], false, false, count, &watch);
	ck_assert_ptr_nonnull(watch);
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "");
	loop_watch_set(watch, false, true);
	loop_watch_set(watch, false, true);
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "w"); /* it switched itself off */
	loop_watch_set(watch, false, true);
	loop_run_for(loop, 0.01);
	ck_assert_str_eq(story, "ww");
	loop_watch_free(watch);
	loop_watch_free(NULL);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(nothing)
{
	loop_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("loop");
	SRunner *runner = srunner_create(suite);
	int failed;

	event_set_mem_functions(try_malloc, try_realloc, free);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, clocks);
	tcase_add_test(tc, timers_fire_in_order_and_once);
	tcase_add_test(tc, timers_move_and_cancel);
	tcase_add_test(tc, timer_sets_and_frees_itself);
	tcase_add_test(tc, timers_and_tasks_need_no_memory);
	tcase_add_test(tc, tasks_run_once_in_order);
	tcase_add_test(tc, tasks_let_descriptors_in);
	tcase_add_test(tc, tasks_meddle);
	tcase_add_test(tc, tasks_cancel_all);
	tcase_add_test(tc, posts_arrive_in_order);
	tcase_add_test(tc, posts_post);
	tcase_add_test(tc, signals);
	tcase_add_test(tc, watches_are_set_anew);
	tcase_add_test(tc, nothing);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
