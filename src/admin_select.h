/* SPDX-License-Identifier: ISC */
/*
 * admin_select: which tunnel, peer and live sessions a request is about.
 * Floor 5.
 */
#ifndef TUNNELD_ADMIN_SELECT_H
#define TUNNELD_ADMIN_SELECT_H

#include "admin_list.h"

/* What a session must fit, all of it. Zeroed memory fits every session. */
struct admin_selectors {
	bool any;		     /* at least one was given */
	const json_t *ids;	     /* an array of integers; NULL: any */
	struct tunnel *tunnel;	     /* all of its label; NULL: any */
	struct peer *peer;	     /* all of its name; NULL: any */
	bool by_source, unix_source; /* of a UNIX socket, or of these: */
	struct addr_cidr source;
	double older, idle; /* seconds, at least */
	bool open_only;	    /* bytes can flow */
	/* No such tunnel or peer here, but other workers may have it: fits
	 * none. */
	bool absent;
};

/*
 * Reads the selectors of `sessions` and `kill`: {ids?, tunnel?, peer?,
 * source?, older?, idle?}. What is no selector is refused, so that a mistyped
 * one never means "all". false after answering what is wrong.
 */
bool admin_arg_selectors(struct admin_request *request, json_t *args,
    const struct admin_context *context, struct admin_selectors *out);

/* The same arguments for other workers, with names that mean just what was
 * found here; a new object. */
json_t *admin_select_relay(const struct admin_selectors *selectors,
    json_t *args);
/* What was absent is so everywhere, or means several: true after answering. */
bool admin_select_is_nowhere(struct admin_request *request, json_t *args,
    const struct admin_context *context, const struct admin_ask *ask);

/* Whether args hold nothing but these keys (the last is NULL); false after
 * answering. */
bool admin_arg_keys(struct admin_request *request, json_t *args,
    const char *const *keys);

/*
 * The ids of the live sessions that fit, oldest first, or in the order of
 * their ids where those were given; from malloc. missing: an array to which
 * the ids that are not open are added; or NULL. NULL out of memory.
 */
int64_t *admin_select(const struct admin_context *context,
    const struct admin_selectors *selectors, json_t *missing, size_t *n);

/* Of an array of integers, sorted and each once, from malloc; NULL out of
 * memory. And whether such an array has it. */
int64_t *admin_select_copy_ids(const json_t *list, size_t *n);
bool admin_select_has_id(const int64_t *ids, size_t n, int64_t id);

/* In words, but for tunnel and peer: "source 192.0.2.0/24, idle for 900 s".
 * "" if there are no others. Returns buf. */
char *admin_select_describe(const struct admin_selectors *selectors, char *buf,
    size_t size);

/* admin_find.c: a tunnel or a peer of that name, the other is NULL. false
 * after answering that there is none, or several. */
bool admin_find_any(struct admin_request *request,
    const struct admin_context *context, const char *name,
    struct tunnel **tunnel, struct peer **peer);

#endif
