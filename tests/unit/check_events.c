/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"

static struct events events;

struct reader {
	struct events_follower follower;
	int news;
};

static void
on_news(void *arg)
{
	((struct reader *)arg)->news++;
}

static void
follow(struct reader *reader)
{
	memset(reader, 0x5a, sizeof *reader);
	reader->follower.news = on_news;
	reader->follower.arg = reader;
	reader->news = 0;
	events_follow(&events, &reader->follower);
}

static void
publish(int n)
{
	char text[32];
	struct event event = { .kind = EVENT_ERROR, .text = text };

	snprintf(text, sizeof text, "%d", n);
	events_publish(&events, &event);
	memset(text, 'x', sizeof text - 1);
}

/* Takes one, which must be n. */
static void
take(struct reader *reader, int n)
{
	const struct event *event = events_take(&events, &reader->follower);

	ck_assert_ptr_nonnull(event);
	ck_assert_int_eq(atoi(event->text), n);
	ck_assert(event->at_us > 0);
}

static void
check_empty(struct reader *reader)
{
	ck_assert_ptr_null(events_take(&events, &reader->follower));
	ck_assert_uint_eq(reader->follower.waiting, 0);
}

static void
setup(void)
{
	events_init(&events);
}

/* Nothing is left behind. */
static void
teardown(void)
{
	ck_assert(!events_are_followed(&events));
	ck_assert_uint_eq(events.n_kept, 0);
	ck_assert(TAILQ_EMPTY(&events.kept));
}

START_TEST(test_nobody)
{
	publish(1);
	ck_assert_uint_eq(events.n_kept, 0);
}
END_TEST

START_TEST(test_order)
{
	struct reader reader;

	publish(0);
	follow(&reader);
	ck_assert(events_are_followed(&events));
	check_empty(&reader);
	publish(1);
	publish(2);
	ck_assert_int_eq(reader.news, 2);
	ck_assert_uint_eq(reader.follower.waiting, 2);
	take(&reader, 1);
	publish(3);
	take(&reader, 2);
	take(&reader, 3);
	check_empty(&reader);
	publish(4);
	events_unfollow(&events, &reader.follower);
}
END_TEST

/* Each takes at its own pace; one copy serves them all. */
START_TEST(test_several)
{
	struct reader a, b, c;

	follow(&a);
	publish(1);
	follow(&b);
	publish(2);
	take(&a, 1);
	take(&a, 2);
	ck_assert_uint_eq(events.n_kept, 1);
	follow(&c);
	check_empty(&c);
	publish(3);
	take(&c, 3);
	check_empty(&c);
	ck_assert_uint_eq(events.n_kept, 2);
	events_unfollow(&events, &a.follower);
	take(&b, 2);
	take(&b, 3);
	check_empty(&b);
	ck_assert_uint_eq(events.n_kept, 0);
	publish(4);
	events_unfollow(&events, &b.follower);
	take(&c, 4);
	events_unfollow(&events, &c.follower);
}
END_TEST

/* Who reads loses nothing; who does not loses his place, not memory. */
START_TEST(test_bound)
{
	struct reader fast, slow, late;
	int i;

	follow(&fast);
	follow(&slow);
	for (i = 0; i < EVENTS_KEPT; i++) {
		publish(i);
		take(&fast, i);
	}
	ck_assert(!slow.follower.lost);
	ck_assert_uint_eq(slow.follower.waiting, EVENTS_KEPT);
	follow(&late);
	publish(i);
	ck_assert(slow.follower.lost);
	check_empty(&slow);
	ck_assert_int_eq(slow.news, EVENTS_KEPT + 1);
	take(&fast, i);
	take(&late, i);
	check_empty(&late);
	ck_assert_uint_eq(events.n_kept, 0);
	publish(++i);
	check_empty(&slow);
	take(&fast, i);
	events_unfollow(&events, &slow.follower);
	events_unfollow(&events, &fast.follower);
	events_unfollow(&events, &late.follower);
}
END_TEST

START_TEST(test_copy)
{
	struct ledger_session session = { .id = 7, .tunnel = "ssh" };
	struct event event = {
		.kind = EVENT_SESSION_OPEN,
		.tunnel = "ssh",
		.session = &session,
	};
	const struct event *copy;
	struct reader reader;

	follow(&reader);
	events_publish(&events, &event);
	memset(&session, 0, sizeof session);
	copy = events_take(&events, &reader.follower);
	ck_assert_int_eq(copy->kind, EVENT_SESSION_OPEN);
	ck_assert_str_eq(copy->tunnel, "ssh");
	ck_assert_ptr_null(copy->peer);
	ck_assert_ptr_null(copy->address);
	ck_assert_ptr_null(copy->text);
	ck_assert_int_eq(copy->session->id, 7);
	ck_assert_str_eq(copy->session->tunnel, "ssh");
	events_unfollow(&events, &reader.follower);
}
END_TEST

START_TEST(test_words)
{
	for (int i = 0; i < EVENT_KINDS; i++) {
		size_t len = strlen(event_kind_group(i));

		ck_assert_int_eq(strncmp(event_kind_name(i),
				     event_kind_group(i), len),
		    0);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("events");
	TCase *tc = tcase_create("events");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_nobody);
	tcase_add_test(tc, test_order);
	tcase_add_test(tc, test_several);
	tcase_add_test(tc, test_bound);
	tcase_add_test(tc, test_copy);
	tcase_add_test(tc, test_words);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
