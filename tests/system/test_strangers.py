# SPDX-License-Identifier: ISC
"""Whoever is not a peer, or wants more than he was given."""

import contextlib
import os
import random
import socket
import ssl
import struct
import threading
import time

import pytest

import forge
from harness import FACTOR, need, new_secret, reverse, run, wait_until
from services import (PATTERN, Proxy, Pump, connect, drain, expect_reset,
                      listen, read_exactly, refused_user, reset, round_trip,
                      send_pattern, take_pattern, written)

QUICK = {"reconnect": {"min": 0.1, "max": 0.4}}


def stays_down(d, seconds=2.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not d.is_up(), "%s is up" % d.name
        time.sleep(0.05)


def error_of(d):
    return wait_until(lambda: d.peer()["last_error"], 10,
                      "%s to say why" % d.name)


# --- not our peer ---------------------------------------------------------

def stranger_of(p, daemon, security, name="home", secret=None):
    """A daemon that dials the edge of p."""
    return daemon("stranger", daemon={"name": name}, peers=[
        {"name": "edge", "connect": p.edge.gateway(),
         "secret": secret or new_secret(), "security": security,
         "reconnect": {"min": 0.1, "max": 0.4}}])


def test_wrong_secret_and_unknown_name_fail_alike(pair_of, security, daemon,
                                                  echo):
    """The dialler is told the same; only the gateway's log tells which."""
    p = pair_of(security, [reverse("web", echo.address)],
                edge={"daemon": {"log_level": "debug"}})
    p.edge.start()
    wrong = stranger_of(p, daemon, security).start()
    said_wrong = error_of(wrong)
    stays_down(wrong)
    wrong.stop()
    log_wrong = p.edge.log()
    unknown = stranger_of(p, daemon, security, name="nobody").start()
    said_unknown = error_of(unknown)
    stays_down(unknown)
    log_unknown = p.edge.log()[len(log_wrong):]
    assert "name or secret refused" in said_wrong
    assert said_wrong == said_unknown
    assert "home" in log_wrong and "secret" in log_wrong
    assert "nobody" in log_unknown and "unknown" in log_unknown
    assert unknown.peer()["state"] in ("waiting", "dialling",
                                       "authenticating")
    # And the right one is not hurt by that.
    p.point_home(p.edge.gateway())
    p.home.start()
    p.wait_up()
    round_trip(p.entry("web"))


def test_wrong_secret_waits_at_max(pair_of, daemon, security):
    """No use in trying often."""
    p = pair_of(security)
    p.edge.start()
    wrong = stranger_of(p, daemon, security)
    wrong.config["peers"][0]["reconnect"] = {"min": 0.05, "max": 30.0}
    wrong.start()
    assert "name or secret refused" in error_of(wrong)
    peer = wait_until(lambda: wrong.peer() if wrong.peer()["next_try_at"]
                      else None, 5, "a next try")
    assert peer["state"] == "waiting"
    stays_down(wrong, 1.5)
    assert wrong.peer()["next_try_at"] == peer["next_try_at"]


def test_stranger_does_not_disturb_the_peer_of_that_name(pair, daemon, echo,
                                                         security):
    """Somebody without the secret uses the name of a peer that is up."""
    p = pair(security, [reverse("web", echo.address)])
    since = p.edge.peer()["since"]
    wrong = stranger_of(p, daemon, security).start()
    error_of(wrong)
    stays_down(wrong)
    assert p.edge.peer()["since"] == since and p.home.is_up()
    round_trip(p.entry("web"))


def test_plain_gateway_answers_alike_on_the_wire(pair):
    """Frame by frame a known and an unknown name get the same answers."""
    p = pair("plain")
    answers = {}
    for name in ("home", "nobody"):
        with connect(p.edge.gateway()) as sock:
            sock.sendall(forge.hello(name))
            kind, fields = forge.read_frame(sock)
            assert kind == forge.CHALLENGE
            sock.sendall(forge.proof())
            refusal = forge.read_frame(sock)
            assert refusal and refusal[0] == forge.REJECT
            assert forge.read_frame(sock) is None
            answers[name] = ([(t, len(v)) for t, v in fields.items()],
                             refusal)
    assert answers["home"] == answers["nobody"]


@pytest.mark.parametrize("edge_mode,home_mode", [("plain", "tls"),
                                                 ("tls", "plain")])
def test_peer_in_the_other_mode(pair_of, daemon, echo, edge_mode, home_mode):
    p = pair_of(edge_mode, [reverse("web", echo.address)],
                home_peer={"security": home_mode})
    p.edge.start()
    p.point_home(p.edge.gateway())
    p.home.start()
    assert error_of(p.home)
    stays_down(p.home)
    assert not p.edge.is_up()
    p.home.stop()
    p.home.config["peers"][0]["security"] = edge_mode
    p.home.start()
    p.wait_up()
    round_trip(p.entry("web"))


# --- impostors ------------------------------------------------------------

class Impostor:
    """Answers whoever dials; `behave(sock)` returns the bytes that it was
    told in confidence."""

    def __init__(self, behave):
        self.behave = behave
        self.sock = listen()
        self.address = written(self.sock)
        self.visits = 0
        self.heard = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            sock.settimeout(5)
            try:
                self.heard.append(self.behave(sock))
            except OSError:
                self.heard.append(b"")
            self.visits += 1
            sock.close()

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    need("openssl")
    top = tmp_path_factory.mktemp("certificate")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=edge", "-keyout", str(top / "key"), "-out", str(top / "cert"))
    return str(top / "cert"), str(top / "key")


def test_impostor_with_a_certificate(pair_of, closing, certificate):
    """TLS 1.3 with a self-signed certificate, the PSK ignored: the dialler
    must notice, say nothing and never come up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def behave(sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.sendall(forge.welcome("edge"))
            return tls.recv(4096)

    impostor = closing(Impostor(behave))
    p = pair_of("tls", link=QUICK)
    p.point_home(impostor.address)
    p.home.start()
    wait_until(lambda: impostor.visits >= 3, 20, "three visits")
    stays_down(p.home, 0.5)
    assert p.home.peer()["last_error"]
    assert set(impostor.heard) == {b""}, "it told an impostor something"


def test_impostor_with_an_older_tls(pair_of, closing, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def behave(sock):
        with context.wrap_socket(sock, server_side=True) as tls:
            return tls.recv(4096)

    impostor = closing(Impostor(behave))
    p = pair_of("tls", link=QUICK)
    p.point_home(impostor.address)
    p.home.start()
    wait_until(lambda: impostor.visits >= 2, 20, "two visits")
    stays_down(p.home, 0.5)
    assert set(impostor.heard) == {b""}


@pytest.mark.parametrize("answer", ["challenge", "welcome", "junk", "echo"])
def test_plain_impostor(pair_of, closing, answer):
    """Nobody without the secret gets a PROOF out of a dialler, let alone a
    link."""
    def behave(sock):
        kind, _ = forge.read_frame(sock)
        assert kind == forge.HELLO
        sock.sendall({"challenge": forge.challenge("edge"),
                      "welcome": forge.welcome("edge"),
                      "junk": os.urandom(2000),
                      "echo": forge.hello("edge")}[answer])
        heard = forge.read_frame(sock)
        if heard is None or heard[0] == forge.REJECT:
            return b""
        sock.sendall(forge.welcome("edge"))
        sock.recv(4096)
        return bytes([heard[0]])

    impostor = closing(Impostor(behave))
    p = pair_of("plain", link=QUICK)
    p.point_home(impostor.address)
    p.home.start()
    wait_until(lambda: impostor.visits >= 3, 20, "three visits")
    stays_down(p.home, 0.5)
    assert p.home.peer()["last_error"]
    assert set(impostor.heard) == {b""}


def test_plain_gateway_under_a_wrong_name(pair_of, daemon, echo):
    """The gateway knows the secret yet calls itself otherwise: the names are
    under the MAC."""
    p = pair_of("plain", [reverse("web", echo.address)],
                edge={"daemon": {"name": "other"}}, link=QUICK)
    p.edge.start()
    p.point_home(p.edge.gateway())
    p.home.start()
    # Whether the name matters is the dialler's choice; that it does not
    # crash and says what it thinks is not.
    wait_until(lambda: p.home.is_up() or p.home.peer()["last_error"], 10,
               "a decision")


# --- replay ---------------------------------------------------------------

def test_replayed_attach(pair_of, security, echo, closing):
    """What went over the wire before is worth nothing again, while the link
    that it belonged to is still up."""
    p = pair_of(security, [reverse("web", echo.address)])
    p.edge.start()
    proxy = closing(Proxy(p.edge.gateway()))
    p.point_home(proxy.address)
    p.home.start()
    p.wait_up()
    for _ in range(3):
        round_trip(p.entry("web"))
    wait_until(lambda: len(proxy.wires) >= 4 and
               all(w.record[1] for w in proxy.wires), 10,
               "channels to be attached")
    since = p.edge.peer()["since"]
    served = echo.served
    records = [bytes(w.record[0]) for w in proxy.wires]
    if security == "plain":
        kinds = [r[0] for r in records]
        assert kinds[0] == forge.HELLO and set(kinds[1:]) == {forge.ATTACH}
    for record in records:
        first_frame = record
        if security == "plain":
            first_frame = record[:8 + struct.unpack(">H", record[2:4])[0]]
        for data in (record, first_frame):
            with connect(p.edge.gateway()) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                answer = b""
                try:
                    while True:
                        piece = sock.recv(65536)
                        if not piece:
                            break
                        answer += piece
                except ConnectionResetError:
                    pass
                if security == "plain":
                    kinds = {kind for kind, _ in forge.split(answer)}
                    assert kinds <= {forge.CHALLENGE, forge.REJECT}
    assert p.edge.peer()["since"] == since, "the link was replaced"
    wait_until(lambda: p.edge.peer()["channels_idle"] <= 2, 5,
               "no more idle channels than the pool has")
    assert echo.served == served
    round_trip(p.entry("web"))


def test_forged_attach(pair):
    p = pair("plain")
    for opener in (0, 1, 2, 255):
        with connect(p.edge.gateway()) as sock:
            sock.sendall(forge.attach(opener=opener))
            answer = forge.read_frame(sock)
            assert answer is None or answer[0] == forge.REJECT
    assert p.home.is_up()


# --- more than was given --------------------------------------------------

def test_tunnel_that_is_not_that_peers(daemon, pair_of, security, echo):
    """The exit knows a tunnel of that name, but of another peer; and one
    that it does not know at all."""
    p = pair_of(
        security, edge_tunnels=[
            {"name": "theirs", "peer": "home", "listen": "127.0.0.1:0"},
            {"name": "none", "peer": "home", "listen": "127.0.0.1:0"}],
        home_tunnels=[{"name": "theirs", "peer": "other",
                       "connect": echo.address}])
    other = dict(p.home.config["peers"][0], name="other")
    other["secret_file"] = p.home.write_secret("other", new_secret())
    other["connect"] = "127.0.0.1:1"
    p.home.config["peers"].append(other)
    p.start()
    for name in ("theirs", "none"):
        refused_user(p.edge.tunnel(name)["listen"], b"let me in")
        row = next(r for r in p.edge.closed() if r["tunnel"] == name)
        assert row["close_reason"] == "denied"
    assert echo.served == 0
    assert p.edge.is_up() and p.home.is_up()


def test_entry_at_both_ends(pair_of, security):
    """Both ends have a listen: nobody can serve, and it is said."""
    p = pair_of(security,
                edge_tunnels=[{"name": "web", "peer": "home",
                               "listen": "127.0.0.1:0"}],
                home_tunnels=[{"name": "web", "peer": "edge",
                               "listen": "127.0.0.1:0"}]).start()
    for d in p.both():
        refused_user(d.tunnel("web")["listen"])
        assert d.closed()[0]["close_reason"] == "denied"


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
def test_noise_on_the_gateway_port(pair, security, echo, ending):
    """Whatever comes, the connection is closed, the peer is not disturbed
    and no descriptor stays behind."""
    p = pair(security, [reverse("web", echo.address)])
    round_trip(p.entry("web"))
    since = p.edge.peer()["since"]
    base = p.edge.fds()
    socks = []
    for data in noises().values():
        sock = connect(p.edge.gateway())
        with contextlib.suppress(OSError):  # it may have had enough already
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
    wait_until(lambda: p.edge.fds() <= base + 2, 20, "descriptors to go back")
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


def test_slow_talker_meets_the_deadline(pair, security):
    """A byte a second does not win time: 10 s in all."""
    p = pair(security)
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
        assert time.monotonic() - began < 3.0 * FACTOR
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


def test_half_open_connections(pair, security, echo):
    """Ends and vanished strangers leave nothing behind."""
    p = pair(security, [reverse("web", echo.address)])
    base = p.edge.fds()
    socks = []
    for index in range(100):
        sock = connect(p.edge.gateway())
        if index % 3 == 0:
            sock.sendall(forge.hello("home")[:20])
        if index % 2:
            sock.shutdown(socket.SHUT_WR)
        socks.append(sock)
    wait_until(lambda: p.edge.fds() <= base + 2, 25, "the deadline to pass")
    for sock in socks:
        sock.close()
    round_trip(p.entry("web"))


# --- a man who tampers ----------------------------------------------------

def test_bits_flipped_in_the_handshake(pair_of, security, echo, closing):
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

    p = pair_of(security, [reverse("web", echo.address)],
                link={"reconnect": {"min": 0.02, "max": 0.1},
                      "heartbeat": {"interval": 0.2, "timeout": 0.8}})
    p.edge.start()
    proxy = closing(Proxy(p.edge.gateway(), tamper=tamper))
    p.point_home(proxy.address)
    p.home.start()
    # A broken length may leave both waiting for the handshake's deadline.
    end = time.monotonic() + 12
    while time.monotonic() < end and len(proxy.wires) < 60:
        time.sleep(0.05)
    assert len(proxy.wires) > 2
    flips["on"] = False
    p.wait_up(30)
    wait_until(lambda: try_round_trip(p), 20, "a session over honest paths")


def try_round_trip(p):
    try:
        round_trip(p.entry("web"))
        return True
    except (OSError, AssertionError):
        return False


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
