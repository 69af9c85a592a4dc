# SPDX-License-Identifier: ISC
"""The admin socket and tunnelctl: what they promise to honest users, and
what they do about the others."""

import base64
import grp
import json
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import time

import pytest

import harness
from adminsocket import Admin, AdminError
from crowd import Swarm
from harness import (FACTOR, ORDINARY_USER, TUNNELCTL, reverse, run, spawn,
                     wait_until)
from services import ask, connect, round_trip


@pytest.fixture
def alone(daemon, echo):
    d = daemon("alone", tunnels=[
        {"name": "web", "listen": "127.0.0.1:0",
         "connect": echo.address}]).start()
    d.entry = d.tunnel("web")["listen"]
    return d


@pytest.fixture
def client(alone, closing):
    return closing(Admin(alone.admin_path))


@pytest.fixture(scope="module")
def asks_the_mute(tmp_path_factory):
    """A tunnelctl that asks somebody who never answers. It waits for 30 s:
    begun early, it does so while others wait, too."""
    path = str(tmp_path_factory.mktemp("mute") / "socket")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        process = spawn([TUNNELCTL, "-s", path, "status"],
                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        yield process
        harness.end_process(process)
        process.stderr.close()


def error_of(client, line):
    """The error that a raw line is answered with."""
    client.send_line(line)
    answer = client.read_line()
    assert answer["ok"] is False and answer["error"]["message"]
    return answer["id"], answer["error"]["code"]


# --- bad input ------------------------------------------------------------

@pytest.mark.parametrize("line,identity,code", [
    (b"hello\n", None, "bad_json"),
    (b"{\n", None, "bad_json"),
    (b"\xff\xfe\x00\x01\n", None, "bad_json"),
    (b"{\"id\": 1, \"cmd\": \"status\"} trailing\n", None, "bad_json"),
    (b"[1,2]\n", None, "bad_request"),
    (b"17\n", None, ("bad_request", "bad_json")),
    (b"\"status\"\n", None, ("bad_request", "bad_json")),
    (b"{}\n", None, "bad_request"),
    (b"{\"id\": 7}\n", 7, "bad_request"),
    (b"{\"id\": 7, \"cmd\": 12}\n", 7, "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"no-such\"}\n", 7, "unknown_command"),
    (b"{\"id\": \"x\", \"cmd\": \"\"}\n", "x", "unknown_command"),
    (b"{\"id\": 7, \"cmd\": \"status\", \"args\": 5}\n", 7, "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"session\"}\n", 7, "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"session\", \"args\": {\"id\": \"x\"}}\n", 7,
     "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"session\", \"args\": {\"id\": 99}}\n", 7,
     "not_found"),
    (b"{\"id\": 7, \"cmd\": \"kill\"}\n", 7, "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"kill\", \"args\": {\"ids\": \"all\"}}\n", 7,
     "bad_request"),
    (b"{\"id\": 7, \"cmd\": \"kill\", \"args\": {\"tunnel\": \"x\"}}\n", 7,
     "not_found"),
    (b"{\"id\": 7, \"cmd\": \"kill\", \"args\": {\"peer\": \"x\"}}\n", 7,
     "not_found"),
    (b"[" * 60000 + b"\n", None, "bad_json"),
], ids=range(21))
def test_bad_requests(alone, client, line, identity, code):
    """A clear error, and the connection is still good."""
    got = error_of(client, line)
    assert got[0] == identity
    assert got[1] == code or got[1] in code
    assert client("version")["pid"] == alone.pid
    round_trip(alone.entry)


def test_endless_line(alone, client):
    """More than 64 KiB without an end: told so, and closed."""
    with pytest.raises((ConnectionError, BrokenPipeError)):
        for _ in range(1000):
            client.send_line(b"x" * 65536)
    client.close()
    fresh = Admin(alone.admin_path)
    fresh.send_line(b"y" * (65 * 1024))
    answer = fresh.read_line()
    assert answer["error"]["code"] == "too_long" and answer["id"] is None
    assert fresh.read_line() is None
    fresh.close()
    round_trip(alone.entry)


def test_line_of_just_64_kib(client):
    """The bound is on the line, not on what a read returns."""
    line = json.dumps({"id": 1, "cmd": "version"}).encode()
    client.send_line(line[:-1] + b" " * (60000 - len(line)) + b"}\n")
    assert client.read_line()["ok"]


def test_requests_in_pieces_and_in_a_heap(client):
    line = b'{"id": 5, "cmd": "version"}\n'
    for index in range(len(line)):
        client.send_line(line[index:index + 1])
    assert client.read_line()["id"] == 5
    client.send_line(b"".join(
        b'{"id": %d, "cmd": "version"}\n' % n for n in range(200)))
    assert [client.read_line()["id"] for _ in range(200)] == list(range(200))
    client.send_line(b'{"id": 6, "cmd": "version"}\r\n')
    assert client.read_line()["id"] in (6, None)


def test_end_without_newline_and_vanished_clients(alone):
    fds = alone.fds()
    for data in (b"", b"{", b'{"id": 1, "cmd": "status"}',
                 b'{"id": 1, "cmd": "status"}\n' * 50):
        for half in (False, True):
            sock = connect("unix:" + alone.admin_path)
            sock.sendall(data)
            if half:
                sock.shutdown(socket.SHUT_WR)
            sock.close()
    wait_until(lambda: alone.fds() <= fds, 10, "clients to be forgotten")
    assert alone.version()


def test_half_closed_client_gets_his_answer(alone):
    """echo '{...}' | nc -N -U SOCKET"""
    with connect("unix:" + alone.admin_path) as sock:
        sock.sendall(b'{"id": 1, "cmd": "version"}\n')
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            assert json.loads(file.readline())["data"]["name"]


def test_too_many_clients(alone):
    """The 65th is told and closed; the first 64 go on; places come back."""
    clients = [Admin(alone.admin_path) for _ in range(64)]
    try:
        for client in clients:
            client("version")
        late = Admin(alone.admin_path)
        answer = late.read_line()
        assert answer["error"]["code"] == "busy" and answer["id"] is None
        assert late.read_line() is None
        late.close()
        clients[0]("version")
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: works(alone), 10, "a place")


def works(d):
    try:
        return d.version()
    except (OSError, AssertionError, KeyError, TypeError):
        return None


@pytest.mark.usefixtures("asks_the_mute")
def test_slow_reader_is_dropped(alone):
    """Somebody who asks for much and reads nothing is not waited for, and
    costs no memory to speak of."""
    swarm = Swarm(alone.entry, 300)
    swarm.exchange(10)
    before = alone.rss_kib()
    slow = connect("unix:" + alone.admin_path)
    slow.settimeout(60 * FACTOR)
    request = b'{"id": 1, "cmd": "sessions"}\n'
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            slow.sendall(request * 100)
            round_trip(alone.entry)
    assert alone.rss_kib() - before < 64 * 1024 or FACTOR > 1
    slow.close()
    swarm.close()
    assert alone.version()


# --- long lists -----------------------------------------------------------

@pytest.mark.bound(180)
def test_1500_sessions_in_pieces(alone):
    """At most 100 rows a piece, every session once, oldest first; and one
    whole array from tunnelctl."""
    swarm = Swarm(alone.entry, 1500)
    swarm.exchange(10)
    alone.wait_sessions(1500)
    client = Admin(alone.admin_path)
    pieces = client.pieces("sessions")
    assert all(0 < len(piece["data"]) <= 100 for piece in pieces)
    assert all(piece.get("more") for piece in pieces[:-1])
    assert not pieces[-1].get("more")
    rows = [row for piece in pieces for row in piece["data"]]
    assert len(rows) == len({r["uid"] for r in rows}) == 1500
    assert [r["opened_at"] for r in rows] == \
        sorted(r["opened_at"] for r in rows)
    assert {r["uid"] for r in alone.ctl("sessions")} == \
        {r["uid"] for r in rows}
    said = alone.ctl("sessions", as_json=False)
    assert len([line for line in said.splitlines() if "web" in line]) == 1500
    # Sessions come and go while a list is under way.
    client.send_line('{"id": 9, "cmd": "sessions"}\n')
    first = client.read_line()
    assert first["more"]
    for sock in swarm.socks[::2]:
        sock.close()
    seen = len(first["data"])
    answer = first
    while answer.get("more"):
        answer = client.read_line()
        assert answer["ok"]
        seen += len(answer["data"])
    assert 750 <= seen <= 1500
    client.close()
    # And all of the rest at one stroke.
    alone.wait_sessions(750, deadline=20)
    killed = alone.ctl("kill", "--tunnel", "web")["killed"]
    assert len(killed) == 750
    swarm.close()
    alone.wait_sessions(0)
    assert len(alone.closed(1500)) == 1500
    assert len(alone.admin("history", limit=1200)) == 1200


# --- tunnelctl ------------------------------------------------------------

def ctl(*words, status=0):
    done = run(TUNNELCTL, *words, check=False)
    assert done.returncode == status, (words, done)
    return done.stdout + done.stderr


def test_exit_status(alone):
    """0 done, 1 refused or not found, 2 usage, 3 not reachable."""
    s = ("-s", alone.admin_path)
    for words in (["status"], ["version"], ["peers"], ["tunnels"],
                  ["sessions"], ["history"], ["--json", "status"]):
        assert ctl(*s, *words)
    with connect(alone.entry) as user:
        ask(user)
        number = alone.wait_sessions(1)[0]["id"]
        assert ctl(*s, "session", str(number))
        assert ctl(*s, "kill", str(number))
    for words in (["session", "999999"], ["kill", "999999"],
                  ["kill", "--tunnel", "none"], ["kill", "--peer", "none"]):
        assert ctl(*s, *words, status=1)
    for words in ([], ["no-such-word"], ["kill"], ["session"],
                  ["session", "x"], ["kill", "x"], ["--no-such", "status"],
                  ["kill", "--tunnel"], ["pair"], ["pair", "home"],
                  ["status", "stray"]):
        assert ctl(*s, *words, status=2)
    assert ctl("-s", "/nonexistent/socket", "status", status=3)
    alone.kill()
    assert ctl(*s, "status", status=3)


def test_ctl_against_a_mute_daemon(asks_the_mute):
    """Somebody listens but never answers: an error in the end, no hang."""
    assert asks_the_mute.wait(60 * FACTOR) in (1, 3)
    assert asks_the_mute.stderr.read()


def test_ctl_into_a_closed_pipe(alone):
    """tunnelctl status | true"""
    done = run("sh", "-c", "for i in 1 2 3 4 5; do '%s' -s '%s' status; done "
               "| true" % (TUNNELCTL, alone.admin_path), check=False)
    assert "Sanitizer" not in done.stderr


def test_help_and_version():
    assert "status" in ctl("--help")
    assert re.search(r"\d+\.\d+", ctl("--version"))


def test_secret():
    """32 fresh random bytes in base64, with or without a daemon."""
    made = {ctl("secret").strip() for _ in range(5)}
    assert len(made) == 5
    for text in made:
        assert len(base64.b64decode(text, validate=True)) == 32


# --- pair -----------------------------------------------------------------

def snippets(text):
    """The secret and the two configs of what `pair` prints: from `daemon` to
    the end of the tunnels, comments left out."""
    secret = re.search(r"(?:^|[\s'\"])([A-Za-z0-9+/]{43}=)", text)
    assert secret, text
    configs = re.findall(r"(?ms)^(daemon\s*=.*?^tunnels\s*=.*?\);)$", text)
    assert len(configs) == 2, text
    return secret.group(1), [re.sub(r"(?m)^\s*#.*\n", "", config)
                             for config in configs]


def test_pair_makes_a_working_pair(daemon, echo):
    """What `tunnelctl pair` prints, pasted into two files, works: only paths
    and ports that this machine has not to spare are changed."""
    port = harness.free_port()
    words = ("pair", "homelab", "127.0.0.1:%d" % port)
    said = ctl(*words)
    secret, configs = snippets(said)
    assert secret not in ctl(*words), "the same secret twice"
    harness.keep_secret(secret)
    assert len(base64.b64decode(secret)) == 32
    server, client = sorted(configs, key=lambda c: "gateway" not in c)
    assert "gateway" not in client and str(port) in server + client
    names = {}
    for config, key in ((server, "server"), (client, "client")):
        names[key] = re.search(r'daemon\s*=\s*{\s*name = "([^"]+)"',
                               config).group(1)
    assert names["client"] == "homelab"
    ends = []
    for config, key in ((server, "server"), (client, "client")):
        d = daemon(names[key])
        file = d.write_secret("pasted", secret)
        config, count = re.subn(r'secret_file = "/[^"]+"',
                                'secret_file = "%s"' % file, config)
        assert count == 1
        config = re.sub(r"daemon\s*=\s*{[^}]*};", "daemon = %s;" %
                        harness.render(d.config["daemon"]), config)
        config = re.sub(r'(name = "ssh";.*?listen = )"[^"]+"',
                        r'\1"127.0.0.1:0"', config)
        config = re.sub(r'(name = "ssh";.*?connect = )"[^"]+"',
                        r'\1"%s"' % echo.address, config)
        d.text = config
        ends.append(d.start())
    for d in ends:
        d.wait_up()
    round_trip(ends[0].tunnel("ssh")["listen"])
    assert ctl("--json", *words)


# --- permissions ----------------------------------------------------------

@pytest.fixture
def reachable(alone):
    """The directory lets everybody through; only the socket protects."""
    harness.need_root("becoming another user")
    os.chmod(alone.directory, 0o755)
    return alone


def ctl_as(d, user, words, groups=None):
    binary = shutil.copy(TUNNELCTL, d.path("tunnelctl"))
    os.chmod(binary, 0o755)
    process = spawn([binary, "-s", d.admin_path, *words], user=user,
                    groups=groups, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True) if groups else \
        spawn([binary, "-s", d.admin_path, *words], user=user,
              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.communicate(timeout=30 * FACTOR)[0]
    return process.returncode, said


def test_another_user_is_refused(reachable):
    with connect(reachable.entry) as user:
        ask(user)
        number = str(reachable.wait_sessions(1)[0]["id"])
        for words in (["status"], ["sessions"], ["kill", number]):
            status, said = ctl_as(reachable, ORDINARY_USER, words)
            assert status in (1, 3), said
            assert "permi" in said.lower()
            assert "127.0.0.1" not in said
        ask(user)


def test_root_may_administer_an_ordinary_daemon(daemon):
    d = daemon("alone", user=ORDINARY_USER).start()
    assert d.ctl("status")["daemon"]["pid"] == d.pid
    if harness.IS_ROOT:
        status, said = ctl_as(d, ORDINARY_USER, ["status"])
        assert status == 0, said


def test_names_that_are_no_utf_8(daemon):
    """A path of any bytes costs nobody his status; a filter of such bytes is
    refused, not ignored."""
    d = daemon("alone")
    d.start()
    odd = d.path("odd\udcff.db")
    d.stop()
    d.config["daemon"]["database"] = odd
    d.start()
    assert "odd" in d.status()["ledger"]["path"]
    done = harness.run(harness.TUNNELCTL, "-s", d.admin_path, "sessions",
                       "--tunnel", "\udcff", check=False)
    assert done.returncode == 2 and done.stderr


def test_admin_group(daemon, echo):
    """Its members may, by a supplementary group too; nobody else."""
    harness.need_root("becoming another user")
    group = grp.getgrnam("users")
    d = daemon("alone", daemon={"admin_group": "users"})
    os.chmod(d.directory, 0o755)
    d.start()
    assert os.stat(d.admin_path).st_gid == group.gr_gid
    status, said = ctl_as(d, ORDINARY_USER, ["version"])
    assert status in (1, 3)
    status, said = ctl_as(d, ORDINARY_USER, ["version"],
                          groups=["--groups", str(group.gr_gid)])
    assert status == 0, said


def test_daemon_user_drops_root(daemon, echo):
    """Started as root with daemon.user: it serves as that user."""
    harness.need_root("dropping it")
    d = daemon("alone", daemon={"user": ORDINARY_USER}, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": echo.address}])
    entry = pwd.getpwnam(ORDINARY_USER)
    os.chown(d.directory, entry.pw_uid, entry.pw_gid)
    d.start()
    with open("/proc/%d/status" % d.pid) as file:
        text = file.read()
    assert re.search(r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)", text).groups() == \
        (str(entry.pw_uid),) * 3
    assert "CapEff:\t0000000000000400" in text     # CAP_NET_BIND_SERVICE
    round_trip(d.tunnel("web")["listen"])
    assert d.closed(1)


def test_socket_mode(alone):
    mode = os.stat(alone.admin_path).st_mode
    assert stat.S_ISSOCK(mode) and not mode & 0o007 or mode & 0o777 == 0o666


def test_many_questions_while_data_flows(pair, echo):
    """Four clients that ask all the time: answers and traffic go on."""
    p = pair("plain", [reverse("web", echo.address)])
    swarm = Swarm(p.entry("web"), 200)
    swarm.exchange(10)
    clients = [Admin(p.edge.admin_path) for _ in range(4)]
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for client in clients:
            assert len(client("sessions")) == 200
            assert client("status")["daemon"]["sessions"] == 200
            with pytest.raises(AdminError):
                client("session", id=2 ** 50)
        swarm.exchange(100)
    for client in clients:
        client.close()
    swarm.exchange(10, end=True)
    swarm.close()
