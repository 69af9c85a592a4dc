# SPDX-License-Identifier: ISC
"""Sessions over reloads: those of a tunnel that did not change, and the old
ones of a tunnel that did, or that went."""

import threading
import time

import pytest

from harness import FACTOR, forward, reverse, wait_until
from reloads import (apply, is_refused, link_since, listening, peer_of, pour,
                     remove, rows, seconds, settled, tunnel_of)
from services import (Pump, ask, connect, expect_end, expect_reset, is_alive,
                      refused_user, round_trip, take_pattern)
from test_disable import Case, case
from tool import tool

pytestmark = pytest.mark.both_modes

LONG = {"hold": 60.0}


def change(c, **keys):
    """Another value of something, and whatever else is wanted."""
    web = tunnel_of(c.d, "web")
    web.update({"max_sessions": web.get("max_sessions", 100) + 1}, **keys)
    return apply(c.d)


def drop(c):
    remove(c.d, "web")
    return apply(c.d)


def nobody_served(c):
    """At the entry nobody listens; at the exit the user is turned away."""
    if c.where == "exit":
        refused_user(c.entry)
    else:
        assert is_refused(c.entry)


# --- not touched ----------------------------------------------------------

@pytest.mark.parametrize("kind", [reverse, forward])
def test_untouched_under_load(pair, security, listener, echo, kind):
    """Bytes flow both ways while all around it changes, at either end."""
    p = pair(security, [kind("web", listener.address),
                        reverse("other", echo.address)])
    enough = threading.Event()
    with connect(p.entry("web")) as user, listener.accept() as service, \
            connect(p.entry("other")) as old:
        ask(old)
        uids = {r["uid"] for r in p.edge.wait_sessions(2)}
        since = [link_since(d, None) for d in p.both()]
        ports = [listening(d) for d in p.both()]
        senders = [Pump(pour, sock, salt, enough)
                   for salt, sock in enumerate((user, service))]
        takers = [Pump(take_pattern, sock) for sock in (service, user)]
        for count in range(1, 17):
            for d in p.both():
                tunnel_of(d, "other")["max_sessions"] = 1000 + count
                d.config["peers"][0]["pool"] = count % 3
                d.config["daemon"]["retention_days"] = count
                if count % 2:
                    d.config["tunnels"].insert(0, {
                        "name": "extra", "listen": "127.0.0.1:0",
                        "connect": echo.address})
                else:
                    remove(d, "extra")
                assert len(apply(d)) == 4
                # It is the same one all the time, not its heir.
                current, others = rows(d, "web")
                assert (current["sessions"], others) == (1, [])
            ask(old, b"still here")
        enough.set()
        sums = [sender.result() for sender in senders]
        assert [taker.result() for taker in takers] == sums
        assert since == [link_since(d, None) for d in p.both()]
        assert ports == [listening(d) for d in p.both()]
        for d in p.both():
            settled(d)
            row, = d.closed(1)
            assert {r["uid"] for r in [row] + d.sessions()} == uids
            assert row["close_reason"] == "closed"
            assert [row["up_bytes"], row["down_bytes"]] == \
                [size for size, _ in sums]


# --- they run on ----------------------------------------------------------

def test_old_sessions_run_on(case):
    """Under the old settings, while new users come under the new ones; and
    what status says of it."""
    with connect(case.entry) as user:
        ask(user, b"x" * 1000)
        uid = case.d.wait_sessions(1)[0]["uid"]
        change(case)
        settled(case.d)
        current, (old,) = rows(case.d, "web")
        assert current["sessions"] == 0 and current["state"] == "up"
        assert current["sessions_total"] == 1
        assert old["sessions"] == 1
        assert old["draining"]["changed"] is True
        assert old["draining"]["until"] is None
        assert abs(seconds(old["draining"]["since"]) - time.time()) < 30
        for words in (["status"], ["tunnels"]):
            assert "draining" in tool(case.d, *words).out
        with connect(case.entry) as other:
            ask(other)
            ask(user, b"y" * 1000)
            assert len(case.d.wait_sessions(2)) == 2
            assert {r["uid"] for r in case.d.sessions(tunnel=case.name)} >= \
                {uid}
        case.d.closed(1)
    row = case.d.closed_one(uid)
    assert row["close_reason"] == "closed"
    assert row["up_bytes"] == row["down_bytes"] == 2000
    wait_until(lambda: not rows(case.d, "web")[1], 5, "it to be drained")
    current, _ = rows(case.d, "web")
    assert current["up_bytes"] == 2004 and current["sessions_total"] == 2
    assert "draining" not in tool(case.d, "tunnels").out


def test_removed(case):
    """New users are refused, the old one does not notice."""
    with connect(case.entry) as user:
        ask(user)
        uid = case.d.wait_sessions(1)[0]["uid"]
        drop(case)
        settled(case.d)
        nobody_served(case)
        ask(user, b"still here")
        current, (old,) = rows(case.d, "web")
        assert current is None and old["sessions"] == 1
        assert old["draining"]["changed"] is False
        assert "draining" in tool(case.d, "status").out
        assert uid in {r["uid"] for r in case.d.sessions()}
    assert case.d.closed_one(uid)["close_reason"] == "closed"
    wait_until(lambda: rows(case.d, "web") == (None, []), 5,
               "nothing to be left of it")
    nobody_served(case)
    if case.far:
        assert case.far.is_up()


def test_removed_and_there_again(case):
    """While its old sessions run; it is one tunnel."""
    if case.where != "exit":
        tunnel_of(case.d, "web")["listen"] = case.entry
        apply(case.d)
    with connect(case.entry) as user:
        ask(user)
        web = remove(case.d, "web")
        apply(case.d)
        nobody_served(case)
        case.d.config["tunnels"].append(web)
        apply(case.d)
        settled(case.d)
        round_trip(case.entry)
        current, (old,) = rows(case.d, "web")
        assert old["sessions"] == 1 and current["sessions"] == 0
        ask(user, b"still here")
        assert len(case.d.ctl("kill", "-t", case.name)["killed"]) == 1
        expect_reset(user)


def test_end_of_the_daemon_while_it_drains(case):
    with connect(case.entry) as user:
        ask(user)
        case.d.wait_sessions(1)
        change(case)
        ask(user)
        case.d.stop()
        expect_reset(user)
    row, = case.d.query("select close_reason from sessions "
                        "where closed_at is not null")
    assert row["close_reason"] == "shutdown"


# --- they end -------------------------------------------------------------

def check_ended(c, user, uid):
    expect_reset(user)
    assert c.d.closed_one(uid)["close_reason"] == "reload"
    if c.far:
        assert c.far.closed_one(uid)["close_reason"] in (
            "reload", "killed_by_peer", "reset")
    wait_until(lambda: not rows(c.d, "web")[1], 5, "it to be drained")


@pytest.mark.parametrize("what", ["changed", "removed"])
def test_kill(case, what):
    """At once. Of a changed tunnel the new word counts, of a removed one the
    old one."""
    if what == "removed":
        change(case, on_change="kill")
    with connect(case.entry) as user:
        ask(user)
        uid = case.d.wait_sessions(1)[0]["uid"]
        if what == "changed":
            tunnel_of(case.d, "web").update(on_change="kill", max_held=9)
            data = apply(case.d)
            assert [c["sessions"] for c in data] == [1]
        else:
            drop(case)
        check_ended(case, user, uid)
    if what == "changed":
        round_trip(case.entry)
        with connect(case.entry) as user:   # the new word again
            ask(user)
            change(case, on_change="keep")
            ask(user, b"kept")
    else:
        nobody_served(case)


@pytest.mark.parametrize("what", ["changed", "removed"])
def test_drain(case, what):
    """After the time, not before; who leaves earlier leaves in order."""
    patience = 1.5 * FACTOR
    word = "drain:%g" % patience
    if what == "removed":
        change(case, on_change=word)
    with connect(case.entry) as user, connect(case.entry) as early:
        ask(user)
        ask(early)
        case.d.wait_sessions(2)
        port = early.getsockname()
        drop(case) if what == "removed" else change(case, on_change=word)
        began = time.monotonic()
        _, (old,) = rows(case.d, "web")
        assert old["sessions"] == 2
        drain = old["draining"]
        assert abs(seconds(drain["until"]) - seconds(drain["since"]) -
                   patience) < 0.1
        by_port = {r["source"].split(":")[-1]: r["uid"]
                   for r in case.d.sessions()}
        left = by_port.pop(str(port[1]))
        uid, = by_port.values()
        early.shutdown(1)
        expect_end(early)
        assert case.d.closed_one(left)["close_reason"] == "closed"
        ask(user, b"still here")
        while time.monotonic() - began < patience * 0.7:
            assert is_alive(user)
            time.sleep(0.05)
        check_ended(case, user, uid)
        assert patience * 0.9 < time.monotonic() - began < patience + 5
    if what == "changed":
        round_trip(case.entry)


def test_each_generation_has_its_time(case):
    """What was said when it became old counts, not what is said later."""
    with connect(case.entry) as first:
        ask(first)
        case.d.wait_sessions(1)
        change(case, on_change="drain:%g" % FACTOR)
        with connect(case.entry) as second:
            ask(second)
            case.d.wait_sessions(2)
            change(case, on_change="keep")
            assert len(rows(case.d, "web")[1]) == 2
            expect_reset(first)
            ask(second, b"still here")


def test_kill_and_sessions_reach_them(case):
    """Three generations of one tunnel, under one name."""
    users = []
    try:
        for _ in range(4):
            users.append(connect(case.entry))
            ask(users[-1])
            case.d.wait_sessions(len(users))
            change(case)
        current, old = rows(case.d, "web")
        assert current["sessions"] == 0
        assert [t["sessions"] for t in old] == [1] * 4
        assert len(case.d.sessions(tunnel=case.name)) == 4
        first = min(case.d.sessions(), key=lambda r: r["id"])
        assert case.d.ctl("kill", first["id"])["killed"] == [first["id"]]
        expect_reset(users.pop(0))
        dry = tool(case.d, "--json", "kill", "-d", "-t", case.name).json
        assert len(dry) == 3
        assert len(case.d.ctl("kill", "-t", case.name)["killed"]) == 3
        for user in users:
            expect_reset(user)
        wait_until(lambda: not rows(case.d, "web")[1], 5, "it to be drained")
    finally:
        for user in users:
            user.close()


# --- what is counted ------------------------------------------------------

def test_max_sessions_counts_the_old_ones(case):
    with connect(case.entry) as one, connect(case.entry) as two:
        ask(one)
        ask(two)
        case.d.wait_sessions(2)
        change(case, max_sessions=2)
        refused_user(case.entry)
        entry = case.far if case.where == "exit" else case.d
        assert entry.closed(1)[0]["close_reason"] == "limit"
        one.close()
        case.d.wait_sessions(1)
        with connect(case.entry) as three:
            ask(three)
            ask(two)


def test_counters_go_on(case):
    """Total, refused ones and the last error are the tunnel's."""
    change(case, max_sessions=1)
    with connect(case.entry) as user:
        ask(user)
        if case.where != "exit":    # the entry counts them
            refused_user(case.entry)
            wait_until(lambda: case.row()["refused"] == 1, 5, "the count")
            assert case.row()["last_error"]
    case.d.wait_sessions(0)
    before = case.row()
    assert before["up_bytes"] == 4
    change(case, max_sessions=9)
    after = case.row()
    for key in ("refused", "sessions_total", "last_error", "last_error_at",
                "up_bytes", "down_bytes"):
        assert after[key] == before[key], key


# --- under which settings -------------------------------------------------

def test_service_moves(pair, security, listener, closing, echo):
    """New users reach the new one, at once."""
    p = pair(security, [reverse("web", listener.address)])
    user = closing(connect(p.entry("web")))
    service = listener.accept()
    tunnel_of(p.home, "web")["connect"] = echo.address
    apply(p.home)
    round_trip(p.entry("web"))
    user.sendall(b"to the old one")
    assert service.recv(100) == b"to the old one"
    service.sendall(b"and back")
    assert user.recv(100) == b"and back"


def test_networks_and_times(case):
    """The old session under the old ones."""
    short = 0.6 * FACTOR
    with connect(case.entry) as old:
        ask(old)
        change(case, idle_timeout=short)
        with connect(case.entry) as new:
            ask(new)
            expect_reset_or_end(new)
        change(case, deny=["127.0.0.0/8"], idle_timeout=0.0)
        refused_user(case.entry)
        ask(old, b"still in")
        change(case, deny=[], idle_timeout=short)
        with connect(case.entry) as new:
            ask(new)
            change(case, idle_timeout=0.0)
            expect_reset_or_end(new)
        ask(old, b"still in")
    reasons = [r["close_reason"] for r in case.d.closed(3)]
    assert sorted(reasons) == ["closed", "idle_timeout", "idle_timeout"]


def expect_reset_or_end(user):
    try:
        assert user.recv(1) == b""
    except ConnectionResetError:
        pass


# --- not served yet -------------------------------------------------------

@pytest.mark.parametrize("what", ["changed", "removed", "peer"])
def test_held_users_wait_on(pair, echo, closing, what):
    """For the link, over a reload; and are served."""
    p = pair("plain", [reverse("web", echo.address, entry=LONG)])
    p.home.kill()
    p.edge.wait_not_up()
    held = closing(connect(p.entry("web")))
    p.edge.wait_sessions(1)
    c = Case("entry", None, p.edge, "home/web", p.home)
    if what == "peer":
        peer_of(p.edge, "home")["pool"] = 5
        apply(p.edge)
    elif what == "changed":
        change(c)
    else:
        drop(c)
    settled(p.edge)
    assert is_alive(held)
    p.home.start()
    ask(held)


@pytest.mark.parametrize("what", ["changed", "removed"])
def test_held_users_wait_no_longer(pair, echo, what):
    """Than they would have."""
    hold = 1.0 * FACTOR
    p = pair("plain", [reverse("web", echo.address, entry={"hold": hold})])
    p.home.kill()
    p.edge.wait_not_up()
    c = Case("entry", None, p.edge, "home/web", p.home)
    with connect(p.entry("web")) as held:
        uid = p.edge.wait_sessions(1)[0]["uid"]
        change(c, hold=3600.0) if what == "changed" else drop(c)
        expect_reset(held)
    assert p.edge.closed_one(uid)["close_reason"] == "link_down"
    if what == "changed":
        with connect(p.entry("web")) as held:
            p.edge.wait_sessions(1)
            change(c, on_change="kill")
            expect_reset(held)


def test_user_without_a_channel_waits_on(pair, security, echo, closing):
    """All channels are taken; one becomes free after the reload."""
    p = pair(security, [reverse("web", echo.address,
                                entry={"connect_timeout": 60.0})],
             link={"max_channels": 1, "pool": 1})
    first = closing(connect(p.entry("web")))
    ask(first)
    second = closing(connect(p.entry("web")))
    p.edge.wait_sessions(2)
    c = Case("entry", None, p.edge, "home/web", p.home)
    change(c, connect_timeout=60.5)
    first.close()
    ask(second)


# --- switched off ---------------------------------------------------------

def test_disabled_stays_disabled(case):
    """Changed, left alone, removed and there again."""
    case.d.ctl("disable", case.name)
    said = case.row()["disabled"]
    assert said
    change(case)
    assert case.row()["disabled"] == said
    case.d.config["daemon"]["max_rows"] = 77
    apply(case.d)
    assert case.row()["disabled"] == said
    refused_user(case.entry)
    web = remove(case.d, "web")
    apply(case.d)
    case.d.config["tunnels"].append(dict(
        web, **({} if case.where == "exit" else {"listen": case.entry})))
    apply(case.d)
    assert case.row()["disabled"] == said
    refused_user(case.entry)
    assert case.d.ctl("enable", case.name)["changed"] is True
    round_trip(case.entry)
    change(case)
    assert case.row()["disabled"] is None
    round_trip(case.entry)


def test_disabled_peer_stays_disabled(pair, echo):
    p = pair("plain", [reverse("web", echo.address)])
    d = p.home
    d.ctl("disable", "-p", "edge")
    said = d.peer()["disabled"]
    for keys in ({"pool": 4}, {"security": "tls"}, {"security": "plain"}):
        peer_of(d, "edge").update(keys)
        apply(d)
        assert d.peer()["disabled"] == said
        assert d.peer()["state"] == "disabled"
    web, peer = remove(d, "web"), d.config["peers"].pop()
    apply(d)
    d.config["peers"].append(peer)
    d.config["tunnels"].append(web)
    apply(d)
    assert d.peer()["disabled"] == said
    d.ctl("enable", "-p", "edge")
    p.wait_up()
    round_trip(p.entry("web"))
