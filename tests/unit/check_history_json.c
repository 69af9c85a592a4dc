/* SPDX-License-Identifier: ISC */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history_json.h"

#define AT 1795183205123456 /* 2026-11-20T14:00:05.123Z */

/* Frees the object; want is its whole text, keys in their order. */
static void
check_json(json_t *object, const char *want)
{
	char *got = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);

	ck_assert_ptr_nonnull(got);
	ck_assert_str_eq(got, want);
	free(got);
	json_decref(object);
}

/* --- Rows ----------------------------------------------------------------- */

START_TEST(texts_and_times)
{
	check_json(history_json_text(NULL), "null");
	check_json(history_json_text(""), "null");
	check_json(history_json_text("\xc3\xa4"), "\"\xc3\xa4\"");
	check_json(history_json_text("a\xff"), "\"a\\\\xff\"");
	check_json(history_json_time(0), "null");
	check_json(history_json_time(-1), "null");
	check_json(history_json_time(1), "\"1970-01-01T00:00:00.000Z\"");
	check_json(history_json_time(AT), "\"2026-11-20T14:00:05.123Z\"");
	check_json(history_json_time(1709164799999999),
	    "\"2024-02-28T23:59:59.999Z\"");
	/* Whatever a damaged file holds. */
	json_decref(history_json_time(INT64_MAX));
	json_decref(history_json_time(INT64_MIN));
}
END_TEST

START_TEST(sessions)
{
	struct ledger_session row = {
		.id = 4711,
		.uid = { 0, 1, 0xab, [15] = 0xff },
		.tunnel = "ssh",
		.peer = "homelab",
		.type = "tcp",
		.end = LEDGER_END_EXIT,
		.source = "192.0.2.7:40000",
		.target = "127.0.0.1:22",
		.opened_us = AT,
		.closed_us = AT + 1000000,
		.up_bytes = 1,
		.down_bytes = (uint64_t)INT64_MAX,
		.reason = REASON_KILLED,
		.closed_by = "root (uid 0)",
	};

	check_json(history_json_session(&row),
	    "{\"id\":4711,\"uid\":\"0001ab000000000000000000000000ff\","
	    "\"tunnel\":\"ssh\",\"peer\":\"homelab\",\"type\":\"tcp\","
	    "\"end\":\"exit\",\"source\":\"192.0.2.7:40000\","
	    "\"target\":\"127.0.0.1:22\",\"state\":\"closed\","
	    "\"opened_at\":\"2026-11-20T14:00:05.123Z\","
	    "\"closed_at\":\"2026-11-20T14:00:06.123Z\",\"up_bytes\":1,"
	    "\"down_bytes\":9223372036854775807,\"close_reason\":\"killed\","
	    "\"closed_by\":\"root (uid 0)\"}");
	memset(&row, 0, sizeof row);
	strcpy(row.tunnel, "\xff");
	row.id = 1;
	row.opened_us = 1000;
	check_json(history_json_session(&row),
	    "{\"id\":1,\"uid\":\"00000000000000000000000000000000\","
	    "\"tunnel\":\"\\\\xff\",\"peer\":null,\"type\":null,"
	    "\"end\":\"entry\",\"source\":null,\"target\":null,"
	    "\"state\":\"open\",\"opened_at\":\"1970-01-01T00:00:00.001Z\","
	    "\"closed_at\":null,\"up_bytes\":0,\"down_bytes\":0,"
	    "\"close_reason\":null,\"closed_by\":null}");
}
END_TEST

START_TEST(links)
{
	struct ledger_link row = {
		.peer = "homelab",
		.address = "192.0.2.1:7000",
		.up_us = AT,
		.down_us = AT + 1500000,
		.reason = "heartbeat: no sign of life for 30 s",
		.back_us = AT + 4000000,
	};
	int64_t now = (int64_t)time(NULL) * 1000000;
	json_t *json;

	check_json(history_json_link(&row),
	    "{\"peer\":\"homelab\",\"address\":\"192.0.2.1:7000\","
	    "\"up_at\":\"2026-11-20T14:00:05.123Z\","
	    "\"down_at\":\"2026-11-20T14:00:06.623Z\",\"up\":1.5,"
	    "\"reason\":\"heartbeat: no sign of life for 30 s\","
	    "\"back_at\":\"2026-11-20T14:00:09.123Z\",\"away\":2.5}");

	/* Not back yet: away until now. */
	row.up_us = now - 100000000;
	row.down_us = now - 60000000;
	row.back_us = 0;
	json = history_json_link(&row);
	ck_assert(json_is_null(json_object_get(json, "back_at")));
	ck_assert(json_real_value(json_object_get(json, "up")) == 40);
	ck_assert(fabs(json_real_value(json_object_get(json, "away")) - 60) <
	    5);
	json_decref(json);

	/* Still up. */
	row.down_us = 0;
	row.reason[0] = '\0';
	json = history_json_link(&row);
	ck_assert(json_is_null(json_object_get(json, "down_at")));
	ck_assert(json_is_null(json_object_get(json, "reason")));
	ck_assert(json_is_null(json_object_get(json, "away")));
	ck_assert(fabs(json_real_value(json_object_get(json, "up")) - 100) < 5);
	json_decref(json);

	/* The clock was put back. */
	row.up_us = AT;
	row.down_us = AT - 1;
	row.back_us = AT - 2;
	json = history_json_link(&row);
	ck_assert(json_real_value(json_object_get(json, "up")) == 0);
	ck_assert(json_real_value(json_object_get(json, "away")) == 0);
	json_decref(json);
}
END_TEST

START_TEST(stats_and_uptime)
{
	struct history_stat stat = {
		.tunnel = "ssh",
		.peer = "homelab",
		.from_us = AT - AT % 3600000000,
		.sessions = 3,
		.failed = 1,
		.up_bytes = 10,
		.down_bytes = 20,
		.median = 0.5,
		.p95 = 2,
	};
	struct history_uptime uptime = {
		.peer = "homelab",
		.up = 3599.5,
		.known = 3600,
		.percent = 99.5,
		.downs = 2,
	};

	check_json(history_json_stat(&stat),
	    "{\"tunnel\":\"ssh\",\"peer\":\"homelab\",\"source\":null,"
	    "\"from\":\"2026-11-20T14:00:00.000Z\",\"sessions\":3,"
	    "\"failed\":1,\"up_bytes\":10,\"down_bytes\":20,\"median\":0.5,"
	    "\"p95\":2.0}");
	stat.from_us = 0;
	stat.median = stat.p95 = -1;
	strcpy(stat.source, "::1");
	stat.tunnel[0] = stat.peer[0] = '\0';
	check_json(history_json_stat(&stat),
	    "{\"tunnel\":null,\"peer\":null,\"source\":\"::1\",\"from\":null,"
	    "\"sessions\":3,\"failed\":1,\"up_bytes\":10,\"down_bytes\":20,"
	    "\"median\":null,\"p95\":null}");
	check_json(history_json_uptime(&uptime),
	    "{\"peer\":\"homelab\",\"from\":null,\"up\":3599.5,"
	    "\"known\":3600.0,\"percent\":99.5,\"downs\":2}");
	uptime.up = uptime.known = 0;
	uptime.percent = -1;
	check_json(history_json_uptime(&uptime),
	    "{\"peer\":\"homelab\",\"from\":null,\"up\":0.0,\"known\":0.0,"
	    "\"percent\":null,\"downs\":2}");
}
END_TEST

START_TEST(changes)
{
	struct ledger_change row = {
		.at_us = AT,
		.uid = UINT32_MAX,
		.by = "root (uid 0)",
		.command = "kill",
		.detail = "tunnel homelab/ssh: 3 sessions",
	};

	check_json(history_json_change(&row),
	    "{\"at\":\"2026-11-20T14:00:05.123Z\",\"uid\":4294967295,"
	    "\"by\":\"root (uid 0)\",\"command\":\"kill\","
	    "\"detail\":\"tunnel homelab/ssh: 3 sessions\"}");
}
END_TEST

START_TEST(any_row)
{
	struct ledger_link lives[2] = { { .peer = "a" }, { .peer = "b" } };
	struct ledger_change change[1] = { { .command = "kill" } };
	struct history_rows rows = { .what = HISTORY_LINKS,
		.n = 2,
		.links = lives };
	json_t *json;

	json = history_json_row(&rows, 1);
	ck_assert_str_eq(json_string_value(json_object_get(json, "peer")), "b");
	json_decref(json);
	rows = (struct history_rows){ .what = HISTORY_CHANGES,
		.n = 1,
		.changes = change };
	json = history_json_row(&rows, 0);
	ck_assert_str_eq(json_string_value(json_object_get(json, "command")),
	    "kill");
	json_decref(json);
}
END_TEST

/* --- Arguments ------------------------------------------------------------ */

static struct history_json_query asked;
static json_t *args; /* that it borrows from */

static const struct history_query *
read_query(const char *text, enum history_what what)
{
	json_decref(args);
	args = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(args);
	memset(&asked, 0xff, sizeof asked);
	ck_assert_msg(history_json_query(args, what, &asked) == 0, "%s: %s",
	    text, asked.error);
	return &asked.query;
}

static void
check_refused(const char *text, enum history_what what, const char *error)
{
	json_t *refused = json_loads(text, 0, NULL);

	ck_assert_ptr_nonnull(refused);
	memset(&asked, 0xff, sizeof asked);
	ck_assert_msg(history_json_query(refused, what, &asked) == -1, "%s",
	    text);
	ck_assert_str_eq(asked.error, error);
	json_decref(refused);
}

static void
forget_query(void)
{
	json_decref(args);
	args = NULL;
}

START_TEST(query_of_nothing)
{
	const struct history_query *query;

	query = read_query("{\"x\": [1], \"tunnel\": null, \"limit\": null, "
			   "\"since\": null, \"by\": null, \"per\": null}",
	    HISTORY_SESSIONS);
	ck_assert_int_eq(query->what, HISTORY_SESSIONS);
	ck_assert(query->closed_only);
	ck_assert_ptr_null(query->tunnel);
	ck_assert_ptr_null(query->peer);
	ck_assert_ptr_null(query->source);
	ck_assert_ptr_null(query->reason);
	ck_assert(query->since_us == 0 && query->until_us == 0);
	ck_assert(query->min_bytes == 0 && query->limit == 0 && query->id == 0);
	ck_assert_int_eq(query->by, HISTORY_BY_TUNNEL);
	ck_assert_int_eq(query->per, HISTORY_PER_ALL);
	query = read_query("{}", HISTORY_LINKS);
	ck_assert_int_eq(query->what, HISTORY_LINKS);
	ck_assert(!query->closed_only);
	forget_query();
}
END_TEST

START_TEST(query_of_all)
{
	const struct history_query *query;

	query = read_query("{\"tunnel\": \"homelab/ssh\", "
			   "\"source\": \"192.0.2.7\", \"reason\": \"reset\", "
			   "\"since\": 1795183205.25, \"until\": 1795183206, "
			   "\"min_bytes\": 9223372036854775807, "
			   "\"limit\": 10000, \"by\": \"source\", "
			   "\"per\": \"day\"}",
	    HISTORY_SESSIONS);
	ck_assert_str_eq(query->tunnel, "ssh");
	ck_assert_str_eq(query->peer, "homelab");
	ck_assert_str_eq(query->source, "192.0.2.7");
	ck_assert_str_eq(query->reason, "reset");
	ck_assert_int_eq(query->since_us, 1795183205250000);
	ck_assert_int_eq(query->until_us, 1795183206000000);
	ck_assert_uint_eq(query->min_bytes, INT64_MAX);
	ck_assert_uint_eq(query->limit, 10000);
	ck_assert_int_eq(query->by, HISTORY_BY_SOURCE);
	ck_assert_int_eq(query->per, HISTORY_PER_DAY);
	query = read_query("{\"tunnel\": \"a/b\", \"peer\": \"a\", "
			   "\"by\": \"tunnel\", \"per\": \"hour\", "
			   "\"since\": 0}",
	    HISTORY_STATS);
	ck_assert_str_eq(query->tunnel, "b");
	ck_assert_str_eq(query->peer, "a");
	ck_assert_int_eq(query->by, HISTORY_BY_TUNNEL);
	ck_assert_int_eq(query->per, HISTORY_PER_HOUR);
	/* A local tunnel's peer is "", which is not "any". */
	query = read_query("{\"tunnel\": \"/b\"}", HISTORY_SESSIONS);
	ck_assert_str_eq(query->tunnel, "b");
	ck_assert_str_eq(query->peer, "");
	query = read_query("{\"by\": \"peer\"}", HISTORY_STATS);
	ck_assert_int_eq(query->by, HISTORY_BY_PEER);
	/* The reason of a link is any text. */
	query = read_query("{\"reason\": \"no, really\"}", HISTORY_LINKS);
	ck_assert_str_eq(query->reason, "no, really");
	forget_query();
}
END_TEST

START_TEST(query_sources)
{
	static const struct {
		const char *text;
		const char *want;
	} cases[] = {
		{ "192.0.2.7", "192.0.2.7" },
		{ "::1", "::1" },
		{ "[::1]", "::1" },
		{ "2001:DB8:0:0::0007", "2001:db8::7" },
		{ "::ffff:192.0.2.7", "192.0.2.7" },
		{ "[::ffff:192.0.2.7]", "192.0.2.7" },
		{ "unix:", "unix:" },
		{ "unix:/run/a b", "unix:/run/a b" },
	};
	char text[200];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "{\"source\": \"%s\"}",
		    cases[i].text);
		ck_assert_str_eq(read_query(text, HISTORY_SESSIONS)->source,
		    cases[i].want);
	}
	forget_query();
}
END_TEST

START_TEST(query_sources_refused)
{
	static const struct {
		const char *source;
		const char *error;
	} cases[] = {
		{ "192.0.2.0/24",
		    "source 192.0.2.0/24: history is searched by one address, "
		    "not by a block of them" },
		{ "192.0.2.7/32",
		    "source 192.0.2.7/32: history is searched by one address, "
		    "not by a block of them" },
		{ "192.0.2.7:22",
		    "source 192.0.2.7:22: say the address without the port" },
		{ "[::1]:22",
		    "source [::1]:22: say the address without the port" },
		{ "[", "source [ is not an address" },
		{ "]", "source ] is not an address" },
		{ "[]", "source [] is not an address" },
		{ "[[::1]]", "source [[::1]] is not an address" },
		{ "192.0.2.256", "source 192.0.2.256 is not an address" },
		{ "localhost", "source localhost is not an address" },
		{ " 192.0.2.7", "source  192.0.2.7 is not an address" },
		{ "unix", "source unix is not an address" },
	};
	char text[1000];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(text, sizeof text, "{\"source\": \"%s\"}",
		    cases[i].source);
		check_refused(text, HISTORY_SESSIONS, cases[i].error);
	}
	snprintf(text, sizeof text, "{\"source\": \"%0500d\"}", 1);
	check_refused(text, HISTORY_SESSIONS, "source is not an address");
}
END_TEST

START_TEST(query_refused)
{
	static const struct {
		const char *args;
		const char *error;
	} cases[] = {
		{ "{\"tunnel\": 1}", "tunnel must be a string" },
		{ "{\"peer\": []}", "peer must be a string" },
		{ "{\"source\": true}", "source must be a string" },
		{ "{\"reason\": {}}", "reason must be a string" },
		{ "{\"tunnel\": \"\"}", "tunnel must not be empty" },
		{ "{\"peer\": \"\"}", "peer must not be empty" },
		{ "{\"tunnel\": \"/ssh\", \"peer\": \"b\"}",
		    "tunnel /ssh is not one of peer b" },
		{ "{\"tunnel\": \"a b/ssh\"}",
		    "tunnel must be NAME or PEER/NAME" },
		{ "{\"tunnel\": \"a/ssh\", \"peer\": \"b\"}",
		    "tunnel a/ssh is not one of peer b" },
		{ "{\"since\": \"2h\"}",
		    "since must be a time in seconds since the epoch" },
		{ "{\"since\": -1}",
		    "since must be a time in seconds since the epoch" },
		{ "{\"until\": 1e300}",
		    "until must be a time in seconds since the epoch" },
		{ "{\"until\": 0}", "until must be later than since" },
		{ "{\"until\": 1e-9}", "until must be later than since" },
		{ "{\"since\": 5, \"until\": 5}",
		    "until must be later than since" },
		{ "{\"since\": 6, \"until\": 5}",
		    "until must be later than since" },
		{ "{\"min_bytes\": -1}",
		    "min_bytes must be an integer that is not negative" },
		{ "{\"min_bytes\": 1.5}",
		    "min_bytes must be an integer that is not negative" },
		{ "{\"limit\": 0}",
		    "limit must be an integer from 1 to 10000" },
		{ "{\"limit\": 10001}",
		    "limit must be an integer from 1 to 10000" },
		{ "{\"limit\": \"5\"}",
		    "limit must be an integer that is not negative" },
		{ "{\"by\": \"link\"}", "by must be tunnel or peer or source" },
		{ "{\"by\": 1}", "by must be a string" },
		{ "{\"per\": \"week\"}", "per must be hour or day" },
	};
	char text[1000];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check_refused(cases[i].args, HISTORY_SESSIONS, cases[i].error);
	/* Nobody is made to read a novel. */
	snprintf(text, sizeof text,
	    "{\"tunnel\": \"a/%0400d\", \"peer\": \"%0400d\"}", 1, 1);
	json_decref(args);
	args = json_loads(text, 0, NULL);
	ck_assert_int_eq(history_json_query(args, HISTORY_STATS, &asked), -1);
	ck_assert_uint_lt(strlen(asked.error), sizeof asked.error);
	forget_query();
}
END_TEST

START_TEST(query_reasons)
{
	char text[100];

	for (int i = REASON_NONE + 1; i < REASON_COUNT; i++) {
		const char *word = reason_name((enum reason)i);

		snprintf(text, sizeof text, "{\"reason\": \"%s\"}", word);
		ck_assert_str_eq(read_query(text, HISTORY_SESSIONS)->reason,
		    word);
	}
	json_decref(args);
	args = json_loads("{\"reason\": \"close\"}", 0, NULL);
	ck_assert_int_eq(history_json_query(args, HISTORY_SESSIONS, &asked),
	    -1);
	/* All of them fit, up to the last. */
	ck_assert_ptr_nonnull(strstr(asked.error,
	    "reason must be one of closed, reset, "));
	ck_assert_str_eq(asked.error + strlen(asked.error) -
		strlen(reason_name(REASON_COUNT - 1)),
	    reason_name(REASON_COUNT - 1));
	forget_query();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("history_json");
	TCase *tc = tcase_create("history_json");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, texts_and_times);
	tcase_add_test(tc, sessions);
	tcase_add_test(tc, links);
	tcase_add_test(tc, stats_and_uptime);
	tcase_add_test(tc, changes);
	tcase_add_test(tc, any_row);
	tcase_add_test(tc, query_of_nothing);
	tcase_add_test(tc, query_of_all);
	tcase_add_test(tc, query_sources);
	tcase_add_test(tc, query_sources_refused);
	tcase_add_test(tc, query_refused);
	tcase_add_test(tc, query_reasons);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
