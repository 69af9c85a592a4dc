# SPDX-License-Identifier: ISC
"""A stranger who knows the frames of the wire but no secret. Written from
the description of the protocol, not from the daemon's codec."""

import os
import struct

HELLO, CHALLENGE, PROOF, WELCOME, REJECT, ATTACH, ATTACHED = range(1, 8)
PING, PONG, WANT, RETIRE, CLOSE, GOAWAY = range(8, 14)
OPEN, OPENED, FAILED = range(16, 19)

PLAIN, TLS = 1, 2


def frame(kind, *fields, channel=0):
    """fields are the values of tags 1, 2, ... as bytes."""
    payload = b"".join(struct.pack(">BH", tag, len(value)) + value
                       for tag, value in enumerate(fields, 1))
    return struct.pack(">BBHI", kind, 0, len(payload), channel) + payload


def hello(name, security=PLAIN, version=1, epoch=1, instance=None):
    return frame(HELLO, bytes([version]), bytes([version]), bytes(4),
                 bytes([security]), name.encode(), os.urandom(32),
                 instance or os.urandom(16), struct.pack(">Q", epoch))


def proof():
    return frame(PROOF, os.urandom(32))


def challenge(name):
    return frame(CHALLENGE, b"\x01", bytes(4), name.encode(), os.urandom(32),
                 os.urandom(32))


def welcome(name):
    return frame(WELCOME, b"\x01", bytes(4), name.encode(), os.urandom(16))


def attach(serial=1, opener=1):
    return frame(ATTACH, os.urandom(16), struct.pack(">Q", serial),
                 bytes([opener]), os.urandom(32))


def split(data):
    """[(kind, {tag: value})] of the whole frames at the front of data."""
    frames = []
    while len(data) >= 8:
        kind, _, length, _ = struct.unpack(">BBHI", data[:8])
        if len(data) < 8 + length:
            break
        payload, data = data[8:8 + length], data[8 + length:]
        fields = {}
        while payload:
            tag, size = struct.unpack(">BH", payload[:3])
            fields[tag] = payload[3:3 + size]
            payload = payload[3 + size:]
        frames.append((kind, fields))
    return frames


def read_frame(sock):
    """The next frame, or None at the end of the stream or a reset."""
    data = b""
    try:
        while len(data) < 8 or len(data) < 8 + data[2] * 256 + data[3]:
            want = 8 if len(data) < 8 else 8 + data[2] * 256 + data[3]
            piece = sock.recv(want - len(data))
            if not piece:
                return None
            data += piece
    except ConnectionResetError:
        return None
    return split(data)[0]
