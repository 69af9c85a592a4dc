# SPDX-License-Identifier: ISC
"""Mode mux: who uses which mode, lanes that are lost, and old ends."""

import time

import pytest

from harness import reverse, forward, wait_until
from middle import Proxy
from services import ask, connect, expect_reset


def lanes(d):
    return [lane for lane in d.peer()["lanes"] if lane["state"] == "up"]


@pytest.mark.both_modes
def test_the_entry_decides(pair, security, mode, echo):
    """Session by session, and the exit serves both."""
    p = pair(security, [
        reverse("peers", echo.address),
        reverse("mux", echo.address, entry={"mode": "mux"}),
        forward("direct", echo.address, entry={"mode": "direct"})])
    wanted = {"peers": mode, "mux": "mux", "direct": "direct"}
    users = [connect(p.entry(name)) for name in wanted]
    for user in users:
        ask(user)
    for d in p.both():
        rows = d.wait_sessions(3)
        assert {r["tunnel"]: r["mode"] for r in rows} == wanted
    for user in users:
        user.close()
    for d in p.both():
        d.wait_sessions(0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_lanes_are_shared_out(pair, security, echo, count):
    p = pair(security, [reverse("web", echo.address, entry={"mode": "mux"})],
             link={"lanes": count})
    for d in p.both():
        wait_until(lambda d=d: len(lanes(d)) == count, 10, "lanes")
    users = [connect(p.entry("web")) for _ in range(10)]
    for user in users:
        ask(user)
    sessions = [lane["sessions"] for lane in lanes(p.edge)]
    assert sorted(sessions) == [10 // count] * count
    for user in users:
        user.close()


@pytest.fixture
def proxied(pair_of, closing):
    def make(security, tunnels, **kw):
        p = pair_of(security, tunnels, **kw)
        p.edge.start()
        p.proxy = closing(Proxy(p.edge.gateway()))
        p.point_home(p.proxy.address)
        p.home.start()
        p.wait_up()
        return p
    return make


def test_a_lost_lane_costs_its_own_sessions(proxied, security, echo):
    p = proxied(security, [reverse("web", echo.address,
                                   entry={"mode": "mux"})],
                link={"lanes": 2, "pool": 0})
    for d in p.both():
        wait_until(lambda d=d: len(lanes(d)) == 2, 10, "two lanes")
    users = [connect(p.entry("web")) for _ in range(6)]
    for user in users:
        ask(user)
    since = p.edge.peer()["since"]
    p.proxy.wires[1].shut()
    for d in p.both():
        rows = d.closed(3)
        assert {r["close_reason"] for r in rows} == {"link_lost"}
        assert len(rows) == 3 and len(d.wait_sessions(3)) == 3
    alive = 0
    for user in users:
        try:
            ask(user)
            alive += 1
        except OSError:
            pass
    assert alive == 3
    for d in p.both():
        wait_until(lambda d=d: len(lanes(d)) == 2, 10, "another lane")
    assert p.edge.peer()["since"] == since
    with connect(p.entry("web")) as user:
        ask(user)
    for user in users:
        user.close()


def test_a_killed_peer_loses_its_sessions(pair, security, echo):
    p = pair(security, [reverse("web", echo.address,
                                entry={"mode": "mux"})])
    with connect(p.entry("web")) as user:
        ask(user)
        p.home.kill()
        expect_reset(user)
    assert p.edge.closed(1)[0]["close_reason"] == "link_lost"


def test_disconnect_carries_them_to_their_end(pair, security, echo):
    """GOAWAY: the old sessions go on beside the new link."""
    p = pair(security, [reverse("web", echo.address, entry={"mode": "mux"}),
                        forward("out", echo.address,
                                entry={"mode": "mux"})])
    users = [connect(p.entry(name)) for name in ("web", "out")]
    for user in users:
        ask(user)
    for turn in range(3):
        ups = p.edge.peer()["reconnects"]
        p.edge.admin("disconnect", peer="home")
        wait_until(lambda: p.edge.peer()["reconnects"] > ups, 10, "the link")
        p.wait_up()
        for user in users:
            ask(user)
        with connect(p.entry("web")) as new:
            ask(new)
    for d in p.both():
        assert len([x for x in d.peer()["lanes"]
                    if x["state"] == "draining" and x["sessions"]]) >= 1
    for user in users:
        user.close()
    for d in p.both():
        wait_until(lambda d=d: all(x["state"] == "up"
                                   for x in d.peer()["lanes"]), 10,
                   "old lanes to go")
        assert {r["close_reason"] for r in d.closed(2)} == {"closed"}


def test_a_stalled_user_holds_up_nobody(pair, security, listener):
    p = pair(security, [reverse("web", listener.address,
                                entry={"mode": "mux"})], link={"lanes": 1})
    stalled = connect(p.entry("web"))
    source = listener.accept()
    source.setblocking(False)
    sent, until = 0, time.monotonic() + 2
    while time.monotonic() < until:
        try:
            sent += source.send(bytes(1 << 16))
            until = max(until, time.monotonic() + 0.3)
        except BlockingIOError:
            time.sleep(0.01)
    assert sent > 1 << 18
    for _ in range(20):
        with connect(p.entry("web")) as user, listener.accept() as service:
            user.sendall(b"x" * 100000)
            got = 0
            while got < 100000:
                got += len(service.recv(65536))
            service.sendall(b"done")
            assert user.recv(4) == b"done"
    stalled.close()
    source.close()
