# SPDX-License-Identifier: ISC
"""Bytes: all of them, in order, and every ending said truly."""

import os
import pwd
import random
import socket
import time
import zlib

import pytest

from harness import FACTOR, forward, free_port, reverse, wait_until
from services import (BULK_MIB, Echo, Flood, Listener, PATTERN, Pump, Service,
                      Swarm, TIMEOUT, ask, connect, drain, expect_end,
                      expect_reset, is_alive, read_all, read_exactly,
                      refused_user, reset, round_trip, send_pattern,
                      take_pattern)

MIB = 1 << 20
KINDS = [reverse, forward]


def join(p, listener, tunnel="web"):
    """A user and the service's end of one session."""
    user = connect(p.entry(tunnel))
    return user, listener.accept()


def both_ways(user, service, up, down):
    """Moves up and down bytes at once and compares checksums."""
    pumps = [Pump(send_pattern, user, up, True, 1),
             Pump(send_pattern, service, down, True, 2),
             Pump(take_pattern, service), Pump(take_pattern, user)]
    sent_up, sent_down, got_up, got_down = [p.result() for p in pumps]
    assert got_up == (up, sent_up)
    assert got_down == (down, sent_down)


def check_rows(p, uid, **wanted):
    rows = p.uids_match(uid)
    for row in rows:
        for key, value in wanted.items():
            assert row[key] == value, (key, row)
    return rows


def the_uid(p):
    return p.edge.wait_sessions(1)[0]["uid"]


# --- bulk -----------------------------------------------------------------

@pytest.mark.bound(180)
def test_bulk_both_ways_at_once(pair, security, listener):
    """BULK_MIB (1 GiB) byte-exact in both directions at once."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        uid = the_uid(p)
        both_ways(user, service, BULK_MIB * MIB, BULK_MIB * MIB)
    check_rows(p, uid, up_bytes=BULK_MIB * MIB, down_bytes=BULK_MIB * MIB,
               close_reason="closed")


@pytest.mark.parametrize("shape", ["local", "forward", "unix-user",
                                   "unix-service", "unix-both"])
def test_bulk_in_other_shapes(pair, daemon, security, closing, shape):
    """Other joints of sockets: other ways through the relay."""
    if shape == "local" and security == "tls":
        return      # a local tunnel knows no security
    d = daemon("directory")     # lends its short path
    unix = "unix:" + d.path("service")
    listener = closing(Listener(
        unix if shape in ("unix-service", "unix-both") else "127.0.0.1:0"))
    at = "unix:" + d.path("entry") if shape in ("unix-user", "unix-both") \
        else "127.0.0.1:0"
    if shape == "local":
        alone = daemon("alone", tunnels=[
            {"name": "web", "listen": at,
             "connect": listener.address}]).start()
        entry = alone.tunnel("web")["listen"]
    else:
        kind = forward if shape == "forward" else reverse
        entry = pair(security, [kind("web", listener.address,
                                     listen=at)]).entry("web")
    with connect(entry) as user, listener.accept() as service:
        both_ways(user, service, 64 * MIB + 17, 48 * MIB + 5)


@pytest.mark.parametrize("kind", KINDS)
def test_bursts_of_all_sizes(pair, security, echo, kind):
    """Ping-pong that changes between tiny and large, so that the relay
    changes between copying and splicing."""
    p = pair(security, [kind("web", echo.address)])
    chance = random.Random(99)
    total = 0
    with connect(p.entry("web")) as user:
        for _ in range(300):
            size = chance.choice((1, 2, 100, 1448, 4096, 16384, 16385, 65536,
                                  200000))
            size = chance.randint(1, size)
            start = chance.randrange(len(PATTERN) - size)
            ask(user, PATTERN[start:start + size])
            total += size
        uid = the_uid(p)
    check_rows(p, uid, up_bytes=total, down_bytes=total)


@pytest.mark.bound(180)
def test_500_sessions_at_once(pair, security, echo, closing):
    p = pair(security, [reverse("web", echo.address)])
    swarm = closing(Swarm(p.entry("web"), 500))
    swarm.exchange(100000)
    for d in p.both():
        assert len(d.wait_sessions(500)) == 500
        assert d.tunnel("web")["sessions"] == 500
    swarm.exchange(50000, end=True)
    edge, home = [{r["uid"]: r for r in d.closed(500)} for d in p.both()]
    assert len(edge) == 500 and edge.keys() == home.keys()
    for rows in (edge, home):
        assert {(r["up_bytes"], r["down_bytes"], r["close_reason"])
                for r in rows.values()} == {(150000, 150000, "closed")}
    for d in p.both():
        d.wait_sessions(0)
        tunnel = d.tunnel("web")
        assert tunnel["sessions_total"] == 500
        assert tunnel["up_bytes"] == tunnel["down_bytes"] == 500 * 150000


@pytest.mark.parametrize("pool", [0, 8])
def test_pools_cold_and_warm(pair, security, echo, pool):
    """Sessions one after another and in waves, whatever the pool."""
    p = pair(security, [reverse("in", echo.address),
                        forward("out", echo.address)], link={"pool": pool})
    for name in ("in", "out"):
        for _ in range(20):
            round_trip(p.entry(name))
        swarm = Swarm(p.entry(name), 60)
        swarm.exchange(3000, end=True)
        swarm.close()
    assert len(p.edge.closed(160)) == 160


# --- early data -----------------------------------------------------------

@pytest.mark.parametrize("pool", [0, 2])
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3 * MIB])
def test_early_data_and_its_end(pair, security, listener, pool, size):
    """Bytes, and the end too, right behind connect: nothing is lost and the
    half-close stays one."""
    p = pair(security, [reverse("web", listener.address)],
             link={"pool": pool})
    for _ in range(3):
        user = connect(p.entry("web"))
        sender = Pump(send_pattern, user, size)
        with user, listener.accept() as service:
            assert take_pattern(service) == (size, sender.result())
            service.sendall(b"answer after the end")
            service.close()
            assert read_all(user) == b"answer after the end"
    rows = p.edge.closed(3)
    assert {(r["up_bytes"], r["down_bytes"], r["close_reason"])
            for r in rows} == {(size, 20, "closed")}


def test_users_who_leave_at_once(pair, security, echo):
    """connect and close, connect and reset: nothing stays behind."""
    p = pair(security, [reverse("web", echo.address)])
    entry = p.entry("web")
    for index in range(200):
        sock = connect(entry)
        if index % 4 == 1:
            sock.sendall(b"some last words")
        if index % 2:
            reset(sock)
        else:
            sock.close()
    for d in p.both():
        d.wait_sessions(0, deadline=20)
    round_trip(entry)
    # A user who was gone before accept() may never have been seen.
    edge = {r["uid"]: r for r in p.edge.closed(101)}
    assert {r["close_reason"] for r in edge.values()} <= {
        "closed", "reset", "channel_lost"}


# --- endings --------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_half_close_by_the_user(pair, security, listener, kind):
    """The user ends his side; the service answers afterwards, at length."""
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        user.sendall(b"a question")
        user.shutdown(socket.SHUT_WR)
        assert read_all(service) == b"a question"
        assert is_alive(user)
        crc = Pump(send_pattern, service, 8 * MIB)
        assert take_pattern(user) == (8 * MIB, crc.result())
    assert p.edge.closed()[0]["close_reason"] == "closed"


@pytest.mark.parametrize("kind", KINDS)
def test_half_close_by_the_service(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        service.sendall(b"all I have to say")
        service.shutdown(socket.SHUT_WR)
        assert read_all(user) == b"all I have to say"
        assert is_alive(service)
        crc = Pump(send_pattern, user, 8 * MIB)
        assert take_pattern(service) == (8 * MIB, crc.result())
    assert p.edge.closed()[0]["close_reason"] == "closed"


def test_half_close_outlives_the_heartbeat(pair, security, listener):
    """One side ended, the other silent for long: still a session."""
    p = pair(security, [reverse("web", listener.address)],
             link={"heartbeat": {"interval": 0.3, "timeout": 1.0}})
    user, service = join(p, listener)
    with user, service:
        user.shutdown(socket.SHUT_WR)
        expect_end(service)
        time.sleep(3.0)
        service.sendall(b"late")
        service.close()
        assert read_all(user) == b"late"


def test_end_waits_for_the_bytes_before_it(pair, security, listener):
    """8 MiB and an end into a service that reads slowly at first."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        sender = Pump(send_pattern, user, 8 * MIB)
        time.sleep(0.5)
        assert take_pattern(service) == (8 * MIB, sender.result())


@pytest.mark.parametrize("kind", KINDS)
def test_reset_by_the_user(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with service:
        ask_through(user, service)
        uid = the_uid(p)
        reset(user)
        expect_reset(service)
    check_rows(p, uid, close_reason="reset")
    assert p.end("web", "entry").closed_one(uid)["closed_by"] == "user"


@pytest.mark.parametrize("kind", KINDS)
def test_reset_by_the_service(pair, security, listener, kind):
    p = pair(security, [kind("web", listener.address)])
    user, service = join(p, listener)
    with user:
        ask_through(user, service)
        uid = the_uid(p)
        reset(service)
        expect_reset(user)
    check_rows(p, uid, close_reason="reset")
    assert p.end("web", "exit").closed_one(uid)["closed_by"] == "service"


def ask_through(user, service):
    """One message each way, so that the session is surely open."""
    user.sendall(b"ping")
    assert read_exactly(service, 4) == b"ping"
    service.sendall(b"pong")
    assert read_exactly(user, 4) == b"pong"


@pytest.mark.parametrize("who", ["user", "service"])
def test_reset_after_a_half_close(pair, security, listener, who):
    """A side that has ended may still reset: never a clean end for it."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    near, far = (user, service) if who == "user" else (service, user)
    with far:
        ask_through(user, service)
        near.shutdown(socket.SHUT_WR)
        expect_end(far)
        far.sendall(PATTERN[:1000])
        read_exactly(near, 1000)
        reset(near)

        def noticed():
            # Its own direction has ended: writing tells.
            try:
                far.send(b"x")
                return False
            except OSError:
                return True
        wait_until(noticed, 10, "the reset to cross")
    for d in p.both():
        assert d.closed()[0]["close_reason"] == "reset"


def test_answer_before_a_reset(pair, security, listener):
    """A service that answers and goes with the question half read."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user:
        flood = Flood(user)
        read_exactly(service, 1)
        answer = PATTERN[:50000]
        service.sendall(answer)
        service.close()         # unread bytes: the kernel sends a reset
        got = bytearray()
        seen = "end"
        try:
            while True:
                piece = user.recv(65536)
                if not piece:
                    break
                got += piece
        except ConnectionResetError:
            seen = "reset"
        assert answer.startswith(bytes(got))
        assert flood.was_reset() or seen == "reset", flood.error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("early", [0, 10, 50000])
def test_refused_service_is_a_reset(pair, security, kind, early):
    """Not an empty success, with or without early bytes under way."""
    p = pair(security, [kind("web", "127.0.0.1:%d" % free_port())])
    entry = p.end("web", "entry")
    for count in range(1, 4):
        refused_user(p.entry("web"), PATTERN[:early])
        rows = entry.closed(count)
        assert rows[0]["close_reason"] == "refused"
        assert rows[0]["down_bytes"] == 0
    for d in p.both():
        assert d.is_up()


def test_missing_unix_service(pair, security):
    p = pair(security, [reverse("web", "unix:/nonexistent/socket")])
    refused_user(p.entry("web"))
    assert p.edge.closed()[0]["close_reason"] in ("unreachable", "refused")


def test_service_that_accepts_and_resets(pair, security, closing):
    service = closing(Service(reset))
    p = pair(security, [reverse("web", service.address)])
    for _ in range(10):
        refused_user(p.entry("web"))
    # The reset may be there before the exit's connect() is.
    assert {r["close_reason"] for r in p.edge.closed(10)} <= {"reset",
                                                              "refused"}


# --- back-pressure --------------------------------------------------------

HEARTBEAT = {"interval": 0.4, "timeout": 1.2}


@pytest.mark.parametrize("who", ["service", "user"])
def test_who_never_reads_stops_his_sender_only(pair, security, listener,
                                               echo, who):
    """A side that never reads: its sender stops after bounded buffers, the
    daemons' memory stays small, the link lives, others are served; and when
    the sender goes, everything is cleaned up."""
    p = pair(security, [reverse("web", listener.address),
                        reverse("echo", echo.address)],
             link={"heartbeat": HEARTBEAT})
    round_trip(p.entry("echo"), PATTERN * 8)
    before = [d.rss_kib() for d in p.both()]
    user, service = join(p, listener)
    sender, reader = (user, service) if who == "service" else (service, user)
    with user, service:
        flood = Flood(sender)
        sent = flood.wait_stalled()
        assert sent < 64 * MIB
        with connect(p.entry("echo")) as other:
            pump = Pump(send_pattern, other, 32 * MIB)
            assert take_pattern(other) == (32 * MIB, pump.result())
        for d, base in zip(p.both(), before):
            assert d.rss_kib() < base + 16 * 1024 or FACTOR > 1
            assert d.is_up()
            assert d.peer()["reconnects"] == 0
        assert flood.sent == sent, "the stopped sender went on"
        # It reads after all: not a byte is missing.
        sender.shutdown(socket.SHUT_WR)
        flood.join(TIMEOUT)
        assert take_pattern(reader)[0] == flood.sent
    for d in p.both():
        d.wait_sessions(0)


@pytest.mark.parametrize("who", ["service", "user"])
def test_reader_that_pauses_longer_than_the_heartbeat(pair, security,
                                                      listener, who):
    """Three times the heartbeat's timeout, twice, and still every byte."""
    p = pair(security, [reverse("web", listener.address)],
             link={"heartbeat": HEARTBEAT})
    user, service = join(p, listener)
    sender, reader = (user, service) if who == "service" else (service, user)
    with user, service:
        pump = Pump(send_pattern, sender, 96 * MIB)
        crc = take = 0
        for _ in range(2):
            time.sleep(3 * HEARTBEAT["timeout"])
            piece = read_exactly(reader, MIB)
            crc = zlib.crc32(piece, crc)
            take += MIB
        while True:
            piece = reader.recv(MIB)
            if not piece:
                break
            crc = zlib.crc32(piece, crc)
            take += len(piece)
        assert (take, crc) == (96 * MIB, pump.result())
    for d in p.both():
        assert d.peer()["reconnects"] == 0


# --- kill -----------------------------------------------------------------

def me():
    return pwd.getpwuid(os.geteuid()).pw_name


class Busy:
    """A session with bytes under way both ways."""

    def __init__(self, p, listener, tunnel="web"):
        self.user, self.service = join(p, listener, tunnel)
        self.pumps = []
        for sock in (self.user, self.service):
            Flood(sock)
            self.pumps.append(Pump(drain, sock))

    def wait_ended(self):
        """Both sides must be told at once."""
        for pump in self.pumps:
            pump.result(5 * FACTOR)

    def close(self):
        self.user.close()
        self.service.close()


@pytest.mark.parametrize("end", ["entry", "exit"])
@pytest.mark.parametrize("kind", KINDS)
def test_kill_while_data_flows(pair, security, listener, closing, end, kind):
    p = pair(security, [kind("web", listener.address)])
    killer = p.end("web", end)
    other = p.home if killer is p.edge else p.edge
    busy = closing(Busy(p, listener))
    bystander = closing(Busy(p, listener))
    rows = killer.wait_sessions(2)
    wait_until(lambda: all(r["up_bytes"] > MIB and r["down_bytes"] > MIB
                           for r in killer.sessions()), 20, "bytes to flow")
    source = "%s:%d" % busy.user.getsockname()
    row = next(r for r in rows if r["source"] == source)
    assert killer.ctl("kill", row["id"])["killed"] == [row["id"]]
    busy.wait_ended()
    killed = killer.closed_one(row["uid"])
    assert killed["close_reason"] == "killed"
    assert me() in killed["closed_by"] or \
        str(os.geteuid()) in killed["closed_by"]
    assert other.closed_one(row["uid"])["close_reason"] == "killed_by_peer"
    assert [r["uid"] for r in killer.sessions()] == \
        [r["uid"] for r in rows if r["uid"] != row["uid"]]
    assert all(pump.is_alive() for pump in bystander.pumps)


def test_kill_closes_a_silent_session(pair, security, listener):
    """No byte under way, nobody about to read or write."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        ask_through(user, service)
        row, = p.home.wait_sessions(1)
        p.home.ctl("kill", row["id"])
        expect_reset(user)
        expect_reset(service)


def test_kill_a_stopped_session(pair, security, listener):
    """Buffers full both ways, nobody reads: killed all the same."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        floods = [Flood(user), Flood(service)]
        for flood in floods:
            flood.wait_stalled()
        row, = p.edge.wait_sessions(1)
        p.edge.ctl("kill", row["id"])
        assert all(flood.was_reset() for flood in floods)


@pytest.mark.parametrize("how", ["tunnel", "label", "peer"])
def test_kill_by_tunnel_and_peer(pair, security, closing, how):
    first, second = closing(Echo()), closing(Echo())
    p = pair(security, [reverse("web", first.address),
                        forward("db", second.address)])
    users = {}
    for name in ("web", "web", "db"):
        user = closing(connect(p.entry(name)))
        ask(user)
        users.setdefault(name, []).append(user)
    words = {"tunnel": ("--tunnel", "web"), "label": ("--tunnel", "home/web"),
             "peer": ("--peer", "home")}[how]
    gone = users["web"] + (users["db"] if how == "peer" else [])
    rows = [r for r in p.edge.wait_sessions(3)
            if how == "peer" or r["tunnel"] == "web"]
    answer = p.edge.ctl("kill", *words)
    assert sorted(answer["killed"]) == sorted(r["id"] for r in rows)
    for user in gone:
        expect_reset(user)
    if how != "peer":
        ask(users["db"][0])
    for row in rows:
        assert p.edge.closed_one(row["uid"])["close_reason"] == "killed"
        assert p.home.closed_one(row["uid"])["close_reason"] == \
            "killed_by_peer"
    assert p.edge.is_up()


def test_kill_several_ids_and_unknown_ones(pair, security, echo, closing):
    p = pair(security, [reverse("web", echo.address)])
    users = [closing(connect(p.entry("web"))) for _ in range(3)]
    for user in users:
        ask(user)
    ids = [r["id"] for r in p.edge.wait_sessions(3)]
    answer = p.edge.admin("kill", ids=[ids[0], 2 ** 40, ids[2]])
    assert sorted(answer["killed"]) == [ids[0], ids[2]]
    assert answer["not_found"] == [2 ** 40]
    assert [r["id"] for r in p.edge.wait_sessions(1)] == [ids[1]]
    ask(users[1])


# --- the two ledgers ------------------------------------------------------

def test_same_uid_and_true_counts_in_both_ledgers(pair, security, listener):
    """Sessions of all sizes, both kinds at once: each is in both ledgers
    once, with the same uid and what really crossed."""
    p = pair(security, [reverse("in", listener.address),
                        forward("out", listener.address)])
    wanted = {}
    for index, (up, down) in enumerate([(0, 0), (1, 0), (0, 1), (70000, 3),
                                        (5, 900000), (65536, 65536)]):
        for name in ("in", "out"):
            user, service = join(p, listener, name)
            with user, service:
                source = "%s:%d" % user.getsockname()
                both_ways(user, service, up, down)
            wanted[source] = (name, up, down)
    for d in p.both():
        rows = {r["source"]: r for r in d.closed(12)}
        assert {s: (r["tunnel"], r["up_bytes"], r["down_bytes"])
                for s, r in rows.items()} == wanted
        assert {r["close_reason"] for r in rows.values()} == {"closed"}
    edge, home = [{r["uid"]: r for r in d.history()} for d in p.both()]
    assert len(edge) == 12 and edge.keys() == home.keys()
    for uid in edge:
        assert edge[uid]["tunnel"] == home[uid]["tunnel"]
        assert {edge[uid]["end"], home[uid]["end"]} == {"entry", "exit"}


def test_counts_of_a_session_under_way(pair, security, echo):
    """sessions shows true numbers while it lives."""
    p = pair(security, [reverse("web", echo.address)])
    with connect(p.entry("web")) as user:
        for count in range(1, 5):
            ask(user, PATTERN[:1000])
            for d in p.both():
                wait_until(lambda: [(r["up_bytes"], r["down_bytes"])
                                    for r in d.sessions()] ==
                           [(1000 * count, 1000 * count)], 5, "counters")
