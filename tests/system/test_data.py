# SPDX-License-Identifier: ISC
"""Bytes: all of them, and in order."""

import random
import socket
import time
import zlib

import pytest

from crowd import Swarm
from harness import FACTOR, forward, reverse, wait_until
from services import (BULK_MIB, Flood, Listener, PATTERN, Pump, TIMEOUT, ask,
                      connect, join, kernel_buffers, read_all, read_exactly,
                      reset, round_trip, send_pattern, take_pattern)

pytestmark = pytest.mark.both_modes

MIB = 1 << 20
KINDS = [reverse, forward]


def both_ways(user, service, up, down):
    """Moves up and down bytes at once and compares checksums."""
    pumps = [Pump(send_pattern, user, up, True, 1),
             Pump(send_pattern, service, down, True, 2),
             Pump(take_pattern, service), Pump(take_pattern, user)]
    sent_up, sent_down, got_up, got_down = [p.result() for p in pumps]
    assert got_up == (up, sent_up)
    assert got_down == (down, sent_down)


# --- urgent data ----------------------------------------------------------

@pytest.mark.parametrize("who", ["user", "service"])
def test_urgent_data_in_the_midst_of_bulk(through, listener, who):
    """An urgent byte is carried where it stands, and is the end of nothing;
    8 MiB before it make sure that bytes are moved in bulk by then."""
    daemons, entry = through(listener.address)
    user = connect(entry)
    service = listener.accept()
    source, sink = (user, service) if who == "user" else (service, user)
    with user, service:
        crc = Pump(send_pattern, source, 8 * MIB, False)
        assert take_pattern(sink, 8 * MIB) == (8 * MIB, crc.result())
        source.send(b"!", socket.MSG_OOB)
        crc = Pump(send_pattern, source, MIB, True, 1)
        assert read_exactly(sink, 1) == b"!"
        assert take_pattern(sink) == (MIB, crc.result())
    for d in daemons:
        row = d.closed()[0]
        assert row["close_reason"] == "closed"
        assert row["up_bytes"] + row["down_bytes"] == 9 * MIB + 1


# --- bulk -----------------------------------------------------------------

@pytest.mark.bound(180)
def test_bulk_both_ways_at_once(pair, security, listener):
    """BULK_MIB (1 GiB) byte-exact in both directions at once."""
    p = pair(security, [reverse("web", listener.address)])
    user, service = join(p, listener)
    with user, service:
        uid = p.the_uid()
        both_ways(user, service, BULK_MIB * MIB, BULK_MIB * MIB)
    p.check_rows(uid, up_bytes=BULK_MIB * MIB, down_bytes=BULK_MIB * MIB,
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
        uid = p.the_uid()
    p.check_rows(uid, up_bytes=total, down_bytes=total)


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
        assert sent < kernel_buffers(3) + 2 * MIB
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
    """Twice the heartbeat's timeout, two times, and still every byte."""
    p = pair(security, [reverse("web", listener.address)],
             link={"heartbeat": HEARTBEAT})
    user, service = join(p, listener)
    sender, reader = (user, service) if who == "service" else (service, user)
    with user, service:
        pump = Pump(send_pattern, sender, 96 * MIB)
        crc = take = 0
        for _ in range(2):
            time.sleep(2 * HEARTBEAT["timeout"])
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


@pytest.mark.both_modes
@pytest.mark.bound(120)
def test_counts_after_a_rest(pair, echo):
    """A session that does nothing is not looked at any more (every 5 seconds,
    otherwise); nothing is lost when it goes on."""
    p = pair("plain", [reverse("web", echo.address)])
    quiet = connect(p.entry("web"))
    with connect(p.entry("web")) as user:
        ask(quiet, PATTERN[:777])
        ask(user, PATTERN[:1000])
        time.sleep(11.5)
        for count in range(2, 5):
            ask(user, PATTERN[:1000])
            for d in p.both():
                wait_until(lambda: sorted(r["up_bytes"] for r in d.sessions())
                           == [777, 1000 * count], 5, "counters")
                assert d.tunnel("web")["down_bytes"] == 777 + 1000 * count
        until = time.monotonic() + 6
        while time.monotonic() < until:     # a refresh meanwhile
            ask(user, PATTERN[:100000])
        for d in p.both():
            rates = [r["up_rate"] for r in d.sessions()]
            assert min(rates) == 0 and max(rates) > 1000, rates
    ask(quiet, PATTERN[:23])
    quiet.close()
    for d in p.both():
        d.wait_sessions(0)
        rows = d.closed(2)
        assert min(r["up_bytes"] for r in rows) == 800
        tunnel = d.tunnel("web")
        assert tunnel["up_bytes"] == sum(r["up_bytes"] for r in rows)
