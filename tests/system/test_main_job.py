# SPDX-License-Identifier: ISC
"""The main job: real programs through reverse, forward and local tunnels, and
what the daemons say about it."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

import harness
from adminsocket import AdminError
from harness import forward, free_port, need, reverse, run, spawn, wait_until
from services import (Echo, PATTERN, ask, connect, read_all, refused_user,
                      round_trip)

RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
UID = re.compile(r"^[0-9a-f]{32}$")


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """A throwaway nginx that serves two files; its port."""
    need("nginx", "curl")
    top = tmp_path_factory.mktemp("nginx")
    (top / "www").mkdir()
    (top / "www" / "hello.txt").write_text("hello from behind the NAT\n")
    (top / "www" / "big.bin").write_bytes(PATTERN * 8)
    port = free_port()
    (top / "nginx.conf").write_text("""
daemon off; master_process off; %s
pid %s/pid; error_log %s/error.log;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path %s/body;
  proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u;
  scgi_temp_path %s/s;
  server { listen 127.0.0.1:%d backlog=4096; root %s/www; } }
""" % (("user root;" if harness.IS_ROOT else "",) + (top,) * 7 +
       (port, top)))
    process = spawn(["nginx", "-p", str(top), "-c", str(top / "nginx.conf"),
                     "-e", str(top / "error.log")],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield "127.0.0.1:%d" % port
    harness.end_process(process)


def wait_for_port(port, host="127.0.0.1"):
    def there():
        try:
            socket.create_connection((host, port), 5).close()
            return True
        except OSError:
            return False
    wait_until(there, 15, "port %d to be listened on" % port)


def curl(address, path, *options):
    return run("curl", "-sS", "--fail", "--max-time", "60", *options,
               "http://%s/%s" % (address, path))


@pytest.mark.parametrize("kind", [reverse, forward])
def test_web_service_through_a_pair(pair, nginx, security, kind, tmp_path):
    p = pair(security, [kind("web", nginx)])
    entry = p.entry("web")
    assert curl(entry, "hello.txt").stdout == "hello from behind the NAT\n"
    curl(entry, "big.bin", "-o", str(tmp_path / "got"))
    assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == \
        hashlib.sha256(PATTERN * 8).digest()
    # Keep-alive: four requests, one session.
    before = p.end("web", "entry").tunnel("web")["sessions_total"]
    url = "http://%s/hello.txt" % entry
    assert run("curl", "-sS", url, url, url, url).stdout.count("NAT") == 4
    assert p.end("web", "entry").tunnel("web")["sessions_total"] == before + 1
    assert curl(entry, "none", "-o", "/dev/null", "-w", "%{http_code}",
                "--no-fail").stdout == "404"


def test_local_tunnel(daemon, nginx, tmp_path):
    """No peer at all: a local TCP proxy."""
    d = daemon("alone", tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": nginx}]).start()
    assert "NAT" in curl(d.tunnel("web")["listen"], "hello.txt").stdout
    row = d.closed()[0]
    assert (row["tunnel"], row["peer"], row["end"]) == ("web", None, "local")
    assert row["up_bytes"] > 0 and row["down_bytes"] > 26


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """A throwaway sshd with a key of its own: (port, ssh arguments)."""
    need("sshd", "ssh", "ssh-keygen")
    top = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
            str(top / name))
    shutil.copy(top / "user.pub", top / "authorized")
    os.chmod(top / "authorized", 0o600)
    port = free_port()
    (top / "conf").write_text("""
Port %d
ListenAddress 127.0.0.1
HostKey %s/host
PidFile none
AuthorizedKeysFile %s/authorized
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
""" % (port, top, top))
    if harness.IS_ROOT:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    log = open(top / "log", "w")
    process = spawn([shutil.which("sshd"), "-D", "-e", "-f",
                     str(top / "conf")], stdout=log, stderr=log)
    log.close()
    wait_for_port(port)
    yield "127.0.0.1:%d" % port, [
        "-i", str(top / "user"), "-o", "BatchMode=yes", "-F", "/dev/null",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-o", "StrictHostKeyChecking=no"]
    harness.end_process(process)


def test_ssh_through_a_reverse_tunnel(pair, sshd, security):
    service, options = sshd
    p = pair(security, [reverse("ssh", service)])
    host, port = p.entry("ssh").rsplit(":", 1)
    ssh = ["ssh", *options, "-p", port, host]
    assert run(*ssh, "echo it works; exit").stdout == "it works\n"
    # A megabyte in and its checksum out, over one session.
    data = PATTERN[:1 << 20] + PATTERN[:49152]
    done = subprocess.run(ssh + ["sha256sum"], input=data, timeout=60,
                          stdout=subprocess.PIPE, check=True)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("options", [["-P", "1"], ["-P", "4", "-R"]])
def test_iperf3(pair, security, options):
    need("iperf3")
    port = free_port()
    server = spawn(["iperf3", "-s", "-p", str(port), "-B", "127.0.0.1"],
                   stdout=subprocess.DEVNULL)
    try:
        p = pair(security, [reverse("iperf", "127.0.0.1:%d" % port)])
        wait_for_port(port)
        host, entry = p.entry("iperf").rsplit(":", 1)
        # A fresh probe keeps the server busy for a moment.
        def served():
            done = run("iperf3", "-c", host, "-p", entry, "-n", "64M", "-J",
                       *options, check=False)
            # It exits 0 even when its report is of an error.
            return done if '"sum_received"' in done.stdout else None
        report = json.loads(wait_until(served, 30, "iperf3").stdout)
        assert report["end"]["sum_received"]["bytes"] > 0
        rows = p.edge.closed(2)
        assert max(max(r["up_bytes"], r["down_bytes"]) for r in rows) >= \
            32 * 1024 * 1024 // int(options[1])
    finally:
        harness.end_process(server)


def test_nc(pair, security, tmp_path):
    """A file through nc at both ends; both see the end of it."""
    need("nc")
    port = free_port()
    (tmp_path / "in").write_bytes(PATTERN * 3)
    with open(tmp_path / "out", "wb") as out:
        server = spawn(["nc", "-l", "127.0.0.1", str(port)], stdout=out)
    try:
        p = pair(security, [forward("file", "127.0.0.1:%d" % port)])
        wait_until(lambda: "%04X" % port in open("/proc/net/tcp").read(),
                   10, "nc to listen")
        host, entry = p.entry("file").rsplit(":", 1)
        with open(tmp_path / "in", "rb") as file:
            run("nc", "-N", host, entry, stdin=file)
        assert server.wait(30) == 0
    finally:
        harness.end_process(server)
    assert (tmp_path / "out").read_bytes() == PATTERN * 3


# --- addresses ------------------------------------------------------------

def test_ipv6_everywhere(pair, security, closing):
    service = closing(Echo("[::1]:0"))
    p = pair(security, [reverse("v6", service.address, listen="[::1]:0")],
             gateway=["127.0.0.1:0", "[::1]:0"])
    entry = p.entry("v6")
    assert entry.startswith("[::1]:")
    round_trip(entry)
    assert p.edge.closed()[0]["source"].startswith("[::1]:")
    # And the link over IPv6.
    p.home.stop()
    p.point_home(p.edge.gateway(1))
    p.edge.wait_not_up()
    p.home.start()
    p.wait_up()
    assert p.home.peer("edge")["address"].startswith("[::1]:")
    round_trip(entry)


def test_names_are_resolved(pair_of, security, echo):
    """localhost as the gateway and as the service; both listen on 127.0.0.1
    alone, so that ::1, should localhost be both, must not be the last
    word."""
    port = echo.address.rsplit(":", 1)[1]
    p = pair_of(security, [reverse("name", "localhost:" + port)])
    p.edge.start()
    p.point_home("localhost:" + p.edge.gateway().rsplit(":", 1)[1])
    p.home.start()
    p.wait_up()
    round_trip(p.entry("name"))


def test_name_that_does_not_resolve(pair, security):
    p = pair(security, [reverse("name", "no-such-host.invalid:80")])
    refused_user(p.entry("name"))
    assert p.edge.closed()[0]["close_reason"] == "resolve_failed"


@pytest.mark.parametrize("kind", [reverse, forward])
def test_unix_addresses_at_either_end(pair, security, kind, daemon, closing,
                                      tmp_path_factory):
    top = tempfile.mkdtemp(prefix="td-", dir="/tmp")
    try:
        service = closing(Echo("unix:%s/service" % top))
        echo = closing(Echo())
        p = pair(security, [
            kind("uu", service.address, listen="unix:%s/uu" % top),
            kind("tu", service.address),
            kind("ut", echo.address, listen="unix:%s/ut" % top)])
        for name in ("uu", "tu", "ut"):
            entry = p.entry(name)
            assert entry.startswith("unix:") == name.startswith("u")
            round_trip(entry)
            round_trip(entry, PATTERN * 2 if name == "uu" else PATTERN[:70000])
        rows = p.end("uu", "entry").closed(6)
        assert {r["close_reason"] for r in rows} == {"closed"}
        assert all(r["source"].startswith("unix:") for r in rows
                   if r["tunnel"].startswith("u"))
    finally:
        shutil.rmtree(top)


def test_any_address(pair, security, echo):
    """`:port` listens on every address of both families."""
    p = pair(security, [reverse("any", echo.address, listen=":0")])
    port = p.entry("any").rsplit(":", 1)[1]
    for host in ("127.0.0.1", "127.0.0.5", "[::1]"):
        round_trip("%s:%s" % (host, port))
    sources = {r["source"].rsplit(":", 1)[0] for r in p.edge.closed(3)}
    assert sources == {"127.0.0.1", "[::1]"}


def test_several_tunnels_and_peers_at_once(daemon, closing, security):
    """One edge, two homes, tunnels of the same name both ways."""
    echoes = [closing(Echo()) for _ in range(2)]
    secrets = [harness.new_secret() for _ in range(2)]
    edge = daemon(
        "edge", gateway=["127.0.0.1:0"],
        peers=[{"name": "h%d" % n, "secret": secrets[n],
                "security": security} for n in range(2)],
        tunnels=[{"name": "in", "peer": "h%d" % n, "listen": "127.0.0.1:0"}
                 for n in range(2)] +
        [{"name": "out", "peer": "h%d" % n, "connect": echoes[n].address}
         for n in range(2)]).start()
    homes = [
        daemon("h%d" % n,
               peers=[{"name": "edge", "connect": edge.gateway(),
                       "secret": secrets[n], "security": security}],
               tunnels=[{"name": "in", "peer": "edge",
                         "connect": echoes[n].address},
                        {"name": "out", "peer": "edge",
                         "listen": "127.0.0.1:0"}]).start()
        for n in range(2)]
    for home in homes:
        home.wait_up()
    for n, home in enumerate(homes):
        entry = next(t["listen"] for t in edge.admin("tunnels")
                     if t["name"] == "in" and t["peer"] == "h%d" % n)
        served = echoes[n].served
        round_trip(entry)
        round_trip(home.tunnel("out")["listen"])
        assert echoes[n].served == served + 2
    assert len(edge.closed(4)) == 4
    # A name that two peers share must be said in full.
    said = edge.ctl("kill", "--tunnel", "in", status=1)
    assert "h0" in said and "h1" in said


def test_daemon_as_several_names(pair, security, echo):
    """`as` is our name towards one peer."""
    p = pair(security, [reverse("web", echo.address)],
             home={"daemon": {"name": "another"}}, home_peer={"as": "home"})
    round_trip(p.entry("web"))
    assert p.home.status()["daemon"]["name"] == "another"
    assert p.edge.peer()["name"] == "home"


# --- what the daemons say -------------------------------------------------

def check_session(row, live):
    assert isinstance(row["id"], int) and 0 < row["id"] < 2 ** 53
    assert UID.match(row["uid"])
    assert row["type"] == "tcp"
    assert RFC3339.match(row["opened_at"])
    assert isinstance(row["up_bytes"], int)
    assert isinstance(row["down_bytes"], int)
    for key in ("tunnel", "peer", "end", "source", "target", "state",
                "closed_at", "close_reason", "closed_by"):
        assert key in row
    if live:
        assert row["state"] in ("held", "opening", "open", "closing")
        assert row["closed_at"] is None and row["close_reason"] is None
        assert row["idle"] >= 0
    else:
        assert row["state"] == "closed"
        assert RFC3339.match(row["closed_at"])
        assert row["closed_at"] >= row["opened_at"]
        assert row["close_reason"] and row["closed_by"]


def test_status_shape(pair, security, echo):
    p = pair(security, [reverse("web", echo.address),
                        forward("db", "127.0.0.1:1")])
    for d in p.both():
        via_socket, via_ctl = d.status(), d.ctl("status")
        assert via_socket.keys() == via_ctl.keys() >= {
            "daemon", "peers", "tunnels", "ledger"}
        for status in (via_socket, via_ctl):
            head = status["daemon"]
            assert head["name"] == d.name
            assert head["pid"] == d.pid
            assert head["uptime"] >= 0
            assert head["version"] == d.version()["version"]
            assert RFC3339.match(head["started_at"])
            peer, = status["peers"]
            assert peer["state"] == "up"
            assert peer["security"] == security
            assert RFC3339.match(peer["since"])
            assert peer["address"].startswith("127.0.0.1:")
            for key in ("rtt_ms", "last_error", "last_error_at",
                        "next_try_at", "reconnects", "sessions"):
                assert key in peer
            assert len(status["tunnels"]) == 2
            for tunnel in status["tunnels"]:
                assert tunnel["type"] == "tcp"
                assert tunnel["state"] == "up"
                assert tunnel["peer"] == peer["name"]
                assert tunnel["end"] in ("entry", "exit")
                assert bool(tunnel["listen"]) == (tunnel["end"] == "entry")
                for key in ("sessions", "sessions_total", "up_bytes",
                            "down_bytes", "held", "refused"):
                    assert isinstance(tunnel[key], int)
            ledger = status["ledger"]
            assert ledger["state"] == "ok"
            assert ledger["path"] == d.database
            assert ledger["lost"] == 0
        assert d.ctl("peers")[0]["name"] == peer["name"]
        assert {t["name"] for t in d.ctl("tunnels")} == {"web", "db"}
        assert d.ctl("version")["pid"] == d.pid
    assert p.edge.peer()["role"] == "accepts"
    assert p.home.peer()["role"] == "dials"


def test_round_trip_time_is_measured(pair, security):
    p = pair(security, link={"heartbeat": {"interval": 0.3, "timeout": 5.0}})
    for d in p.both():
        rtt = wait_until(lambda: d.peer()["rtt_ms"], 10, "a round trip time")
        assert 0 < rtt < 5000


def test_sessions_session_and_history_shapes(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    with connect(p.entry("web")) as user:
        ask(user, b"12345")
        wanted = "%s:%d" % user.getsockname()
        uids = set()
        for d in p.both():
            row, = d.wait_sessions(1)
            check_session(row, live=True)
            assert row["tunnel"] == "web"
            assert row["source"] == wanted
            assert (row["up_bytes"], row["down_bytes"]) == (5, 5)
            assert d.ctl("sessions")[0]["uid"] == row["uid"]
            one = d.ctl("session", row["id"])
            assert (one["id"], one["uid"]) == (row["id"], row["uid"])
            uids.add(row["uid"])
            tunnel = d.tunnel("web")
            assert tunnel["sessions"] == tunnel["sessions_total"] == 1
            assert tunnel["up_bytes"] == tunnel["down_bytes"] == 5
            assert d.sessions(tunnel="web") and \
                d.sessions(peer=d.peer()["name"])
            with pytest.raises(AdminError, match="not_found"):
                d.sessions(tunnel="none")
            assert d.status()["daemon"]["sessions"] == 1
        assert len(uids) == 1
        ids = [d.sessions()[0]["id"] for d in p.both()]
    for d, number in zip(p.both(), ids):
        row = d.closed_one(uids.copy().pop())
        check_session(row, live=False)
        assert row["id"] == number
        assert (row["up_bytes"], row["down_bytes"]) == (5, 5)
        assert row["close_reason"] == "closed"
        assert d.ctl("history")[0]["uid"] == row["uid"]
        assert d.ctl("session", number)["close_reason"] == "closed"
        assert d.tunnel("web")["sessions"] == 0
        assert d.tunnel("web")["sessions_total"] == 1
    assert p.home.closed()[0]["target"] == echo.address


def test_words_for_people(pair, security, echo):
    """The tables name what the JSON names; no pager, no colours in a pipe."""
    p = pair(security, [reverse("web", echo.address)])
    with connect(p.entry("web")) as user:
        ask(user)
        said = p.edge.ctl("status", as_json=False)
        for word in ("edge", "home", "web", "up", p.entry("web")):
            assert word in said
        assert "\x1b" not in said
        number = str(p.edge.sessions()[0]["id"])
        assert number in p.edge.ctl("sessions", as_json=False)
        assert "127.0.0.1" in p.edge.ctl("session", number, as_json=False)
    p.edge.closed()
    assert "closed" in p.edge.ctl("history", as_json=False)


def test_history_is_newest_first_and_limited(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    for _ in range(5):
        round_trip(p.entry("web"))
    rows = p.edge.closed(5)
    assert [r["id"] for r in rows] == sorted((r["id"] for r in rows),
                                             reverse=True)
    assert [r["id"] for r in p.edge.admin("history", limit=2)] == \
        [r["id"] for r in rows[:2]]


def test_service_greets_first(pair, security, listener):
    """Bytes may come from the service before the user says a word."""
    p = pair(security, [reverse("mail", listener.address)])
    with connect(p.entry("mail")) as user:
        service = listener.accept()
        service.sendall(b"220 hello\r\n")
        assert user.recv(100) == b"220 hello\r\n"
        service.close()
        assert read_all(user) == b""
