# SPDX-License-Identifier: ISC
"""Users who stay, for tests/bench/scale_sessions.py.

    scale_load.py PORT COUNT

Opens COUNT connections to 127.0.0.1:PORT, asks one HTTP request on each, sees
that it is answered in full, and says "held COUNT". Then does what it is told
on its standard input, and says so when it is done:

    ask N       N more requests, one connection after the other
    end         closes them all

Whatever goes wrong ends it, with a message.
"""

import contextlib
import json
import select
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
ABREAST = 64        # who are being answered at a time
PATIENCE = 60.0


class Crowd:
    def __init__(self, port, answer):
        self.port = port
        self.answer = answer    # how long it is
        self.socks = {}
        self.poll = select.epoll()
        self.next = 0

    def connect(self):
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self.port))
        self.socks[sock.fileno()] = sock
        self.poll.register(sock, select.EPOLLOUT)
        return sock.fileno()

    def exchange(self, pick, count):
        """So many are asked and answered, each at whatever fd pick() gives;
        at most ABREAST at a time."""
        missing, begun = {}, 0
        until = time.monotonic() + PATIENCE + count / 500
        while begun < count or missing:
            while begun < count and len(missing) < ABREAST:
                fd = pick()
                if fd in missing:
                    break
                missing[fd] = self.answer
                self.poll.modify(fd, select.EPOLLOUT)
                begun += 1
            for fd, events in self.poll.poll(1.0):
                self.turn(fd, events, missing)
            if time.monotonic() > until:
                sys.exit(f"{len(missing)} users wait for an answer")

    def turn(self, fd, events, missing):
        sock = self.socks[fd]
        if fd not in missing:
            sys.exit("a user who said nothing hears something")
        if events & select.EPOLLOUT:
            if sock.send(REQUEST) != len(REQUEST):
                sys.exit("a request was not taken in one piece")
            self.poll.modify(fd, select.EPOLLIN)
            return
        got = len(sock.recv(65536))
        missing[fd] -= got
        if got == 0 or missing[fd] < 0:
            sys.exit("a user was answered with too much or too little")
        if missing[fd] == 0:
            del missing[fd]

    def pick_next(self):
        fd = self.order[self.next % len(self.order)]
        self.next += 1
        return fd

    def hold(self, count):
        self.exchange(self.connect, count)
        self.order = list(self.socks)


def measure_answer(port):
    """How long an answer is; they are all alike."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(REQUEST)
        time.sleep(0.3)
        size = len(sock.recv(65536))
        if size == 0:
            sys.exit("nobody answers")
        return size


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    crowd = Crowd(port, measure_answer(port))
    crowd.hold(count)
    print(f"held {len(crowd.socks)}", flush=True)
    for line in sys.stdin:
        words = line.split()
        begin = time.monotonic()
        if words[0] == "ask":
            crowd.exchange(crowd.pick_next, int(words[1]))
        elif words[0] == "end":
            for sock in crowd.socks.values():
                sock.close()
            crowd.socks.clear()
        print(json.dumps({"done": words[0],
                          "seconds": time.monotonic() - begin}), flush=True)


if __name__ == "__main__":
    main()
