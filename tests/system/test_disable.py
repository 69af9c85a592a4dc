# SPDX-License-Identifier: ISC
"""disable and enable: at every end, over restarts, and what is said of it."""

import contextlib
import os
import sqlite3
import time

import pytest

import harness
from adminsocket import Admin, AdminError
from harness import FACTOR, forward, reverse, wait_until
from services import (PATTERN, Pump, ask, connect, expect_reset, is_alive,
                      refused_user, round_trip)
from test_endings import me
from tool import tool

LONG = {"hold": 60.0}


def at_once(address, source=None):
    """A user who must be turned away without a wait."""
    began = time.monotonic()
    refused_user(address, b"early", source=source)
    assert time.monotonic() - began < 10 * FACTOR


def by(d):
    """Whom d must name as the one who disabled something."""
    return "%s (uid %d)" % (me(), os.geteuid())


class Case:
    """A tunnel, and the end at which it is switched off."""

    def __init__(self, where, entry, d, name, far=None):
        self.where = where      # "entry", "exit", "local"
        self.entry = entry      # where users arrive
        self.d = d              # where it is switched off
        self.name = name        # as said on the command line
        self.far = far

    def row(self):
        return self.d.tunnel("web")


@pytest.fixture(params=["entry", "exit", "local"])
def case(request, pair, daemon, echo):
    if request.param == "local":
        d = daemon("alone", tunnels=[
            {"name": "web", "listen": "127.0.0.1:0",
             "connect": echo.address}]).start()
        return Case("local", d.tunnel("web")["listen"], d, "web")
    p = pair("tls", [reverse("web", echo.address, entry=LONG)])
    if request.param == "entry":
        return Case("entry", p.entry("web"), p.edge, "home/web", p.home)
    return Case("exit", p.entry("web"), p.home, "edge/web", p.edge)


def refused_of(d):
    return d.tunnel("web")["refused"]


# --- a tunnel -------------------------------------------------------------

def test_tunnel_off_and_on(case):
    """New users are reset at once and counted, the running session goes on,
    status says who did it and when; enabled it works again."""
    d = case.d
    entry = case.far if case.where == "exit" else d
    assert case.row()["disabled"] is None
    with connect(case.entry) as user:
        ask(user)
        answer = d.ctl("disable", case.name)
        assert answer == {"kind": "tunnel", "name": case.name,
                          "disabled": True, "changed": True, "killed": []}
        row = case.row()
        assert row["state"] == "disabled"
        assert row["disabled"]["by"] == by(d)
        assert row["disabled"]["at"].endswith("Z")
        before = refused_of(entry)
        for count in range(1, 4):
            at_once(case.entry)
            wait_until(lambda: refused_of(entry) == before + count, 5,
                       "the refused user to be counted")
        assert "disabled" in entry.tunnel("web")["last_error"]
        ask(user, b"still here")
        assert "disabled" in tool(d, "status").out
        said = tool(d, "tunnels").out
        assert "disabled" in said
    again = d.ctl("disable", case.name)
    assert again["changed"] is False and again["disabled"] is True
    assert case.row()["disabled"] == row["disabled"]
    answer = d.ctl("enable", case.name)
    assert answer == {"kind": "tunnel", "name": case.name,
                      "disabled": False, "changed": True, "killed": []}
    row = case.row()
    assert row["disabled"] is None and row["state"] == "up"
    round_trip(case.entry)
    assert d.ctl("enable", case.name)["changed"] is False
    round_trip(case.entry)


def test_reason_of_a_refusal_at_the_exit(pair, security, echo):
    """The entry knows why, and its link is none the worse."""
    p = pair(security, [reverse("web", echo.address),
                        reverse("mail", echo.address)])
    p.home.ctl("disable", "-t", "web")
    at_once(p.entry("web"))
    row = p.edge.closed(1)[0]
    assert row["close_reason"] == "disabled"
    assert (row["up_bytes"], row["down_bytes"]) in ((0, 0), (5, 0))
    assert p.edge.tunnel("web")["disabled"] is None
    round_trip(p.entry("mail"))
    for d in p.both():
        assert d.is_up()


def test_kill_goes_with_it(case):
    """disable --kill ends what runs, and nothing of other tunnels."""
    d = case.d
    with connect(case.entry) as user:
        ask(user)
        row, = d.wait_sessions(1)
        answer = d.ctl("disable", "--kill", case.name)
        assert answer["killed"] == [row["id"]]
        expect_reset(user)
        closed = d.closed_one(row["uid"])
        assert closed["close_reason"] in ("killed", "disabled")
        assert me() in closed["closed_by"]
        if case.far:
            assert case.far.closed_one(row["uid"])["close_reason"] == \
                "killed_by_peer"
    # What is off already can be cleared of sessions later, too.
    assert d.ctl("disable", "-k", case.name)["killed"] == []


def test_kill_of_what_is_off_already(pair, echo):
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address)])
    with connect(p.entry("web")) as user, connect(p.entry("mail")) as other:
        ask(user)
        ask(other)
        p.edge.wait_sessions(2)
        assert p.edge.ctl("disable", "web")["killed"] == []
        ask(user)
        answer = p.edge.ctl("disable", "--kill", "web")
        assert len(answer["killed"]) == 1 and answer["changed"] is False
        expect_reset(user)
        ask(other)
        # Sessions went: that is a change.
        wait_until(lambda: len(p.edge.admin("changes")) == 2, 5, "two")


def test_held_users_go(pair, echo, closing):
    """Nobody waits for a tunnel that is switched off."""
    p = pair("plain", [reverse("web", echo.address, entry=LONG),
                       reverse("mail", echo.address, entry=LONG)])
    p.home.kill()
    p.edge.wait_not_up()
    held = closing(connect(p.entry("web")))
    other = closing(connect(p.entry("mail")))
    wait_until(lambda: p.edge.status()["daemon"]["held"] == 2, 10, "them")
    p.edge.ctl("disable", "web")
    expect_reset(held)
    assert p.edge.closed(1)[0]["close_reason"] == "disabled"
    assert is_alive(other)
    at_once(p.entry("web"))
    p.home.start()
    ask(other)


# --- a peer ---------------------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["accepts", "dials"])
def test_peer_off_and_on(pair, security, echo, who):
    """Its link goes down and stays so, at either end; running sessions go
    on; users are not held; enabled, it is there at once."""
    p = pair(security, [reverse("web", echo.address, entry=LONG),
                        forward("db", echo.address, entry=LONG)])
    d, far = p.both() if who == "accepts" else p.both()[::-1]
    name, far_name = [x.config["peers"][0]["name"] for x in (d, far)]
    own = "db" if who == "dials" else "web"     # enters at d
    with connect(p.entry("web")) as user:
        ask(user)
        answer = d.ctl("disable", name)
        assert answer == {"kind": "peer", "name": name, "disabled": True,
                          "changed": True, "killed": []}
        peer = d.peer()
        assert peer["state"] == "disabled"
        assert peer["disabled"]["by"] == by(d) and peer["disabled"]["at"]
        far.wait_not_up()
        at_once(p.entry(own))
        wait_until(lambda: d.tunnel(own)["refused"] == 1, 5, "the count")
        assert "disabled" in d.tunnel(own)["last_error"]
        if who == "accepts":
            wait_until(lambda: "disabled by the administrator" in
                       (far.peer()["last_error"] or ""), 10,
                       "the dialler to be told why")
        else:
            wait_until(lambda: far.peer()["state"] == "down", 10, "its end")
        ask(user, b"still here")
        assert d.peer()["state"] == "disabled"
        assert "disabled" in tool(d, "status").out
        assert "disabled" in tool(d, "peers").out
    row = wait_until(lambda: [r for r in d.admin("links") if r["down_at"]],
                     10, "the end of the link in the history")[0]
    assert row["reason"].startswith("disabled by " + me())
    assert d.ctl("disable", "-p", name)["changed"] is False
    assert d.ctl("enable", name)["changed"] is True
    p.wait_up()
    assert d.peer()["disabled"] is None and d.peer()["state"] == "up"
    round_trip(p.entry("web"))
    round_trip(p.entry("db"))


def test_enabled_peer_is_dialled_at_once(pair, echo):
    """Not only when the next try would have been due."""
    p = pair("plain", [reverse("web", echo.address)],
             link={"reconnect": {"min": 30.0, "max": 60.0}})
    p.home.ctl("disable", "edge")
    p.home.wait_not_up()
    p.edge.wait_not_up()
    p.home.ctl("enable", "edge")
    p.wait_up(deadline=5)


@pytest.mark.both_modes
def test_peer_off_with_its_sessions(pair, echo, closing):
    p = pair("plain", [reverse("web", echo.address),
                       forward("db", echo.address)],
             edge_tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                            "connect": echo.address}])
    web, db, own = [closing(connect(p.entry(n) if n != "own" else
                                    p.edge.tunnel("own")["listen"]))
                    for n in ("web", "db", "own")]
    for user in (web, db, own):
        ask(user)
    rows = [r for r in p.edge.wait_sessions(3) if r["peer"]]
    answer = p.edge.ctl("disable", "--kill", "-p", "home")
    assert sorted(answer["killed"]) == sorted(r["id"] for r in rows)
    expect_reset(web)
    expect_reset(db)
    ask(own)


def test_users_held_for_a_peer_go(pair, echo, closing):
    p = pair("plain", [reverse("web", echo.address, entry=LONG)])
    p.home.kill()
    p.edge.wait_not_up()
    held = closing(connect(p.entry("web")))
    wait_until(lambda: p.edge.tunnel("web")["held"] == 1, 10, "a held user")
    p.edge.ctl("disable", "-p", "home")
    expect_reset(held)
    assert p.edge.closed(1)[0]["close_reason"] == "disabled"


def test_tunnel_and_peer_are_two_things(pair, echo):
    """Enabling one does not enable the other."""
    p = pair("plain", [reverse("web", echo.address)])
    p.edge.ctl("disable", "-t", "web")
    p.edge.ctl("disable", "-p", "home")
    p.edge.ctl("enable", "-p", "home")
    p.wait_up()
    at_once(p.entry("web"))
    assert p.edge.tunnel("web")["disabled"]
    p.edge.ctl("enable", "-t", "web")
    round_trip(p.entry("web"))


# --- for how long ---------------------------------------------------------

@pytest.mark.parametrize("how", ["term", "kill"])
@pytest.mark.parametrize("kind", ["tunnel", "peer"])
def test_stays_so_over_restarts(pair, echo, how, kind):
    """Until it is enabled, whoever started the daemon meanwhile."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address)],
             edge_tunnels=[{"name": "web2", "listen": "127.0.0.1:0",
                            "connect": echo.address}])
    d = p.edge
    d.freeze_ports()
    entry = p.entry("web")

    def restart():
        d.stop() if how == "term" else d.kill()
        d.start()

    def thing():
        return d.tunnel("web") if kind == "tunnel" else d.peer()
    word = "home/web" if kind == "tunnel" else "home"
    d.ctl("disable", word)
    said = thing()["disabled"]
    for _ in range(2):
        restart()
        at_once(entry)
        assert thing()["disabled"] == said
        assert thing()["state"] == "disabled"
    round_trip(d.tunnel("web2")["listen"])
    if kind == "tunnel":
        p.wait_up()
        round_trip(p.entry("mail"))
    else:
        wait_until(lambda: "disabled" in (p.home.peer()["last_error"] or ""),
                   10, "the dialler to be refused")
    assert d.ctl("enable", word)["changed"] is True
    p.wait_up()
    round_trip(entry)
    restart()
    assert thing()["disabled"] is None
    p.wait_up()
    round_trip(entry)


def rows_about(d, what):
    """Every row of the tables whose name tells of it, read by ourselves."""
    tables = [r["name"] for r in d.query(
        "select name from sqlite_master where type = 'table'")]
    table, = [name for name in tables if "disabled" in name]
    return [row for row in d.query("select * from %s" % table)
            if what in row.values()]


def test_answered_once_it_is_on_disk(case):
    """Right after the answer another program can read it there."""
    for _ in range(5):
        case.d.ctl("disable", case.name)
        assert rows_about(case.d, "web")
        case.d.ctl("enable", case.name)
        assert not rows_about(case.d, "web")


def test_killed_right_after_the_answer(pair, echo):
    """The answer is a promise."""
    p = pair("plain", [reverse("web", echo.address)])
    p.edge.freeze_ports()
    client = Admin(p.edge.admin_path)
    client("disable", tunnel="web")
    p.edge.kill()
    client.close()
    p.edge.start()
    assert p.edge.tunnel("web")["disabled"]


def test_database_that_cannot_be_written(pair, echo, closing):
    """Said so, in time; it is off all the same, and nobody waits for the
    answer but who asked."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address)])
    d = p.edge
    round_trip(p.entry("web"))
    lock = closing(sqlite3.connect(d.database, isolation_level=None,
                                   timeout=20))
    lock.execute("begin exclusive")
    asker = Pump(lambda: tool(d, "disable", "web", status=1))
    wait_until(lambda: d.tunnel("web")["disabled"], 5, "it to be off")
    count = 0
    while asker.is_alive():
        began = time.monotonic()
        at_once(p.entry("web"))
        round_trip(p.entry("mail"), PATTERN[:300000])
        d.status()
        d.sessions()
        assert time.monotonic() - began < 5 * FACTOR
        count += 1
        time.sleep(0.1)
    said = asker.result()
    assert count > 3, "it did not even wait for the ledger"
    assert "not recorded" in said.err and "restart" in said.err
    with contextlib.closing(Admin(d.admin_path)) as client:
        client.send_line('{"id": 1, "cmd": "version"}\n')
        assert client.read_line()["ok"]
    lock.execute("rollback")
    wait_until(lambda: rows_about(d, "web"), 30, "it to be written late")
    assert d.ctl("enable", "web")["changed"] is True


# --- names ----------------------------------------------------------------

@pytest.fixture
def names(daemon, echo):
    """A daemon with names that mean several things."""
    def peer(name):
        return {"name": name, "secret": harness.new_secret()}

    def tunnel(name, of=None):
        return dict({"name": name, "listen": "127.0.0.1:0"},
                    **({"peer": of} if of else {"connect": echo.address}))
    return daemon("edge", gateway=["127.0.0.1:0"],
                  peers=[peer("home"), peer("shed")],
                  tunnels=[tunnel("ssh", "home"), tunnel("ssh", "shed"),
                           tunnel("shed", "home"), tunnel("own")]).start()


def test_unknown_names(names):
    for words in (["nothing"], ["home/nothing"], ["-t", "nothing"],
                  ["-p", "nothing"], ["-t", "home"], ["-p", "own"]):
        for command in ("disable", "enable"):
            assert tool(names, command, *words, status=1).err
    with pytest.raises(AdminError) as error:
        names.admin("disable", name="nothing")
    assert error.value.code == "not_found"
    for command in ("disable", "enable"):
        for words in ([], ["home", "shed"]):
            assert tool(names, command, *words, status=2).err
    for args in ({}, {"name": 5}, {"tunnel": []}, {"kill": True},
                 {"name": "own", "kill": "yes"}):
        with pytest.raises(AdminError) as error:
            names.admin("disable", **args)
        assert error.value.code == "bad_request"
    assert all(t["disabled"] is None for t in names.admin("tunnels"))


def test_ambiguous_names(names):
    """Two tunnels, or a tunnel and a peer: nothing is done, both are named;
    and there is a way to say which."""
    for word, candidates in (("ssh", ["home/ssh", "shed/ssh"]),
                             ("shed", ["home/shed", "peer"])):
        said = tool(names, "disable", word, status=1)
        for candidate in candidates:
            assert candidate in said.err
        with pytest.raises(AdminError) as error:
            names.admin("disable", name=word)
        assert error.value.code == "bad_request"
    assert all(t["disabled"] is None for t in names.admin("tunnels"))
    assert names.ctl("disable", "-t", "shed")["name"] == "home/shed"
    assert names.peer("shed")["disabled"] is None
    assert names.ctl("disable", "-p", "shed")["kind"] == "peer"
    assert names.ctl("disable", "shed/ssh")["name"] == "shed/ssh"
    off = {"%s/%s" % (t["peer"], t["name"]) for t in names.admin("tunnels")
           if t["disabled"]}
    assert off == {"home/shed", "shed/ssh"}
    assert names.ctl("disable", "own")["name"] == "own"
    for command in ("test", "kill -t", "sessions -t"):
        said = tool(names, *command.split(), "ssh", status=1)
        assert "home/ssh" in said.err and "shed/ssh" in said.err
