# SPDX-License-Identifier: ISC
"""The HTTP server of the metrics: requests of every kind, and that no client
holds the daemon or another client up."""

import contextlib
import os
import socket
import time

import pytest

import services
from crowd import Swarm
from harness import FACTOR, wait_until
from scrape import ASK, Answer, Scrape, alone, http, thousand_peers, where
from services import connect

CLIENTS_MAX = 32        # METRICS_CLIENTS_MAX
LIFE = 30               # seconds, of a connection


# --- HTTP -----------------------------------------------------------------

def test_head(daemon):
    d = alone(daemon)
    for path in ("/metrics", "/healthz", "/no"):
        got, head = http(d, path), http(d, path, "HEAD")
        assert head.body == b"" and head.status == got.status
        assert head.fields["content-type"] == got.fields["content-type"]
        assert int(got.fields["content-length"]) == len(got.body)
        assert int(head.fields["content-length"]) == pytest.approx(
            len(got.body), abs=64)
    assert http(d).fields["content-type"] == \
        "text/plain; version=0.0.4; charset=utf-8"


def test_paths_and_methods(daemon):
    d = alone(daemon)
    for path in ("/", "/metrics/", "/metrics/x", "/METRICS", "/healthz/../x",
                 "/%00", "//metrics", "/admin"):
        assert http(d, path).status == 404, path
    for path in ("/metrics?a=b&c", "http://x/metrics", "/%6detrics"):
        assert http(d, path).status == 200, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        got = http(d, method=method, fields="Content-Length: 0\r\n")
        assert got.status == 405 and got.fields["allow"] == "GET, HEAD"
    for method in ("BREW", "get", "PROPFIND"):
        assert http(d, method=method).status == 501, method
    with connect(where(d)) as sock:     # libevent does not close after it
        sock.sendall(b"CONNECT x:1 HTTP/1.1\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 501 ")


def test_one_answer_a_connection(daemon):
    """Whatever it asks for, and however many requests it sends at once."""
    d = alone(daemon)
    for fields in ("", "Connection: keep-alive\r\n", "Connection: close\r\n",
                   "Proxy-Connection: keep-alive\r\n"):
        for version in ("1.0", "1.1"):
            got = http(d, "/healthz", fields=fields, version=version)
            assert got.status == 200
            assert got.fields["connection"] == "close"
    with connect(where(d)) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n" * 3)
        assert services.read_all(sock).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("sent", [
    b"GET / " + b"x" * 20000 + b"\r\n",
    b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 4000 + b"\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" +
    b"x" * 30000,
    b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" +
    b"1000\r\n" + b"x" * 4096 + b"\r\n",
    b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500 + b"\n",
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n", b"GET /metrics HTTP/1.1\r\nx\r\n\r\n",
    b"\0" * 9000 + b"\r\n\r\n",
    b"GET http://[::1/metrics HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nExpect: x\r\nContent-Length: 5\r\n\r\nabcde"])
def test_what_is_no_request(daemon, sent):
    """An answer that is no success, or just an end; and the next is served."""
    d = alone(daemon)
    with connect(where(d)) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(sent)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                data += piece
        if sent.startswith(b"GET /metrics HTTP/1.1\r\nExpect"):
            assert Answer(data).status in (200, 417)
        elif data:
            assert Answer(data).status >= 400, data
    assert http(d).status == 200


# --- clients that are no good -----------------------------------------------

def fds(d):
    return len(os.listdir("/proc/%d/fd" % d.pid))


def fds_at_rest(d):
    """Once the client that saw the daemon come up is gone."""
    time.sleep(0.3 * FACTOR)
    return fds(d)


def test_idle_connections_keep_nobody_out(daemon):
    """The oldest go; a scrape is served at once, time and again."""
    d = alone(daemon)
    before = fds_at_rest(d)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(where(d))) for _ in range(300)]
        for _ in range(10):
            began = time.monotonic()
            assert http(d, timeout=5).status == 200
            assert time.monotonic() - began < 4 * FACTOR
            assert fds(d) <= before + CLIENTS_MAX
        wait_until(lambda: sum(map(services.is_alive, idle)) <= CLIENTS_MAX,
                   what="the others to be ended")
        assert sum(map(services.is_alive, idle)) > 0
        # The end of the daemon waits for none of them: see the fixture.
    wait_until(lambda: fds(d) <= before, what="the descriptors to be free")


@pytest.mark.bound(150)
def test_life_of_a_connection_is_bounded(daemon):
    """Of one that is silent, one that drips, one that stops in the middle,
    one that does not take its answer and one that talks on besides."""
    d = thousand_peers(daemon)
    before = fds_at_rest(d)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        silent, dripping, stopped, deaf, talking = (
            stack.enter_context(connect(where(d), rcvbuf=4096))
            for _ in range(5))
        stopped.sendall(b"GET /metrics HTTP/1.1\r\n")
        dripping.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        deaf.sendall(ASK)
        talking.sendall(ASK)
        for sock in dripping, talking:
            sock.setblocking(False)
        # The last two cannot see that they were ended, reading nothing.
        left = {silent, dripping, stopped}
        while left and time.monotonic() - began < LIFE + 10 * FACTOR:
            time.sleep(0.5)
            with contextlib.suppress(OSError):
                talking.send(b"x" * 65536)
            if dripping in left:
                with contextlib.suppress(OSError):
                    dripping.send(b"x")
            gone = {sock for sock in left if not services.is_alive(sock)}
            assert not gone or time.monotonic() - began > LIFE - 3
            if time.monotonic() - began < LIFE - 3:
                assert fds(d) >= before + 5
            left -= gone
        assert not left
        wait_until(lambda: fds(d) <= before, what="all of them to be ended")
        assert http(d).status == 200


def test_who_talks_on_and_reads_nothing(daemon):
    """Costs no memory, and keeps no place."""
    d = thousand_peers(daemon)
    before = Scrape(d)("process_resident_memory_bytes")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(where(d), rcvbuf=4096))
                 for _ in range(CLIENTS_MAX - 1)]
        for sock in socks:
            sock.sendall(ASK)
            sock.setblocking(False)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(b"x" * 65536)
        now = Scrape(d)
        # Their answers, and those are short of what they send.
        if FACTOR == 1:     # what is freed stays resident under ASan
            assert now("process_resident_memory_bytes") < \
                before + CLIENTS_MAX * 2 * len(now.text)
        for _ in range(CLIENTS_MAX):
            stack.enter_context(connect(where(d), rcvbuf=4096)).sendall(ASK)
        assert http(d).status == 200


def test_many_scrapes_one_after_the_other(daemon):
    d = alone(daemon)
    before = fds_at_rest(d)
    for _ in range(500):
        assert http(d, "/healthz").status == 200
    wait_until(lambda: fds(d) <= before, what="the descriptors to be free")


def test_who_hangs_up_at_any_point(daemon):
    d = alone(daemon)
    request = b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789"
    for end in (services.reset, lambda sock: sock.close()):
        for length in range(0, len(request) + 1, 3):
            sock = connect(where(d))
            sock.sendall(request[:length])
            end(sock)
    assert http(d).status == 200


@pytest.mark.bound(180)
def test_out_of_descriptors(daemon, echo):
    """Nothing spins, the log says so once, and then it goes on."""
    d = alone(daemon, echo.address, nofile=64)
    with contextlib.ExitStack() as stack:
        swarm = Swarm(d.tunnel("web")["listen"], 40)
        stack.callback(swarm.close)
        time.sleep(1.0)
        for _ in range(40):
            stack.enter_context(connect(where(d)))
        wait_until(lambda: "nobody can be accepted" in d.log(),
                   what="the log to say so")
        ticks = d_cpu(d)
        time.sleep(3)
        assert d_cpu(d) - ticks < 0.5 * FACTOR
        assert d.log().count("nobody can be accepted") == 1
    wait_until(lambda: http(d).status == 200, what="a scrape")
    wait_until(lambda: "accepting again" in d.log(), what="the log")


def d_cpu(d):
    """Seconds of processor time."""
    with open("/proc/%d/stat" % d.pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
