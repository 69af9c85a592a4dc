# SPDX-License-Identifier: ISC
"""Peers over reloads: which keys cost the link, what happens to one that is
not up just then, and peers that come and go."""

import contextlib
import signal
import threading
import time

import pytest

import harness
from adminsocket import AdminError
from harness import FACTOR, forward, free_port, reverse, wait_until
from reloads import (apply, hang_up, link_since, new_lines, peer_of, remove,
                     rows, seconds, settled, talk)
from services import (Pump, ask, connect, drain, expect_end, expect_reset,
                      is_alive, refused_user, round_trip)

TUNNELS = [("web", reverse), ("db", forward)]


def ends_of(d):
    """Those of its links that ended, latest first."""
    return [row for row in d.admin("links") if row["down_at"]]


@pytest.fixture
def busy(pair, security, echo, closing):
    """A pair, and users of sessions that must never end."""
    places = ["127.0.0.1:%d" % free_port() for _ in range(4)]
    p = pair(security, [kind(name, echo.address, places.pop())
                        for name, kind in TUNNELS], gateway=places)
    p.users = [closing(connect(p.entry(name))) for name, _ in TUNNELS]
    for user in p.users:
        ask(user)
    for d in p.both():
        d.wait_sessions(2)
    p.uids = {r["uid"] for r in p.edge.sessions()}
    p.since = [link_since(d, None) for d in p.both()]
    return p


def check_busy(p):
    for user in p.users:
        ask(user, b"still here")
    for d in p.both():
        assert {r["uid"] for r in d.sessions()} >= p.uids


# --- keys that cost the link ----------------------------------------------

def back_again(p):
    """Another link than before, soon, and all of it works."""
    for d, since in zip(p.both(), p.since):
        wait_until(lambda: d.peer()["state"] == "up" and
                   (d.peer()["since"], d.peer()["reconnects"]) != since, 10,
                   "a new link at %s" % d.name)
    check_busy(p)
    for name, _ in TUNNELS:
        round_trip(p.entry(name))
    for d in p.both():
        settled(d)


@pytest.mark.both_modes
def test_new_address(busy):
    home = busy.home
    began = time.monotonic()
    address = busy.edge.gateway(1)
    peer_of(home, "edge")["connect"] = address
    change, = apply(home)
    assert change["effect"]
    back_again(busy)
    assert time.monotonic() - began < 5 * FACTOR
    assert home.peer()["address"] == address
    for d in busy.both():
        wait_until(lambda: ends_of(d), 5, "the end in the history")
    assert "configuration" in ends_of(home)[0]["reason"]
    assert "configuration changed" in ends_of(busy.edge)[0]["reason"]


@pytest.mark.both_modes
@pytest.mark.parametrize("first", ["edge", "home"])
def test_new_secret(busy, first):
    """In the same file; from the first reload on the old one is of no
    use, with the second all is well."""
    secret = harness.new_secret()
    one, other = busy.both() if first == "edge" else busy.both()[::-1]
    one.write_secret(one.config["peers"][0]["name"], secret)
    apply(one)
    wait_until(lambda: "refused" in (busy.home.peer()["last_error"] or ""),
               10, "home to be refused")
    assert not one.is_up()
    check_busy(busy)
    other.write_secret(other.config["peers"][0]["name"], secret)
    apply(other)
    back_again(busy)


def test_other_security(busy):
    """Sessions go on as they were."""
    new = "tls" if busy.security == "plain" else "plain"
    for d in busy.both():
        d.config["peers"][0]["security"] = new
        apply(d)
        check_busy(busy)
    back_again(busy)
    for d in busy.both():
        assert d.peer()["security"] == new


@pytest.mark.both_modes
def test_other_name(busy):
    """The gateway knows us by two names."""
    peers = busy.edge.config["peers"]
    peers.append(dict(peers[0], name="house"))
    apply(busy.edge)
    assert link_since(busy.edge, "home") == busy.since[0]
    peer_of(busy.home, "edge")["as"] = "house"
    apply(busy.home)
    busy.edge.wait_up("house")
    busy.home.wait_up("edge")
    busy.edge.wait_not_up("home")
    check_busy(busy)
    del peer_of(busy.home, "edge")["as"]
    apply(busy.home)
    back_again(busy)


@pytest.mark.both_modes
def test_roles_swap(busy):
    """Who was dialled dials."""
    edge, home = busy.both()
    home.config["gateway"] = {"listen": ["127.0.0.1:%d" % free_port()]}
    for key in ("connect", "reconnect"):
        del peer_of(home, "edge")[key]
    apply(home)
    settled(home)
    assert home.peer()["role"] == "accepts"
    check_busy(busy)
    peer_of(edge, "home").update(connect=home.gateway(),
                                 reconnect={"min": 0.1, "max": 1.0})
    apply(edge)
    assert edge.peer()["role"] == "dials"
    back_again(busy)


# --- keys that do not -----------------------------------------------------

OTHERS = [{"heartbeat": {"interval": 3.0, "timeout": 50.0}},
          {"heartbeat": {"interval": 0.2, "timeout": 9.0}},
          {"pool": 5}, {"pool": 0}, {"max_channels": 50},
          {"reconnect": {"min": 0.2, "max": 5.0}}]


@pytest.mark.both_modes
def test_link_is_not_touched(busy):
    """By any other key, alone or all together, under load."""
    enough = threading.Event()
    talkers = [Pump(talk, sock, enough) for sock in busy.users]
    for keys in OTHERS + [dict(k for one in OTHERS for k in one.items())]:
        for d in busy.both():
            peer = d.config["peers"][0]
            peer.update({k: v for k, v in keys.items()
                         if k != "reconnect" or "connect" in peer})
            apply(d)
            settled(d)
    enough.set()
    for talker in talkers:
        assert talker.result() > 0
    check_busy(busy)
    assert [link_since(d, None) for d in busy.both()] == busy.since
    for d in busy.both():
        assert not ends_of(d)


@pytest.mark.both_modes
def test_heartbeat_at_once(pair, security, echo):
    """The link that is up is watched with the new times."""
    p = pair(security, [reverse("web", echo.address)],
             link={"heartbeat": {"interval": 50.0, "timeout": 100.0}})
    peer_of(p.edge, "home")["heartbeat"] = {"interval": 0.2 * FACTOR,
                                            "timeout": 0.8 * FACTOR}
    apply(p.edge)
    since = link_since(p.edge, "home")
    p.home.signal(signal.SIGSTOP)
    try:
        p.edge.wait_not_up(deadline=8)
    finally:
        p.home.signal(signal.SIGCONT)
    p.wait_up(30)
    assert link_since(p.edge, "home") != since


def test_pool_at_once(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)], link={"pool": 1, "mode": "direct"})
    for count in (6, 0, 3):
        peer_of(p.edge, "home")["pool"] = count
        apply(p.edge)
        peer_of(p.home, "edge")["pool"] = 0
        apply(p.home)
        wait_until(lambda: p.edge.peer()["channels_idle"] == count, 10,
                   "a reserve of %d" % count)
    round_trip(p.entry("web"))


@pytest.mark.both_modes
def test_max_channels_at_once(pair, echo, closing):
    p = pair("plain", [reverse("web", echo.address,
                               entry={"connect_timeout": 60.0})],
             link={"max_channels": 1, "pool": 0})
    ask(closing(connect(p.entry("web"))))
    second = closing(connect(p.entry("web")))
    p.edge.wait_sessions(2)
    for d in p.both():
        d.config["peers"][0]["max_channels"] = 5
        apply(d)
    ask(second)


# --- a link that is not up ------------------------------------------------

@pytest.mark.parametrize("key", ["reconnect", "connect"])
def test_while_it_waits(pair, echo, key):
    """For its next try: the new times or the new address count, not those
    it began to wait with."""
    p = pair("plain", [reverse("web", echo.address)],
             gateway=["127.0.0.1:%d" % free_port()])
    peer_of(p.home, "edge")["reconnect"] = {"min": 600.0, "max": 600.0}
    if key == "connect":
        peer_of(p.home, "edge")["connect"] = "127.0.0.1:1"
    apply(p.home)
    if key == "reconnect":
        p.edge.stop()

    def waits_long():
        at = p.home.peer()["next_try_at"]
        return at and seconds(at) > time.time() + 60
    wait_until(waits_long, 20, "it to wait")
    if key == "connect":
        peer_of(p.home, "edge")["connect"] = p.edge.gateway()
    else:
        p.edge.start()
        peer_of(p.home, "edge")["reconnect"] = {"min": 0.1, "max": 0.5}
    apply(p.home)
    p.wait_up()
    round_trip(p.entry("web"))


def test_while_it_dials(pair, security, echo, listener):
    """The gateway says nothing. Other keys do not begin anew; another
    address does, and at once."""
    p = pair(security, [reverse("web", echo.address)])
    peer = peer_of(p.home, "edge")
    good, peer["connect"] = peer["connect"], listener.address
    apply(p.home)
    silent = listener.accept()
    for keys in ({"pool": 7}, {"heartbeat": {"interval": 4.0}}):
        peer.update(keys)
        apply(p.home)
    assert listener.nobody_comes(0.3)
    began = time.monotonic()
    peer["connect"] = good
    apply(p.home)
    p.wait_up()
    assert time.monotonic() - began < 5 * FACTOR
    drain(silent)   # it was given up
    assert listener.nobody_comes(0.3)
    round_trip(p.entry("web"))


def test_while_it_is_shaking_hands(pair, security, echo):
    """Again and again, at both ends, in the midst of it."""
    p = pair(security, [reverse("web", echo.address)],
             link={"reconnect": {"min": 0.01, "max": 0.05}})
    for count in range(40):
        if count % 4 == 0:
            secret = harness.new_secret()
        for d in p.both():
            peer = d.config["peers"][0]
            peer["pool"] = count % 4
            if count % 4 == 0:
                d.write_secret(peer["name"], secret)
            if count % 3 == 0 and d is p.home:
                with contextlib.suppress(AdminError):   # it may be down
                    d.admin("disconnect", peer="edge")
            apply(d)
    p.wait_up(20)
    round_trip(p.entry("web"))
    for d in p.both():
        settled(d)


def test_while_users_are_held(pair, security, echo, closing):
    """They are served once the link is there under its new settings."""
    p = pair(security, [reverse("web", echo.address, entry={"hold": 60.0})])
    secret = harness.new_secret()
    p.edge.write_secret("home", secret)
    hang_up(p.edge)
    p.edge.wait_not_up()
    held = [closing(connect(p.entry("web"))) for _ in range(5)]
    p.edge.wait_sessions(5)
    p.home.write_secret("edge", secret)
    apply(p.home)
    for user in held:
        ask(user)


def test_users_held_for_a_removed_peer(pair, echo):
    """Nobody will come for them: they are told at once."""
    p = pair("plain", [reverse("web", echo.address, entry={"hold": 60.0})])
    p.home.kill()
    p.edge.wait_not_up()
    with connect(p.entry("web")) as held:
        p.edge.wait_sessions(1)
        p.edge.config["peers"].clear()
        p.edge.config["tunnels"].clear()
        apply(p.edge)
        expect_reset(held)
    assert p.edge.closed(1)[0]["close_reason"] in ("reload", "link_down")
    wait_until(lambda: p.edge.admin("peers") == [], 5, "the peer to go")


# --- come and go ----------------------------------------------------------

@pytest.mark.both_modes
def test_removed_and_there_again(busy):
    """Its sessions run on, its link ends and says why; when it is there
    again, so is the link."""
    edge, home = busy.both()
    before = {k: list(edge.config[k]) for k in ("peers", "tunnels")}
    edge.config["tunnels"].clear()
    edge.config["peers"].clear()
    said = new_lines(edge)
    apply(edge)
    settled(edge)
    home.wait_not_up()
    wait_until(lambda: "home" in said() and "removed" in said(), 5,
               "the log to say so")
    check_busy(busy)
    for d in busy.both():
        wait_until(lambda: ends_of(d), 5, "the end in the history")
    assert "removed" in ends_of(edge)[0]["reason"]
    assert "configuration changed" in ends_of(home)[0]["reason"]
    for name in ("web", "db"):
        current, (old,) = rows(edge, name)
        assert current is None and old["sessions"] == 1
    edge.config.update(before)
    apply(edge)
    back_again(busy)
    assert len(edge.ctl("kill", "-p", "home")["killed"]) == 2
    for user in busy.users:
        expect_reset(user)


@pytest.mark.both_modes
def test_gone_with_its_last_session(busy):
    """Nothing of a removed peer is left after that."""
    edge, home = busy.both()
    fds = edge.fds()
    edge.config["tunnels"].clear()
    edge.config["peers"].clear()
    apply(edge)
    for user in busy.users:
        user.shutdown(1)
        expect_end(user)
    edge.wait_sessions(0)
    wait_until(lambda: edge.admin("peers") == [] and
               edge.admin("tunnels") == [], 5, "nothing to be left")
    assert edge.fds() < fds
    assert {r["close_reason"] for r in edge.closed(2)} == {"closed"}


def test_new_peer_is_let_in(pair, daemon, echo, closing):
    """That has been knocking all the time, with its tunnels."""
    p = pair("tls", [reverse("web", echo.address)])
    edge = p.edge
    secret = harness.new_secret()
    other = daemon("shed", peers=[{
        "name": "edge", "connect": edge.gateway(), "secret": secret,
        "reconnect": {"min": 0.1, "max": 0.5}}],
        tunnels=[{"name": "web", "peer": "edge",
                  "connect": echo.address}]).start()
    wait_until(lambda: "refused" in (other.peer()["last_error"] or ""), 10,
               "it to be refused")
    since = link_since(edge, "home")
    edge.config["peers"].insert(0, {
        "name": "shed", "secret_file": edge.write_secret("shed", secret)})
    edge.config["tunnels"].insert(0, {
        "name": "web", "peer": "shed",
        "listen": "127.0.0.1:%d" % free_port()})
    apply(edge)
    settled(edge)
    other.wait_up()
    with connect(edge.config["tunnels"][0]["listen"]) as user:
        ask(user)
        assert edge.wait_sessions(1)[0]["peer"] == "shed"
        edge.config["peers"].pop(0)
        edge.config["tunnels"].pop(0)
        apply(edge)
        other.wait_not_up()
        ask(user, b"still here")
        assert is_alive(user)
    assert link_since(edge, "home") == since
    round_trip(edge.tunnel("web")["listen"])


@pytest.mark.both_modes
def test_tunnel_moves_to_another_peer(busy, closing):
    """Old sessions stay with the old one."""
    edge = busy.edge
    place = edge.config["tunnels"][0]["listen"]
    assert edge.config["tunnels"][0]["name"] == "web"
    edge.config["peers"].append({
        "name": "nobody", "secret_file": edge.write_secret(
            "nobody", harness.new_secret())})
    edge.config["tunnels"][0].update(peer="nobody", hold=0.0)
    apply(edge)
    settled(edge)
    refused_user(place)
    check_busy(busy)
    edge.config["tunnels"][0]["peer"] = "home"
    apply(edge)
    round_trip(place)
    assert [link_since(d, n) for d, n in zip(busy.both(), ("home", "edge"))] \
        == busy.since
    remove(edge, "web")
    apply(edge)
    check_busy(busy)
