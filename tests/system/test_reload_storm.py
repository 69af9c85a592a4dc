# SPDX-License-Identifier: ISC
"""Reloads by the hundred: at random, in a storm, under load; and what they
must not use up."""

import contextlib
import os
import random
import signal
import socket
import threading
import time

import pytest

import harness
from adminsocket import Admin
from configs import Mutator, effective
from harness import SLOW, free_port, reverse, wait_until
from reloads import (Caller, apply, ask_reload, differences, link_since,
                     listening, peer_of, pour, remove, settled, tunnel_of)
from services import (PATTERN, Pump, ask, connect, round_trip, take_pattern)

SEED = int(os.environ.get("TUNNELD_SEED", "20260401"))


# --- at random ------------------------------------------------------------

class Visitors:
    """Users of the tunnels that are being changed. None of them may notice:
    all of these tunnels keep their old sessions."""

    def __init__(self, mutator, most=30):
        self.mutator = mutator
        self.most = most
        self.socks = []

    def one_more(self):
        open_to_all = [
            t for t in self.mutator.own("tunnels") if "listen" in t and
            not t["listen"].endswith(":0") and
            ("connect" in t or t.get("peer") == "home") and
            not (t["listen"].startswith("unix:") and "allow" in t)]
        if len(self.socks) < self.most and open_to_all:
            place = self.mutator.random.choice(open_to_all)["listen"]
            self.socks.append(connect(place))
            ask(self.socks[-1])

    def check(self):
        for sock in self.socks:
            ask(sock, b"still here")

    def close(self):
        for sock in self.socks:
            sock.close()


@pytest.mark.bound(240)
def test_200_random_changes(pair, security, echo, listener, closing):
    """The effective config equals the file after each; no session of an
    untouched tunnel is lost, no byte of it, and its link is never down."""
    steps = 60 if SLOW else 200
    p = pair(security, [reverse("web", listener.address),
                        reverse("calls", echo.address)],
             home_tunnels=[{"name": "r%d" % n, "peer": "edge",
                            "connect": echo.address} for n in range(15)])
    edge = p.edge
    edge.freeze_ports()
    apply(edge)
    mutator = Mutator(random.Random(SEED), edge, echo.address,
                      harness.new_secret)
    visitors = closing(Visitors(mutator))
    caller = closing(Caller(p.entry("calls")))
    user = closing(connect(p.entry("web")))
    service = listener.accept()
    enough = threading.Event()
    pumps = [Pump(pour, sock, salt, enough, 0.02) for salt, sock in
             enumerate((user, service))]
    takers = [Pump(take_pattern, sock) for sock in (service, user)]
    since = [link_since(d, n) for d, n in ((edge, "home"), (p.home, "edge"))]
    ours, = edge.sessions(tunnel="home/web")
    ports = {a: n for a, n in listening(edge).items()
             if a in (p.entry("web"), p.entry("calls"), edge.gateway())}
    with contextlib.closing(Admin(edge.admin_path)) as admin:
        for step in range(steps):
            mutator.step()
            edge.write_config()
            where = "step %d of seed %d" % (step, SEED)
            try:
                answer = admin("reload")
            except Exception as error:
                raise AssertionError("%s: %s" % (where, error)) from error
            assert answer["errors"] == [], where
            wrong = differences(effective(edge.config), admin("config"))
            assert not wrong, (where, wrong)
            check_rows(edge, admin, where)
            if step % 2 == 0:
                visitors.one_more()
            if step % 10 == 0:
                visitors.check()
                assert admin("reload", dry_run=True)["changes"] == [], where
            assert not caller.errors, (where, caller.errors)
    visitors.check()
    assert visitors.socks, "nobody came: a poor test"
    alive = {r["uid"] for r in edge.sessions()}
    assert ours["uid"] in alive and len(alive) >= 1 + len(visitors.socks)
    for d, n, before in ((edge, "home", since[0]), (p.home, "edge",
                                                    since[1])):
        assert link_since(d, n) == before
    assert caller.stop() > steps / 10
    now = listening(edge)
    assert {a: now.get(a) for a in ports} == ports
    enough.set()
    for pump, taker in zip(pumps, takers):
        assert pump.result() == taker.result()


def check_rows(d, admin, where):
    """The current tunnels and the peers are those of the file."""
    wanted = [(t.get("peer"), t["name"]) for t in d.config["tunnels"]]
    current = [(t["peer"], t["name"]) for t in admin("tunnels")
               if t["draining"] is None]
    assert current == wanted, where
    listens = {t["name"]: t["listen"] for t in admin("tunnels")
               if t["draining"] is None}
    assert not [t for t in admin("tunnels") if t["draining"] and
                t["name"] in ("web", "calls")], where
    for tunnel in d.config["tunnels"]:
        if not tunnel.get("listen", ":0").endswith(":0"):
            assert listens[tunnel["name"]] == tunnel["listen"], where


# --- a storm --------------------------------------------------------------

def replace_config(d):
    """At once: no reload may find half a file."""
    path = d.config_path
    d.config_path = path + ".new"
    try:
        d.write_config()
    finally:
        d.config_path = path
    os.rename(path + ".new", path)


def reloads_of(d):
    return [r for r in d.admin("changes") if r["command"] == "reload"]


@pytest.mark.parametrize("same", [True, False])
def test_100_hangups_in_a_second(pair, security, echo, same):
    """The last file wins, nobody is lost, and the daemon has time for
    others meanwhile."""
    p = pair(security, [reverse("web", echo.address),
                        reverse("other", echo.address)])
    d = p.edge
    since = link_since(d, "home")
    caller = Caller(p.entry("web"))
    with connect(p.entry("web")) as user, connect(p.entry("other")) as old:
        ask(user)
        ask(old)
        began = time.monotonic()
        for count in range(100):
            if not same:
                d.config["daemon"]["max_rows"] = 1000 + count
                tunnel_of(d, "other")["max_held"] = 1 + count
                replace_config(d)
            d.signal(signal.SIGHUP)
            # Spread over the second.
            time.sleep(max(0.0, began + count / 100 - time.monotonic()))
            if count % 10 == 0:
                ask(user)
                asked = time.monotonic()
                d.version()
                assert time.monotonic() - asked < 10 * harness.FACTOR
        wanted = effective(d.config)
        wait_until(lambda: d.admin("config") == wanted, 10, "the last file")
        settled(d)
        ask(user)
        ask(old)
        assert len([r for r in d.sessions() if r["tunnel"] == "other"]) == 1
    assert caller.stop()
    assert link_since(d, "home") == since
    assert 1 <= len(reloads_of(d)) <= 20 * harness.FACTOR


def test_hangups_at_once(daemon, echo):
    """A thousand of them cost few reloads, and the last file wins."""
    d = daemon("alone", tunnels=[
        {"name": "own", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    for count in range(1000):
        d.signal(signal.SIGHUP)
    d.config["daemon"]["max_rows"] = 77
    replace_config(d)
    d.signal(signal.SIGHUP)
    wait_until(lambda: d.admin("config")["daemon"]["max_rows"] == 77, 10,
               "the last file")
    round_trip(d.tunnel("own")["listen"])
    assert 1 <= len(reloads_of(d)) <= 20 * harness.FACTOR


def test_hangups_beside_orders(pair, echo):
    """Signals, tunnelctl and dry runs of several people at a time."""
    p = pair("plain", [reverse("web", echo.address)])
    d = p.edge

    def orders(dry_run):
        with contextlib.closing(Admin(d.admin_path)) as admin:
            for _ in range(60):
                admin("reload", dry_run=dry_run)
                admin("config")
    with connect(p.entry("web")) as user:
        ask(user)
        for count in range(5):
            tunnel_of(d, "web")["max_held"] = 10 + count
            replace_config(d)
            pumps = [Pump(orders, dry) for dry in (True, False, False)]
            for _ in range(10):
                d.signal(signal.SIGHUP)
                ask(user)
            for pump in pumps:
                pump.result()
            settled(d)


@pytest.mark.both_modes
def test_while_the_peer_reconnects(pair, security, echo):
    """The link is cut again and again, from either end, while both ends
    reload: sessions stay, and at the end it is up."""
    p = pair(security, [reverse("web", echo.address)],
             link={"reconnect": {"min": 0.01, "max": 0.1}})
    with connect(p.entry("web")) as user:
        ask(user)
        uid = p.the_uid()
        for count in range(40):
            for d in p.both():
                tunnel_of(d, "web")["max_sessions"] = 100 + count
                d.config["peers"][0]["pool"] = count % 4
                if count % 5 == 0:
                    d.config["peers"][0]["heartbeat"] = \
                        {"interval": 1.0 + count / 5}
                    if count % 2:
                        del d.config["peers"][0]["heartbeat"]
                with contextlib.suppress(Exception):
                    (p.edge if count % 2 else p.home).admin(
                        "disconnect", peer="home" if count % 2 else "edge")
                apply(d)
            ask(user)
        p.wait_up(20)
        for d in p.both():
            settled(d)
            assert uid in {r["uid"] for r in d.sessions()}
        ask(user)
    round_trip(p.entry("web"))


@pytest.mark.both_modes
@pytest.mark.bound(240)
def test_links_come_and_go(pair_of, security, echo):
    """Four links of one pair, added and removed at random at either end,
    their secrets changed, while sessions of all of them run on."""
    names = ["h%d" % n for n in range(4)]
    chance = random.Random(SEED)
    p = pair_of(security, gateway=["127.0.0.1:%d" % free_port()])
    edge, home = p.both()
    peer = dict(home.config["peers"][0], security=security,
                reconnect={"min": 0.01, "max": 0.1},
                connect=edge.config["gateway"]["listen"][0])
    ports = {name: "127.0.0.1:%d" % free_port() for name in names}

    def config(d, names):
        ours = [dict(peer, name=name, **{"as": name}) for name in names]
        if d is edge:
            for one in ours:
                del one["connect"], one["reconnect"], one["as"]
        for one in ours:
            one["secret_file"] = d.path("secret-" + one["name"])
        d.config["peers"] = ours
        d.config["tunnels"] = [
            dict({"name": "web", "peer": name},
                 **({"listen": ports[name]} if d is edge else
                    {"connect": echo.address})) for name in names]
        chance.shuffle(d.config["peers"])

    def new_secret(name):
        secret = harness.new_secret()
        for d in p.both():
            d.write_secret(name, secret)

    def all_up():
        for d in p.both():
            config(d, names)
            apply(d)
        for name in names:
            for d in p.both():
                d.wait_up(name, 20)

    users = {}
    try:
        for name in names:
            new_secret(name)
        for d in p.both():
            config(d, [])
            d.start()
        for step in range(40):
            if step % 10 == 0:
                all_up()
                for name in names:
                    users[step, name] = connect(ports[name])
                    ask(users[step, name])
            if chance.random() < 0.3:
                new_secret(chance.choice(names))
            for d in p.both():
                config(d, [n for n in names if chance.random() < 0.6])
                apply(d)
            for user in users.values():
                ask(user)
        all_up()
        for name in names:
            round_trip(ports[name])
        for d in p.both():
            settled(d)
            assert len(d.wait_sessions(len(users))) == len(users)
    finally:
        for user in users.values():
            user.close()
    for d in p.both():
        d.wait_sessions(0)
        wait_until(lambda: len(d.admin("tunnels")) == 4 and
                   len(d.admin("peers")) == 4, 5, "the old ones to go")


# --- nothing is used up ---------------------------------------------------

def turn_over(d, count, echo_address):
    """A reload that adds, changes and removes something of every kind."""
    odd = count % 2
    d.config["tunnels"] = [t for t in d.config["tunnels"]
                           if t["name"] in ("web", "own")]
    d.config["peers"] = [x for x in d.config["peers"] if x["name"] == "home"]
    if odd:
        for n in range(3):
            d.config["tunnels"].insert(0, {
                "name": "extra%d" % n, "listen": "127.0.0.1:0",
                "connect": echo_address, "allow": ["127.0.0.0/8"]})
        for n in range(2):
            d.config["peers"].insert(0, dict(
                {"name": "peer%d" % n,
                 "secret_file": peer_of(d, "home")["secret_file"]},
                **({"connect": "127.0.0.1:1"} if n else {})))
        d.config["tunnels"].append({"name": "far", "peer": "peer1",
                                    "listen": "127.0.0.1:0"})
    tunnel_of(d, "own")["max_held"] = 5 + odd
    peer_of(d, "home").update(pool=1 + odd, mode="direct")
    d.config["daemon"]["max_rows"] = 1000 + odd
    d.write_config()


@pytest.mark.bound(240)
def test_flat_after_1000_reloads(pair, security, echo):
    """Descriptors and memory; with a session in an old tunnel that never
    ends, and with sessions that do."""
    times = 200 if SLOW else 1000
    p = pair(security, [reverse("web", echo.address)],
             edge_tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                            "connect": echo.address}],
             edge={"daemon": {"log_level": "warning"}})
    d = p.edge
    own = d.tunnel("own")["listen"]
    with contextlib.closing(Admin(d.admin_path)) as admin, \
            connect(p.entry("web")) as user, connect(own) as old:
        ask(user)
        ask(old)

        def reloads(count):
            for n in range(count):
                turn_over(d, n, echo.address)
                admin("reload")
                if n % 50 == 0:
                    round_trip(own)     # is drained, soon
                    ask(old)
            assert count % 2 == 0       # the smaller of the two configs

        def settle():
            turn_over(d, 0, echo.address)
            admin("reload")
            wait_until(lambda: len(d.sessions()) == 2 and
                       d.ledger()["queued"] == 0, 20, "quiet")
            wait_until(lambda: d.peer("home")["channels_idle"] == 1, 10,
                       "a full reserve")

        reloads(times // 4)     # caches, buffers and arenas are filled
        settle()
        fds, rss = d.fds(), d.rss_kib()
        reloads(times)
        settle()
        wait_until(lambda: d.fds() <= fds, 10, "%d descriptors, not %d" %
                   (fds, d.fds()))
        grown = d.rss_kib() - rss
        ask(user)
        ask(old)
    settled(d)
    if SLOW:
        pytest.skip("MEMORY IS NOT MEASURED: THE BINARIES ARE INSTRUMENTED")
    assert grown < 1024, "grown by %d KiB" % grown


def test_flat_after_200_failures(pair, echo, closing):
    """What had been prepared goes again."""
    p = pair("plain", [reverse("web", echo.address)])
    d = p.edge
    taken = closing(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    new = [{"name": "n%d" % n, "listen": "127.0.0.1:0",
            "connect": echo.address} for n in range(10)]
    d.config["tunnels"] += new + [dict(new[0], name="bad",
                                       listen="127.0.0.1:%d" %
                                       taken.getsockname()[1])]
    d.config["gateway"]["listen"].append("127.0.0.1:%d" % free_port())
    d.config["peers"].append(dict(d.config["peers"][0], name="other"))
    peer_of(d, "home")["security"] = "tls"
    since = link_since(d, "home")
    d.write_config()
    for count in range(200):
        if count == 20:
            fds, rss, ports = d.fds(), d.rss_kib(), listening(d)
        assert not ask_reload(d)["ok"]
    wait_until(lambda: d.fds() <= fds, 5, "no more than %d descriptors" % fds)
    assert listening(d) == ports
    assert link_since(d, "home") == since
    if not SLOW:
        assert d.rss_kib() - rss < 1024
    round_trip(p.entry("web"))


# --- who comes meanwhile --------------------------------------------------

@pytest.mark.parametrize("who", ["edge", "home"])
@pytest.mark.parametrize("kind", ["same", "changed"])
def test_nobody_is_refused(pair, security, echo, closing, who, kind):
    """20 reloads of either end while users connect as fast as they can; the
    tunnel itself is changed, or all but it."""
    p = pair(security, [reverse("web", echo.address)],
             edge_tunnels=[{"name": "a", "listen": "127.0.0.1:0",
                            "connect": echo.address}],
             home_tunnels=[{"name": "a", "listen": "127.0.0.1:0",
                            "connect": echo.address}])
    d = p.edge if who == "edge" else p.home
    callers = [closing(Caller(p.entry("web"), PATTERN[:200]))
               for _ in range(4)]
    for count in range(20):
        if kind == "changed":
            tunnel_of(d, "web")["max_sessions"] = 1000 + count
        tunnel_of(d, "a")["max_held"] = 100 + count
        d.config["peers"][0]["pool"] = 1 + count % 5
        apply(d)
        for caller in callers:
            caller.more(5)
    remove(d, "a")
    apply(d)
    assert sum([caller.stop() for caller in callers]) >= 400
    for x in p.both():
        assert {r["close_reason"] for r in x.closed(400)} == {"closed"}
