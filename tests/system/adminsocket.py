# SPDX-License-Identifier: ISC
"""A client of the admin socket."""

import json
import socket

from harness import FACTOR


class AdminError(Exception):
    def __init__(self, error):
        super().__init__("%s: %s" % (error.get("code"), error.get("message")))
        self.code = error.get("code")


class Admin:
    """A client of the admin protocol that keeps its connection."""

    def __init__(self, path, timeout=15.0):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout * FACTOR)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.file = self.sock.makefile("rb")
        self.serial = 0

    def close(self):
        self.file.close()
        self.sock.close()

    def send_line(self, line):
        self.sock.sendall(line if isinstance(line, bytes) else line.encode())

    def read_line(self):
        """One answer, or None once the daemon has closed (with bytes of ours
        unread, that is a reset)."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        assert not line or line.endswith(b"\n"), line
        return json.loads(line) if line else None

    def pieces(self, cmd, **args):
        """The raw answer lines of one request."""
        self.serial += 1
        request = {"id": self.serial, "cmd": cmd}
        if args:
            request["args"] = args
        self.send_line(json.dumps(request) + "\n")
        lines = []
        while True:
            answer = self.read_line()
            if answer is None:
                raise ConnectionError("admin socket closed")
            assert answer["id"] == self.serial, answer
            if not answer["ok"]:
                raise AdminError(answer["error"])
            lines.append(answer)
            if not answer.get("more"):
                return lines

    def __call__(self, cmd, **args):
        lines = self.pieces(cmd, **args)
        if isinstance(lines[0]["data"], list):
            return [row for line in lines for row in line["data"]]
        assert len(lines) == 1
        return lines[0]["data"]
