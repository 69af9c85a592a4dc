# SPDX-License-Identifier: ISC
"""What every chain of relays needs: the services behind it, ports, processes
that end with the script, and what they have cost so far."""

import concurrent.futures
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from place import Failed, need

BODY = 128
TICK = os.sysconf("SC_CLK_TCK")
PROOF = 32 * 2**20      # bytes each way
HEAD = 8                # of what is stored: how many bytes follow
STREAMS = 8


def tied(*argv):
    """It ends with the script that starts it."""
    return [need("setpriv", "util-linux"), "--pdeathsig", "KILL", "--",
            *map(str, argv)]


# --- the ends -----------------------------------------------------------------

def echo_server(port):
    """Gives back what it gets, one user at a time."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            with listener.accept()[0] as user:
                user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    while data := user.recv(65536):
                        user.sendall(data)
                except OSError:
                    pass


def read_all(user, size):
    """So many bytes, or fewer where they end before."""
    data = bytearray(size)
    rest = memoryview(data)
    while rest and (count := user.recv_into(rest)):
        rest = rest[count:]
    return bytes(data[:size - len(rest)])


def store(user):
    """Takes all of it before it gives all of it back: one way at a time."""
    with user:
        try:
            size = int.from_bytes(read_all(user, HEAD), "big")
            user.sendall(read_all(user, size))
        except OSError:
            pass


def store_server(port):
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=store, args=(listener.accept()[0],),
                             daemon=True).start()


class World:
    """The directory, the services, and ports that nobody else has."""

    def __init__(self, directory, environment=None, congestion=None):
        self.directory = pathlib.Path(directory)
        self.congestion = congestion    # that all connections are to have
        self.environment = {**os.environ, **(environment or {})}
        self.port = 20000
        self.processes = []
        self.services = {name: self.take_port()
                         for name in ("web", "bulk", "echo", "store")}
        self.status_port = self.take_port()

    def take_port(self):
        while True:
            self.port += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                    return self.port
                except OSError:
                    continue

    def write(self, name, text, mode=0o644):
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def start(self, *argv):
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(
                tied(*argv), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.environment)
        self.processes.append(process)
        return process

    def start_web(self, more=""):
        """nginx, for as many as can come."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
        paths = " ".join(
            f"{name}_temp_path {self.directory}/{name};" for name in
            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # In a user's namespace there is nobody but root.
        config = self.write("nginx.conf", f"""
daemon off; master_process off; user root root;
worker_rlimit_nofile {most + 100};
pid {self.directory}/nginx.pid; error_log {self.directory}/nginx.log;
events {{ worker_connections {most}; multi_accept on; }}
http {{ access_log off; keepalive_requests 1000000000; {paths} {more}
  server {{ listen 127.0.0.1:{self.services["web"]} backlog=4096;
    location / {{ return 200 "{"x" * BODY}"; }} }}
  server {{ listen 127.0.0.1:{self.status_port};
    location / {{ stub_status; }} }} }}
""")
        self.start(need("nginx"), "-c", config, "-p", self.directory)
        for port in (self.services["web"], self.status_port):
            wait_for_port(port)

    def start_services(self):
        self.start_web()
        self.start(need("iperf3", "iperf3"), "-s", "-B", "127.0.0.1", "-p",
                   self.services["bulk"])
        self.start(sys.executable, __file__, self.services["echo"],
                   self.services["store"])
        for service in ("bulk", "echo", "store"):
            wait_for_port(self.services[service])

    def requests(self):
        """That nginx has answered, this one among them."""
        url = f"http://127.0.0.1:{self.status_port}/"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.read().decode().split("\n")[2].split()[2])

    def said(self, most=2000):
        """The end of what all programs have said."""
        log = self.directory / "log"
        return log.read_text(errors="replace")[-most:] if log.exists() else ""

    def stop(self):
        end_all(self.processes)


def end_all(processes):
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(port, check=lambda: None, seconds=20):
    """check() raises when it is no use to wait longer."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise Failed(f"nobody listens on port {port}") from error
            check()
            time.sleep(0.05)


# --- a subject ----------------------------------------------------------------

class Subject:
    """A chain of relays, or none."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.ports = {name: world.take_port() for name in world.services}
        self.processes = []
        self.looked = set()     # services whose connections were looked at

    def start(self, *argv):
        process = self.world.start(*argv)
        self.processes.append(process)
        return process

    def directory(self):
        path = self.world.directory / self.name
        path.mkdir(exist_ok=True)
        return path

    def cpu(self):
        """Seconds of all processes of the chain, their children too, also
        those that have ended."""
        total = 0
        for process in self.processes:
            if process.poll() is not None:
                raise Failed(f"{self.name}: a relay has ended "
                             f"({process.returncode})")
            total += sum(map(ticks, [process.pid, *children(process.pid)]))
        return total / TICK

    def stop(self):
        end_all(self.processes)
        self.processes = []

    def prove(self):
        """What is sent comes back, the same, all of it: both ways at once, then
        one way at a time, as bulk goes, on one connection and on several. (No
        half-close: nginx ends a session by it.)"""
        for service in ("web", "echo", "store"):
            wait_for_port(self.ports[service], self.cpu)
        sent = os.urandom(PROOF)
        self.check_back("echo", sent)
        self.check_back("store", sent)
        share = PROOF // STREAMS
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(lambda first: self.check_back(
                "store", sent[first:first + share]), range(0, PROOF, share)))

    def check_back(self, service, sent):
        head = len(sent).to_bytes(HEAD, "big") if service == "store" else b""
        with socket.create_connection(("127.0.0.1", self.ports[service]),
                                      20) as user:
            sender = threading.Thread(target=user.sendall, args=(head + sent,),
                                      daemon=True)
            sender.start()
            came = read_all(user, len(sent))
            sender.join(20)
        if came != sent:
            raise Failed(f"{self.name}: of {len(sent)} bytes sent, "
                         f"{len(came)} came back, or others")


def ticks(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:  # it has just ended: its parent has its time
        return 0
    return sum(map(int, stat.rsplit(")", 1)[1].split()[11:15]))


def children(pid):
    try:
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        found = path.read_text(encoding="utf-8").split()
    except OSError:
        return
    for child in map(int, found):
        yield child
        yield from children(child)


if __name__ == "__main__":
    threading.Thread(target=store_server, args=(int(sys.argv[2]),),
                     daemon=True).start()
    echo_server(int(sys.argv[1]))
