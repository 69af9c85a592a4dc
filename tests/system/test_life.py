# SPDX-License-Identifier: ISC
"""Links that come and go, daemons that start, stop and die, users who wait,
and the limits a tunnel sets."""

import os
import re
import signal
import socket
import stat
import time

import pytest

import harness
from harness import FACTOR, forward, free_port, reverse, wait_until
from services import (Echo, Flood, Listener, Proxy, Pump, ask, connect, drain,
                      expect_reset, is_alive, read_all, read_exactly,
                      refused_user, reset, round_trip)

QUICK = {"heartbeat": {"interval": 0.5, "timeout": 2.0}}
# Longer than any test: only what else the daemons know may act.
PATIENT = {"heartbeat": {"interval": 30.0, "timeout": 90.0}}


# --- a peer dies and comes back -------------------------------------------

@pytest.mark.parametrize("who", ["edge", "home"])
@pytest.mark.parametrize("kind", [reverse, forward])
def test_killed_peer_comes_back(pair, security, echo, who, kind):
    """Sessions are accepted again within 2 s of its return."""
    p = pair(security, [kind("web", echo.address)], link=PATIENT)
    entry = p.entry("web")
    p.edge.freeze_ports()
    p.home.freeze_ports()
    p.point_home(p.edge.gateway())
    dead, alive = (p.edge, p.home) if who == "edge" else (p.home, p.edge)
    round_trip(entry)
    for away in (0.0, 1.5):
        dead.kill()
        alive.wait_not_up(deadline=3)
        time.sleep(away)
        dead.start()
        back = time.monotonic()
        round_trip(entry)
        assert time.monotonic() - back < 2.0 * FACTOR
        p.wait_up()
    assert p.home.peer()["reconnects"] >= (2 if who == "edge" else 0)


def test_both_killed_and_back(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    p.edge.freeze_ports()
    p.point_home(p.edge.gateway())
    for d in p.both():
        d.kill()
    for d in p.both():
        d.start()
    round_trip(p.entry("web"))


@pytest.mark.parametrize("first", ["edge", "home"])
def test_either_start_order(pair_of, security, echo, first):
    port = free_port()
    p = pair_of(security, [reverse("web", echo.address)],
                gateway=["127.0.0.1:%d" % port])
    p.point_home("127.0.0.1:%d" % port)
    order = p.both() if first == "edge" else p.both()[::-1]
    order[0].start()
    if first == "home":
        wait_until(lambda: p.home.peer()["last_error"], 5, "a first failure")
        assert p.home.peer()["state"] in ("waiting", "dialling")
        assert p.home.peer()["last_error_at"]
    else:
        assert p.edge.peer()["state"] != "up"
        assert p.edge.tunnel("web")["state"] == "down"
    order[1].start()
    p.wait_up()
    assert p.edge.tunnel("web")["state"] == "up"
    round_trip(p.entry("web"))


def test_next_try_is_shown(pair_of, security):
    """A dialler that waits says when it tries next."""
    p = pair_of(security, link={"reconnect": {"min": 5.0, "max": 20.0}})
    p.point_home("127.0.0.1:%d" % free_port())
    p.home.start()

    def waiting():
        peer = p.home.peer()
        return peer if peer["state"] == "waiting" else None
    peer = wait_until(waiting, 15, "the peer to wait")
    assert peer["next_try_at"] > peer["since"]
    assert "refused" in peer["last_error"].lower()


# --- silence --------------------------------------------------------------

@pytest.fixture
def far_pair(cable, pair_of, closing):
    """An edge and a home with a cable between them."""
    a, b = cable

    def make(security, connect_to=None, **options):
        service = b.call(lambda: closing(Echo("127.0.0.1:0")))
        p = pair_of(security,
                    [reverse("web", connect_to or service.address,
                             **options.pop("tunnel", {}))],
                    gateway=["10.77.0.1:0"], edge={"netns": a},
                    home={"netns": b}, **options)
        return p.start()
    return make


@pytest.mark.parametrize("how", ["drop", "unplug"])
def test_silent_path_is_found_by_both(far_pair, cable, security, how):
    """Packets vanish and no FIN comes: found within the heartbeat's timeout
    at both ends, and not before half of it. The session on the path outlives
    the link, which comes back."""
    a, b = cable
    p = far_pair(security, link=QUICK)
    entry = p.entry("web")
    user = a.call(connect, entry)
    with user:
        ask(user)
        uid = p.edge.wait_sessions(1)[0]["uid"]
        began = time.monotonic()
        if how == "drop":
            a.drop_all("veth0")
        else:
            a.run("ip", "link", "set", "veth0", "down")
        found = {}

        def look():
            for d in p.both():
                if d not in found and not d.is_up():
                    found[d] = time.monotonic() - began
            return len(found) == 2
        wait_until(look, 10, "both ends to find the silence")
        for d, took in found.items():
            # The timeout, one tick of a clock, and what a poll costs.
            assert took < (2.0 + 0.5 + 0.5) * FACTOR, (d.name, took)
            assert d.peer()["last_error"]
        if how == "drop":
            a.drop_none()
        else:
            a.run("ip", "link", "set", "veth0", "up")
        p.wait_up(20)
        ask(user, b"the old session is still there")
        assert [r["uid"] for r in p.edge.sessions()] == [uid]
        a.call(lambda: round_trip(entry))
    for d in p.both():
        assert d.closed_one(uid)["close_reason"] == "closed"


def test_silence_on_an_idle_channel_hurts_nobody(far_pair, cable, security):
    """Pooled channels of a path that went silent are not handed to the first
    user after it."""
    a, b = cable
    p = far_pair(security, link=dict(QUICK, pool=4))
    entry = p.entry("web")
    a.call(lambda: round_trip(entry))
    for _ in range(2):
        a.drop_all("veth0")
        for d in p.both():
            d.wait_not_up()
        user = a.call(connect, entry)
        user.sendall(b"early")
        p.edge.wait_sessions(1)
        a.drop_none()
        with user:
            assert read_exactly(user, 5) == b"early"
        p.wait_up(20)


# --- hold -----------------------------------------------------------------

def outage(p):
    p.home.kill()
    p.edge.wait_not_up()


def test_user_of_an_outage_is_served_after_it(pair, security, echo):
    """He arrives during 3 s of outage, speaks at once, and is answered."""
    p = pair(security, [reverse("web", echo.address)])
    entry = p.entry("web")
    outage(p)
    began = time.monotonic()
    users = [connect(entry) for _ in range(5)]
    for index, user in enumerate(users):
        user.sendall(b"user %d" % index)
    users[4].shutdown(socket.SHUT_WR)
    assert {r["state"] for r in p.edge.wait_sessions(5)} == {"held"}
    assert p.edge.tunnel("web")["held"] == 5
    assert p.edge.tunnel("web")["state"] == "down"
    assert p.edge.status()["daemon"]["held"] == 5
    time.sleep(max(0, began + 3.0 - time.monotonic()))
    assert all(is_alive(user) for user in users)
    p.home.start()
    for index, user in enumerate(users):
        assert read_exactly(user, 6) == b"user %d" % index
    assert read_all(users[4]) == b""
    for user in users:
        user.close()
    assert {r["close_reason"] for r in p.edge.closed(5)} == {"closed"}
    assert p.edge.tunnel("web")["held"] == 0


def test_hold_of_zero_refuses_at_once(pair, security, echo):
    p = pair(security, [reverse("web", echo.address, entry={"hold": 0.0})])
    entry = p.entry("web")
    round_trip(entry)
    outage(p)
    began = time.monotonic()
    refused_user(entry)
    assert time.monotonic() - began < 1.0 * FACTOR
    row = p.edge.closed(2)[0]
    assert row["close_reason"] == "link_down"
    p.home.start()
    p.wait_up()
    round_trip(entry)


def test_hold_expires(pair, security, echo):
    p = pair(security, [reverse("web", echo.address, entry={"hold": 1.0})])
    entry = p.entry("web")
    outage(p)
    began = time.monotonic()
    with connect(entry) as user:
        user.sendall(b"anybody there?")
        expect_reset(user)
    took = time.monotonic() - began
    assert 0.9 < took < 1.0 + 1.5 * FACTOR
    row = p.edge.closed()[0]
    assert row["close_reason"] == "link_down"
    assert row["down_bytes"] == 0


def test_held_users_are_bounded(pair, security, echo):
    p = pair(security, [reverse("web", echo.address,
                                entry={"max_held": 3})])
    entry = p.entry("web")
    outage(p)
    held = []
    for _ in range(3):
        held.append(connect(entry))
        p.edge.wait_sessions(len(held))
    refused_user(entry)
    assert p.edge.tunnel("web")["held"] == 3
    assert p.edge.tunnel("web")["refused"] == 1
    reset(held.pop())           # one goes, the next may wait
    p.edge.wait_sessions(2)
    held.append(connect(entry))
    p.edge.wait_sessions(3)
    p.home.start()
    for user in held:
        ask(user)
        user.close()


def test_held_session_can_be_killed(pair, security, echo):
    p = pair(security, [reverse("web", echo.address)])
    entry = p.entry("web")
    outage(p)
    with connect(entry) as user:
        row, = p.edge.wait_sessions(1)
        p.edge.ctl("kill", row["id"])
        expect_reset(user)
    assert p.edge.closed_one(row["uid"])["close_reason"] == "killed"


# --- take-over ------------------------------------------------------------

def second_home(p, daemon, **kw):
    """Another daemon with the same name and secret."""
    config = p.home.config
    peer = {k: v for k, v in config["peers"][0].items()
            if k != "secret_file"}
    return daemon("home", peers=[dict(peer, secret=p.secret)],
                  tunnels=config["tunnels"], **kw)


def test_newcomer_is_refused_while_the_old_one_lives(pair, security, echo,
                                                     daemon):
    p = pair(security, [reverse("web", echo.address)], link=PATIENT)
    other = second_home(p, daemon)
    since = p.edge.peer()["since"]
    other.start()
    wait_until(lambda: other.peer()["last_error"], 10, "a refusal")
    for _ in range(20):
        assert not other.is_up()
        assert p.edge.is_up() and p.home.is_up()
        time.sleep(0.1)
    assert p.edge.peer()["since"] == since, "the link was given away"
    round_trip(p.entry("web"))


def test_newcomer_replaces_one_that_does_not_answer(pair, security, echo,
                                                    daemon):
    """The old daemon hangs; another takes over within about 2 s; when the
    old one wakes up it stays out: no ping-pong."""
    p = pair(security, [reverse("web", echo.address)], link=PATIENT)
    entry = p.entry("web")
    p.home.signal(signal.SIGSTOP)
    other = second_home(p, daemon).start()
    other.wait_up(deadline=8)
    round_trip(entry)
    since = p.edge.peer()["since"]
    p.home.signal(signal.SIGCONT)
    p.home.wait_not_up()
    for _ in range(20):
        assert other.is_up()
        assert not p.home.is_up()
        time.sleep(0.1)
    assert p.edge.peer()["since"] == since
    round_trip(entry)


@pytest.fixture
def proxied(pair_of, closing):
    """A pair with a man in the middle of its link and channels, honest
    unless told otherwise."""
    def make(*args, tamper=None, wait=True, **kw):
        p = pair_of(*args, **kw)
        p.edge.start()
        p.proxy = closing(Proxy(p.edge.gateway(), tamper=tamper))
        p.point_home(p.proxy.address)
        p.home.start()
        if wait:
            p.wait_up()
        return p
    return make


def test_returning_daemon_replaces_its_old_link(proxied, security, echo):
    """The home lost its link, the edge has not noticed: the same instance
    comes with a higher epoch and gets in at once."""
    p = proxied(security, [reverse("web", echo.address)], link=PATIENT)
    since = p.edge.peer()["since"]
    p.proxy.wires[0].lose_near()
    wait_until(lambda: p.edge.peer()["since"] != since, 10,
               "the home to come back")
    p.wait_up(5)
    round_trip(p.entry("web"))


def test_sessions_outlive_a_lost_link(proxied, security, listener):
    """The link's connection is cut, the session's is not."""
    p = proxied(security, [reverse("web", listener.address)], link=PATIENT)
    user = connect(p.entry("web"))
    service = listener.accept()
    with user, service:
        user.sendall(b"before")
        assert read_exactly(service, 6) == b"before"
        uid = p.edge.wait_sessions(1)[0]["uid"]
        since = p.edge.peer()["since"]
        p.proxy.wires[0].shut()
        wait_until(lambda: p.edge.is_up() and
                   p.edge.peer()["since"] != since, 10, "a new link")
        p.wait_up()
        for d in p.both():
            assert [r["uid"] for r in d.sessions()] == [uid]
        service.sendall(b"after")
        assert read_exactly(user, 5) == b"after"
        # It can still be killed, and both ends know.
        user2 = connect(p.entry("web"))
        service2 = listener.accept()
        with user2, service2:
            user.close()
            assert read_all(service) == b""
            service.close()
            for d in p.both():
                row = d.closed_one(uid)
                assert (row["up_bytes"], row["down_bytes"],
                        row["close_reason"]) == (6, 5, "closed")


def test_kill_reaches_the_peer_after_a_lost_link(proxied, security,
                                                 listener):
    p = proxied(security, [reverse("web", listener.address)], link=PATIENT)
    user = connect(p.entry("web"))
    service = listener.accept()
    with user, service:
        user.sendall(b"x")
        service.recv(1)
        p.edge.wait_sessions(1)
        p.proxy.wires[0].shut()
        wait_until(lambda: p.home.peer()["reconnects"] == 1, 10, "a new link")
        p.wait_up()
        row, = p.edge.sessions()
        p.edge.ctl("kill", row["id"])
        expect_reset(user)
        expect_reset(service)
        assert p.home.closed_one(row["uid"])["close_reason"] == \
            "killed_by_peer"


# --- the end of a daemon --------------------------------------------------

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
    dead.stop(within=2.0)
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
    assert first.version()["pid"] == first.process.pid
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
    words = sock.recv(4096).decode().split("\n")
    assert "READY=1" in words
    assert d.version()["pid"] == d.process.pid
    d.stop()
    while "STOPPING=1" not in words:
        words = sock.recv(4096).decode().split("\n")


def test_never_forks_and_logs_as_told(daemon):
    """Without -f the config decides where the log goes, and the process
    stays the one that was started."""
    d = daemon("alone")
    d.start("-c", d.config_path)
    assert d.version()["pid"] == d.process.pid
    assert d.log()
    quiet = daemon("quiet", daemon={"log": "syslog"})
    quiet.start("-c", quiet.config_path)
    quiet.stop()
    assert quiet.log() == ""
    loud = daemon("loud", daemon={"log": "syslog"}).start()
    assert loud.log()


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
  { name = "f"; peer = "p"; listen = ":0"; mode = "mux"; },     #~
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


# --- the limits of a tunnel -----------------------------------------------

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


def test_connect_timeout(far_pair, cable, security):
    """A service behind a black hole."""
    a, b = cable
    b.run("ip", "route", "add", "10.99.0.0/16", "dev", "lo")
    b.drop_to("10.99.0.0/16")
    p = far_pair(security, connect_to="10.99.0.1:80",
                 tunnel={"exit": {"connect_timeout": 1.0}})
    began = time.monotonic()
    a.call(refused_user, p.entry("web"))
    assert 0.8 < time.monotonic() - began < 1.0 + 2.0 * FACTOR
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
