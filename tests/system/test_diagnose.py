# SPDX-License-Identifier: ISC
"""test TUNNEL, ping, log-level and config."""

import re
import signal
import time

import pytest

from adminsocket import AdminError
from harness import (FACTOR, TUNNELD, forward, free_port, holds_secret,
                     reverse, run, wait_until)
from services import Pump, Service, ask, connect, round_trip
from tool import tool


def steps_of(answer):
    return [(s["step"], s["ok"]) for s in answer["steps"]]


def check_times(answer):
    for step in answer["steps"]:
        assert step["ms"] is None or 0 <= step["ms"] < 20000
        if step["ok"]:
            assert step["ms"] is not None


# --- test -----------------------------------------------------------------

def test_all_is_well(pair, security, echo):
    """Link, channel, service, each with its time; no session of a user at
    this end, one from `unix:` at the other."""
    p = pair(security, [reverse("web", echo.address)])
    answer = p.edge.ctl("test", "web")
    assert (answer["tunnel"], answer["end"]) in (("web", "entry"),
                                                 ("home/web", "entry"))
    assert answer["ok"] is True
    assert steps_of(answer) == [("link", True), ("channel", True),
                                ("service", True)]
    check_times(answer)
    assert all(s["by"] is None for s in answer["steps"])
    assert p.home.closed(1)[0]["source"].startswith("unix:")
    assert p.edge.history() == [] and p.edge.sessions() == []
    assert p.edge.tunnel("web")["sessions_total"] == 0
    said = tool(p.edge, "test", "home/web").out
    for word in ("link", "channel", "service", "ms"):
        assert word in said
    wait_until(lambda: not p.home.sessions(), 10, "its session to end")
    for _ in range(20):
        assert p.edge.admin("test", tunnel="web")["ok"]
    round_trip(p.entry("web"))


def failed(d, tunnel, step, who):
    """It fails at that step, for people and for programs."""
    answer = tool(d, "--json", "test", tunnel, status=1).json
    assert answer["ok"] is False
    assert all(ok for _, ok in steps_of(answer)[:-1])
    last = answer["steps"][-1]
    assert (last["step"], last["ok"], last["by"]) == (step, False, who)
    assert last["detail"]
    check_times(answer)
    said = tool(d, "test", tunnel, status=1).text
    assert step in said and last["detail"][:30] in said
    return last["detail"].lower()


def test_service_that_refuses(pair, security):
    p = pair(security, [reverse("web", "127.0.0.1:%d" % free_port()),
                        reverse("path", "unix:/nonexistent/socket")])
    assert "refused" in failed(p.edge, "web", "service", "service")
    answer = p.edge.admin("test", tunnel="path")
    assert not answer["ok"] and answer["steps"][-1]["step"] == "service"
    # The same, dialled from the exit itself.
    assert "refused" in failed(p.home, "web", "service", "service")
    assert p.edge.is_up() and p.home.is_up()


def test_link_that_is_down(pair, echo):
    p = pair("plain", [reverse("web", echo.address),
                       forward("db", echo.address)])
    p.home.kill()
    p.edge.wait_not_up()
    for tunnel in ("web", "db"):
        began = time.monotonic()    # nobody is held
        answer = tool(p.edge, "--json", "test", tunnel, status=1).json
        assert time.monotonic() - began < 5 * FACTOR
        assert not answer["ok"]
        assert steps_of(answer)[0] == ("link", False)
        assert answer["steps"][0]["detail"]


def test_exit_that_denies(pair_of, security, echo):
    """The other end has no such tunnel: it is the peer who says no."""
    p = pair_of(security, [reverse("mail", echo.address)], edge_tunnels=[
        {"name": "web", "peer": "home", "listen": "127.0.0.1:0"}]).start()
    failed(p.edge, "web", "service", "peer")
    assert p.edge.admin("test", tunnel="mail")["ok"]


def test_exit_and_local(pair, echo):
    p = pair("plain", [reverse("web", echo.address)], edge_tunnels=[
        {"name": "own", "listen": "127.0.0.1:0", "connect": echo.address},
        {"name": "bad", "listen": "127.0.0.1:0",
         "connect": "127.0.0.1:%d" % free_port()}])
    answer = p.home.ctl("test", "web")
    assert answer["ok"] and answer["end"] == "exit"
    assert steps_of(answer) == [("link", True), ("service", True)]
    answer = p.edge.ctl("test", "own")
    assert answer["ok"] and answer["end"] == "local"
    assert steps_of(answer) == [("service", True)]
    failed(p.edge, "bad", "service", "service")
    assert p.edge.history() == [] and p.home.history() == []


def test_disabled(pair, echo):
    """Here: the tunnel's own step. There: said by the peer."""
    p = pair("plain", [reverse("web", echo.address)])
    p.edge.ctl("disable", "web")
    answer = tool(p.edge, "--json", "test", "web", status=1).json
    assert steps_of(answer) == [("tunnel", False)]
    assert "disabled" in answer["steps"][0]["detail"]
    p.edge.ctl("enable", "web")
    p.home.ctl("disable", "web")
    assert "disabled" in failed(p.edge, "web", "service", "peer")
    p.home.ctl("enable", "web")
    assert p.edge.ctl("test", "web")["ok"]


def test_service_that_says_nothing(pair, closing):
    """An end after the tunnel's connect_timeout at the latest."""
    service = closing(Service(lambda sock: sock.recv(1)))
    p = pair("plain", [reverse("web", "192.0.2.1:9",
                               exit={"connect_timeout": 1.0}),
                       reverse("ok", service.address)])
    answer = p.edge.admin("test", tunnel="web")
    assert not answer["ok"]
    assert answer["steps"][-1]["step"] == "service"
    assert p.edge.admin("test", tunnel="ok")["ok"]


def test_unknown_tunnels(pair, echo):
    p = pair("plain", [reverse("web", echo.address)])
    assert "none" in tool(p.edge, "test", "none", status=1).err
    assert tool(p.edge, "test", status=2).err
    for args, code in (({}, "bad_request"), ({"tunnel": 5}, "bad_request"),
                       ({"tunnel": "none"}, "not_found")):
        with pytest.raises(AdminError) as error:
            p.edge.admin("test", **args)
        assert error.value.code == code


# --- ping -----------------------------------------------------------------

def test_ping(pair, security):
    """From either end, over the link."""
    p = pair(security)
    for d in p.both():
        peer = d.config["peers"][0]["name"]
        answer = d.admin("ping", peer=peer)
        assert answer["peer"] == peer
        assert answer["address"] == d.peer()["address"]
        assert 0 < answer["rtt_ms"] < 5000
        said = tool(d, "ping", "-c", "4", "-i", "0.1", peer).out
        assert len(re.findall(r"[\d.]+ ?ms", said)) >= 4, said
        tool(d, "--json", "ping", "-c", "1", peer)
    assert "nobody" in tool(p.edge, "ping", "nobody", status=1).err
    p.home.kill()
    p.edge.wait_not_up()
    with pytest.raises(AdminError) as error:
        p.edge.admin("ping", peer="home")
    assert error.value.code == "unavailable"
    assert tool(p.edge, "ping", "-c", "1", "home", status=1).text
    for words in ([], ["-c", "0", "home"], ["-c", "x", "home"],
                  ["-i", "x", "home"]):
        assert tool(p.edge, "ping", *words, status=2).err


def test_many_pings(pair):
    """Thirty at a time, each with its own answer."""
    p = pair("tls")
    pumps = [Pump(lambda: [p.edge.admin("ping", peer="home")["rtt_ms"]
                           for _ in range(10)]) for _ in range(30)]
    for pump in pumps:
        assert all(0 < ms < 5000 for ms in pump.result())
    assert p.edge.is_up() and p.home.peer()["reconnects"] == 0


def test_ping_of_a_frozen_peer(pair):
    """No answer within 10 s is an error; the daemon goes on."""
    p = pair("plain")
    p.home.signal(signal.SIGSTOP)
    with pytest.raises(AdminError) as error:
        p.edge.admin("ping", peer="home")
    assert error.value.code == "timeout"
    assert p.edge.version()
    p.home.signal(signal.SIGCONT)
    p.wait_up()
    assert p.edge.admin("ping", peer="home")["rtt_ms"] > 0


# --- log-level ------------------------------------------------------------

def debug_lines(d):
    return [line for line in d.log().splitlines() if "opening" in line]


def test_log_level(pair, echo):
    """Debug messages from then on, and not before; and no more after it."""
    p = pair("plain", [reverse("web", echo.address)])
    d = p.edge
    round_trip(p.entry("web"))
    d.closed(1)
    before = len(d.log())
    assert not debug_lines(d)
    assert d.ctl("log-level", "debug") == {"level": "debug", "was": "info"}
    assert d.status()["daemon"]["log_level"] == "debug"
    round_trip(p.entry("web"))
    d.closed(2)
    wait_until(lambda: debug_lines(d), 5, "debug messages")
    assert d.ctl("log-level", "warning")["was"] == "debug"
    count = len(debug_lines(d))
    size = len(d.log())
    assert size > before
    round_trip(p.entry("web"))
    d.closed(3)
    assert len(debug_lines(d)) == count
    for words in (["loud"], [], ["debug", "info"]):
        said = tool(d, "log-level", *words, status=None)
        assert said.status in (1, 2) and said.err
    for args in ({}, {"level": 5}, {"level": "loud"}):
        with pytest.raises(AdminError) as error:
            d.admin("log-level", **args)
        assert error.value.code == "bad_request"
    assert d.status()["daemon"]["log_level"] == "warning"


# --- config ---------------------------------------------------------------

def options():
    """(section, key, type, default) of every option there is."""
    lines = run(TUNNELD, "--options").stdout.splitlines()
    return [line.split("\t") for line in lines]


def places(config, section):
    """The objects of a section."""
    if section.startswith("peer."):
        return [peer[section[5:]] for peer in config["peers"]]
    whole = config[{"peer": "peers", "tunnel": "tunnels"}.get(section,
                                                              section)]
    return whole if isinstance(whole, list) else [whole]


@pytest.fixture
def rich(pair_of, echo):
    """A pair whose edge says more than it must."""
    p = pair_of("tls", [reverse("web", echo.address, entry={
        "allow": ["127.0.0.0/8", "10.0.0.0/8"], "deny": ["10.1.0.0/16"],
        "hold": 2.5, "max_sessions": 77})],
        edge={"daemon": {"retention_days": 33}},
        link={"heartbeat": {"interval": 4.5, "timeout": 20.0}},
        edge_tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                       "connect": echo.address}])
    return p.start()


def test_config_is_complete(rich):
    """Every option of the table with its effective value; no secret."""
    said = tool(rich.edge, "--json", "config")
    config = said.json
    listed = options()
    assert len(listed) > 30
    for section, key, kind, default in listed:
        there = places(config, section)
        assert there or section == "metrics", section
        for one in there:
            assert key in one, (section, key)
            if isinstance(one[key], list) or one[key] is None:
                continue
            if kind in ("integer", "seconds") and section == "tunnel" and \
                    key not in ("hold", "max_sessions"):
                assert one[key] == float(default), (section, key)
    web = next(t for t in config["tunnels"] if t["name"] == "web")
    assert web["allow"] == ["127.0.0.0/8", "10.0.0.0/8"]
    assert web["deny"] == ["10.1.0.0/16"]
    assert (web["hold"], web["max_sessions"]) == (2.5, 77)
    assert web["connect"] is None
    assert config["daemon"]["retention_days"] == 33
    assert config["daemon"]["name"] == "edge"
    assert config["peers"][0]["heartbeat"]["interval"] == 4.5
    text = tool(rich.edge, "config")
    for part in (said.text, text.text):
        assert not holds_secret(part)
        assert rich.secret not in part


def test_config_can_be_used_again(rich):
    """Saved, it passes `tunneld -t`, and a daemon started with it says the
    same."""
    for d in rich.both():
        d.freeze_ports()
        d.stop()
        d.start()
        before = d.ctl("config")
        text = tool(d, "config").out
        path = d.path("saved.conf")
        with open(path, "w") as file:
            file.write(text)
        checked = run(TUNNELD, "-t", "-c", path, check=False)
        assert checked.returncode == 0, checked
        d.stop()
        d.text = text
        d.start()
        assert d.ctl("config") == before
    rich.wait_up()
    with connect(rich.entry("web")) as user:
        ask(user)
