# SPDX-License-Identifier: ISC
"""Lanes with very many sessions, with readers who stop, and with both."""

import contextlib
import random
import socket
import struct
import sys
import threading
import time

import pytest

import harness
from crowd import Swarm
from harness import SLOW, forward, reverse, spawn, wait_until
from services import (Flood, Pump, Service, ask, connect, is_alive, join,
                      kernel_buffers, read_exactly, reset, send_pattern,
                      take_pattern)

MIB = 1 << 20
MUX = {"mode": "mux"}


def mib(d):
    return d.rss_kib() / 1024


# --- one that does not read --------------------------------------------------

@pytest.mark.parametrize("kind", [reverse, forward])
def test_a_stalled_reader_among_a_thousand(pair, security, echo, listener,
                                           kind):
    """His window has grown before he stops: he holds no more than that, and
    a thousand others, on the same lane, go on."""
    window = 2 * MIB
    p = pair(security, [kind("slow", listener.address, entry=MUX),
                        kind("busy", echo.address, entry=MUX)],
             link={"lanes": 1, "window_max": window})
    swarm = Swarm(p.entry("busy"), 1000)
    user = connect(p.entry("slow"), rcvbuf=65536)
    service = listener.accept()
    # What the daemon's own sockets hold is theirs, not the window's.
    service.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    try:
        swarm.exchange(2000)
        sender = Pump(send_pattern, service, 32 * MIB, False)
        taken = take_pattern(user, 32 * MIB)
        assert taken == (32 * MIB, sender.result())
        before = {d: mib(d) for d in p.both()}
        flood = Flood(service)
        held = flood.wait_stalled(quiet=0.5)
        # The daemons' sockets to him and to his service, and the window.
        assert held < window + kernel_buffers(1) + MIB
        began = time.monotonic()
        for _ in range(3):
            swarm.exchange(2000)
        took = time.monotonic() - began
        assert took < 10.0 * harness.FACTOR
        assert is_alive(user) and flood.sent - held < 4 * MIB
        for d in p.both():
            # A sanitizer keeps what was freed.
            assert SLOW or mib(d) - before[d] < window / MIB + 12, d.name
        # And he loses nothing, should he go on.
        got, _ = take_pattern(user, held)
        assert got == held
        reset(user)
        assert flood.was_reset() or flood.error
        swarm.exchange(500, end=True)
    finally:
        for sock in (user, service, swarm):
            sock.close()
    for d in p.both():
        d.wait_sessions(0, 30)


def test_both_ways_and_one_way_stalls(pair, security, listener):
    """Who does not read may still send, for ever."""
    p = pair(security, [reverse("web", listener.address, entry=MUX)],
             link={"lanes": 1})
    user, service = join(p, listener)
    with user, service:
        flood = Flood(service)
        flood.wait_stalled(quiet=0.5)
        sender = Pump(send_pattern, user, 48 * MIB, False)
        assert take_pattern(service, 48 * MIB) == (48 * MIB, sender.result())
        reset(user)
        flood.was_reset()


def wait_quiet(floods):
    """Until none of them gets on."""
    seen = []

    def quiet():
        seen.append([flood.sent for flood in floods])
        return len(seen) > 2 and seen[-1] == seen[-3]
    wait_until(quiet, 30, "floods to stop", 0.3)


class Stream(threading.Thread):
    """Sends a stream of its own for as long as it can; check(sock) reads what
    came of it."""

    BLOCK = 16384

    def __init__(self, sock, number):
        super().__init__(daemon=True)
        self.sock = sock
        self.number = number
        self.sent = 0
        self.error = None
        self.start()

    def block(self, index):
        return struct.pack(">QQ", self.number, index) * (self.BLOCK // 16)

    def run(self):
        try:
            while True:
                left = self.block(self.sent // self.BLOCK)
                left = left[self.sent % self.BLOCK:]
                self.sent += self.sock.send(left)
        except OSError as error:
            self.error = error

    def check(self, sock, limit=None):
        """Up to the end, or so many: (how many, "end" or "reset" or None)."""
        got = 0
        while limit is None or got < limit:
            try:
                data = sock.recv(self.BLOCK - got % self.BLOCK)
            except ConnectionResetError:
                return got, "reset"
            except TimeoutError:
                raise AssertionError(
                    "stream %d stands still after %d bytes of %d" %
                    (self.number, got, self.sent))
            if not data:
                return got, "end"
            block = self.block(got // self.BLOCK)
            place = got % self.BLOCK
            assert data == block[place:place + len(data)], \
                "stream %d: wrong bytes at %d" % (self.number, got)
            got += len(data)
        return got, None


# --- memory -------------------------------------------------------------------

@pytest.mark.parametrize("kind", [reverse, forward])
def test_link_memory_is_a_bound(pair, security, echo, listener, kind):
    """Very many readers stop, more than the link may keep for: those that
    keep most are reset, and said to be; the others live, and the daemon has
    not grown."""
    bound = 4 * MIB
    p = pair(security, [kind("slow", listener.address, entry=MUX),
                        kind("busy", echo.address, entry=MUX)],
             link={"lanes": 2, "link_memory": bound})
    keeper = p.end("slow", "entry")     # users do not read what comes
    others = [connect(p.entry("busy")) for _ in range(20)]
    for sock in others:
        ask(sock)
    users, services, floods = [], [], []
    before = mib(keeper)
    try:
        for index in range(60):
            users.append(connect(p.entry("slow"), rcvbuf=65536))
            services.append(listener.accept())
            floods.append(Stream(services[-1], index))
        wait_until(lambda: "link_memory is used up" in keeper.log(), 20,
                   "the bound to be reached")
        wait_quiet(floods)
        for sock in others:
            ask(sock, b"x" * 5000)
        dead = [flood for flood in floods if flood.error]
        assert 1 <= len(dead) < 60, len(dead)
        # A sanitizer keeps what was freed.
        assert SLOW or mib(keeper) - before < bound / MIB + 12
        assert len(keeper.peer()["lanes"]) == 2 and keeper.is_up()
        # Who is told at one end is told at the other.
        for d in p.both():
            d.wait_sessions(80 - sum(1 for f in floods if f.error), 10)
        # Whatever came before a reset came in order; and the others' all.
        for user, flood in zip(users, floods):
            got, ending = flood.check(user, None if flood.error else 6 * MIB)
            assert ending == ("reset" if flood.error else None), got
        for d in p.both():
            assert "lane lost" not in d.log()
    finally:
        for sock in users + services + others:
            sock.close()
    for d in p.both():
        d.wait_sessions(0, 30)


# --- many, and numbers used again ---------------------------------------------

ECHO = """
import sys
from services import Echo
from harness import wait_until
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
echo = Echo()
print(echo.address, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def far_echo():
    """An echo in a process of its own, since descriptors are counted by
    process."""
    process = spawn([sys.executable, "-c", ECHO], stdin=-1, stdout=-1,
                    text=True, cwd=harness.ROOT + "/tests/system")
    yield process.stdout.readline().strip()
    harness.end_process(process)
    process.stdin.close()
    process.stdout.close()


@pytest.mark.bound(180)
def test_ten_thousand_sessions(pair, security, far_echo):
    """At once, over two lanes, each with its own bytes; then all of them end,
    and their numbers are used again."""
    count = 2000 if SLOW else 10000
    p = pair(security, [reverse("web", far_echo, entry=MUX)],
             link={"lanes": 2, "max_channels": count})
    base = {d: d.fds() for d in p.both()}
    # A backlog holds 4,096.
    swarms = []
    try:
        for _ in range(0, count, 2000):
            swarms.append(Swarm(p.entry("web"), 2000))
            swarms[-1].exchange(100)
        for d in p.both():
            status = d.status()["daemon"]
            assert status["sessions"] == count
            # One descriptor for each, and no more.
            assert d.fds() - base[d] <= count + 20
            assert sum(lane["sessions"] for lane in d.peer()["lanes"]) == \
                count
        for swarm in swarms:
            swarm.exchange(1000, end=True)
    finally:
        for swarm in swarms:
            swarm.close()
    for d in p.both():
        wait_until(lambda d=d: d.status()["daemon"]["sessions"] == 0, 30,
                   "all to end")
        assert d.fds() - base[d] <= 20
        assert [lane["sessions"] for lane in d.peer()["lanes"]] == [0, 0]
    with connect(p.entry("web")) as user:
        ask(user)


def churn(p, seed, turns, done):
    """Sessions that begin and end in all the ways there are; those that are
    let to their end get every byte."""
    rng = random.Random(seed)
    for turn in range(turns):
        size = rng.choice([0, 1, 300, 5000, 70000, 400000])
        user = connect(p.entry(rng.choice(["in", "out"])))
        with user:
            how = rng.randrange(8)
            salt = seed * 100000 + turn
            sender = Pump(send_pattern, user, size, True, salt)
            if how == 0:
                reset(user)
            elif how == 1:
                user.close()
            elif how == 2:
                with contextlib.suppress(OSError):
                    user.recv(10)
                reset(user)
            else:
                assert take_pattern(user) == (size, sender.result())
                done.append(1)
                continue
            with contextlib.suppress(OSError):
                sender.result()


@pytest.mark.bound(180)
def test_numbers_are_used_again(pair, security, echo):
    """Sessions that come and go at both ends, some cut off by either, on two
    lanes: no byte ever meets another session."""
    turns = 30 if SLOW else 120
    p = pair(security, [reverse("in", echo.address, entry=MUX),
                        forward("out", echo.address, entry=MUX)],
             link={"lanes": 2})
    since = {d: d.peer()["since"] for d in p.both()}
    done = []
    pumps = [Pump(churn, p, seed, turns, done) for seed in range(8)]
    while any(pump.is_alive() for pump in pumps):
        assert not any(pump.error for pump in pumps), \
            [pump.error for pump in pumps]
        time.sleep(0.02)
    for pump in pumps:
        pump.result()
    assert len(done) > 8 * turns / 3
    for d in p.both():
        d.wait_sessions(0, 20)
        assert [(lane["state"], lane["sessions"])
                for lane in d.peer()["lanes"]] == [("up", 0)] * 2
        assert "lane lost" not in d.log()
        # It was one and the same link.
        assert d.peer()["since"] == since[d]
