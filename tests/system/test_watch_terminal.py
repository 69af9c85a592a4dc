# SPDX-License-Identifier: ISC
"""tunnelctl watch: what becomes of the terminal, of a daemon that does not
answer, of many sessions and of wicked names."""

import os
import re
import signal
import time

import pytest

from crowd import Swarm
from harness import FACTOR, TUNNELCTL, run, wait_until
# The fixtures are used by name.
from screen import FAST, alone, puppet, screen, users  # noqa: F401


# --- the terminal afterwards ---------------------------------------------------

@pytest.mark.parametrize("how", ["q", "C-c", "TERM", "HUP", "QUIT", "INT"])
def test_the_terminal_is_left_as_it_was(alone, screen, users, how):
    users("web", 2)
    s = screen()
    s.type("echo what was there")
    s.keys("Enter")
    s.wait(r"^what was there")
    s.watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 2 ")
    assert s.ask("alternate_on") == "1" and s.stty() != s.modes
    if how in ("q", "C-c"):
        s.keys(how)
    else:
        os.kill(s.pid(), getattr(signal, "SIG" + how))
    s.wait_end({"TERM": 143, "HUP": 129, "QUIT": 131}.get(how, 0))
    assert s.line(r"^what was there") and not s.line(r"Sessions")


def test_stopped_and_continued(alone, screen, users):
    """^Z gives the terminal back; fg takes it again, of another size."""
    users("web", 2)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 2 ")
    for size in ((80, 24), (100, 30)):
        s.keys("C-z")
        s.wait(r"Stopped")
        s.check_left()
        s.resize(*size)
        s.type("fg")
        s.keys("Enter")
        s.wait(r"Sessions 2 ")
        assert s.ask("alternate_on") == "1"
        wait_until(lambda: re.search(r":\d\d$", s.text().split("\n")[0]) and
                   len(s.text().split("\n")[0]) == size[0])
    # A stop that cannot be caught leaves the shell with our terminal; it
    # reads lines that end with a line feed all the same.
    os.kill(s.pid(), signal.SIGSTOP)
    s.wait(r"Stopped")
    s.wait(r"\$$")
    s.type("fg")
    s.keys("C-j")
    s.wait_gone(r"Stopped")
    s.wait(r"^ Sessions 2 ")
    s.keys("Tab")
    s.wait(r"^>ssh ")
    s.keys("q")
    wait_until(lambda: s.ask("alternate_on") == "0")
    assert s.stty() == s.modes


@pytest.mark.parametrize("before", ["TERM=dumb", "TERM=no-such-thing",
                                    "TERM=", "true |", "</dev/null"])
def test_no_terminal(alone, screen, before):
    s = screen()
    s.start(alone.admin_path, before=before)
    s.wait(r"^status=2$")
    s.wait(r"tunnelctl: watch: ")
    assert s.stty() == s.modes
    done = run(TUNNELCTL, "-s", alone.admin_path, "watch", check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert "terminal" in done.stderr


def test_what_cannot_begin(alone, screen, puppet):
    """Told on the terminal that was there; no screen is left behind."""
    s = screen(200)
    for path, options, status, text in (
            (alone.path("nothing"), (), 3, "cannot reach"),
            (alone.admin_path, ("-t", "none"), 1, "no tunnel is called none"),
            (alone.admin_path, ("-i", "0.1"), 2, "0.1"),
            (alone.admin_path, ("-i", "nan"), 2, "nan"),
            (alone.admin_path, ("--json",), 2, "events"),
            (alone.admin_path, ("stray",), 2, "arguments")):
        s.start(path, *options)
        s.wait(r"tunnelctl: watch: .*" + text)
        s.wait_end(status)
        s.type("clear")
        s.keys("Enter")
        s.wait_gone("status")
    puppet.refuse = {"status": "not for you", "sessions": "not for you"}
    s.start(puppet.path)
    s.wait(r"tunnelctl: watch: not for you")
    s.wait_end(1)


# --- daemons that come, go and stop ---------------------------------------------

def test_the_daemon_goes_and_comes(alone, screen, users):
    sock, = users("web", 1)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 1 ")
    alone.stop()
    s.wait(r"^trying again: ")
    s.wait(r"^trying again: cannot reach tunneld at .*: No such file")
    # Keys still do what they can.
    s.keys("Tab")
    s.wait(r"^>ssh ")
    s.keys("K", "y")
    s.wait(r"not done, the daemon cannot be asked")
    sock.close()
    alone.start()
    s.wait(r"^up -?[\d.]*/s ")
    s.wait(r"Sessions 0 ")
    users("web", 2)
    s.wait(r"Sessions 2 ")
    s.keys("q")
    s.wait_end(0)


def test_a_daemon_that_stands_still(alone, screen, users):
    """No key waits for it."""
    users("web", 2)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 2 ")
    alone.signal(signal.SIGSTOP)
    try:
        s.wait(r"^no answer for [1-9]\d* s")
        for key, seen in (("h", r"kill the session"), ("q", r"^ Sessions"),
                          ("Tab", r"^>ssh "), ("r", r"by TUNNEL reversed")):
            s.keys(key)
            s.wait(seen, deadline=8)
        s.resize(100, 30)
        wait_until(lambda: s.line(r"no answer for") and
                   re.search(r":\d\d$", s.text().split("\n")[0]) and
                   len(s.text().split("\n")[0]) == 100, 8)
        s.keys("r", "Tab", "K")
        s.wait(r"^kill session .*y/N")
        s.keys("y")
        s.wait(r"^kill session \d+ \.\.\.")
    finally:
        alone.signal(signal.SIGCONT)
    s.wait(r"^killed session")
    s.wait(r"Sessions 1 ")
    s.wait(r"^up ")
    # And it can be left.
    alone.signal(signal.SIGSTOP)
    try:
        s.wait(r"^no answer for")
        s.keys("q")
        s.wait_end(0)
    finally:
        alone.signal(signal.SIGCONT)


def test_half_answers_and_nonsense(puppet, screen):
    """What does not speak our language is told, not believed."""
    s = screen().watch(puppet.path, *FAST)
    s.wait(r"puppet")
    for nonsense in ([{"ok": True}], [{"ok": True, "data": 5}], [17]):
        puppet.answers = lambda command, n=nonsense: \
            [dict(n[0])] if isinstance(n[0], dict) else n
        s.keys("Space")
        wait_until(lambda: s.line(r"^ Sessions") is not None)
    s.keys("q")
    s.wait_end(0)


# --- many, and wicked ones ---------------------------------------------------

def test_three_hundred(alone, screen, closing):
    swarm = closing(Swarm(alone.tunnel("web")["listen"], 300))
    swarm.exchange(10)
    s = screen().watch(alone.admin_path, *FAST)
    s.wait(r"Sessions 300 .* 1-\d+")
    last = max(row["id"] for row in alone.sessions())
    s.keys("s")
    s.keys("End")
    s.wait(r"Sessions 300 .*-300")
    s.keys("PPage", "PPage", "Home", "NPage")
    s.wait(r"^>")
    s.keys("/")
    s.type("127.0.0.1:")
    s.keys("Enter", "End")
    s.wait(r"Sessions 300  of 300 .*-300")
    assert s.marked() and int(s.marked()) <= last
    s.keys("Tab", "End", "K")
    s.wait(r"^kill all sessions of web, 300 now")
    s.keys("y")
    s.wait(r"^killed 300 sessions of web")
    s.wait(r"Sessions 0 ")


def test_ten_thousand(puppet, screen):
    """A key is answered at once while so many come in again and again."""
    puppet.sessions = [
        {"id": n, "tunnel": "web", "peer": "home", "state": "open",
         "source": "192.0.2.%d:%d" % (n % 250, n), "target": "127.0.0.1:80",
         "opened_at": "2026-11-21T09:00:00.123Z", "up_bytes": n,
         "down_bytes": n, "idle": 1.0} for n in range(1, 10001)]
    s = screen().watch(puppet.path, *FAST)
    s.wait(r"Sessions 10000 ", deadline=40)
    took = []
    for key, seen in (("End", r"-10000"), ("Home", r" 1-1\d"),
                      ("r", r"reversed"), ("Tab", r"Tab sessions"),
                      ("h", r"kill the session"), ("q", r"^ Sessions")):
        began = time.monotonic()
        s.keys(key)
        s.wait(seen)
        took.append(time.monotonic() - began)
    assert max(took) < 5 * FACTOR, took
    s.keys("q")
    s.wait_end(0)


def test_names_cannot_steer_the_terminal(puppet, screen):
    """Whatever a daemon or those behind it call themselves."""
    evil = "\033]0;owned\007\033[2J\033[31m\r\n\t\x9b2J\x7f\u202e\U0001f600"
    puppet.status["daemon"]["name"] = evil
    puppet.status["daemon"]["version"] = evil
    puppet.status["ledger"]["state"] = evil
    puppet.status["tunnels"] = [
        {"name": evil, "peer": evil, "state": evil, "end": evil,
         "listen": evil, "sessions": 1}]
    puppet.sessions = [{"id": 1, "tunnel": evil, "peer": evil, "source": evil,
                        "target": evil, "state": evil}]
    puppet.refuse["kill"] = evil
    title = None
    s = screen(200, 40)
    title = s.ask("pane_title")
    s.watch(puppet.path, *FAST)
    s.wait(r"Sessions 1 ")
    s.wait(r"\\x1b\]0;owned\\x07")
    s.keys("K", "y")
    s.wait(r"^kill session 1: \\x1b")
    s.keys("Tab", "K")
    s.wait(r"y/N")
    s.keys("n", "Enter")
    s.wait(r"filter: ")
    s.resize(40, 10)
    s.wait(r"^ Sessions")
    s.keys("q")
    s.wait_end(0)
    assert s.ask("pane_title") == title
    sent = s.output()
    for piece in (b"\033]0;owned", b"\x07", b"\x9b",
                  "\u202e".encode(), "\U0001f600".encode()):
        assert piece not in sent, piece
