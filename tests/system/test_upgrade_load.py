# SPDX-License-Identifier: ISC
"""Upgrades under load: a client that connects a thousand times a second, long
sessions of real programs, streams whose every byte is counted."""

import hashlib
import json
import subprocess
import threading
import time

import pytest

from harness import (FACTOR, SLOW, end_process, forward, free_port, need,
                     reverse, spawn, wait_until)
from reloads import Caller, apply, pour, talk, tunnel_of
from services import PATTERN, Pump, ask, connect, take_pattern
# The fixtures are used by name.
from test_main_job import nginx, sshd, wait_for_port  # noqa: F401
from test_upgrade import end_of
from upgrades import Hammer, mastered, wait_draining  # noqa: F401

RATE = 100 if SLOW else 1000
HELLO = "hello from behind the NAT\n"
# A quarter of a second is enough for as many as may wait by default.
MANY = {"max_held": 4096}


@pytest.fixture
def hammer(closing, tmp_path):
    """hammer(address): calls of that web service, in a loop."""
    def make(address):
        body = tmp_path / "body"
        body.write_text(HELLO)
        return closing(Hammer(address, "hello.txt", str(body), RATE))
    return make


def check_ledgers(p, served):
    """Every call has its row at either end, and none another end than the
    usual one."""
    for d in p.both():
        wait_until(lambda: not d.sessions() and not d.ledger()["queued"], 30,
                   "all rows to be written", 0.2)
        rows = d.query("select close_reason, count(*) as n,"
                       " count(distinct uid) as uids from sessions"
                       " group by close_reason")
        assert [r["close_reason"] for r in rows] == ["closed"], rows
        assert rows[0]["n"] == rows[0]["uids"] == served
        assert d.ledger()["lost"] == 0


# --- who comes ------------------------------------------------------------

@pytest.mark.bound(300)
@pytest.mark.parametrize("hold", [None, 0.0])
@pytest.mark.parametrize("who", ["edge", "home"])
@pytest.mark.parametrize("kind", [reverse, forward])
def test_nobody_is_refused(pair, security, nginx, hammer, kind, who, hold):
    """20 reloads and 10 upgrades of either end: nobody is refused, reset or
    answered wrong, also where nobody is held."""
    entry = MANY if hold is None else dict(MANY, hold=hold)
    p = pair(security, [kind("web", nginx, entry=entry)], master=True)
    d, far = end_of(p, who)
    users = hammer(p.entry("web"))
    users.more(RATE // 10)
    began, many = time.monotonic(), users.last["served"]
    for count in range(30):
        if count % 3 == 2:
            d.upgrade()
        else:
            tunnel_of(d, "web")["max_sessions"] = 5000 + count
            d.config["peers"][0]["pool"] = 2 + count % 4
            apply(d)
        users.more(RATE // 5)
    took = time.monotonic() - began
    many = users.last["served"] - many
    served = users.stop()
    print("%.0f a second, the slowest took %.3f s" % (
        many / took, users.last["slowest"]))
    wait_draining(d, 0, 30)
    p.wait_up()
    check_ledgers(p, served)


@pytest.mark.both_modes
@pytest.mark.bound(240)
def test_both_ends_at_a_time(pair, security, nginx, hammer):
    """Both are upgraded, as it comes, while calls come both ways."""
    p = pair(security, [reverse("web", nginx, entry=MANY),
                        forward("back", nginx, entry=MANY)], master=True)
    users = [hammer(p.entry(name)) for name in ("web", "back")]
    for user in users:
        user.more(100)

    def upgrades(d, pause):
        for _ in range(8):
            d.upgrade()
            p.wait_up()
            time.sleep(pause)
    pumps = [Pump(upgrades, d, pause) for d, pause in zip(p.both(),
                                                          (0.0, 0.13))]
    for pump in pumps:
        pump.result()
    for user in users:
        user.more(100)
    served = sum([user.stop() for user in users])
    for d in p.both():
        wait_draining(d, 0, 30)
    check_ledgers(p, served)


def test_local_tunnel(daemon, nginx, hammer):
    """No link, no peer: the listener alone is handed over."""
    d = daemon("alone", master=True, tunnels=[
        {"name": "web", "listen": "127.0.0.1:0", "connect": nginx}]).start()
    users = hammer(d.tunnel("web")["listen"])
    for count in range(30):
        users.more(RATE // 5)
        if count % 3 == 2:
            d.upgrade()
        else:
            tunnel_of(d, "web")["max_held"] = 100 + count
            apply(d)
    assert users.stop()
    wait_draining(d, 0)
    assert {r["close_reason"] for r in d.query("select * from sessions")} \
        == {"closed"}


def test_unix_entry(pair, security, echo, closing, tmp_path):
    """The same of a socket file, where nobody waits in a queue of TCP."""
    p = pair(security, [reverse("web", echo.address,
                                "unix:%s/web" % tmp_path)], master=True)
    callers = [closing(Caller(p.entry("web"), PATTERN[:300]))
               for _ in range(3)]
    for _ in range(6):
        for d in p.both():
            d.upgrade()
            for caller in callers:
                caller.more(20)
    for caller in callers:
        caller.stop()


# --- who stays ------------------------------------------------------------

def upgrade_both(p, times, between):
    for _ in range(times):
        for d in p.both():
            d.upgrade()
            p.wait_up()
            between()


@pytest.mark.both_modes
@pytest.mark.parametrize("kind", [reverse, forward])
def test_streams(pair, security, listener, kind):
    """Bytes flow both ways through upgrades of either end; all of them
    arrive, in order."""
    p = pair(security, [kind("web", listener.address)], master=True)
    enough = threading.Event()
    with connect(p.entry("web")) as user, listener.accept() as service:
        senders = [Pump(pour, sock, salt, enough)
                   for salt, sock in enumerate((user, service))]
        takers = [Pump(take_pattern, sock) for sock in (service, user)]
        uid = p.the_uid()

        def flows():
            def count():
                return [p.edge.sessions()[0][key]
                        for key in ("up_bytes", "down_bytes")]
            before = count()
            wait_until(lambda: all(a > b + (1 << 20) for a, b in
                                   zip(count(), before)), 30,
                       "both streams to flow")
        upgrade_both(p, 3, flows)
        enough.set()
        sums = [sender.result() for sender in senders]
        assert [taker.result() for taker in takers] == sums
    for d in p.both():
        row = d.closed_one(uid)
        assert row["close_reason"] == "closed"
        assert [row["up_bytes"], row["down_bytes"]] == [n for n, _ in sums]
        wait_draining(d, 0)


def test_many_streams(mastered):
    """One begins before each upgrade, all run on to the end."""
    p = mastered
    enough = threading.Event()
    users, talks = [], []
    try:
        for _ in range(3):
            for d in p.both():
                users.append(connect(p.entry("web")))
                ask(users[-1])
                talks.append(Pump(talk, users[-1], enough))
                d.upgrade()
                p.wait_up()
        enough.set()
        assert all(t.result() for t in talks)
    finally:
        enough.set()
        for user in users:
            user.close()
    for d in p.both():
        wait_draining(d, 0)
        assert len(d.closed(6)) == 6


def test_ssh(pair, security, sshd):
    """A session of a real ssh: it is asked and answers between upgrades of
    both ends, and carries some MiB while others are under way."""
    service, options = sshd
    p = pair(security, [reverse("ssh", service)], master=True)
    host, port = p.entry("ssh").rsplit(":", 1)
    ssh = spawn(["ssh", *options, "-p", port, host, "cat"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sent = hashlib.sha256()
    try:
        def say(data):
            sent.update(data)
            ssh.stdin.write(data)
            ssh.stdin.flush()

        def hear(count):
            return ssh.stdout.read(count)
        say(b"hello\n")
        got = hear(6)
        assert got == b"hello\n"
        uid = p.the_uid()
        upgrade_both(p, 2, lambda: (say(b"still there?\n"),
                                    hear(13) == b"still there?\n" or 1 / 0))
        count = 12
        sender = Pump(lambda: [say(PATTERN) for _ in range(count)])
        taker = Pump(lambda: hear(len(PATTERN) * count))
        upgrade_both(p, 2, lambda: None)
        sender.result()
        assert taker.result() == PATTERN * count
        ssh.stdin.close()
        assert ssh.wait(30) == 0
    finally:
        end_process(ssh)
        ssh.stdout.close()
    for d in p.both():
        row = d.closed_one(uid)
        assert row["close_reason"] == "closed"
        assert min(row["up_bytes"], row["down_bytes"]) > \
            len(PATTERN) * count
        wait_draining(d, 0)


@pytest.mark.parametrize("options", [["-P", "2"], ["-P", "2", "-R"],
                                     ["--bidir"]])
def test_iperf3(pair, security, options):
    """It never loses its sight of the other side."""
    need("iperf3")
    port = free_port()
    server = spawn(["iperf3", "-s", "-p", str(port), "-B", "127.0.0.1"],
                   stdout=subprocess.DEVNULL)
    try:
        p = pair(security, [reverse("iperf", "127.0.0.1:%d" % port)],
                 master=True)
        wait_for_port(port)
        host, entry = p.entry("iperf").rsplit(":", 1)

        def client(seconds):
            return spawn(["iperf3", "-c", host, "-p", entry, "-t",
                          str(seconds), "-J", *options],
                         stdout=subprocess.PIPE)

        def probe():
            """The probe of the port may keep the server busy."""
            done = client(1).communicate(timeout=30 * FACTOR)[0]
            return b'"sum_received"' in done
        wait_until(probe, 30, "iperf3 to serve")
        for seconds in (25,) if SLOW else (6, 15, 40):
            p.edge.wait_sessions(0)
            process = client(seconds)
            wait_until(lambda: len(p.edge.sessions()) >= 2, 10,
                       "its sessions")
            upgrade_both(p, 3, lambda: time.sleep(0.2))
            lasted = process.poll() is None
            out = process.communicate(timeout=60 * FACTOR)[0]
            if lasted:
                break
        assert lasted, "it was over before: a poor test"
        report = json.loads(out)
        assert process.returncode == 0 and "error" not in report, report
        assert report["end"]["sum_received"]["bytes"] > 1 << 20
        assert all(i["sum"]["bytes"] > 0 for i in report["intervals"]), \
            [i["sum"] for i in report["intervals"]]
        for d in p.both():
            wait_draining(d, 0)
    finally:
        end_process(server)
