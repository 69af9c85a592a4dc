# SPDX-License-Identifier: ISC
"""The service and its users, for tests/bench/paths.

    paths_load.py serve PORT-BULK PORT-SHORT
    paths_load.py bulk HOST PORT COUNT WARM-UP SECONDS
    paths_load.py short HOST PORT SECONDS SEED

The service sends zeros to whoever comes for bulk, as many as he takes, and an
answer of 200 bytes to each request of 64. Users of the first kind count what
they receive; those of the second ask now and then, and take the time: some on
a session that stays, some on a new one for each request. Both print JSON.
"""

import json
import os
import random
import selectors
import socket
import sys
import threading
import time

QUESTION, ANSWER = bytes(64), bytes(200)
PATIENCE = 30.0     # seconds that an answer may take
KEPT, FRESH = 8, 4  # users who ask
EVERY_KEPT, EVERY_FRESH = 0.1, 0.25     # seconds from question to question


def receive(sock, size):
    """So many bytes, or fewer at the end."""
    got = 0
    while got < size:
        n = len(sock.recv(size - got))
        if n == 0:
            break
        got += n
    return got


# --- the service -----------------------------------------------------------------

def give_bulk(sock):
    piece = bytes(65536)
    while True:
        sock.sendall(piece)


def give_answers(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while receive(sock, len(QUESTION)) == len(QUESTION):
        sock.sendall(ANSWER)


def serve_one(sock, function):
    with sock:
        try:
            function(sock)
        except OSError:
            pass    # he is gone


def accept_all(listener, function):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock, function),
                         daemon=True).start()


def serve(bulk, short):
    """A process for each, that they do not wait for each other."""
    listeners = [socket.create_server(("", int(port)), backlog=256)
                 for port in (bulk, short)]
    print("ready", flush=True)
    if os.fork() == 0:
        parent = os.getppid()
        threading.Thread(target=accept_all, args=(listeners[0], give_bulk),
                         daemon=True).start()
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(0)
    accept_all(listeners[1], give_answers)


# --- users -------------------------------------------------------------------------

def bulk(host, port, count, warm_up, seconds):
    """Bytes that each received after the warm-up."""
    selector = selectors.DefaultSelector()
    socks = [socket.create_connection((host, int(port)), timeout=PATIENCE)
             for _ in range(int(count))]
    for i, sock in enumerate(socks):
        selector.register(sock, selectors.EVENT_READ, i)
    place = bytearray(1 << 18)
    begin = time.monotonic() + float(warm_up)
    end = begin + float(seconds)
    got = [0] * len(socks)
    while (now := time.monotonic()) < end:
        for key, _ in selector.select(min(0.1, end - now)):
            n = key.fileobj.recv_into(place)
            if n == 0:
                sys.exit("transfer %d ended by itself" % key.data)
            if now >= begin:
                got[key.data] += n
    for i, n in enumerate(got):
        if n == 0:
            sys.exit("transfer %d of %s moved no bytes" % (i, count))
    for sock in socks:
        sock.close()
    return {"seconds": float(seconds), "bytes": got}


def ask(sock):
    sock.sendall(QUESTION)
    if receive(sock, len(ANSWER)) != len(ANSWER):
        raise OSError("no whole answer")


def connect(host, port):
    sock = socket.create_connection((host, port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Asker(threading.Thread):
    def __init__(self, where, kept, end, seed):
        super().__init__(daemon=True)
        self.where, self.kept, self.end = where, kept, end
        self.dice = random.Random(seed)
        self.times = []
        self.error = "it never ended"

    def run(self):
        try:
            self.ask_all()
            self.error = None if self.times else "no answer at all"
        except OSError as error:
            self.error = str(error)

    def ask_all(self):
        every = EVERY_KEPT if self.kept else EVERY_FRESH
        sock = None
        if self.kept:
            sock = connect(*self.where)
            ask(sock)   # the session is there
        due = time.monotonic() + self.dice.random() * every
        while due < self.end:
            time.sleep(max(due - time.monotonic(), 0))
            begin = time.monotonic()
            if self.kept:
                ask(sock)
            else:
                with connect(*self.where) as fresh:
                    ask(fresh)
            now = time.monotonic()
            self.times.append(now - begin)
            due = max(due + every * (0.75 + self.dice.random() / 2), now)


def short(host, port, seconds, seed):
    """What each question took, in seconds."""
    end = time.monotonic() + float(seconds)
    askers = [Asker((host, int(port)), i < KEPT, end, int(seed) * 100 + i)
              for i in range(KEPT + FRESH)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(float(seconds) + 2 * PATIENCE)
        if asker.error:
            sys.exit("a request failed: %s" % asker.error)
    return {"kept": [t for a in askers if a.kept for t in a.times],
            "fresh": [t for a in askers if not a.kept for t in a.times]}


if __name__ == "__main__":
    RESULT = {"serve": serve, "bulk": bulk, "short": short}[sys.argv[1]](
        *sys.argv[2:])
    print(json.dumps(RESULT))
