# SPDX-License-Identifier: ISC
"""Every ending of a session is said truly, that by kill too."""

import os
import pwd
import socket
import time

import pytest

from harness import FACTOR, forward, free_port, reverse, wait_until
from services import (Echo, Flood, PATTERN, Pump, Service, TIMEOUT, ask,
                      connect, drain, expect_end, expect_reset, fill, is_alive,
                      join, read_all, read_exactly, refused_user, reset,
                      send_pattern, take_pattern)

pytestmark = pytest.mark.both_modes

MIB = 1 << 20
KINDS = [reverse, forward]


# --- endings --------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_half_close_by_the_user(pair, security, listener, kind):
    """The user ends his side; the service answers afterwards, at length."""
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        user.sendall(b"a question")
        user.shutdown(socket.SHUT_WR)
        assert read_all(service) == b"a question"
        assert is_alive(user)
        crc = Pump(send_pattern, service, 8 * MIB)
        assert take_pattern(user) == (8 * MIB, crc.result())
    assert p.edge.closed()[0]["close_reason"] == "closed"


@pytest.mark.parametrize("kind", KINDS)
def test_half_close_by_the_service(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        service.sendall(b"all I have to say")
        service.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"all I have to say"
        assert is_alive(service)
        crc = Pump(send_pattern, user, 8 * MIB)
        assert take_pattern(service) == (8 * MIB, crc.result())
    assert p.edge.closed()[0]["close_reason"] == "closed"


def test_half_close_outlives_the_heartbeat(pair, security, listener):
    """One side ended, the other silent for long: still a session."""
    p = pair(security, [reverse("web", listener.address)],
             link={"heartbeat": {"interval": 0.3, "timeout": 1.0}})
    user, service = join(p, listener)
    with user, service:
        user.shutdown(socket.SHUT_WR)
        expect_end(service)
        time.sleep(3.0)
        service.sendall(b"late")
        service.close()
        assert read_all(user) == b"late"


def test_end_waits_for_the_bytes_before_it(pair, security, listener):
    """8 MiB and an end into a service that reads slowly at first."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        sender = Pump(send_pattern, user, 8 * MIB)
        time.sleep(0.5)
        assert take_pattern(service) == (8 * MIB, sender.result())


@pytest.mark.parametrize("kind", KINDS)
def test_reset_by_the_user(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with service:
        ask_through(user, service)
        uid = p.the_uid()
        reset(user)
        expect_reset(service)
    p.check_rows(uid, close_reason="reset")
    assert p.end("web", "entry").closed_one(uid)["closed_by"] == "user"


@pytest.mark.parametrize("kind", KINDS)
def test_reset_by_the_service(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user:
        ask_through(user, service)
        uid = p.the_uid()
        reset(service)
        expect_reset(user)
    p.check_rows(uid, close_reason="reset")
    assert p.end("web", "exit").closed_one(uid)["closed_by"] == "service"


def ask_through(user, service):
    """One message each way, so that the session is surely open."""
    user.sendall(b"ping")
    assert read_exactly(service, 4) == b"ping"
    service.sendall(b"pong")
    assert read_exactly(user, 4) == b"pong"


@pytest.mark.parametrize("who", ["user", "service"])
def test_reset_after_a_half_close(pair, security, listener, who):
    """A side that has ended may still reset: never a clean end for it."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    near, far = (user, service) if who == "user" else (service, user)
    with far:
        ask_through(user, service)
        near.shutdown(socket.SHUT_WR)
        expect_end(far)
        far.sendall(PATTERN[:1000])
        read_exactly(near, 1000)
        reset(near)

        def noticed():
            # Its own direction has ended: writing tells.
            try:
                far.send(b"x")
                return False
            except OSError:
                return True
        wait_until(noticed, 10, "the reset to cross")
    for d in p.both():
        assert d.closed()[0]["close_reason"] == "reset"


def test_answer_before_a_reset(pair, security, listener):
    """A service that answers and goes with the question half read."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user:
        flood = Flood(user)
        read_exactly(service, 1)
        answer = PATTERN[:50000]
        service.sendall(answer)
        service.close()         # unread bytes: the kernel sends a reset
        got = bytearray()
        seen = "end"
        try:
            while True:
                piece = user.recv(65536)
                if not piece:
                    break
                got += piece
        except ConnectionResetError:
            seen = "reset"
        assert answer.startswith(bytes(got))
        assert flood.was_reset() or seen == "reset", flood.error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("early", [0, 10, 50000])
def test_refused_service_is_a_reset(pair, security, kind, early):
    """Not an empty success, with or without early bytes under way."""
    p = pair(security, [kind("web", "127.0.0.1:%d" % free_port())])
    entry = p.end("web", "entry")
    for count in range(1, 4):
        refused_user(p.entry("web"), PATTERN[:early])
        rows = entry.closed(count)
        assert rows[0]["close_reason"] == "refused"
        assert rows[0]["down_bytes"] == 0
    for d in p.both():
        assert d.is_up()


def test_missing_unix_service(pair, security):
    p = pair(security, [reverse("web", "unix:/nonexistent/socket")])
    refused_user(p.entry("web"))
    assert p.edge.closed()[0]["close_reason"] in ("unreachable", "refused")


def test_service_that_accepts_and_resets(pair, security, closing):
    service = closing(Service(reset))
    p = pair(security, [reverse("web", service.address)])
    for _ in range(10):
        refused_user(p.entry("web"))
    # The reset may be there before the exit's connect() is.
    assert {r["close_reason"] for r in p.edge.closed(10)} <= {"reset",
                                                              "refused"}


# --- when nothing moves any more -------------------------------------------

def all_reset(daemons):
    """No session is left, and it is told how it ended."""
    for d in daemons:
        d.wait_sessions(0, deadline=20)
        assert d.closed()[0]["close_reason"] == "reset"


def blocking_echo(sock):
    """As a simple server does it: while it writes it does not read."""
    while True:
        data = sock.recv(65536)
        if not data:
            return
        sock.sendall(data)


def test_user_who_floods_an_echo_and_resets(through, closing):
    """Both directions are full, so that nobody reads or writes; the reset is
    noticed all the same."""
    service = closing(Service(blocking_echo))
    daemons, entry = through(service.address)
    user = connect(entry)
    assert fill(user) > MIB
    reset(user)
    error = service.results.get(timeout=TIMEOUT)
    assert isinstance(error, (ConnectionResetError, BrokenPipeError)), error
    all_reset(daemons)


def test_user_who_floods_the_deaf_and_resets(through, listener):
    """The same with a service that never reads: what it is given at last is
    a piece of the flood, and the reset."""
    daemons, entry = through(listener.address)
    user = connect(entry)
    with listener.accept() as service:
        fill(user)
        reset(user)
        all_reset(daemons)
        assert drain(service) == "reset"


@pytest.mark.parametrize("first", ["user", "service"])
def test_both_die_with_both_directions_full(through, listener, first):
    daemons, entry = through(listener.address)
    user = connect(entry)
    service = listener.accept()
    for pump in [Pump(fill, sock) for sock in (user, service)]:
        pump.result()
    for sock in (user, service) if first == "user" else (service, user):
        reset(sock)
    all_reset(daemons)


# --- kill -----------------------------------------------------------------

def me():
    return pwd.getpwuid(os.geteuid()).pw_name


class Busy:
    """A session with bytes under way both ways."""

    def __init__(self, p, listener, tunnel="web"):
        self.user, self.service = join(p, listener, tunnel)
        self.pumps = []
        for sock in (self.user, self.service):
            Flood(sock)
            self.pumps.append(Pump(drain, sock))

    def wait_ended(self):
        """Both sides must be told at once."""
        for pump in self.pumps:
            pump.result(5 * FACTOR)

    def close(self):
        self.user.close()
        self.service.close()


@pytest.mark.parametrize("end", ["entry", "exit"])
@pytest.mark.parametrize("kind", KINDS)
def test_kill_while_data_flows(pair, security, listener, closing, end, kind):
    p = pair(security, [kind("web", listener.address)])
    killer = p.end("web", end)
    other = p.home if killer is p.edge else p.edge
    busy = closing(Busy(p, listener))
    bystander = closing(Busy(p, listener))
    rows = killer.wait_sessions(2)
    wait_until(lambda: all(r["up_bytes"] > MIB and r["down_bytes"] > MIB
                           for r in killer.sessions()), 20, "bytes to flow")
    source = "%s:%d" % busy.user.getsockname()
    row = next(r for r in rows if r["source"] == source)
    assert killer.ctl("kill", row["id"])["killed"] == [row["id"]]
    busy.wait_ended()
    killed = killer.closed_one(row["uid"])
    assert killed["close_reason"] == "killed"
    assert me() in killed["closed_by"] or \
        str(os.geteuid()) in killed["closed_by"]
    assert other.closed_one(row["uid"])["close_reason"] == "killed_by_peer"
    assert [r["uid"] for r in killer.sessions()] == \
        [r["uid"] for r in rows if r["uid"] != row["uid"]]
    assert all(pump.is_alive() for pump in bystander.pumps)


def test_kill_closes_a_silent_session(pair, security, listener):
    """No byte under way, nobody about to read or write."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        ask_through(user, service)
        row, = p.home.wait_sessions(1)
        p.home.ctl("kill", row["id"])
        expect_reset(user)
        expect_reset(service)


def test_kill_a_stopped_session(pair, security, listener):
    """Buffers full both ways, nobody reads: killed all the same."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        floods = [Flood(user), Flood(service)]
        for flood in floods:
            flood.wait_stalled()
        row, = p.edge.wait_sessions(1)
        p.edge.ctl("kill", row["id"])
        assert all(flood.was_reset() for flood in floods)


@pytest.mark.parametrize("how", ["tunnel", "label", "peer"])
def test_kill_by_tunnel_and_peer(pair, security, closing, how):
    first, second = closing(Echo()), closing(Echo())
    p = pair(security, [reverse("web", first.address),
                        forward("db", second.address)])
    users = {}
    for name in ("web", "web", "db"):
        user = closing(connect(p.entry(name)))
        ask(user)
        users.setdefault(name, []).append(user)
    words = {"tunnel": ("--tunnel", "web"), "label": ("--tunnel", "home/web"),
             "peer": ("--peer", "home")}[how]
    gone = users["web"] + (users["db"] if how == "peer" else [])
    rows = [r for r in p.edge.wait_sessions(3)
            if how == "peer" or r["tunnel"] == "web"]
    answer = p.edge.ctl("kill", *words)
    assert sorted(answer["killed"]) == sorted(r["id"] for r in rows)
    for user in gone:
        expect_reset(user)
    if how != "peer":
        ask(users["db"][0])
    for row in rows:
        assert p.edge.closed_one(row["uid"])["close_reason"] == "killed"
        assert p.home.closed_one(row["uid"])["close_reason"] == \
            "killed_by_peer"
    assert p.edge.is_up()


def test_kill_several_ids_and_unknown_ones(pair, security, echo, closing):
    p = pair(security, [reverse("web", echo.address)])
    users = [closing(connect(p.entry("web"))) for _ in range(3)]
    for user in users:
        ask(user)
    ids = [r["id"] for r in p.edge.wait_sessions(3)]
    answer = p.edge.admin("kill", ids=[ids[0], 2 ** 40, ids[2]])
    assert sorted(answer["killed"]) == [ids[0], ids[2]]
    assert answer["not_found"] == [2 ** 40]
    assert [r["id"] for r in p.edge.wait_sessions(1)] == [ids[1]]
    ask(users[1])
