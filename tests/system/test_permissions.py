# SPDX-License-Identifier: ISC
"""Who may look, who may change, and what is remembered of it."""

import contextlib
import grp
import json
import os
import pickle
import pwd
import signal
import socket

import pytest

import harness
from adminsocket import Admin
from harness import ORDINARY_USER, TUNNELD, run, wait_until
from services import ask, connect, expect_reset, round_trip
from tool import tool

ADMINS, READERS = "users", "games"
STRANGER = 4711         # nobody's uid, nobody's gid

LOOKING = [
    ("version", {}), ("status", {}), ("peers", {}), ("tunnels", {}),
    ("sessions", {}), ("sessions", {"source": "127.0.0.0/8"}),
    ("session", {"id": 1}), ("history", {}), ("links", {}), ("stats", {}),
    ("uptime", {}), ("changes", {}), ("ping", {"peer": "home"}),
    ("config", {}),
]
CHANGING = [
    ("disable", {"tunnel": "web"}), ("enable", {"tunnel": "web"}),
    ("disable", {"peer": "home"}), ("enable", {"peer": "home"}),
    ("disconnect", {"peer": "home"}), ("test", {"tunnel": "web"}),
    ("log-level", {"level": "info"}), ("kill", {"tunnel": "web"}),
]


class Somebody:
    """A process of that user and these groups, which does what it is told:
    functions of this module, by name."""

    def __init__(self, uid, gid, groups=()):
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.ours.close()
                os.setgroups(list(groups))
                os.setgid(gid)
                os.setuid(uid)
                self.serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.file = self.ours.makefile("rwb")

    @staticmethod
    def serve(sock):
        with sock.makefile("rwb") as file:
            while True:
                try:
                    function, args = pickle.load(file)
                except EOFError:
                    return
                try:
                    answer = True, function(*args)
                except Exception as error:
                    answer = False, repr(error)
                pickle.dump(answer, file)
                file.flush()

    def __call__(self, function, *args):
        pickle.dump((function, args), self.file)
        self.file.flush()
        ok, answer = pickle.load(self.file)
        assert ok, answer
        return answer

    def close(self):
        self.file.close()
        self.ours.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def order(path, cmd, args):
    """The error's code, or None: it was done. Who may not ask at all is told
    so without a question, and closed."""
    try:
        client = Admin(path)
    except PermissionError:
        return "not_permitted"
    with contextlib.closing(client):
        with contextlib.suppress(BrokenPipeError):
            client.send_line(json.dumps({"id": 1, "cmd": cmd, "args": args}) +
                             "\n")
        answer = client.read_line()
        if answer is None:
            return "closed"
        assert answer["id"] in (1, None)
        return None if answer["ok"] else answer["error"]["code"]


def follow(path):
    """Whether a stream of events begins."""
    try:
        client = Admin(path)
        with contextlib.suppress(BrokenPipeError):
            client.send_line('{"id": 1, "cmd": "events"}\n')
        answer = client.read_line()
        client.close()
    except OSError as error:
        return repr(error)
    return answer and (answer["ok"] or answer["error"]["code"])


_kept = []


def crowd_in(path, count):
    """So many connections, kept; how many were made."""
    for _ in range(count):
        with contextlib.suppress(OSError):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            _kept.append(sock)
            sock.connect(path)
    return len(_kept)


def leave():
    while _kept:
        _kept.pop().close()


def gid(name):
    return grp.getgrnam(name).gr_gid


@pytest.fixture
def somebody(closing):
    harness.need_root("becoming another user")
    return lambda *ids: closing(Somebody(*ids))


@pytest.fixture
def guarded(pair, echo):
    """A pair; its edge runs as an ordinary user and has both groups."""
    harness.need_root("becoming another user")
    p = pair("plain", [harness.reverse("web", echo.address)],
             edge={"user": ORDINARY_USER, "daemon": {
                 "admin_group": ADMINS, "admin_read_group": READERS}})
    os.chmod(p.edge.directory, 0o755)
    return p


def identities():
    nobody = pwd.getpwnam(ORDINARY_USER)
    nogroup = nobody.pw_gid
    admins, readers = gid(ADMINS), gid(READERS)
    return {
        "root": ((0, 0, []), "all"),
        "daemon": ((nobody.pw_uid, nogroup, []), "all"),
        "daemon-other-group": ((nobody.pw_uid, STRANGER, []), "all"),
        "admin-primary": ((STRANGER, admins, []), "all"),
        "admin-supplementary": ((STRANGER, STRANGER, [5, admins, 9]), "all"),
        "admin-and-reader": ((STRANGER, readers, [readers, admins]), "all"),
        "reader-primary": ((STRANGER, readers, []), "look"),
        "reader-supplementary": ((STRANGER, STRANGER, [readers]), "look"),
        "stranger": ((STRANGER, STRANGER, []), "none"),
        "stranger-of-the-daemons-group": ((STRANGER, nogroup, [nogroup]),
                                          "none"),
        "stranger-with-groups": ((STRANGER, STRANGER, [1, 2, 3]), "none"),
    }


@pytest.mark.parametrize("who", sorted(identities()))
def test_who_may_what(guarded, somebody, who):
    """Every command of the table."""
    ids, may = identities()[who]
    person = somebody(*ids)
    edge = guarded.edge
    with connect(guarded.entry("web")) as user:
        ask(user)
        for cmd, args in LOOKING:
            code = person(order, edge.admin_path, cmd, args)
            if may == "none":
                assert code == "not_permitted", (cmd, code)
            else:
                assert code in (None, "not_found"), (cmd, code)
        begun = person(follow, edge.admin_path)
        assert (begun is True) == (may != "none"), begun
        for cmd, args in CHANGING:
            code = person(order, edge.admin_path, cmd, args)
            if may == "all":
                assert code in (None, "unavailable"), (cmd, code)
            else:
                assert code == "not_permitted", (cmd, code)
            if may == "all" and cmd == "enable":
                guarded.wait_up()
        if may == "all":
            expect_reset(user)
            return
        # He was not only told so.
        ask(user, b"still here")
        assert edge.is_up() and edge.peer()["reconnects"] == 0
        assert edge.tunnel("web")["disabled"] is None
        assert edge.admin("changes") == []
    round_trip(guarded.entry("web"))


def test_strangers_keep_nobody_out(guarded, somebody):
    """Hundreds who may not even look, and stay: root and the admins are
    served all the same."""
    edge = guarded.edge
    stranger = somebody(STRANGER, STRANGER)
    admin = somebody(STRANGER + 1, gid(ADMINS))
    for _ in range(4):
        stranger(crowd_in, edge.admin_path, 100)
        for _ in range(10):
            assert edge.version()
            assert admin(order, edge.admin_path, "status", {}) is None
    assert edge.ctl("status")["daemon"]["name"] == "edge"
    round_trip(guarded.entry("web"))


def test_places_come_back(guarded, somebody):
    """64 who may: the next is told `busy`; when they go there is room."""
    edge = guarded.edge
    admin = somebody(STRANGER, gid(ADMINS))
    admin(crowd_in, edge.admin_path, 64)
    code = wait_until(lambda: order(edge.admin_path, "version", {}), 10,
                      "the places to be taken")
    assert code == "busy", code
    admin(leave)
    wait_until(lambda: order(edge.admin_path, "version", {}) is None, 10,
               "room")


def test_readers_keep_out_no_admin(guarded, somebody):
    """Who may only look has 48 places of the 64."""
    edge = guarded.edge
    reader = somebody(STRANGER, gid(READERS))
    admin = somebody(STRANGER + 1, gid(ADMINS))
    reader(crowd_in, edge.admin_path, 100)
    code = wait_until(lambda: reader(order, edge.admin_path, "version", {}),
                      10, "the places to be taken")
    assert code == "busy", code
    for _ in range(20):
        assert order(edge.admin_path, "version", {}) is None
        assert admin(order, edge.admin_path, "kill", {"tunnel": "web"}) is None
    reader(leave)
    wait_until(lambda: reader(order, edge.admin_path, "version", {}) is None,
               10, "room")


def insist(path, count):
    """Orders that are refused, on one connection."""
    client = Admin(path)
    with contextlib.closing(client):
        for i in range(count):
            client.send_line(json.dumps({"id": i, "cmd": "kill"}) + "\n")
            assert client.read_line()["error"]["code"] == "not_permitted"


def test_refusals_do_not_fill_the_log(guarded, somebody):
    """Who is refused a thousand times is in the log, but not so often."""
    edge = guarded.edge
    reader = somebody(STRANGER, gid(READERS))
    reader(insist, edge.admin_path, 1000)
    lines = [line for line in edge.log().splitlines()
             if "uid %d: kill: not permitted" % STRANGER in line]
    assert 1 <= len(lines) <= 20, len(lines)


def test_each_change_is_recorded(guarded, somebody):
    """In the log and in the history, with the uid that asked."""
    edge = guarded.edge
    person = somebody(STRANGER, gid(ADMINS))
    with connect(guarded.entry("web")) as user:
        ask(user)
        row, = edge.wait_sessions(1)
        for cmd, args in CHANGING:
            person(order, edge.admin_path, cmd, args)
            if cmd == "enable":
                guarded.wait_up()
        expect_reset(user)
    edge.ctl("log-level", "notice")
    wanted = {cmd for cmd, _ in CHANGING}
    rows = wait_until(lambda: (lambda r: {x["command"] for x in r} >= wanted
                               and len(r) > len(wanted) and r)(
        edge.ctl("history", "changes")), 10, "all of them")
    assert {r["uid"] for r in rows} == {STRANGER, 0}
    assert [r["command"] for r in rows if r["uid"] == 0] == ["log-level"]
    for each in rows:
        assert "(uid %d)" % each["uid"] in each["by"] or \
            each["by"] == "uid %d" % each["uid"], each
    assert str(STRANGER) in edge.closed_one(row["uid"])["closed_by"]
    # There is no login name to show in its stead.
    assert " uid %d" % STRANGER in tool(edge, "history").out
    log = edge.log()
    for cmd in sorted(wanted):
        word = {"test": "test", "log-level": "log"}.get(cmd, cmd)
        assert any(word in line and "uid %d" % STRANGER in line
                   for line in log.splitlines()), cmd
    # Looking is nobody's business.
    count = len(rows)
    person(order, edge.admin_path, "status", {})
    person(order, edge.admin_path, "sessions", {})
    person(order, edge.admin_path, "kill", {"tunnel": "none"})
    edge.ctl("log-level", "info")
    rows = wait_until(lambda: (lambda r: len(r) > count and r)(
        edge.ctl("history", "changes")), 10, "the last one")
    assert [r["command"] for r in rows[:-count]] == ["log-level"]


def test_tunnelctl_of_a_reader(guarded):
    """Looks; a dry run is looking; orders are refused with status 1."""
    edge = guarded.edge
    who = {"user": "daemon", "groups": ["--groups", str(gid(READERS))]}
    with connect(guarded.entry("web")) as user:
        ask(user)
        row, = edge.wait_sessions(1)
        for words in (["status"], ["sessions"], ["history"], ["stats"],
                      ["history", "links"], ["config"], ["ping", "home"]):
            tool(edge, *words, **who)
        said = tool(edge, "kill", "--dry-run", "-t", "web", **who)
        assert str(row["id"]) in said.out
        for words in (["kill", "-t", "web"], ["disable", "web"],
                      ["enable", "web"], ["disconnect", "home"],
                      ["log-level", "debug"], ["test", "web"]):
            said = tool(edge, *words, status=1, **who)
            assert "permi" in said.err.lower(), said
            assert said.err.count(words[0]) == 1, said
        ask(user)
    said = tool(edge, "status", user="daemon", status=None)
    assert said.status in (1, 3) and "permi" in said.err.lower()
    assert "127.0.0.1" not in said.text


def test_without_a_read_group(pair, echo, somebody):
    """Nobody else may look then."""
    p = pair("plain", [harness.reverse("web", echo.address)],
             edge={"daemon": {"admin_group": ADMINS}})
    os.chmod(p.edge.directory, 0o755)
    reader = somebody(STRANGER, gid(READERS))
    admin = somebody(STRANGER, gid(ADMINS))
    for cmd, args in LOOKING[:4]:
        assert reader(order, p.edge.admin_path, cmd, args) == "not_permitted"
        assert admin(order, p.edge.admin_path, cmd, args) is None


def test_only_a_read_group(pair, echo, somebody):
    """It may look, and to change things one must be root."""
    p = pair("plain", [harness.reverse("web", echo.address)],
             edge={"daemon": {"admin_read_group": READERS}})
    os.chmod(p.edge.directory, 0o755)
    reader = somebody(STRANGER, STRANGER, [gid(READERS)])
    assert reader(order, p.edge.admin_path, "status", {}) is None
    assert reader(order, p.edge.admin_path, "disable",
                  {"tunnel": "web"}) == "not_permitted"
    assert p.edge.ctl("disable", "web")["changed"]


def test_group_that_does_not_exist(daemon):
    """An error of the configuration, that `tunneld -t` finds."""
    d = daemon("alone", daemon={"admin_read_group": "no-such-group"})
    d.write_config()
    done = run(TUNNELD, "-t", "-c", d.config_path, check=False)
    assert done.returncode != 0
    assert "no-such-group" in done.stderr + done.stdout
    assert "admin_read_group" in done.stderr + done.stdout
