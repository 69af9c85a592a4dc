/* SPDX-License-Identifier: ISC */
#include "relay_fixture.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "net.h"
#include "tls.h"

#define CHUNK 50000
#define BUFFER 65536 /* of each socket, so that bounds can be told */

const struct setting settings[SETTINGS] = {
	{ KIND_TCP, KIND_TCP, true },
	{ KIND_TCP, KIND_TCP, false },
	{ KIND_UNIX, KIND_UNIX, true },
	{ KIND_UNIX, KIND_UNIX, false },
	{ KIND_UNIX, KIND_TCP, true },
	{ KIND_TCP, KIND_UNIX, true },
	{ KIND_TCP, KIND_TLS_TCP, true },
	{ KIND_UNIX, KIND_TLS_TCP, true },
	{ KIND_TCP, KIND_TLS_UNIX, true },
	{ KIND_UNIX, KIND_TLS_UNIX, true },
	{ KIND_TCP, KIND_LANE, true },
	{ KIND_TCP, KIND_LANE, false },
	{ KIND_UNIX, KIND_LANE, true },
	{ KIND_TCP, KIND_LANE_TLS, true },
};

static const struct auth_secret secret = { .bytes = "not a secret" };

bool
kind_is_tls(enum kind kind)
{
	return kind == KIND_TLS_TCP || kind == KIND_TLS_UNIX;
}

bool
kind_has_reset(enum kind kind)
{
	return kind != KIND_UNIX;
}

double
world_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint8_t
sequence(uint64_t seed, uint64_t at)
{
	return (uint8_t)((seed + at) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static int
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* --- sockets --------------------------------------------------------------- */

static void
tcp_pair(int fds[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof sin;
	int listener = socket(AF_INET, SOCK_STREAM, 0), size = BUFFER;

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sin, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&sin, &len);
	ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&sin, len), 0);
	fds[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
}

static void
socket_pair(enum kind kind, int fds[2])
{
	int i, size = BUFFER;

	if (kind != KIND_UNIX && kind != KIND_TLS_UNIX)
		tcp_pair(fds);
	else
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	for (i = 0; i < 2; i++) {
		net_setup(fds[i]); /* as they are everywhere */
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
	}
}

static bool
lookup(const char *name, struct auth_secret *out, void *arg)
{
	(void)arg;
	*out = secret;
	return strcmp(name, "far") == 0;
}

/* Both ends of the connection are lanes; the streams are a channel of them. */
static struct stream *
stream_of_lane(struct world *w, struct stream *near, struct end *end)
{
	struct stream *far = stream_new_tls(end->fd, end->ssl), *stream;

	end->fd = -1;
	end->ssl = NULL;
	lane_pair_open(&w->lanes, w->loop, w->pipes, near, far);
	lane_pair_connect(&w->lanes, 0, &stream, &end->stream);
	return stream;
}

/* The stream at fd, whose other end is at end->fd. */
static struct stream *
stream_for(struct world *w, enum kind kind, int fd, struct end *end)
{
	enum tls_result here = TLS_AGAIN, there = TLS_AGAIN;
	const char *why = NULL;
	SSL *ssl;
	int i;

	if (kind == KIND_LANE)
		return stream_of_lane(w, stream_new(fd), end);
	if (!kind_is_tls(kind) && kind != KIND_LANE_TLS)
		return stream_new(fd);
	ssl = tls_accept(w->tls, fd);
	end->ssl = tls_connect(w->tls, end->fd, "far", &secret);
	for (i = 0; i < 1000 && (here == TLS_AGAIN || there == TLS_AGAIN);
	     i++) {
		if (there == TLS_AGAIN)
			there = tls_handshake(end->ssl, &why);
		if (here == TLS_AGAIN)
			here = tls_handshake(ssl, &why);
	}
	ck_assert_msg(here == TLS_DONE && there == TLS_DONE, "%s", why);
	if (kind == KIND_LANE_TLS)
		return stream_of_lane(w, stream_new_tls(fd, ssl), end);
	return stream_new_tls(fd, ssl);
}

/* --- the ends -------------------------------------------------------------- */

bool
end_over(const struct end *end)
{
	return end->eof || end->reset;
}

void
end_close(struct end *end)
{
	stream_free(end->stream);
	end->stream = NULL;
	tls_session_free(end->ssl);
	end->ssl = NULL;
	if (end->fd != -1)
		close(end->fd);
	end->fd = -1;
}

void
end_reset(struct end *end)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (end->stream != NULL)
		stream_abort(end->stream);
	setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	end_close(end);
}

int
end_unread(const struct end *end)
{
	const uint8_t *data;
	size_t len;
	int n = 0;

	if (end->stream != NULL)
		return stream_peek(end->stream, &data, &len) == STREAM_OK;
	ioctl(end->fd, FIONREAD, &n);
	return n;
}

uint8_t *
end_early(struct end *end, size_t len)
{
	uint8_t *data = malloc(len);

	for (size_t i = 0; i < len; i++)
		data[i] = sequence(end->seed, end->sent++);
	end->limit = end->sent;
	return data;
}

static bool
end_send(struct end *end)
{
	static uint8_t data[CHUNK];
	size_t i, len = sizeof data, put = 0;
	ssize_t n;

	if (end->sent == end->limit) {
		if (!end->fin || end->fin_sent)
			return false;
		end->fin_sent = true;
		if (end->stream != NULL)
			stream_shutdown(end->stream);
		else if (end->ssl != NULL)
			SSL_shutdown(end->ssl);
		else
			shutdown(end->fd, SHUT_WR);
		return true;
	}
	if (len > end->limit - end->sent)
		len = (size_t)(end->limit - end->sent);
	for (i = 0; i < len; i++)
		data[i] = sequence(end->seed, end->sent + i);
	if (end->stream != NULL) {
		end->failed |= stream_write(end->stream, data, len, &put) >
		    STREAM_AGAIN;
	} else if (end->ssl != NULL) {
		ERR_clear_error();
		SSL_write_ex(end->ssl, data, len, &put);
	} else {
		n = send(end->fd, data, len, MSG_NOSIGNAL);
		put = n > 0 ? (size_t)n : 0;
		/* The error is told once; reading then says EOF. */
		end->failed |= n < 0 && errno != EAGAIN;
	}
	end->sent += put;
	return put > 0;
}

static ssize_t
end_recv_tls(struct end *end, uint8_t *data, size_t len)
{
	size_t got;
	int code;

	ERR_clear_error();
	code = SSL_read_ex(end->ssl, data, len, &got);
	if (code == 1)
		return (ssize_t)got;
	code = SSL_get_error(end->ssl, code);
	ERR_clear_error();
	errno = code == SSL_ERROR_WANT_READ ? EAGAIN : ECONNRESET;
	return code == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t
end_recv_stream(struct end *end, uint8_t *data, size_t len)
{
	enum stream_status status;
	size_t got;

	status = stream_read(end->stream, data, len, &got);
	if (status == STREAM_OK)
		return (ssize_t)got;
	errno = status == STREAM_AGAIN ? EAGAIN : ECONNRESET;
	return status == STREAM_EOF ? 0 : -1;
}

static bool
end_recv(struct end *end)
{
	static uint8_t data[CHUNK];
	ssize_t i, n;

	if (end->deaf || end_over(end))
		return false;
	if (end->stream != NULL)
		n = end_recv_stream(end, data, sizeof data);
	else if (end->ssl != NULL)
		n = end_recv_tls(end, data, sizeof data);
	else
		n = recv(end->fd, data, sizeof data, 0);
	if (n < 0 && errno == EAGAIN)
		return false;
	end->eof = n == 0 && !end->failed;
	end->reset = n < 0 || (n == 0 && end->failed);
	for (i = 0; i < n; i++)
		if (data[i] != sequence(end->other_seed, end->got++))
			ck_abort_msg("byte %llu is wrong",
			    (unsigned long long)end->got - 1);
	return true;
}

/* --- the world ------------------------------------------------------------- */

static void
world_done(enum reason reason, enum ending_side side, void *arg)
{
	struct world *w = arg;

	ck_assert_msg(w->relay != NULL, "done before relay_new returned");
	ck_assert_msg(!w->done, "done twice");
	w->done = true;
	w->reason = reason;
	w->side = side;
	relay_get_counters(w->relay, &w->counters);
	if (w->keep)
		return;
	relay_free(w->relay);
	w->relay = NULL;
}

void
world_open(struct world *w, const struct setting *setting)
{
	int outside[2], channel[2];

	memset(w, 0, sizeof *w);
	signal(SIGPIPE, SIG_IGN); /* as main does */
	w->fds = count_fds();
	w->setting = *setting;
	w->loop = loop_new();
	w->pipes = pipe_pool_new();
	w->tls = tls_new(lookup, NULL);
	ck_assert(w->loop != NULL && w->pipes != NULL && w->tls != NULL);
	if (!setting->pipes)
		for (int i = 0; i < PIPE_MAX; i++)
			w->taken[i] = pipe_take(w->pipes);
	socket_pair(setting->outside, outside);
	socket_pair(setting->channel, channel);
	w->user = (struct end){ .fd = outside[0],
		.seed = 1,
		.other_seed = 1000000007 };
	w->far = (struct end){ .fd = channel[0],
		.seed = 1000000007,
		.other_seed = 1 };
	w->params = (struct relay_params){ .loop = w->loop,
		.pipes = w->pipes,
		.outside = stream_for(w, setting->outside, outside[1],
		    &w->user),
		.channel = stream_for(w, setting->channel, channel[1], &w->far),
		.done = world_done,
		.arg = w };
}

void
world_begin(struct world *w)
{
	w->relay = relay_new(&w->params);
	ck_assert_ptr_nonnull(w->relay);
}

void
world_close(struct world *w)
{
	relay_free(w->relay);
	end_close(&w->user);
	end_close(&w->far);
	if (w->lanes.loop != NULL)
		lane_pair_close(&w->lanes);
	for (int i = 0; i < PIPE_MAX; i++)
		if (w->taken[i] != NULL)
			pipe_give(w->pipes, w->taken[i], 0);
	pipe_pool_free(w->pipes);
	tls_free(w->tls);
	loop_free(w->loop);
	ck_assert_int_eq(count_fds(), w->fds);
}

void
world_turn(struct world *w)
{
	bool moved = false;

	if (w->user.fd != -1) {
		moved |= end_send(&w->user);
		moved |= end_recv(&w->user);
	}
	if (w->far.fd != -1 || w->far.stream != NULL) {
		moved |= end_send(&w->far);
		moved |= end_recv(&w->far);
	}
	w->progress = moved;
	event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
}

void
world_quiet(struct world *w)
{
	int turns;

	for (turns = 0; turns < 200; turns++) {
		world_turn(w);
		if (w->progress)
			turns = 0;
	}
}

struct end *
world_end(struct world *w, enum ending_side side)
{
	return side == ENDING_OUTSIDE ? &w->user : &w->far;
}

enum kind
world_kind(const struct world *w, enum ending_side side)
{
	return side == ENDING_OUTSIDE ? w->setting.outside : w->setting.channel;
}

void
world_finish(struct world *w)
{
	w->user.fin = w->far.fin = true;
	w->user.deaf = w->far.deaf = false;
	UNTIL(w, w->done && w->user.eof && w->far.eof);
	ck_assert_str_eq(reason_name(w->reason), "closed");
	ck_assert_uint_eq(w->far.got, w->user.sent);
	ck_assert_uint_eq(w->user.got, w->far.sent);
	world_close(w);
}

void
ck_done(struct world *w, enum reason reason, enum ending_side side)
{
	UNTIL(w, w->done);
	ck_assert_str_eq(reason_name(w->reason), reason_name(reason));
	ck_assert_int_eq(w->side, side);
}

void
ck_was_reset(struct world *w, enum ending_side side)
{
	const struct end *end = world_end(w, side);

	UNTIL(w, end_over(end));
	if (kind_has_reset(world_kind(w, side)))
		ck_assert_msg(end->reset, "EOF instead of a reset");
}
