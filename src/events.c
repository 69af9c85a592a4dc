/* SPDX-License-Identifier: ISC */
#include "events.h"

#include <stdlib.h>
#include <string.h>

#include "loop.h"

struct event_kept {
	TAILQ_ENTRY(event_kept) entry;
	struct event event; /* points into what follows */
	struct ledger_session session;
	char strings[];
};

static const struct {
	const char *name;
	const char *group;
} event_kinds[EVENT_KINDS] = {
	[EVENT_LINK_UP] = { "link_up", "link" },
	[EVENT_LINK_DOWN] = { "link_down", "link" },
	[EVENT_SESSION_OPEN] = { "session_open", "session" },
	[EVENT_SESSION_CLOSE] = { "session_close", "session" },
	[EVENT_ERROR] = { "error", "error" },
	[EVENT_CHANGE] = { "change", "change" },
	[EVENT_RELOAD] = { "reload", "reload" },
};

const char *
event_kind_name(enum event_kind kind)
{
	return event_kinds[kind].name;
}

const char *
event_kind_group(enum event_kind kind)
{
	return event_kinds[kind].group;
}

void
events_init(struct events *events)
{
	memset(events, 0, sizeof *events);
	TAILQ_INIT(&events->followers);
	TAILQ_INIT(&events->kept);
}

static void
events_drop_first(struct events *events)
{
	struct event_kept *first = TAILQ_FIRST(&events->kept);

	TAILQ_REMOVE(&events->kept, first, entry);
	events->n_kept--;
	free(first);
}

/* Followers take in order, so one that is at none of the first has passed
 * them. */
static bool
events_is_awaited(const struct events *events, const struct event_kept *kept)
{
	const struct events_follower *follower;

	TAILQ_FOREACH(follower, &events->followers, entry)
		if (follower->next == kept)
			return true;
	return false;
}

static void
events_trim(struct events *events)
{
	while (!TAILQ_EMPTY(&events->kept) &&
	    !events_is_awaited(events, TAILQ_FIRST(&events->kept)))
		events_drop_first(events);
}

void
events_follow(struct events *events, struct events_follower *follower)
{
	follower->next = NULL;
	follower->waiting = 0;
	follower->lost = false;
	TAILQ_INSERT_TAIL(&events->followers, follower, entry);
}

void
events_unfollow(struct events *events, struct events_follower *follower)
{
	TAILQ_REMOVE(&events->followers, follower, entry);
	events_trim(events);
}

const struct event *
events_take(struct events *events, struct events_follower *follower)
{
	struct event_kept *kept = follower->next;

	events_trim(events);
	if (kept == NULL)
		return NULL;
	follower->next = TAILQ_NEXT(kept, entry);
	follower->waiting--;
	return &kept->event;
}

bool
events_are_followed(const struct events *events)
{
	return !TAILQ_EMPTY(&events->followers);
}

/* Whoever waits for this one, or (NULL) everybody. */
static void
events_lose(struct events *events, const struct event_kept *kept)
{
	struct events_follower *follower;

	TAILQ_FOREACH(follower, &events->followers, entry) {
		if (kept != NULL && follower->next != kept)
			continue;
		follower->lost = true;
		follower->next = NULL;
		follower->waiting = 0;
	}
	events_trim(events);
}

static const char *
events_copy_text(char **to, const char *text)
{
	size_t size;

	if (text == NULL)
		return NULL;
	size = strlen(text) + 1;
	*to += size;
	return memcpy(*to - size, text, size);
}

static size_t
events_text_size(const char *text)
{
	return text == NULL ? 0 : strlen(text) + 1;
}

static struct event_kept *
events_copy(const struct event *event)
{
	struct event_kept *kept = malloc(sizeof *kept +
	    events_text_size(event->peer) + events_text_size(event->tunnel) +
	    events_text_size(event->address) + events_text_size(event->text));
	char *to;

	if (kept == NULL)
		return NULL;
	to = kept->strings;
	kept->event = *event;
	kept->event.peer = events_copy_text(&to, event->peer);
	kept->event.tunnel = events_copy_text(&to, event->tunnel);
	kept->event.address = events_copy_text(&to, event->address);
	kept->event.text = events_copy_text(&to, event->text);
	if (event->session != NULL) {
		kept->session = *event->session;
		kept->event.session = &kept->session;
	}
	return kept;
}

void
events_publish(struct events *events, struct event *event)
{
	struct events_follower *follower;
	struct event_kept *kept;

	event->at_us = loop_wall_us();
	if (!events_are_followed(events))
		return;
	events_trim(events);
	if (events->n_kept == EVENTS_KEPT)
		events_lose(events, TAILQ_FIRST(&events->kept));
	kept = events_copy(event);
	if (kept == NULL) {
		events_lose(events, NULL);
	} else {
		TAILQ_INSERT_TAIL(&events->kept, kept, entry);
		events->n_kept++;
	}
	TAILQ_FOREACH(follower, &events->followers, entry) {
		if (!follower->lost && kept != NULL) {
			if (follower->next == NULL)
				follower->next = kept;
			follower->waiting++;
		}
		follower->news(follower->arg);
	}
}
