# SPDX-License-Identifier: ISC
"""Two network namespaces and a path between them, for tests/bench/paths.

Each namespace has a TUN device; the relay is a program that reads IP packets
from the one and writes them to the other, a process for each direction. It
loses some, lets the rest leave one after the other at the path's rate, and
hands each over when its delay has passed.

Loss is the relay's and not nft's `numgen random`: here each packet is one of
the wire, at most 1,500 bytes. A filter in the kernel would see what TCP hands
down in one piece, up to 64 KiB, and lose all of it at once. And the relay's
dice have a seed.

The namespaces have no names, and end with the processes in them, which end
with the script, however it ends.
"""

import collections
import ctypes
import fcntl
import functools
import json
import mmap
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

MTU = 1500
ADDRESSES = ("10.78.0.1", "10.78.0.2")
DEVICE = "path0"
_libc = ctypes.CDLL(None, use_errno=True)
CHRT = ["chrt", "--rr", "1"]
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000

# What the script and the relay share: the loss, which may change while it
# runs; and for each direction what it counted.
LOSS = struct.Struct("d")
COUNTS = ("packets", "bytes", "lost", "overflowed", "late_2ms", "late_max_us")
COUNTERS = struct.Struct("%dQ" % len(COUNTS))
SHARED = 4096


def enter(pid):
    fd = os.open("/proc/%d/ns/net" % pid, os.O_RDONLY)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@functools.lru_cache(maxsize=None)
def is_urgent():
    return subprocess.run([*CHRT, "true"], stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def spawn(argv, namespace=None, **options):
    """A program that cannot outlive this one. It comes before whatever else
    the machine does, where it may: that is not the path's delay."""
    wrap = (CHRT if is_urgent() else []) + ["setpriv", "--pdeathsig", "KILL",
                                            "--"]
    if namespace is not None:
        wrap = ["nsenter", "--net=/proc/%d/ns/net" % namespace.pid,
                "--"] + wrap
    options.setdefault("stdin", subprocess.DEVNULL)
    # ^C is for the script: it ends its programs itself.
    return subprocess.Popen(wrap + list(argv), start_new_session=True,
                            **options)


class Namespace:
    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "--", "sh",
             "-c", "echo; exec cat"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True)
        if self.holder.stdout.readline() != b"\n":
            sys.exit("no network namespace: are you root?")
        self.pid = self.holder.pid
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv):
        done = subprocess.run(
            ["nsenter", "--net=/proc/%d/ns/net" % self.pid, "--", *argv],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit("%s: %s" % (" ".join(argv), done.stderr.strip()))
        return done.stdout

    def sysctl(self, name, value):
        """Sets it if that can be; what it is then."""
        self.run("sh", "-c", "sysctl -q -w '%s=%s' || :" % (name, value))
        return self.run("sysctl", "-n", name).strip()

    def dropped(self):
        """Packets that the kernel dropped on their way to the relay."""
        shown = json.loads(self.run("ip", "-j", "-s", "link", "show", DEVICE))
        return sum(shown[0]["stats64"][way]["dropped"] for way in ("rx", "tx"))

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdin.close()
        self.holder.stdout.close()


class Path:
    """Two namespaces, what is between them, and what it counted."""

    def __init__(self, directory, settings):
        self.ends = []
        self.relay = None
        try:
            self.ends = [Namespace(), Namespace()]
            self._start(directory, settings)
        except BaseException:
            self.close()
            raise

    def _start(self, directory, settings):
        shared = os.path.join(directory, "relay")
        with open(shared, "w+b") as file:
            file.truncate(SHARED)
            self.map = mmap.mmap(file.fileno(), SHARED)
        self.set_loss(settings["loss"])
        self.relay = spawn(
            [sys.executable, "-B", __file__, shared,
             str(self.ends[0].pid), str(self.ends[1].pid),
             repr(settings["delay"]), repr(settings["rate"]),
             repr(settings["buffer"]), str(settings["seed"])],
            stdout=subprocess.PIPE)
        if self.relay.stdout.readline() != b"ready\n":
            sys.exit("the relay does not start: is there /dev/net/tun?")
        for end, address in zip(self.ends, ADDRESSES):
            end.run("ip", "addr", "add", address + "/24", "dev", DEVICE)
            end.run("ip", "link", "set", DEVICE, "mtu", str(MTU),
                    "txqueuelen", "20000", "up")

    def set_loss(self, loss):
        LOSS.pack_into(self.map, 0, loss)

    def counts(self):
        """For each direction, from the first end and to it."""
        ways = []
        for way in range(2):
            values = COUNTERS.unpack_from(self.map, 64 + 512 * way)
            ways.append(dict(zip(COUNTS, values)))
        return ways

    def packets(self):
        return sum(way["packets"] for way in self.counts())

    def check(self):
        if self.relay.poll() is not None:
            sys.exit("the relay ended by itself")

    def close(self):
        if self.relay is not None:
            self.relay.kill()
            self.relay.wait()
            self.relay.stdout.close()
        for end in self.ends:
            end.close()


# --- the relay ----------------------------------------------------------------

class Way:
    """One direction."""

    def __init__(self, shared, way, settings):
        self.map = shared
        self.at = 64 + 512 * way
        self.delay, self.rate, self.buffer, seed = settings
        self.dice = random.Random(seed + way)
        self.counts = [0] * len(COUNTS)
        self.queue = collections.deque()
        self.free_at = 0.0

    def take(self, packet, now, loss):
        """One packet from its sender: it waits for those before it, then
        takes the time that its bytes need, then that of the path."""
        counts = self.counts
        counts[0] += 1
        counts[1] += len(packet)
        if self.free_at < now:
            self.free_at = now
        if (self.free_at - now) * self.rate > self.buffer:
            counts[3] += 1
            return
        self.free_at += len(packet) / self.rate
        if self.dice.random() < loss:
            counts[2] += 1
            return
        self.queue.append((self.free_at + self.delay, packet))

    def hand_over(self, fd, now):
        queue = self.queue
        late = now - queue[0][0]
        if late > 0.002:
            self.counts[4] += 1
        if late * 1e6 > self.counts[5]:
            self.counts[5] = int(late * 1e6)
        while queue and queue[0][0] <= now:
            try:
                os.write(fd, queue.popleft()[1])
            except OSError:     # the device is down
                pass

    def run(self, source, sink):
        clock = time.monotonic
        queue = self.queue
        while True:
            now = clock()
            if queue and queue[0][0] <= now:
                self.hand_over(sink, now)
            COUNTERS.pack_into(self.map, self.at, *self.counts)
            wait = max(queue[0][0] - clock(), 0) if queue else None
            if not select.select([source], [], [], wait)[0]:
                continue
            loss, = LOSS.unpack_from(self.map, 0)
            now = clock()
            for _ in range(32):
                try:
                    self.take(os.read(source, 65536), now, loss)
                except BlockingIOError:
                    break


def open_device(pid):
    enter(pid)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(),
                                           IFF_TUN | IFF_NO_PI))
    return fd


def relay_main(shared, first, second, *settings):
    settings = [float(one) for one in settings[:3]] + [int(settings[3])]
    with open(shared, "r+b") as file:
        memory = mmap.mmap(file.fileno(), SHARED)
    devices = [open_device(int(pid)) for pid in (first, second)]
    child = os.fork()
    if child == 0:
        die_with_parent()
        Way(memory, 1, settings).run(devices[1], devices[0])
    print("ready", flush=True)
    Way(memory, 0, settings).run(devices[0], devices[1])


if __name__ == "__main__":
    relay_main(*sys.argv[1:])
