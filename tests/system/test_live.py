# SPDX-License-Identifier: ISC
"""What goes on at this moment: events and rates."""

import os
import re
import threading
import time

import pytest

from adminsocket import Admin, AdminError
from crowd import many_sessions
from harness import FACTOR, forward, free_port, reverse, wait_until
from services import (PATTERN, Pump, ask, connect, drain, refused_user, reset,
                      round_trip)
from test_endings import me
from tool import Events, Running, tool

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@pytest.fixture
def duo(pair, echo):
    """A pair with a tunnel each way."""
    return pair("tls", [reverse("web", echo.address),
                        forward("db", echo.address)])


@pytest.fixture
def follow(closing):
    return lambda d, **args: closing(Events(d, **args))


@pytest.fixture
def running(closing):
    return lambda d, *words: closing(Running(d, *words))


# --- events ---------------------------------------------------------------

def test_a_session_from_open_to_close(duo, follow):
    """Both ends tell of it, with the session itself."""
    streams = [follow(d) for d in duo.both()]
    with connect(duo.entry("web"), source="127.0.0.3") as user:
        ask(user)
        row, = duo.edge.wait_sessions(1)
        opened = [s.wait("session_open", tunnel="web") for s in streams]
    closed = [s.wait("session_close", tunnel="web") for s in streams]
    for event in opened + closed:
        assert set(event) >= {"at", "kind", "peer", "tunnel", "address",
                              "session", "text"}
        assert TIME.match(event["at"])
        assert event["session"]["uid"] == row["uid"]
        assert event["session"]["source"] == row["source"]
    assert [e["peer"] for e in opened] == ["home", "edge"]
    assert opened[0]["session"]["id"] == row["id"]
    assert opened[0]["session"]["state"] == "open"
    for event in closed:
        assert event["text"] == "closed"
        assert event["session"]["close_reason"] == "closed"
        assert (event["session"]["up_bytes"],
                event["session"]["down_bytes"]) == (4, 4)
        assert event["session"]["state"] == "closed"


def test_every_end_of_a_session(pair, echo, follow):
    """One that was never served has a close, and no open; each says why."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("bad", "127.0.0.1:%d" % free_port())])
    stream = follow(p.edge)
    refused_user(p.entry("bad"))
    event = stream.wait("session_close", tunnel="bad")
    assert event["text"] == "refused"
    user = connect(p.entry("web"))
    ask(user)
    reset(user)
    assert stream.wait("session_close", tunnel="web")["text"] == "reset"
    with connect(p.entry("web")) as user:
        ask(user)
        p.edge.ctl("kill", "-t", "web")
        killed = stream.wait("session_close", text="killed")
        assert me() in killed["session"]["closed_by"]
    opened = [e["tunnel"] for e in stream.seen
              if e["kind"] == "session_open"]
    assert opened == ["web", "web"]
    change = stream.wait("change")
    assert "kill" in change["text"] and "web" in change["text"]
    assert "%s (uid %d)" % (me(), os.geteuid()) in change["text"]


def test_links(duo, follow):
    """Up and down, with address and reason."""
    stream = follow(duo.edge)
    duo.home.kill()
    down = stream.wait("link_down", peer="home")
    assert down["text"] and down["tunnel"] is None
    duo.home.start()
    up = stream.wait("link_up", peer="home")
    assert up["address"].startswith("127.0.0.1:")
    assert up["at"] >= down["at"]
    duo.edge.ctl("disconnect", "home")
    told = stream.wait("link_down",
                       text="disconnected by %s (uid %d)" % (me(),
                                                             os.geteuid()))
    assert told["peer"] == "home"


def test_errors(pair_of, follow, echo):
    """A peer that cannot be reached, a service that refuses."""
    p = pair_of("plain", [reverse("web", "127.0.0.1:%d" % free_port())])
    p.point_home("127.0.0.1:%d" % free_port())
    p.home.start()
    stream = follow(p.home, kinds=["error"])
    event = stream.wait("error", peer="edge")
    assert "refused" in event["text"].lower()
    assert stream.kinds() == {"error"}
    stream.close()
    p.edge.start()
    p.home.stop()
    p.point_home(p.edge.gateway())
    p.home.start()
    p.wait_up()
    stream = follow(p.edge)
    refused_user(p.entry("web"))
    event = stream.wait("error", tunnel="web")
    assert event["text"] == p.edge.tunnel("web")["last_error"]


def test_filters(duo, follow):
    """By tunnel, by peer, by kind: that and nothing else."""
    web = follow(duo.edge, tunnel="home/web")
    closes = follow(duo.edge, kinds=["session"], tunnel="db")
    links = follow(duo.edge, kinds=["link"])
    changes = follow(duo.edge, kinds=["change", "link"], peer="home")
    everything = follow(duo.edge)
    round_trip(duo.entry("web"))
    round_trip(duo.entry("db"))
    everything.wait("session_close", tunnel="db")
    everything.wait("session_close", tunnel="web")
    duo.edge.ctl("disconnect", "home")
    changes.wait("link_down")
    links.wait("link_up")
    web.wait("session_close")
    closes.wait("session_close")
    assert {e["tunnel"] for e in web.seen
            if e["kind"].startswith("session")} == {"web"}
    assert {(e["kind"], e["tunnel"]) for e in closes.seen} == \
        {("session_open", "db"), ("session_close", "db")}
    assert links.kinds() <= {"link_up", "link_down"}
    assert not changes.kinds() & {"session_open", "session_close"}


@pytest.mark.parametrize("args,code", [
    ({"tunnel": "none"}, "not_found"), ({"peer": "none"}, "not_found"),
    ({"kinds": ["weather"]}, "bad_request"), ({"kinds": "link"},
                                              "bad_request"),
    ({"kinds": [5]}, "bad_request"), ({"tunnel": 5}, "bad_request"),
], ids=range(6))
def test_bad_filters(duo, args, code):
    with pytest.raises(AdminError) as error:
        duo.edge.admin("events", **args)
    assert error.value.code == code


def test_tunnelctl_follows(duo, running):
    """--json: one compact object a line, as it happens; for people too; both
    at a time. ^C ends it in order."""
    followers = [running(duo.edge, "--json", "events"),
                 running(duo.edge, "events", "--kind", "session"),
                 running(duo.edge, "--json", "events", "--tunnel", "db",
                         "--kind", "session,link")]

    def all_there():
        round_trip(duo.entry("web"))
        round_trip(duo.entry("db"))
        return all(f.lines() for f in followers)
    wait_until(all_there, 20, "followers to tell", 0.1)
    seen = len(followers[0].rows())
    with connect(duo.entry("web"), source="127.0.0.77") as user:
        ask(user)
        wait_until(lambda: any(
            (e["session"] or {}).get("source", "").startswith("127.0.0.77:")
            for e in followers[0].rows()[seen:]), 10, "it to be told at once")
    wait_until(lambda: "127.0.0.77" in "\n".join(followers[1].lines()), 10,
               "the text too")
    for line in followers[0].lines():
        assert line == line.strip() and not re.search(r'[,:] "', line)
    assert {e["tunnel"] for e in followers[2].rows()} == {"db"}
    for follower in followers:
        assert follower.interrupt() == 0
    assert duo.edge.version()


def test_daemon_stops(duo, running):
    """Its followers end with status 3."""
    followers = [running(duo.edge, "events"),
                 running(duo.edge, "--json", "events")]

    def all_there():
        round_trip(duo.entry("web"))
        return all(f.lines() for f in followers)
    wait_until(all_there, 20, "followers to tell", 0.1)
    duo.edge.stop()
    for follower in followers:
        assert follower.wait() == 3


@pytest.mark.bound(180)
def test_slow_follower_is_dropped(duo, follow):
    """Who reads nothing goes; the daemon and the others do not wait, and
    nothing is missing from what the others hear."""
    slow = Admin(duo.edge.admin_path, timeout=90)
    slow.send_line('{"id": 1, "cmd": "events"}\n')
    assert slow.read_line()["data"] == []
    good = follow(duo.edge, kinds=["session"], tunnel="web")
    told = []

    def read():
        while len(told) < 4000:
            told.extend(good.next_piece())
    reader = Pump(read)
    before = duo.edge.rss_kib()
    many_sessions(duo.entry("web"), 2000, workers=8)
    reader.result(60 * FACTOR)
    assert len({e["session"]["uid"] for e in told
                if e["kind"] == "session_close"}) == 2000
    assert duo.edge.rss_kib() - before < 64 * 1024 or FACTOR > 1
    wait_until(lambda: "does not keep up" in duo.edge.log(), 20,
               "the slow follower to be dropped")
    # What had been sent may still be read; then it is over.
    last = None
    try:
        while True:
            answer = slow.read_line()
            if answer is None:
                break
            last = answer
    except (ConnectionError, AssertionError):
        pass
    assert last
    slow.close()
    assert duo.edge.version()


def test_an_event_never_stands_in_an_answer(duo):
    """Requests of one who follows wait; others are answered meanwhile."""
    client = Admin(duo.edge.admin_path)
    client.send_line('{"id": 1, "cmd": "events"}\n'
                     '{"id": 2, "cmd": "version"}\n')
    round_trip(duo.entry("web"))
    seen = []
    while not any(e["kind"] == "session_close" for e in seen):
        answer = client.read_line()
        assert answer["id"] == 1 and answer["more"]
        seen += answer["data"]
    assert duo.edge.version()
    client.close()


def test_events_under_64_followers(duo):
    """All places taken by followers; each hears everything."""
    streams = [Events(duo.edge, kinds=["session"]) for _ in range(63)]
    round_trip(duo.entry("web"))
    for stream in streams:
        stream.wait("session_close", tunnel="web")
    assert duo.edge.version()
    for stream in streams:
        stream.close()
    wait_until(lambda: duo.edge.status()["daemon"]["descriptors"]["used"] <
               64, 10, "the followers to be forgotten")


# --- rates ----------------------------------------------------------------

class Stream:
    """A user who sends so many bytes a second through an echo."""

    def __init__(self, address, rate):
        self.sock = connect(address)
        self.rate = rate
        self.halt = threading.Event()
        self.pumps = [Pump(self.send), Pump(drain, self.sock)]

    def send(self):
        began, sent = time.monotonic(), 0
        while not self.halt.wait(0.02):
            due = int((time.monotonic() - began) * self.rate) - sent
            if due > 0:
                self.sock.sendall(PATTERN[:due])
                sent += min(due, len(PATTERN))

    def stop(self):
        self.halt.set()
        self.pumps[0].result()

    def close(self):
        self.halt.set()
        self.sock.close()


def test_rates(duo, closing):
    """Bytes per second of a session, its tunnel and the daemon while they
    flow, at both ends; nothing once they do not."""
    rate = 1000000
    stream = closing(Stream(duo.entry("web"), rate))
    quiet = closing(connect(duo.entry("db")))
    ask(quiet)

    def places(d):
        status = d.status()
        row = next(r for r in d.sessions() if r["tunnel"] == "web")
        tunnel = next(t for t in status["tunnels"] if t["name"] == "web")
        return [row, tunnel, status["daemon"]]

    def near(value):
        return rate / 2 < value < rate * 2
    for d in duo.both():
        wait_until(lambda: all(near(x[key]) for x in places(d)
                               for key in ("up_rate", "down_rate")), 30,
                   "rates near the truth at " + d.name, 0.2)
        assert d.tunnel("db")["up_rate"] < 100
        other = next(r for r in d.sessions() if r["tunnel"] == "db")
        assert other["up_rate"] < 100
    said = tool(duo.edge, "sessions", "--columns", "tunnel,up_rate").out
    assert re.search(r"web\s+[\d.]+", said), said
    stream.stop()
    for d in duo.both():
        wait_until(lambda: all(x[key] == 0 for x in places(d)
                               for key in ("up_rate", "down_rate")), 40,
                   "nothing to flow at " + d.name, 0.2)


def test_status_of_the_daemon(duo):
    """What `status` has besides."""
    daemon = duo.edge.ctl("status")["daemon"]
    assert daemon["log_level"] == "info"
    limits = daemon["descriptors"]
    assert 0 < limits["used"] <= duo.edge.fds() + 2 < limits["limit"]
    assert daemon["up_rate"] == daemon["down_rate"] == 0
