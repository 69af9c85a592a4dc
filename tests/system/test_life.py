# SPDX-License-Identifier: ISC
"""Links that come and go, peers that die and come back, users who wait."""

import select
import signal
import socket
import time

import pytest

from harness import FACTOR, forward, free_port, reverse, wait_until
from middle import Proxy
from services import (Listener, ask, connect, expect_reset, is_alive,
                      read_all, read_exactly, refused_user, reset, round_trip)

QUICK = {"heartbeat": {"interval": 0.5, "timeout": 2.0}}
# Longer than any test: only what else the daemons know may act.
PATIENT = {"heartbeat": {"interval": 30.0, "timeout": 90.0}}


# --- a peer dies and comes back -------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["edge", "home"])
@pytest.mark.parametrize("kind", [reverse, forward])
def test_killed_peer_comes_back(pair, security, echo, who, kind):
    """Sessions are accepted again within 2 s of its return."""
    p = pair(security, [kind("web", echo.address)], link=PATIENT)
    entry = p.entry("web")
    p.edge.freeze_ports()
    p.home.freeze_ports()
    p.point_home(p.edge.gateway())
    dead, alive = (p.edge, p.home) if who == "edge" else (p.home, p.edge)
    round_trip(entry)
    for away in (0.0, 1.5):
        dead.kill()
        alive.wait_not_up(deadline=3)
        time.sleep(away)
        dead.start()
        back = time.monotonic()
        round_trip(entry)
        assert time.monotonic() - back < 5 * FACTOR
        p.wait_up()
    assert p.home.peer()["reconnects"] >= (2 if who == "edge" else 0)


def test_both_killed_and_back(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    p.edge.freeze_ports()
    p.point_home(p.edge.gateway())
    for d in p.both():
        d.kill()
    for d in p.both():
        d.start()
    round_trip(p.entry("web"))


@pytest.mark.parametrize("first", ["edge", "home"])
def test_either_start_order(pair_of, security, echo, first):
    port = free_port()
    p = pair_of(security, [reverse("web", echo.address)],
                gateway=["127.0.0.1:%d" % port])
    p.point_home("127.0.0.1:%d" % port)
    order = p.both() if first == "edge" else p.both()[::-1]
    order[0].start()
    if first == "home":
        wait_until(lambda: p.home.peer()["last_error"], 5, "a first failure")
        assert p.home.peer()["state"] in ("waiting", "dialling")
        assert p.home.peer()["last_error_at"]
    else:
        assert p.edge.peer()["state"] != "up"
        assert p.edge.tunnel("web")["state"] == "down"
    order[1].start()
    p.wait_up()
    assert p.edge.tunnel("web")["state"] == "up"
    round_trip(p.entry("web"))


def test_next_try_is_shown(pair_of, security):
    """A dialler that waits says when it tries next."""
    p = pair_of(security, link={"reconnect": {"min": 5.0, "max": 20.0}})
    p.point_home("127.0.0.1:%d" % free_port())
    p.home.start()

    def waiting():
        peer = p.home.peer()
        return peer if peer["state"] == "waiting" else None
    peer = wait_until(waiting, 15, "the peer to wait")
    assert peer["next_try_at"] > peer["since"]
    assert "refused" in peer["last_error"].lower()


# --- silence --------------------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("how", ["drop", "unplug"])
def test_silent_path_is_found_by_both(far_pair, cable, security, mode, how):
    """Packets vanish and no FIN comes: found within the heartbeat's timeout
    at both ends, and not before half of it. The session on the path outlives
    the link, which comes back, if it has a connection of its own; else it is
    lost with its lane, in the same time."""
    a, b = cable
    p = far_pair(security, link=QUICK)
    entry = p.entry("web")
    user = a.call(connect, entry)
    with user:
        ask(user)
        uid = p.edge.wait_sessions(1)[0]["uid"]
        began = time.monotonic()
        if how == "drop":
            a.drop_all("veth0")
        else:
            a.run("ip", "link", "set", "veth0", "down")
        found = {}

        def look():
            for d in p.both():
                if d not in found and not d.is_up() and \
                        (mode == "direct" or not d.sessions()):
                    found[d] = time.monotonic() - began
            return len(found) == 2
        wait_until(look, 10, "both ends to find the silence")
        for d, took in found.items():
            # The timeout, and not twice that.
            assert took < 3.9 * FACTOR, (d.name, took)
            assert took > 1.0, (d.name, took)
            assert d.peer()["last_error"]
            assert d.peer()["lanes"] == []
        if how == "drop":
            a.drop_none()
        else:
            a.run("ip", "link", "set", "veth0", "up")
        p.wait_up(20)
        if mode == "direct":
            ask(user, b"the old session is still there")
            assert [r["uid"] for r in p.edge.sessions()] == [uid]
        else:
            expect_reset(user)
            for d in p.both():
                wait_until(lambda d=d: len(d.peer()["lanes"]) == 2, 10,
                           "both lanes")
        a.call(lambda: round_trip(entry))
    for d in p.both():
        assert d.closed_one(uid)["close_reason"] == \
            ("closed" if mode == "direct" else "link_lost")


def test_silence_on_an_idle_channel_hurts_nobody(far_pair, cable, security):
    """Pooled channels of a path that went silent are not handed to the first
    user after it."""
    a, b = cable
    p = far_pair(security, link=dict(QUICK, pool=4))
    entry = p.entry("web")
    a.call(lambda: round_trip(entry))
    for _ in range(2):
        a.drop_all("veth0")
        for d in p.both():
            d.wait_not_up()
        user = a.call(connect, entry)
        user.sendall(b"early")
        p.edge.wait_sessions(1)
        a.drop_none()
        with user:
            assert read_exactly(user, 5) == b"early"
        p.wait_up(20)


# --- hold -----------------------------------------------------------------

def outage(p):
    p.home.kill()
    p.edge.wait_not_up()


@pytest.mark.both_modes
def test_user_of_an_outage_is_served_after_it(pair, security, echo):
    """He arrives during 3 s of outage, speaks at once, and is answered."""
    p = pair(security, [reverse("web", echo.address)])
    entry = p.entry("web")
    outage(p)
    began = time.monotonic()
    users = [connect(entry) for _ in range(5)]
    for index, user in enumerate(users):
        user.sendall(b"user %d" % index)
    users[4].shutdown(socket.SHUT_WR)
    assert {r["state"] for r in p.edge.wait_sessions(5)} == {"held"}
    assert p.edge.tunnel("web")["held"] == 5
    assert p.edge.tunnel("web")["state"] == "down"
    assert p.edge.status()["daemon"]["held"] == 5
    time.sleep(max(0, began + 3.0 - time.monotonic()))
    assert all(is_alive(user) for user in users)
    p.home.start()
    for index, user in enumerate(users):
        assert read_exactly(user, 6) == b"user %d" % index
    assert read_all(users[4]) == b""
    for user in users:
        user.close()
    assert {r["close_reason"] for r in p.edge.closed(5)} == {"closed"}
    assert p.edge.tunnel("web")["held"] == 0


def test_hold_of_zero_refuses_at_once(pair, security, echo):
    p = pair(security, [reverse("web", echo.address, entry={"hold": 0.0})])
    entry = p.entry("web")
    round_trip(entry)
    outage(p)
    began = time.monotonic()
    refused_user(entry)
    assert time.monotonic() - began < 5 * FACTOR
    row = p.edge.closed(2)[0]
    assert row["close_reason"] == "link_down"
    p.home.start()
    p.wait_up()
    round_trip(entry)


@pytest.mark.both_modes
def test_hold_expires(pair, security, echo):
    p = pair(security, [reverse("web", echo.address, entry={"hold": 1.0})])
    entry = p.entry("web")
    outage(p)
    began = time.monotonic()
    with connect(entry) as user:
        user.sendall(b"anybody there?")
        expect_reset(user)
    took = time.monotonic() - began
    assert 0.9 < took < 1 + 6 * FACTOR
    row = p.edge.closed()[0]
    assert row["close_reason"] == "link_down"
    assert row["down_bytes"] == 0


@pytest.mark.both_modes
def test_held_users_are_bounded(pair, security, echo):
    p = pair(security, [reverse("web", echo.address,
                                entry={"max_held": 3})])
    entry = p.entry("web")
    outage(p)
    held = []
    for _ in range(3):
        held.append(connect(entry))
        p.edge.wait_sessions(len(held))
    refused_user(entry)
    assert p.edge.tunnel("web")["held"] == 3
    assert p.edge.tunnel("web")["refused"] == 1
    reset(held.pop())           # one goes, the next may wait
    p.edge.wait_sessions(2)
    held.append(connect(entry))
    p.edge.wait_sessions(3)
    p.home.start()
    for user in held:
        ask(user)
        user.close()


def test_held_session_can_be_killed(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    entry = p.entry("web")
    outage(p)
    with connect(entry) as user:
        row, = p.edge.wait_sessions(1)
        p.edge.ctl("kill", row["id"])
        expect_reset(user)
    assert p.edge.closed_one(row["uid"])["close_reason"] == "killed"


# --- take-over ------------------------------------------------------------

def second_home(p, daemon, **kw):
    """Another daemon with the same name and secret."""
    config = p.home.config
    peer = {k: v for k, v in config["peers"][0].items()
            if k != "secret_file"}
    return daemon("home", peers=[dict(peer, secret=p.secret)],
                  tunnels=config["tunnels"], **kw)


def test_newcomer_is_refused_while_the_old_one_lives(pair, security, echo,
                                                     daemon):
    p = pair(security, [reverse("web", echo.address)], link=PATIENT)
    other = second_home(p, daemon)
    since = p.edge.peer()["since"]
    other.start()
    wait_until(lambda: other.peer()["last_error"], 10, "a refusal")
    for _ in range(20):
        assert not other.is_up()
        assert p.edge.is_up() and p.home.is_up()
        time.sleep(0.1)
    assert p.edge.peer()["since"] == since, "the link was given away"
    round_trip(p.entry("web"))


@pytest.mark.both_modes
def test_newcomer_replaces_one_that_does_not_answer(pair, security, echo,
                                                    daemon):
    """The old daemon hangs; another takes over within about 2 s; when the
    old one wakes up it stays out: no ping-pong."""
    p = pair(security, [reverse("web", echo.address)], link=PATIENT)
    entry = p.entry("web")
    p.home.signal(signal.SIGSTOP)
    other = second_home(p, daemon).start()
    other.wait_up(deadline=8)
    round_trip(entry)
    since = p.edge.peer()["since"]
    p.home.signal(signal.SIGCONT)
    p.home.wait_not_up()
    for _ in range(20):
        assert other.is_up()
        assert not p.home.is_up()
        time.sleep(0.1)
    assert p.edge.peer()["since"] == since
    round_trip(entry)


@pytest.fixture
def proxied(pair_of, closing):
    """A pair with a man in the middle of its link and channels, honest
    unless told otherwise."""
    def make(*args, tamper=None, wait=True, **kw):
        p = pair_of(*args, **kw)
        p.edge.start()
        p.proxy = closing(Proxy(p.edge.gateway(), tamper=tamper))
        p.point_home(p.proxy.address)
        p.home.start()
        if wait:
            p.wait_up()
        return p
    return make


@pytest.mark.both_modes
def test_returning_daemon_replaces_its_old_link(proxied, security, echo):
    """The home lost its link, the edge has not noticed: the same instance
    comes with a higher epoch and gets in at once."""
    p = proxied(security, [reverse("web", echo.address)], link=PATIENT)
    since = p.edge.peer()["since"]
    p.proxy.wires[0].lose_near()
    wait_until(lambda: p.edge.peer()["since"] != since, 10,
               "the home to come back")
    p.wait_up(5)
    round_trip(p.entry("web"))


@pytest.mark.both_modes
def test_sessions_outlive_a_lost_link(proxied, security, listener):
    """The link's connection is cut, the session's is not."""
    p = proxied(security, [reverse("web", listener.address)], link=PATIENT)
    user = connect(p.entry("web"))
    service = listener.accept()
    with user, service:
        user.sendall(b"before")
        assert read_exactly(service, 6) == b"before"
        uid = p.edge.wait_sessions(1)[0]["uid"]
        since = p.edge.peer()["since"]
        p.proxy.wires[0].shut()
        wait_until(lambda: p.edge.is_up() and
                   p.edge.peer()["since"] != since, 10, "a new link")
        p.wait_up()
        for d in p.both():
            assert [r["uid"] for r in d.sessions()] == [uid]
        service.sendall(b"after")
        assert read_exactly(user, 5) == b"after"
        # It can still be killed, and both ends know.
        user2 = connect(p.entry("web"))
        service2 = listener.accept()
        with user2, service2:
            user.close()
            assert read_all(service) == b""
            service.close()
            for d in p.both():
                row = d.closed_one(uid)
                assert (row["up_bytes"], row["down_bytes"],
                        row["close_reason"]) == (6, 5, "closed")


@pytest.mark.both_modes
def test_kill_reaches_the_peer_after_a_lost_link(proxied, security,
                                                 listener):
    p = proxied(security, [reverse("web", listener.address)], link=PATIENT)
    user = connect(p.entry("web"))
    service = listener.accept()
    with user, service:
        user.sendall(b"x")
        service.recv(1)
        p.edge.wait_sessions(1)
        p.proxy.wires[0].shut()
        wait_until(lambda: p.home.peer()["reconnects"] == 1, 10, "a new link")
        p.wait_up()
        row, = p.edge.sessions()
        p.edge.ctl("kill", row["id"])
        expect_reset(user)
        expect_reset(service)
        assert p.home.closed_one(row["uid"])["close_reason"] == \
            "killed_by_peer"


class BlackHole(Listener):
    """A service whose backlog is full, so that whoever dials it waits; until
    clear()."""

    def __init__(self):
        super().__init__(backlog=0)
        self.full = []
        while not self.full or select.select([], self.full[-1:], [], 0.3)[1]:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(self.sock.getsockname())
            self.full.append(sock)

    def clear(self):
        self.sock.listen(100)
        for sock in self.full:
            sock.close()

    def close(self):
        self.clear()
        super().close()


def quiet(wires):
    """What came over each once no more comes: the edge may have said the last
    of a handshake that the wire has yet to carry."""
    seen = []

    def same():
        seen.append([len(wire.record[1]) for wire in wires])
        return len(seen) > 1 and seen[-1] == seen[-2]
    wait_until(same, 10, "the wires to be quiet", 0.3)
    return seen[-1]


@pytest.mark.both_modes
def test_user_is_not_given_one_dead_channel_after_another(proxied, security,
                                                          mode, closing):
    """The home dies while his service is dialled. The edge learns of it in
    one turn, of his channel (or lane) first, of the other ones next and of the
    link at last: he is held, and served when the home is back."""
    service = closing(BlackHole())
    patience = {"connect_timeout": 60.0}
    p = proxied(security, [reverse("web", service.address,
                                   entry=dict(patience, hold=60.0),
                                   exit=patience)],
                link=dict(PATIENT, pool=4, lanes=4))

    def spare():
        peer = p.edge.peer()
        return 4 == (len(peer["lanes"]) if mode == "mux" else
                     peer["channels_idle"])
    wait_until(spare, 10, "a pool, or lanes")
    channels = p.proxy.wires[1:]
    before = quiet(channels)
    with connect(p.entry("web")) as user:
        user.sendall(b"hello")
        used, = wait_until(
            lambda: [wire for wire, length in zip(channels, before)
                     if len(wire.record[1]) > length], 10, "an OPEN")
        assert p.edge.sessions()[0]["state"] == "opening"
        wait_until(spare, 10, "the pool to be full again")
        link, *idle = [wire for wire in p.proxy.wires if wire is not used]
        p.edge.signal(signal.SIGSTOP)
        for wire in p.proxy.wires:
            wire.quiet = True
        p.home.kill()
        for wire in [used] + idle + [link]:
            wire.shut(wire.far)
        p.edge.signal(signal.SIGCONT)
        p.edge.wait_not_up()
        assert [r["state"] for r in p.edge.sessions()] == ["held"]
        service.clear()
        p.home.start()
        data = b""
        while not data:         # those who filled the backlog come first
            sock = service.accept()
            data = sock.recv(100)
        assert data == b"hello"
        sock.sendall(b"at last")
        assert read_exactly(user, 7) == b"at last"
