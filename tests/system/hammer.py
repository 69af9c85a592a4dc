# SPDX-License-Identifier: ISC
"""A program that connects to a web service in a loop, RATE times a second,
each time for one answer that it checks to the last byte. In a process of its
own, so that whoever watches does not slow it down.

    hammer.py ADDRESS RATE PATH FILE

What it got so far is a line of JSON on stdout, some times a second. It ends
with its stdin, once all that it asked for has been answered."""

import collections
import json
import os
import select
import socket
import sys
import time

DEADLINE = 40.0     # of one connection
# At a time. More than a second's worth would be a crowd that a slow machine
# cannot serve before they have waited too long.
MOST = 100


class Call:
    def __init__(self, sock, began):
        self.sock = sock
        self.began = began
        self.asked = False
        self.data = b""


class Hammer:
    def __init__(self, address, rate, path, body):
        host, port = address.rsplit(":", 1)
        self.where = host, int(port)
        self.rate = rate
        self.request = b"GET /%s HTTP/1.0\r\n\r\n" % path.encode()
        self.body = body
        self.poll = select.epoll()
        self.calls = {}
        self.serial = 0
        self.served = 0
        self.slowest = 0.0
        self.errors = collections.Counter()
        self.first = []

    def fail(self, kind, detail):
        self.errors[kind] += 1
        if len(self.first) < 5:
            self.first.append("%s: %s" % (kind, detail))

    def call(self, now):
        sock = socket.socket()
        sock.setblocking(False)
        # Many sources, so that no port is used again too soon.
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)   # BIND_ADDRESS_NO_PORT
        sock.bind(("127.1.%d.%d" % (self.serial // 200 % 200,
                                    1 + self.serial % 200), 0))
        self.serial += 1
        try:
            sock.connect(self.where)
        except BlockingIOError:
            pass
        except OSError as error:
            self.fail(type(error).__name__, "connect")
            sock.close()
            return
        self.calls[sock.fileno()] = Call(sock, now)
        self.poll.register(sock, select.EPOLLOUT)

    def turn(self, fd, now):
        call = self.calls[fd]
        try:
            if self.step(call, fd):
                return
            if self.answer_is_right(call.data):
                self.served += 1
                self.slowest = max(self.slowest, now - call.began)
            else:
                self.fail("wrong", "%d bytes: %r" % (len(call.data),
                                                     call.data[:60]))
        except OSError as error:
            self.fail(type(error).__name__, "%d bytes were there, after "
                      "%.3f s" % (len(call.data), now - call.began))
        self.drop(fd)

    def step(self, call, fd):
        """Whether more is to come."""
        if not call.asked:
            error = call.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            call.sock.send(self.request)
            call.asked = True
            self.poll.modify(fd, select.EPOLLIN)
            return True
        try:
            piece = call.sock.recv(65536)
        except BlockingIOError:
            return True
        call.data += piece
        return bool(piece)

    def answer_is_right(self, data):
        head, _, body = data.partition(b"\r\n\r\n")
        return b" 200 OK\r\n" in head and body == self.body

    def drop(self, fd):
        self.poll.unregister(fd)
        self.calls.pop(fd).sock.close()

    def check_deadlines(self, now):
        for fd in [fd for fd, call in self.calls.items()
                   if now - call.began > DEADLINE]:
            self.fail("timeout", "%d bytes were there" %
                      len(self.calls[fd].data))
            self.drop(fd)

    def report(self, **more):
        print(json.dumps(dict({
            "served": self.served, "errors": dict(self.errors),
            "first": self.first, "slowest": round(self.slowest, 3)},
            **more)), flush=True)

    def run(self):
        self.poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        start = told = time.monotonic()
        opened = 0
        going_on = True
        while going_on or self.calls:
            now = time.monotonic()
            due = int((now - start) * self.rate) - opened
            if due > self.rate / 10:    # too slow: no burst afterwards
                start += (due - self.rate / 10) / self.rate
                due = int(self.rate / 10)
            for _ in range(min(due, MOST - len(self.calls), 20)):
                if going_on:
                    self.call(now)
                    opened += 1
            for fd, _ in self.poll.poll(0.001 if going_on else 0.1):
                if fd:
                    self.turn(fd, time.monotonic())
                else:
                    going_on = False
                    self.poll.unregister(0)
            if now - told > 0.03:
                told = now
                self.check_deadlines(now)
                self.report()
        self.report(done=True)


if __name__ == "__main__":
    with open(sys.argv[4], "rb") as file:
        Hammer(sys.argv[1], float(sys.argv[2]), sys.argv[3],
               file.read()).run()
