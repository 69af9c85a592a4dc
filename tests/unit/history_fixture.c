/* SPDX-License-Identifier: ISC */
#include "history_fixture.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ledger_session sample[SAMPLE_ROWS];
struct history *history;

static const char *const tunnels[] = { "web", "ssh", "mail" };
static const char *const peers[] = { "edge", "home", "" };
static const char *const sources[] = { "192.0.2.1:1", "[2001:db8::1]:3",
	"unix:/run/x", "unix:" };
static const enum reason reasons[] = { REASON_CLOSED, REASON_CLOSED,
	REASON_CLOSED, REASON_RESET, REASON_REFUSED, REASON_KILLED };

/* From 0 to 2^62, of every order of size, powers of two among them. */
static uint64_t
draw_bytes(void)
{
	uint64_t power = UINT64_C(1) << (random() % 62);

	switch (random() % 4) {
	case 0:
		return power;
	case 1:
		return power - 1;
	case 2:
		return (uint64_t)random() % power;
	default:
		return 0;
	}
}

static void
sample_draw(void)
{
	struct ledger_session *row;

	srandom(4711);
	for (int i = 0; i < SAMPLE_ROWS; i++) {
		row = &sample[i];
		*row = fixture_session(i + 1);
		strcpy(row->tunnel, tunnels[random() % 3]);
		strcpy(row->peer, peers[random() % 3]);
		strcpy(row->source, sources[random() % 4]);
		row->reason = reasons[random() % 6];
		row->opened_us = SAMPLE_START + i * SAMPLE_STEP;
		row->closed_us = row->opened_us + random() % 1000000000;
		row->up_bytes = draw_bytes();
		row->down_bytes = random() % 2 == 0 ? 0 : draw_bytes();
		if (random() % 10 == 0 || i > SAMPLE_ROWS - 100) {
			row->closed_us = 0;
			row->reason = REASON_NONE;
			row->closed_by[0] = '\0';
		}
	}
}

void
history_make_file(void)
{
	struct ledger *ledger = fixture_open();

	fixture_await(ledger, "ok", 20);
	ledger_free(ledger);
}

void
history_reopen(void)
{
	char error[HISTORY_ERROR_SIZE];

	history_close(history);
	history = history_open(path, NULL, NULL, error, sizeof error);
	if (history == NULL)
		ck_abort_msg("%s", error);
}

void
history_setup(void)
{
	struct ledger *ledger;

	fixture_setup();
	sample_draw();
	ledger = fixture_open();
	for (int i = 0; i < SAMPLE_ROWS; i++)
		ledger_put_session(ledger, &sample[i]);
	fixture_settle(ledger);
	ledger_free(ledger);
	/* The end of a run closes what it left open. */
	fixture_sql("UPDATE sessions SET closed_at = NULL, close_reason = NULL,"
		    " closed_by = NULL WHERE close_reason = 'shutdown'");
	history_reopen();
}

void
history_teardown(void)
{
	history_close(history);
	history = NULL;
	fixture_teardown();
}

const char *
sample_host(const struct ledger_session *row)
{
	if (strcmp(row->source, sources[0]) == 0)
		return "192.0.2.1";
	if (strcmp(row->source, sources[1]) == 0)
		return "2001:db8::1";
	return row->source;
}

bool
sample_matches(const struct ledger_session *row,
    const struct history_query *query)
{
	if (query->id != 0 && row->id != query->id)
		return false;
	if (query->tunnel != NULL && strcmp(row->tunnel, query->tunnel) != 0)
		return false;
	if (query->peer != NULL && strcmp(row->peer, query->peer) != 0)
		return false;
	if (query->source != NULL &&
	    strcmp(sample_host(row), query->source) != 0)
		return false;
	if (query->reason != NULL &&
	    (row->closed_us == 0 ||
		strcmp(reason_name(row->reason), query->reason) != 0))
		return false;
	if (query->since_us != 0 && row->opened_us < query->since_us)
		return false;
	if (query->until_us != 0 && row->opened_us >= query->until_us)
		return false;
	return row->up_bytes + row->down_bytes >= query->min_bytes;
}

struct history_rows
history_must(const struct history_query *query)
{
	char error[HISTORY_ERROR_SIZE];
	struct history_rows rows;

	if (history_ask(history, query, &rows, error, sizeof error) == -1)
		ck_abort_msg("%s", error);
	ck_assert_int_eq(rows.what, query->what);
	return rows;
}
