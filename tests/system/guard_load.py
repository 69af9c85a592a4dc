# SPDX-License-Identifier: ISC
"""A pair of daemons, its users and its service, for test_guard.py: one load
after the other, each the same every time. See guard_watch.Steps."""

import os
import shutil
import socket
import time

import guard_watch
import harness
from harness import wait_until
from services import parse, read_all, read_exactly

MIB = 1 << 20
REQUEST = b"GET / HTTP/1.1\r\nHost: guard\r\n\r\n".ljust(100, b"?")
ANSWER = b"HTTP/1.1 200 OK\r\n\r\n".ljust(300, b"!")
BLOCK = bytes(MIB)
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
    """It will run as an ordinary user of its own, with malloc counted."""
    daemon.netns = netns
    daemon.own_binary = True
    daemon.wrapper = ["setpriv", "--reuid", str(UID), "--regid", str(UID),
                      "--clear-groups", "--"]
    counters = daemon.path("allocations")
    allocations = guard_watch.Allocations(counters)
    daemon.env = {"LD_PRELOAD": shutil.copy(library, daemon.directory),
                  "TUNNELD_ALLOCATIONS": counters}
    for name in ("", *os.listdir(daemon.directory)):
        os.chown(daemon.path(name), UID, UID)
    return allocations


class World:
    """`end` is "entry" or "exit"; counters are those of both."""

    def __init__(self, pair, netns, library):
        self.pair = pair
        self.netns = netns
        self.ends = {"entry": pair.edge, "exit": pair.home}
        self.allocations = {end: prepare(daemon, netns, library)
                            for end, daemon in self.ends.items()}
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
        self.steps = guard_watch.Steps(self.pair.both())
        self.session = self.open()

    def trace(self):
        self.traces = {end: guard_watch.Trace(daemon)
                       for end, daemon in self.ends.items()}
        self.steps.settle()
        self.begin()

    def close(self):
        for trace in self.traces.values():
            trace.close()
        for allocations in self.allocations.values():
            allocations.close()
        for sock in self.session:
            sock.close()
        self.listener.close()

    # what was counted

    def begin(self):
        self.steps.settle()
        self.asked = {end: self.allocations[end].read()[0]
                      for end in self.ends}
        for trace in self.traces.values():
            trace.count()

    def counted(self, units, bulk=False):
        """{end: {figure: value}} since begin(), for each of so many units."""
        self.steps.settle()
        found = {}
        for end in self.ends:
            count = self.traces[end].count()
            asked = self.allocations[end].read()[0] - self.asked[end]
            figures = {"calls": count.total(), "allocations": asked}
            if bulk:
                figures["copied"] = count.copied / MIB
                figures["spliced"] = count.spliced / MIB
            figures.update(("calls " + name, value)
                           for name, value in count.calls.items())
            found[end] = {name: value / units
                          for name, value in figures.items()}
        return found

    def round(self, load, units):
        """{end: {figure: value}} of one load."""
        self.begin()
        load(units)
        return self.counted(units, load in (self.up, self.down))

    def held(self):
        """Blocks of memory at each end, once nothing is under way."""
        for daemon in self.ends.values():
            wait_until(lambda: daemon.ledger()["queued"] == 0, 10,
                       "the ledger of %s to have all" % daemon.name)
        self.steps.settle()
        return {end: self.allocations[end].read()[1] for end in self.ends}

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

    def crowds(self, count):
        """USERS sessions at a time, each of whose steps comes at once."""
        for _ in range(count // USERS):
            users = self.users(USERS)
            with self.steps.freeze(self.ends["entry"]):
                for user in users:
                    self.connect(user)
                    user.sendall(REQUEST)
            with self.steps.freeze(self.ends["exit"]):
                services = [self.accept() for _ in users]
                for service in services:
                    answer(service)
            with self.steps.freeze(self.ends["entry"]):
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
        first, second = (self.ends[end] for end in ends)
        source.settimeout(0)
        sink.settimeout(0)

        def step():
            nonlocal due, wanted
            with self.steps.freeze(second):
                with self.steps.freeze(first):
                    due -= send_some(source, due)
                    wanted -= read_some(sink, wanted)
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
        secret = harness.new_secret()
        peer = dict({"secret": secret}, **peer)
        self.edge = daemon(
            "edge", master=False, gateway=["127.0.0.1:0"],
            peers=[dict(peer, name=name) for name in names],
            tunnels=[{"name": "web", "peer": name, "listen": "127.0.0.1:0"}
                     for name in names])
        self.home = daemon(
            "home", master=False,
            peers=[dict(peer, **{"name": "to-" + name, "as": name})
                   for name in names],
            tunnels=[{"name": "web", "peer": "to-" + name,
                      "connect": "127.0.0.1:1"} for name in names])
        self.ends = {"entry": self.edge, "exit": self.home}
        self.allocations = [prepare(one, netns, library)
                            for one in self.ends.values()]

    def start(self):
        self.edge.start()
        for peer in self.home.config["peers"]:
            peer["connect"] = self.edge.gateway()
        self.home.start()
        for end in self.ends.values():
            wait_until(lambda: all(peer["state"] == "up"
                                   for peer in end.admin("peers")), 20,
                       "the links of %s to be up" % end.name)
        # Lanes and reserves come after the links.
        time.sleep(1)

    def count(self, seconds):
        """{end: guard_watch.Count} of a while in which nothing is asked."""
        traces = {end: guard_watch.Trace(one)
                  for end, one in self.ends.items()}
        try:
            for trace in traces.values():
                trace.count()
            time.sleep(seconds)
            return {end: trace.count() for end, trace in traces.items()}
        finally:
            for trace in traces.values():
                trace.close()

    def close(self):
        for allocations in self.allocations:
            allocations.close()
