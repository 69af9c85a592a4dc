# SPDX-License-Identifier: ISC
"""Many users at once."""

import contextlib
import selectors
import socket
import struct
import time

from harness import FACTOR
from services import PATTERN, Pump, ask, connect, expect_end, parse, reset


class Swarm:
    """Many users of an echo, driven by one selector."""

    def __init__(self, address, count):
        self.family, self.name = parse(address)
        self.socks = []
        for _ in range(count):
            sock = socket.socket(self.family)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(self.name)
            self.socks.append(sock)

    def exchange(self, size, deadline=90.0, end=False):
        """Everybody sends size bytes of his own and gets them back; with
        `end` he then ends his side and must see the other's end."""
        selector = selectors.EpollSelector()
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        for index, sock in enumerate(self.socks):
            start = index * 7919 % (len(PATTERN) - 8)
            data = (struct.pack(">Q", index) + PATTERN[start:] +
                    PATTERN * (1 + size // len(PATTERN)))[:size]
            selector.register(sock, both, {
                "left": memoryview(data), "due": memoryview(data)})
        limit = time.monotonic() + deadline * FACTOR
        open_ones = len(self.socks)
        while open_ones:
            assert time.monotonic() < limit, \
                "%d of %d users are not served" % (open_ones, len(self.socks))
            for key, events in selector.select(1.0):
                if self.turn(selector, key, events, end):
                    selector.unregister(key.fileobj)
                    open_ones -= 1
        selector.close()

    @staticmethod
    def turn(selector, key, events, end):
        sock, state = key.fileobj, key.data
        if events & selectors.EVENT_WRITE and state["left"]:
            with contextlib.suppress(BlockingIOError):
                state["left"] = state["left"][sock.send(state["left"]):]
            if not state["left"]:
                if end:
                    sock.shutdown(socket.SHUT_WR)
                selector.modify(sock, selectors.EVENT_READ, state)
        if events & selectors.EVENT_READ:
            try:
                piece = sock.recv(262144)
            except BlockingIOError:
                return False
            if not piece:
                assert end and not state["due"], \
                    "end with %d bytes missing" % len(state["due"])
                return True
            assert bytes(state["due"][:len(piece)]) == piece, \
                "wrong bytes came back"
            state["due"] = state["due"][len(piece):]
        return not end and not state["due"]

    def close(self):
        for sock in self.socks:
            sock.close()


def many_sessions(address, count, workers=20, data=b"x" * 300,
                  resets_every=0):
    """count short sessions with an echo, some at a time. Every resets_every-th
    user leaves with a reset."""
    def body(share):
        for index in range(share):
            with connect(address) as sock:
                ask(sock, data)
                if resets_every and index % resets_every == 0:
                    reset(sock)
                    continue
                sock.shutdown(socket.SHUT_WR)
                expect_end(sock)
    shares = [count // workers + (n < count % workers)
              for n in range(workers)]
    for pump in [Pump(body, share) for share in shares]:
        pump.result()
