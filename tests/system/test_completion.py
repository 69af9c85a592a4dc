# SPDX-License-Identifier: ISC
"""Completion in a real bash, with and without a daemon that is asked."""

import os
import pty
import re
import select
import signal
import socket
import time

import pytest

import harness
from harness import FACTOR, TUNNELCTL, forward, reverse, run
from services import ask, connect
from test_output import commands
from tool import ESCAPE, clean_env

SCRIPT = os.path.join(harness.ROOT, "etc", "completion", "tunnelctl.bash")

# What bash does on TAB, to the one word that the cursor stands behind.
DRIVE = r"""
source "$1" || exit 9
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
COMP_KEY=9
function=$(complete -p tunnelctl | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
"$function" tunnelctl "${COMP_WORDS[COMP_CWORD]}" \
    "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def duo(pair, echo):
    return pair("plain", [reverse("web", echo.address),
                          reverse("mail", echo.address),
                          forward("db", echo.address)],
                edge_tunnels=[{"name": "own", "listen": "127.0.0.1:0",
                               "connect": echo.address}])


def complete(*words, daemon=None):
    """The completions of the last word of a line."""
    env = clean_env(PATH=os.path.dirname(TUNNELCTL) + ":" +
                    os.environ["PATH"])
    if daemon:
        env["TUNNELD_SOCKET"] = daemon
    done = run("bash", "--norc", "-c", DRIVE, "bash", SCRIPT, "tunnelctl",
               *words, env=env, check=False)
    assert done.returncode == 0 and not done.stderr, done
    return {line.strip() for line in done.stdout.splitlines()
            if line.strip()}


def test_commands_and_options():
    """No daemon is needed for them."""
    assert complete("") >= commands()
    assert complete("dis") == {"disable", "disconnect"}
    assert complete("hist") == {"history"}
    assert complete("--js") == {"--json"}
    assert complete("-j", "ses") == {"session", "sessions"}
    assert complete("-s", "/nonexistent", "hist") == {"history"}
    assert complete("history", "--min") == {"--min-bytes"}
    assert complete("history", "--s") >= {"--since", "--source"}
    assert "--older" not in complete("history", "--")
    assert "--dry-run" in complete("kill", "--")
    assert complete("history", "l") >= {"links"}
    assert complete("history", "ch") == {"changes"}
    assert complete("stats", "--by", "") == {"tunnel", "peer", "source",
                                             "link"}
    assert complete("stats", "--per", "") == {"hour", "day"}
    assert complete("log-level", "") == {"error", "warning", "notice",
                                         "info", "debug"}
    assert complete("completion", "") == {"bash", "zsh"}
    assert complete("help", "dis") == {"disable", "disconnect"}


def test_a_local_namesake(pair, echo):
    """What is offered is understood: /NAME is the local tunnel."""
    p = pair("plain", [reverse("web", echo.address)], edge_tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": echo.address}])
    s = ["-s", p.edge.admin_path]
    assert complete(*s, "kill", "-t", "") == {"/web", "home/web"}
    for name, peer in (("/web", None), ("home/web", "home")):
        for verb in ("disable", "enable"):
            assert p.edge.ctl(verb, name)["changed"], name
        with connect(next(t["listen"] for t in p.edge.status()["tunnels"]
                          if t["peer"] == peer)) as user:
            ask(user)
            row, = p.edge.ctl("sessions", "-t", name)
            assert row["peer"] == peer
        p.edge.closed_one(row["uid"])
        found, = p.edge.ctl("history", "-t", name)
        assert found["uid"] == row["uid"] and found["peer"] == peer


def test_live_names(duo):
    """Tunnels, peers and ids of the daemon that the line names."""
    s = ["-s", duo.edge.admin_path]
    both = [(s, None), ([], duo.edge.admin_path),
            (["--socket", duo.edge.admin_path], None),
            (["--socket=" + duo.edge.admin_path], None)]
    for before, path in both:
        found = complete(*before, "kill", "-t", "", daemon=path)
        assert found >= {"own", "home/web", "home/mail", "home/db"} or \
            found >= {"own", "web", "mail", "db"}, (before, found)
        assert complete(*before, "kill", "--peer", "", daemon=path) == \
            {"home"}
    assert complete(*s, "kill", "-t", "o") == {"own"}
    assert complete(*s, "kill", "-t", "home/w") == {"home/web"}
    assert complete(*s, "kill", "--tunnel", "home/") == {
        "home/web", "home/mail", "home/db"}
    assert complete(*s, "history", "--tunnel", "home/m") == {"home/mail"}
    assert complete(*s, "test", "ow") == {"own"}
    assert complete(*s, "disconnect", "") == {"home"}
    assert complete(*s, "ping", "h") == {"home"}
    assert complete(*s, "disable", "o") == {"own"}
    assert complete(*s, "disable", "ho") >= {"home"}
    assert complete("kill", *s, "-t", "ow") == {"own"}
    with connect(duo.entry("web")) as user, connect(duo.entry("db")) as other:
        ask(user)
        ask(other)
        ids = {str(r["id"]) for r in duo.edge.wait_sessions(2)}
        assert complete(*s, "kill", "") >= ids
        assert complete(*s, "session", "") >= ids
        one = sorted(ids)[0]
        assert one in complete(*s, "session", one[:1])
        assert complete(*s, "kill", "9999999") == set()


def test_no_daemon_and_no_right():
    """Nothing is found, nothing is said, and it does not take long."""
    began = time.monotonic()
    for words in (["kill", "-t", ""], ["kill", ""], ["ping", ""]):
        complete("-s", "/nonexistent/socket", *words)
    assert time.monotonic() - began < 10 * FACTOR


def test_daemon_that_says_nothing(tmp_path):
    """A shell is not held up by a daemon that hangs."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        began = time.monotonic()
        assert complete("-s", path, "kill", "-t", "") == set()
        assert time.monotonic() - began < 8 * FACTOR


def test_script_is_that_of_the_command():
    """`tunnelctl completion bash` prints the one that is installed."""
    with open(SCRIPT) as file:
        assert run(TUNNELCTL, "completion", "bash").stdout == file.read()
    zsh = run(TUNNELCTL, "completion", "zsh").stdout
    assert zsh.startswith("#compdef tunnelctl")


class Shell:
    """An interactive bash on a pseudo-terminal."""

    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"],
                       clean_env(TERM="dumb", PS1="$ ", PATH=os.path.dirname(
                           TUNNELCTL) + ":" + os.environ["PATH"],
                           HISTFILE=""))
        self.data = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern):
        end = time.monotonic() + 20 * FACTOR
        while not re.search(pattern, self.data):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], \
                "%r never came: %r" % (pattern, self.data)
            self.data += ESCAPE.sub("", os.read(self.fd, 65536).decode())
        self.data = ""

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def test_tab_in_a_shell(duo, closing):
    """As people use it: TAB makes the word whole, and the line works."""
    shell = closing(Shell())
    shell.type("source %s; echo re''ady\n" % SCRIPT)
    shell.wait("\nready")
    shell.type("tunnelctl -s %s disab\t" % duo.edge.admin_path)
    shell.wait("disable $")
    shell.type("home/ma\t")
    shell.wait("home/mail $")
    shell.type("; echo do''ne\n")
    shell.wait(r"\ndone")
    assert duo.edge.tunnel("mail")["disabled"]
    assert duo.edge.tunnel("web")["disabled"] is None
