# SPDX-License-Identifier: ISC
"""What a person at a terminal sees and types: a shell in a tmux of its own.
And a daemon that says what it is told to."""

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import threading

import pytest

from harness import TUNNELCTL, end_process, need, run, spawn, wait_until
from services import ask, connect

FAST = ("-i", "0.2")


class Screen:
    """A terminal with a shell. Its tmux server is a child of ours, so that
    it cannot outlive the test."""

    def __init__(self, directory, width=80, height=24, **env):
        need("tmux")
        self.raw = os.path.join(directory, "raw")
        self.socket = os.path.join(directory, "tmux")
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ("TMUX", "NO_COLOR", "LINES", "COLUMNS")}
        self.env.update({"LC_ALL": "C.UTF-8", "PS1": "$ ", "TERM": "screen",
                         "SHELL": "/bin/sh"}, **env)
        self.server = spawn(["tmux", "-S", self.socket, "-f", "/dev/null",
                             "-D"], env=self.env, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: os.path.exists(self.socket), 10,
                       "tmux to start")
            self.tmux("new-session", "-d", "-x", str(width), "-y",
                      str(height), "exec /bin/sh")
            self.tmux("pipe-pane", "-o", "cat >" + shlex.quote(self.raw))
            self.tty = self.ask("pane_tty")
            self.wait(r"^\$")
        except BaseException:
            self.close()
            raise
        self.modes = self.stty()

    def close(self):
        end_process(self.server)

    def tmux(self, *words):
        return run("tmux", "-S", self.socket, *words, env=self.env).stdout

    def ask(self, what):
        return self.tmux("display-message", "-p", "#{%s}" % what).strip()

    # what is there

    def text(self):
        return self.tmux("capture-pane", "-p")

    def line(self, pattern):
        """The first line with that, or None."""
        return next((line for line in self.text().split("\n")
                     if re.search(pattern, line)), None)

    def wait(self, pattern, deadline=15):
        """The line, once there is one."""
        try:
            return wait_until(lambda: self.line(pattern), deadline, pattern,
                              interval=0.05)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.text())) from None

    def wait_gone(self, pattern, deadline=15):
        wait_until(lambda: self.line(pattern) is None, deadline,
                   "no " + pattern, interval=0.05)

    def output(self):
        """Every byte that the terminal was sent."""
        with open(self.raw, "rb") as file:
            return file.read()

    def stty(self):
        return run("stty", "-g", "-F", self.tty).stdout

    def cells(self, ident):
        """The row of the session (or tunnel) as {title: text}; None if it
        is not there. Columns end where their titles or texts do."""
        titles = None
        for line in self.text().split("\n"):
            words = line.lstrip(">").split()
            if words and words[0] in ("ID", "TUNNEL"):
                titles = words
            elif titles and words and words[0] == str(ident):
                return dict(zip(titles, words))
        return None

    def order(self):
        """The ids of the sessions, from the top."""
        below = self.text().split(" ID ", 1)[-1]
        return [int(n) for n in re.findall(r"(?m)^>? *(\d+) ", below)]

    def marked(self):
        """What the selected row begins with."""
        line = self.line(r"^> *\S")
        return line and line.lstrip(">").split()[0]

    # what is done

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def type(self, text):
        self.tmux("send-keys", "-l", text)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def start(self, path, *options, before=""):
        """tunnelctl watch, and its exit status behind it."""
        self.type("%s %s; echo status=$?" % (before, shlex.join(
            [TUNNELCTL, "-s", path, "watch", *options])))
        self.keys("Enter")

    def watch(self, path, *options, **kw):
        self.start(path, *options, **kw)
        self.wait(r"^ Sessions \d+|^ Tunnels \d+")
        return self

    def pid(self):
        """Of the program that runs in the shell."""
        return int(run("pgrep", "-P", self.ask("pane_pid")).stdout)

    def wait_end(self, status):
        """The program ends, and leaves the terminal as it was."""
        self.wait(r"^status=%d$" % status)
        self.check_left()

    def check_left(self):
        assert self.ask("alternate_on") == "0"
        assert self.ask("cursor_flag") == "1"
        assert self.ask("keypad_cursor_flag") == "0"
        assert self.stty() == self.modes


class Puppet:
    """Speaks the admin protocol; its status and sessions are what the test
    says. `refuse`: command -> message."""

    def __init__(self, path):
        self.status = {"daemon": {"name": "puppet", "version": "1",
                                  "uptime": 5.0, "sessions": 0, "held": 0},
                       "ledger": {"state": "ok", "lost": 0}, "peers": [],
                       "tunnels": []}
        self.sessions = []
        self.refuse = {}
        self.asked = []
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        self.sock.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.sock.accept()[0]
                threading.Thread(target=self.attend, args=(client,),
                                 daemon=True).start()

    def attend(self, client):
        with contextlib.suppress(OSError), client, client.makefile() as lines:
            for line in lines:
                request = json.loads(line)
                for answer in self.answers(request["cmd"]):
                    if isinstance(answer, dict):    # else it is nonsense
                        answer["id"] = request["id"]
                    client.sendall(json.dumps(answer).encode() + b"\n")
                self.asked.append(request)

    def answers(self, command):
        if command in self.refuse:
            return [{"ok": False, "error": {"code": "not_permitted",
                                            "message": self.refuse[command]}}]
        if command == "status":
            return [{"ok": True, "data": self.status}]
        if command != "sessions":
            return [{"ok": True, "data": {"killed": []}}]
        pieces = [{"ok": True, "data": self.sessions[i:i + 100], "more": True}
                  for i in range(0, max(len(self.sessions), 1), 100)]
        pieces[-1]["more"] = False
        return pieces


# --- fixtures of those who watch ---------------------------------------------

@pytest.fixture
def alone(daemon, echo):
    """Two tunnels with an echo behind each."""
    return daemon("alone", tunnels=[
        {"name": name, "listen": "127.0.0.1:0", "connect": echo.address}
        for name in ("web", "ssh")]).start()


@pytest.fixture
def screen(tmp_path, closing):
    """Factory of terminals."""
    made = []

    def make(width=80, height=24, **env):
        made.append(None)
        directory = tmp_path / str(len(made))
        directory.mkdir()
        return closing(Screen(str(directory), width, height, **env))
    return make


@pytest.fixture
def puppet(tmp_path, closing):
    return closing(Puppet(str(tmp_path / "admin.sock")))


@pytest.fixture
def users(alone, closing):
    """users(tunnel, count): so many sessions; the users' ends."""
    def make(tunnel, count):
        address = alone.tunnel(tunnel)["listen"]
        made = []
        for _ in range(count):
            made.append(closing(connect(address)))
            ask(made[-1])
        return made
    return make
