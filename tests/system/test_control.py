# SPDX-License-Identifier: ISC
"""kill with every selector, its dry run, and disconnect."""

import os
import time

import pytest

from adminsocket import AdminError
from crowd import Swarm
from harness import FACTOR, forward, reverse, wait_until
from services import (ask, connect, expect_reset, is_alive, round_trip,
                      written)
from test_endings import me
from tool import tool

LOOPBACKS = ["127.0.0.1", "127.0.0.2", "127.0.1.7"]


class Users:
    """Open sessions with names; where: name -> (entry, source)."""

    def __init__(self, where):
        self.where = where
        self.socks = {}
        self.fill()

    def fill(self):
        """Everybody who is not connected connects."""
        for name, (entry, source) in self.where.items():
            if name not in self.socks:
                sock = self.socks[name] = connect(entry, source=source)
                ask(sock, name.encode())

    def names(self, rows):
        """Which of them these rows are."""
        here = {written(sock): name for name, sock in self.socks.items()}
        return {here[r["source"]] for r in rows}

    def lose(self, names):
        """These, and nobody else, must have been reset."""
        for name in names:
            sock = self.socks.pop(name)
            expect_reset(sock)
            sock.close()
        for name, sock in self.socks.items():
            ask(sock, name.encode())

    def close(self):
        for sock in self.socks.values():
            sock.close()


@pytest.fixture
def crowd(pair, echo, closing):
    """A pair with tunnels both ways and local ones, and a user for each of
    many sources."""
    p = pair("plain", [reverse("web", echo.address),
                       reverse("mail", echo.address),
                       forward("db", echo.address)],
             edge_tunnels=[
                 {"name": "own", "listen": "127.0.0.1:0",
                  "connect": echo.address},
                 {"name": "six", "listen": "[::1]:0",
                  "connect": echo.address}])
    where = {"web%d" % n: (p.entry("web"), source)
             for n, source in enumerate(LOOPBACKS)}
    where["mail"] = (p.entry("mail"), "127.0.0.2")
    where["db"] = (p.entry("db"), "127.0.0.2")
    where["own"] = (p.edge.tunnel("own")["listen"], "127.0.0.2")
    where["six"] = (p.edge.tunnel("six")["listen"], "::1")
    p.users = closing(Users(where))
    p.edge.wait_sessions(len(where))
    return p


WEB = {"web0", "web1", "web2"}
FAR = WEB | {"mail", "db"}
SELECTORS = [
    (["-t", "web"], {"tunnel": "web"}, WEB),
    (["--tunnel", "home/mail"], {"tunnel": "home/mail"}, {"mail"}),
    (["-t", "own"], {"tunnel": "own"}, {"own"}),
    (["-p", "home"], {"peer": "home"}, FAR),
    (["-S", "127.0.1.7"], {"source": "127.0.1.7"}, {"web2"}),
    (["--source", "127.0.0.2"], {"source": "127.0.0.2"},
     {"web1", "mail", "db", "own"}),
    (["-S", "127.0.0.0/24"], {"source": "127.0.0.0/24"},
     {"web0", "web1", "mail", "db", "own"}),
    (["-S", "127.0.0.2/31"], {"source": "127.0.0.2/31"},
     {"web1", "mail", "db", "own"}),
    (["-S", "127.0.0.0/8"], {"source": "127.0.0.0/8"}, FAR | {"own"}),
    (["-S", "0.0.0.0/0"], {"source": "0.0.0.0/0"}, FAR | {"own"}),
    (["-S", "10.0.0.0/8"], {"source": "10.0.0.0/8"}, set()),
    (["-S", "::1"], {"source": "::1"}, {"six"}),
    (["-S", "::/0"], {"source": "::/0"}, {"six"}),
    (["-S", "::/127"], {"source": "::/127"}, {"six"}),
    (["-S", "fd00::/8"], {"source": "fd00::/8"}, set()),
    (["-t", "web", "-S", "127.0.0.0/24"],
     {"tunnel": "web", "source": "127.0.0.0/24"}, {"web0", "web1"}),
    (["-p", "home", "-S", "127.0.0.2"],
     {"peer": "home", "source": "127.0.0.2"}, {"web1", "mail", "db"}),
    (["-p", "home", "-t", "own"], {"peer": "home", "tunnel": "own"}, set()),
    (["-t", "web", "--older", "1h"], {"tunnel": "web", "older": 3600}, set()),
    (["-t", "web", "--older", "0"], {"tunnel": "web", "older": 0}, WEB),
    (["-t", "six", "--idle", "1d"], {"tunnel": "six", "idle": 86400}, set()),
]


def test_selectors(crowd):
    """The dry run shows who would go, and hurts nobody; `sessions` with the
    same selectors and the kill itself agree; nobody else is hurt."""
    edge, users = crowd.edge, crowd.users
    everybody = set(users.socks)
    for words, args, wanted in SELECTORS:
        dry = tool(edge, "--json", "kill", "--dry-run", *words).json
        assert users.names(dry) == wanted, (words, dry)
        assert len(dry) == len(wanted)
        assert users.names(edge.admin("sessions", **args)) == wanted
        assert users.names(edge.ctl("sessions", *words)) == wanted
        said = tool(edge, "kill", "-d", *words)
        for row in dry:
            assert str(row["id"]) in said.out
        assert len(edge.sessions()) == len(everybody), words
        for name, sock in users.socks.items():
            ask(sock, name.encode())
        status = 0 if wanted else None
        killed = tool(edge, "--json", "kill", *words, status=status).json
        assert sorted(killed["killed"]) == sorted(r["id"] for r in dry), words
        assert killed["not_found"] == []
        users.lose(wanted)
        for row in dry:
            assert edge.closed_one(row["uid"])["close_reason"] == "killed"
        users.fill()
        edge.wait_sessions(len(everybody))


def test_far_end_records_killed_by_peer(crowd):
    """Both ends tell it truly, and the killer by name."""
    edge, home, users = crowd.edge, crowd.home, crowd.users
    rows = edge.sessions(source="127.0.0.2", peer="home")
    assert len(rows) == 3
    edge.ctl("kill", "-p", "home", "-S", "127.0.0.2")
    users.lose({"web1", "mail", "db"})
    for row in rows:
        mine = edge.closed_one(row["uid"])
        theirs = home.closed_one(row["uid"])
        assert mine["close_reason"] == "killed"
        assert me() in mine["closed_by"]
        assert theirs["close_reason"] == "killed_by_peer"
        assert theirs["closed_by"] == "peer"


def test_kill_by_source_at_the_exit(crowd):
    """The exit knows where the users of the other end come from."""
    rows = crowd.home.sessions(source="127.0.1.7")
    assert [r["tunnel"] for r in rows] == ["web"]
    assert crowd.home.ctl("kill", "--source", "127.0.1.0/24")["killed"] == \
        [rows[0]["id"]]
    crowd.users.lose({"web2"})
    assert crowd.edge.closed_one(rows[0]["uid"])["close_reason"] == \
        "killed_by_peer"


def test_ids_with_other_selectors(crowd):
    """All that is given must fit; an id that is open but does not fit is
    neither killed nor unknown."""
    edge = crowd.edge
    own, = edge.sessions(tunnel="own")
    web = edge.sessions(tunnel="web")[0]
    answer = edge.admin("kill", ids=[own["id"], web["id"], 2 ** 40],
                        tunnel="web")
    assert answer == {"killed": [web["id"]], "not_found": [2 ** 40]}
    assert own["id"] in [r["id"] for r in edge.sessions()]
    rows = edge.admin("sessions", ids=[own["id"]])
    assert [r["id"] for r in rows] == [own["id"]]


def test_older_and_idle(pair, echo, closing):
    """One user is old and silent, one old and busy, one new."""
    p = pair("plain", [reverse("web", echo.address)])
    old, busy = [closing(connect(p.entry("web"))) for _ in range(2)]
    for sock in (old, busy):
        ask(sock)
    ids = {name: next(r["id"] for r in p.edge.wait_sessions(2)
                      if r["source"] == "%s:%d" % sock.getsockname())
           for name, sock in (("old", old), ("busy", busy))}

    def old_enough():
        ask(busy)
        rows = {r["id"]: r for r in p.edge.sessions()}
        return rows[ids["old"]]["idle"] >= 4
    wait_until(old_enough, 20, "a session to be idle", 0.2)
    new = closing(connect(p.entry("web")))
    ask(new)
    ask(busy)

    def found(*words):
        return {r["id"] for r in tool(p.edge, "--json", "kill", "--dry-run",
                                      *words).json}
    assert found("--idle", "4s") == {ids["old"]}
    assert found("--older", "4") == {ids["old"], ids["busy"]}
    assert found("--older", "4s", "--idle", "4s") == {ids["old"]}
    assert len(found("--older", "0s")) == 3
    assert found("--older", "15m") == found("--idle", "2h") == set()
    assert p.edge.ctl("kill", "--idle", "4s")["killed"] == [ids["old"]]
    expect_reset(old)
    ask(busy)
    assert p.edge.ctl("kill", "--older", "4s")["killed"] == [ids["busy"]]
    expect_reset(busy)
    ask(new)


def test_unix_users_have_no_address(daemon, echo):
    """No network holds them; `unix:` names them."""
    d = daemon("alone")
    d.config["tunnels"] = [{"name": "web", "listen": "unix:" + d.path("in"),
                            "connect": echo.address}]
    d.start()
    with connect("unix:" + d.path("in")) as user:
        ask(user)
        d.wait_sessions(1)
        for source in ("0.0.0.0/0", "::/0", "127.0.0.1"):
            assert d.sessions(source=source) == []
            assert d.admin("kill", source=source)["killed"] == []
        assert len(d.sessions(source="unix:")) == 1
        assert len(d.ctl("kill", "--source", "unix:")["killed"]) == 1
        assert user.recv(1) == b""


def test_held_users_can_be_killed(pair, echo, closing):
    p = pair("plain", [reverse("web", echo.address, entry={"hold": 60.0})])
    p.home.kill()
    p.edge.wait_not_up()
    users = [closing(connect(p.entry("web"), source=source))
             for source in LOOPBACKS[:2]]
    wait_until(lambda: p.edge.tunnel("web")["held"] == 2, 10, "held users")
    assert len(p.edge.ctl("kill", "-S", "127.0.0.2")["killed"]) == 1
    expect_reset(users[1])
    assert is_alive(users[0])
    assert len(p.edge.ctl("kill", "-t", "web")["killed"]) == 1
    expect_reset(users[0])


@pytest.mark.parametrize("args,code", [
    ({}, "bad_request"),
    ({"source": "300.1.1.1"}, "bad_request"),
    ({"source": "10.0.0.0/33"}, "bad_request"),
    ({"source": "::/129"}, "bad_request"),
    ({"source": "10.0.0.0/"}, "bad_request"),
    ({"source": "10.0.0.0/-1"}, "bad_request"),
    ({"source": ""}, "bad_request"),
    ({"source": 5}, "bad_request"),
    ({"older": -1}, "bad_request"),
    ({"older": "1h"}, "bad_request"),
    ({"idle": -0.5}, "bad_request"),
    ({"idle": True}, "bad_request"),
    ({"ids": []}, None),
    ({"ids": ["1"]}, "bad_request"),
    ({"tunnel": "none"}, "not_found"),
    ({"peer": "none"}, "not_found"),
    ({"peer": "home", "tunnel": "none"}, "not_found"),
], ids=range(17))
def test_bad_selectors(pair, echo, args, code):
    """Refused, never taken for `all`."""
    p = pair("plain", [reverse("web", echo.address)])
    with connect(p.entry("web")) as user:
        ask(user)
        try:
            assert p.edge.admin("kill", **args)["killed"] == []
            assert code is None
        except AdminError as error:
            assert error.code == code or code is None and \
                error.code == "bad_request"
        ask(user)


def test_bad_words(pair, echo):
    p = pair("plain", [reverse("web", echo.address)])
    with connect(p.entry("web")) as user:
        ask(user)
        for words in ([], ["--dry-run"], ["--older", "soon"],
                      ["--idle", "-5"], ["--idle", "5 parsecs"],
                      ["--source"], ["1", "x"], ["--older", ""]):
            assert tool(p.edge, "kill", *words, status=2).err
        for words in (["--tunnel", "none"], ["--peer", "none"],
                      ["--dry-run", "--tunnel", "none"]):
            assert tool(p.edge, "kill", *words, status=1).err
        said = tool(p.edge, "kill", "--source", "1.2.3.4.5", status=None)
        assert said.status in (1, 2) and said.err
        ask(user)


# --- disconnect -----------------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["edge", "home"])
def test_disconnect(pair, security, echo, who):
    """The link goes down with who did it as its reason, sessions of direct
    tunnels live on, and it comes back by itself, from whichever end it was
    ordered."""
    p = pair(security, [reverse("web", echo.address)])
    orderer = p.edge if who == "edge" else p.home
    far = p.home if who == "edge" else p.edge
    name = orderer.config["peers"][0]["name"]
    with connect(p.entry("web")) as user:
        ask(user)
        uid = p.the_uid()
        before = orderer.peer()["reconnects"]
        answer = orderer.ctl("disconnect", name)
        assert answer["peer"] == name
        wait_until(lambda: orderer.peer()["reconnects"] > before, 10,
                   "the link to go and come back")
        p.wait_up()
        ask(user, b"still here")
        assert [r["uid"] for r in p.edge.sessions()] == [uid]
    round_trip(p.entry("web"))

    def recorded():
        return [r for r in orderer.admin("links") if not r["down_at"] is None]
    row = wait_until(recorded, 10, "the outage in the history")[0]
    assert row["reason"].startswith("disconnected by %s (uid" % me())
    assert row["peer"] == name
    assert wait_until(lambda: [r for r in far.admin("links")
                               if r["down_at"]], 10, "the far end's row")


def test_disconnect_again_and_again(pair, echo):
    """Ten times in a row: it always comes back, no descriptor is lost."""
    p = pair("plain", [reverse("web", echo.address)])
    p.edge.ctl("disconnect", "home")
    p.wait_up()
    round_trip(p.entry("web"))
    wait_until(lambda: not p.edge.sessions(), 10, "the end of the session")
    fds = p.edge.fds()
    for _ in range(10):
        wait_until(lambda: disconnected(p.edge, "home"), 10, "a link to cut")
    p.wait_up()
    round_trip(p.entry("web"))
    wait_until(lambda: p.edge.fds() <= fds + 2, 20, "descriptors to go")


def disconnected(d, peer):
    try:
        return d.admin("disconnect", peer=peer)
    except AdminError as error:
        assert error.code == "unavailable"
        return None


def test_disconnect_what_is_not_up(pair, echo):
    p = pair("plain", [reverse("web", echo.address)])
    said = tool(p.edge, "disconnect", "nobody", status=1)
    assert "nobody" in said.err
    with pytest.raises(AdminError) as error:
        p.edge.admin("disconnect", peer="nobody")
    assert error.value.code == "not_found"
    p.edge.kill()
    p.home.wait_not_up()
    with pytest.raises(AdminError) as error:
        p.home.admin("disconnect", peer="edge")
    assert error.value.code == "unavailable"
    assert tool(p.home, "disconnect", "edge", status=1).err
    assert tool(p.home, "disconnect", status=2).err
    p.edge.start()


@pytest.mark.both_modes
def test_kill_of_thousands(pair, echo):
    """Selecting among many holds nobody up."""
    p = pair("plain", [reverse("web", echo.address)])
    swarm = Swarm(p.entry("web"), 1000)
    swarm.exchange(10)
    p.edge.wait_sessions(1000)
    with connect(p.entry("web"), source="127.0.0.9") as user:
        ask(user)
        began = time.monotonic()
        assert len(tool(p.edge, "--json", "kill", "-d", "-S",
                        "127.0.0.1").json) == 1000
        assert len(p.edge.ctl("kill", "-S", "127.0.0.1")["killed"]) == 1000
        assert time.monotonic() - began < 10 * FACTOR
        ask(user)
        p.edge.wait_sessions(1)
    swarm.close()


def test_changes_tell_who(crowd):
    """kill and disconnect stand in the history of changes."""
    edge = crowd.edge
    edge.ctl("kill", "-t", "web")
    edge.ctl("disconnect", "home")
    rows = wait_until(lambda: (lambda r: len(r) >= 2 and r)(
        edge.admin("changes")), 10, "two changes")
    assert [r["command"] for r in rows[:2]] == ["disconnect", "kill"]
    for row in rows:
        assert row["uid"] == os.geteuid()
        assert row["by"].startswith("%s (uid " % me())
        assert row["at"]
    assert "web" in rows[1]["detail"] and "3" in rows[1]["detail"]
    assert "home" in rows[0]["detail"]
    # A dry run changes nothing and is no change.
    edge.ctl("kill", "--dry-run", "-t", "own")
    edge.ctl("kill", "-t", "own")
    rows = wait_until(lambda: (lambda r: len(r) >= 3 and r)(
        edge.admin("changes")), 10, "the third change")
    assert len(rows) == 3
