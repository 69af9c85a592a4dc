# SPDX-License-Identifier: ISC
"""Options of lanes: how many, which mode, how large a window; changed while
sessions are open, and over a path with a delay."""

import contextlib
import threading
import time

import pytest

from harness import FACTOR, SLOW, forward, reverse, wait_until
from middle import Proxy
from reloads import apply
from services import (Pump, ask, connect, join, read_exactly, round_trip,
                      send_pattern, take_pattern)

MIB = 1 << 20


def lanes(d, state="up"):
    return [lane for lane in d.peer()["lanes"] if lane["state"] == state]


def wait_lanes(p, count):
    for d in p.both():
        wait_until(lambda d=d: len(lanes(d)) == count, 10,
                   "%d lanes at %s" % (count, d.name))


# --- lanes -------------------------------------------------------------------

@pytest.mark.parametrize("kind", [reverse, forward])
@pytest.mark.parametrize("count", [1, 16])
def test_so_many_lanes(pair, security, echo, kind, count):
    """Whoever dials, it is the entry's `lanes` that counts."""
    p = pair(security, [kind("web", echo.address, entry={"mode": "mux"})])
    entry = p.end("web", "entry")
    entry.config["peers"][0]["lanes"] = count
    apply(entry)
    wait_lanes(p, count)
    users = [connect(p.entry("web")) for _ in range(2 * count)]
    for user in users:
        ask(user)
    for d in p.both():
        assert [lane["sessions"] for lane in lanes(d)] == [2] * count
    for user in users:
        user.close()
    for d in p.both():
        d.wait_sessions(0)


def test_the_larger_need_of_both_ends(pair, security, echo):
    p = pair(security, [
        reverse("in", echo.address, entry={"mode": "mux"}),
        forward("out", echo.address, entry={"mode": "mux"})],
        edge_peer={"lanes": 3}, home_peer={"lanes": 5})
    wait_lanes(p, 5)
    p.home.config["peers"][0]["lanes"] = 1
    apply(p.home)
    wait_lanes(p, 3)
    p.edge.config["peers"][0]["lanes"] = 2
    apply(p.edge)
    wait_lanes(p, 2)
    for name in ("in", "out"):
        round_trip(p.entry(name))


@pytest.mark.parametrize("kind", [reverse, forward])
def test_lanes_come_and_go_under_sessions(pair, security, echo, kind):
    """Those that are too many take no session any more, and go with their
    last; the link is not touched, and no session is."""
    p = pair(security, [kind("web", echo.address, entry={"mode": "mux"})])
    entry = p.end("web", "entry")
    since = [d.peer()["since"] for d in p.both()]
    users = []
    for count in (6, 1, 16, 2):
        users += [connect(p.entry("web")) for _ in range(8)]
        for user in users:
            ask(user)
        entry.config["peers"][0]["lanes"] = count
        apply(entry)
        wait_lanes(p, count)
        for user in users:
            ask(user, b"still here")
    for d in p.both():
        # Those without one are gone.
        wait_until(lambda d=d: all(lane["sessions"]
                                   for lane in lanes(d, "draining")), 10,
                   "idle lanes to go")
        assert lanes(d, "draining")
    for user in users:
        user.close()
    for d in p.both():
        d.wait_sessions(0)
        wait_until(lambda d=d: not lanes(d, "draining"), 10,
                   "old lanes to go")
        assert {row["close_reason"] for row in d.closed(32)} == {"closed"}
        assert "lane lost" not in d.log()
    assert [d.peer()["since"] for d in p.both()] == since


@pytest.fixture
def held_up(pair_of, closing):
    """A pair whose wires can be stopped: p.stop(wire) returns what ends
    it; towards the home."""
    def make(security, tunnels, **kw):
        stopped = {}

        def tamper(wire, way, data):
            wire.passed[way] += len(data)
            if way == 1 and wire in stopped:
                stopped[wire].wait(60)
            return data

        def stop(wire):
            stopped[wire] = threading.Event()
            return stopped[wire]
        p = pair_of(security, tunnels, **kw)
        p.edge.start()
        p.proxy = closing(Proxy(p.edge.gateway(), tamper=tamper,
                                rcvbuf=32768))
        p.stop = stop
        p.point_home(p.proxy.address)
        p.home.start()
        p.wait_up()
        return p
    return make


def test_new_sessions_avoid_a_busy_lane(held_up, security, listener, echo):
    """A session begins on the lane that has the least to send, and one on a
    lane that stands still goes on where it was."""
    p = held_up(security, [
        reverse("bulk", listener.address, entry={"mode": "mux"}),
        reverse("web", echo.address, entry={"mode": "mux"})])
    wait_lanes(p, 2)
    user, service = join(p, listener, "bulk")
    sender = Pump(send_pattern, user, 64 * MIB)
    read_exactly(service, 1 * MIB)
    lane = max(p.proxy.wires[1:], key=lambda wire: wire.passed[1])
    free = p.stop(lane)

    def same(seen=[]):
        seen.append(lane.passed[1])
        return len(seen) > 2 and seen[-1] == seen[-3]
    wait_until(same, 10, "the lane to stand still", 0.1)
    taker = Pump(take_pattern, service)
    others = [connect(p.entry("web")) for _ in range(10)]
    for other in others:
        ask(other)
    assert sorted(row["sessions"] for row in lanes(p.edge)) == [1, 10]
    free.set()
    sender.result()
    assert taker.result()[0] == 63 * MIB
    for sock in others + [user, service]:
        sock.close()


def test_all_lanes_are_lost(held_up, security, echo):
    """And the link is not: they are dialled anew, and who comes meanwhile
    waits for one."""
    p = held_up(security, [reverse("web", echo.address,
                                   entry={"mode": "mux"})])
    wait_lanes(p, 2)
    users = [connect(p.entry("web")) for _ in range(4)]
    for user in users:
        ask(user)
    for wire in p.proxy.wires[1:]:
        wire.shut()
    for d in p.both():
        assert [row["close_reason"] for row in d.closed(4)] == \
            ["link_lost"] * 4
    for user in users:
        user.close()
    round_trip(p.entry("web"))
    wait_lanes(p, 2)


# --- modes -------------------------------------------------------------------

@pytest.mark.parametrize("whose", ["tunnel", "peer"])
@pytest.mark.parametrize("kind", [reverse, forward])
def test_the_mode_changes(pair, security, listener, kind, whose):
    """Old sessions stay what they were, new ones are what the entry says now;
    lanes are there only while they are of use."""
    p = pair(security, [kind("web", listener.address)],
             link={"mode": "direct"})
    entry = p.end("web", "entry")
    since = [d.peer()["since"] for d in p.both()]
    said = entry.config["tunnels" if whose == "tunnel" else "peers"][0]
    open_ones = []
    for mode in ("direct", "mux", "direct", "mux"):
        said["mode"] = mode
        apply(entry)
        open_ones.append((mode, *join(p, listener)))
        for turn, (_, user, service) in enumerate(open_ones):
            user.sendall(b"%d" % turn)
            assert read_exactly(service, 1) == b"%d" % turn
            service.sendall(b"%d" % turn)
            assert read_exactly(user, 1) == b"%d" % turn
        for d in p.both():
            rows = sorted(d.wait_sessions(len(open_ones)),
                          key=lambda row: row["opened_at"])
            assert [row["mode"] for row in rows] == \
                [one[0] for one in open_ones]
            assert bool(lanes(d)) == (mode == "mux")
    said["mode"] = "direct"
    apply(entry)
    for _, user, service in open_ones:
        user.close()
        service.close()
    for d in p.both():
        d.wait_sessions(0)
        wait_until(lambda d=d: d.peer()["lanes"] == [], 10, "lanes to go")
    assert [d.peer()["since"] for d in p.both()] == since


# --- windows -----------------------------------------------------------------

@pytest.fixture
def far(pair_of, closing):
    """A pair whose path takes 25 ms each way."""
    def make(security, tunnels, **kw):
        p = pair_of(security, tunnels, **kw)
        p.edge.start()
        p.point_home(closing(Proxy(p.edge.gateway(), delay=0.025)).address)
        p.home.start()
        p.wait_up()
        return p
    return make


def fetch(p, listener, size):
    """How long the service's bytes take."""
    user, service = join(p, listener)
    with user, service:
        began = time.monotonic()
        sender = Pump(send_pattern, service, size)
        assert take_pattern(user) == (size, sender.result())
        return time.monotonic() - began


def soonest(tries, body):
    """The least of a few, since a busy machine takes its time."""
    took = []
    for _ in range(tries):
        began = time.monotonic()
        body()
        took.append(time.monotonic() - began)
    return min(took)


@pytest.mark.both_modes
@pytest.mark.parametrize("kind", [reverse, forward])
def test_no_round_trip_is_lost(far, security, listener, kind):
    """A request goes right behind OPEN, and a first answer of all of the
    first window needs no more than one round trip."""
    p = far(security, [kind("web", listener.address)])
    round = 0.05
    answer = bytes(200000)

    def request():
        user = connect(p.entry("web"))
        user.sendall(b"x" * 60000)
        service = listener.accept()
        with user, service:
            read_exactly(service, 60000)
            service.sendall(answer)
            read_exactly(user, len(answer))
    request()
    took = soonest(12, request)
    assert took > round * 0.9
    assert took < round * 1.9 * FACTOR


@pytest.mark.parametrize("kind", [reverse, forward])
def test_windows_grow_with_the_path(far, security, listener, kind):
    """What a fixed window of 256 KiB takes 20 round trips a 5 MiB for goes
    far faster, unless window_max forbids; and again once it allows."""
    size = 12 * MIB
    slow = size / 262144 * 0.05

    def is_quick():
        """A machine may be busy once, or twice."""
        return any(fetch(p, listener, size) < slow * 0.6 * FACTOR
                   for _ in range(3))
    p = far(security, [kind("web", listener.address, entry={"mode": "mux"})])
    receiver = p.end("web", "entry")
    assert is_quick()
    receiver.config["peers"][0]["window_max"] = 262144
    apply(receiver)
    took = fetch(p, listener, size)
    assert took > slow * 0.8, took
    del receiver.config["peers"][0]["window_max"]
    apply(receiver)
    assert is_quick()


def test_a_window_that_has_grown_is_a_bound(far, security, listener):
    """Who reads quickly at first and then not at all holds no more than
    window_max, and the others have their turn."""
    window = 2 * MIB
    p = far(security, [reverse("web", listener.address,
                               entry={"mode": "mux"})],
            link={"lanes": 1, "window_max": window})
    user = connect(p.entry("web"), rcvbuf=65536)
    service = listener.accept()
    with user, service:
        sender = Pump(send_pattern, service, 16 * MIB, False)
        assert take_pattern(user, 16 * MIB) == (16 * MIB, sender.result())
        before = p.edge.rss_kib()
        sent = stall(service, 16 * MIB)
        # More than it began with: it has grown. The rest are the buffers of
        # the kernel.
        assert 2 * 262144 < sent
        assert SLOW or p.edge.rss_kib() - before < window // 1024 + 8192
        other, far_end = join(p, listener)
        with other, far_end:
            began = time.monotonic()
            far_end.sendall(b"x" * 1000)
            assert read_exactly(other, 1000) == b"x" * 1000
            assert time.monotonic() - began < 5 * FACTOR
        assert take_pattern(user, sent)[0] == sent


def stall(sock, limit):
    """Sends until nothing has been taken for a second."""
    sock.settimeout(1.0 * FACTOR)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < limit:
            sent += sock.send(bytes(65536))
    assert sent < limit
    return sent
