# SPDX-License-Identifier: ISC
"""Daemons that start and stop, what they are told, and the limits a tunnel
sets."""

import os
import re
import signal
import socket
import stat
import time

import pytest

import harness
from harness import FACTOR, reverse
from services import (Flood, Listener, Pump, ask, connect, drain, expect_reset,
                      refused_user, reset, round_trip)


# --- the end of a daemon --------------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("who", ["edge", "home"])
def test_sigterm_with_live_sessions(pair, security, listener, echo, who):
    """Exit 0 in under 2 s though data flows, a reader sleeps and a user is
    idle; all is recorded as shutdown; both outsides are told."""
    p = pair(security, [reverse("web", listener.address),
                        reverse("echo", echo.address)])
    busy_user, busy_service = connect(p.entry("web")), listener.accept()
    stuck_user, stuck_service = connect(p.entry("web")), listener.accept()
    idle_user = connect(p.entry("echo"))
    ask(idle_user)
    Flood(busy_user)
    pump = Pump(drain, busy_service)
    Flood(stuck_user).wait_stalled(quiet=0.5)
    dead, other = (p.edge, p.home) if who == "edge" else (p.home, p.edge)
    uids = {r["uid"] for r in dead.wait_sessions(3)}
    dead.stop()
    pump.result(10 * FACTOR)
    assert drain(idle_user) in ("reset", "end")
    for sock in (busy_user, busy_service, stuck_user, stuck_service,
                 idle_user):
        sock.close()
    rows = dead.query("select closed_at from sessions")
    assert len(rows) == 3
    assert all(r["closed_at"] for r in rows)
    other.wait_sessions(0)
    assert {r["uid"] for r in other.closed(3)} == uids
    dead.start()
    history = {r["uid"]: r for r in dead.closed(3)}
    assert history.keys() == uids
    assert {r["close_reason"] for r in history.values()} == {"shutdown"}


def test_sigint_ends_in_order_too(daemon):
    d = daemon("alone").start()
    d.signal(signal.SIGINT)
    assert d.process.wait(10) == 0


def test_sigpipe_is_harmless(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    for d in p.both():
        d.signal(signal.SIGPIPE)
    round_trip(p.entry("web"))


def test_second_daemon_refuses_to_start(daemon):
    first = daemon("alone").start()
    second = daemon("alone", daemon={
        "admin_socket": first.admin_path}).launch()
    second.expect_status = 1
    assert second.process.wait(10 * FACTOR) == 1
    said = second.log()
    assert first.admin_path in said
    assert first.version()["pid"] == first.pid
    # And the first one's socket is still its own after that.
    first.ctl("status")


@pytest.mark.parametrize("leftover", ["killed", "socket"])
def test_stale_socket_does_not_hinder(daemon, leftover):
    d = daemon("alone")
    if leftover == "killed":
        d.start().kill()
        assert stat.S_ISSOCK(os.stat(d.admin_path).st_mode)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(d.admin_path)
        sock.close()
    d.start()
    d.ctl("status")


def test_socket_is_gone_after_an_orderly_end(daemon):
    d = daemon("alone").start()
    d.stop()
    assert not os.path.exists(d.admin_path)
    assert d.admin_path in d.ctl("status", status=3, as_json=False)


def test_sd_notify(daemon, closing):
    """READY once it serves, STOPPING when it ends; the first thing said is
    true: the admin socket answers by then."""
    d = daemon("alone")
    sock = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.bind(d.path("notify"))
    sock.settimeout(15 * FACTOR)
    d.env["NOTIFY_SOCKET"] = d.path("notify")
    d.launch()
    words = ["FDSTORE=1"]   # a master has its sockets kept before
    while "FDSTORE=1" in words:
        words = sock.recv(4096).decode().split("\n")
    assert "READY=1" in words
    assert d.version()["pid"] == d.pid
    d.stop()
    while "STOPPING=1" not in words:
        words = sock.recv(4096).decode().split("\n")


def test_never_forks_and_logs_as_told(daemon):
    """Without -f the config decides where the log goes, and the process
    stays the one that was started."""
    d = daemon("alone")
    d.start("-c", d.config_path)
    assert d.version()["pid"] == d.pid
    assert d.log()
    quiet = daemon("quiet", daemon={"log": "syslog"})
    quiet.start("-c", quiet.config_path)
    quiet.stop()
    assert quiet.log() == ""
    loud = daemon("loud", daemon={"log": "syslog"}).start()
    assert loud.log()


def test_start_errors_reach_stderr_whatever_the_log(daemon, closing, echo):
    """Who starts it by hand must see why it does not start."""
    taken = closing(Listener())
    d = daemon("quiet", daemon={"log": "syslog"}, tunnels=[
        {"name": "web", "listen": taken.address, "connect": echo.address}])
    d.expect_status = 1
    d.launch("-c", d.config_path)
    assert d.process.wait(10 * FACTOR) == 1
    assert taken.address in d.log()


# --- the command line and the config --------------------------------------

def tunneld(*argv, status=0):
    done = harness.run(harness.TUNNELD, *argv, check=False)
    assert done.returncode == status, done
    return done


def test_command_line():
    assert re.search(r"\d+\.\d+", tunneld("--version").stdout)
    assert tunneld("-V").stdout == tunneld("--version").stdout
    assert "-c" in tunneld("--help").stdout
    assert "heartbeat" in tunneld("--options").stdout
    for wrong in (["--nonsense"], ["-c"], ["stray"]):
        done = harness.run(harness.TUNNELD, *wrong, check=False)
        assert done.returncode not in (0, -11, -6) and done.stderr
    done = tunneld("-t", "-c", "/nonexistent/tunnels.conf", status=1)
    assert "/nonexistent/tunnels.conf" in done.stderr


# "#!" marks an error that names the word after it, "#~" one that says "not
# supported yet".
BAD_CONFIG = """
daemon = { name = "edge"; admin_socket = "%(dir)s/a"; database = "%(dir)s/d";
  log_levle = "info"; };                                        #! log_levle
gateway = { listen = [ "127.0.0.1:0", "127.0.0.1:99999" ]; };   #! 99999
peers = (
  { name = "p"; secret_file = "%(good)s"; },
  { name = "p"; secret_file = "%(good)s"; },                    #! p
  { name = "open"; secret_file = "%(open)s"; },                 #! open
  { name = "short"; secret_file = "%(short)s"; },               #! short
  { name = "none"; secret_file = "%(dir)s/none"; },             #! none
  { name = "bad name"; secret_file = "%(good)s"; },             #! bad name
  { name = "odd"; secret_file = "%(good)s"; security = "rot"; } #! rot
);
tunnels = (
  { name = "a"; peer = "p"; listen = "127.0.0.1:0"; },
  { name = "a"; peer = "p"; connect = "127.0.0.1:1"; },         #! a
  { name = "b"; peer = "nobody"; listen = "127.0.0.1:0"; },     #! nobody
  { name = "c"; peer = "p"; listen = 22; },                     #! listen
  { name = "d"; peer = "p"; },                                  #! d
  { name = "e"; peer = "p"; listen = ":0"; type = "udp"; },     #~
  { name = "f"; peer = "p"; listen = ":0"; mode = "fast"; },    #! mode
  { name = "g"; peer = "p"; listen = "127.0.0.1:7-9"; },        #~
  { name = "h"; peer = "p"; listen = ":0"; type = "socks5"; },  #~
  { name = "i"; peer = "p"; connect = "127.0.0.1:1";
    proxy_protocol = "v1"; },                                   #~
  { name = "j"; listen = "127.0.0.1:0"; },                      #! j
  { name = "k"; peer = "p"; listen = ":0";
    allow = [ "10.0.0.1/8" ]; },                                #! 10.0.0.1/8
  { name = "l"; peer = "p"; listen = ":0"; hold = -1.0; }       #! hold
);
"""


def test_all_errors_in_one_go(daemon):
    """tunneld -t, and a start too, name every error with file and line."""
    d = daemon("edge")
    good = d.write_secret("good", harness.new_secret())
    open_to_all = d.write_secret("open", harness.new_secret())
    os.chmod(open_to_all, 0o644)
    short = d.write_secret("short", "c2hvcnQ=")
    d.text = BAD_CONFIG % {"dir": d.directory, "good": good,
                           "open": open_to_all, "short": short}
    d.write_config()
    said = tunneld("-t", "-c", d.config_path, status=1).stderr
    lines = d.text.splitlines()
    for number, line in enumerate(lines, 1):
        wanted = re.search(r"#([!~]) ?(.*)", line)
        here = [s for s in said.splitlines()
                if s.startswith("%s:%d:" % (d.config_path, number))]
        if not wanted:
            assert not here, here
            continue
        assert here, "line %d has no error: %s" % (number, line)
        if wanted.group(1) == "~":
            assert any("not supported yet" in s for s in here), here
        else:
            assert any(wanted.group(2) in s for s in here), here
    d.expect_status = 1
    assert d.launch().process.wait(10 * FACTOR) == 1
    for line in said.splitlines():
        if line.startswith(d.config_path):
            assert line in d.log()


def test_syntax_error_and_good_config(daemon):
    d = daemon("edge")
    d.write_config()
    tunneld("-t", "-c", d.config_path)
    d.text = "daemon = {\n  name = ;\n};\n"
    d.write_config()
    said = tunneld("-t", "-c", d.config_path, status=1).stderr
    assert said.startswith(d.config_path + ":2:")


def test_listen_address_in_use(daemon, closing, echo):
    """A bind error is named and the daemon does not start half."""
    taken = closing(Listener())
    d = daemon("alone", tunnels=[{"name": "web", "listen": taken.address,
                                  "connect": echo.address}])
    d.expect_status = 1
    assert d.launch().process.wait(10 * FACTOR) == 1
    assert taken.address in d.log()


def test_unix_listener_is_open_to_all_and_its_own(daemon, echo):
    """Anybody may use it, as he may a TCP port. Who wants the same path is
    refused, and the first one does not even hear of him."""
    first = daemon("first")
    tunnels = [{"name": "web", "listen": "unix:" + first.path("entry"),
                "connect": echo.address}]
    first.config["tunnels"] = tunnels
    first.start()
    assert stat.S_IMODE(os.stat(first.path("entry")).st_mode) == 0o666
    second = daemon("second", tunnels=tunnels)
    second.expect_status = 1
    assert second.launch().process.wait(10 * FACTOR) == 1
    assert first.path("entry") in second.log()
    round_trip(first.tunnel("web")["listen"])
    first.closed(1)
    assert first.tunnel("web")["sessions_total"] == 1
    assert len(first.history()) == 1 and echo.served == 1


# --- the limits of a tunnel -----------------------------------------------

@pytest.mark.both_modes
@pytest.mark.parametrize("end", ["entry", "exit"])
def test_max_sessions(pair, security, echo, closing, end):
    p = pair(security, [reverse("web", echo.address,
                                **{end: {"max_sessions": 2}})])
    users = [closing(connect(p.entry("web"))) for _ in range(2)]
    for user in users:
        ask(user)
    refused_user(p.entry("web"))
    # At the door a user is counted, further in he is a session.
    if end == "entry":
        assert p.edge.tunnel("web")["refused"] == 1
    else:
        assert p.edge.closed()[0]["close_reason"] == "limit"
    users[0].close()
    for d in p.both():
        d.wait_sessions(1)
    round_trip(p.entry("web"))


@pytest.mark.parametrize("end", ["entry", "exit"])
@pytest.mark.parametrize("rule", [{"deny": ["127.0.0.2/32", "10.0.0.0/8"]},
                                  {"allow": ["127.0.0.1/32", "::/0"]},
                                  {"allow": ["127.0.0.0/8"],
                                   "deny": ["127.0.0.2"]}])
def test_allow_and_deny(pair, security, echo, end, rule):
    p = pair(security, [reverse("web", echo.address, **{end: rule})])
    round_trip(p.entry("web"), source="127.0.0.1")
    refused_user(p.entry("web"), source="127.0.0.2")
    round_trip(p.entry("web"), source="127.0.0.1")
    if end == "entry":
        assert p.edge.tunnel("web")["refused"] == 1
    else:
        denied = [r for r in p.edge.closed(3) if r["close_reason"] == "denied"]
        assert [r["source"].split(":")[0] for r in denied] == ["127.0.0.2"]


@pytest.mark.both_modes
@pytest.mark.parametrize("end", ["entry", "exit"])
def test_idle_timeout(pair, security, echo, end):
    p = pair(security, [reverse("web", echo.address,
                                **{end: {"idle_timeout": 1.0}})])
    began = time.monotonic()
    idle = connect(p.entry("web"))
    with idle, connect(p.entry("web")) as busy:
        ask(idle)
        while time.monotonic() - began < 2.5:
            ask(busy)           # a byte now and then keeps it
            time.sleep(0.1)
        expect_reset(idle)
        ask(busy)
    rows = [r for r in p.end("web", end).closed(2)
            if r["close_reason"] == "idle_timeout"]
    assert len(rows) == 1


@pytest.mark.both_modes
def test_connect_timeout(far_pair, cable, security):
    """A service behind a black hole."""
    a, b = cable
    b.run("ip", "route", "add", "10.99.0.0/16", "dev", "lo")
    b.drop_to("10.99.0.0/16")
    p = far_pair(security, connect_to="10.99.0.1:80",
                 tunnel={"exit": {"connect_timeout": 1.0}})
    began = time.monotonic()
    a.call(refused_user, p.entry("web"))
    assert 0.8 < time.monotonic() - began < 1 + 6 * FACTOR
    assert p.edge.closed()[0]["close_reason"] == "connect_timeout"


def test_unreachable_service(far_pair, cable, security):
    a, b = cable
    b.run("ip", "route", "add", "unreachable", "10.98.0.0/16")
    p = far_pair(security, connect_to="10.98.0.1:80")
    a.call(refused_user, p.entry("web"))
    assert p.edge.closed()[0]["close_reason"] == "unreachable"


def test_user_who_leaves_while_the_service_is_dialled(far_pair, cable,
                                                      security):
    """The exit does not dial for nobody, and nothing stays behind."""
    a, b = cable
    b.run("ip", "route", "add", "10.99.0.0/16", "dev", "lo")
    b.drop_to("10.99.0.0/16")
    p = far_pair(security, connect_to="10.99.0.1:80",
                 tunnel={"exit": {"connect_timeout": 4.0}})
    user = a.call(connect, p.entry("web"))
    p.home.wait_sessions(1)
    row, = p.edge.wait_sessions(1)
    assert row["state"] == "opening"
    reset(user)
    for d in p.both():
        d.wait_sessions(0, deadline=15)
