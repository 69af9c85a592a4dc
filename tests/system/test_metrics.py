# SPDX-License-Identifier: ISC
"""Metrics over HTTP: what Prometheus and promtool read, and that it is
true."""

import os
import re
import resource
import time

import pytest

from crowd import Swarm
from harness import (FACTOR, ROOT, TUNNELD, free_port, reverse, run,
                     wait_until)
from scrape import (Scrape, alone, http, metrics_pair, promtool,
                    thousand_peers, where, with_metrics)
from services import Pump, ask, connect, refused_user, round_trip

REASONS = {
    "exit": {"refused", "unreachable", "connect_timeout", "resolve_failed",
             "denied", "disabled", "limit", "channel_lost", "internal"},
}
REASONS["entry"] = REASONS["exit"] | {"link_down", "no_channel"}
REASONS["local"] = REASONS["exit"] - {"channel_lost"}


# --- what it says ---------------------------------------------------------

def test_promtool_has_nothing_to_say(pair_of, security, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address),
                               reverse("dead", "127.0.0.1:1")],
                     security, edge_tunnels=[
        dict(name="near", listen="127.0.0.1:0", connect=echo.address)])
    for d in p.both():
        promtool(Scrape(d).text)
    with connect(p.entry("web")) as sock:
        ask(sock)
        refused_user(p.entry("dead"))
        round_trip(p.edge.tunnel("near")["listen"])
        for d in p.both():
            wait_until(lambda: "tunneld_peer_rtt_seconds{" in Scrape(d).text,
                       what="a round trip")
            promtool(Scrape(d).text)
    # A daemon that has nothing.
    lone = with_metrics(p.edge.__class__("lone"))
    try:
        lone.start()
        promtool(Scrape(lone).text)
    finally:
        lone.finish()
        lone.remove()


def test_manual_has_each_family(pair_of, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address)])
    told = set(re.findall(r"^# TYPE (\S+)", Scrape(p.edge).text, re.M))
    with open(os.path.join(ROOT, "man/tunneld.8")) as file:
        items = re.findall(r"^\.It Ic (.*_.*)$", file.read(), re.M)
    assert told == {name for item in items for name in item.split(" , ")}


def check_against_status(d):
    status = d.status()
    now = Scrape(d)
    for peer in status["peers"]:
        name = peer["name"]
        assert now("tunneld_peer_up", peer=name) == (peer["state"] == "up")
        assert now("tunneld_peer_connects_total", peer=name) == \
            peer["reconnects"] + 1
        assert now("tunneld_peer_channels", peer=name, state="used") == \
            peer["channels_used"]
        assert now("tunneld_peer_channels", peer=name, state="idle") == \
            peer["channels_idle"]
        assert now("tunneld_peer_disabled", peer=name) == 0
        assert 0 < now("tunneld_peer_rtt_seconds", peer=name) < 5
    for tunnel in status["tunnels"]:
        key = dict(tunnel=tunnel["name"], peer=tunnel["peer"] or "")
        assert now("tunneld_sessions_open", **key) == tunnel["sessions"]
        assert now("tunneld_sessions_total", **key) == \
            tunnel["sessions_total"]
        assert now("tunneld_sessions_held", **key) == tunnel["held"]
        for way in ("up", "down"):
            assert now("tunneld_bytes_total", direction=way, **key) == \
                tunnel[way + "_bytes"]
        refused = sum(value for (name, labels), value in now.samples.items()
                      if name == "tunneld_refused_total" and
                      key.items() <= dict(labels).items())
        assert refused == tunnel["refused"]
    return now


def test_numbers_agree_with_status(pair_of, security, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address),
                               reverse("dead", "127.0.0.1:1")], security,
                     link={"heartbeat": {"interval": 0.2, "timeout": 10.0}})
    round_trip(p.entry("web"), b"x" * 5000)
    socks = [connect(p.entry("web")) for _ in range(7)]
    try:
        for index, sock in enumerate(socks):
            ask(sock, b"y" * (100 + index))
        for _ in range(3):
            refused_user(p.entry("dead"))
        for d in p.both():
            d.wait_sessions(7)
            wait_until(lambda: "tunneld_peer_rtt_seconds{" in Scrape(d).text,
                       what="a round trip")
        time.sleep(0.5 * FACTOR)    # the pool fills up again
        for d in p.both():
            now = check_against_status(d)
            ours = dict(tunnel="web", peer=d.peer()["name"])
            assert now("tunneld_sessions_open", **ours) == 7
            assert now("tunneld_sessions_total", **ours) == 8
            for way in ("up", "down"):
                assert now("tunneld_bytes_total", direction=way, **ours) == \
                    5000 + sum(range(100, 107))
            status = d.status()
            assert abs(now("process_start_time_seconds") -
                       (time.time() - status["daemon"]["uptime"])) < 5
            assert now("process_open_fds") == pytest.approx(
                len(os.listdir("/proc/%d/fd" % d.pid)), abs=4)
            assert now("process_max_fds") > now("process_open_fds")
            with open("/proc/%d/statm" % d.pid) as file:
                resident = int(file.read().split()[1])
            assert now("process_resident_memory_bytes") == pytest.approx(
                resident * resource.getpagesize(), rel=0.2)
            assert 0 < now("process_cpu_seconds_total") < 60 * FACTOR
            assert now("tunneld_build_info",
                       version=d.version()["version"]) == 1
    finally:
        for sock in socks:
            sock.close()
    for d in p.both():
        d.wait_sessions(0)
        check_against_status(d)
    assert Scrape(p.edge)("tunneld_gateway_handshakes") == 0
    with connect(p.edge.gateway()):
        wait_until(lambda: Scrape(p.edge)("tunneld_gateway_handshakes") == 1,
                   what="a stranger to be counted")


def test_ledger_is_counted(daemon, echo):
    d = alone(daemon, echo.address)
    for _ in range(5):
        round_trip(d.tunnel("web")["listen"])
    d.closed(5)
    wait_until(lambda: Scrape(d)("tunneld_ledger_queued_rows") == 0,
               what="an empty queue")
    now = Scrape(d)
    assert now("tunneld_ledger_written_rows_total") == d.ledger()["written"]
    assert now("tunneld_ledger_written_rows_total") >= 5
    assert now("tunneld_ledger_lost_rows_total") == 0
    assert [now("tunneld_ledger_state", state=state) for state in
            ("ok", "starting", "retrying", "failed")] == [1, 0, 0, 0]


def test_refused_by_reason(pair_of, echo):
    """A reason that can happen stands there with 0 before it does, so that
    increase() sees the first one; it goes up at both ends."""
    p = metrics_pair(pair_of, [
        reverse("dead", "127.0.0.1:1"),
        reverse("closed", echo.address, entry={"deny": "127.0.0.0/8"}),
        reverse("full", echo.address, entry={"max_sessions": 1})],
        edge_tunnels=[dict(name="near", listen="127.0.0.1:0",
                           connect="127.0.0.1:1")])
    name = "tunneld_refused_total"
    for d, end, peer in (p.edge, "entry", "home"), (p.home, "exit", "edge"):
        for tunnel in ("dead", "closed", "full"):
            now = Scrape(d)
            key = dict(tunnel=tunnel, peer=peer)
            assert now.labels(name, "reason", **key) == REASONS[end]
            assert all(now(name, reason=reason, **key) == 0
                       for reason in REASONS[end])
    now = Scrape(p.edge)
    assert now.labels(name, "reason", tunnel="near", peer="") == \
        REASONS["local"]
    for _ in range(3):
        refused_user(p.entry("dead"))
    refused_user(p.entry("closed"))
    refused_user(p.edge.tunnel("near")["listen"])
    with connect(p.entry("full")) as sock:
        ask(sock)
        refused_user(p.entry("full"))
        refused_user(p.entry("full"))
    now = Scrape(p.edge)
    assert now(name, tunnel="dead", peer="home", reason="refused") == 3
    assert now(name, tunnel="closed", peer="home", reason="denied") == 1
    assert now(name, tunnel="full", peer="home", reason="limit") == 2
    assert now(name, tunnel="near", peer="", reason="refused") == 1
    assert sum(value for (found, _), value in now.samples.items()
               if found == name) == 7
    assert Scrape(p.home)(name, tunnel="dead", peer="edge",
                          reason="refused") == 3


def test_link_goes_and_comes(pair_of, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address,
                                       entry={"hold": 60.0})])
    up = dict(name="tunneld_peer_up", peer="home")
    assert Scrape(p.edge)(**up) == 1
    p.edge.freeze_ports()
    p.home.kill()
    wait_until(lambda: Scrape(p.edge)(**up) == 0, what="the link to be down")
    assert "tunneld_peer_rtt_seconds{" not in Scrape(p.edge).text
    with connect(p.entry("web")) as sock:
        held = dict(name="tunneld_sessions_held", tunnel="web", peer="home")
        wait_until(lambda: Scrape(p.edge)(**held) == 1, what="a held user")
        p.home.start()
        wait_until(lambda: Scrape(p.edge)(**up) == 1, what="the link")
        ask(sock)
        now = Scrape(p.edge)
        assert now(**held) == 0
        assert now("tunneld_peer_connects_total", peer="home") == 2


def test_disabled_shows(pair_of, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address)])
    p.edge.admin("disable", tunnel="home/web")
    now = Scrape(p.edge)
    assert now("tunneld_tunnel_disabled", tunnel="web", peer="home") == 1
    assert now("tunneld_peer_disabled", peer="home") == 0
    refused_user(p.entry("web"))
    wait_until(lambda: Scrape(p.edge)(
        "tunneld_refused_total", tunnel="web", peer="home",
        reason="disabled") == 1, what="the refusal to be counted")
    p.edge.admin("disable", peer="home")
    wait_until(lambda: Scrape(p.edge)("tunneld_peer_up", peer="home") == 0,
               what="the link to go")
    assert Scrape(p.edge)("tunneld_peer_disabled", peer="home") == 1
    # Switched off on purpose is not ill.
    assert http(p.edge, "/healthz").body == b"ok\n"


def test_odd_names(daemon):
    names = ["-", "..", "a.B_c-9", "_" * 64, "0"]
    d = with_metrics(daemon("odd", peers=[
        dict(name=name, connect="127.0.0.1:1", secret="A" * 43 + "=")
        for name in names], tunnels=[
            dict(name=name, peer=name, listen="127.0.0.1:0")
            for name in names])).start()
    now = Scrape(d)
    assert now.labels("tunneld_peer_up", "peer") == set(names)
    assert now.labels("tunneld_sessions_total", "tunnel") == set(names)
    promtool(now.text)


def test_nothing_of_a_session(pair_of, echo):
    """Not who, nor whereto, nor a secret."""
    p = metrics_pair(pair_of, [reverse("web", echo.address)])
    with connect(p.entry("web"), source="127.0.0.77") as sock:
        ask(sock)
        for d in p.both():
            for path in ("/metrics", "/healthz"):
                text = http(d, path).body.decode()
                assert "127.0.0." not in text and p.secret not in text
                assert echo.address.rpartition(":")[2] not in \
                    re.findall(r"\d+", re.sub(r" \S+$", "", text,
                                              flags=re.M))


def test_health(pair_of, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address)])
    for d in p.both():
        got = http(d, "/healthz")
        assert (got.status, got.body) == (200, b"ok\n")
        assert got.fields["content-type"] == "text/plain"
    p.home.kill()
    wait_until(lambda: http(p.edge, "/healthz").body ==
               b"ok\npeers: 1 of 1 are not up\n", what="the missing peer")
    assert http(p.edge, "/healthz").status == 200


def test_health_without_ledger(daemon):
    d = daemon("alone")
    os.mkdir(d.database)
    with_metrics(d).start()
    state = d.ledger()["state"]
    assert state != "ok"
    got = http(d, "/healthz")
    assert (got.status, got.body) == (200, b"ok\nledger: %s\n" %
                                      state.encode())
    assert Scrape(d)("tunneld_ledger_state", state=state) == 1


# --- under load -----------------------------------------------------------

def test_scrapes_during_traffic(pair_of, security, echo):
    p = metrics_pair(pair_of, [reverse("web", echo.address)], security)
    swarm = Swarm(p.entry("web"), 100)
    pump = Pump(swarm.exchange, 300000)
    counters = {}
    scrapes = 0
    while pump.is_alive() or scrapes < 5:
        for d in p.both():
            now = Scrape(d)
            for (name, labels), value in now.samples.items():
                key = d.name, name, labels
                if name.endswith("_total"):
                    assert value >= counters.get(key, 0), key
                    counters[key] = value
        scrapes += 1
    pump.result()
    for d in p.both():
        key = dict(tunnel="web", peer=d.peer()["name"])
        now = Scrape(d)
        assert now("tunneld_sessions_open", **key) == 100
        assert now("tunneld_bytes_total", direction="up", **key) == \
            100 * 300000
    swarm.close()


def test_a_thousand_peers(daemon):
    """The answer is long, and still whole and quick."""
    d = thousand_peers(daemon)
    began = time.monotonic()
    http(d)
    took = time.monotonic() - began
    now = Scrape(d)
    assert len(now.labels("tunneld_peer_up", "peer")) == 1000
    assert len(now.labels("tunneld_refused_total", "peer")) == 1000
    assert took < 5 * FACTOR, "%.2f s" % took
    promtool(now.text)


# --- beginning and end --------------------------------------------------------

def test_not_served_unless_asked_for(daemon):
    plain = daemon("plain").start()
    assert "metrics" not in plain.log()
    empty = daemon("empty")
    empty.config["metrics"] = {}
    empty.start()
    assert "metrics" not in empty.log()
    options = run(TUNNELD, "--options").stdout
    assert "metrics\tlisten\taddress\t-" in options


def test_addresses(daemon):
    """Port 0 and IPv6."""
    d = with_metrics(daemon("six"), "[::1]:0").start()
    assert where(d).startswith("[::1]:")
    assert http(d).status == 200
    port = free_port()
    d = with_metrics(daemon("four"), "127.0.0.1:%d" % port).start()
    assert where(d) == "127.0.0.1:%d" % port
    assert http(d).status == 200
    # The port is free for the next life at once.
    d.stop()
    d.start()
    assert http(d).status == 200


def test_port_in_use(daemon, listener):
    d = with_metrics(daemon("late"), listener.address)
    d.expect_status = 1
    d.launch()
    assert d.process.wait(15 * FACTOR) == 1
    assert "metrics: listen %s: Address already in use" % listener.address \
        in d.log()


@pytest.mark.parametrize("listen, wrong", [
    ("127.0.0.1:9469", None), ("[::1]:9469", None), (":0", None),
    ("unix:/tmp/m", "not a UNIX path"), ("localhost:9469", "a host name"),
    ("127.0.0.1", "listen"), ("127.0.0.1:99999", "listen"),
    (9469, "must be a string"), (["127.0.0.1:1"], "must be a string"),
    ("127.0.0.1:7001", "taken by gateway")])
def test_config_is_judged(daemon, listen, wrong):
    d = daemon("judged", gateway=["127.0.0.1:7001"])
    with_metrics(d, listen).write_config()
    done = run(TUNNELD, "-t", "-c", d.config_path, check=False)
    assert done.returncode == (1 if wrong else 0), done.stderr
    if wrong:
        assert "metrics: listen: " in done.stderr + done.stdout
        assert wrong in done.stderr + done.stdout
