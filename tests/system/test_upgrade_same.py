# SPDX-License-Identifier: ISC
"""What an upgrade does not change, and what it takes over from a config that
did; what it must not use up."""

import os
import time

import pytest

from harness import SLOW, free_port, reverse, wait_until
from processes import descriptors, rss_kib, zombies
from reloads import apply, is_refused, listening, settled, tunnel_of
from services import Echo, ask, connect, round_trip
from test_life import second_home
from test_upgrade import end_of
from tool import tool
# The fixtures are used by name.
from upgrades import mastered, wait_draining  # noqa: F401


# --- what stays the same --------------------------------------------------

def test_listeners_are_the_same(daemon, pair_of, security, echo, tmp_path):
    """Port 0 keeps its port, a socket file its owner and its inode, and no
    listener is bound anew: not that of a tunnel, of the gateway, of the
    metrics, nor the admin socket."""
    gateway = "127.0.0.1:%d" % free_port()
    path = str(tmp_path / "web.sock")
    p = pair_of(security, [
        reverse("web", echo.address), reverse("any", echo.address, ":0"),
        reverse("file", echo.address, "unix:" + path)],
        gateway=[gateway, "127.0.0.1:0"], master=True)
    p.edge.config["metrics"] = {"listen": "127.0.0.1:0"}
    p.start()
    d = p.edge

    def now():
        files = [(s.st_ino, s.st_uid, s.st_gid, s.st_mode) for s in
                 map(os.stat, (path, d.admin_path))]
        return (listening(d), files, d.status()["gateway"]["listen"],
                [t["listen"] for t in d.admin("tunnels")])
    before = now()
    assert len(before[0]) == 4      # :0 is one of IPv6
    for _ in range(3):
        d.upgrade()
        p.wait_up()
        wait_draining(d, 0)
        assert now() == before
        for name in ("web", "any", "file"):
            round_trip(p.entry(name))
    d.stop()
    for place in (path, d.admin_path):
        assert not os.path.exists(place)


def test_unix_sockets_everywhere(pair_of, security, closing, tmp_path):
    """A gateway, an entry and a service that are files."""
    service = closing(Echo("unix:%s/service" % tmp_path))
    p = pair_of(security, [reverse("web", service.address,
                                   "unix:%s/web" % tmp_path)],
                gateway=["unix:%s/gateway" % tmp_path], master=True)
    p.start()
    entry = p.entry("web")
    with connect(entry) as user:
        ask(user)
        for _ in range(2):
            for d in p.both():
                d.upgrade()
                with connect(entry) as other:
                    ask(other)
                ask(user)
        p.wait_up()
    for d in p.both():
        wait_draining(d, 0)


def test_a_changed_config_is_read(mastered, echo):
    """All of it, since this is another process: tunnels that are added,
    removed, moved and changed; and what a reload would refuse."""
    p, d = mastered, mastered.edge
    d.freeze_ports()
    apply(d)
    old_port, moved = p.entry("web"), "127.0.0.1:%d" % free_port()
    d.config["tunnels"] += [
        {"name": "gone", "listen": "127.0.0.1:%d" % free_port(),
         "connect": echo.address},
        {"name": "kept", "listen": "127.0.0.1:0", "connect": echo.address}]
    apply(d)
    gone, kept = d.tunnel("gone")["listen"], d.tunnel("kept")["listen"]
    with connect(gone) as user:
        ask(user)
        d.config["tunnels"] = [t for t in d.config["tunnels"]
                               if t["name"] != "gone"]
        d.config["tunnels"].append({"name": "new", "connect": echo.address,
                                    "listen": "127.0.0.1:%d" % free_port()})
        tunnel_of(d, "web").update(listen=moved, max_held=9)
        d.config["daemon"]["database"] = d.path("another.db")
        d.write_config()
        assert "restart" in tool(d, "reload", status=1).err
        d.upgrade()
        settled(d)
        assert d.ledger()["path"] == d.path("another.db")
        p.wait_up()
        for place in (moved, kept, d.tunnel("new")["listen"]):
            round_trip(place)
        for place in (gone, old_port):
            wait_until(lambda: is_refused(place), 5, "the old port to close")
        assert d.tunnel("kept")["listen"] == kept
        ask(user, b"under the old settings")
        old, = [t for t in d.admin("tunnels") if t["name"] == "gone"]
        assert old["state"] == "draining" and old["sessions"] == 1
    wait_draining(d, 0)
    assert "gone" not in {t["name"] for t in d.admin("tunnels")}


def test_what_is_off_stays_off(mastered):
    p, d = mastered, mastered.edge
    d.ctl("disable", "web")
    d.upgrade()
    assert d.tunnel("web")["disabled"]
    d.ctl("enable", "web")
    round_trip(p.entry("web"))


@pytest.mark.parametrize("who", ["edge", "home"])
def test_it_is_the_same_daemon(mastered, daemon, who):
    """Its peers know it again at once; a foreign one of its name stays
    outside, before and after."""
    p = mastered
    d, far = end_of(p, who)
    other = second_home(p, daemon, master=False)
    other.start()
    wait_until(lambda: other.peer()["last_error"], 10, "a refusal")
    for _ in range(3):
        d.upgrade()
        p.wait_up(5)
        for _ in range(5):
            assert not other.is_up()
            round_trip(p.entry("web"))
            time.sleep(0.1)
    assert p.edge.is_up() and p.home.is_up()


def test_nobody_is_away_for_long(mastered):
    """The peer knows why its link went, and has another at once, however
    long it would otherwise wait."""
    p = mastered
    for d, far in ((p.edge, p.home), (p.home, p.edge)):
        since = far.peer()["since"]
        d.upgrade()
        wait_until(lambda: far.is_up() and far.peer()["since"] != since, 10,
                   "the new link")
        round_trip(p.entry("web"))
    p.wait_up()
    for d in p.both():
        def reasons_of():
            return [r["reason"] for r in d.admin("links") if r["down_at"]]
        wait_until(lambda: len(reasons_of()) == 2, 10, "both ends of links")
        reasons = reasons_of()
        assert all("upgrade" in reason for reason in reasons), reasons


# --- nothing is used up ---------------------------------------------------

@pytest.mark.bound(300)
def test_flat_after_50_upgrades(mastered):
    """Descriptors and memory of the master, and of the worker after the
    last one, with a user each time."""
    p, d = mastered, mastered.edge
    master = d.process.pid

    def some(count):
        for _ in range(count):
            with connect(p.entry("web")) as user:
                ask(user)
                d.upgrade()
                ask(user)
            wait_draining(d, 0)
        p.wait_up()
        round_trip(p.entry("web"))
        wait_until(lambda: d.ledger()["queued"] == 0 and not d.sessions() and
                   d.ready("home"), 10, "quiet")

    some(5)
    fds = len(descriptors(master)), d.fds()
    rss = rss_kib(master), d.rss_kib()
    some(10 if SLOW else 50)
    assert len(descriptors(master)) == fds[0], descriptors(master)
    wait_until(lambda: d.fds() <= fds[1] + 2, 10, "no more descriptors")
    assert zombies(master) == [] and len(d.processes()) == 1
    with open("/proc/%d/status" % master) as file:
        assert "\nThreads:\t1\n" in file.read()
    if SLOW:
        pytest.skip("MEMORY IS NOT MEASURED: THE BINARIES ARE INSTRUMENTED")
    assert rss_kib(master) - rss[0] < 256
    assert d.rss_kib() - rss[1] < 2048
