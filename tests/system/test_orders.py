# SPDX-License-Identifier: ISC
"""Orders at bad moments: sessions half made, many who order at a time, a
ledger that cannot be written, names that come and go."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import time

import pytest

import harness
from adminsocket import Admin, AdminError
from crowd import Swarm
from harness import FACTOR, forward, reverse, wait_until
from services import (Listener, Pump, ask, connect, expect_reset, refused_user,
                      round_trip)
from test_disable import at_once, rows_about
from test_endings import me
from tool import Events, Running, tool


@contextlib.contextmanager
def locked(d):
    """Nobody can write its database."""
    with contextlib.closing(sqlite3.connect(
            d.database, isolation_level=None, timeout=20)) as db:
        db.execute("begin exclusive")
        yield
        db.execute("rollback")


# --- sessions that are not open yet ---------------------------------------

@pytest.mark.parametrize("what", ["tunnel", "peer"])
def test_off_while_a_session_opens(pair, echo, closing, what):
    """The peer has not answered yet: the user goes at once all the same."""
    p = pair("plain", [reverse("web", echo.address)])
    round_trip(p.entry("web"))
    p.edge.closed(1)
    p.home.signal(signal.SIGSTOP)
    user = closing(connect(p.entry("web")))
    user.sendall(b"anybody?")
    row, = p.edge.wait_sessions(1)
    p.edge.ctl("disable", "web" if what == "tunnel" else "home")
    expect_reset(user)
    assert p.edge.closed_one(row["uid"])["close_reason"] == "disabled"
    assert p.edge.sessions() == []
    p.home.signal(signal.SIGCONT)
    p.edge.ctl("enable", "web" if what == "tunnel" else "home")
    p.wait_up()
    round_trip(p.entry("web"))


@pytest.fixture
def full(closing):
    """A service whose backlog is full: dialling it takes for ever."""
    service = closing(Listener(backlog=0))
    socks = []
    for _ in range(4):
        sock = harness.socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(service.sock.getsockname())
        socks.append(sock)
    yield service
    for sock in socks:
        sock.close()


def test_off_at_the_exit_while_it_dials(pair, full, closing):
    p = pair("tls", [reverse("web", full.address)])
    user = closing(connect(p.entry("web")))
    row, = p.home.wait_sessions(1)
    assert row["state"] == "opening"
    p.home.ctl("disable", "web")
    expect_reset(user)
    for d in p.both():
        assert d.closed_one(row["uid"])["close_reason"] == "disabled"


def test_kill_while_it_dials(pair, full, closing):
    """Killed by a selector at either end before it was ever open."""
    p = pair("plain", [reverse("web", full.address)])
    for d in p.both():
        user = closing(connect(p.entry("web")))
        row, = p.home.wait_sessions(1)
        wait_until(p.edge.sessions, 5, "it at the edge")
        assert len(d.ctl("kill", "-S", "127.0.0.1")["killed"]) == 1
        expect_reset(user)
        assert d.closed_one(row["uid"])["close_reason"] == "killed"
        for each in p.both():
            each.wait_sessions(0)


def test_users_of_a_dual_stack_listener(daemon, echo):
    """An IPv4 user of a listener for all is found by his IPv4 address."""
    d = daemon("alone", tunnels=[{"name": "web", "listen": ":0",
                                  "connect": echo.address}]).start()
    port = d.tunnel("web")["listen"].rsplit(":", 1)[1]
    with connect("127.0.0.1:" + port, source="127.0.0.6") as four, \
            connect("[::1]:" + port) as six:
        ask(four)
        ask(six)
        d.wait_sessions(2)
        assert len(d.sessions(source="127.0.0.0/8")) == 1
        assert len(d.sessions(source="::1")) == 1
        assert len(d.ctl("kill", "-S", "127.0.0.6")["killed"]) == 1
        expect_reset(four)
        ask(six)
    d.closed(2)
    row, = d.ctl("history", "-S", "127.0.0.6")
    assert row["close_reason"] == "killed"


def test_only_friends_learn_that_they_are_off(pair_of, echo):
    """A dialler with a wrong secret hears what he always hears."""
    p = pair_of("tls", [reverse("web", echo.address)])
    p.edge.start()
    p.edge.ctl("disable", "home")
    p.point_home(p.edge.gateway())
    p.home.write_secret("edge", harness.new_secret())
    p.home.start()
    error = wait_until(lambda: p.home.peer()["last_error"], 10, "a refusal")
    assert "disabled" not in error and "refused" in error


def test_killer_who_goes_away(pair, echo):
    """He orders the end of two thousand and does not wait: what was done is
    recorded, and nothing is done by halves for ever."""
    p = pair("plain", [reverse("web", echo.address)])
    swarm = Swarm(p.entry("web"), 2000)
    swarm.exchange(10)
    p.edge.wait_sessions(2000)
    client = Admin(p.edge.admin_path)
    client.send_line('{"id": 1, "cmd": "kill", "args": {"tunnel": "web"}}\n')
    client.close()
    row = wait_until(lambda: p.edge.admin("changes"), 10, "the record")[0]
    left = len(p.edge.sessions())
    killed = len(p.edge.closed(2000 - left, reason="killed"))
    assert killed + left == 2000 and killed
    assert str(killed) in row["detail"]
    swarm.close()
    p.edge.wait_sessions(0)


# --- many at a time -------------------------------------------------------

def test_twenty_who_disagree(pair, echo):
    """Each order is answered; in the end memory, status and file agree, and
    a restart changes nothing."""
    tunnels = [reverse(n, echo.address) for n in ("web", "mail", "news")]
    p = pair("plain", tunnels)
    p.edge.freeze_ports()

    def body(seed):
        chance = random.Random(seed)
        client = Admin(p.edge.admin_path)
        changed = 0
        for _ in range(15):
            cmd = chance.choice(["disable", "enable"])
            name = chance.choice(["web", "mail", "news"])
            answer = client(cmd, tunnel=name, kill=True) \
                if cmd == "disable" else client(cmd, tunnel=name)
            assert answer["disabled"] is (cmd == "disable")
            changed += answer["changed"] or bool(answer["killed"])
        client.close()
        return changed

    def traffic():
        chance = random.Random(0)
        for _ in range(60):
            with contextlib.suppress(OSError, AssertionError):
                round_trip(p.entry(chance.choice(["web", "mail", "news"])))
    users = Pump(traffic)
    pumps = [Pump(body, n) for n in range(20)]
    changed = sum(pump.result() for pump in pumps)
    users.result()

    def off():
        return {t["name"] for t in p.edge.admin("tunnels") if t["disabled"]}
    before = off()
    assert {n for n in ("web", "mail", "news")
            if rows_about(p.edge, n)} == before
    wait_until(lambda: len(p.edge.admin("changes", limit=1000)) == changed,
               5, "%d changes" % changed)
    p.edge.kill()
    p.edge.start()
    assert off() == before
    p.wait_up()
    for name in ("web", "mail", "news"):
        if name in before:
            at_once(p.entry(name))
        else:
            round_trip(p.entry(name))


def test_off_under_a_crowd(pair, echo):
    """A hundred users a moment while the tunnel goes off and on: each is
    served or reset, nobody hangs, nothing is left over."""
    p = pair("tls", [reverse("web", echo.address, entry={"hold": 5.0})])
    entry = p.entry("web")
    until = time.monotonic() + 2

    def users():
        served = reset = 0
        while time.monotonic() < until:
            try:
                with connect(entry) as sock:
                    ask(sock)
                    served += 1
            except (ConnectionResetError, BrokenPipeError):
                reset += 1
        return served, reset
    pumps = [Pump(users) for _ in range(8)]
    count = 0
    while time.monotonic() < until:
        p.edge.ctl("disable", "web", *(["--kill"] if count % 2 else []))
        p.edge.ctl("enable", "web")
        p.home.ctl("disable", "web")
        p.home.ctl("enable", "web")
        count += 1
    counts = [pump.result() for pump in pumps]
    assert sum(c[0] for c in counts) > 10
    for d in p.both():
        d.wait_sessions(0)
    round_trip(entry)


# --- a ledger that cannot be written --------------------------------------

def test_stop_while_an_order_waits(pair, echo):
    """An order that waits for the ledger does not keep the daemon alive."""
    p = pair("plain", [reverse("web", echo.address)])
    client = Admin(p.edge.admin_path)
    with locked(p.edge):
        client.send_line('{"id": 1, "cmd": "disable", "args": '
                         '{"tunnel": "web"}}\n')
        wait_until(lambda: p.edge.tunnel("web")["disabled"], 5, "the order")
        p.edge.stop()
    client.close()


def test_who_ordered_goes_away(pair, echo):
    """He does not wait for the answer: it is done all the same, and nothing
    of him is left."""
    p = pair("plain", [reverse("web", echo.address)])
    fds = p.edge.fds()
    with locked(p.edge):
        for _ in range(20):
            client = Admin(p.edge.admin_path)
            client.send_line('{"id": 1, "cmd": "disable", "args": '
                             '{"tunnel": "web"}}\n')
            wait_until(lambda: p.edge.tunnel("web")["disabled"], 5, "it")
            client.close()
        wait_until(lambda: p.edge.fds() <= fds + 2, 10, "clients to go")
        at_once(p.entry("web"))
    wait_until(lambda: rows_about(p.edge, "web"), 20, "it to be written")


def test_the_last_order_wins_in_the_file(pair, echo):
    """Off, on, off while nothing can be written: the file says off."""
    p = pair("plain", [reverse("web", echo.address)])
    clients = []
    with locked(p.edge):
        for cmd in ("disable", "enable", "disable"):
            clients.append(Admin(p.edge.admin_path))
            clients[-1].send_line(json.dumps({
                "id": 1, "cmd": cmd, "args": {"tunnel": "web"}}) + "\n")
            wanted = cmd == "disable"
            wait_until(lambda: bool(p.edge.tunnel("web")["disabled"]) ==
                       wanted, 5, cmd)
    for client in clients:
        assert client.read_line()["ok"]
        client.close()
    assert rows_about(p.edge, "web")
    p.edge.kill()
    p.edge.start()
    assert p.edge.tunnel("web")["disabled"]


# --- names that come and go -----------------------------------------------

def test_a_tunnel_that_was_gone_meanwhile(pair, echo):
    """Off is off until it is enabled, also for one that was not in the
    config for a while; another one of that name is another one."""
    p = pair("plain", [reverse("web", echo.address),
                       forward("db", echo.address)])
    d = p.edge
    d.freeze_ports()
    d.ctl("disable", "web")
    web = d.config["tunnels"].pop(0)
    assert web["name"] == "web"
    d.stop()
    d.config["tunnels"].append(dict(name="web", listen="127.0.0.1:0",
                                    connect=echo.address))
    d.start()
    assert d.tunnel("web")["disabled"] is None
    round_trip(d.tunnel("web")["listen"])
    d.stop()
    d.config["tunnels"][-1] = web
    d.start()
    assert d.tunnel("web")["disabled"]["by"].startswith(me())
    p.wait_up()
    at_once(web["listen"])


def test_off_at_both_ends(pair, security, echo):
    """Each end has its own switch: both must be on."""
    p = pair(security, [reverse("web", echo.address)])
    for names in (("home/web", "edge/web"), ("home", "edge")):
        p.edge.ctl("disable", names[0])
        p.home.ctl("disable", names[1])
        refused_user(p.entry("web"))
        p.edge.ctl("enable", names[0])
        if names[0] == "home":      # its link is down: a user is held
            with connect(p.entry("web")) as user:
                wait_until(lambda: p.edge.tunnel("web")["held"], 5, "him")
                p.home.ctl("enable", names[1])
                ask(user)
        else:
            at_once(p.entry("web"))
            p.home.ctl("enable", names[1])
        p.wait_up()
        round_trip(p.entry("web"))


# --- followers ------------------------------------------------------------

def test_followers_that_come_and_go(pair, echo):
    """Nothing of them is left behind."""
    p = pair("plain", [reverse("web", echo.address)])
    fds = p.edge.fds()
    for count in range(150):
        stream = Events(p.edge)
        if count % 3 == 0:
            round_trip(p.entry("web"))
            stream.wait("session_close")
        stream.close()
    wait_until(lambda: p.edge.fds() <= fds + 2, 10, "descriptors to go")


def has_socket(pid):
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir("/proc/%d/fd" % pid)
        return any(os.readlink("/proc/%d/fd/%s" % (pid, name))
                   .startswith("socket:") for name in names)


def test_interrupted_before_the_first_event(pair, closing):
    """^C in a silence: status 0."""
    p = pair("plain")
    follower = closing(Running(p.edge, "events", "--kind", "change"))
    wait_until(lambda: has_socket(follower.process.pid), 10, "it to follow")
    p.edge.version()
    assert follower.interrupt() == 0 and not follower.lines()


def test_events_into_a_closed_pipe(pair, echo, closing):
    """tunnelctl events | head -1"""
    p = pair("plain", [reverse("web", echo.address)])
    follower = closing(Running(p.edge, "events"))

    def told():
        round_trip(p.entry("web"))
        return follower.lines()
    wait_until(told, 20, "the first event", 0.1)
    os.close(os.dup(follower.process.stdout.fileno()))
    follower.process.stdout.close()

    def ended():
        round_trip(p.entry("web"))
        return follower.process.poll() is not None
    wait_until(ended, 20, "it to end", 0.1)
    follower.process.stdout = open(os.devnull, "rb")
    assert b"Sanitizer" not in follower.process.stderr.read()


def test_orders_from_a_half_closed_client(pair, echo):
    """echo '{...}' | nc -N -U SOCKET, with an order that waits for the
    ledger."""
    p = pair("plain", [reverse("web", echo.address)])
    with connect("unix:" + p.edge.admin_path) as sock:
        sock.sendall(b'{"id": 1, "cmd": "disable", "args": {"name": "web"}}\n')
        sock.shutdown(harness.socket.SHUT_WR)
        with sock.makefile("rb") as file:
            assert json.loads(file.readline())["data"]["changed"] is True


def test_odd_questions(pair, echo):
    """Numbers out of all measure and ends before beginnings: an error or an
    empty answer, in time."""
    p = pair("plain", [reverse("web", echo.address)])
    round_trip(p.entry("web"))
    p.edge.closed(1)
    began = time.monotonic()
    for cmd in ("history", "links", "stats", "uptime", "changes"):
        for args in ({"since": 1e300}, {"since": -1e300}, {"until": 1e18},
                     {"since": 2e9, "until": 1}, {"until": 0.0},
                     {"since": 0}, {"limit": 2 ** 62},
                     {"min_bytes": 2 ** 62}, {"by": "moon"}, {"per": ""},
                     {"since": None, "tunnel": None}, {"tunnel": "x" * 5000},
                     {"source": "\u0001"}, {"reason": "é" * 300},
                     {"per": "hour", "since": 1}, {"tunnel": "/"},
                     {"tunnel": "a/b/c"}, {"peer": ""}):
            with contextlib.suppress(AdminError):
                p.edge.admin(cmd, **args)
    assert time.monotonic() - began < 30 * FACTOR
    for words in (["--since", "1h", "--until", "2h"],
                  ["--until", "1900-01-01"], ["--since", "2999-01-01"]):
        said = tool(p.edge, "--json", "history", *words, status=None)
        assert said.status == 2 or said.json == [], said
    assert len(p.edge.history()) == 1
