# SPDX-License-Identifier: ISC
"""What a service manager is told of the daemon: a stand-in listens."""

import signal
import socket
import time

import pytest

from harness import FACTOR, reverse
from services import ask, connect
from tool import tool


class Manager:
    """Reads what is sent to $NOTIFY_SOCKET."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.heard = []         # (when, {key: value})

    def close(self):
        self.sock.close()

    def read(self, seconds):
        """One message, or None."""
        self.sock.settimeout(max(seconds, 0.001))
        try:
            text = self.sock.recv(4096).decode()
        except TimeoutError:
            return None
        message = dict(line.split("=", 1) for line in text.split("\n"))
        self.heard.append((time.monotonic(), message))
        return message

    def wait(self, key, value=None, deadline=10):
        end = time.monotonic() + deadline * FACTOR
        while time.monotonic() < end:
            message = self.read(end - time.monotonic())
            if message and key in message and \
                    value in (None, message[key]):
                return message
        raise AssertionError("waited in vain for %s=%s; heard: %s" %
                             (key, value, self.heard))

    def listen(self, seconds):
        """All that is said from now on in so many seconds."""
        first, end = len(self.heard), time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(end - time.monotonic())
        return [message for _, message in self.heard[first:]]

    def drop(self):
        """What was said until now."""
        while self.read(0):
            pass
        self.heard.clear()


@pytest.fixture
def manager(closing):
    """manager(daemon): one that this daemon tells, once it is started."""
    def make(d):
        made = closing(Manager(d.path("notify")))
        d.env["NOTIFY_SOCKET"] = d.path("notify")
        return made
    return make


def test_status_follows(pair_of, manager, echo):
    """Within about a second, in words for people."""
    p = pair_of("plain", [reverse("web", echo.address)])
    ear = manager(p.edge)
    p.edge.start()
    ready = ear.wait("READY")
    assert ready["STATUS"] == "0/1 peers up, 0 sessions"
    p.point_home(p.edge.gateway())
    p.home.start()
    ear.wait("STATUS", "1/1 peers up, 0 sessions", 3)
    with connect(p.entry("web")) as one, connect(p.entry("web")) as two:
        ask(one)
        ask(two)
        ear.wait("STATUS", "1/1 peers up, 2 sessions", 3)
        two.close()
        ear.wait("STATUS", "1/1 peers up, 1 session", 3)
        tool(p.edge, "disable", "-p", "home")
        message = ear.wait("STATUS", None, 3)
        assert "peers" not in message["STATUS"]
    # Nothing is said when nothing changes.
    ear.wait("STATUS", "0 sessions", 3)
    assert ear.listen(2.5) == []
    p.edge.stop()
    assert "STOPPING" in ear.wait("STOPPING")


def test_status_at_most_once_a_second(pair_of, manager, echo):
    p = pair_of("plain", [reverse("web", echo.address)])
    ear = manager(p.edge)
    p.start()
    ear.drop()
    end = time.monotonic() + 3.5
    held = []
    while time.monotonic() < end:
        held.append(connect(p.entry("web")))
        time.sleep(0.05)
    said = ear.listen(0.1)
    for sock in held:
        sock.close()
    assert 3 <= len(said) <= 4, said
    assert all(list(message) == ["STATUS"] for message in said)


def test_reload_is_announced(daemon, manager, echo):
    d = daemon("alone", tunnels=[{"name": "web", "listen": "127.0.0.1:0",
                                  "connect": echo.address}])
    ear = manager(d)
    d.start()
    ear.wait("READY")
    for how in ("SIGHUP", "ctl"):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        if how == "ctl":
            d.ctl("reload")
        else:
            d.signal(signal.SIGHUP)
        begun = ear.wait("RELOADING")
        assert before <= int(begun["MONOTONIC_USEC"]) <= \
            time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        ear.wait("READY")
    d.ctl("reload", "--dry-run")
    assert ear.listen(0.5) == []


def lives(said):
    return sum("WATCHDOG" in message for message in said)


def test_watchdog_is_fed_by_the_loop(daemon, manager):
    """At half of its time; one that hangs feeds nobody."""
    d = daemon("alone")
    ear = manager(d)
    d.env["WATCHDOG_USEC"] = "400000"
    d.start()
    ear.wait("READY")
    assert 8 <= lives(ear.listen(2.0)) <= 11
    d.signal(signal.SIGSTOP)
    ear.drop()
    assert ear.listen(1.0) == []
    d.signal(signal.SIGCONT)
    assert lives(ear.listen(1.0)) >= 3
    d.ctl("reload")
    assert lives(ear.listen(1.0)) >= 3
    d.stop()
    ear.wait("STOPPING")
    assert ear.listen(0.3) == []


@pytest.mark.parametrize("env", [
    {"WATCHDOG_USEC": None},
    {"WATCHDOG_USEC": "0"},
    {"WATCHDOG_USEC": "soon"},
    {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"},
])
def test_nobody_waits_for_a_sign_of_life(daemon, manager, env):
    d = daemon("alone")
    ear = manager(d)
    d.env.update(env)
    d.start()
    ear.wait("READY")
    assert lives(ear.listen(0.8)) == 0


def test_manager_that_does_not_listen(daemon, manager, echo):
    """Its queue is full at once: the daemon does its work all the same, and
    never waits long."""
    d = daemon("alone", tunnels=[{"name": "web", "listen": "127.0.0.1:0",
                                  "connect": echo.address}])
    manager(d)
    d.env["WATCHDOG_USEC"] = "20000"
    d.start()
    time.sleep(1)
    for _ in range(20):
        began = time.monotonic()
        with connect(d.tunnel("web")["listen"]) as user:
            ask(user)
        assert time.monotonic() - began < 10 * FACTOR
    d.ctl("reload")
