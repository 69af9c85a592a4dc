# SPDX-License-Identifier: ISC
"""No memory is left: no daemon ends, and once there is some again, all is as
before."""

import contextlib
import resource
import select

import pytest

from harness import SLOW, reverse
from reloads import apply, ask_reload
from services import ask, connect, round_trip

USERS = 1000
TUNNELS = 300


@pytest.fixture(autouse=True)
def starvable():
    """AddressSanitizer has its own, and ends where there is none."""
    if SLOW:
        pytest.skip("MEMORY IS NOT USED UP: THE BINARIES ARE INSTRUMENTED")


@contextlib.contextmanager
def starved(d, kib=0):
    """It may have so much more address space than now, and no more."""
    with open("/proc/%d/status" % d.pid) as file:
        size = next(int(line.split()[1]) for line in file
                    if line.startswith("VmSize:"))
    before = resource.prlimit(d.pid, resource.RLIMIT_AS)
    resource.prlimit(d.pid, resource.RLIMIT_AS,
                     ((size + kib) * 1024, before[1]))
    yield
    assert d.process.poll() is None, d.log()
    resource.prlimit(d.pid, resource.RLIMIT_AS, before)


def come(address):
    """Users who all speak, and stay; how many are answered."""
    answered, users = 0, {}
    poll = select.poll()
    with contextlib.ExitStack() as stack:
        for _ in range(USERS):
            with contextlib.suppress(OSError):
                user = stack.enter_context(connect(address))
                users[user.fileno()] = user
                poll.register(user, select.POLLIN)
                user.sendall(b"x" * 1000)
        while ready := poll.poll(500):
            for fd, _ in ready:
                poll.unregister(fd)
                with contextlib.suppress(OSError):
                    answered += len(users[fd].recv(1)) > 0
    return answered


@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["edge", "home"])
def test_users_come(pair, security, echo, who):
    """They are refused, or get no answer."""
    p = pair(security, [reverse("web", echo.address)])
    d = p.edge if who == "edge" else p.home
    entry = p.entry("web")
    with connect(entry) as early:
        ask(early)
        with starved(d):
            assert come(entry) < USERS
            for cmd in ("status", "sessions", "history"):
                with contextlib.suppress(Exception):
                    d.admin(cmd)
        p.wait_up(30)
        with contextlib.suppress(OSError):
            ask(early)
    for each in p.both():
        each.wait_sessions(0, deadline=30)
    round_trip(entry)


@pytest.mark.parametrize("kib", [0, 350, 600, 850])
def test_reloads(pair, security, echo, kib):
    """A config that there is no memory for is refused, whole."""
    p = pair(security, [reverse("web", echo.address)])
    d = p.edge
    entry = p.entry("web")
    small = dict(d.config)
    large = dict(small, tunnels=small["tunnels"] + [
        {"name": "t%d" % n, "listen": "127.0.0.1:0", "connect": echo.address}
        for n in range(TUNNELS)], peers=small["peers"] + [
            dict(small["peers"][0], name="p%d" % n) for n in range(50)])
    with starved(d, kib):
        for _ in range(3):
            for d.config in (large, small):
                d.write_config()
                with contextlib.suppress(OSError):
                    answer = ask_reload(d)
                    assert answer["ok"] == ("data" in answer), answer
                    assert not answer["ok"] or answer["data"]["applied"]
    apply(d)
    p.wait_up(30)
    round_trip(entry)
    d.config = large
    apply(d)
    assert len(d.admin("tunnels")) == TUNNELS + 1
    round_trip(entry)
