# SPDX-License-Identifier: ISC
"""Noise at the gateway, and a man who tampers with what he passes on."""

import contextlib
import random
import socket
import struct
import threading
import time

import pytest

import forge
from harness import FACTOR, SECURITIES, SLOW, reverse, wait_until
from middle import Proxy
from services import (PATTERN, Pump, connect, drain, expect_reset,
                      read_exactly, reset, round_trip, send_pattern,
                      take_pattern)


@pytest.fixture
def pairs(pair, echo):
    """A pair of each security: where the gateway's 10 s must pass, they pass
    for both at a time."""
    return [pair(security, [reverse("web", echo.address)])
            for security in SECURITIES]


# --- noise at the gateway -------------------------------------------------

def noises():
    chance = random.Random(7)
    hello = forge.hello("home")
    client_hello = bytes.fromhex("1603010200010001fc0303") + bytes(100)
    return {
        "zeros": bytes(5000),
        "random": chance.randbytes(5000),
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "truncated hello": hello[:-3],
        "hello with a long length": b"\x01\x00\xff\xff" + bytes(70000),
        "hello with a bad name": hello.replace(b"home", b"ho\0e"),
        "two hellos": hello + hello,
        "hello of another version": forge.hello("home", version=99),
        "hello in tls mode": forge.hello("home", security=forge.TLS),
        "hello in no mode": forge.hello("home", security=77),
        "empty hello": forge.frame(forge.HELLO),
        "truncated tls": client_hello,
        "tls with rubbish": client_hello + chance.randbytes(3000),
        "tls alert": bytes.fromhex("15030300020228"),
        "only one byte": b"\x01",
        "one byte of tls": b"\x16",
        "ping": forge.frame(forge.PING, bytes(8)),
        "open": forge.frame(forge.OPEN, bytes(16), b"web", b"1.2.3.4:5", b""),
        "welcome": forge.welcome("home"),
        "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
        "upper": bytes(range(255, -1, -1)),
    }


@pytest.mark.parametrize("ending", ["wait", "half", "reset"])
def test_noise_on_the_gateway_port(pairs, ending):
    """Whatever comes, the connection is closed, the peer is not disturbed
    and no descriptor stays behind."""
    socks, before = [], []
    for p in pairs:
        round_trip(p.entry("web"))
        before.append((p.edge.peer()["since"], p.edge.fds()))
        for data in noises().values():
            sock = connect(p.edge.gateway())
            with contextlib.suppress(OSError):  # it may have had enough
                sock.sendall(data)
                if ending == "half":
                    sock.shutdown(socket.SHUT_WR)
            if ending == "reset":
                reset(sock)
            else:
                socks.append(sock)
            round_trip(p.entry("web"))
    for sock in socks:
        drain(sock)             # each is closed by the gateway in time
        sock.close()
    for p, (since, base) in zip(pairs, before):
        wait_until(lambda: p.edge.fds() <= base + 2, 20,
                   "descriptors to go back")
        assert p.edge.peer()["since"] == since


def test_endless_bytes_on_the_gateway_port(pair, security, echo):
    """Somebody who never stops talking is cut off early."""
    p = pair(security, [reverse("web", echo.address)])
    for first in (b"", b"\x16\x03\x01\x40\x00", b"G",
                  b"\x42\x00\x00\x08\x00\x00\x00\x00"):
        with connect(p.edge.gateway()) as sock:
            sent = 0
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                sock.sendall(first)
                while True:
                    sent += sock.send(PATTERN)
            assert sent < 64 << 20
        round_trip(p.entry("web"))


def test_slow_talker_meets_the_deadline(pairs):
    """A byte a second does not win time: 10 s in all."""
    for pump in [Pump(talk_slowly, p) for p in pairs]:
        pump.result()


def talk_slowly(p):
    hello = forge.hello("home")
    began = time.monotonic()
    with connect(p.edge.gateway()) as sock:
        sock.settimeout(0.5)
        for byte in hello:
            try:
                sock.sendall(bytes([byte]))
                if not sock.recv(1):
                    break
            except (TimeoutError, socket.timeout):
                pass
            except OSError:
                break
        else:
            raise AssertionError("never cut off")
    assert time.monotonic() - began < 12 + 6 * FACTOR


def test_800_silent_strangers_do_not_delay_a_peer(pair_of, security, echo):
    """400 from 127.0.0.2 and 400 from 127.0.0.1, where the peer lives."""
    p = pair_of(security, [reverse("web", echo.address)])
    p.edge.start()
    strangers = []
    try:
        for source in ("127.0.0.2", "127.0.0.1"):
            for _ in range(400):
                strangers.append(connect(p.edge.gateway(), source=source))
        p.point_home(p.edge.gateway())
        p.home.start()
        began = time.monotonic()
        p.wait_up(4)
        round_trip(p.entry("web"))
        assert time.monotonic() - began < 9.0 * FACTOR
        swarm_began = time.monotonic()
        for _ in range(50):
            round_trip(p.entry("web"))
        assert time.monotonic() - swarm_began < 10.0 * FACTOR
    finally:
        for sock in strangers:
            sock.close()


def test_strangers_who_never_stop_coming(pair_of, security, echo):
    """As above, but new ones come all the time while the peer comes."""
    p = pair_of(security, [reverse("web", echo.address)])
    p.edge.start()
    gateway = p.edge.gateway()
    stop = threading.Event()

    def come():
        socks = []
        while not stop.is_set():
            try:
                socks.append(connect(gateway, source="127.0.0.2"))
            except OSError:
                pass
            if len(socks) > 300:
                socks.pop(0).close()
        for sock in socks:
            sock.close()

    pump = Pump(come)
    try:
        p.point_home(gateway)
        p.home.start()
        p.wait_up(5)
        for _ in range(20):
            round_trip(p.entry("web"))
    finally:
        stop.set()
        pump.result()
    round_trip(p.entry("web"))


def test_half_open_connections(pairs):
    """Ends and vanished strangers leave nothing behind."""
    bases = [p.edge.fds() for p in pairs]
    socks = []
    for index in range(100):
        for p in pairs:
            sock = connect(p.edge.gateway())
            if index % 3 == 0:
                sock.sendall(forge.hello("home")[:20])
            if index % 2:
                sock.shutdown(socket.SHUT_WR)
            socks.append(sock)
    for p, base in zip(pairs, bases):
        wait_until(lambda: p.edge.fds() <= base + 2, 25,
                   "the deadline to pass")
    for sock in socks:
        sock.close()
    for p in pairs:
        round_trip(p.entry("web"))


def huge_client_hello():
    """120 KiB of a ClientHello that says it is longer still."""
    body = b"\x01" + (131000).to_bytes(3, "big") + b"\x03\x03" + bytes(131000)
    pieces = [body[at:at + 16000] for at in range(0, 128000, 16000)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece
                    for piece in pieces)[:120 << 10]


def peak_kib(d):
    """The most memory that it ever had."""
    with open("/proc/%d/status" % d.pid) as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith("VmHWM"))


def test_huge_client_hellos_cost_no_memory(pair_of, security, echo, closing):
    """A hundred strangers with a ClientHello that never ends; meanwhile the
    peer gets in."""
    p = pair_of(security, [reverse("web", echo.address)])
    p.edge.start()
    gateway = p.edge.gateway()
    hello = huge_client_hello()
    with connect(gateway) as sock, contextlib.suppress(OSError):
        sock.sendall(hello)     # the first one fills what is never given back
    base = peak_kib(p.edge)
    for _ in range(100):
        sock = closing(connect(gateway, source="127.0.0.2"))
        with contextlib.suppress(OSError):  # it is cut off early
            sock.sendall(hello)
    p.point_home(gateway)
    p.home.start()
    p.wait_up()
    round_trip(p.entry("web"))
    if not SLOW:
        grown = peak_kib(p.edge) - base
        assert grown < 4096, "it grew by %d KiB" % grown


# --- a man who tampers ----------------------------------------------------

def test_bits_flipped_in_the_handshake(pair_of, echo, closing):
    """One bit of each attempt, here or there: no crash, and an honest path
    works at once."""
    flips = {"on": True}

    def tamper(wire, way, data):
        if not flips["on"] or way != wire.index % 2:
            return data
        at = (wire.index * 13 // 2) - wire.passed[way]
        wire.passed[way] += len(data)
        if 0 <= at < len(data):
            data = bytearray(data)
            data[at] ^= 1 << wire.index % 8
        return bytes(data)

    pairs, proxies = [], []
    for security in SECURITIES:
        p = pair_of(security, [reverse("web", echo.address)],
                    link={"reconnect": {"min": 0.02, "max": 0.1},
                          "heartbeat": {"interval": 0.2, "timeout": 0.8}})
        p.edge.start()
        proxies.append(closing(Proxy(p.edge.gateway(), tamper=tamper)))
        p.point_home(proxies[-1].address)
        p.home.start()
        pairs.append(p)
    # A broken length may leave both waiting for the handshake's deadline.
    end = time.monotonic() + 12
    while time.monotonic() < end and \
            any(len(proxy.wires) < 60 for proxy in proxies):
        time.sleep(0.05)
    assert all(len(proxy.wires) > 2 for proxy in proxies)
    flips["on"] = False
    for p in pairs:
        p.wait_up(30)
        wait_until(lambda: try_round_trip(p), 20,
                   "a session over honest paths")


def try_round_trip(p):
    try:
        round_trip(p.entry("web"))
        return True
    except (OSError, AssertionError):
        return False


@pytest.mark.both_modes
def test_bits_flipped_under_tls_never_reach_anybody(pair_of, listener,
                                                    closing):
    """A flipped bit in the data ends the session with a reset; not one wrong
    byte comes out."""
    state = {"at": None}

    def tamper(wire, way, data):
        # Handshakes, of a pool that is refilled, are smaller than that.
        if wire.index and way == 0 and len(data) >= 8192 and \
                state["at"] is not None:
            state["at"] -= len(data)
            if state["at"] < 0:
                state["at"] = None
                data = bytearray(data)
                data[len(data) // 2] ^= 0x10
        return bytes(data)

    # Bytes from the home to the edge are those of the service.
    p = pair_of("tls", [reverse("web", listener.address)])
    p.edge.start()
    proxy = closing(Proxy(p.edge.gateway(), tamper=tamper))
    p.point_home(proxy.address)
    p.home.start()
    p.wait_up()
    for at in (0, 100000, 3000000):
        user = connect(p.entry("web"))
        service = listener.accept()
        with user, service:
            user.sendall(b"x")
            read_exactly(service, 1)
            state["at"] = at
            data = PATTERN * 6
            pump = Pump(send_pattern, service, len(data))
            got = bytearray()
            with pytest.raises(ConnectionResetError):
                while True:
                    piece = user.recv(65536)
                    assert piece, "a clean end of a broken stream"
                    got += piece
            want = struct.pack(">QQ", 0, len(data)) + PATTERN
            assert want.startswith(bytes(got[:len(want)]))
            pump.join(20)
    wait_until(lambda: p.edge.is_up(), 10, "the link")


@pytest.mark.both_modes
def test_truncated_tls_is_a_reset(pair_of, listener, closing):
    """A FIN that nobody sealed (no close_notify) is not an end."""
    p = pair_of("tls", [reverse("web", listener.address)])
    p.edge.start()
    proxy = closing(Proxy(p.edge.gateway()))
    p.point_home(proxy.address)
    p.home.start()
    p.wait_up()
    user = connect(p.entry("web"))
    service = listener.accept()
    with user, service:
        user.sendall(b"x")
        read_exactly(service, 1)
        service.sendall(b"half an ans")
        assert read_exactly(user, 11) == b"half an ans"
        for wire in proxy.wires[1:]:
            wire.shut(wire.near, wire.far)
        expect_reset(user)
        expect_reset(service)


def test_take_pattern_and_echo_agree(echo):
    """The instruments themselves: a direct echo gives back what was sent."""
    with connect(echo.address) as user:
        pump = Pump(send_pattern, user, 3 << 20)
        assert take_pattern(user) == (3 << 20, pump.result())
