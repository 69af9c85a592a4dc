/* SPDX-License-Identifier: ISC */
#include "net_plan.h"

#include <sys/stat.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_WHO_SIZE 160

struct plan_leave {
	struct net_listener *listener;
	bool moved;	/* somebody wants it */
	bool suspended; /* to make room for one that overlaps it */
};

struct plan_want {
	struct addr addr;
	char who[PLAN_WHO_SIZE];
	struct net_listener *before;
	struct net_listener *listener; /* NULL: none yet, or taken */
	bool moved;
	bool swap; /* one of those that leave is in its way */
};

struct net_plan {
	struct loop *loop;
	struct plan_leave *leaves;
	size_t n_leaves;
	struct plan_want *wants;
	size_t n_wants;
	loop_fn *release;
	void *release_arg;
};

struct net_plan *
net_plan_new(struct loop *loop)
{
	struct net_plan *plan = calloc(1, sizeof *plan);

	if (plan != NULL)
		plan->loop = loop;
	return plan;
}

void
net_plan_on_release(struct net_plan *plan, loop_fn *fn, void *arg)
{
	plan->release = fn;
	plan->release_arg = arg;
}

int
net_plan_leave(struct net_plan *plan, struct net_listener *listener)
{
	struct plan_leave *leaves;

	leaves = reallocarray(plan->leaves, plan->n_leaves + 1, sizeof *leaves);
	if (leaves == NULL)
		return -1;
	plan->leaves = leaves;
	leaves[plan->n_leaves++] = (struct plan_leave){ .listener = listener };
	return 0;
}

int
net_plan_want(struct net_plan *plan, const struct addr *addr,
    struct net_listener *before, const char *who)
{
	struct plan_want *wants, *want;

	wants = reallocarray(plan->wants, plan->n_wants + 1, sizeof *wants);
	if (wants == NULL)
		return -1;
	plan->wants = wants;
	want = &wants[plan->n_wants];
	memset(want, 0, sizeof *want);
	want->addr = *addr;
	want->before = before;
	snprintf(want->who, sizeof want->who, "%s", who);
	return (int)plan->n_wants++;
}

/* --- moving ----------------------------------------------------------------- */

/* The one that leaves the wanted address: its own, or anybody's. */
static void
plan_move(struct net_plan *plan, struct plan_want *want, bool own)
{
	struct plan_leave *leave;
	size_t i;

	for (i = 0; i < plan->n_leaves && want->listener == NULL; i++) {
		leave = &plan->leaves[i];
		if (leave->moved || (own && leave->listener != want->before) ||
		    !addr_equal(net_listener_asked(leave->listener),
			&want->addr))
			continue;
		leave->moved = want->moved = true;
		want->listener = leave->listener;
	}
}

static void
plan_move_all(struct net_plan *plan)
{
	size_t i;

	for (i = 0; i < plan->n_wants; i++)
		if (plan->wants[i].before != NULL)
			plan_move(plan, &plan->wants[i], true);
	for (i = 0; i < plan->n_wants; i++)
		plan_move(plan, &plan->wants[i], false);
}

/* --- what overlaps ---------------------------------------------------------- */

static bool
plan_is_same_file(const struct addr *a, const struct addr *b)
{
	struct stat x, y;

	return stat(a->host, &x) == 0 && stat(b->host, &y) == 0 &&
	    x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool
plan_hosts_overlap(const struct addr_sock *a, const struct addr_sock *b)
{
	const struct in6_addr *x = &a->in6.sin6_addr, *y = &b->in6.sin6_addr;

	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == INADDR_ANY ||
		    b->in.sin_addr.s_addr == INADDR_ANY ||
		    a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return IN6_IS_ADDR_UNSPECIFIED(x) || IN6_IS_ADDR_UNSPECIFIED(y) ||
	    IN6_ARE_ADDR_EQUAL(x, y);
}

/* Whether the kernel would not let both listen: see net_bind. */
static bool
plan_overlaps(const struct net_listener *listener, const struct addr *addr)
{
	const struct addr *asked = net_listener_asked(listener);
	struct addr_sock mine, other;
	uint16_t port;

	if (asked->kind != addr->kind)
		return false;
	if (addr->kind == ADDR_UNIX)
		return plan_is_same_file(asked, addr);
	net_listener_address(listener, &mine);
	port = ntohs(mine.sa.sa_family == AF_INET ? mine.in.sin_port :
						    mine.in6.sin6_port);
	if (port != addr->port || addr_to_sock(addr, &other) != 0)
		return false;
	/* ":port" is every address of both families. */
	return asked->host[0] == '\0' || addr->host[0] == '\0' ||
	    plan_hosts_overlap(&mine, &other);
}

static bool
plan_may_swap(const struct net_plan *plan, const struct addr *addr)
{
	size_t i;

	for (i = 0; i < plan->n_leaves; i++)
		if (!plan->leaves[i].moved &&
		    plan_overlaps(plan->leaves[i].listener, addr))
			return true;
	return false;
}

/* --- binding ---------------------------------------------------------------- */

static int
plan_listen(struct net_plan *plan, struct plan_want *want,
    net_plan_error_fn *error, void *arg)
{
	char text[400], line[sizeof text + PLAN_WHO_SIZE];

	want->listener = net_listen(plan->loop, &want->addr, text, sizeof text);
	if (want->listener != NULL)
		return 0;
	if (errno == EADDRINUSE && !want->swap &&
	    plan_may_swap(plan, &want->addr)) {
		want->swap = true;
		return 0;
	}
	snprintf(line, sizeof line, "%s%s", want->who, text);
	error(line, arg);
	return -1;
}

int
net_plan_bind(struct net_plan *plan, net_plan_error_fn *error, void *arg)
{
	int result = 0;
	size_t i;

	plan_move_all(plan);
	for (i = 0; i < plan->n_wants; i++)
		if (plan->wants[i].listener == NULL &&
		    plan_listen(plan, &plan->wants[i], error, arg) != 0)
			result = -1;
	return result;
}

/* Closes those that are in the way of that address. True if there were any. */
static bool
plan_suspend(struct net_plan *plan, const struct addr *addr)
{
	struct plan_leave *leave;
	bool any = false;
	size_t i;

	for (i = 0; i < plan->n_leaves; i++) {
		leave = &plan->leaves[i];
		if (leave->moved || leave->suspended ||
		    !plan_overlaps(leave->listener, addr))
			continue;
		/* Once more: who came while others were swapped. */
		net_listener_accept_all(leave->listener);
		net_listener_suspend(leave->listener);
		leave->suspended = any = true;
	}
	return any;
}

static void
plan_restore(struct net_plan *plan, net_plan_error_fn *error, void *arg)
{
	char text[400];
	size_t i;

	for (i = 0; i < plan->n_wants; i++) {
		if (!plan->wants[i].swap)
			continue;
		net_listener_free(plan->wants[i].listener);
		plan->wants[i].listener = NULL;
	}
	for (i = 0; i < plan->n_leaves; i++) {
		if (!plan->leaves[i].suspended)
			continue;
		plan->leaves[i].suspended = false;
		if (net_listener_resume(plan->leaves[i].listener, text,
			sizeof text) != 0)
			error(text, arg);
	}
}

int
net_plan_swap(struct net_plan *plan, net_plan_error_fn *error, void *arg)
{
	bool released = false;
	int result = 0;
	size_t i;

	for (i = 0; i < plan->n_leaves; i++)
		if (!plan->leaves[i].moved)
			net_listener_accept_all(plan->leaves[i].listener);
	/* All that is in the way first: one may be in the way of several. */
	for (i = 0; i < plan->n_wants; i++)
		if (plan->wants[i].swap)
			released |= plan_suspend(plan, &plan->wants[i].addr);
	if (released && plan->release != NULL)
		plan->release(plan->release_arg);
	for (i = 0; i < plan->n_wants; i++)
		if (plan->wants[i].swap &&
		    plan_listen(plan, &plan->wants[i], error, arg) != 0)
			result = -1;
	if (result != 0)
		plan_restore(plan, error, arg);
	return result;
}

/* --- the end ---------------------------------------------------------------- */

struct net_listener *
net_plan_take(struct net_plan *plan, int ticket)
{
	struct net_listener *listener = plan->wants[ticket].listener;

	plan->wants[ticket].listener = NULL;
	return listener;
}

bool
net_plan_moved(const struct net_plan *plan, int ticket)
{
	return plan->wants[ticket].moved;
}

static void
plan_free(struct net_plan *plan)
{
	free(plan->leaves);
	free(plan->wants);
	free(plan);
}

void
net_plan_commit(struct net_plan *plan)
{
	size_t i;

	for (i = 0; i < plan->n_leaves; i++)
		if (!plan->leaves[i].moved)
			net_listener_free(plan->leaves[i].listener);
	plan_free(plan);
}

void
net_plan_abandon(struct net_plan *plan)
{
	size_t i;

	if (plan == NULL)
		return;
	for (i = 0; i < plan->n_wants; i++)
		if (!plan->wants[i].moved)
			net_listener_free(plan->wants[i].listener);
	plan_free(plan);
}
