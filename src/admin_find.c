/* SPDX-License-Identifier: ISC */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin_select.h"

/* What a name may mean. */
struct admin_candidates {
	struct tunnel *tunnel; /* the last that fits */
	struct peer *peer;
	size_t n, len;
	char text[512];
};

static void __attribute__((format(printf, 2, 3)))
candidates_add(struct admin_candidates *found, const char *fmt, ...)
{
	va_list ap;
	int len;

	if (found->n++ > 0 && found->len < sizeof found->text)
		found->len += (size_t)snprintf(found->text + found->len,
		    sizeof found->text - found->len, ", ");
	if (found->len >= sizeof found->text)
		return;
	va_start(ap, fmt);
	len = vsnprintf(found->text + found->len,
	    sizeof found->text - found->len, fmt, ap);
	va_end(ap);
	found->len += (size_t)len;
}

/* "PEER/NAME" or "NAME"; "/NAME" is the local one. */
static bool
tunnel_is_called(const struct tunnel *tunnel, const char *name)
{
	if (name[0] == '/')
		return tunnel->peer == NULL &&
		    strcmp(tunnel->conf->name, name + 1) == 0;
	return strcmp(tunnel->label, name) == 0 ||
	    strcmp(tunnel->conf->name, name) == 0;
}

static void
candidates_tunnel(struct admin_candidates *found, struct tunnel *tunnel,
    const char *name, const char *prefix)
{
	if (!tunnel_is_called(tunnel, name))
		return;
	found->tunnel = tunnel;
	candidates_add(found, "%s%s%s", prefix, tunnel->peer == NULL ? "/" : "",
	    tunnel->label);
}

static void
candidates_tunnels(struct admin_candidates *found,
    const struct tunnels *tunnels, const char *name, const char *prefix)
{
	struct tunnel *tunnel;

	TAILQ_FOREACH(tunnel, &tunnels->all, entry)
		candidates_tunnel(found, tunnel, name, prefix);
}

/* Those that are configured no more: one of each label. */
static void
candidates_draining(struct admin_candidates *found,
    const struct tunnels *tunnels, const char *name)
{
	struct tunnel *tunnel, *before;

	TAILQ_FOREACH(tunnel, &tunnels->draining, entry) {
		before = tunnels_find(tunnels, tunnel->label);
		if (before == NULL)
			TAILQ_FOREACH(before, &tunnels->draining, entry)
				if (strcmp(before->label, tunnel->label) == 0)
					break;
		if (before == tunnel)
			candidates_tunnel(found, tunnel, name, "");
	}
}

static struct tunnel *
candidates_choose(struct admin_request *request,
    const struct admin_candidates *found, const char *name)
{
	if (found->n == 1)
		return found->tunnel;
	if (found->n == 0)
		admin_fail(request, "not_found", "no tunnel is called %.128s",
		    name);
	else
		admin_fail(request, "bad_request",
		    "%s is ambiguous, say one of %s", name, found->text);
	return NULL;
}

struct tunnel *
admin_find_tunnel(struct admin_request *request, const struct tunnels *tunnels,
    const char *name)
{
	struct admin_candidates found = { 0 };

	candidates_tunnels(&found, tunnels, name, "");
	return candidates_choose(request, &found, name);
}

struct tunnel *
admin_find_any_tunnel(struct admin_request *request,
    const struct tunnels *tunnels, const char *name)
{
	struct admin_candidates found = { 0 };

	candidates_tunnels(&found, tunnels, name, "");
	/* A name that means a tunnel stays clear when others drain. */
	if (found.n == 0)
		candidates_draining(&found, tunnels, name);
	return candidates_choose(request, &found, name);
}

bool
admin_find_knows_tunnel(const struct tunnels *tunnels, const char *name)
{
	struct admin_candidates found = { 0 };

	candidates_tunnels(&found, tunnels, name, "");
	if (found.n == 0)
		candidates_draining(&found, tunnels, name);
	return found.n > 0;
}

struct peer *
admin_find_peer(struct admin_request *request, struct peers *peers,
    const char *name)
{
	struct peer *peer = peers_find(peers, name);

	if (peer == NULL)
		admin_fail(request, "not_found", "no peer is called %.128s",
		    name);
	return peer;
}

/* That of a tunnel which is configured no more; NULL. */
static struct peer *
find_draining_peer(const struct admin_context *context, const char *name)
{
	const struct tunnel *tunnel;

	TAILQ_FOREACH(tunnel, &context->tunnels->draining, entry)
		if (tunnel->peer != NULL &&
		    strcmp(peer_name(tunnel->peer), name) == 0)
			return tunnel->peer;
	return NULL;
}

bool
admin_find_knows_peer(const struct admin_context *context, const char *name)
{
	return peers_find(context->peers, name) != NULL ||
	    find_draining_peer(context, name) != NULL;
}

struct peer *
admin_find_any_peer(struct admin_request *request,
    const struct admin_context *context, const char *name)
{
	struct peer *peer = NULL;

	if (peers_find(context->peers, name) == NULL)
		peer = find_draining_peer(context, name);
	if (peer != NULL)
		return peer;
	return admin_find_peer(request, context->peers, name);
}

bool
admin_find_any(struct admin_request *request,
    const struct admin_context *context, const char *name,
    struct tunnel **tunnel, struct peer **peer)
{
	struct admin_candidates found = { 0 };

	candidates_tunnels(&found, context->tunnels, name, "tunnel ");
	found.peer = peers_find(context->peers, name);
	if (found.peer != NULL)
		candidates_add(&found, "peer %s", name);
	*tunnel = found.tunnel;
	*peer = found.peer;
	if (found.n == 0)
		admin_fail(request, "not_found",
		    "no tunnel and no peer is called %.128s", name);
	else if (found.n > 1)
		admin_fail(request, "bad_request",
		    "%s is ambiguous, it may be %s", name, found.text);
	return found.n == 1;
}
