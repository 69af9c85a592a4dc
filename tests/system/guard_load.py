# SPDX-License-Identifier: ISC
"""A pair of daemons, its users and its service, for test_guard.py: one load
after the other, each the same every time. See guard_watch.Steps."""

import os
import socket

import guard_watch
import harness
import reloads
from harness import wait_until
from services import (connect, listen, parse, read_all, read_exactly,
                      written)

MIB = 1 << 20
REQUEST = b"GET / HTTP/1.1\r\nHost: guard\r\n\r\n".ljust(100, b"?")
ANSWER = b"HTTP/1.1 200 OK\r\n\r\n".ljust(300, b"!")
BLOCK = bytes(MIB)
STEP_NS = 1000000       # in which a MiB goes its way
BEAT = 10               # seconds: heartbeat.interval
REFRESH = 5             # of what an admin sees: the daemon's own timer
SETTLED = 150           # seconds after which all was done that is done once
TICK = 0.05             # steps of a daemon that idles: who beats, beats alone
# One link after the other. Neither whole nor half heartbeats of two links
# come at the same time, nor with what the daemon does each REFRESH.
APART = 3.1
USERS = 50              # of a crowd
# Nobody else has pipes as this user, whose number the kernel bounds.
UID = 61000 + os.getpid() % 1000
# The same everywhere; and nothing here is paced, or waits for a timer.
SYSCTLS = {"tcp_congestion_control": "reno",
           "tcp_rmem": "4096 131072 6291456",
           "tcp_wmem": "4096 16384 4194304"}


def still_netns(netns):
    """A namespace whose TCP is the same on every machine."""
    made = netns()
    for name, value in SYSCTLS.items():
        made.run("sh", "-c", 'echo "%s" >/proc/sys/net/ipv4/%s' %
                 (value, name))
    return made


def prepare(daemon, netns, library):
    """It will run as an ordinary user of its own, and be watched."""
    daemon.netns = netns
    daemon.own_binary = True
    daemon.wrapper = ["setpriv", "--reuid", str(UID), "--regid", str(UID),
                      "--clear-groups", "--"]
    preloaded = guard_watch.preload(daemon, library)
    for name in ("", *os.listdir(daemon.directory)):
        os.chown(daemon.path(name), UID, UID)
    return preloaded


class World:
    """`end` is "entry" or "exit"; counters are those of both."""

    def __init__(self, pair, netns, library):
        self.pair = pair
        self.netns = netns
        self.ends = {"entry": pair.edge, "exit": pair.home}
        self.preloaded = {daemon: prepare(daemon, netns, library)
                          for daemon in pair.both()}
        self.listener = netns.call(
            lambda: socket.create_server(("127.0.0.1", 0), backlog=4096))
        self.listener.settimeout(20)
        self.traces = {}
        self.session = ()

    def start(self):
        for row in self.pair.home.config["tunnels"]:
            row["connect"] = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.pair.start()
        self.address = parse(self.pair.entry("web"))[1]
        self.steps = guard_watch.Steps(self.preloaded)
        self.session = self.open()

    def trace(self):
        self.traces = {end: guard_watch.Trace(daemon)
                       for end, daemon in self.ends.items()}
        self.steps.settle()
        self.begin()

    def close(self):
        for trace in self.traces.values():
            trace.close()
        for preloaded in self.preloaded.values():
            preloaded.close()
        for sock in self.session:
            sock.close()
        self.listener.close()

    # what was counted

    def begin(self):
        self.steps.settle()
        self.before = {daemon: each.asked()
                       for daemon, each in self.preloaded.items()}
        for trace in self.traces.values():
            trace.count()

    def counted(self, units, size):
        """{end: {figure: value}} since begin(), for each of so many units;
        what was copied and spliced in so many bytes."""
        self.steps.settle()
        found = {}
        for end, daemon in self.ends.items():
            count = self.traces[end].count()
            asked = self.preloaded[daemon].asked() - self.before[daemon]
            figures = dict(count.figures(), allocations=asked,
                           copied=count.copied / size,
                           spliced=count.spliced / size)
            found[end] = {name: value / units
                          for name, value in figures.items()}
        return found

    def round(self, load, units):
        """{end: {figure: value}} of one load."""
        with self.steps.hold():
            self.begin()
            load(units)
            return self.counted(units, MIB if load in (self.up, self.down)
                                else 1)

    def kept(self):
        """Blocks of memory at each end, once nothing is under way."""
        for daemon in self.ends.values():
            wait_until(lambda: daemon.ledger()["queued"] == 0, 10,
                       "the ledger of %s to have all" % daemon.name)
        self.steps.settle()
        return {end: self.preloaded[daemon].kept()
                for end, daemon in self.ends.items()}

    # loads

    def users(self, count):
        """Sockets that are not connected yet."""
        return self.netns.call(
            lambda: [socket.socket() for _ in range(count)])

    def connect(self, user):
        user.settimeout(20)
        user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        user.connect(self.address)

    def accept(self):
        service = self.listener.accept()[0]
        service.settimeout(20)
        service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return service

    def open(self):
        """(user, service) of a session that is open."""
        user, = self.users(1)
        self.connect(user)
        self.steps.settle()
        return user, self.accept()

    def sessions(self, count):
        """One after the other: one request, its answer, and the end."""
        for user in self.users(count):
            with user:
                self.connect(user)
                self.steps.settle()
                user.sendall(REQUEST)
                self.steps.settle()
                with self.accept() as service:
                    answer(service)
                    self.steps.settle()
                    assert read_all(user) == ANSWER
            self.steps.settle()

    def turn(self, first, second):
        return self.steps.take_turns(self.ends[first], self.ends[second])

    def crowds(self, count):
        """USERS sessions at a time, each of whose steps comes at once."""
        for _ in range(count // USERS):
            users = self.users(USERS)
            with self.turn("entry", "exit"):
                for user in users:
                    self.connect(user)
                    user.sendall(REQUEST)
            with self.turn("exit", "entry"):
                services = [self.accept() for _ in users]
                for service in services:
                    answer(service)
            with self.turn("entry", "exit"):
                for user in users:
                    assert read_all(user) == ANSWER
                    user.close()
            for service in services:
                service.close()
            self.steps.settle()

    def requests(self, count):
        """On one session."""
        user, service = self.session
        for _ in range(count):
            user.sendall(REQUEST)
            self.steps.settle()
            assert read_exactly(service, len(REQUEST)) == REQUEST
            service.sendall(ANSWER)
            self.steps.settle()
            assert read_exactly(user, len(ANSWER)) == ANSWER

    def bulk(self, mib, source, sink, ends):
        """One end at a time has what is there, the first of `ends` first."""
        due = wanted = mib * MIB
        source.settimeout(0)
        sink.settimeout(0)

        def step():
            nonlocal due, wanted
            with self.turn(*ends):
                due -= send_some(source, due)
                wanted -= read_some(sink, wanted)
                self.steps.move_clocks(self.steps.now + STEP_NS)
            return wanted == 0
        wait_until(step, 30, "%d MiB to arrive" % mib, interval=0)
        source.settimeout(20)
        sink.settimeout(20)

    def up(self, mib):
        self.bulk(mib, *self.session, ("entry", "exit"))

    def down(self, mib):
        self.bulk(mib, *reversed(self.session), ("exit", "entry"))


def answer(service):
    """The answer and the end in one segment."""
    assert read_exactly(service, len(REQUEST)) == REQUEST
    service.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    service.sendall(ANSWER)
    service.shutdown(socket.SHUT_WR)


def send_some(sock, most):
    try:
        return sock.send(BLOCK[:min(most, MIB)]) if most else 0
    except BlockingIOError:
        return 0


def read_some(sock, most):
    got = 0
    try:
        while got < most:
            piece = sock.recv(min(most - got, MIB))
            assert piece, "the end came too early"
            got += len(piece)
    except BlockingIOError:
        pass
    return got


class Links:
    """An edge, and a home that dials it under many names."""

    def __init__(self, daemon, count, netns, library, **peer):
        names = ["home%d" % i for i in range(count)]
        self.netns = netns
        self.listener = netns.call(listen)
        self.users = []
        peer = dict({"secret": harness.new_secret()}, **peer)
        self.edge = daemon(
            "edge", master=False, gateway=["127.0.0.1:0"],
            peers=[dict(peer, name=name) for name in names],
            tunnels=[{"name": "web", "peer": name, "listen": "127.0.0.1:0"}
                     for name in names])
        self.home = daemon(
            "home", master=False,
            peers=[dict(peer, **{"name": "to-" + name, "as": name})
                   for name in names])
        self.peers = self.home.config.pop("peers")
        self.ends = {"entry": self.edge, "exit": self.home}
        self.preloaded = {one: prepare(one, netns, library)
                          for one in self.ends.values()}

    def start(self):
        """Without a link."""
        self.edge.start()
        self.home.start()
        self.steps = guard_watch.Steps(self.preloaded)

    def add_link(self, peer):
        """By a reload, so that it begins now."""
        self.home.config.setdefault("peers", []).append(
            dict(peer, connect=self.edge.gateway()))
        self.home.config.setdefault("tunnels", []).append(
            {"name": "web", "peer": peer["name"],
             "connect": written(self.listener)})
        reloads.apply(self.home)
        # Lanes and reserves come after the link.
        wait_until(lambda: self.edge.ready(peer["as"]) >= 2, 20,
                   "the link %s with all its lanes or its reserve" %
                   peer["as"])
        # At the other end, too, before time goes on.
        self.steps.settle()

    def add_user(self, address):
        """He opens a session, and says nothing."""
        self.users.append(self.netns.call(lambda: connect(address)))
        self.steps.settle()

    def pass_time(self, seconds):
        self.steps.pass_time(seconds, self.preloaded, TICK)

    def spread(self, idle):
        """Links, with so many sessions each, none of which begins when
        another does, or is due with it."""
        self.steps.pass_time(REFRESH, self.preloaded, REFRESH)
        for peer in self.peers:
            self.pass_time(APART)
            self.add_link(peer)
        entries = [tunnel["listen"] for tunnel in self.edge.admin("tunnels")]
        for _ in range(idle):
            for address in entries:
                self.pass_time(BEAT / (idle * len(entries)))
                self.add_user(address)
        for end in self.ends.values():
            wait_until(lambda: [one["state"] for one in end.sessions()] ==
                       len(self.users) * ["open"], 20,
                       "all sessions to be open")

    def measure(self, idle, seconds):
        """{end: {figure: value}} of a while in which nothing is asked.
        Sessions are over then."""
        traces = {}
        try:
            with self.steps.hold():
                self.spread(idle)
                self.pass_time(SETTLED)
                for end, one in self.ends.items():
                    traces[end] = guard_watch.Trace(one)
                self.steps.settle()
                before = {end: self.preloaded[one].wakes()
                          for end, one in self.ends.items()}
                for trace in traces.values():
                    trace.count()
                self.pass_time(seconds)
                found = {end: dict(traces[end].count().figures(),
                                   wakes=self.preloaded[one].wakes() -
                                   before[end])
                         for end, one in self.ends.items()}
        finally:
            for trace in traces.values():
                trace.close()
        self.end_users()
        return found

    def end_users(self):
        """A ledger that has little left to write lets its daemon stop soon,
        on a busy machine too."""
        for sock in (self.listener, *self.users):
            sock.close()
        for end in self.ends.values():
            wait_until(lambda: not end.sessions() and
                       end.ledger()["queued"] == 0, 20,
                       "the sessions of %s to be over and written down" %
                       end.name)

    def close(self):
        for preloaded in self.preloaded.values():
            preloaded.close()
        for sock in (self.listener, *self.users):
            sock.close()
