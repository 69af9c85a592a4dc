# SPDX-License-Identifier: ISC
"""tunnelctl as people and programs start it: with a terminal, as somebody
else, for long. And the stream of events."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

from adminsocket import Admin
from harness import FACTOR, TROUBLE, TUNNELCTL, end_process, spawn

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Said:
    """What one run of tunnelctl wrote, and how it ended."""

    def __init__(self, words, status, out, err):
        self.words = words
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self):
        return "tunnelctl %s: status %s\n%s%s" % (self.words, self.status,
                                                  self.out, self.err)

    @property
    def text(self):
        return self.out + self.err

    @property
    def json(self):
        return json.loads(self.out)


def clean_env(**env):
    """An environment in which nothing of the caller's changes the output."""
    base = {k: v for k, v in os.environ.items()
            if k not in ("COLUMNS", "LINES", "NO_COLOR", "TZ", "LC_ALL",
                         "TUNNELD_SOCKET")}
    base.update({"TERM": "xterm-256color", "LANG": "C.UTF-8"})
    base.update(env)
    return base


def tool(d, *words, status=0, env=None, user=None, groups=None):
    """tunnelctl against daemon d (None: against nobody); status None: any.
    What it writes is not touched: a CR stays a CR."""
    argv = list(map(str, words))
    if d is not None:
        argv = ["-s", d.admin_path] + argv
    process = spawn([reachable(d) if user else TUNNELCTL] + argv, user=user,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=clean_env(**(env or {})),
                    **({"groups": groups} if groups else {}))
    try:
        out, err = process.communicate(timeout=60 * FACTOR)
    finally:
        end_process(process)
    said = Said(words, process.returncode, out.decode(), err.decode())
    for trouble in TROUBLE:
        assert trouble not in said.err, said
    assert status is None or said.status == status, said
    return said


def reachable(d):
    """A copy for users who may not look into the build."""
    binary = d.path("tunnelctl")
    if not os.path.exists(binary):
        shutil.copy(TUNNELCTL, binary)
        os.chmod(binary, 0o755)
    return binary


def on_terminal(argv, columns=80, rows=24, env=None, deadline=30):
    """Runs a program on a pseudo-terminal of that size to its end; (status,
    everything it wrote)."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ,
                        struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(argv[0], argv, clean_env(**(env or {})))
        finally:
            os._exit(127)
    data = b""
    end = time.monotonic() + deadline * FACTOR
    try:
        while True:
            left = end - time.monotonic()
            if left < 0 or not select.select([fd], [], [], left)[0]:
                os.kill(pid, signal.SIGKILL)
                raise AssertionError("%s hangs: %r" % (argv, data[-200:]))
            try:
                piece = os.read(fd, 65536)
            except OSError:     # EIO: nobody has the other side any more
                break
            if not piece:
                break
            data += piece
    finally:
        os.close(fd)
        status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), \
        data.decode("utf-8", "replace").replace("\r\n", "\n")


def tool_on_terminal(d, *words, **kw):
    return on_terminal([TUNNELCTL, "-s", d.admin_path] +
                       list(map(str, words)), **kw)


class Running:
    """A tunnelctl that goes on until it is told to stop."""

    def __init__(self, d, *words):
        self.process = spawn([TUNNELCTL, "-s", d.admin_path] + list(words),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=clean_env())
        os.set_blocking(self.process.stdout.fileno(), False)
        self.data = b""

    def lines(self):
        """The whole lines so far."""
        try:
            while True:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    break
                self.data += piece
        except BlockingIOError:
            pass
        whole = self.data.decode().split("\n")
        return whole[:-1]

    def rows(self):
        return [json.loads(line) for line in self.lines()]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self):
        return self.process.wait(20 * FACTOR)

    def close(self):
        end_process(self.process)
        self.process.stdout.close()
        self.process.stderr.close()


class Events:
    """A follower of a daemon's events, subscribed once this returns."""

    def __init__(self, d, **args):
        self.client = Admin(d.admin_path, timeout=30)
        request = {"id": "e", "cmd": "events"}
        if args:
            request["args"] = args
        self.client.send_line(json.dumps(request) + "\n")
        self.seen = []
        first = self.client.read_line()
        assert first["ok"], first
        assert first["data"] == [] and first["more"] is True, first

    def next_piece(self):
        answer = self.client.read_line()
        assert answer is not None, "the stream of events ended"
        assert answer["id"] == "e" and answer["ok"] and answer["more"]
        self.seen += answer["data"]
        return answer["data"]

    def wait(self, kind, **wanted):
        """The first event of that kind with these members, since the start
        of the stream."""
        def fits(event):
            return event["kind"] == kind and \
                all(event[key] == value for key, value in wanted.items())
        looked = 0
        while True:
            for event in self.seen[looked:]:
                looked += 1
                if fits(event):
                    return event
            self.next_piece()

    def kinds(self):
        return {event["kind"] for event in self.seen}

    def close(self):
        self.client.close()
