# SPDX-License-Identifier: ISC
"""What daemons ask of the kernel and of malloc, counted, with no clock:
system calls by strace, the rest by a library that is preloaded. And how they
are made to go step by step, so that the counts come out the same on any
machine, whatever else runs there: nothing is given to a daemon before all of
them sleep again, what must come at once is given to one that is frozen, and
their clocks stand still."""

import collections
import contextlib
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import pytest

import processes
from harness import IS_ROOT, ROOT, end_process, need, run, wait_until

PRELOAD_C = os.path.join(ROOT, "tests", "guard", "preload.c")

# "1263  recvfrom(20, 0x7f, 262144, 0) = 0x120"; one that blocked may be told in
# two lines.
CALL = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>).* = "
                  r"(-?\d\w*)(?: (\w+))?")
STEP = 0.25             # seconds that pass at once
TURNS = 3               # after which nothing is left to do
READS = {"read", "recvfrom", "recvmsg", "readv"}
WRITES = {"write", "sendto", "sendmsg", "writev"}


def need_ptrace():
    """Fails where strace cannot watch; it is only skipped, and loudly, where
    no rights could help this user."""
    need("strace")
    done = run("strace", "-o", os.devnull, "true", check=False)
    if done.returncode == 0:
        return
    if not IS_ROOT:
        pytest.skip("STRACE MAY NOT WATCH, NOT BEING ROOT: %s" % done.stderr)
    pytest.fail("strace cannot watch another process: %s" % done.stderr)


class Count:
    """System calls of the thread that runs the loop, in one window."""

    def __init__(self):
        self.calls = collections.Counter()
        self.copied = 0         # bytes, by reads and by writes
        self.spliced = 0

    def add(self, name, result):
        self.calls[name] += 1
        if result > 0 and name in READS | WRITES:
            self.copied += result
        elif result > 0 and name == "splice":
            self.spliced += result

    def figures(self):
        found = {"calls " + name: value for name, value in self.calls.items()}
        return dict(found, calls=sum(self.calls.values()))


class Trace:
    """strace on a daemon that runs; count() is what came since the last
    time it was asked."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.path = daemon.path("trace")
        self.offset = 0
        self.rest = b""
        self.strace = subprocess.Popen(
            ["strace", "-f", "-e", "signal=none", "-e", "raw=all", "-o",
             self.path, "-p", str(daemon.pid)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        line = self.strace.stderr.readline()
        assert b"attached" in line, "strace: %r" % line

    def count(self):
        """Whatever the daemon still does must have ended before."""
        count = Count()
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        self.offset += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            found = CALL.match(line.decode())
            # What freezing has interrupted is our doing.
            if found and int(found[1]) == self.daemon.pid and \
                    found[4] != "EINTR":
                count.add(found[2], int(found[3], 0))
        return count

    def close(self):
        self.strace.send_signal(signal.SIGINT)
        try:
            self.strace.wait(10)
        except subprocess.TimeoutExpired:
            pass
        end_process(self.strace)
        self.strace.stderr.close()


class Steps:
    """Makes daemons go step by step. They come with their Preloaded."""

    def __init__(self, preloaded):
        self.preloaded = preloaded      # {daemon: Preloaded}
        self.daemons = list(preloaded)
        self.frozen = set()
        self.now = None                 # nanoseconds, while clocks are held
        self.asleep = {one.pid: wait_until(lambda: resting(one.pid), 20,
                                           "%s to rest" % one.name)
                       for one in self.daemons}

    def look(self):
        """What all of them do; None if one does not sleep in its loop."""
        seen = []
        for one in self.daemons:
            if one.pid not in self.frozen:
                seen.append(switches(one.pid))
                if processes.stat(one.pid)[0] != "S" or \
                        syscall_of(one.pid) != self.asleep[one.pid]:
                    return None
        return seen

    def settle(self):
        """Returns when all have nothing more to do. The kernel has no more
        either: over a loopback whoever sends does the work of receiving."""
        before = [None]

        def still():
            seen, before[0] = before[0], self.look()
            return before[0] is not None and seen == before[0]
        wait_until(still, 20, "the daemons to have nothing to do",
                   interval=0.0001)

    def stop(self, *daemons):
        """What comes meanwhile, comes all at once for them."""
        self.settle()
        for one in daemons:
            os.kill(one.pid, signal.SIGSTOP)
            self.frozen.add(one.pid)
        for one in daemons:
            wait_until(lambda: processes.stat(one.pid)[0] in "tT", 20,
                       "%s to stop" % one.name, interval=0.0001)

    def go_on(self, *daemons):
        for one in daemons:
            self.frozen.discard(one.pid)
            os.kill(one.pid, signal.SIGCONT)
        self.settle()

    @contextlib.contextmanager
    def all_stopped(self):
        self.stop(*self.daemons)
        yield
        self.go_on(*self.daemons)

    @contextlib.contextmanager
    def take_turns(self, *order):
        """What is given now comes at once, and one of them works at a
        time."""
        self.stop(*order)
        yield
        for one in order * TURNS:
            self.go_on(one)
            self.stop(one)
        self.go_on(*order)

    # clocks

    @contextlib.contextmanager
    def hold(self):
        """Their clocks stand still; afterwards they go on, from now or from
        where they are."""
        self.set_clocks(time.monotonic_ns())
        try:
            yield
        finally:
            ahead = max(0, self.now - time.monotonic_ns())
            self.now = None
            with self.all_stopped():
                for each in self.preloaded.values():
                    each.set_clock(0, ahead)

    def set_clocks(self, now):
        """Nobody notices who is not due by then."""
        with self.all_stopped():
            self.move_clocks(now)

    def move_clocks(self, now):
        self.now = now
        for each in self.preloaded.values():
            each.set_clock(now)

    def pass_time(self, seconds, order, step=STEP):
        """So long, in no time, by steps in which the daemons take turns:
        what is due in the same step, each does at once."""
        end = self.now + int(seconds * 1e9)
        while self.now < end:
            self.now += int(step * 1e9)
            if any(each.deadline() and each.deadline() <= self.now
                   for each in self.preloaded.values()):
                with self.take_turns(*order):
                    self.move_clocks(self.now)
            else:
                self.move_clocks(self.now)


def resting(pid):
    """The number of the system call in which it stays; or None."""
    seen = set()
    for _ in range(20):
        time.sleep(0.01)
        seen.add(syscall_of(pid))
        if processes.stat(pid)[0] != "S":
            return None
    number = seen.pop()
    return number if not seen and number.isdigit() else None


def syscall_of(pid):
    with open("/proc/%d/syscall" % pid) as file:
        return file.read().split()[0]


def switches(pid):
    """How often it was given a processor, and gave it back."""
    with open("/proc/%d/status" % pid) as file:
        return [line for line in file if "ctxt_switches" in line]


class Preloaded:
    """What tests/guard/preload.c counts in one daemon, and its clock."""

    FORMAT = struct.Struct("5Q")
    HELD = struct.Struct("Qq")          # behind the others

    def __init__(self, path):
        with open(path, "wb") as file:
            file.truncate(mmap.PAGESIZE)
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 0)

    def asked(self):
        """How often memory was asked for, by the loop."""
        return self.FORMAT.unpack_from(self.page)[2]

    def kept(self):
        """Blocks that are not free, of all threads."""
        asked, freed = self.FORMAT.unpack_from(self.page)[:2]
        return asked - freed

    def wakes(self):
        return self.FORMAT.unpack_from(self.page)[3]

    def deadline(self):
        """When it will wake by itself, in nanoseconds; None: never."""
        return self.FORMAT.unpack_from(self.page)[4] or None

    def set_clock(self, held, offset=0):
        self.HELD.pack_into(self.page, self.FORMAT.size, held, offset)

    def close(self):
        self.page.close()


def build_preload(directory):
    """The library, or a failure: whoever has built tunneld has a compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or \
        shutil.which("gcc") or shutil.which("clang")
    assert compiler, "no C compiler for tests/guard/preload.c"
    path = os.path.join(directory, "preload.so")
    run(*compiler.split(), "-O2", "-fPIC", "-shared", "-std=c11",
        "-D_GNU_SOURCE", "-fno-builtin", "-o", path, PRELOAD_C)
    return path


def preload(daemon, library):
    """The daemon will be started with it."""
    path = daemon.path("guard")
    daemon.env = {"LD_PRELOAD": shutil.copy(library, daemon.directory),
                  "TUNNELD_GUARD": path}
    return Preloaded(path)
