# SPDX-License-Identifier: ISC
"""Whoever is not a peer, or wants more than he was given."""

import base64
import contextlib
import os
import socket
import ssl
import struct
import threading
import time

import pytest

import forge
from harness import need, new_secret, reverse, run, wait_until
from middle import Proxy
from services import connect, listen, refused_user, round_trip, written

QUICK = {"reconnect": {"min": 0.1, "max": 0.4}}


def stays_down(d, seconds=2.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not d.is_up(), "%s is up" % d.name
        time.sleep(0.05)


def error_of(d):
    return wait_until(lambda: d.peer()["last_error"], 10,
                      "%s to say why" % d.name)


# --- what is agreed ---------------------------------------------------------

def test_dialler_without_aes_gets_the_other_cipher(pair_of):
    """It names the one first that its processor does well."""
    need("openssl")
    p = pair_of("tls")
    p.edge.start()
    aes, chacha = "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"
    for first, second in ((aes, chacha), (chacha, aes)):
        told = run("openssl", "s_client", "-connect", p.edge.gateway(),
                   "-psk", base64.b64decode(p.secret).hex(),
                   "-psk_identity", "home", "-ciphersuites",
                   first + ":" + second, check=False).stdout
        assert "Cipher is " + first in told


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
        heard = forge.read_frame(sock)
        if heard is None:       # the dialler was stopped just then
            return b""
        assert heard[0] == forge.HELLO
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
    wait_until(lambda: len(proxy.wires) >= 3 and
               all(w.record[1] for w in proxy.wires), 10,
               "channels to be attached")
    since = p.edge.peer()["since"]
    served = echo.served
    records = [bytes(w.record[0]) for w in proxy.wires]
    if security == "plain":
        kinds = [r[0] for r in records]
        assert kinds[0] == forge.HELLO and set(kinds[1:]) == {forge.ATTACH}
    strangers = []      # all at once: some are given 10 s
    for record in records:
        first_frame = record
        if security == "plain":
            first_frame = record[:8 + struct.unpack(">H", record[2:4])[0]]
        for data in (record, first_frame):
            strangers.append(closing(connect(p.edge.gateway())))
            strangers[-1].sendall(data)
            strangers[-1].shutdown(socket.SHUT_WR)
    for sock in strangers:
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                answer += piece
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
