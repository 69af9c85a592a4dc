# SPDX-License-Identifier: ISC
"""A man in the middle."""

import collections
import contextlib
import socket
import struct
import threading
import time

from services import connect, listen, written


class Wire:
    """One connection through a Proxy."""

    def __init__(self, proxy, index, near, far):
        self.proxy = proxy
        self.index = index
        self.near = near    # towards who dialled
        self.far = far      # towards the gateway
        self.record = [bytearray(), bytearray()]
        self.passed = [0, 0]    # for tamper() to count in
        self.quiet = False  # ends are not passed on

    def lose_near(self):
        """Who dialled loses the connection, the gateway hears nothing."""
        self.quiet = True
        self.shut(self.near)

    def shut(self, *socks):
        for sock in socks or (self.near, self.far):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def pump(self, way):
        source, sink = ((self.near, self.far), (self.far, self.near))[way]
        if self.proxy.delay:
            sink = Later(sink, self.proxy.delay)
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if len(self.record[way]) < 1 << 16:
                    self.record[way] += data
                tamper = self.proxy.tamper
                if tamper:
                    data = tamper(self, way, data)
                sink.sendall(data)
            if not self.quiet:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.quiet:
                with contextlib.suppress(OSError):
                    # close() does nothing while the other pump sits in
                    # recv(): wake it first.
                    sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                    struct.pack("ii", 1, 0))
                    sink.shutdown(socket.SHUT_RD)
                    sink.close()


class Later:
    """What is sent arrives some time later, and so does the end; as much may
    be under way as is sent meanwhile."""

    BOUND = 256 << 20

    def __init__(self, sock, delay):
        self.sock = sock
        self.delay = delay
        self.queue = collections.deque()
        self.size = 0
        self.news = threading.Condition()
        threading.Thread(target=self.carry, daemon=True).start()

    def put(self, data):
        with self.news:
            assert self.size < self.BOUND
            self.size += len(data or b"")
            self.queue.append((time.monotonic() + self.delay, data))
            self.news.notify()

    sendall = put

    def carry(self):
        with contextlib.suppress(OSError):
            while True:
                with self.news:
                    self.news.wait_for(lambda: self.queue)
                    due, data = self.queue.popleft()
                time.sleep(max(0, due - time.monotonic()))
                if data is None:
                    self.sock.shutdown(socket.SHUT_RDWR)
                    break
                self.sock.sendall(data)
                with self.news:
                    self.size -= len(data)

    def shutdown(self, how):
        self.put(None)

    def setsockopt(self, *what):
        """A reset is an end here."""

    def close(self):
        self.put(None)


class Proxy:
    """Stands between two daemons, records both ways, and may tamper:
    `tamper(wire, way, data)` returns what is passed on; way 0 is towards the
    gateway. With `delay` everything takes so many seconds, each way;
    `rcvbuf` bounds what comes from the gateway and is not read yet."""

    def __init__(self, target, address="127.0.0.1:0", tamper=None, delay=0,
                 rcvbuf=None):
        self.target = target
        self.delay = delay
        self.rcvbuf = rcvbuf
        self.tamper = tamper
        self.wires = []
        self.sock = listen(address)
        self.address = written(self.sock)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                near = self.sock.accept()[0]
            except OSError:
                return
            try:
                far = connect(self.target, timeout=None,
                              rcvbuf=self.rcvbuf)
            except OSError:
                near.close()
                continue
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(self, len(self.wires), near, far)
            self.wires.append(wire)
            for way in (0, 1):
                threading.Thread(target=wire.pump, args=(way,),
                                 daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for wire in self.wires:
            wire.shut()
            wire.near.close()
            wire.far.close()
