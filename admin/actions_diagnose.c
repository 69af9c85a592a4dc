/* SPDX-License-Identifier: ISC */
#include "actions.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "ask.h"
#include "format.h"

/* connect_timeout of a tunnel may be long, and is waited for twice. */
#define TEST_PATIENCE 600
#define PINGS_DEFAULT 3
#define PINGS_MAX 1000000
#define INTERVAL_MAX 86400.0

/* --- test --------------------------------------------------------------- */

static json_t *
value_ok(const json_t *step)
{
	return json_string(json_is_true(json_object_get(step, "ok")) ?
		"ok" :
		"FAILED");
}

/* What there is to say of a step that went well; else it is a note. */
static void
text_detail(const struct output_settings *settings, const json_t *step,
    char *buf, size_t size)
{
	(void)settings;
	if (json_is_true(json_object_get(step, "ok")))
		format_value(json_object_get(step, "detail"), buf, size);
	else
		snprintf(buf, size, "-");
}

static void
note_failure(const struct output_settings *settings, const json_t *step,
    char *buf, size_t size)
{
	const json_t *by = json_object_get(step, "by");
	char detail[400], who[40];

	(void)settings;
	buf[0] = '\0';
	if (json_is_true(json_object_get(step, "ok")))
		return;
	format_value(json_object_get(step, "detail"), detail, sizeof detail);
	if (json_is_string(by))
		snprintf(buf, size, "%s (said by the %s)", detail,
		    format_value(by, who, sizeof who));
	else
		snprintf(buf, size, "%s", detail);
}

static const struct output_column step_columns[] = {
	{ "STEP", "step", .flags = 0 },
	{ "RESULT", "ok", OUTPUT_STATE, NULL, value_ok },
	{ "TIME", "ms", .flags = OUTPUT_MS },
	{ "DETAIL", "detail", OUTPUT_SHRINK, text_detail, NULL },
	{ .head = NULL },
};
static const struct output_view step_view = { step_columns, "no steps",
	note_failure };

struct test {
	struct output *out;
	bool ok;
};

static int
take_test(json_t *data, void *arg)
{
	struct test *test = arg;
	const json_t *steps = json_object_get(data, "steps");
	char name[160];

	test->ok = json_is_true(json_object_get(data, "ok"));
	if (output_whole(test->out, data))
		return 0;
	output_start(test->out, &step_view);
	for (size_t i = 0; i < json_array_size(steps); i++)
		output_row(test->out, json_array_get(steps, i));
	output_end(test->out);
	output_text(test->out, "%s %s",
	    format_value(json_object_get(data, "tunnel"), name, sizeof name),
	    test->ok ? "works" : "does not work");
	return 0;
}

int
action_test(struct context *context)
{
	struct test test = { .out = context->out };
	struct client_request request = {
		.command = context->command->name,
		.args = json_object(),
		.type = JSON_OBJECT,
		.fn = take_test,
		.arg = &test,
		.patience = TEST_PATIENCE,
	};
	int status;

	if (ask_put_text(context, request.args, "tunnel", context->args[0]) !=
	    0) {
		json_decref(request.args);
		return EXIT_USAGE;
	}
	status = ask_request(context, &request);
	return status == EXIT_DONE && !test.ok ? EXIT_REFUSED : status;
}

/* --- ping --------------------------------------------------------------- */

struct pings {
	struct output *out;
	json_t *answers; /* [{peer, address, rtt_ms}], as they came */
	json_int_t sent;
	double least, most, sum;
};

static int
take_ping(json_t *data, void *arg)
{
	struct pings *pings = arg;
	const json_t *rtt = json_object_get(data, "rtt_ms");
	double ms = json_number_value(rtt);
	char address[300], text[FORMAT_SIZE];

	if (json_array_size(pings->answers) == 0 || ms < pings->least)
		pings->least = ms;
	if (ms > pings->most)
		pings->most = ms;
	pings->sum += ms;
	json_array_append(pings->answers, data);
	output_text(pings->out, "answer from %s: %s",
	    format_value(json_object_get(data, "address"), address,
		sizeof address),
	    format_rtt(rtt, text, sizeof text));
	output_flush(pings->out);
	return output_broken(pings->out) ? -1 : 0;
}

static void
show_summary(const struct pings *pings, const char *peer)
{
	size_t n = json_array_size(pings->answers);
	char least[FORMAT_SIZE], mean[FORMAT_SIZE], most[FORMAT_SIZE];
	json_t *numbers[3], *object;

	numbers[0] = n > 0 ? json_real(pings->least) : json_null();
	numbers[1] = n > 0 ?
	    json_real(round(pings->sum / (double)n * 1e6) / 1e6) :
	    json_null();
	numbers[2] = n > 0 ? json_real(pings->most) : json_null();
	object = json_pack("{s:s, s:I, s:I, s:O, s:O, s:O, s:O}", "peer", peer,
	    "sent", pings->sent, "received", (json_int_t)n, "min_ms",
	    numbers[0], "avg_ms", numbers[1], "max_ms", numbers[2], "pings",
	    pings->answers);
	if (!output_whole(pings->out, object))
		output_text(pings->out,
		    "%zu of %" JSON_INTEGER_FORMAT
		    " answered; min/avg/max %s/%s/%s",
		    n, pings->sent, format_rtt(numbers[0], least, sizeof least),
		    format_rtt(numbers[1], mean, sizeof mean),
		    format_rtt(numbers[2], most, sizeof most));
	for (size_t i = 0; i < 3; i++)
		json_decref(numbers[i]);
	json_decref(object);
}

static void
wait_seconds(double seconds)
{
	struct timespec time = { (time_t)seconds, 0 };

	time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
	nanosleep(&time, NULL);
}

/* 0.1 to a day. 0, or -1 and says so. */
static int
parse_interval(const struct context *context, double *seconds)
{
	char *end;

	*seconds = 1;
	if (context->interval == NULL)
		return 0;
	*seconds = strtod(context->interval, &end);
	if (end != context->interval && *end == '\0' && *seconds >= 0.1 &&
	    *seconds <= INTERVAL_MAX)
		return 0;
	commands_error(context,
	    "--interval: '%s' is not a number of seconds from 0.1 to %.0f",
	    context->interval, INTERVAL_MAX);
	return -1;
}

/* One question after the other. Returns the worst status. */
static int
ask_pings(struct context *context, json_t *args, struct pings *pings,
    json_int_t count)
{
	int status = EXIT_DONE, one;
	double interval;

	if (parse_interval(context, &interval) != 0)
		return EXIT_USAGE;
	while (pings->sent < count && !output_broken(pings->out)) {
		if (pings->sent > 0)
			wait_seconds(interval);
		pings->sent++;
		one = ask_object(context, NULL, json_incref(args), take_ping,
		    pings);
		if (one > status)
			status = one;
		/* Of whom nothing is known nothing will come. */
		if (one == EXIT_UNREACHABLE ||
		    (one != EXIT_DONE && json_array_size(pings->answers) == 0))
			break;
	}
	return status;
}

int
action_ping(struct context *context)
{
	struct pings pings = { .out = context->out };
	json_int_t count = PINGS_DEFAULT;
	json_t *args;
	int status = EXIT_USAGE;

	if (context->count != NULL &&
	    ask_number(context, context->count, PINGS_MAX, &count) != 0)
		return EXIT_USAGE;
	args = json_object();
	pings.answers = json_array();
	if (ask_put_text(context, args, "peer", context->args[0]) == 0)
		status = ask_pings(context, args, &pings, count);
	if (status == EXIT_DONE || json_array_size(pings.answers) > 0)
		show_summary(&pings, context->args[0]);
	json_decref(pings.answers);
	json_decref(args);
	return status;
}
