# SPDX-License-Identifier: ISC
"""Switching a peer in whatever state it is, and kills of a great many."""

import contextlib
import json
import signal
import sqlite3
import time

import pytest

import harness
from adminsocket import Admin
from crowd import Swarm
from harness import FACTOR, reverse, wait_until
from services import Listener, ask, connect, round_trip
from test_disable import at_once


def alone(daemon, connect_to, **peer):
    """A daemon that dials that address, for ever."""
    return daemon("home", peers=[dict({
        "name": "edge", "connect": connect_to, "security": "plain",
        "secret": harness.new_secret(),
        "reconnect": {"min": 60.0, "max": 120.0}}, **peer)]).start()


def test_off_while_it_shakes_hands(daemon, closing):
    """The dial under way is given up; nobody is dialled until it is on."""
    gateway = closing(Listener())
    d = alone(daemon, gateway.address)
    conn = gateway.accept(10)
    wait_until(lambda: d.peer()["state"] == "dialling", 5, "the dial")
    d.ctl("disable", "edge")
    assert d.peer()["state"] == "disabled"
    assert d.peer()["next_try_at"] is None
    conn.settimeout(10)
    while conn.recv(4096):
        pass
    conn.close()
    assert gateway.nobody_comes(0.5)
    d.ctl("enable", "edge")
    closing(gateway.accept(10))


def test_off_while_it_waits(daemon, closing):
    port = harness.free_port()
    d = alone(daemon, "127.0.0.1:%d" % port)
    wait_until(lambda: d.peer()["state"] == "waiting", 10, "the wait")
    d.ctl("disable", "edge")
    row = d.peer()
    assert row["state"] == "disabled" and row["next_try_at"] is None
    gateway = closing(Listener("127.0.0.1:%d" % port))
    assert gateway.nobody_comes(0.3)
    d.ctl("enable", "edge")
    closing(gateway.accept(5))


def test_off_while_a_newcomer_waits(pair, daemon, echo):
    """A second daemon of that name waits for the old one to show life: both
    go, and the newcomer is told why."""
    p = pair("plain", [reverse("web", echo.address)])
    p.home.signal(signal.SIGSTOP)
    peer = dict(p.home.config["peers"][0], secret=p.secret)
    peer.pop("secret_file")
    other = daemon("home", peers=[dict(peer)], tunnels=[])
    other.start()
    wait_until(lambda: other.peer()["state"] == "dialling", 5, "the dial")
    time.sleep(0.3)
    p.edge.ctl("disable", "home")
    wait_until(lambda: "disabled by the administrator there" in
               (other.peer()["last_error"] or ""), 5, "the newcomer to hear")
    assert p.edge.peer()["state"] == "disabled"
    assert "disabled here" in p.edge.peer()["last_refusal"]
    # Not even once the time for a take-over has passed.
    time.sleep(2.5)
    assert p.edge.peer()["state"] == "disabled"
    other.stop()
    p.home.signal(signal.SIGCONT)
    p.home.wait_not_up()
    p.edge.ctl("enable", "home")
    p.wait_up()
    round_trip(p.entry("web"))


def test_refused_dialler_waits_for_its_longest(pair, echo):
    p = pair("plain", [reverse("web", echo.address)],
             link={"reconnect": {"min": 0.1, "max": 40.0}})
    p.edge.ctl("disable", "home")

    def told():
        row = p.home.peer()
        return row["state"] == "waiting" and row["next_try_at"] and \
            "disabled by the administrator there" in row["last_error"]
    wait_until(told, 10, "the refusal")
    time.sleep(1)
    assert "disabled here" in p.edge.peer()["last_refusal"]
    at = p.edge.peer()["last_refusal_at"]
    time.sleep(1)
    assert p.edge.peer()["last_refusal_at"] == at


def test_database_that_opens_late(pair, echo):
    """What is off comes to be known only after users may have come: it is
    off from then on."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address)])
    d = p.edge
    d.freeze_ports()
    entry, mail = p.entry("web"), p.entry("mail")
    d.ctl("disable", "web")
    d.ctl("disable", "mail")
    d.stop()
    with contextlib.closing(sqlite3.connect(
            d.database, isolation_level=None, timeout=20)) as db:
        db.execute("pragma locking_mode = exclusive")
        db.execute("begin exclusive")
        d.launch()
        wait_until(d.is_ready, 15, "it to be up without its database")
        # Whoever says otherwise meanwhile is right.
        client = Admin(d.admin_path)
        client.send_line(json.dumps({"id": 1, "cmd": "enable",
                                     "args": {"tunnel": "mail"}}) + "\n")
        wait_until(lambda: d.is_up(), 10, "the link")
        db.execute("rollback")
    assert client.read_line()["ok"]
    client.close()
    wait_until(lambda: d.tunnel("web")["disabled"], 20, "it to be known")
    at_once(entry)
    assert d.tunnel("mail")["disabled"] is None
    round_trip(mail)


COUNT = 600 if harness.SLOW else 3000


@pytest.mark.bound(120)
def test_kill_of_many_stalls_nobody(pair, echo):
    """Others are served in between, and the far end hears that they were
    killed."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address)])
    swarm = Swarm(p.entry("web"), COUNT)
    swarm.exchange(10)
    p.edge.wait_sessions(COUNT)
    with connect(p.entry("mail")) as other:
        ask(other)
        client = Admin(p.edge.admin_path)
        client.send_line('{"id":1,"cmd":"kill","args":{"tunnel":"web"}}\n')
        longest = 0
        while p.edge.tunnel("web")["sessions"]:
            began = time.monotonic()
            ask(other)
            longest = max(longest, time.monotonic() - began)
        answer = client.read_line()
        client.close()
        assert len(answer["data"]["killed"]) == COUNT
        assert longest < 1.0 * FACTOR, longest
    swarm.close()
    row = p.edge.admin("changes")[0]
    assert row["command"] == "kill"
    assert row["detail"] == "tunnel home/web: %d sessions" % COUNT
    wait_until(lambda: not p.home.sessions(), 20, "the far end")
    p.home.closed(COUNT, deadline=30, tunnel="web", limit=COUNT)
    rows = p.home.history(tunnel="web", limit=COUNT)
    assert {r["close_reason"] for r in rows} == {"killed_by_peer"}


@pytest.mark.bound(120)
def test_who_killed_many_hangs_up(pair, echo):
    """What was done is on record, and nothing else happens to anybody."""
    p = pair("plain", [reverse("web", echo.address)])
    swarm = Swarm(p.entry("web"), COUNT)
    swarm.exchange(10)
    p.edge.wait_sessions(COUNT)
    client = Admin(p.edge.admin_path)
    client.send_line('{"id":1,"cmd":"kill","args":{"tunnel":"web"}}\n')
    client.close()
    wait_until(lambda: p.edge.admin("changes"), 10, "the record")
    row, = p.edge.admin("changes")
    left = len(p.edge.sessions())
    assert "%d session" % (COUNT - left) in row["detail"], (row, left)
    p.edge.ctl("disable", "-k", "-t", "web")
    assert p.edge.sessions() == []
    swarm.close()
