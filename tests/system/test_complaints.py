# SPDX-License-Identifier: ISC
"""Why something does not work is said where people look, and not too often."""

import pytest

import forge
from harness import forward, free_port, new_secret, reverse, wait_until
from services import connect, refused_user, round_trip


def test_gateway_shows_whom_it_refused_in_a_peers_name(pair, security,
                                                       daemon, echo):
    """At the gateway, with the peer whose name was used: the reason and the
    time, though the dialler learns neither; the peer stays as it is."""
    p = pair(security, [reverse("web", echo.address)])
    assert p.edge.peer()["last_refusal"] is None
    stranger = daemon("stranger", daemon={"name": "home"}, peers=[
        {"name": "edge", "connect": p.edge.gateway(), "secret": new_secret(),
         "security": security, "reconnect": {"min": 0.1, "max": 0.4}}])
    stranger.start()
    wait_until(lambda: p.edge.peer()["last_refusal"], 10, "the refusal")
    peer = p.edge.peer()
    assert "wrong secret" in peer["last_refusal"]
    assert "127.0.0.1:" in peer["last_refusal"]
    assert peer["last_refusal_at"]
    assert peer["state"] == "up" and peer["last_error"] is None
    said = wait_until(lambda: stranger.peer()["last_error"], 10, "an error")
    assert "wrong secret" not in said
    round_trip(p.entry("web"))


def test_dialler_says_what_it_cannot_reach(pair_of, security):
    p = pair_of(security)
    address = "127.0.0.1:%d" % free_port()
    p.point_home(address)
    p.home.start()
    assert wait_until(lambda: p.home.peer()["last_error"], 10, "an error") \
        == "connect %s: Connection refused" % address
    assert p.home.peer()["last_error_at"]


@pytest.mark.parametrize("kind", [reverse, forward])
def test_tunnel_says_what_is_wrong_with_its_service(pair, security, kind):
    """The exit names the address that it may know; the entry hears from its
    peer."""
    address = "127.0.0.1:%d" % free_port()
    p = pair(security, [kind("web", address)])
    for d in p.both():
        assert d.tunnel("web")["last_error"] is None
    refused_user(p.entry("web"))
    tunnel = p.end("web", "exit").tunnel("web")
    assert tunnel["last_error"] == "connect %s: Connection refused" % address
    assert tunnel["last_error_at"]
    tunnel = p.end("web", "entry").tunnel("web")
    assert "refused" in tunnel["last_error"].lower()
    assert tunnel["last_error_at"]


def test_strangers_cannot_fill_the_log(pair, echo):
    """300 of them greet well with names that nobody knows: some warnings,
    and no more."""
    p = pair("plain", [reverse("web", echo.address)])
    for index in range(300):
        with connect(p.edge.gateway()) as sock:
            sock.sendall(forge.hello("stranger%d" % index))
            assert forge.read_frame(sock)[0] == forge.CHALLENGE
            sock.sendall(forge.proof())
            assert forge.read_frame(sock)[0] == forge.REJECT
            assert forge.read_frame(sock) is None
    warnings = [line for line in p.edge.log().splitlines()
                if "stranger" in line]
    assert 1 <= len(warnings) <= 40, "%d lines" % len(warnings)
    assert p.edge.is_up()
    round_trip(p.entry("web"))
