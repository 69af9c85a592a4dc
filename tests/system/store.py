# SPDX-License-Identifier: ISC
"""A stand-in for systemd: its notify socket, and the descriptors that it
keeps for a service from one life to the next, with its rules:

- a message is believed if it comes from the main process;
- FDSTORE=1 keeps the descriptors of a message under its FDNAME, which has
  no colon and no control character (else the name is "stored");
- one that is kept already is closed, and keeps its name;
- FDSTOREREMOVE=1 closes all of that FDNAME;
- BARRIER=1 comes with one descriptor, which is closed;
- one that is hung up is forgotten;
- at a start they are 3, 4, ..., LISTEN_FDS many, for LISTEN_PID only, and
  LISTEN_FDNAMES has their names, with colons between; with none of them
  there is no such variable."""

import array
import os
import select
import socket
import stat
import struct
import sys
import threading

from harness import wait_until

# Puts descriptors where systemd does, and becomes the program.
STARTER = """
import fcntl, os, sys
given = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 100)
         for n in sys.argv[1].split(",") if n]
for number, fd in enumerate(given):
    os.dup2(fd, 3 + number, inheritable=True)
os.closerange(3 + len(given), 4096)
if given:
    os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])),
                      LISTEN_FDS=str(len(given)))
    if sys.argv[3]:
        os.environ["LISTEN_FDNAMES"] = sys.argv[3]
os.execv(sys.argv[4], sys.argv[4:])
"""


class Message:
    def __init__(self, pid, text):
        self.pid = pid
        self.lines = text.split("\n")
        self.fields = dict(line.split("=", 1) for line in self.lines if line)


def name_is_valid(name):
    return 0 < len(name) < 256 and \
        all(" " <= c < "\x7f" and c != ":" for c in name)


class Store:
    """Each thing kept is [name, descriptor]."""

    def __init__(self, path, most=512):
        self.path = path
        self.most = most
        self.kept = []
        self.messages = []
        self.lock = threading.Lock()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(path)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(65536, 65536)
            except OSError:
                return
            if data == b"the end":
                return
            fds, pid = array.array("i"), 0
            for level, kind, content in ancillary:
                if kind == socket.SCM_RIGHTS:
                    fds.frombytes(content[:len(content) // 4 * 4])
                elif kind == socket.SCM_CREDENTIALS:
                    pid = struct.unpack("iii", content)[0]
            with self.lock:
                self.take(Message(pid, data.decode()), list(fds))

    def take(self, message, fds):
        fields = message.fields
        name = fields.get("FDNAME", "stored")
        if not name_is_valid(name):
            name = "stored"
        if "FDSTOREREMOVE" in fields:
            for one in [one for one in self.kept if one[0] == name]:
                self.forget(one)
        elif "FDSTORE" in fields:
            for fd in fds:
                if len(self.kept) < self.most and not self.has(fd):
                    self.kept.append([name, fd])
                else:
                    os.close(fd)
            fds = []
        for fd in fds:
            os.close(fd)
        # Last: who waits for a message finds it done.
        self.messages.append(message)

    def has(self, fd):
        return any(os.path.sameopenfile(fd, other) for _, other in self.kept)

    def forget(self, one):
        self.kept.remove(one)
        os.close(one[1])

    def forget_hung_up(self):
        poll = select.poll()
        for _, fd in self.kept:
            poll.register(fd, 0)
        gone = {fd for fd, _ in poll.poll(0)}
        for one in [one for one in self.kept if one[1] in gone]:
            self.forget(one)

    def add(self, name, sock):
        """Somebody had stored this; takes a copy."""
        with self.lock:
            self.kept.append([name, os.dup(sock.fileno())])

    def rename(self):
        """Names mean nothing: each is another one's, then."""
        with self.lock:
            names = [one[0] for one in self.kept]
            for one, name in zip(self.kept, names[1:] + names[:1]):
                one[0] = name

    # what is there

    def places(self):
        """{address: name} of the listening sockets of streams."""
        found = {}
        with self.lock:
            for name, fd in self.kept:
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    continue
                with socket.socket(fileno=os.dup(fd)) as sock:
                    where = sock.getsockname()
                    text = where if isinstance(where, str) else \
                        "%s:%d" % where[:2]
                    assert text not in found, "%s twice" % text
                    found[text] = name
        return found

    def names(self):
        with self.lock:
            return [one[0] for one in self.kept]

    def inodes(self):
        with self.lock:
            return {os.fstat(fd).st_ino for _, fd in self.kept}

    def said(self, text, since=0):
        """The messages with that line."""
        with self.lock:
            return [m for m in self.messages[since:] if text in m.lines]

    def wait(self, text, deadline=15, since=0):
        return wait_until(lambda: self.said(text, since), deadline,
                          "%s on the notify socket" % text)[0]

    def count(self):
        with self.lock:
            return len(self.messages)

    # the next life

    def serve_to(self, d, pid_off=0, names=None):
        """The next start of d is as systemd does it."""
        d.env["NOTIFY_SOCKET"] = self.path
        with self.lock:
            self.forget_hung_up()
            d.pass_fds = [fd for _, fd in self.kept]
            if names is None:
                names = ":".join(one[0] for one in self.kept)
        d.wrapper = [sys.executable, "-S", "-c", STARTER,
                     ",".join(map(str, d.pass_fds)), str(pid_off), names]
        return d

    def close(self):
        if self.thread.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"the end", self.path)
            self.thread.join(10)
        self.sock.close()
        while self.kept:
            self.forget(self.kept[0])
