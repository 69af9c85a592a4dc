# SPDX-License-Identifier: ISC
"""Reloads of the tests: asked for in every way there is, and what must hold
of all of them."""

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import struct
import threading
import time
import zlib

import pytest

from adminsocket import Admin
from configs import effective
from harness import forward, free_port, new_secret, reverse, wait_until
from services import PATTERN, Pump, connect, parse, read_exactly
from tool import tool


def ask_reload(d, **args):
    """The whole answer, be it yes or no."""
    with contextlib.closing(Admin(d.admin_path)) as client:
        request = {"id": 1, "cmd": "reload"}
        if args:
            request["args"] = args
        client.send_line(json.dumps(request) + "\n")
        return client.read_line()


def try_config(d):
    """What a reload would do with d.config as it is now."""
    d.write_config()
    answer = ask_reload(d, dry_run=True)
    assert answer["ok"], answer
    data = answer["data"]
    assert data["dry_run"] is True and data["applied"] is False
    assert data["errors"] == []
    return data["changes"]


def apply(d, ctl=False):
    """d.config becomes the daemon's; the changes."""
    d.write_config()
    if ctl:
        data = d.ctl("reload")
    else:
        answer = ask_reload(d)
        assert answer["ok"], answer
        data = answer["data"]
    assert data["dry_run"] is False and data["errors"] == []
    return data["changes"]


def settled(d):
    """The daemon has d.config, and nothing is left to be changed."""
    difference = differences(effective(d.config), d.admin("config"))
    assert not difference, difference
    changes = try_config(d)
    assert changes == [], changes


def differences(wanted, got, path=""):
    """The places where two JSON values differ, in words."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = []
        for key in sorted(set(wanted) | set(got)):
            found += differences(wanted.get(key, "(absent)"),
                                 got.get(key, "(absent)"),
                                 "%s.%s" % (path, key))
        return found
    if isinstance(wanted, list) and isinstance(got, list) and \
            len(wanted) == len(got):
        return [line for n, (a, b) in enumerate(zip(wanted, got))
                for line in differences(a, b, "%s[%d]" % (path, n))]
    return [] if wanted == got else ["%s: %r in the file, %r in effect" %
                                     (path, wanted, got)]


def hang_up(d):
    """SIGHUP, and d.config is in effect some time later."""
    d.write_config()
    wanted = effective(d.config)
    d.signal(signal.SIGHUP)
    wait_until(lambda: d.admin("config") == wanted, 10,
               "%s to take over its config" % d.name)


def refused(d, dry_run=False):
    """The reload of d.config must fail: the messages of all its errors."""
    d.write_config()
    answer = ask_reload(d, **({"dry_run": True} if dry_run else {}))
    assert not answer["ok"], answer
    error = answer["error"]
    assert error["code"] == "refused", error
    errors = error["details"]["errors"]
    messages = [one["message"] for one in errors]
    assert messages and messages[0] in error["message"], error
    if len(messages) > 1:
        assert "(and %d more)" % (len(messages) - 1) in error["message"]
    for one in errors:
        assert set(one) >= {"file", "line", "message"}, one
    return errors


def said_refused(d, *options):
    """The same by tunnelctl: everything it says."""
    d.write_config()
    said = tool(d, "reload", *options, status=1)
    assert said.err
    return said.text


def row_of(changes, what, section, name=None):
    """The one change of that thing."""
    rows = [c for c in changes if (c["what"], c["section"], c["name"]) ==
            (what, section, name)]
    assert len(rows) == 1, changes
    return rows[0]


def keys_of(change):
    """{key: (before, after)} of one change."""
    return {k["key"]: (k["before"], k["after"]) for k in change["keys"]}


# --- what the daemon has --------------------------------------------------

def rows(d, name):
    """(the current row of a tunnel, those that drain)."""
    there = [t for t in d.admin("tunnels") if t["name"] == name]
    current = [t for t in there if t["draining"] is None]
    draining = [t for t in there if t["draining"] is not None]
    assert len(current) <= 1, there
    assert all(t["state"] == "draining" for t in draining), draining
    return (current[0] if current else None), draining


def tunnel_of(d, name):
    """The tunnel in d's config, to be changed."""
    return next(t for t in d.config["tunnels"] if t["name"] == name)


def peer_of(d, name):
    return next(p for p in d.config["peers"] if p["name"] == name)


def remove(d, name):
    """From the config, not yet from the daemon; what it was."""
    gone = tunnel_of(d, name)
    d.config["tunnels"].remove(gone)
    return gone


def listening(d):
    """{address: inode} of all its listening sockets of TCP over IPv4."""
    own = set()
    base = "/proc/%d/fd" % d.pid
    for fd in os.listdir(base):
        with contextlib.suppress(OSError):
            own.add(os.readlink(os.path.join(base, fd)))
    found = {}
    with open("/proc/%d/net/tcp" % d.pid) as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and "socket:[%s]" % words[9] in own:
                raw, port = words[1].split(":")
                host = ".".join(str(b) for b in bytes.fromhex(raw)[::-1])
                found["%s:%d" % (host, int(port, 16))] = words[9]
    return found


def picture(d):
    """Everything of a daemon that a reload that fails must not touch."""
    return {
        "config": d.admin("config"),
        # One that is not up may be dialled meanwhile.
        "peers": {p["name"]: p["state"] == "up" and
                  (p["since"], p["reconnects"]) for p in d.admin("peers")},
        "tunnels": [(t["peer"], t["name"], t["listen"], t["connect"],
                     t["state"], t["sessions"], t["sessions_total"],
                     t["draining"]) for t in d.admin("tunnels")],
        "sessions": sorted((s["uid"], s["state"]) for s in d.sessions()),
        "listening": listening(d),
        "gateway": d.status()["gateway"]["listen"],
    }


def seconds(text):
    """A time as the daemon writes it."""
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


def link_since(d, peer):
    row = d.peer(peer)
    assert row["state"] == "up", row
    return row["since"], row["reconnects"]


def is_refused(address):
    """Nobody listens there."""
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:    # it was closed at this moment
        pass
    return False


def new_lines(d):
    """A function that says what the log got since now."""
    start = len(d.log())
    return lambda: d.log()[start:]


# --- load -----------------------------------------------------------------

def pour(sock, salt, enough, pause=0.0):
    """Sends until it is enough, and ends; (how many, checksum) as
    take_pattern() has it."""
    total = crc = 0
    while not enough.is_set():
        block = struct.pack(">QQ", total, salt) + PATTERN
        sock.sendall(block)
        crc = zlib.crc32(block, crc)
        total += len(block)
        enough.wait(pause)
    sock.shutdown(socket.SHUT_WR)
    return total, crc


def talk(sock, enough):
    """Much for an echo, and all of it back, until it is enough: how often."""
    count = 0
    while not enough.is_set():
        pump = Pump(sock.sendall, PATTERN)
        assert read_exactly(sock, len(PATTERN)) == PATTERN
        pump.result()
        count += 1
    return count


# --- a user who comes again and again -------------------------------------

class Caller(threading.Thread):
    """Connects in a loop, asks, leaves. Nobody may refuse it or reset it."""

    def __init__(self, address, word=b"ring"):
        super().__init__(daemon=True)
        self.address = address
        self.word = word
        self.served = 0
        self.errors = []
        self.stopping = threading.Event()
        parse(address)
        self.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                with connect(self.address) as sock:
                    sock.sendall(self.word)
                    assert read_exactly(sock, len(self.word)) == self.word
                self.served += 1
                time.sleep(0.0005)      # somebody else may want to run
            except (OSError, AssertionError) as error:
                self.errors.append(repr(error))
                if len(self.errors) > 20:
                    return

    def more(self, count=3, deadline=20):
        """Waits until that many more were served."""
        goal = self.served + count
        wait_until(lambda: self.served >= goal or not self.is_alive(),
                   deadline, "%d more users to be served" % count,
                   interval=0.002)
        assert not self.errors, self.errors

    def stop(self):
        self.stopping.set()
        self.join(30)
        assert not self.is_alive(), "a user hangs"
        assert not self.errors, "%d of %d users: %s" % (
            len(self.errors), self.served + len(self.errors),
            self.errors[:3])
        assert self.served
        return self.served

    def close(self):
        self.stopping.set()
        self.join(30)


def error_lines(text):
    """The words of each error, without who says it, and where."""
    return {re.sub(r"^(tunnelctl|tunneld): ", "", line).strip()
            for line in text.splitlines() if line.strip()}


@pytest.fixture
def rich(pair_of, echo):
    """An edge with something in every section: a peer that is there, one
    that it dials in vain, and tunnels of every kind."""
    p = pair_of("plain", [reverse("web", echo.address),
                          forward("db", echo.address)],
                edge_tunnels=[{"name": "own", "connect": echo.address,
                               "listen": "127.0.0.1:%d" % free_port()}])
    p.edge.config["gateway"]["listen"] = ["127.0.0.1:%d" % free_port()]
    p.edge.config["metrics"] = {"listen": "127.0.0.1:%d" % free_port()}
    p.edge.config["peers"].append({
        "name": "away", "connect": "127.0.0.1:1",
        "secret_file": p.edge.write_secret("away", new_secret())})
    p.start()
    p.home.freeze_ports()
    return p
