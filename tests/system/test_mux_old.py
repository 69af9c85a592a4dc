# SPDX-License-Identifier: ISC
"""Peers that know nothing of lanes: an older tunneld, made by hand. Whoever
has entries in mode mux serves them as ever, with a connection for each."""

import pytest

import forge
from handmade import (DATA, LANES, MUX, OPENER_DIALLER, OPENER_GATEWAY, OPENER_LANE,
                      Dialler, Gateway, open_frame)
from harness import new_secret, wait_until
from services import ask, connect, read_exactly, reset

MUXED = {"mode": "mux"}
QUICK = {"reconnect": {"min": 0.1, "max": 0.4}}


def opened(sock):
    """What a handmade peer is told by OPEN; he lets it in."""
    kind, said = forge.read_frame(sock)
    while kind == forge.PING:
        sock.sendall(forge.frame(forge.PONG, said[1]))
        kind, said = forge.read_frame(sock)
    assert kind == forge.OPEN
    sock.sendall(forge.frame(forge.OPENED))
    return said


@pytest.fixture
def edge(daemon, security, echo):
    """A gateway with both kinds of tunnels, and the secret of its peer."""
    secret = new_secret()
    return daemon("edge", gateway=["127.0.0.1:0"], peers=[
        {"name": "home", "secret": secret, "security": security}], tunnels=[
        dict(name="web", peer="home", listen="127.0.0.1:0", **MUXED),
        dict(name="out", peer="home", connect=echo.address)]).start(), secret


def test_one_that_dials(edge, security, closing):
    d, secret = edge
    old = closing(Dialler(d.gateway(), secret, security, features=0))
    assert old.features == 0
    d.wait_up("home")
    # Theirs: it asks for channels as ever.
    assert old.link.wait(forge.WANT)
    sock = old.attach(OPENER_GATEWAY)
    with connect(d.tunnel("web")["listen"]) as user:
        user.sendall(b"hello")
        said = opened(sock)
        assert said[2] == b"web" and 5 not in said
        assert read_exactly(sock, 5) == b"hello"
        sock.sendall(b"and back")
        assert read_exactly(user, 8) == b"and back"
        assert [r["mode"] for r in d.wait_sessions(1)] == ["direct"]
    # Ours.
    sock = old.attach(OPENER_DIALLER)
    sock.sendall(open_frame("out") + b"early")
    assert forge.read_frame(sock) == (forge.OPENED, {})
    assert read_exactly(sock, 5) == b"early"
    ask(sock, b"late")
    assert d.peer()["lanes"] == []
    assert LANES not in [kind for kind, _ in old.link.frames]


def test_a_lane_that_was_not_agreed_on(edge, security, closing):
    """He is no use to it, and does no harm."""
    d, secret = edge
    old = closing(Dialler(d.gateway(), secret, security, features=0))
    d.wait_up("home")
    with pytest.raises((AssertionError, OSError)):
        old.attach(OPENER_LANE)
    wait_until(lambda: "a lane that was not agreed on" in d.log(), 5, "why")
    assert d.is_up("home") and d.peer()["lanes"] == []
    sock = old.attach(OPENER_DIALLER)
    sock.sendall(open_frame("out") + b"early")
    assert forge.read_frame(sock) == (forge.OPENED, {})


def test_features_nobody_knows(edge, security, closing):
    """Of a newer one only those that both know are chosen."""
    d, secret = edge
    newer = closing(Dialler(d.gateway(), secret, security,
                            features=0xfffffff0 | MUX))
    assert newer.features == MUX
    assert newer.link.wait(LANES)[1] == {1: b"\x02"}
    d.wait_up("home")


def test_one_that_is_upgraded_and_back(edge, security, closing):
    """What its users wait for is what the link of the moment knows."""
    d, secret = edge
    listen = d.tunnel("web")["listen"]
    for features, mode in ((0, "direct"), (MUX, "mux"), (0, "direct")):
        user = connect(listen)      # while there is no link
        with user:
            user.sendall(b"hello")
            d.wait_sessions(1)
            peer = closing(Dialler(d.gateway(), secret, security,
                                   features=features))
            d.wait_up("home")
            if features:
                lane = peer.lane()
                assert lane.expect(forge.OPEN, 2)
                lane.send(forge.frame(forge.OPENED, channel=2))
                assert lane.expect(DATA, 2) == b"hello"
            else:
                sock = peer.attach(OPENER_GATEWAY)
                assert opened(sock)[2] == b"web"
                assert read_exactly(sock, 5) == b"hello"
            assert [r["mode"] for r in d.wait_sessions(1)] == [mode]
            reset(user)
        d.wait_sessions(0)
        peer.close()
        d.wait_not_up("home")


@pytest.fixture
def dials(daemon, security, echo, closing):
    """dials(features, attached): a home and the gateway it dials."""
    def make(features, attached=None):
        secret = new_secret()
        gateway = closing(Gateway(secret, security, attached,
                                  features=features))
        return gateway, daemon("home", peers=[dict(
            {"name": "edge", "secret": secret, "security": security,
             "connect": gateway.address, "pool": 1}, **QUICK)], tunnels=[
            dict(name="out", peer="edge", listen="127.0.0.1:0", **MUXED),
            dict(name="web", peer="edge", connect=echo.address)]).start()
    return make


def test_one_that_is_dialled(dials, security):
    socks = {OPENER_DIALLER: [], OPENER_GATEWAY: [], OPENER_LANE: []}
    gateway, d = dials(0, lambda sock, opener: socks[opener].append(sock))
    d.wait_up("edge")
    assert gateway.offered == MUX
    wait_until(lambda: socks[OPENER_DIALLER], 10, "a channel of theirs")
    with connect(d.tunnel("out")["listen"]) as user:
        user.sendall(b"hello")
        sock = socks[OPENER_DIALLER][0]
        assert opened(sock)[2] == b"out"
        assert read_exactly(sock, 5) == b"hello"
        sock.sendall(b"and back")
        assert read_exactly(user, 8) == b"and back"
        assert [r["mode"] for r in d.wait_sessions(1)] == ["direct"]
    gateway.link.sock.sendall(forge.frame(forge.WANT, bytes(7) + b"\x01"))
    wait_until(lambda: socks[OPENER_GATEWAY], 10, "a channel of ours")
    sock = socks[OPENER_GATEWAY][0]
    sock.sendall(open_frame("web") + b"early")
    assert forge.read_frame(sock) == (forge.OPENED, {})
    assert read_exactly(sock, 5) == b"early"
    assert d.peer()["lanes"] == [] and not socks[OPENER_LANE]
    assert not gateway.errors


def test_lanes_that_were_not_agreed_on(dials, security):
    gateway, d = dials(0)
    assert gateway.is_up.wait(10)
    gateway.link.sock.sendall(forge.frame(LANES, b"\x02"))
    wait_until(lambda: d.peer()["last_error"], 10, "an error")
    assert d.peer()["last_error"] == \
        "protocol error: LANES that nobody asked for"


def test_features_that_were_not_offered(dials, security):
    gateway, d = dials(2)
    wait_until(lambda: d.peer()["last_error"], 10, "an error")
    assert "unknown features" in d.peer()["last_error"]
    assert not d.is_up("edge")
