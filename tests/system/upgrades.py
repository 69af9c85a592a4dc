# SPDX-License-Identifier: ISC
"""Upgrades of the tests: how they are asked for, what must hold of all of
them, and those who must not notice."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from adminsocket import Admin
from harness import (SLOW, TUNNELD, end_process, reverse, run, spawn,
                     wait_until)
from processes import is_running
from reloads import differences, link_since, picture
from services import Listener
from tool import tool

# What a worker dies of. A sanitizer would call the one a defect.
CRASHES = [signal.SIGKILL, signal.SIGABRT if SLOW else signal.SIGSEGV]
READY_TIME = 30     # what a new worker has to be ready


def order(d, cmd, **args):
    """The whole answer, be it yes or no."""
    with contextlib.closing(Admin(d.admin_path, timeout=60)) as client:
        client.send_line(json.dumps({"id": 1, "cmd": cmd, "args": args}) +
                         "\n")
        return client.read_line()


def refused(d, *options):
    """The upgrade must fail; what tunnelctl says of it."""
    before = d.worker
    said = tool(d, "upgrade", *options, status=1)
    assert said.err and not said.out, said
    assert d.worker == before
    return said.err


def lasting(d):
    """What nobody but an administrator changes."""
    now = picture(d)
    now["tunnels"] = [row[:5] for row in now["tunnels"]]
    del now["sessions"]
    return now


@contextlib.contextmanager
def untouched(d, *peers):
    """Whatever is done, the daemon goes on as if it had not been: the same
    worker, alone, with its links, listeners and sessions."""
    before, worker, there = lasting(d), d.worker, d.processes()
    links = [link_since(one, name) for one, name in peers]
    sessions = {row["uid"] for row in d.sessions()}
    yield
    assert d.worker == worker
    wait_until(lambda: d.processes() == there, 10, "one worker again")
    wrong = differences(before, lasting(d))
    assert not wrong, wrong
    assert [link_since(one, name) for one, name in peers] == links
    assert sessions <= {row["uid"] for row in d.sessions()}
    assert workers(d) == []


def workers(d):
    """The rows of those that drain, oldest first."""
    rows = d.status()["workers"]
    current = [row for row in rows if row["state"] == "current"]
    draining = [row for row in rows if row["state"] == "draining"]
    assert len(current) == 1 and len(current) + len(draining) == len(rows)
    assert current[0]["draining_since"] is None
    assert all(row["draining_since"] for row in draining)
    return sorted(draining, key=lambda row: row["draining_since"])


def wait_draining(d, count, deadline=15):
    """Until so many drain, and no other worker is there."""
    wait_until(lambda: len(workers(d)) == count, deadline,
               "%d draining workers at %s" % (count, d.name), interval=0.05)
    wait_until(lambda: len(d.processes()) == count + 1, deadline,
               "%d workers of %s in all" % (count + 1, d.name))


def crash(d, number=signal.SIGKILL, deadline=15):
    """The worker dies; once there is another one, its pid."""
    before = d.processes()[-1]
    os.kill(before.pid, number)
    wait_until(lambda: not is_running(before), 5, "it to die")
    return wait_until(lambda: d.worker, deadline, "another worker")


def waits(d):
    """How long the master waited before it started another worker, each
    time."""
    return [float(s) for s in
            re.findall(r"another (?:worker is started )?in ([\d.]+) s",
                       d.log())]


def ended(d, worker):
    """The row of a process in the ledger: how it ended."""
    row, = d.query("select * from runs where pid = ?", worker)
    return row["how"]


def other_version(data):
    """The bytes of the binary, of another version: one as long."""
    version = run(TUNNELD, "-V").stdout.split()[1]
    other = ("9" if version[0] != "9" else "8") + version[1:]
    old, new = (b"%s\0" % text.encode() for text in (version, other))
    assert old in data
    return data.replace(old, new)


class Hammer:
    """hammer.py at work."""

    def __init__(self, address, path, file, rate=1000):
        script = os.path.join(os.path.dirname(__file__), "hammer.py")
        self.process = spawn(
            [sys.executable, "-S", script, address, str(rate), path, file],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.rest = b""
        self.last = {"served": 0, "errors": {}, "first": []}

    def look(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    break
                self.rest += piece
        *lines, self.rest = self.rest.split(b"\n")
        if lines:
            self.last = json.loads(lines[-1])
        return self.last

    def more(self, count, deadline=60):
        """Until so many more were served."""
        goal = self.look()["served"] + count
        wait_until(lambda: self.look()["served"] >= goal or
                   self.last["errors"], deadline,
                   "%d more to be served" % count, interval=0.01)
        self.check()

    def check(self):
        assert not self.last["errors"], self.last

    def stop(self):
        """How many were served."""
        self.process.stdin.close()
        wait_until(lambda: self.look().get("done"), 60, "all of them")
        self.check()
        return self.last["served"]

    def close(self):
        end_process(self.process)
        self.process.stdout.close()
        self.process.stdin.close()


@pytest.fixture
def mastered(pair, security, echo):
    """A pair of masters with a tunnel `web` to an echo."""
    return pair(security, [reverse("web", echo.address)], master=True,
                own_binary=True)


@pytest.fixture
def alone(daemon, echo):
    """alone(...): a daemon under a master, with a local tunnel."""
    def make(start=True, **kw):
        kw.setdefault("tunnels", [{"name": "own", "listen": "127.0.0.1:0",
                                   "connect": echo.address}])
        d = daemon("alone", master=True, own_binary=True, **kw)
        return d.start() if start else d
    return make


def own(d):
    """Where the users of that tunnel arrive."""
    return d.tunnel("own")["listen"]


def taken_port(closing):
    return closing(Listener()).address
