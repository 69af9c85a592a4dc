/* SPDX-License-Identifier: ISC */
#include "resolve.h"

#include <sys/queue.h>

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVE_THREADS 4

/*
 * A request is in exactly one place: the queue, a thread's hands, or the list
 * of the finished. Cancelling marks it; whoever holds it frees it.
 */
struct resolve_request {
	TAILQ_ENTRY(resolve_request) entry;
	struct resolve_pool *pool;
	resolve_fn *fn; /* NULL: cancelled */
	void *arg;
	char host[ADDR_HOST_SIZE];
	char port[8];
	struct addr_sock addresses[RESOLVE_MAX_ADDRESSES];
	size_t n;
	const char *error; /* static, from gai_strerror */
	bool queued;
};

TAILQ_HEAD(resolve_list, resolve_request);

struct resolve_pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct loop *loop; /* NULL once the pool was freed */
	struct resolve_list queue;
	struct resolve_list finished;
	unsigned waiting; /* in queue */
	unsigned threads;
	unsigned idle; /* threads with nothing to do */
	bool posted;   /* a delivery is on its way to the loop */
	bool closing;
};

static void
resolve_pool_destroy(struct resolve_pool *pool)
{
	struct resolve_request *request;

	while ((request = TAILQ_FIRST(&pool->finished)) != NULL) {
		TAILQ_REMOVE(&pool->finished, request, entry);
		free(request);
	}
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static void
resolve_deliver(void *arg)
{
	struct resolve_pool *pool = arg;
	struct resolve_request *request;

	pthread_mutex_lock(&pool->lock);
	pool->posted = false;
	while ((request = TAILQ_FIRST(&pool->finished)) != NULL) {
		TAILQ_REMOVE(&pool->finished, request, entry);
		pthread_mutex_unlock(&pool->lock);
		if (request->fn != NULL)
			request->fn(request->addresses, request->n,
			    request->error, request->arg);
		free(request);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
}

static void
resolve_work(struct resolve_request *request)
{
	struct addrinfo hints, *list = NULL, *ai;
	int code;

	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = AI_NUMERICSERV;
	code = getaddrinfo(request->host, request->port, &hints, &list);
	if (code != 0) {
		request->error = gai_strerror(code);
		return;
	}
	for (ai = list; ai != NULL; ai = ai->ai_next) {
		struct addr_sock *sock = &request->addresses[request->n];

		if (request->n == RESOLVE_MAX_ADDRESSES)
			break;
		if (ai->ai_addrlen > sizeof sock->ss)
			continue;
		memset(sock, 0, sizeof *sock);
		memcpy(&sock->ss, ai->ai_addr, ai->ai_addrlen);
		sock->len = ai->ai_addrlen;
		request->n++;
	}
	freeaddrinfo(list);
	if (request->n == 0)
		request->error = "no address";
}

static void *
resolve_thread(void *arg)
{
	struct resolve_pool *pool = arg;
	struct resolve_request *request;
	bool last;

	pthread_mutex_lock(&pool->lock);
	while (!pool->closing) {
		request = TAILQ_FIRST(&pool->queue);
		if (request == NULL) {
			pool->idle++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->idle--;
			continue;
		}
		TAILQ_REMOVE(&pool->queue, request, entry);
		pool->waiting--;
		request->queued = false;
		pthread_mutex_unlock(&pool->lock);
		resolve_work(request);
		pthread_mutex_lock(&pool->lock);
		TAILQ_INSERT_TAIL(&pool->finished, request, entry);
		if (!pool->closing && !pool->posted)
			pool->posted = loop_post(pool->loop, resolve_deliver,
					   pool) == 0;
	}
	last = --pool->threads == 0;
	pthread_mutex_unlock(&pool->lock);
	if (last)
		resolve_pool_destroy(pool);
	return NULL;
}

struct resolve_pool *
resolve_pool_new(struct loop *loop)
{
	struct resolve_pool *pool = calloc(1, sizeof *pool);

	if (pool == NULL)
		return NULL;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	TAILQ_INIT(&pool->queue);
	TAILQ_INIT(&pool->finished);
	pool->loop = loop;
	return pool;
}

void
resolve_pool_free(struct resolve_pool *pool)
{
	struct resolve_request *request;
	bool alone;

	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pool->loop = NULL;
	while ((request = TAILQ_FIRST(&pool->queue)) != NULL) {
		TAILQ_REMOVE(&pool->queue, request, entry);
		free(request);
	}
	alone = pool->threads == 0;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	if (alone)
		resolve_pool_destroy(pool);
}

/* Called with the lock held. */
static void
resolve_need_thread(struct resolve_pool *pool)
{
	pthread_t thread;
	pthread_attr_t attr;
	sigset_t all, old;

	if (pool->idle >= pool->waiting || pool->threads == RESOLVE_THREADS)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, &attr, resolve_thread, pool) == 0)
		pool->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

struct resolve_request *
resolve_start(struct resolve_pool *pool, const struct addr *addr,
    resolve_fn *fn, void *arg)
{
	struct resolve_request *request = calloc(1, sizeof *request);

	if (request == NULL)
		return NULL;
	request->pool = pool;
	request->fn = fn;
	request->arg = arg;
	snprintf(request->host, sizeof request->host, "%s", addr->host);
	snprintf(request->port, sizeof request->port, "%u", addr->port);
	pthread_mutex_lock(&pool->lock);
	if (pool->waiting == RESOLVE_QUEUE_MAX) {
		pthread_mutex_unlock(&pool->lock);
		free(request);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&pool->queue, request, entry);
	request->queued = true;
	pool->waiting++;
	resolve_need_thread(pool);
	if (pool->threads == 0) { /* not even one could be started */
		TAILQ_REMOVE(&pool->queue, request, entry);
		pool->waiting--;
		free(request);
		request = NULL;
	}
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	return request;
}

void
resolve_cancel(struct resolve_request *request)
{
	struct resolve_pool *pool;
	bool queued;

	if (request == NULL)
		return;
	pool = request->pool;
	pthread_mutex_lock(&pool->lock);
	request->fn = NULL;
	queued = request->queued;
	if (queued) {
		TAILQ_REMOVE(&pool->queue, request, entry);
		pool->waiting--;
	}
	pthread_mutex_unlock(&pool->lock);
	if (queued)
		free(request);
}
