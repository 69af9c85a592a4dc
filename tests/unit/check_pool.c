/* SPDX-License-Identifier: ISC */
/* pool: lanes that are attached as their link goes, and lanes that do not
 * live. What it dials is answered by the tests. */
#include <sys/socket.h>

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop_turns.h"
#include "pool_internal.h"

#define DIALS 64

/* In place of src/handshake.c. */
struct handshake {
	struct handshake_params params;
	enum wire_opener opener;
	bool cancelled;
};

static struct handshake dials[DIALS];
static unsigned n_dials, n_answered;

static struct loop *loop;
static struct pool *pool;
static struct config_peer conf;
static struct pool_params params;
static unsigned in_use, n_lanes;
static int raw; /* the other end of the latest connection */

struct handshake *
handshake_start_attach(const struct handshake_params *handshake,
    const struct handshake_attach *attach)
{
	ck_assert_uint_lt(n_dials, DIALS);
	dials[n_dials] = (struct handshake){ .params = *handshake,
		.opener = attach->opener };
	return &dials[n_dials++];
}

void
handshake_cancel(struct handshake *handshake)
{
	if (handshake != NULL)
		handshake->cancelled = true;
}

static struct framing *
connection(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
			     fds),
	    0);
	close(raw);
	raw = fds[1];
	return framing_new(stream_new(fds[0]));
}

/* The oldest dial that was not answered yet comes to its end. */
static void
answer(void)
{
	struct handshake_outcome outcome = { .status = HANDSHAKE_OK };
	struct handshake *dial = &dials[n_answered++];

	ck_assert_uint_le(n_answered, n_dials);
	ck_assert(!dial->cancelled);
	outcome.framing = connection();
	dial->params.fn(&outcome, dial->params.arg);
}

/* --- who has the pool ------------------------------------------------------- */

static void
available(void *arg)
{
	(void)arg;
}

static void
lane(struct framing *framing, void *arg)
{
	(void)arg;
	n_lanes++;
	framing_free(framing);
}

static const struct pool_handler handler = {
	.available = available,
	.lane = lane,
};

static void
begin(bool dialler)
{
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	conf = (struct config_peer){ .refs = 1,
		.name = (char *)"shed",
		.dials = dialler,
		.heartbeat_interval = 100,
		.heartbeat_timeout = 1000,
		.max_channels = 100 };
	params = (struct pool_params){ .loop = loop,
		.peer = &conf,
		.dialler = dialler,
		.knows_lanes = true,
		.key = { .bytes = "a key" },
		.in_use = &in_use,
		.handler = &handler };
	n_dials = n_answered = n_lanes = 0;
	raw = -1;
	pool = pool_new(&params);
	ck_assert_ptr_nonnull(pool);
}

static void
setup(void)
{
	begin(true);
}

static void
teardown(void)
{
	pool_free(pool);
	loop_free(loop);
	close(raw);
}

/* --- a link that goes ------------------------------------------------------- */

/* A lane that comes too late would be one of the next link's. */
START_TEST(a_lane_dialled_as_the_link_goes)
{
	char c;

	pool_set_lanes(pool, 1, 0, true);
	ck_assert_uint_eq(n_dials, 1);
	ck_assert_int_eq(dials[0].opener, WIRE_OPENER_LANE);
	pool_leave(pool);
	ck_assert(!dials[0].cancelled);
	answer();
	ck_assert_uint_eq(n_lanes, 0);
	ck_assert_int_eq(recv(raw, &c, 1, 0), 0); /* it is closed */
	ck_assert(pool_is_empty(pool));
	loop_run_turns(loop, 3);
	ck_assert_uint_eq(n_dials, 1);
}
END_TEST

static void
accept_lane(uint64_t serial)
{
	struct wire_attach attach = { .serial = serial,
		.opener = WIRE_OPENER_LANE };
	const char *why = NULL;

	ck_assert_int_eq(auth_attach_mac(&params.key, &attach, attach.mac), 0);
	ck_assert_int_eq(pool_accept(pool, &attach, connection(), &why), 0);
}

START_TEST(a_lane_accepted_as_the_link_goes)
{
	uint8_t bytes[WIRE_FRAME_MAX];
	struct wire_message msg;
	size_t used;
	ssize_t n;

	teardown();
	begin(false);
	accept_lane(1);
	ck_assert_uint_eq(n_lanes, 1);
	pool_leave(pool);
	accept_lane(2);
	ck_assert_uint_eq(n_lanes, 1);
	/* It is told that it was attached, and then closed: nothing failed. */
	n = recv(raw, bytes, sizeof bytes, 0);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(wire_decode(bytes, (size_t)n, &msg, &used), WIRE_OK);
	ck_assert_int_eq(msg.type, WIRE_ATTACHED);
	ck_assert_uint_eq(used, (size_t)n);
	ck_assert_int_eq(recv(raw, bytes, sizeof bytes, 0), 0);
}
END_TEST

/* --- lanes that do not live ------------------------------------------------- */

/* One is dialled, attached and lost; the next one has to wait so long. */
static void
lose_one(double seconds)
{
	unsigned before = n_dials;

	ck_assert_uint_eq(n_dials, n_answered + 1);
	answer();
	pool_lane_gone(pool);
	ck_assert(loop_timer_is_set(pool->lane_timer));
	ck_assert_double_eq_tol(pool->lane_retry, seconds, 1e-6);
	/* Whoever else wants something does not hasten it. */
	pool_set_lanes(pool, 1, 0, true);
	loop_run_turns(loop, 3);
	ck_assert_uint_eq(n_dials, before);
}

/* As if that time were over. */
static void
wait_no_more(void)
{
	loop_timer_set(pool->lane_timer, 0);
	loop_run_turns(loop, 3);
	ck_assert(!loop_timer_is_set(pool->lane_timer));
}

START_TEST(redialled_later_and_later)
{
	static const double waits[] = { 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5 };
	size_t i;

	pool_set_lanes(pool, 1, 0, true);
	for (i = 0; i < sizeof waits / sizeof *waits; i++) {
		lose_one(waits[i]);
		if (i + 1 < sizeof waits / sizeof *waits)
			wait_no_more();
	}
	/* It does wait. */
	loop_run_for(loop, 0.3);
	ck_assert_uint_eq(n_dials, n_answered);
	wait_no_more();
	/* One that lived for a while begins anew. */
	ck_assert_uint_eq(n_dials, n_answered + 1);
	answer();
	pool->lane_attached_at -= 10;
	pool_lane_gone(pool);
	ck_assert_double_eq_tol(pool->lane_retry, 0.1, 1e-6);
	wait_no_more();
	lose_one(0.2);
}
END_TEST

START_TEST(lost_together_count_once)
{
	int i;

	pool_set_lanes(pool, 3, 0, true);
	ck_assert_uint_eq(n_dials, 3);
	for (i = 0; i < 3; i++)
		answer();
	ck_assert_uint_eq(n_lanes, 3);
	for (i = 0; i < 3; i++)
		pool_lane_gone(pool);
	ck_assert_double_eq_tol(pool->lane_retry, 0.1, 1e-6);
	loop_run_turns(loop, 3);
	ck_assert_uint_eq(n_dials, 3);
	wait_no_more();
	ck_assert_uint_eq(n_dials, 6);
}
END_TEST

START_TEST(channels_do_not_wait_for_lanes)
{
	pool_set_lanes(pool, 1, 0, true);
	lose_one(0.1);
	pool_set_need(pool, true, 1);
	ck_assert_uint_eq(n_dials, 2);
	ck_assert_int_eq(dials[1].opener, WIRE_OPENER_DIALLER);
	/* Nor does anybody dial once the link goes. */
	pool_leave(pool);
	ck_assert(!loop_timer_is_set(pool->lane_timer));
	ck_assert(dials[1].cancelled);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tc = tcase_create("pool");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_lane_dialled_as_the_link_goes);
	tcase_add_test(tc, a_lane_accepted_as_the_link_goes);
	tcase_add_test(tc, redialled_later_and_later);
	tcase_add_test(tc, lost_together_count_once);
	tcase_add_test(tc, channels_do_not_wait_for_lanes);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
