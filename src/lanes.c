/* SPDX-License-Identifier: ISC */
#include "lanes.h"

#include <sys/queue.h>

#include <stdlib.h>

#include "log.h"

/* Of all links that there were, a lane each for a session that never ends:
 * nobody has so many. */
#define LANES_MAX 256

struct lanes_entry {
	TAILQ_ENTRY(lanes_entry) entry;
	struct lane *lane;
};

TAILQ_HEAD(lanes_list, lanes_entry);

struct lanes {
	struct loop *loop;
	const struct config_peer *conf;
	const struct lanes_handler *handler;
	void *arg;
	struct lanes_list list; /* the latest last */
	unsigned count;		/* of those that are not retired */
	unsigned total;
	struct mux_memory memory;
	struct pipe_pool *pipes;
	struct loop_task evict;
};

static void
lanes_on_opened(struct channel *channel, const struct wire_open *open,
    void *arg)
{
	struct lanes *lanes = arg;

	lanes->handler->opened(channel, open, lanes->arg);
}

static void
lanes_on_retired(struct lane *lane, void *arg)
{
	struct lanes *lanes = arg;

	if (lane_is_retired(lane))
		return;
	lane_retire(lane);
	lanes->count--;
	lanes->handler->lost(lanes->arg);
}

static void
lanes_on_closed(struct lane *lane, void *arg)
{
	struct lanes *lanes = arg;

	(void)lane;
	lanes->handler->closed(lanes->arg);
}

static void
lanes_on_down(struct lane *lane, const char *why, void *arg)
{
	struct lanes *lanes = arg;
	bool was_current = !lane_is_retired(lane);
	struct lanes_entry *entry;

	TAILQ_FOREACH(entry, &lanes->list, entry)
		if (entry->lane == lane)
			break;
	TAILQ_REMOVE(&lanes->list, entry, entry);
	lanes->total--;
	free(entry);
	if (why != NULL && was_current)
		log_notice("%s: lane lost: %s", lanes->conf->name, why);
	else
		log_debug("%s: old lane closed: %s", lanes->conf->name,
		    why == NULL ? "done" : why);
	lane_free(lane);
	if (was_current) {
		lanes->count--;
		lanes->handler->lost(lanes->arg);
	}
	lanes->handler->closed(lanes->arg);
}

/* Nothing is freed within the call that kept too much. */
static void
lanes_on_full(void *arg)
{
	struct lanes *lanes = arg;

	loop_task_queue(lanes->loop, &lanes->evict);
}

static const struct lane_handler lanes_lane_handler = {
	.opened = lanes_on_opened,
	.retired = lanes_on_retired,
	.closed = lanes_on_closed,
	.down = lanes_on_down,
	.full = lanes_on_full,
};

/* One that is dead keeps nothing for long: nobody else need give way. */
static bool
lanes_one_is_dead(const struct lanes *lanes)
{
	const struct lanes_entry *entry;

	TAILQ_FOREACH(entry, &lanes->list, entry)
		if (lane_is_dead(entry->lane))
			return true;
	return false;
}

static void
lanes_evict(void *arg)
{
	struct lanes *lanes = arg;
	struct lanes_entry *entry, *most = NULL;
	unsigned n = 0;

	if (lanes_one_is_dead(lanes)) {
		loop_task_queue(lanes->loop, &lanes->evict);
		return;
	}
	while (lanes->memory.kept > lanes->memory.bound) {
		most = TAILQ_FIRST(&lanes->list);
		TAILQ_FOREACH(entry, &lanes->list, entry)
			if (lane_most_kept(entry->lane) >
			    lane_most_kept(most->lane))
				most = entry;
		if (most == NULL || lane_most_kept(most->lane) == 0)
			break;
		lane_evict(most->lane);
		n++;
	}
	if (n > 0)
		log_warning("%s: link_memory is used up: %u sessions that kept "
			    "most of it were reset",
		    lanes->conf->name, n);
}

struct lanes *
lanes_new(struct loop *loop, const struct config_peer *conf,
    const struct lanes_handler *handler, void *arg)
{
	struct lanes *lanes = calloc(1, sizeof *lanes);

	if (lanes == NULL)
		return NULL;
	lanes->loop = loop;
	lanes->conf = config_peer_ref(conf);
	lanes->handler = handler;
	lanes->arg = arg;
	lanes->memory.bound = (uint64_t)conf->link_memory;
	TAILQ_INIT(&lanes->list);
	loop_task_init(&lanes->evict, lanes_evict, lanes);
	return lanes;
}

void
lanes_free(struct lanes *lanes)
{
	struct lanes_entry *entry;

	if (lanes == NULL)
		return;
	while ((entry = TAILQ_FIRST(&lanes->list)) != NULL) {
		TAILQ_REMOVE(&lanes->list, entry, entry);
		lane_free(entry->lane);
		free(entry);
	}
	loop_task_cancel(lanes->loop, &lanes->evict);
	pipe_pool_free(lanes->pipes);
	config_peer_unref(lanes->conf);
	free(lanes);
}

void
lanes_set_conf(struct lanes *lanes, const struct config_peer *conf)
{
	struct lanes_entry *entry;

	config_peer_ref(conf);
	config_peer_unref(lanes->conf);
	lanes->conf = conf;
	lanes->memory.bound = (uint64_t)conf->link_memory;
	TAILQ_FOREACH(entry, &lanes->list, entry) {
		lane_set_times(entry->lane, conf->heartbeat_interval,
		    conf->heartbeat_timeout);
		lane_set_window_max(entry->lane, (uint32_t)conf->window_max);
	}
}

int
lanes_add(struct lanes *lanes, struct framing *framing)
{
	struct lanes_entry *entry = NULL;
	struct lane_params params = {
		.loop = lanes->loop,
		.framing = framing,
		.dialler = lanes->conf->dials,
		.interval = lanes->conf->heartbeat_interval,
		.timeout = lanes->conf->heartbeat_timeout,
		.window_max = (uint32_t)lanes->conf->window_max,
		.memory = &lanes->memory,
		.handler = &lanes_lane_handler,
		.arg = lanes,
	};

	if (lanes->pipes == NULL)
		lanes->pipes = pipe_pool_new();
	params.pipes = lanes->pipes;
	if (lanes->total < LANES_MAX)
		entry = calloc(1, sizeof *entry);
	else
		log_notice("%s: lane refused: there are %u, old ones included",
		    lanes->conf->name, lanes->total);
	if (entry == NULL || lanes->pipes == NULL) {
		framing_free(framing);
		free(entry);
		return -1;
	}
	entry->lane = lane_new(&params);
	if (entry->lane == NULL) {
		free(entry);
		return -1;
	}
	TAILQ_INSERT_TAIL(&lanes->list, entry, entry);
	lanes->total++;
	lanes->count++;
	log_debug("%s: lane attached, %u now", lanes->conf->name, lanes->count);
	lanes->handler->available(lanes->arg);
	return 0;
}

void
lanes_limit(struct lanes *lanes, unsigned count)
{
	struct lanes_entry *entry;

	TAILQ_FOREACH(entry, &lanes->list, entry) {
		if (lanes->count <= count)
			break;
		if (lane_is_retired(entry->lane))
			continue;
		lane_retire(entry->lane);
		lanes->count--;
	}
}

void
lanes_retire(struct lanes *lanes)
{
	lanes_limit(lanes, 0);
}

/* So little more is no reason to take another lane. */
#define LANES_SAME 16384

struct channel *
lanes_take(struct lanes *lanes)
{
	struct lanes_entry *entry;
	struct lane *best = NULL;
	size_t backlog, least = 0;

	TAILQ_FOREACH(entry, &lanes->list, entry) {
		if (!lane_has_room(entry->lane))
			continue;
		backlog = lane_backlog(entry->lane) / LANES_SAME;
		if (best != NULL &&
		    (backlog > least ||
			(backlog == least &&
			    lane_channels(entry->lane) >= lane_channels(best))))
			continue;
		best = entry->lane;
		least = backlog;
	}
	return best == NULL ? NULL : lane_open(best);
}

unsigned
lanes_count(const struct lanes *lanes)
{
	return lanes->count;
}

bool
lanes_are_closed(const struct lanes *lanes)
{
	struct lanes_entry *entry;

	TAILQ_FOREACH(entry, &lanes->list, entry)
		if (!lane_is_closed(entry->lane))
			return false;
	return true;
}

bool
lanes_get_status(const struct lanes *lanes, unsigned place,
    struct lane_status *out)
{
	struct lanes_entry *entry;

	TAILQ_FOREACH(entry, &lanes->list, entry)
		if (place-- == 0)
			break;
	if (entry == NULL)
		return false;
	lane_get_status(entry->lane, out);
	return true;
}
