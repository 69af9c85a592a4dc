# SPDX-License-Identifier: ISC
"""Sessions of workers that drain: they are seen and reached as those of the
current one are, and recorded once; and how draining ends."""

import os
import signal
import time

import pytest

from harness import FACTOR, forward, reverse, wait_until
from processes import identify, is_running
from reloads import seconds
from services import (PATTERN, ask, connect, drain, expect_end, expect_reset,
                      is_alive, round_trip)
from tool import tool
# The fixtures are used by name.
from upgrades import (alone, ended, mastered, order, own,  # noqa: F401
                      wait_draining, workers)


def users_of_three(p, d):
    """Three users, each with a session of another worker, the oldest first:
    ([user, row at d], [worker])."""
    users, pids = [], []
    for count in range(3):
        before = {r["uid"] for r in d.sessions()}
        user = connect(p.entry("web"))
        ask(user, b"x" * (100 * (count + 1)))
        row, = [r for r in d.sessions() if r["uid"] not in before]
        users.append((user, row))
        pids.append(d.worker)
        if count < 2:
            d.upgrade()
            p.wait_up()
    return users, pids


@pytest.fixture(params=["edge", "home"])
def three(request, mastered):
    """(pair, the end with three workers, users, their workers)."""
    d = getattr(mastered, request.param)
    users, pids = users_of_three(mastered, d)
    yield mastered, d, users, pids
    for user, _ in users:
        user.close()


def tunnel_rows(d, name):
    """(the current worker's, {worker: its row})."""
    there = [t for t in d.admin("tunnels") if t["name"] == name]
    current, = [t for t in there if t["worker"] is None]
    old = {t["worker"]: t for t in there if t["worker"]}
    assert len(old) == len(there) - 1
    assert all(t["state"] == "draining" for t in old.values())
    return current, old


# --- seen -----------------------------------------------------------------

def test_seen(three):
    """By status, tunnels, sessions, session, in JSON and for people."""
    p, d, users, pids = three
    wait_draining(d, 2)
    assert [w["pid"] for w in workers(d)] == pids[:2]
    status = d.status()
    assert status["daemon"]["sessions"] == 3
    assert [w["sessions"] for w in workers(d)] == [1, 1]
    current, = [w for w in status["workers"] if w["state"] == "current"]
    assert (current["pid"], current["sessions"]) == (pids[2], 1)
    for row in workers(d):
        assert row["version"] == d.version()["version"]
        assert row["started_at"] < row["draining_since"]
        assert abs(seconds(row["draining_since"]) - time.time()) < 60
    current, old = tunnel_rows(d, "web")
    assert current["sessions"] == 1 and current["state"] == "up"
    assert old.keys() == set(pids[:2])
    assert [t["sessions"] for t in old.values()] == [1, 1]
    told = {r["uid"]: r for r in d.sessions()}
    assert len(d.sessions()) == len(told) == 3
    for count, (user, row) in enumerate(users):
        now = told[row["uid"]]
        assert now["worker"] == (pids[count] if count < 2 else None)
        for key in ("id", "uid", "opened_at", "source", "tunnel", "peer"):
            assert now[key] == row[key]
        assert now["up_bytes"] == now["down_bytes"] == 100 * (count + 1)
        one = d.admin("session", id=row["id"])
        assert one["uid"] == row["uid"]
        assert d.ctl("session", row["id"])["state"] == "open"
        assert [r["id"] for r in d.sessions(source=row["source"].rsplit(
            ":", 1)[0])] and str(row["id"]) in tool(d, "sessions").out
    assert len(d.ctl("sessions")) == len(d.sessions(tunnel="web")) == 3
    assert len(d.sessions(peer=d.peer()["name"])) == 3
    said = tool(d, "status").out
    assert all(str(pid) in said for pid in pids)
    # The other end needs no telling.
    far = p.home if d is p.edge else p.edge
    assert {r["uid"] for r in far.sessions()} == set(told)
    assert workers(far) == []


def test_their_bytes_are_seen(three):
    p, d, users, pids = three
    for count, (user, row) in enumerate(users):
        ask(user, PATTERN[:1000])
        now = d.admin("session", id=row["id"])
        assert now["up_bytes"] == 1000 + 100 * (count + 1)
        assert now["idle"] < 10 * FACTOR


def test_not_found_is_said_once(three):
    """What none of them has."""
    p, d, users, pids = three
    assert order(d, "session", id=999999)["error"]["code"] == "not_found"
    assert order(d, "sessions", tunnel="none")["error"]["code"] == \
        "not_found"
    answer = order(d, "kill", ids=[999999])
    assert not answer["ok"] or answer["data"]["not_found"] == [999999]
    assert "999999" in tool(d, "kill", "999999", status=1).text
    assert len(d.sessions()) == 3


# --- reached --------------------------------------------------------------

def test_killed_by_id(three):
    p, d, users, pids = three
    for user, row in users:
        said = d.ctl("kill", row["id"])
        assert len(said["killed"]) == 1
        expect_reset(user)
        assert d.closed_one(row["uid"])["close_reason"] == "killed"
    for d in p.both():
        d.wait_sessions(0)
    wait_draining(d, 0)
    far = p.home if three[1] is p.edge else p.edge
    # Whose link is gone says it with a reset.
    reasons = {r["uid"]: r["close_reason"] for r in far.closed(3)}
    assert reasons[users[2][1]["uid"]] == "killed_by_peer"
    assert set(reasons.values()) <= {"killed_by_peer", "reset"}


def test_several_ids_at_once(three):
    p, d, users, pids = three
    ids = [row["id"] for _, row in users]
    said = tool(d, "kill", *ids, 999999, status=1).text
    assert "999999" in said
    for user, row in users:
        expect_reset(user)
    assert [r["close_reason"] for r in d.closed(3)] == ["killed"] * 3


@pytest.mark.parametrize("words", [
    ["-t", "web"], ["-S", "127.0.0.1"], ["-p", "PEER"]])
def test_killed_by_selectors(three, words):
    """All of them, whoever has them."""
    p, d, users, pids = three
    words = [d.peer()["name"] if word == "PEER" else word for word in words]
    done = d.ctl("kill", *words)
    assert sorted(k["id"] if isinstance(k, dict) else k
                  for k in done["killed"]) == \
        sorted(row["id"] for _, row in users)
    for user, _ in users:
        expect_reset(user)
    wait_draining(d, 0)
    round_trip(p.entry("web"))


@pytest.mark.both_modes
def test_killed_by_the_far_end(three):
    """Its CLOSE finds the worker that has the session, link or no link."""
    p, d, users, pids = three
    far = p.home if d is p.edge else p.edge
    ids = {r["uid"]: r["id"] for r in far.sessions()}
    for user, row in users:
        far.ctl("kill", ids[row["uid"]])
        expect_reset(user)
    for _, row in users:
        assert far.closed_one(row["uid"])["close_reason"] == "killed"
        # What the link cannot carry any more, the channel's reset says.
        assert d.closed_one(row["uid"])["close_reason"] in (
            "killed_by_peer", "reset", "channel_lost")
    wait_draining(d, 0)


def test_disable_with_kill(three):
    p, d, users, pids = three
    d.ctl("disable", "web", "--kill")
    for user, row in users:
        expect_reset(user)
        assert d.closed_one(row["uid"])["close_reason"] in ("disabled",
                                                            "killed")
    wait_draining(d, 0)


def test_disable_leaves_them(three):
    p, d, users, pids = three
    d.ctl("disable", "web")
    for user, _ in users:
        ask(user)
    d.ctl("enable", "web")
    round_trip(p.entry("web"))


def test_one_that_hangs(three):
    """A draining worker stands still: the others are shown and reached, and
    it is said of whom nothing is known."""
    p, d, users, pids = three
    hanging, entry = d.processes()[0].pid, p.entry("web")
    assert hanging == pids[0]
    os.kill(hanging, signal.SIGSTOP)
    try:
        began = time.monotonic()
        said = tool(d, "sessions", status=None)
        assert str(hanging) in said.err, said
        for _, row in users[1:]:
            assert str(row["id"]) in said.out
        d.version()
        said = tool(d, "kill", "-t", "web", status=1)
        assert str(hanging) in said.text
        for user, _ in users[1:]:
            expect_reset(user)
        assert is_alive(users[0][0])
        assert time.monotonic() - began < 20 * FACTOR
        round_trip(entry)
    finally:
        os.kill(hanging, signal.SIGCONT)
    # What it was told to do meanwhile, it may do now.
    wait_until(lambda: order(d, "sessions")["ok"] and
               order(d, "tunnels")["ok"], 10, "it to be heard again")


def test_one_that_dies(three):
    """Only its own session goes."""
    p, d, users, pids = three
    os.kill(pids[0], signal.SIGKILL)
    assert drain(users[0][0]) in ("reset", "end")
    wait_draining(d, 1)
    ask(users[1][0])
    ask(users[2][0])
    assert d.worker == pids[2]
    assert len(d.sessions()) == 2
    row = d.closed_one(users[0][1]["uid"], 60)
    assert row["close_reason"] in ("daemon_lost", "channel_lost", "reset")


# --- recorded -------------------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("kind", [reverse, forward])
def test_recorded_once(pair, security, echo, kind):
    """Every session has one row at either end, with all its bytes, those of
    the time after the upgrade, too; each worker is a run that ended well."""
    p = pair(security, [kind("web", echo.address)], master=True)
    wanted = {}
    users = []
    pids = {d.name: [d.worker] for d in p.both()}
    for count in range(4):
        known = {r["uid"] for r in p.edge.sessions()}
        user = connect(p.entry("web"))
        ask(user, PATTERN[:1000])
        row, = [r for r in p.edge.sessions() if r["uid"] not in known]
        users.append((user, row["uid"]))
        d = p.both()[count % 2]
        pids[d.name].append(d.upgrade()[0])
        p.wait_up()
    for count, (user, uid) in enumerate(users):
        ask(user, PATTERN[:500 * (count + 1)])
        wanted[uid] = 1000 + 500 * (count + 1)
        user.close()
    for d in p.both():
        d.wait_sessions(0)
        wait_draining(d, 0)
        history = {r["uid"]: r for r in d.closed(4)}
        assert history.keys() == wanted.keys()
        for uid, count in wanted.items():
            assert history[uid]["up_bytes"] == count
            assert history[uid]["down_bytes"] == count
            assert history[uid]["close_reason"] == "closed"
        assert len(d.query("select * from sessions")) == 4
        for pid in pids[d.name][:-1]:
            assert ended(d, pid) == "stopped"
        assert ended(d, pids[d.name][-1]) is None
        for row in d.query("select reason from links where down_at > 0"):
            assert row["reason"] != "daemon_lost"


@pytest.mark.both_modes
def test_lost_with_all_of_it(mastered):
    """Counters of draining sessions are written, too: after the end of
    everything they are there."""
    p = mastered
    with connect(p.entry("web")) as user:
        ask(user, PATTERN[:1000])
        uid = p.the_uid()
        p.edge.upgrade()
        ask(user, PATTERN[:234])
        wait_until(lambda: p.edge.query(
            "select * from sessions where up_bytes = 1234"), 20,
            "its counters to be written")
        p.edge.kill()
    p.edge.start()
    row = p.edge.closed_one(uid)
    assert row["close_reason"] == "daemon_lost"
    assert row["up_bytes"] == row["down_bytes"] == 1234


# --- the end of draining --------------------------------------------------

@pytest.mark.both_modes
def test_drain_timeout(mastered):
    """Then its sessions end, recorded as what they are, and it goes. Those
    of others do not, and status said when."""
    p, d = mastered, mastered.edge
    d.config["daemon"]["drain_timeout"] = 3.0
    d.write_config()
    d.ctl("reload")
    with connect(p.entry("web")) as user:
        ask(user)
        uid = p.the_uid()
        began = time.monotonic()
        now, before = d.upgrade()
        old, = workers(d)
        left = seconds(old["until"]) - seconds(old["draining_since"])
        assert 2.9 < left < 3.2
        with connect(p.entry("web")) as other:
            ask(other)
            drain(user)
            assert 2.5 < time.monotonic() - began < 3 + 4 * FACTOR
            wait_draining(d, 0)
            ask(other)
            assert d.worker == now
    row = d.closed_one(uid)
    assert (row["close_reason"], row["closed_by"]) == ("shutdown", "daemon")
    assert p.home.closed_one(uid)["close_reason"] != "daemon_lost"
    assert ended(d, before) == "stopped"


@pytest.mark.bound(240)
def test_17_upgrades(mastered):
    """No more than 16 drain: then the oldest ends its sessions. A kill by
    tunnel reaches all of them."""
    p, d = mastered, mastered.edge
    users = []
    try:
        for count in range(17):
            known = {r["uid"] for r in d.sessions()}
            user = connect(p.entry("web"))
            ask(user)
            row, = [r for r in d.sessions() if r["uid"] not in known]
            users.append((user, row["uid"]))
            if count == 16:
                oldest = identify(workers(d)[0]["pid"])
            d.upgrade()
            p.wait_up()
            if count == 15:
                wait_draining(d, 16)
        first, uid = users.pop(0)
        drain(first)
        first.close()
        row = d.closed_one(uid)
        assert (row["close_reason"], row["closed_by"]) == ("shutdown",
                                                           "daemon")
        wait_until(lambda: not is_running(oldest), 10, "the oldest to go")
        wait_draining(d, 16)
        for user, _ in users:
            ask(user, b"still here")
        assert len(d.sessions()) == 16 == d.status()["daemon"]["sessions"]
        assert len(d.ctl("kill", "-t", "web")["killed"]) == 16
        for user, _ in users:
            expect_reset(user)
        wait_draining(d, 0)
    finally:
        for user, _ in users:
            user.close()
    round_trip(p.entry("web"))


@pytest.mark.both_modes
def test_a_half_closed_session(mastered, closing):
    """The user has ended; the answer comes after the upgrade."""
    p = mastered
    user = closing(connect(p.entry("web")))
    ask(user)
    for d in p.both():
        d.upgrade()
    user.sendall(b"bye")
    user.shutdown(1)
    assert user.recv(3) == b"bye"
    expect_end(user)
    for d in p.both():
        wait_draining(d, 0)
        assert d.closed()[0]["close_reason"] == "closed"


def test_of_a_local_tunnel(alone):
    """Its sessions are one row, and have no peer to tell."""
    d = alone()
    with connect(own(d)) as user, connect(own(d)) as other:
        ask(user)
        ask(other)
        d.upgrade()
        row = d.sessions()[0]
        d.ctl("kill", row["id"])
        assert len(d.sessions()) == 1
    wait_draining(d, 0)
    assert sorted(r["close_reason"] for r in d.closed(2)) == ["closed",
                                                              "killed"]
