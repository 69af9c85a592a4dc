# SPDX-License-Identifier: ISC
"""Users who are not served yet when the worker changes, and those who look
on: followers of events, people at a terminal."""

import contextlib
import json
import selectors
import signal
import socket
import time

import pytest

from adminsocket import Admin, AdminError
from harness import FACTOR, reverse, wait_until
from services import (PATTERN, Pump, ask, connect, expect_reset, is_alive,
                      read_all, read_exactly, reset, round_trip)
# The fixtures are used by name.
from screen import FAST, screen  # noqa: F401
from test_orders import full  # noqa: F401
from tool import Events, Running
from upgrades import alone, mastered, own, wait_draining  # noqa: F401

LONG = {"hold": 60.0}


def held_pair(pair, security, echo, entry=None):
    """A pair whose home is away."""
    p = pair(security, [reverse("web", echo.address, entry=entry or LONG)],
             master=True)
    where = p.entry("web")
    p.home.kill()
    p.edge.wait_not_up()
    return p, where


# --- held -----------------------------------------------------------------

@pytest.mark.both_modes
def test_held_users(pair, security, echo):
    """Those who wait for the link go over to the new worker, with what they
    have said, their id and their time; nobody is left to drain. When the
    link is back they are served, and recorded once."""
    p, entry = held_pair(pair, security, echo)
    words = [b"", b"hello", PATTERN[:20000], PATTERN[:400000], b"the end"]
    users = [connect(entry) for _ in words]
    senders = [Pump(user.sendall, data) for user, data in zip(users, words)]
    senders[4].result()
    users[4].shutdown(socket.SHUT_WR)
    before = {r["uid"]: r for r in p.edge.wait_sessions(5)}
    for _ in range(3):
        p.edge.upgrade()
        wait_draining(p.edge, 0)
        rows = {r["uid"]: r for r in p.edge.wait_sessions(5)}
        for uid, row in before.items():
            for key in ("id", "source", "opened_at", "tunnel"):
                assert rows[uid][key] == row[key]
            assert rows[uid]["state"] == "held"
            assert rows[uid]["worker"] is None
        assert all(is_alive(user) for user in users)
        assert p.edge.tunnel("web")["held"] == 5
    p.home.start()
    for user, data in zip(users, words):
        assert read_exactly(user, len(data)) == data if data else True
    assert read_all(users[4]) == b""
    for sender in senders:
        sender.result()
    for user in users[:4]:
        ask(user)
        user.close()
    users[4].close()
    for d in p.both():
        rows = {r["uid"]: r for r in d.closed(5)}
        assert rows.keys() == before.keys()
        assert {r["close_reason"] for r in rows.values()} == {"closed"}
        assert len(d.query("select * from sessions")) == 5
    for data in words:
        assert len([r for r in rows.values() if r["up_bytes"] in (
            len(data), len(data) + 4)]) >= 1


@pytest.mark.both_modes
def test_held_user_goes_or_is_killed_afterwards(pair, security, echo):
    p, entry = held_pair(pair, security, echo)
    with connect(entry) as killed, connect(entry) as other:
        row = p.edge.wait_sessions(2)[0]
        p.edge.upgrade()
        mine = next(r["uid"] for r in p.edge.wait_sessions(2) if
                    r["source"] == "%s:%d" % killed.getsockname())
        number = next(r["id"] for r in p.edge.sessions()
                      if r["uid"] == mine)
        p.edge.ctl("kill", number)
        expect_reset(killed)
        assert p.edge.closed_one(mine)["close_reason"] == "killed"
        p.edge.wait_sessions(1)
        reset(other)
    p.edge.wait_sessions(0)
    assert row["uid"] in {r["uid"] for r in p.edge.closed(2)}


def test_hold_is_not_begun_anew(pair, security, echo):
    """An upgrade does not make it longer than by the time that the new link
    is given."""
    p, entry = held_pair(pair, security, echo, {"hold": 4.0})
    began = time.monotonic()
    with connect(entry) as user:
        p.edge.wait_sessions(1)
        p.edge.upgrade()
        expect_reset(user)
    assert 3.5 < time.monotonic() - began < 4 + 6 * FACTOR
    assert p.edge.closed()[0]["close_reason"] == "link_down"
    wait_draining(p.edge, 0)


@pytest.mark.both_modes
def test_held_for_a_tunnel_that_goes(pair, security, echo):
    """The new config does not have it any more: the user is told, and his
    session ends in the ledger."""
    p, entry = held_pair(pair, security, echo)
    with connect(entry) as user:
        row, = p.edge.wait_sessions(1)
        p.edge.config["tunnels"] = []
        p.edge.write_config()
        p.edge.upgrade()
        expect_reset(user)
    assert p.edge.closed_one(row["uid"])["close_reason"]
    wait_draining(p.edge, 0)


def test_no_more_than_max_held(pair, security, echo):
    """Whoever had a place keeps it; the bound holds of the new ones."""
    p, entry = held_pair(pair, security, echo, dict(LONG, max_held=3))
    users = [connect(entry) for _ in range(3)]
    p.edge.wait_sessions(3)
    p.edge.upgrade()
    p.edge.wait_sessions(3)
    with contextlib.suppress(ConnectionResetError), connect(entry) as user:
        expect_reset(user)
    p.home.start()
    for user in users:
        ask(user)
        user.close()


@pytest.mark.both_modes
def test_hundreds_are_held(pair, security, echo):
    p, entry = held_pair(pair, security, echo, dict(LONG, max_held=500))
    users = []
    for count in range(400):
        users.append(connect(entry))
        users[-1].sendall(b"%04d" % count)
    p.edge.wait_sessions(400)
    p.edge.upgrade()
    wait_draining(p.edge, 0)
    p.edge.wait_sessions(400)
    p.home.start()
    for count, user in enumerate(users):
        assert read_exactly(user, 4) == b"%04d" % count
        user.close()
    assert {r["close_reason"] for r in p.edge.closed(400)} == {"closed"}


# --- on their way ---------------------------------------------------------

def who_speaks(listener):
    """Of those who are accepted: who fills a backlog says nothing."""
    with selectors.DefaultSelector() as selector:
        selector.register(listener.sock, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select(30 * FACTOR)]
            assert ready, "nobody says a word"
            if ready != [listener.sock]:
                return next(s for s in ready if s is not listener.sock)
            selector.register(listener.accept(), selectors.EVENT_READ)


@pytest.mark.parametrize("who", ["edge", "home"])
def test_while_it_is_dialled(pair, security, full, who):
    """The service has not answered yet: the session stays where it is, and
    is served when it does."""
    p = pair(security, [reverse("web", full.address, exit={
        "connect_timeout": 60.0})], master=True)
    d = getattr(p, who)
    with connect(p.entry("web")) as user:
        user.sendall(b"hello")
        row, = p.home.wait_sessions(1)
        assert row["state"] == "opening"
        d.upgrade()
        assert is_alive(user)
        sock = who_speaks(full)
        assert read_exactly(sock, 5) == b"hello"
        sock.sendall(b"welcome")
        assert read_exactly(user, 7) == b"welcome"
        assert p.edge.sessions()[0]["uid"] == row["uid"]
        sock.close()
    for each in p.both():
        assert each.closed_one(row["uid"])["close_reason"] == "closed"
        wait_draining(each, 0)


@pytest.mark.both_modes
@pytest.mark.parametrize("hold", [None, 0.0])
@pytest.mark.parametrize("who", ["edge", "home"])
def test_while_the_other_end_stands_still(pair, security, echo, who, hold):
    """It cannot take part in the change: users who come then are served as
    soon as it can, also where hold is 0."""
    p = pair(security, [reverse("web", echo.address, entry={} if hold is None
                                else {"hold": hold})], master=True)
    entry = p.entry("web")
    d, far = (p.edge, p.home) if who == "edge" else (p.home, p.edge)
    with connect(entry) as old:
        ask(old)
        far.signal(signal.SIGSTOP)
        try:
            d.upgrade()
            # Who comes to an entry that stands still waits in its queue.
            users = [connect(entry) for _ in range(5)]
            for user in users:
                user.sendall(b"ping")
        finally:
            far.signal(signal.SIGCONT)
        p.wait_up()
        for user in users:
            assert read_exactly(user, 4) == b"ping"
            user.close()
        ask(old)
    round_trip(p.entry("web"))


# --- who looks on ---------------------------------------------------------

def test_events(mastered):
    """A follower is told to ask again, by a code of its own; tunnelctl does,
    and says nothing of it."""
    p, d = mastered, mastered.edge
    stream = Events(d)
    follower = Running(d, "--json", "events", "--kind", "session")
    try:
        wait_until(lambda: round_trip(p.entry("web")) or follower.rows(), 20,
                   "the first event", 0.1)
        for _ in range(3):
            seen = len(follower.rows())
            d.upgrade()
            wait_until(lambda: round_trip(p.entry("web")) or
                       len(follower.rows()) > seen, 20, "another event", 0.1)
        uids = [r["session"]["uid"] for r in follower.rows()
                if r["kind"] == "session_close"]
        assert len(uids) == len(set(uids))
        while True:
            answer = stream.client.read_line()
            assert answer is not None, "it ended without a word"
            if not answer["ok"]:
                break
        assert answer["error"]["code"] == "upgraded"
        assert answer["error"]["message"]
        assert stream.client.read_line() is None
        assert follower.interrupt() == 0
        assert follower.process.stderr.read() == b""
    finally:
        stream.close()
        follower.close()


@pytest.mark.both_modes
def test_no_event_of_a_session_that_moves(pair, security, echo):
    """It does not close, and opens once."""
    p, entry = held_pair(pair, security, echo)
    before = Events(p.edge)
    with connect(entry) as user:
        row, = p.edge.wait_sessions(1)
        p.edge.upgrade()
        after = Events(p.edge)
        p.home.start()
        ask(user)
    closed = after.wait("session_close", tunnel="web")
    assert closed["session"]["uid"] == row["uid"]
    opened = [e for e in before.seen + after.seen
              if e["kind"] == "session_open"]
    assert len(opened) <= 1
    with contextlib.suppress(AssertionError):
        while True:
            before.next_piece()
    assert not [e for e in before.seen if e["kind"] == "session_close"]
    before.close()
    after.close()


def test_watch(mastered, screen):
    """A terminal goes on showing all sessions."""
    p, d = mastered, mastered.edge
    with connect(p.entry("web")) as user:
        ask(user)
        s = screen().watch(d.admin_path, *FAST)
        s.wait(r"Sessions 1 ")
        for count in range(2, 5):
            d.upgrade()
            with connect(p.entry("web")) as other:
                ask(other)
                s.wait(r"Sessions 2 ")
            s.wait(r"Sessions 1 ")
        s.keys("q")
        s.wait_end(0)


def test_a_client_that_stays(mastered):
    """It is answered what it asked; the next question goes to the new one,
    on another connection."""
    d = mastered.edge
    with contextlib.closing(Admin(d.admin_path)) as client:
        old = client("version")["pid"]
        d.upgrade()
        try:
            assert client("version")["pid"] == old
        except AdminError as error:
            assert error.code == "upgraded"
        except OSError:
            pass
        wait_until(lambda: ends(client), 20, "it to be closed")


def ends(client):
    try:
        client.send_line(json.dumps({"id": 0, "cmd": "version"}) + "\n")
        return client.read_line() is None
    except OSError:
        return True


def test_a_long_list_is_whole(daemon, echo):
    """Somebody reads slowly while the worker changes; what he had not asked
    when it began he is told to ask again."""
    d = daemon("alone", master=True, tunnels=[
        {"name": "t%03d" % n, "listen": "127.0.0.1:0",
         "connect": echo.address} for n in range(700)]).start()
    with contextlib.closing(Admin(d.admin_path)) as client:
        client.send_line(b'{"id": 1, "cmd": "tunnels"}\n' * 10)
        d.upgrade()
        whole = 0
        for _ in range(10):
            rows, answer = [], {"more": True}
            while answer.get("more"):
                answer = client.read_line()
                assert answer, "cut off after %d answers" % whole
                rows += answer.get("data", [])
            if not answer["ok"]:
                assert answer["error"]["code"] == "upgraded" and not rows
                break
            assert len(rows) == 700
            whole += 1
        assert whole


def test_what_makes_no_sense_any_more(alone):
    """Orders on an old connection are refused, or nobody is there."""
    d = alone()
    with connect(own(d)) as user:
        ask(user)
        with contextlib.closing(Admin(d.admin_path)) as client:
            old = client("version")["pid"]
            d.upgrade()
            client.sock.settimeout(10 * FACTOR)
            with contextlib.suppress(OSError):
                client.send_line('{"id": 1, "cmd": "reload"}\n')
                answer = client.read_line()
                assert answer is None or not answer["ok"], answer
            assert d.worker != old
        ask(user)
