# SPDX-License-Identifier: ISC
"""Listeners over reloads: they move with their address, and never close
while somebody has it."""

import os
import signal
import socket

import pytest

from harness import free_port, reverse, wait_until
from reloads import (Caller, apply, ask_reload, is_refused, link_since,
                     listening, peer_of, picture, refused, remove, rows,
                     settled, tunnel_of)
from services import ask, connect, is_alive, round_trip


def local(port_or_path):
    return port_or_path if isinstance(port_or_path, str) else \
        "127.0.0.1:%d" % port_or_path


@pytest.fixture
def alone(daemon, echo):
    """alone({tunnel: address}, ...): a daemon with local tunnels."""
    def make(places, **kw):
        return daemon("alone", tunnels=[
            {"name": name, "listen": local(place), "connect": echo.address}
            for name, place in places.items()], **kw).start()
    return make


def address_of(kind, d_path, name):
    return "unix:%s.%s" % (d_path, name) if kind == "unix" else \
        "127.0.0.1:%d" % free_port()


@pytest.fixture(params=["tcp", "unix"])
def two(request, daemon, echo, tmp_path):
    """A daemon with the tunnels a and b, of either kind of address."""
    places = [address_of(request.param, "%s/s" % tmp_path, n) for n in "ab"]
    return daemon("alone", tunnels=[
        {"name": name, "listen": place, "connect": echo.address}
        for name, place in zip("ab", places)]).start(), places


def inode(d, address):
    if address.startswith("unix:"):
        return os.stat(address[5:]).st_ino
    return listening(d)[address]


def serves(d, name, address):
    """A user who comes there is a session of that tunnel."""
    before = {r["uid"] for r in d.sessions()}
    with connect(address) as user:
        ask(user)
        if address.startswith("unix:"):
            assert name in {r["tunnel"] for r in d.sessions()
                            if r["uid"] not in before}
            return
        source = "127.0.0.1:%d" % user.getsockname()[1]
        row, = [r for r in d.sessions() if r["source"] == source]
        assert row["tunnel"] == name


# --- from tunnel to tunnel ------------------------------------------------

def test_two_swap(two, closing):
    """Again and again; those who come meanwhile are all served."""
    d, (here, there) = two
    inodes = [inode(d, a) for a in (here, there)]
    callers = [closing(Caller(a)) for a in (here, there)]
    with connect(here) as user:
        ask(user)
        for _ in range(10):
            a, b = tunnel_of(d, "a"), tunnel_of(d, "b")
            a["listen"], b["listen"] = b["listen"], a["listen"]
            apply(d)
            settled(d)
            for caller in callers:
                caller.more()
            ask(user, b"still here")
    for caller in callers:
        caller.stop()
    assert [inode(d, a) for a in (here, there)] == inodes
    a["listen"], b["listen"] = there, here
    apply(d)
    serves(d, "a", there)
    serves(d, "b", here)


def test_heir_of_a_removed_one(two, closing):
    """b takes a's place as a goes; b's own is free then."""
    d, (here, there) = two
    before = inode(d, here)
    caller = closing(Caller(here))
    gone = remove(d, "a")
    tunnel_of(d, "b")["listen"] = here
    apply(d)
    settled(d)
    caller.more()
    assert is_refused(there)
    d.config["tunnels"].insert(0, dict(gone, listen=there))
    apply(d)
    serves(d, "a", there)
    caller.more()
    caller.stop()
    serves(d, "b", here)
    assert inode(d, here) == before


def test_changed_in_place(two, closing):
    """All else of a tunnel changes; the listener is the same."""
    d, (here, there) = two
    inodes = [inode(d, a) for a in (here, there)]
    callers = [closing(Caller(a)) for a in (here, there)]
    for count in range(1, 11):
        tunnel_of(d, "a")["max_held"] = count
        apply(d)
        callers[0].more()
    renamed = tunnel_of(d, "a")
    renamed["name"] = "c"
    apply(d)
    for caller in callers:
        caller.more()
        caller.stop()
    assert [inode(d, a) for a in (here, there)] == inodes
    serves(d, "c", here)


def test_free_at_once(two):
    """A removed one's place can be taken by others; then a reload that wants
    it back fails, and works when they have gone."""
    d, (here, there) = two
    with connect(here) as user:
        ask(user)
        gone = remove(d, "a")
        apply(d)
        assert is_refused(here)
        if here.startswith("unix:"):
            assert not os.path.exists(here[5:])
            other = socket.socket(socket.AF_UNIX)
            other.bind(here[5:])
        else:
            other = socket.socket()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(here.split(":")[1])))
        other.listen()
        d.config["tunnels"].append(gone)
        before = picture(d)
        errors = refused(d)
        assert any(here in e["message"] for e in errors), errors
        assert picture(d) == before
        other.close()
        apply(d)
        settled(d)
        serves(d, "a", here)
        ask(user, b"still here")


def test_moves_away_and_back(two):
    d, (here, there) = two
    third = here + "3" if here.startswith("unix:") else \
        "127.0.0.1:%d" % free_port()
    for place, left in ((third, here), (here, third), (third, here)):
        tunnel_of(d, "a")["listen"] = place
        apply(d)
        serves(d, "a", place)
        assert is_refused(left)
        serves(d, "b", there)


def test_ports_that_were_picked(alone):
    """Port 0: each keeps what it got, also when all change at once."""
    d = alone({"a": 0, "b": 0, "c": 0})
    ports = {name: d.tunnel(name)["listen"] for name in "abc"}
    for name in "abc":
        tunnel_of(d, name)["max_held"] = 7
    apply(d)
    for name in "abc":
        assert rows(d, name)[0]["listen"] == ports[name]
        serves(d, name, ports[name])
    remove(d, "b")
    tunnel_of(d, "c")["max_held"] = 8
    d.config["tunnels"].append(dict(tunnel_of(d, "c"), name="d"))
    apply(d)
    settled(d)
    for name in "ac":
        serves(d, name, ports[name])
    serves(d, "d", rows(d, "d")[0]["listen"])


@pytest.mark.parametrize("what", ["removed", "moved", "overlap", "changed"])
def test_who_stands_in_the_queue(alone, what):
    """Came before the reload, was not accepted yet, and is served."""
    port = free_port()
    d = alone({"a": port, "b": free_port()})
    d.signal(signal.SIGSTOP)
    users = []
    try:
        users = [connect(local(port)) for _ in range(300)]
        if what == "removed":
            remove(d, "a")
        elif what == "changed":
            tunnel_of(d, "a")["max_held"] = 3
        else:
            tunnel_of(d, "a")["listen"] = "127.0.0.1:0" \
                if what == "moved" else "0.0.0.0:%d" % port
        d.write_config()
        d.signal(signal.SIGHUP)
        d.signal(signal.SIGCONT)
        for user in users:
            ask(user)
        settled(d)
        assert len(d.sessions()) == 300
    finally:
        d.signal(signal.SIGCONT)
        for user in users:
            user.close()


# --- from tunnel to gateway -----------------------------------------------

def test_to_the_gateway_and_back(pair, closing, echo):
    """The two ports are the same sockets all the time, and never closed."""
    fix, gate, place = ["127.0.0.1:%d" % free_port() for _ in range(3)]
    p = pair("plain", [reverse("web", echo.address, place)],
             gateway=[fix, gate])
    d = p.edge
    before = listening(d)
    assert set(before) == {fix, gate, place}
    knockers = [closing(Caller(a, word=b"")) for a in (gate, place)]
    since = link_since(d, "home")
    for _ in range(4):
        web, gates = tunnel_of(d, "web"), d.config["gateway"]["listen"]
        web["listen"], gates[1] = gates[1], web["listen"]
        apply(d)
        settled(d)
        for knocker in knockers:
            knocker.more()
        round_trip(web["listen"])
    web["listen"], gates[1] = gate, place
    apply(d)
    for knocker in knockers:
        knocker.stop()
    assert listening(d) == before
    assert link_since(d, "home") == since
    peer_of(p.home, "edge")["connect"] = place
    apply(p.home)
    wait_until(lambda: p.home.peer()["state"] == "up" and
               p.home.peer()["address"] == place, 10, "the new gateway")
    p.wait_up()
    round_trip(gate)


def test_gateway_moves(pair, security, echo, closing):
    """Links stay; the old address is free, the new one accepts."""
    p = pair(security, [reverse("web", echo.address)])
    d = p.edge
    old = d.gateway()
    since = [link_since(x, None) for x in p.both()]
    new = d.config["gateway"]["listen"] = \
        ["127.0.0.1:%d" % free_port(), "127.0.0.1:%d" % free_port()]
    apply(d)
    settled(d)
    assert d.status()["gateway"]["listen"] == new
    assert is_refused(old)
    round_trip(p.entry("web"))
    assert [link_since(x, None) for x in p.both()] == since
    peer_of(p.home, "edge")["connect"] = new[1]
    apply(p.home)
    wait_until(lambda: p.home.peer()["state"] == "up" and
               p.home.peer()["address"] == new[1], 10, "the new gateway")
    p.wait_up()
    round_trip(p.entry("web"))
    new.pop(0)
    apply(d)
    assert d.status()["gateway"]["listen"] == new
    p.wait_up()


# --- addresses that overlap -----------------------------------------------

def elsewhere(port):
    return "127.0.0.2:%d" % port


@pytest.mark.parametrize("kind", ["tunnel", "gateway"])
def test_overlap(daemon, echo, closing, kind):
    """From one address to all of them and back. Who is in stays in."""
    port = free_port()
    one, every = "127.0.0.1:%d" % port, "0.0.0.0:%d" % port
    d = daemon("alone", gateway=[one] if kind == "gateway" else None,
               tunnels=[{"name": "a", "listen": one if kind == "tunnel" else
                         "127.0.0.1:0", "connect": echo.address}]).start()
    user = closing(connect(one))
    if kind == "tunnel":
        ask(user)
    for _ in range(3):
        for place in (every, one):
            if kind == "tunnel":
                tunnel_of(d, "a")["listen"] = place
            else:
                d.config["gateway"]["listen"] = [place]
            apply(d)
            settled(d)
            assert place in listening(d)
            assert is_refused(elsewhere(port)) == (place == one)
            connect(one).close()
            assert is_alive(user)
            if kind == "tunnel":
                ask(user)
                serves(d, "a", one)


def test_overlap_of_another(alone):
    """b takes all addresses of a port of which a had one."""
    port = free_port()
    one, every = "127.0.0.1:%d" % port, "0.0.0.0:%d" % port
    d = alone({"a": one, "b": free_port()})
    was = tunnel_of(d, "b")["listen"]
    for _ in range(2):
        tunnel_of(d, "a")["listen"] = was
        tunnel_of(d, "b")["listen"] = every
        apply(d)
        serves(d, "b", elsewhere(port))
        serves(d, "a", was)
        tunnel_of(d, "a")["listen"] = one
        tunnel_of(d, "b")["listen"] = was
        apply(d)
        settled(d)
        serves(d, "a", one)
        serves(d, "b", was)


def test_overlap_with_one_that_stays(alone):
    """Not ours to close: an error, as it is at a start."""
    port = free_port()
    one = "127.0.0.1:%d" % port
    d = alone({"a": one, "b": free_port()})
    before = picture(d)
    good = tunnel_of(d, "b")["listen"]
    tunnel_of(d, "b")["listen"] = "0.0.0.0:%d" % port
    errors = refused(d)
    assert any("0.0.0.0:%d" % port in e["message"] for e in errors)
    assert picture(d) == before
    for name, place in (("a", one), ("b", good)):
        serves(d, name, place)


@pytest.mark.parametrize("both", [False, True])
def test_swap_that_fails(alone, closing, both):
    """Somebody else has another address of the port: all is as it was, also
    what else was to change, and a swap that had been done already."""
    ports = [free_port(), free_port()]
    d = alone({"a": ports[0], "b": ports[1], "c": free_port()})
    other = closing(socket.socket())
    other.bind(("127.0.0.2", ports[1]))
    other.listen()
    with connect(local(ports[1])) as user:
        ask(user)
        d.wait_sessions(1)
        before = picture(d)
        before.pop("listening")
        for name, port in zip("ab", ports):
            if both or name == "b":
                tunnel_of(d, name)["listen"] = "0.0.0.0:%d" % port
        tunnel_of(d, "c")["max_held"] = 5
        d.config["daemon"]["max_rows"] = 5
        errors = refused(d)
        assert any("0.0.0.0:%d" % ports[1] in e["message"] for e in errors)
        after = picture(d)
        assert set(after.pop("listening")) == \
            {t["listen"] for t in d.admin("tunnels")}
        assert after == before
        ask(user)
    for name, port in zip("ab", ports):
        serves(d, name, local(port))
    other.close()
    apply(d)
    settled(d)
    serves(d, "b", elsewhere(ports[1]))


def test_metrics_take_a_port(alone):
    """That a tunnel gives up in the same reload, and give it back."""
    port = free_port()
    d = alone({"a": port, "b": free_port()})
    gone = remove(d, "a")
    d.config["metrics"] = {"listen": gone["listen"]}
    apply(d)
    settled(d)
    assert ask_reload(d)["ok"]
    connect(gone["listen"]).close()
    del d.config["metrics"]
    d.config["tunnels"].append(gone)
    apply(d)
    settled(d)
    serves(d, "a", gone["listen"])
