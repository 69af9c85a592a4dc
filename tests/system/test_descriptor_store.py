# SPDX-License-Identifier: ISC
"""Listeners that outlive the daemon, kept by systemd (a stand-in): a restart
refuses nobody. And who tells systemd what."""

import os
import re
import signal
import socket
import time

import pytest

from harness import forward, free_port, reverse, wait_until
from processes import descriptors
from reloads import apply, is_refused, listening, tunnel_of
from services import (Listener, Pump, ask, connect, drain, read_exactly,
                      round_trip)
from store import Store
# The fixtures are used by name.
from upgrades import alone, crash, own, wait_draining  # noqa: F401


@pytest.fixture
def kept(alone, closing, tmp_path):
    """kept(...): (daemon under a master under systemd, what that keeps)."""
    def make(start=True, most=512, **kw):
        store = closing(Store(str(tmp_path / ("notify%d" % free_port())),
                              most))
        d = store.serve_to(alone(start=False, **kw))
        if start:
            d.start()
            store.wait("READY=1")
        return d, store
    return make


def restart(d, store, **kw):
    d.stop()
    store.serve_to(d, **kw)
    d.start()


def in_store(store, *places):
    wait_until(lambda: set(store.places()) >= set(places), 5,
               "%s to be kept" % (places,))


# --- what systemd is told -------------------------------------------------

def test_what_is_said(kept):
    """READY, RELOADING and STOPPING, each once and in order, and all from
    the master: systemd believes nobody else."""
    d, store = kept()
    assert d.version()["master"] == d.process.pid
    assert len(store.said("READY=1")) == 1
    since = store.count()
    tunnel_of(d, "own")["max_held"] = 7
    apply(d)
    store.wait("READY=1", since=since)
    said = [line for m in store.messages[since:] for line in m.lines
            if line in ("RELOADING=1", "READY=1")]
    assert said == ["RELOADING=1", "READY=1"]
    clock, = [m for m in store.messages[since:] if "RELOADING=1" in m.lines]
    usec = int(clock.fields["MONOTONIC_USEC"])
    assert abs(usec / 1e6 - time.monotonic()) < 30
    since = store.count()
    tunnel_of(d, "own")["max_held"] = 8
    d.write_config()
    d.signal(signal.SIGHUP)
    store.wait("RELOADING=1", since=since)
    store.wait("READY=1", since=since)
    d.stop()
    store.wait("STOPPING=1")
    assert {m.pid for m in store.messages} == {d.process.pid}
    assert not store.said("MAINPID=")


def test_an_upgrade_as_systemd_sees_it(kept):
    """SIGHUP, which is ExecReload, with another binary: a reload, and it is
    told when that is done; so is one that fails."""
    d, store = kept()
    for bad in (False, True):
        since, worker = store.count(), d.worker
        if bad:
            d.replace_binary("exit 1")
        else:
            d.replace_binary()
        d.signal(signal.SIGHUP)
        store.wait("RELOADING=1", since=since)
        store.wait("READY=1", since=since)
        assert (d.worker == worker) == bad
    d.replace_binary()
    since = store.count()
    d.upgrade()
    crash(d)
    d.stop()
    store.wait("STOPPING=1", since=since)
    assert {m.pid for m in store.messages} == {d.process.pid}


def test_ready_is_true(kept):
    """Said once users are served."""
    d, store = kept(start=False)
    d.launch()
    store.wait("READY=1")
    round_trip(own(d))


def test_worker_knows_nothing_of_systemd(kept):
    """What systemd gave goes to nobody else."""
    d, store = kept()
    for _ in range(2):
        with open("/proc/%d/environ" % d.worker) as file:
            words = file.read().split("\0")
        names = {word.split("=")[0] for word in words}
        assert not names & {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS",
                            "LISTEN_FDNAMES"}
        restart(d, store)


# --- what is kept ---------------------------------------------------------

def test_what_is_kept(pair_of, closing, echo, tmp_path, security):
    """Listeners of tunnels, of the gateway and of the metrics, each once,
    under a name of its own; upgrades and crashes change nothing."""
    store = closing(Store(str(tmp_path / "notify")))
    p = pair_of(security, [reverse("a", echo.address),
                           reverse("b", echo.address)], master=True)
    p.edge.config["metrics"] = {"listen": "127.0.0.1:0"}
    store.serve_to(p.edge)
    p.start()
    d = p.edge
    wanted = set(listening(d))
    assert len(wanted) == 4
    in_store(store, *wanted)
    tcp = {place for place in store.places() if place in wanted}
    assert tcp == wanted
    names = store.names()
    assert len(set(names)) == len(names) and "stored" not in names
    inodes = store.inodes()
    d.upgrade()
    crash(d)
    p.wait_up()
    d.upgrade()
    round_trip(p.entry("a"))
    assert set(listening(d)) == wanted
    assert store.inodes() == inodes
    assert {int(n) for n in listening(d).values()} <= inodes


def test_reload_keeps_up_with_it(kept, echo):
    """A listener that is new is kept as soon as it is there, one that is
    gone no more: nobody may connect to where nobody listens."""
    d, store = kept()
    first, second = ("127.0.0.1:%d" % free_port() for _ in range(2))
    tunnel_of(d, "own")["listen"] = first
    apply(d)
    d.config["tunnels"].append({"name": "b", "listen": second,
                                "connect": echo.address})
    apply(d)
    in_store(store, first, second)
    d.config["tunnels"].pop()
    apply(d)
    wait_until(lambda: second not in store.places(), 5, "it to be forgotten")
    assert is_refused(second)
    assert first in store.places()
    # By an upgrade, the same.
    d.config["tunnels"].append({"name": "c", "listen": second,
                                "connect": echo.address})
    tunnel_of(d, "own")["listen"] = "127.0.0.1:%d" % free_port()
    d.write_config()
    d.upgrade()
    wait_until(lambda: second in store.places() and
               first not in store.places(), 5, "the other ones")
    assert is_refused(first)
    round_trip(second)


def test_the_store_is_small(kept, echo):
    """More listeners than systemd keeps: all of them serve."""
    d, store = kept(most=3, tunnels=[
        {"name": "t%d" % n, "listen": "127.0.0.1:0",
         "connect": echo.address} for n in range(8)])
    for _ in range(2):
        for tunnel in d.admin("tunnels"):
            round_trip(tunnel["listen"])
        d.freeze_ports()
        restart(d, store)


# --- restarts -------------------------------------------------------------

def test_restart(kept):
    """Who connects between stop and start is served; the port 0 listener
    keeps its port; names are scrambled, and not looked at."""
    d, store = kept(tunnels=[
        {"name": "own", "listen": "127.0.0.1:%d" % free_port(),
         "connect": "127.0.0.1:1"}])
    echo = Listener()
    tunnel_of(d, "own")["connect"] = echo.address
    apply(d)
    entry = own(d)
    in_store(store, entry)
    ports = listening(d)
    for _ in range(2):
        d.stop()
        users = [connect(entry) for _ in range(50)]
        for count, user in enumerate(users):
            user.sendall(b"%04d" % count)
        store.rename()
        store.serve_to(d).start()
        got = set()
        for _ in users:
            with echo.accept() as sock:
                got.add(read_exactly(sock, 4))
        assert got == {b"%04d" % n for n in range(50)}
        for user in users:
            user.close()
        assert listening(d) == ports
        assert len(store.places()) == len(set(store.names()))
        in_store(store, entry)
    echo.close()


@pytest.mark.parametrize("kind", [reverse, forward])
@pytest.mark.parametrize("who", ["edge", "home"])
def test_restart_in_a_pair(pair_of, closing, echo, tmp_path, security, kind,
                           who):
    """`systemctl restart` of either end: sessions end, users who come
    meanwhile are served, those of the gateway too."""
    p = pair_of(security, [kind("web", echo.address)], master=True)
    stores = {}
    for d in p.both():
        stores[d] = closing(Store(str(tmp_path / ("n-" + d.name))))
        stores[d].serve_to(d)
    p.start()
    for each in p.both():
        each.freeze_ports()
    p.point_home(p.edge.gateway())
    d = getattr(p, who)
    entry = p.entry("web")
    with connect(entry) as old:
        ask(old)
        d.stop()
        assert drain(old) in ("reset", "end")
    users = [connect(entry) for _ in range(20)]
    for user in users:
        user.sendall(b"ping")
    stores[d].rename()
    stores[d].serve_to(d).start()
    for user in users:
        assert read_exactly(user, 4) == b"ping"
        user.close()
    p.wait_up()
    assert p.entry("web") == entry


def test_callers_in_a_loop(kept, echo):
    """Nobody is refused; who has a session is cut off, as it must be."""
    d, store = kept(tunnels=[{"name": "own", "connect": echo.address,
                              "listen": "127.0.0.1:%d" % free_port()}])
    entry = own(d)
    stop = []
    served, cut = [], []

    def calls():
        while not stop:
            try:
                with connect(entry) as sock:
                    ask(sock)
                    served.append(1)
            except ConnectionRefusedError:
                raise
            except (OSError, AssertionError) as error:
                # Accepted, and cut off before connect() has looked, too.
                cut.append(error)
    pumps = [Pump(calls) for _ in range(3)]
    for _ in range(4):
        count = len(served)
        wait_until(lambda: len(served) > count + 30, 10, "some to be served")
        restart(d, store)
    count = len(served)
    wait_until(lambda: len(served) > count + 30, 10, "some to be served")
    stop.append(1)
    for pump in pumps:
        pump.result()       # a refusal would be raised here
    assert len(cut) <= 4 * 3, cut


def test_after_sigkill(kept):
    """The daemon had no time for anything: its listeners are there."""
    d, store = kept()
    tunnel_of(d, "own")["listen"] = entry = own(d)
    in_store(store, entry)
    d.kill()
    with connect(entry) as user:
        user.sendall(b"hello")
        store.serve_to(d).start()
        assert read_exactly(user, 5) == b"hello"
    d.upgrade()
    round_trip(entry)


def test_unix_socket(kept, echo, tmp_path):
    """A socket file serves after a restart, whoever has it meanwhile."""
    path = "unix:%s/own" % tmp_path
    d, store = kept(tunnels=[{"name": "own", "listen": path,
                              "connect": echo.address}])
    for how in (d.stop, d.kill, d.stop):
        how()
        store.serve_to(d).start()
        round_trip(path)
        d.upgrade()
        round_trip(path)
        wait_draining(d, 0)
    os.unlink(path[5:])     # by somebody; what is kept is of no use then
    restart(d, store)
    round_trip(path)


# --- what is not ours -----------------------------------------------------

def test_not_configured_any_more(kept, echo):
    """Closed at the start, and removed from the store, by the name it has
    there."""
    first, second = ("127.0.0.1:%d" % free_port() for _ in range(2))
    d, store = kept(tunnels=[
        {"name": "own", "listen": first, "connect": echo.address},
        {"name": "b", "listen": second, "connect": echo.address}])
    in_store(store, first, second)
    d.stop()
    d.config["tunnels"].pop()
    store.rename()
    store.serve_to(d).start()
    wait_until(lambda: second not in store.places(), 5, "it to be forgotten")
    assert is_refused(second)
    in_store(store, first)
    round_trip(first)


@pytest.mark.parametrize("what", ["pipe", "udp", "other", "connected",
                                  "file", "abstract"])
def test_foreign_descriptors(kept, closing, tmp_path, what):
    """Closed, with a word in the log; what is ours is taken all the same."""
    d, store = kept()
    tunnel_of(d, "own")["listen"] = entry = own(d)
    in_store(store, entry)
    before = listening(d)
    d.stop()
    pipe, couple = os.pipe(), socket.socketpair()
    foreign = {
        "pipe": lambda: os.fdopen(pipe[0]),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "other": lambda: Listener().sock,
        "connected": lambda: couple[0],
        "file": lambda: open(d.config_path),
        "abstract": lambda: socket.socket(socket.AF_UNIX)}[what]()
    if what == "udp":
        foreign.bind(("127.0.0.1", 0))
    elif what == "abstract":
        foreign.bind("\0tunneld-test-%d" % free_port())
        foreign.listen()
    link = os.readlink("/proc/self/fd/%d" % foreign.fileno())
    store.add("foreign", foreign)
    store.kept.insert(0, store.kept.pop())
    since = len(d.log())
    store.serve_to(d).start()
    round_trip(entry)
    assert listening(d) == before
    for pid in (d.process.pid, d.pid):
        assert link not in descriptors(pid).values()
    words = d.log()[since:]
    assert re.search(r"descriptor|nobody listens there", words), words
    wait_until(lambda: "foreign" not in store.names(), 5,
               "it to be removed from the store")
    for sock in (foreign, *couple):
        sock.close()
    os.close(pipe[1])
    if what != "pipe":
        os.close(pipe[0])


@pytest.mark.parametrize("count", ["", "-1", "x", "3x", "99999999999",
                                   "70000", "5"])
def test_nonsense_in_the_environment(kept, count):
    """LISTEN_FDS of somebody else, or of nobody."""
    d, store = kept()
    tunnel_of(d, "own")["listen"] = entry = own(d)
    d.stop()
    while store.kept:
        store.forget(store.kept[0])     # else the port is taken
    store.serve_to(d).wrapper += ["/usr/bin/env", "LISTEN_FDS=" + count,
                                  "/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"",
                                  "sh"]
    d.start()
    round_trip(entry)


def test_for_another_process(kept):
    """LISTEN_PID is not us: nothing of it is touched."""
    d, store = kept()
    entry = own(d)
    d.stop()
    before = store.inodes()
    tunnel_of(d, "own")["listen"] = "127.0.0.1:%d" % free_port()
    store.serve_to(d, pid_off=1).launch()
    # Until then, who asks is in the queue of a socket that nobody has.
    wait_until(lambda: d.log().count(" is up, pid ") == 2, 15, "its start")
    round_trip(own(d))
    assert own(d) != entry
    assert before <= store.inodes()


def test_no_names(kept):
    """An older systemd gives none."""
    d, store = kept()
    tunnel_of(d, "own")["listen"] = entry = own(d)
    in_store(store, entry)
    restart(d, store, names="")
    round_trip(entry)


def test_a_notify_socket_that_is_not_there(alone):
    """tunneld serves all the same."""
    d = alone(start=False)
    d.env["NOTIFY_SOCKET"] = d.path("no-such")
    d.start()
    tunnel_of(d, "own")["max_held"] = 9
    apply(d)
    d.upgrade()
    crash(d)
    round_trip(own(d))


def test_no_master_and_systemd(daemon, closing, echo, tmp_path):
    """--no-master tells systemd itself; whether it takes what is kept or
    not, users are served."""
    store = closing(Store(str(tmp_path / "notify")))
    d = store.serve_to(daemon("alone", master=False, tunnels=[
        {"name": "own", "listen": "127.0.0.1:0", "connect": echo.address}]))
    d.start()
    store.wait("READY=1")
    round_trip(own(d))
    d.stop()
    store.wait("STOPPING=1")
    assert {m.pid for m in store.messages} == {d.process.pid}
