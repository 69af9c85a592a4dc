# SPDX-License-Identifier: ISC
"""Users and services of the tests: sockets, byte pumps and small servers."""

import contextlib
import os
import queue
import random
import select
import selectors
import socket
import struct
import threading
import time
import zlib

from harness import FACTOR

threading.stack_size(256 * 1024)

TIMEOUT = 20.0 * FACTOR
BULK_MIB = int(os.environ.get("TUNNELD_BULK_MIB", "1024"))

# A prime length, so that no power of two divides it: bytes moved by a whole
# buffer never fall on equal bytes. Each copy is numbered besides.
PATTERN = random.Random(4711).randbytes(999983)


def parse(address):
    """(family, socket address) of what the daemon prints."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address[len("unix:"):]
    host, port = address.rsplit(":", 1)
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    if host in ("0.0.0.0", ""):
        host = "127.0.0.1"
    return socket.AF_INET, (host, int(port))


def written(sock):
    """The address of a listening socket as a config writes it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return "unix:" + name
    return ("[%s]:%d" if ":" in name[0] else "%s:%d") % name[:2]


def connect(address, source=None, timeout=TIMEOUT, rcvbuf=None):
    family, name = parse(address)
    sock = socket.socket(family)
    try:
        sock.settimeout(timeout)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            sock.bind((source, 0))
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(name)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(address="127.0.0.1:0", backlog=4096):
    family, name = parse(address)
    sock = socket.socket(family)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(name)
    sock.listen(backlog)
    return sock


def kernel_buffers(connections):
    """What the kernel may keep for so many connections, at either end."""
    most = 0
    for name in ("tcp_rmem", "tcp_wmem"):
        with open("/proc/sys/net/ipv4/" + name, encoding="ascii") as file:
            most += int(file.read().split()[2])
    return connections * most


def reset(sock):
    """Closes with a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()


def is_alive(sock):
    """True while neither an end nor a reset has arrived (nothing is read)."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


# --- what must arrive -----------------------------------------------------

def read_exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), 1 << 20))
        assert piece, "end after %d of %d bytes" % (len(data), count)
        data += piece
    return bytes(data)


def read_all(sock):
    """Everything up to the end; a reset raises."""
    data = bytearray()
    while True:
        piece = sock.recv(1 << 20)
        if not piece:
            return bytes(data)
        data += piece


def drain(sock):
    """Reads to the end or the reset, whichever comes; which of them."""
    try:
        while sock.recv(1 << 20):
            pass
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    return "end"


def expect_end(sock):
    assert sock.recv(1) == b""


def expect_reset(sock, early=b""):
    """A reset must come, and not one byte. It may come while we speak."""
    try:
        sock.sendall(early)
        data = sock.recv(65536)
    except ConnectionResetError:
        return
    raise AssertionError("a reset was due, not %s" %
                         ("an end" if not data else data[:40]))


def refused_user(address, early=b"", source=None):
    """A user who must be reset: perhaps before his connect() has returned."""
    try:
        sock = connect(address, source=source)
    except ConnectionResetError:
        return
    with sock:
        expect_reset(sock, early)


def ask(sock, data=b"ping"):
    """One round trip through an echo, of what fits its buffers."""
    sock.sendall(data)
    assert read_exactly(sock, len(data)) == data


def round_trip(address, data=b"hello through the tunnel", source=None):
    """A whole session with an echo service, ended in order."""
    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    with connect(address, source=source) as sock:
        if len(data) > 16384:   # more than the buffers may hold
            pump = Pump(send)
            assert read_all(sock) == data
            pump.result()
        else:
            send()
            assert read_all(sock) == data


def join(p, listener, tunnel="web"):
    """A user and the service's end of one session."""
    user = connect(p.entry(tunnel))
    return user, listener.accept()


# --- pumps ----------------------------------------------------------------

class Pump(threading.Thread):
    """A thread whose failure fails the test that joins it."""

    def __init__(self, body, *args):
        super().__init__(daemon=True)
        self.body = body
        self.args = args
        self.value = None
        self.error = None
        self.start()

    def run(self):
        try:
            self.value = self.body(*self.args)
        except BaseException as error:
            self.error = error

    def result(self, timeout=100 * FACTOR):
        self.join(timeout)
        assert not self.is_alive(), "a pump stands still"
        if self.error:
            raise self.error
        return self.value


def send_pattern(sock, count, end=True, salt=0):
    """Sends count bytes of the numbered pattern; their checksum. Two streams
    with different salts have no block in common."""
    crc = 0
    serial = 0
    left = count
    while left:
        block = struct.pack(">QQ", serial, left ^ salt) + PATTERN
        block = memoryview(block)[:left]
        sock.sendall(block)
        crc = zlib.crc32(block, crc)
        left -= len(block)
        serial += 1
    if end:
        sock.shutdown(socket.SHUT_WR)
    return crc


def take_pattern(sock, count=None):
    """Reads count bytes, or up to the end: (how many, checksum)."""
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    crc = 0
    total = 0
    while count is None or total < count:
        room = len(buffer) if count is None else min(len(buffer),
                                                     count - total)
        got = sock.recv_into(view[:room])
        if not got:
            break
        crc = zlib.crc32(view[:got], crc)
        total += got
    return total, crc


def fill(sock, quiet=1.0):
    """Sends until nothing was accepted for a while: how much that was."""
    sent = 0
    sock.settimeout(quiet)
    with contextlib.suppress(TimeoutError, socket.timeout):
        while True:
            sent += sock.send(PATTERN[:65536])
    sock.settimeout(TIMEOUT)
    return sent


class Flood(threading.Thread):
    """Sends for as long as it can. `sent` tells how far it came, `error`
    what stopped it. The kernel tells a reset once: whoever asks first."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.sent = 0
        self.error = None
        self.start()

    def run(self):
        try:
            while True:
                self.sent += self.sock.send(PATTERN)
        except OSError as error:
            self.error = error

    def was_reset(self):
        self.join(TIMEOUT)
        assert not self.is_alive(), "a sender was not told"
        return isinstance(self.error, ConnectionResetError)

    def wait_stalled(self, quiet=1.0, deadline=30.0):
        """Waits until nothing was accepted for a while."""
        end = time.monotonic() + deadline * FACTOR
        last, since = self.sent, time.monotonic()
        while time.monotonic() - since < quiet or not last:
            assert time.monotonic() < end, "the sender is never stopped"
            time.sleep(0.05)
            if self.sent != last:
                last, since = self.sent, time.monotonic()
        return last


# --- services -------------------------------------------------------------

class Listener:
    """A service that does nothing by itself: the test accepts by hand."""

    def __init__(self, address="127.0.0.1:0", backlog=4096):
        self.sock = listen(address, backlog)
        self.sock.settimeout(TIMEOUT)
        self.address = written(self.sock)
        self.accepted = []

    def accept(self, timeout=None):
        self.sock.settimeout(timeout or TIMEOUT)
        sock = self.sock.accept()[0]
        sock.settimeout(TIMEOUT)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted.append(sock)
        return sock

    def nobody_comes(self, seconds):
        self.sock.settimeout(seconds)
        try:
            self.sock.accept()[0].close()
        except (TimeoutError, socket.timeout):
            return True
        return False

    def close(self):
        for sock in self.accepted:
            sock.close()
        self.sock.close()


class Service(Listener):
    """A service with a thread for each connection."""

    def __init__(self, handler, address="127.0.0.1:0"):
        super().__init__(address)
        self.sock.settimeout(None)
        self.handler = handler
        self.results = queue.Queue()
        self.open = set()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            self.open.add(sock)
            threading.Thread(target=self.handle, args=(sock,),
                             daemon=True).start()

    def handle(self, sock):
        sock.settimeout(TIMEOUT * 5)
        try:
            self.results.put(self.handler(sock))
        except OSError as error:
            self.results.put(error)
        finally:
            self.open.discard(sock)
            sock.close()

    def close(self):
        # Unlike close() alone, shutdown() wakes the accepting thread.
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for sock in list(self.open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Echo:
    """Every byte back, and the end too; one thread for thousands of
    connections, with bounded memory for each."""

    LIMIT = 1 << 18

    def __init__(self, address="127.0.0.1:0"):
        self.sock = listen(address)
        self.sock.setblocking(False)
        self.address = written(self.sock)
        self.served = 0
        self.wake, self.waker = socket.socketpair()
        self.selector = selectors.EpollSelector()
        self.selector.register(self.sock, selectors.EVENT_READ, None)
        self.selector.register(self.wake, selectors.EVENT_READ, None)
        self.clients = {}
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            for key, events in self.selector.select():
                if key.fileobj is self.wake:
                    return
                if key.fileobj is self.sock:
                    self.accept()
                else:
                    try:
                        self.turn(key.fileobj, key.data, events)
                    except OSError:
                        self.drop(key.fileobj)

    def accept(self):
        with contextlib.suppress(BlockingIOError):
            for _ in range(256):
                sock = self.sock.accept()[0]
                sock.setblocking(False)
                sock_state = {"data": bytearray(), "ended": False}
                self.clients[sock] = sock_state
                self.selector.register(sock, selectors.EVENT_READ, sock_state)
                self.served += 1

    def drop(self, sock):
        self.selector.unregister(sock)
        self.clients.pop(sock, None)
        sock.close()

    def turn(self, sock, state, events):
        data = state["data"]
        if not state["ended"] and len(data) < self.LIMIT and \
                events & selectors.EVENT_READ:
            piece = sock.recv(65536)
            state["ended"] = not piece
            data += piece
        with contextlib.suppress(BlockingIOError):
            while data:
                del data[:sock.send(data)]
        if state["ended"] and not data:
            self.drop(sock)
            return
        wanted = 0
        if not state["ended"] and len(data) < self.LIMIT:
            wanted |= selectors.EVENT_READ
        if data:
            wanted |= selectors.EVENT_WRITE
        self.selector.modify(sock, wanted, state)

    def close(self):
        self.waker.send(b"x")
        self.thread.join(TIMEOUT)
        for sock in list(self.clients):
            self.drop(sock)
        self.selector.close()
        for sock in (self.sock, self.wake, self.waker):
            sock.close()
