# SPDX-License-Identifier: ISC
"""A peer made by hand, who has the secret: he says what a daemon never would,
or knows nothing of lanes as the first tunneld. Written from the description of
the protocol, not from the daemon's codec."""

import base64
import contextlib
import hmac
import os
import socket
import struct
import threading

import forge
from psktls import TlsSocket
from services import connect, listen, written

OPENER_DIALLER, OPENER_GATEWAY, OPENER_LANE = 1, 2, 3
LANES = 14
DATA, FIN, RESET, WINDOW = range(32, 36)
MUX = 1                 # a feature
ZERO = bytes(32)


def hkdf(key, salt, info):
    """RFC 5869, one block."""
    key = hmac.digest(salt or ZERO, key, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def u64(value):
    return struct.pack(">Q", value)


def counted(text):
    return u64(len(text)) + text


def transcript(hello, challenge):
    """What both said; both are {tag: bytes}."""
    def number(said, tag):
        return u64(int.from_bytes(said[tag], "big"))
    return b"".join([
        number(hello, 1), number(hello, 2), number(hello, 3),
        number(hello, 4), counted(hello[5]), hello[6], hello[7],
        number(hello, 8), number(challenge, 1), number(challenge, 2),
        counted(challenge[3]), challenge[4]])


def role_mac(secret, role, hello, challenge):
    key = hkdf(secret, None, b"tunneld/1 plain " + role)
    return hmac.digest(key, counted(role) + transcript(hello, challenge),
                       "sha256")


def plain_key(secret, hello, challenge):
    return hkdf(secret, hello[6] + challenge[4],
                b"tunneld/1 plain link" + transcript(hello, challenge))


def attach_mac(key, what, link_id, serial, opener):
    return hmac.digest(key, counted(what) + link_id + u64(serial) +
                       u64(opener), "sha256")


def fields(kind, message):
    """{tag: bytes} of a frame that must be of that kind."""
    assert message and message[0] == kind, (kind, message)
    return message[1]


def tagged(said):
    return [said[tag] for tag in sorted(said)]


def hang_up(sock):
    """Even if a thread waits in recv()."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Link:
    """The link of a handmade peer; PING is answered, all else is kept."""

    def __init__(self, sock, key, link_id):
        self.sock = sock
        self.key = key
        self.link_id = link_id
        self.serial = 0
        self.frames = []
        self.news = threading.Condition()
        self.ended = False
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                message = forge.read_frame(self.sock)
                if message is None:
                    break
                if message[0] == forge.PING:
                    self.sock.sendall(forge.frame(forge.PONG,
                                                  message[1][1]))
                    continue
                with self.news:
                    self.frames.append(message)
                    self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait(self, kind, timeout=10):
        """The first frame of that kind."""
        def found():
            return next((m for m in self.frames if m[0] == kind), None)
        with self.news:
            assert self.news.wait_for(lambda: found() or self.ended, timeout)
            return found()

    def close(self):
        hang_up(self.sock)


class Dialler:
    """Who dials a gateway as the peer `name`, and offers `features`."""

    def __init__(self, address, secret, security, name="home", features=MUX):
        self.address = address
        self.secret = base64.b64decode(secret)
        self.security = security
        self.name = name.encode()
        self.socks = []
        sock = self.dial()
        hello = {1: b"\x01", 2: b"\x01", 3: struct.pack(">I", features),
                 4: bytes([forge.TLS if security == "tls" else forge.PLAIN]),
                 5: self.name, 6: os.urandom(32), 7: os.urandom(16),
                 8: u64(1)}
        sock.sendall(forge.frame(forge.HELLO, *tagged(hello)))
        if security == "tls":
            key = sock.link_key()
        else:
            challenge = fields(forge.CHALLENGE, forge.read_frame(sock))
            assert challenge[5] == role_mac(self.secret, b"gateway", hello,
                                            challenge)
            key = plain_key(self.secret, hello, challenge)
            sock.sendall(forge.frame(forge.PROOF, role_mac(
                self.secret, b"dialler", hello, challenge)))
        welcome = fields(forge.WELCOME, forge.read_frame(sock))
        self.features = int.from_bytes(welcome[2], "big")
        self.link = Link(sock, key, welcome[4])

    def dial(self):
        sock = connect(self.address)
        if self.security == "tls":
            sock = TlsSocket(sock, self.secret, self.name)
        self.socks.append(sock)
        return sock

    def attach(self, opener):
        """Another connection of the link."""
        link = self.link
        link.serial += 1
        sock = self.dial()
        sock.sendall(forge.frame(
            forge.ATTACH, link.link_id, u64(link.serial), bytes([opener]),
            attach_mac(link.key, b"attach", link.link_id, link.serial,
                       opener)))
        answer = fields(forge.ATTACHED, forge.read_frame(sock))
        assert answer[1] == attach_mac(link.key, b"attached", link.link_id,
                                       link.serial, opener)
        return sock

    def lane(self):
        return Lane(self.attach(OPENER_LANE), dialler=True)

    def close(self):
        for sock in self.socks:
            hang_up(sock)


class Gateway:
    """Whom a daemon dials; chooses `features` whatever it is offered.
    `attached(sock, opener)` is called by a thread of its own."""

    def __init__(self, secret, security, attached=None, name="edge",
                 features=MUX):
        self.secret = base64.b64decode(secret)
        self.security = security
        self.name = name.encode()
        self.features = features
        self.attached = attached
        self.link = None
        self.offered = None
        self.errors = []
        self.openers = []
        self.socks = []
        self.is_up = threading.Event()
        self.sock = listen()
        self.address = written(self.sock)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.handle, args=(sock,),
                             daemon=True).start()

    def handle(self, sock):
        self.socks.append(sock)
        sock.settimeout(20)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.security == "tls":
                sock = TlsSocket(sock, self.secret)
                self.socks.append(sock)
            kind, said = forge.read_frame(sock)
            if kind == forge.HELLO:
                self.welcome(sock, said)
            else:
                assert kind == forge.ATTACH
                self.accept(sock, said)
        except (OSError, AssertionError, TypeError) as error:
            self.errors.append(error)

    def welcome(self, sock, hello):
        chosen = struct.pack(">I", self.features)
        if self.security == "tls":
            key = sock.link_key()
        else:
            challenge = {1: b"\x01", 2: chosen, 3: self.name,
                         4: os.urandom(32)}
            challenge[5] = role_mac(self.secret, b"gateway", hello, challenge)
            key = plain_key(self.secret, hello, challenge)
            sock.sendall(forge.frame(forge.CHALLENGE, *tagged(challenge)))
            proof = fields(forge.PROOF, forge.read_frame(sock))
            assert proof[1] == role_mac(self.secret, b"dialler", hello,
                                        challenge)
        link_id = os.urandom(16)
        sock.sendall(forge.frame(forge.WELCOME, b"\x01", chosen, self.name,
                                 link_id))
        self.offered = int.from_bytes(hello[3], "big")
        self.link = Link(sock, key, link_id)
        self.is_up.set()

    def accept(self, sock, said):
        # WELCOME is out before the link is made here.
        assert self.is_up.wait(10)
        link = self.link
        serial, opener = int.from_bytes(said[2], "big"), said[3][0]
        assert said[1] == link.link_id
        assert said[4] == attach_mac(link.key, b"attach", link.link_id,
                                     serial, opener)
        self.openers.append(opener)
        sock.sendall(forge.frame(forge.ATTACHED, attach_mac(
            link.key, b"attached", link.link_id, serial, opener)))
        if self.attached:
            self.attached(sock, opener)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for sock in self.socks:
            hang_up(sock)


# --- lanes and channels ------------------------------------------------------

def open_frame(tunnel, channel=0, source="127.0.0.1:9", uid=None):
    return forge.frame(forge.OPEN, uid or os.urandom(16), tunnel.encode(),
                       source.encode(), b"", channel=channel)


def data_frame(channel, data):
    return struct.pack(">BBHI", DATA, len(data) >> 16, len(data) & 0xffff,
                       channel) + data


class Lane:
    """A lane; read() skips the heartbeat."""

    def __init__(self, sock, dialler):
        self.sock = sock
        self.first, self.theirs = (1, 2) if dialler else (2, 1)

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                return None
            data += piece
        return data

    def read(self):
        """(kind, channel, payload), or None once it is over."""
        while True:
            try:
                header = self.exactly(8)
                if header is None:
                    return None
                kind, high, length, channel = struct.unpack(">BBHI", header)
                if kind == DATA:
                    length |= high << 16
                payload = self.exactly(length) if length else b""
            except ConnectionError:
                return None
            if payload is None:
                return None
            if kind == forge.PING:
                self.send(forge.frame(forge.PONG, payload[3:]))
            elif kind != forge.PONG:
                return kind, channel, payload

    def expect(self, kind, channel):
        """The next frame but WINDOW; its payload."""
        while True:
            message = self.read()
            assert message, "the lane is over"
            if message[0] != WINDOW:
                break
        assert message[:2] == (kind, channel), message
        return message[2]

    def close(self):
        self.sock.close()
