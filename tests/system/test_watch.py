# SPDX-License-Identifier: ISC
"""tunnelctl watch in a real terminal, with real daemons."""

import re
import threading

import pytest

from harness import reverse, wait_until
# The fixtures are used by name.
from screen import FAST, alone, puppet, screen, users  # noqa: F401
from services import Pump, ask, connect, is_alive, read_exactly


class Traffic:
    """Keeps bytes going through an echo."""

    def __init__(self, sock, size=2000):
        self.stop = threading.Event()
        self.pump = Pump(self.run, sock, b"x" * size)

    def run(self, sock, data):
        while not self.stop.wait(0.01):
            sock.sendall(data)
            read_exactly(sock, len(data))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.pump.result()


def id_of(d, user):
    """The session that a user's socket belongs to."""
    source = "%s:%d" % user.getsockname()
    return wait_until(lambda: next((s["id"] for s in d.sessions()
                                    if s["source"] == source), None))


# --- what it shows ----------------------------------------------------------

def test_sessions_and_rates(alone, screen, users):
    """Of a running transfer, and of one that rests."""
    busy, idle = users("web", 2)
    there = [id_of(alone, user) for user in (busy, idle)]
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"^tunneld alone \d.* sessions 2 ")
    s.wait(r"ledger ok .*every 0\.2s")
    with Traffic(busy):
        s.wait(r"^up [\d.]+[KM]/s  down [\d.]+[KM]/s")
        # The tunnels above: what the transfer moves is the web's.
        wait_until(lambda: s.cells("web")["UP/s"].endswith(("K", "M")))
        assert s.cells("ssh")["UP/s"] == "0"
        cells = wait_until(lambda: s.cells(there[0]) if re.match(
            r"[\d.]+[KM]", s.cells(there[0])["DOWN/s"]) else None)
    assert cells["TUNNEL"] == "web" and cells["STATE"] == "open"
    assert cells["SOURCE"] == "127.0.0.1:%d" % busy.getsockname()[1]
    assert s.cells(there[1])["DOWN/s"] == "0"
    assert s.cells(there[1])["DOWN"] == "4"
    # Only columns that are whole and aligned.
    assert all(len(line) <= 80 for line in s.text().split("\n"))


def test_the_first_reading_knows_no_rate(alone, screen, users):
    users("web", 1)
    s = screen().watch(alone.admin_path, "-i", "3600")
    s.wait(r"^up -/s  down -/s")
    assert s.cells(alone.sessions()[0]["id"])["UP/s"] == "-"
    wait_until(lambda: s.keys("Space") or s.line(r"^up 0/s  down 0/s"),
               interval=0.2)
    assert s.cells(alone.sessions()[0]["id"])["UP/s"] == "0"


def test_exact_bytes(alone, screen, users):
    user, = users("web", 1)
    ask(user, b"x" * 12345)
    s = screen(120).watch(alone.admin_path, "--bytes", *FAST)
    s.wait(r" web .* 12349 ")


def test_sorting(alone, screen, users):
    socks = users("web", 3)
    for sock, size in zip(socks, (2000, 9000, 100)):
        ask(sock, b"x" * size)
    one, two, three = (id_of(alone, sock) for sock in socks)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 3  by DOWN/s")
    for _ in range(12):
        if s.line(r"Sessions 3  by UP$"):
            break
        before = s.line(r"^ Sessions")
        s.keys("s")
        wait_until(lambda: s.line(r"^ Sessions") != before)
    s.wait(r"Sessions 3  by UP$")
    assert s.order() == [two, one, three]
    s.keys("r")
    s.wait(r"by UP reversed")
    assert s.order() == [three, one, two]
    s.keys("<")
    s.wait(r"by DOWN/s")
    s.keys("Tab", ">")
    s.wait(r"Tunnels 2  by STATE")


def test_the_choice_stays_with_the_session(alone, screen, users):
    socks = users("web", 5)
    ids = [id_of(alone, sock) for sock in socks]
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 5 ")
    wait_until(lambda: s.marked() == str(ids[0]))
    s.keys("Down", "j", "j", "Up")
    wait_until(lambda: s.marked() == str(ids[2]))
    # Another one comes to the top, then the chosen one itself.
    with Traffic(socks[4]):
        wait_until(lambda: s.order()[0] == ids[4])
        assert s.marked() == str(ids[2])
    with Traffic(socks[2], 5000):
        wait_until(lambda: s.order()[0] == ids[2])
        assert s.marked() == str(ids[2])
    s.keys("End")
    wait_until(lambda: s.marked() != str(ids[2]))


def test_filter(alone, screen, users):
    users("web", 3)
    ssh, = users("ssh", 1)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 4 ")
    s.keys("/")
    s.wait(r"^filter:")
    s.type("SSHx")
    s.wait(r"Sessions 0  of 4  filter: SSHx")
    s.keys("BSpace")
    s.wait(r"Sessions 1  of 4  filter: SSH ")
    s.keys("Enter")
    s.wait_gone(r"^filter:")
    assert s.order() == [id_of(alone, ssh)]
    # It goes on filtering.
    users("ssh", 1)
    s.wait(r"Sessions 2  of 5 ")
    s.keys("Escape")
    s.wait(r"Sessions 5  by")
    # By source, and left without changing anything.
    s.keys("/")
    s.type("127.0.0.1:%d" % ssh.getsockname()[1])
    s.wait(r"Sessions 1  of 5 ")
    s.keys("Escape")
    s.wait(r"Sessions 5  by")
    # From a tunnel to its sessions.
    s.keys("Tab")
    wait_until(lambda: s.marked() == "ssh")
    s.keys("Enter")
    s.wait(r"Sessions 2  of 5  filter: ssh")
    assert s.marked().isdigit()


def test_only_one_tunnel(alone, screen, users):
    users("web", 2)
    ssh, = users("ssh", 1)
    s = screen().watch(alone.admin_path, "-t", "ssh", *FAST)
    s.wait(r"Tunnels 1 ")
    s.wait(r"Sessions 1 ")
    assert s.order() == [id_of(alone, ssh)]
    assert s.cells("ssh")["SESS"] == "1" and not s.cells("web")


def test_pause_and_pace(alone, screen, users):
    s = screen().watch(alone.admin_path, "-i", "0.3")
    s.wait(r"every 0\.3s")
    s.keys("+")
    s.wait(r"every 0\.5s")
    s.keys("-", "-", "-")
    s.wait(r"every 0\.2s")
    s.keys("p")
    s.wait(r" paused")
    users("web", 2)
    before = s.text().split("\n")[0][-8:]
    s.wait_gone(before)     # the clock goes on
    s.wait_gone(s.text().split("\n")[0][-8:])
    s.wait(r"Sessions 0 ")
    s.keys("Space")
    s.wait(r"Sessions 2 ")
    s.keys("p")
    users("web", 1)
    s.wait(r"Sessions 3 ")


def test_help(alone, screen):
    s = screen().watch(alone.admin_path)
    s.keys("h")
    s.wait(r"kill the session")
    s.resize(40, 10)
    s.wait(r"^up and down scroll")
    for _ in range(20):
        s.keys("Down")
    s.wait(r"A row chosen by hand stays")
    s.keys("?")
    s.wait(r"^ Sessions")


@pytest.mark.parametrize("width,height", [(100, 30), (40, 10), (200, 60),
                                          (80, 15), (20, 6), (12, 3)])
def test_sizes(alone, screen, users, width, height):
    """From 80x24 to that size and back; nothing of the old picture stays."""
    users("web", 12)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 12 ")
    s.wait(r"^q quit")
    s.resize(width, height)
    if height < 6:
        s.wait(r"^too small")
    else:
        s.wait(r"^ ID +TUNNEL" if width > 20 else r"^ ID")
        wait_until(lambda: "q quit" in s.text().rstrip("\n").split("\n")[-1])
        lines = s.text().rstrip("\n").split("\n")
        assert len(lines) == height and "q quit" in lines[-1]
        assert len([line for line in lines if "Sessions" in line]) == 1
        assert len([line for line in lines if "Tunnels" in line]) == \
            (height >= 16)
        assert len(s.order()) == min(12, height - 5 if height < 16 else 12)
        assert lines[0].endswith(lines[0][-8:]) and \
            re.search(r"\d\d:\d\d:\d\d$", lines[0])
    s.resize(80, 24)
    s.wait(r"^ Tunnels 2 ")
    s.keys("Tab")
    s.wait(r"^>ssh ")


def test_small_ones_show_both_lists(alone, screen, users):
    users("web", 2)
    s = screen(40, 10).watch(alone.admin_path, *FAST)
    s.wait(r"^ Sessions 2 ")
    assert not s.line("Tunnels")
    s.keys("Tab")
    s.wait(r"^ Tunnels 2 ")
    wait_until(lambda: s.cells("web") and s.cells("web")["SESS"] == "2")


def test_no_color(alone, screen, users):
    users("web", 1)
    for env, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        s = screen(**env).watch(alone.admin_path, *FAST)
        s.wait(r" open ")
        s.keys("q")
        s.wait_end(0)
        assert bool(re.search(rb"\033\[[\d;]*3[0-7]m", s.output())) == \
            coloured


# --- what it does -------------------------------------------------------------

def test_kill_a_session(alone, screen, users):
    """Only after a yes, and only that one."""
    first, second = users("web", 2)
    victim = id_of(alone, second)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 2 ")
    s.keys("Down")
    wait_until(lambda: s.marked() == str(victim))
    question = r"^kill session %d \(web, 127\.0\.0\.1:%d\)\? y/N" % (
        victim, second.getsockname()[1])
    for no in ("n", "Enter", "Escape", "q", "x"):
        s.keys("K")
        s.wait(question)
        s.keys(no)
        s.wait(r"^session %d: not done" % victim)
    ask(first)
    ask(second)
    s.keys("x")
    s.wait(question)
    s.keys("y")
    s.wait(r"^killed session %d" % victim)
    s.wait(r"Sessions 1 ")
    alone.wait_sessions(1)
    assert not is_alive(second)
    ask(first)
    assert alone.closed(1)[0]["close_reason"] == "killed"


def test_kill_all_of_a_tunnel(alone, screen, users):
    web = users("web", 3)
    ssh = users("ssh", 2)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 5 ")
    s.keys("Tab")
    wait_until(lambda: s.marked() == "ssh")
    s.keys("Down", "K")
    s.wait(r"^kill all sessions of web, 3 now\? y/N")
    s.keys("n")
    s.wait(r"not done")
    assert len(alone.sessions()) == 5
    s.keys("K", "y")
    s.wait(r"^killed 3 sessions of web")
    s.wait(r"Sessions 2 ")
    for user in ssh:
        ask(user)
    wait_until(lambda: not any(is_alive(user) for user in web))


def test_a_local_tunnel_and_a_namesake(pair, echo, screen):
    """Orders for it are for it, though a peer has one of that name."""
    p = pair("plain", [reverse("web", echo.address)], edge_tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": echo.address}])
    local = next(t for t in p.edge.status()["tunnels"] if t["peer"] is None)
    with connect(local["listen"]) as ours, connect(p.entry("web")) as other:
        ask(ours)
        ask(other)
        s = screen().watch(p.edge.admin_path, *FAST)
        s.wait(r"Sessions 2 ")
        s.keys("Tab", "End")
        wait_until(lambda: s.marked() == "web")
        s.keys("K", "y")
        s.wait(r"^killed 1 session of web")
        wait_until(lambda: not is_alive(ours))
        ask(other)


def test_disable_and_enable(alone, screen, users):
    user, = users("web", 1)
    s = screen().watch(alone.admin_path, *FAST)
    s.keys("d")
    s.wait(r"^choose a tunnel first")
    s.keys("Tab", "End", "d")
    s.wait(r"^disable web .*\? y/N")
    s.keys("n")
    s.wait(r"^web: not done")
    assert alone.tunnel("web")["state"] == "up"
    s.keys("d", "y")
    s.wait(r"^web is disabled")
    wait_until(lambda: s.cells("web")["STATE"] == "disabled")
    assert alone.tunnel("web")["state"] == "disabled"
    ask(user)
    s.keys("d", "y")
    s.wait(r"^web was disabled already")
    s.keys("e", "y")
    s.wait(r"^web is enabled")
    wait_until(lambda: s.cells("web")["STATE"] == "up")


def test_a_refusal_is_shown(puppet, screen):
    puppet.sessions = [{"id": 17, "tunnel": "ssh", "peer": None,
                        "source": "192.0.2.7:4000"}]
    puppet.refuse["kill"] = "only for the \033[31mgroup"
    s = screen().watch(puppet.path, *FAST)
    s.wait(r"Sessions 1 ")
    s.keys("K")
    s.wait(r"^kill session 17 \(ssh, 192\.0\.2\.7:4000\)\? y/N$")
    s.keys("y")
    s.wait(r"^kill session 17: only for the \\x1b\[31mgroup")
    assert [r["args"] for r in puppet.asked if r["cmd"] == "kill"] == \
        [{"ids": [17]}]
    # One that is gone meanwhile, in a narrow terminal.
    del puppet.refuse["kill"]
    s.resize(30, 10)
    s.wait(r"^ Sessions 1 ")
    s.keys("K")
    s.wait(r"^kill session 17 .*\? y/N$")
    s.keys("y")
    s.wait(r"^session 17 is not open")
