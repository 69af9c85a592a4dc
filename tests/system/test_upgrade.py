# SPDX-License-Identifier: ISC
"""Upgrades: another worker takes over from the one there is, at either end,
and nobody notices."""

import os
import pwd
import signal

import pytest

import harness
from harness import forward, reverse, wait_until
from processes import zombies
from reloads import hang_up, is_refused, settled, tunnel_of
from services import Pump, ask, connect, round_trip
from test_life import PATIENT
from test_permissions import ADMINS, READERS, gid
from test_permissions import order as order_as
# The fixtures are used by name.
from test_permissions import somebody  # noqa: F401
from tool import tool
from upgrades import (alone, ended, mastered, order, other_version,  # noqa: F401
                      own, refused, untouched, wait_draining, workers)


def end_of(p, who):
    return (p.edge, p.home) if who == "edge" else (p.home, p.edge)


# --- the whole of it ------------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["edge", "home"])
@pytest.mark.parametrize("kind", [reverse, forward])
def test_upgrade(pair, security, echo, who, kind):
    """An idle session runs on in the old worker, new users come to the new
    one, over a new link that is there at once; the old one ends with its
    session."""
    p = pair(security, [kind("web", echo.address)], master=True,
             link=PATIENT)
    d, far = end_of(p, who)
    entry = p.entry("web")
    began = d.version()
    assert began["master"] == d.process.pid == \
        d.status()["daemon"]["master"]
    with connect(entry) as user:
        ask(user)
        uid = p.the_uid()
        now, before = d.upgrade()
        old, = workers(d)
        assert (old["pid"], old["sessions"]) == (before, 1)
        assert old["until"] is None
        assert d.version()["started_at"] > began["started_at"]
        p.wait_up(2)
        ask(user, b"still here")
        round_trip(entry)
        for end in p.both():
            assert uid in {r["uid"] for r in end.sessions()}
        row, = [r for r in d.sessions() if r["uid"] == uid]
        assert row["worker"] == before
        assert len(d.processes()) == 2 and far.processes()[-1].pid == \
            far.worker
    wait_draining(d, 0)
    assert d.pid == now
    assert (ended(d, before), ended(d, now)) == ("stopped", None)
    for end in p.both():
        assert end.closed_one(uid)["close_reason"] == "closed"
    round_trip(entry)


def test_nothing_to_drain(mastered):
    """Without a session the old worker goes at once; again and again."""
    for _ in range(3):
        for d in mastered.both():
            d.upgrade()
            wait_draining(d, 0, 3)
            round_trip(mastered.entry("web"))
    assert zombies(mastered.edge.process.pid) == []


def test_what_it_says(mastered):
    """tunnelctl, status and the log, in words and in JSON."""
    p, d = mastered, mastered.edge
    assert "draining" not in tool(d, "status").out
    assert "WORKER" not in tool(d, "sessions").out
    with connect(p.entry("web")) as user, connect(p.entry("web")) as other:
        ask(user)
        ask(other)
        version, before = d.version()["version"], d.worker
        said = tool(d, "upgrade").out
        assert said == ("upgraded to tunneld %s, pid %d; 2 sessions run on "
                        "in pid %d\n" % (version, d.worker, before))
        assert str(before) in tool(d, "status").out
        for words in (["sessions"], ["tunnels"]):
            text = tool(d, *words).out
            assert "WORKER" in text and str(before) in text
        log = d.log()
        for line in ("worker %d started" % before,
                     "worker %d is ready" % before,
                     "worker %d started" % d.worker,
                     "worker %d is ready and takes over from %d" %
                     (d.worker, before),
                     "draining: sessions run on here: 2"):
            assert line in log, line
        change, = [c for c in d.admin("changes") if c["command"] == "upgrade"]
        assert change["by"].split()[0] in tool(d, "history", "changes").out
    wait_until(lambda: "worker %d is done" % before in d.log(), 10,
               "its farewell")
    assert "draining" not in tool(d, "status").out


def test_another_version(mastered):
    d = mastered.edge
    version = d.version()
    assert version["replaced"] is False
    d.replace_binary(change=other_version)
    wait_until(lambda: d.version()["replaced"], 5, "it to notice")
    assert d.status()["daemon"]["version"] == version["version"]
    d.upgrade()
    now = d.version()
    assert now["version"] != version["version"]
    assert now["replaced"] is False
    assert now["version"] in tool(d, "version").out
    round_trip(mastered.entry("web"))
    # And back.
    d.replace_binary()
    d.upgrade()
    assert d.version()["version"] == version["version"]
    round_trip(mastered.entry("web"))


@pytest.mark.both_modes
def test_both_ends_at_once(mastered):
    p = mastered
    with connect(p.entry("web")) as user:
        ask(user)
        for _ in range(5):
            pumps = [Pump(d.upgrade) for d in p.both()]
            round_trip(p.entry("web"))
            for pump in pumps:
                pump.result()
            ask(user)
        p.wait_up()
    for d in p.both():
        wait_draining(d, 0)
    round_trip(p.entry("web"))


def test_local_tunnel(alone):
    d = alone()
    with connect(own(d)) as user:
        ask(user)
        d.upgrade()
        ask(user)
        round_trip(own(d))
        wait_draining(d, 1)
    wait_draining(d, 0)


# --- when it is done ------------------------------------------------------

def test_hangup_without_another_binary(mastered):
    """A reload, as ever."""
    p, d = mastered, mastered.edge
    worker = d.worker
    tunnel_of(d, "web")["max_held"] = 7
    hang_up(d)
    settled(d)
    assert d.worker == worker and len(d.processes()) == 1
    assert [c["command"] for c in d.admin("changes")] == ["reload"]
    round_trip(p.entry("web"))


def test_hangup_with_another_binary(mastered):
    """An upgrade; the next one is a reload again."""
    p, d = mastered, mastered.edge
    worker = d.worker
    with connect(p.entry("web")) as user:
        ask(user)
        d.replace_binary(change=other_version)
        tunnel_of(d, "web")["max_held"] = 7
        hang_up(d)
        now = wait_until(lambda: d.worker != worker and d.worker, 15,
                         "another worker")
        settled(d)
        ask(user)
        round_trip(p.entry("web"))
    wait_draining(d, 0)
    tunnel_of(d, "web")["max_held"] = 8
    hang_up(d)
    assert d.worker == now


def test_hangup_with_a_bad_binary(mastered):
    d = mastered.edge
    with untouched(d, (d, "home"), (mastered.home, "edge")):
        d.replace_binary("exit 1")
        d.signal(signal.SIGHUP)
        wait_until(lambda: "upgrade failed" in d.log(), 10, "it to fail")


def test_if_new(mastered):
    """upgrade --if-new: a reload unless the binary is another one."""
    p, d = mastered, mastered.edge
    worker = d.worker
    tunnel_of(d, "web")["max_held"] = 7
    d.write_config()
    assert "max_held" in tool(d, "upgrade", "--if-new").out
    assert d.worker == worker
    settled(d)
    tunnel_of(d, "web")["max_held"] = -1
    d.write_config()
    assert "max_held" in tool(d, "upgrade", "--if-new", status=1).err
    tunnel_of(d, "web")["max_held"] = 8
    d.write_config()
    d.replace_binary()
    said = tool(d, "upgrade", "--if-new").out
    assert said.startswith("upgraded to tunneld ") and d.worker != worker
    settled(d)
    round_trip(p.entry("web"))


def test_no_master(daemon, echo):
    """Nobody would start another one."""
    d = daemon("alone", master=False, tunnels=[
        {"name": "own", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    version = d.version()
    assert (version["pid"], version["master"]) == (d.process.pid, None)
    answer = order(d, "upgrade")
    assert answer["error"]["code"] == "refused"
    assert "--no-master" in answer["error"]["message"]
    assert "--no-master" in refused(d)
    # A reload it can do.
    tool(d, "upgrade", "--if-new")
    hang_up(d)
    assert d.worker == d.process.pid
    round_trip(own(d))


def test_two_at_once(mastered):
    """One is told that the other is at it, or comes after it: no more."""
    p, d = mastered, mastered.edge
    for _ in range(5):
        before = d.worker
        pumps = [Pump(order, d, "upgrade") for _ in range(4)]
        answers = [pump.result() for pump in pumps]
        good = [a for a in answers if a["ok"]]
        assert good
        for bad in (a["error"] for a in answers if not a["ok"]):
            assert bad["code"] in ("refused", "busy", "upgraded"), bad
            assert bad["message"]
        assert d.worker != before
        wait_draining(d, 0)
        round_trip(p.entry("web"))


def test_who_asked_is_gone(mastered):
    """It is done all the same."""
    d = mastered.edge
    before = d.worker
    with connect("unix:" + d.admin_path) as sock:
        sock.sendall(b'{"id": 1, "cmd": "upgrade"}\n')
    wait_until(lambda: d.worker != before, 15, "another worker")
    wait_draining(d, 0)
    round_trip(mastered.entry("web"))


def test_only_admins(pair_of, echo, somebody):
    harness.need_root("becoming another user")
    p = pair_of("plain", [reverse("web", echo.address)], master=True,
                edge={"user": harness.ORDINARY_USER, "daemon": {
                    "admin_group": ADMINS, "admin_read_group": READERS}})
    os.chmod(p.edge.directory, 0o755)
    p.start()
    d = p.edge
    reader = somebody(4711, gid(READERS))
    worker = d.worker
    for _ in range(2):
        assert reader(order_as, d.admin_path, "upgrade", {}) == \
            "not_permitted"
        assert d.worker == worker
    assert d.admin("changes") == []
    admin = somebody(4711, gid(ADMINS))
    assert admin(order_as, d.admin_path, "upgrade", {}) is None
    wait_until(lambda: d.worker != worker, 5, "another worker")
    # The same people may do the same afterwards.
    assert reader(order_as, d.admin_path, "status", {}) is None
    assert reader(order_as, d.admin_path, "upgrade", {}) == "not_permitted"
    assert admin(order_as, d.admin_path, "upgrade", {}) is None
    assert somebody(4711, 4711)(order_as, d.admin_path, "version", {}) == \
        "not_permitted"


def test_as_another_user(daemon, echo):
    """The worker drops what root can do; the next worker is that user, too,
    and can listen on a port that is root's."""
    harness.need_root("dropping it")
    d = daemon("alone", master=True, daemon={"user": harness.ORDINARY_USER},
               tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                         "connect": echo.address}])
    user = pwd.getpwnam(harness.ORDINARY_USER)
    os.chown(d.directory, user.pw_uid, user.pw_gid)
    d.start()
    entry = own(d)

    def owner():
        return os.stat("/proc/%d" % d.worker).st_uid
    assert owner() == user.pw_uid
    with connect(entry) as old:
        ask(old)
        port = next(n for n in range(700, 1000) if is_refused(
            "127.0.0.1:%d" % n))
        d.config["tunnels"].append({
            "name": "low", "listen": "127.0.0.1:%d" % port,
            "connect": echo.address})
        d.write_config()
        for _ in range(2):
            d.upgrade()
            assert owner() == user.pw_uid
            ask(old)
            assert own(d) == entry
            round_trip("127.0.0.1:%d" % port)
    wait_draining(d, 0)
